package seal

import (
	"testing"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/schemas"
)

// BenchmarkOpenData opens chunks in place, as a restore does. Each iteration copies a
// fresh frame, and the figures include that.
func BenchmarkOpenData(b *testing.B) {
	k := New(testKey())
	for _, in := range benchInputs() {
		b.Run(in.name, func(b *testing.B) {
			id := k.DataID(in.plain)
			frame, err := k.sealData(nil, id, in.plain, options{})
			if err != nil {
				b.Fatal(err)
			}
			fresh, buf := make([]byte, len(frame)), make([]byte, 0, schemas.MaxContent)
			b.SetBytes(int64(len(in.plain)))
			for b.Loop() {
				copy(fresh, frame)
				if _, err := k.OpenData(buf, id, fresh); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	k := New(testKey())
	for _, in := range benchInputs() {
		for _, mode := range []struct {
			name string
			opt  options
		}{
			{"default", options{}},
			{"default-unchecked", options{unchecked: true}},
			{"fast", options{level: CompressFast}},
			{"off", options{level: CompressOff}},
		} {
			b.Run(in.name+"/"+mode.name, func(b *testing.B) {
				id := k.DataID(in.plain)
				b.SetBytes(int64(len(in.plain)))
				var frame []byte
				var err error
				for b.Loop() {
					if frame, err = k.sealData(frame[:0], id, in.plain, mode.opt); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpen opens chunks and copies them.
func BenchmarkOpen(b *testing.B) {
	k := New(testKey())
	for _, in := range benchInputs() {
		b.Run(in.name, func(b *testing.B) {
			id := k.DataID(in.plain)
			frame, err := k.Seal(nil, id, in.plain, CompressDefault)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(in.plain)))
			var plain []byte
			for b.Loop() {
				if plain, err = k.openDataCopy(plain[:0], id, frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDataID(b *testing.B) {
	k, plain := New(testKey()), clienttest.Noise(1, 512<<10)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		k.DataID(plain)
	}
}

type benchInput struct {
	name  string
	plain []byte
}

func benchInputs() []benchInput {
	return []benchInput{
		{"random-512K", clienttest.Noise(1, 512<<10)},
		{"text-512K", text(512 << 10)},
		{"text-2K", text(2 << 10)},
	}
}

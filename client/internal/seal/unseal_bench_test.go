package seal

import (
	"testing"

	"servidor-backup/schemas"
)

// BenchmarkUnseal opens chunks as a restore does, where they stand. Each needs
// a fresh frame, whose copying is in the figures.
func BenchmarkUnseal(b *testing.B) {
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

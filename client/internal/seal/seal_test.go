package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"servidor-backup/client/internal/clienttest"
	"strings"
	"sync"
	"testing"

	"servidor-backup/schemas"
)

// zeroReader yields zeros: nonces that tests can pin.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// fixedKeys are keys whose frames are the same every time.
func fixedKeys() *Keys {
	k := New(testKey())
	k.nonces = zeroReader{}
	return k
}

// text is n bytes that compress well.
func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a log that says much the same all day\n", i)
	}
	return b.Bytes()[:n]
}

func TestFrameIsPinned(t *testing.T) {
	k, plain := fixedKeys(), []byte("the quick brown fox")
	id := k.DataID(plain)
	frame, err := k.Seal(nil, id, plain, CompressOff)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "01000000000000000000000000342b683bc171e39937c9c02ffcf3e53dcb3cb61e957864259fd016e7d407d3ca3fdf53678bd6"
	if got := hex.EncodeToString(frame); got != golden {
		t.Errorf("the frame is %s, pinned %s", got, golden)
	}
}

// How zstd packs may change with the library; that an old frame opens may not.
func TestPackedFrameOpens(t *testing.T) {
	const golden = "0100000000000000000000000091fa2d09fb2dfd597b7c5db53bc54a44d9f6051e53e61ed605a1d14b8092f1a637f919a5ba04f72c3dc821c85f226e08ab15c66cfc677acef63541fc"
	frame, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	k, want := fixedKeys(), []byte(strings.Repeat("all work and no play ", 50))
	plain, err := k.openDataCopy(nil, k.DataID(want), frame)
	if err != nil || !bytes.Equal(plain, want) {
		t.Errorf("opened as %q, %v", plain, err)
	}
}

func TestSealRoundTrip(t *testing.T) {
	k := New(newVaultKey())
	mixed := append(clienttest.Noise(1, 200<<10), text(200<<10)...)
	for _, plain := range [][]byte{nil, {0}, text(100), clienttest.Noise(2, 100), text(MaxPlain), clienttest.Noise(3, MaxPlain), make([]byte, MaxPlain), mixed} {
		for _, level := range []Compression{CompressDefault, CompressOff, CompressFast, CompressBest} {
			id := k.DataID(plain)
			frame, err := k.sealData([]byte("before"), id, plain, options{level: level})
			if err != nil {
				t.Fatalf("%d bytes, %v: %v", len(plain), level, err)
			}
			if len(frame)-6 > len(plain)+Overhead || len(frame)-6 > schemas.MaxContent {
				t.Errorf("%d bytes, %v: a frame of %d", len(plain), level, len(frame)-6)
			}
			opened, err := k.openDataCopy([]byte("before"), id, frame[6:])
			if err != nil || string(frame[:6]) != "before" || string(opened) != "before"+string(plain) {
				t.Errorf("%d bytes, %v: does not round-trip: %v", len(plain), level, err)
			}
		}
	}
}

func TestCompressionPays(t *testing.T) {
	k := fixedKeys()
	size := func(plain []byte, level Compression) int {
		frame, err := k.Seal(nil, k.DataID(plain), plain, level)
		if err != nil {
			t.Fatal(err)
		}
		return len(frame)
	}
	const n = 512 << 10
	if got := size(text(n), CompressDefault); got > n/4 {
		t.Errorf("text of %d bytes is sealed in %d", n, got)
	}
	if got := size(text(n), CompressOff); got < n {
		t.Errorf("text is compressed although that is off")
	}
	if got := size(clienttest.Noise(1, n), CompressBest); got != n+Overhead {
		t.Errorf("noise of %d bytes is sealed in %d", n, got)
	}
	// A film with a long table of contents: the probe sees more than its head.
	if got := size(append(clienttest.Noise(1, n/2), text(n/2)...), CompressDefault); got > n*3/4 {
		t.Errorf("half text of %d bytes is sealed in %d", n, got)
	}
}

func TestSealRefusesWhatDoesNotFit(t *testing.T) {
	k := fixedKeys()
	if _, err := k.Seal(nil, schemas.ChunkID{1}, make([]byte, MaxPlain+1), CompressDefault); err == nil {
		t.Error("a chunk that is too long was sealed")
	}
	if _, err := k.Seal(nil, schemas.ChunkID{1}, nil, 200); err == nil {
		t.Error("an unknown compression was taken")
	}
}

// A frame in which any bit is changed does not open.
func TestFlippedBits(t *testing.T) {
	k := fixedKeys()
	plain := text(300)
	id := k.DataID(plain)
	frame, err := k.Seal(nil, id, plain, CompressDefault)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(frame) {
		bad := bytes.Clone(frame)
		bad[bit/8] ^= 1 << (bit % 8)
		out, err := k.openDataCopy([]byte("dst"), id, bad)
		tooNew := bit < 8 && schemas.CodeOf(err) == schemas.TooNew
		if !errors.Is(err, ErrDamaged) && !tooNew {
			t.Fatalf("bit %d: %v", bit, err)
		}
		if string(out) != "dst" {
			t.Fatalf("bit %d: bytes came out with the error", bit)
		}
	}
	for n := range frame {
		if _, err := k.openDataCopy(nil, id, frame[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	k, other := fixedKeys(), New(newVaultKey())
	plain := text(100)
	id := k.DataID(plain)
	frame, err := k.Seal(nil, id, plain, CompressDefault)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.openDataCopy(nil, id, frame); !errors.Is(err, ErrDamaged) {
		t.Errorf("another key: %v", err)
	}
	if _, err := k.openDataCopy(nil, schemas.ChunkID{9}, frame); !errors.Is(err, ErrDamaged) {
		t.Errorf("another id: %v", err)
	}
	frame[0] = frameVersion + 1
	if _, err := k.openDataCopy(nil, id, frame); schemas.CodeOf(err) != schemas.TooNew || errors.Is(err, ErrDamaged) {
		t.Errorf("a newer version: %v", err)
	}
}

// A frame can be whole and still not hold what its id names; that is for the
// id to find, at sealing as at opening.
func TestContentThatDoesNotMatchItsID(t *testing.T) {
	k := fixedKeys()
	plain := text(100)
	id := k.DataID(plain)
	plain[50] ^= 1 // bad memory, after the id was computed
	if _, err := k.sealData(nil, id, plain, options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("sealing: %v", err)
	}
	frame, err := k.sealData(nil, id, plain, options{unchecked: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.openDataCopy(nil, id, frame); !errors.Is(err, ErrDamaged) {
		t.Errorf("opening: %v", err)
	}
}

func TestTreeChunkIsBoundToItsEdges(t *testing.T) {
	k := fixedKeys()
	trees, data, payload := []schemas.ChunkID{{1}, {2}}, []schemas.ChunkID{{3}}, []byte("payload")
	id := k.TreeID(trees, data, payload)
	frame, err := k.sealTree(nil, id, trees, data, payload, options{})
	if err != nil {
		t.Fatal(err)
	}
	chunk := schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: trees, Data: data, Content: frame}
	if got, err := k.OpenTree(nil, &chunk); err != nil || !bytes.Equal(got, payload) {
		t.Fatalf("opened as %q, %v", got, err)
	}
	chunk.Trees = []schemas.ChunkID{{2}, {1}}
	if _, err := k.OpenTree(nil, &chunk); !errors.Is(err, ErrDamaged) {
		t.Errorf("edges exchanged: %v", err)
	}
	chunk.Trees, chunk.Data = trees[:1], []schemas.ChunkID{{2}, {3}}
	if _, err := k.OpenTree(nil, &chunk); !errors.Is(err, ErrDamaged) {
		t.Errorf("edge moved to the other list: %v", err)
	}
	if _, err := k.openDataCopy(nil, id, frame); !errors.Is(err, ErrDamaged) {
		t.Errorf("opened as data: %v", err)
	}
	if _, err := k.sealTree(nil, id, nil, nil, payload, options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("sealed without its edges: %v", err)
	}
}

func TestPaddingIsReadAndMustBeZero(t *testing.T) {
	inner := append([]byte{packNone, 3, 3}, "abc\x00\x00\x00"...)
	if plain, err := unpack(nil, inner); err != nil || string(plain) != "abc" {
		t.Errorf("unpacked as %q, %v", plain, err)
	}
	inner[len(inner)-1] = 1
	if _, err := unpack(nil, inner); err == nil {
		t.Error("padding that is not zero was taken")
	}
}

// A few bytes that claim to unpack to much are refused without making room.
func TestUnpackIsBounded(t *testing.T) {
	bomb := encoder(CompressFast).EncodeAll(make([]byte, 8<<20), nil)
	if len(bomb) > 100<<10 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	for _, length := range []int{0, 10, MaxPlain} {
		if out, err := decompress(nil, bomb, length); err == nil || cap(out) > 2*MaxPlain {
			t.Errorf("%d bytes named: %d came out, %v", length, len(out), err)
		}
	}
}

func TestSealIsSafeForConcurrentUse(t *testing.T) {
	k := New(newVaultKey())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				plain := text(1000*i + j)
				id := k.DataID(plain)
				frame, err := k.sealData(nil, id, plain, options{})
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := k.openDataCopy(nil, id, frame); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("does not round-trip: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCompressionNames(t *testing.T) {
	for _, name := range compressionNames {
		if c, err := ParseCompression(name); err != nil || c.String() != name {
			t.Errorf("%s is read as %v, %v", name, c, err)
		}
	}
	if _, err := ParseCompression("max"); err == nil {
		t.Error("an unknown compression was read")
	}
}

func FuzzSealRoundTrip(f *testing.F) {
	f.Add([]byte("seed"), uint8(0))
	f.Add(text(70<<10), uint8(2))
	f.Fuzz(func(t *testing.T, plain []byte, level uint8) {
		if len(plain) > MaxPlain {
			return
		}
		k := fixedKeys()
		id := k.DataID(plain)
		frame, err := k.sealData(nil, id, plain, options{level: Compression(level % 3)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.openDataCopy(nil, id, frame); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("does not round-trip: %v", err)
		}
	})
}

// FuzzOpen feeds what a node could send; FuzzUnpack what only a forger with the
// key could.
func FuzzOpen(f *testing.F) {
	k := fixedKeys()
	frame, _ := k.Seal(nil, schemas.ChunkID{1}, text(100), CompressDefault)
	f.Add(frame)
	f.Add([]byte{frameVersion})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, err := k.openDataCopy(nil, schemas.ChunkID{1}, frame); err == nil {
			t.Error("a frame opened under an id that it cannot have")
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte{packNone, 3, 3, 'a', 'b', 'c', 0})
	f.Add(append([]byte{packZstd, 100, 40}, compress(nil, text(100), CompressFast)...))
	f.Fuzz(func(t *testing.T, inner []byte) {
		if plain, err := unpack(nil, inner); err == nil && len(plain) > MaxPlain {
			t.Errorf("%d bytes came out", len(plain))
		}
	})
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

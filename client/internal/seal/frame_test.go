package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/schemas"
)

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

// What zstd packs may change with the library, but an old frame must always open.
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
		t.Errorf("text is compressed although compression is off")
	}
	if got := size(clienttest.Noise(1, n), CompressBest); got != n+Overhead {
		t.Errorf("noise of %d bytes is sealed in %d", n, got)
	}
	// A film with a long table of contents: the probe sees more than its head.
	if got := size(append(clienttest.Noise(1, n/2), text(n/2)...), CompressDefault); got > n*3/4 {
		t.Errorf("half text of %d bytes is sealed in %d", n, got)
	}
}

func TestSealRefusesLongChunksAndUnknownLevels(t *testing.T) {
	k := fixedKeys()
	if _, err := k.Seal(nil, schemas.ChunkID{1}, make([]byte, MaxPlain+1), CompressDefault); err == nil {
		t.Error("a chunk that is too long is sealed")
	}
	if _, err := k.Seal(nil, schemas.ChunkID{1}, nil, 200); err == nil {
		t.Error("an unknown compression is accepted")
	}
}

// A frame in which any bit is changed, or which is cut short, does not open.
func TestChangedFrameDoesNotOpen(t *testing.T) {
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
			t.Fatalf("bit %d: bytes are returned with the error", bit)
		}
	}
	for n := range frame {
		if _, err := k.openDataCopy(nil, id, frame[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// A frame of a newer version says so. But a wrong first byte looks the same, so it counts as damage:
// another replica is asked for, and only the files with the chunk are lost.
func TestOpenTellsDamageFromANewerVersion(t *testing.T) {
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
	if _, err := k.openDataCopy(nil, id, frame); schemas.CodeOf(err) != schemas.TooNew || !errors.Is(err, ErrDamaged) {
		t.Errorf("a newer version: %v", err)
	}
}

// A frame can be whole although its content does not match its id. Both sealing and
// opening find that.
func TestContentThatDoesNotMatchItsIDIsFound(t *testing.T) {
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

// FuzzOpen opens what a node could send.
func FuzzOpen(f *testing.F) {
	k := fixedKeys()
	frame, _ := k.Seal(nil, schemas.ChunkID{1}, text(100), CompressDefault)
	f.Add(frame)
	f.Add([]byte{frameVersion})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, err := k.openDataCopy(nil, schemas.ChunkID{1}, frame); err == nil {
			t.Error("a frame opens under an id that it cannot have")
		}
	})
}

package seal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/schemas"
)

// logLines returns n bytes of a log.
func logLines(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	var b bytes.Buffer
	for ms := 0; b.Len() < n; ms += r.IntN(60) {
		fmt.Fprintf(&b, "2025-03-01T10:%02d:%02d.%03dZ node-%02d api[%d] INFO req=%016x status=200 dur=%dms msg=\"request completed\"\n",
			ms/60000%60, ms/1000%60, ms%1000, r.IntN(24), 900+r.IntN(64), r.Uint64(), r.IntN(500))
	}
	return b.Bytes()[:n]
}

// CompressDefault uses the faster level unless the slower one pays, which depends on the
// data. The result of a trial is the shorter of the two.
func TestPackerFollowsTheData(t *testing.T) {
	size := func(level Compression, plain []byte) int {
		p, err := pack(new([]byte), schemas.ChunkID{1}, plain, level)
		if err != nil {
			t.Fatal(err)
		}
		return len(p.body)
	}
	var packer Packer
	for name, plain := range map[string][]byte{"prose": clienttest.Prose(256 << 10), "logs": logLines(256 << 10), "noise": clienttest.Noise(1, 256<<10), "both": append(clienttest.Prose(300<<10), clienttest.Noise(1, 100<<10)...)} {
		before := packer.slower.Load()
		packer.trials.Store(0)
		p, err := packer.Pack(schemas.ChunkID{1}, plain, CompressDefault)
		if err != nil {
			t.Fatal(err)
		}
		fast, slow := size(CompressFast, plain), size(CompressDefault, plain)
		learns := 5*len(p.body) <= 3*len(plain)
		if learns != (name == "prose" || name == "logs") {
			t.Errorf("%s: a trial is made: %v", name, learns)
		}
		best, want := min(fast, slow), slow <= fast-fast/slowerPays
		if !learns {
			best, want = fast, before
			if before {
				best = slow
			}
		}
		if len(p.body) != best {
			t.Errorf("%s: packed to %d bytes, the levels give %d and %d", name, len(p.body), fast, slow)
		}
		if packer.slower.Load() != want {
			t.Errorf("%s: the levels give %d and %d bytes, and the choice of the slower one is %v", name, fast, slow, !want)
		}
		plainAgain, err := unpack(nil, append(append([]byte{}, p.head[:p.headSize]...), p.body...))
		if err != nil || !bytes.Equal(plainAgain, plain) {
			t.Errorf("%s: it unpacks to other bytes (%v)", name, err)
		}
	}
	if fast, slow := size(CompressFast, clienttest.Prose(256<<10)), size(CompressDefault, clienttest.Prose(256<<10)); slow > fast-fast/slowerPays {
		t.Errorf("the test proves nothing: prose packs to %d and %d bytes, so the slower level does not pay", fast, slow)
	}
}

func TestPaddingIsReadAndMustBeZero(t *testing.T) {
	inner := append([]byte{packNone, 3, 3}, "abc\x00\x00\x00"...)
	if plain, err := unpack(nil, inner); err != nil || string(plain) != "abc" {
		t.Errorf("unpacked as %q, %v", plain, err)
	}
	inner[len(inner)-1] = 1
	if _, err := unpack(nil, inner); err == nil {
		t.Error("padding that is not zero is accepted")
	}
}

// FuzzUnpack unpacks what only a forger with the key could send.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte{packNone, 3, 3, 'a', 'b', 'c', 0})
	f.Add(append([]byte{packZstd, 100, 40}, compress(nil, text(100), CompressFast)...))
	f.Fuzz(func(t *testing.T, inner []byte) {
		if plain, err := unpack(nil, inner); err == nil && len(plain) > MaxPlain {
			t.Errorf("%d bytes came out", len(plain))
		}
	})
}

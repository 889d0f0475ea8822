package seal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"servidor-backup/client/internal/clienttest"
	"testing"

	"servidor-backup/schemas"
)

func logLines(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	var b bytes.Buffer
	for at := 0; b.Len() < n; at += r.IntN(60) {
		fmt.Fprintf(&b, "2025-03-01T10:%02d:%02d.%03dZ node-%02d api[%d] INFO req=%016x status=200 dur=%dms msg=\"request completed\"\n",
			at/60000%60, at/1000%60, at%1000, r.IntN(24), 900+r.IntN(64), r.Uint64(), r.IntN(500))
	}
	return b.Bytes()[:n]
}

// The default level is the faster one unless the slower one pays, which depends
// on the data; and the trial's result is the better of the two.
func TestEconomyFollowsTheData(t *testing.T) {
	size := func(level Compression, plain []byte) int {
		p, err := pack(new([]byte), schemas.ChunkID{1}, plain, level)
		if err != nil {
			t.Fatal(err)
		}
		return len(p.body)
	}
	var e Packer
	for name, plain := range map[string][]byte{"prose": clienttest.Prose(256 << 10), "logs": logLines(256 << 10), "noise": clienttest.Noise(1, 256<<10), "both": append(clienttest.Prose(300<<10), clienttest.Noise(1, 100<<10)...)} {
		before := e.slower.Load()
		e.chunks.Store(0)
		p, err := e.Pack(schemas.ChunkID{1}, plain, CompressDefault)
		if err != nil {
			t.Fatal(err)
		}
		fast, slow := size(CompressFast, plain), size(CompressDefault, plain)
		learns := 5*len(p.body) <= 3*len(plain)
		if learns != (name == "prose" || name == "logs") {
			t.Errorf("%s: a trial: %v", name, learns)
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
		if e.slower.Load() != want {
			t.Errorf("%s: %d or %d bytes, and the slower level is chosen: %v", name, fast, slow, !want)
		}
		plainAgain, err := unpack(nil, append(append([]byte{}, p.head[:p.headSize]...), p.body...))
		if err != nil || !bytes.Equal(plainAgain, plain) {
			t.Errorf("%s: it unpacks to something else (%v)", name, err)
		}
	}
	if fast, slow := size(CompressFast, clienttest.Prose(256<<10)), size(CompressDefault, clienttest.Prose(256<<10)); slow > fast-fast/slowerPays {
		t.Errorf("the data shows nothing: prose packs to %d or %d bytes", fast, slow)
	}
}

func TestCompressibleIsSeenAnywhere(t *testing.T) {
	for name, c := range map[string]struct {
		plain []byte
		want  bool
	}{
		"noise":       {clienttest.Noise(1, 512<<10), false},
		"prose":       {clienttest.Prose(512 << 10), true},
		"a third":     {append(clienttest.Noise(1, 340<<10), clienttest.Prose(170<<10)...), true},
		"zeros":       {make([]byte, 512<<10), true},
		"short noise": {clienttest.Noise(1, 1000), true}, // trying is cheaper than probing
	} {
		if got := looksCompressible(c.plain); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

package seal

import (
	"testing"

	"servidor-backup/client/internal/clienttest"
)

func TestProbeFindsCompressiblePartsAnywhere(t *testing.T) {
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
			t.Errorf("%s: compressible is %v", name, got)
		}
	}
}

// A few bytes that unpack to many more than their header says are refused, and no buffer
// is allocated for them.
func TestUnpackIsBounded(t *testing.T) {
	bomb := encoder(CompressFast).EncodeAll(make([]byte, 8<<20), nil)
	if len(bomb) > 100<<10 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	for _, length := range []int{0, 10, MaxPlain} {
		if out, err := decompress(nil, bomb, length); err == nil || cap(out) > 2*MaxPlain {
			t.Errorf("the header says %d bytes: %d came out, %v", length, len(out), err)
		}
	}
}

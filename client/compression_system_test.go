package client_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"servidor-backup/client"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/treetest"
)

// distantRepeats returns n bytes of text that repeats phrases from far before, so that stronger
// compression makes it smaller.
func distantRepeats(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	phrases := make([][100]byte, 6000)
	for i := range phrases {
		for j := range phrases[i] {
			phrases[i][j] = byte('a' + r.IntN(26))
		}
	}
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		b.Write(phrases[r.IntN(len(phrases))][:])
		if i%40 == 0 {
			fmt.Fprintf(&b, "%400s", "")
		}
	}
	return b.Bytes()[:n]
}

// With a network that is much slower than this machine, automatic compression spends more time and
// sends less.
func TestAutoCompressionUsesTheTimeThatALimitLeaves(t *testing.T) {
	w := newWorld(t, 1)
	src := treetest.TempDir(t)
	write(t, filepath.Join(src, "file"), distantRepeats(1, 14<<20))
	try := func(c seal.Compression, limit int64) (sent, perSecond int64) {
		saver := w.client(func(o *client.Options) {
			// Another vault with the same key: the same chunks.
			o.Nickname, o.UploadLimit = fmt.Sprint(c, limit), limit
		})
		start := time.Now()
		sent = save(t, saver, client.BackupOptions{Paths: []string{src}, Name: "text", Compression: c}).Sent
		perSecond = int64(float64(sent) / time.Since(start).Seconds())
		to := treetest.TempDir(t)
		back := restore(t, saver, client.RestoreOptions{ID: "text", To: to})
		same(t, src, filepath.Join(to, back.Top[0]))
		return sent, perSecond
	}
	off, _ := try(seal.CompressOff, 0)
	fast, perSecond := try(seal.CompressFast, 0)
	if fast > off*97/100 {
		t.Fatalf("of %d bytes, fast sent %d", off, fast)
	}
	// Sealing takes as much longer as other programs make it. So a network that is too fast for
	// this moment is tried again much slower.
	for limit := min(perSecond/6, 3<<20); ; limit /= 4 {
		auto, _ := try(seal.CompressAuto, limit)
		t.Logf("of %d bytes, fast sent %d (%d a second), auto %d at %d a second", off, fast, perSecond, auto, limit)
		switch {
		case auto <= fast*99/100:
			return
		case limit < perSecond/20:
			t.Fatalf("of %d bytes, fast sent %d and auto %d", off, fast, auto)
		}
	}
}

package client_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
)

// Small files share chunks. A change costs only the file that changed, and the same files in
// another folder are the same chunks.
func TestSmallFilesShareChunks(t *testing.T) {
	w := newWorld(t, 1)
	src, twin := t.TempDir(), t.TempDir()
	for i := range 1500 {
		name, content := fmt.Sprintf("d%02d/f%04d", i/40, i), clienttest.Noise(byte(i), i*7%9000+i%2)
		write(t, filepath.Join(src, name), content)
		write(t, filepath.Join(twin, name), content)
	}
	settle(t, src)
	c := w.client()
	first := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	if first.Chunks > 60 || first.Read < 5_000_000 {
		t.Errorf("1500 small files of %d bytes became %d chunks", first.Read, first.Chunks)
	}
	changed := clienttest.Noise(99, 5000)
	for i := range 3 {
		write(t, filepath.Join(src, fmt.Sprintf("d%02d/f%04d", i*11, i*440)), changed[:1000*(i+1)])
	}
	second := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	if second.Read != 6000 {
		t.Errorf("three files of 6000 bytes changed, %d bytes were read", second.Read)
	}
	elsewhere := save(t, c, client.BackupOptions{Paths: []string{twin}, Name: "twin"})
	if elsewhere.Read < 5_000_000 || elsewhere.Sent*5 > first.Sent {
		t.Errorf("the same files in another folder: read %d bytes, sent %d (the first time %d)", elsewhere.Read, elsewhere.Sent, first.Sent)
	}
	for id, from := range map[string]string{"r@2": src, "twin": twin} {
		to := treetest.TempDir(t)
		res := restore(t, w.client(), client.RestoreOptions{ID: id, To: to})
		same(t, from, filepath.Join(to, res.Top[0]))
	}
}

// When the set of nodes has changed, the client asks again for every chunk, but only once for a
// chunk that many small files share.
func TestSharedChunksAreAskedForOnce(t *testing.T) {
	w := newWorld(t, 1)
	src := t.TempDir()
	for i := range 1500 {
		write(t, filepath.Join(src, fmt.Sprintf("d%02d/f%04d", i/40, i)), clienttest.Noise(byte(i), 2000))
	}
	settle(t, src)
	c, nc := w.client(), bustest.Connect(t, w.server)
	save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	w.addNode(nc, "new")
	before := questions(t, nc, 2)
	if again := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"}); again.Unchanged != 1500 {
		t.Errorf("%d of 1500 files were reused", again.Unchanged)
	}
	if n := questions(t, nc, 2) - before; n == 0 || n > 300 {
		t.Errorf("the nodes were asked %d times about 1500 files", n)
	}
}

// questions returns how often the storage nodes were asked what they hold; nodes is their number.
func questions(t *testing.T, nc *nats.Conn, nodes int) (n int) {
	t.Helper()
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	check(t, err)
	defer inbox.Unsubscribe()
	check(t, nc.PublishRequest("$SRV.STATS.backup-storage", inbox.Subject, nil))
	for range nodes {
		m, err := inbox.NextMsg(bustest.Timeout)
		check(t, err)
		var stats micro.Stats
		check(t, json.Unmarshal(m.Data, &stats))
		for _, e := range stats.Endpoints {
			if e.Name == "have" {
				n += e.NumRequests
			}
		}
	}
	return n
}

package client_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/treetest"
	"servidor-backup/coordinator"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
)

// machine is a storage node with a connection of its own, which can be killed.
type machine struct {
	nc    *nats.Conn
	dir   string
	store *storage.Store
}

// kill disconnects the node without a farewell.
func (m *machine) kill() { m.nc.Close() }

// newFleet returns a world of machines under a durability, in which an unresponsive node is soon
// known to be down.
func newFleet(t *testing.T, durability string, nodes int) (*world, []*machine) {
	t.Helper()
	w := &world{t: t, server: bustest.Server(t), key: filepath.Join(t.TempDir(), "ana.key")}
	c, err := coordinator.Start(t.Context(), bustest.Connect(t, w.server), coordinator.Options{DownAfter: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, c.Stop()) })
	var all []*machine
	for i := range nodes {
		m := &machine{nc: bustest.Connect(t, w.server), dir: t.TempDir()}
		if m.store, err = storage.Open(m.dir, storage.Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { check(t, m.store.Close()) })
		n, err := node.Start(t.Context(), m.nc, m.store, node.Options{Name: fmt.Sprintf("node%d", i), Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Stop() }) // some are killed before
		all = append(all, m)
	}
	w.durability(durability)
	return w, all
}

// manyFiles makes a folder with 40 small files and some large ones.
func manyFiles(t *testing.T, seed byte, large int) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "r")
	for i := range 40 {
		write(t, filepath.Join(src, fmt.Sprintf("small/%02d", i)), clienttest.Noise(seed+byte(i), i*900))
	}
	for i := range large {
		write(t, filepath.Join(src, fmt.Sprintf("large/%02d", i)), clienttest.Noise(seed+100+byte(i), 3<<20))
	}
	settle(t, src)
	return src
}

// Under each durability a version can be restored without as many nodes as it tolerates, and the
// same content is not sent twice.
func TestVersionsOnManyNodes(t *testing.T) {
	for _, of := range []struct {
		durability string
		nodes      int
		lost       int
	}{{"1+1", 3, 1}, {"2+1", 3, 1}, {"4+2", 6, 2}, {"1+4", 6, 4}} {
		t.Run(of.durability, func(t *testing.T) {
			w, machines := newFleet(t, of.durability, of.nodes)
			src := manyFiles(t, 1, 2)
			c := w.client()
			first := save(t, c, client.BackupOptions{Paths: []string{src}})
			second := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "again"})
			if second.Chunks > 4 || second.Sent*20 > first.Sent { // at most its root
				t.Errorf("the same content again is %d chunks, %d bytes; the first time %d, %d", second.Chunks, second.Sent, first.Chunks, first.Sent)
			}
			for _, m := range machines[:of.lost] {
				m.kill()
			}
			to := treetest.TempDir(t)
			restore(t, w.client(), client.RestoreOptions{ID: "r", To: to})
			same(t, src, filepath.Join(to, "r"))
		})
	}
}

// The client sends a chunk once, however many replicas there are.
func TestReplicasAreSentOnce(t *testing.T) {
	w, machines := newFleet(t, "1+2", 3)
	src := filepath.Join(t.TempDir(), "big")
	write(t, src, clienttest.Noise(3, 24<<20))
	res := save(t, w.client(), client.BackupOptions{Paths: []string{src}})
	bustest.Eventually(t, "all nodes hold the same", func() bool { // the catalogue backup arrives a little later
		return !slices.ContainsFunc(machines, func(m *machine) bool {
			return m.store.Stats().Chunks != machines[0].store.Stats().Chunks
		})
	})
	var sealed int64
	for _, m := range machines {
		sealed += m.store.Stats().Bytes / 3
	}
	t.Logf("%d bytes were sent for %d sealed", res.Sent, sealed)
	if sealed < 24<<20 || res.Sent*100 > sealed*105 {
		t.Errorf("%d bytes were sent for %d sealed, want at most 5%% more", res.Sent, sealed)
	}
}

// when calls act once, as soon as that many bytes have been sent or received.
func when(t *testing.T, p *client.Progress, bytes int64, act func()) {
	var watch sync.WaitGroup
	watch.Go(func() {
		poll := time.NewTicker(time.Millisecond)
		defer poll.Stop()
		for t.Context().Err() == nil {
			if p.Sent.Load() >= bytes {
				act()
				return
			}
			select {
			case <-poll.C:
			case <-t.Context().Done():
			}
		}
	})
	t.Cleanup(watch.Wait)
}

// A backup survives nodes that die meanwhile as long as enough others are left, and its version can
// be restored without them.
func TestABackupSurvivesNodesThatDie(t *testing.T) {
	for _, of := range []struct {
		durability string
		nodes      int
		lost       int
	}{{"1+1", 3, 1}, {"4+2", 8, 2}, {"2+1", 4, 1}} {
		t.Run(of.durability, func(t *testing.T) {
			w, machines := newFleet(t, of.durability, of.nodes)
			src := manyFiles(t, 2, 12)
			var progress transfer.Progress
			var killed atomic.Bool
			when(t, &progress, 6<<20, func() {
				for _, m := range machines[:of.lost] {
					m.kill()
				}
				killed.Store(true)
			})
			c := w.client()
			save(t, c, client.BackupOptions{Paths: []string{src}, Progress: &progress})
			if !killed.Load() {
				t.Fatal("the backup was over before nodes died")
			}
			to := treetest.TempDir(t)
			restore(t, w.client(), client.RestoreOptions{ID: "r", To: to})
			same(t, src, filepath.Join(to, "r"))
		})
	}
}

// A restore survives nodes that die meanwhile.
func TestARestoreSurvivesNodesThatDie(t *testing.T) {
	for _, of := range []struct {
		durability string
		nodes      int
		lost       int
	}{{"1+1", 3, 1}, {"4+2", 6, 2}} {
		t.Run(of.durability, func(t *testing.T) {
			w, machines := newFleet(t, of.durability, of.nodes)
			src := manyFiles(t, 3, 12)
			save(t, w.client(), client.BackupOptions{Paths: []string{src}})
			var progress transfer.Progress
			when(t, &progress, 4<<20, func() {
				for _, m := range machines[:of.lost] {
					m.kill()
				}
			})
			to := treetest.TempDir(t)
			restore(t, w.client(), client.RestoreOptions{ID: "r", To: to, Progress: &progress})
			same(t, src, filepath.Join(to, "r"))
		})
	}
}

// When there are too few nodes, a backup waits, says which nodes are down, and goes on when they
// are up again.
func TestABackupWaitsForNodes(t *testing.T) {
	w, machines := newFleet(t, "1+1", 2)
	src := manyFiles(t, 4, 12)
	said := make(chan string, 1000)
	c := w.client(func(o *client.Options) { o.Status = func(s schemas.Sentence) { said <- s.Text } })
	var progress transfer.Progress
	when(t, &progress, 4<<20, machines[1].kill)
	done := make(chan error, 1)
	go func() {
		_, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{src}, Progress: &progress})
		done <- err
	}()
	for text := ""; !strings.Contains(text, "1 of 2 are up (node1: down)"); {
		text = bustest.Receive(t, "the client says that it waits", said)
	}
	n, err := node.Start(t.Context(), bustest.Connect(t, w.server), machines[1].store, node.Options{Name: "node1", Weight: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, n.Stop()) })
	if err := bustest.Receive(t, "the backup", done); err != nil {
		t.Fatal(err)
	}
	machines[0].kill()
	to := treetest.TempDir(t)
	restore(t, w.client(), client.RestoreOptions{ID: "r", To: to})
	same(t, src, filepath.Join(to, "r"))
}

// A backup goes on with too few nodes if the policy allows degraded versions.
func TestADegradedBackupGoesOn(t *testing.T) {
	w, machines := newFleet(t, "2+1", 3)
	c := w.client()
	yes := true
	_, err := c.Policy(t.Context(), &schemas.Policy{Degraded: &yes}, "")
	check(t, err)
	src := manyFiles(t, 5, 12)
	var progress transfer.Progress
	when(t, &progress, 4<<20, machines[2].kill)
	save(t, c, client.BackupOptions{Paths: []string{src}, Progress: &progress})
	to := treetest.TempDir(t)
	restore(t, w.client(), client.RestoreOptions{ID: "r", To: to})
	same(t, src, filepath.Join(to, "r"))
}

// The client asks only the assigned nodes about a new chunk.
func TestOnlyAssignedNodesAreAskedAboutNewChunks(t *testing.T) {
	w, machines := newFleet(t, "1+1", 6)
	nc := bustest.Connect(t, w.server)
	var asked atomic.Int64
	for _, m := range machines {
		id := m.store.NodeID()
		if _, err := nc.Subscribe(schemas.HaveSubject(id), func(msg *nats.Msg) {
			req, err := schemas.DecodeIDs(msg.Data)
			check(t, err)
			if err == nil && !req.Look && req.Epoch == 0 { // a client's
				asked.Add(int64(len(req.IDs)))
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	check(t, nc.FlushTimeout(bustest.Timeout))
	src := filepath.Join(t.TempDir(), "big")
	write(t, src, clienttest.Noise(6, 16<<20))
	before := asked.Load()
	c := w.client()
	chunks := save(t, c, client.BackupOptions{Paths: []string{src}}).Chunks
	// The client asks two nodes about each chunk; the coordinator asks one or two when it
	// checks.
	if n := asked.Load() - before; n < 2*chunks || n > 4*chunks {
		t.Errorf("the nodes were asked about %d chunks %d times", chunks, n)
	}
}

// A restore reads the other replica of a chunk that is damaged on one node.
func TestARestoreReadsAroundADamagedNode(t *testing.T) {
	w, machines := newFleet(t, "1+1", 2)
	src := manyFiles(t, 7, 4)
	save(t, w.client(), client.BackupOptions{Paths: []string{src}})
	damage(t, machines[0].dir)
	to := treetest.TempDir(t)
	restore(t, w.client(), client.RestoreOptions{ID: "r", To: to})
	same(t, src, filepath.Join(to, "r"))
}

// damage flips a bit in every 100 kB of a node's segments, except for their beginnings.
func damage(t *testing.T, dir string) {
	t.Helper()
	flipped := 0
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".seg" {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		var b [1]byte
		for at := int64(50_000); err == nil && at < info.Size(); at += 100_000 {
			if _, err = f.ReadAt(b[:], at); err == nil {
				b[0] ^= 1
				_, err = f.WriteAt(b[:], at)
				flipped++
			}
		}
		return err
	}))
	if flipped == 0 {
		t.Fatal("there is nothing to damage")
	}
}

// A client that a coordinator has answered before waits for an unreachable one when a backup or
// restore begins.
func TestABackupWaitsForACoordinator(t *testing.T) {
	w := &world{t: t, server: bustest.Server(t), key: filepath.Join(t.TempDir(), "ana.key")}
	nc := bustest.Connect(t, w.server)
	start := func() *coordinator.Coordinator {
		c, err := coordinator.Start(t.Context(), nc, coordinator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := start()
	w.addNode(nc, "node0")
	src := filepath.Join(t.TempDir(), "x")
	write(t, src, []byte("x"))
	said := make(chan string, 1000)
	c := w.client(func(o *client.Options) { o.Status = func(s schemas.Sentence) { said <- s.Text } })
	stranger := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	check(t, old.Stop())
	if _, err := stranger.Backup(t.Context(), client.BackupOptions{Paths: []string{src}}); !errors.Is(err, client.ErrNoCoordinator) {
		t.Errorf("a client that no coordinator has answered before: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{src}})
		if err == nil {
			_, err = c.Restore(t.Context(), client.RestoreOptions{ID: "x@2", To: t.TempDir()})
		}
		done <- err
	}()
	for text := ""; !strings.HasPrefix(text, "waiting for a coordinator at "); {
		text = bustest.Receive(t, "the client says that it waits", said)
	}
	again := start()
	t.Cleanup(func() { check(t, again.Stop()) })
	if err := bustest.Receive(t, "the backup", done); err != nil {
		t.Error(err)
	}
}

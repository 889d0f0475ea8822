package client_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// chunksOf returns the ids of ana's chunks of a kind that a store holds.
func chunksOf(t *testing.T, store *storage.Store, kind schemas.Kind) (ids []schemas.ChunkID) {
	t.Helper()
	vault := schemas.SealedVault("ana")
	check(t, store.Each(t.Context(), storage.Cursor{Vault: vault}, func(h storage.Held) bool {
		if h.Vault == vault && h.Kind == kind && !h.Corrupt {
			ids = append(ids, h.ID)
		}
		return h.Vault == vault
	}))
	return ids
}

// replace replaces a part that a store holds by another one, which may have any content.
func replace(t *testing.T, store *storage.Store, old schemas.Part, c schemas.Chunk) {
	t.Helper()
	vault := schemas.SealedVault("ana")
	c.Sum = c.Checksum()
	_, err := store.Drop(t.Context(), vault, []storage.PartID{{ID: c.ID, Part: old}}, func() bool { return true })
	check(t, err)
	check(t, store.Put(t.Context(), vault, []schemas.Chunk{c}))
}

// spoil replaces a chunk by one that does not open, though its checksum is right: as if the memory
// of the client had failed while it sealed the chunk. at is the byte that is changed.
func spoil(t *testing.T, store *storage.Store, id schemas.ChunkID, at int) {
	t.Helper()
	c, err := store.Get(schemas.SealedVault("ana"), id)
	if err != nil {
		t.Fatal(err)
	}
	c.Content = bytes.Clone(c.Content)
	c.Content[at] ^= 0x40
	replace(t, store, schemas.Whole, c)
}

// checkAll checks everything.
func checkAll(t *testing.T, c *client.Client) *client.CheckResult {
	t.Helper()
	res, err := c.Check(t.Context(), client.CheckOptions{Read: 1})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// someFiles makes a folder with n files that share no chunk.
func someFiles(t *testing.T, n int) string {
	t.Helper()
	src := filepath.Join(treetest.TempDir(t), "src")
	for i := range n {
		write(t, filepath.Join(src, fmt.Sprint(i)), clienttest.Noise(byte(i+1), 100_000))
	}
	settle(t, src)
	return src
}

// A chunk whose checksum is right and which does not open counts as held until a check finds it. The
// next backup of the unchanged folder sends it again, and the check after that finds nothing, on one
// node, and on two that both have the bad chunk.
func TestAChunkThatDoesNotOpenIsReplaced(t *testing.T) {
	for durability, nodes := range map[string]int{"1+0": 1, "1+1": 2} {
		t.Run(durability, func(t *testing.T) {
			w := newWorld(t, nodes)
			w.durability(durability)
			src, c := someFiles(t, 4), w.client()
			save(t, c, client.BackupOptions{Paths: []string{src}})
			save(t, c, client.BackupOptions{Paths: []string{src}}) // so that the parent is trusted
			ids := chunksOf(t, w.stores[0], schemas.Data)
			for _, store := range w.stores {
				spoil(t, store, ids[0], 100)
				spoil(t, store, ids[1], 0) // as a frame of a newer program begins
			}
			if again := save(t, c, client.BackupOptions{Paths: []string{src}}); again.Read > 0 {
				t.Fatalf("the chunks are sent again without a check, so this test shows nothing: %+v", again)
			}
			if res := checkAll(t, c); res.Damaged == 0 || !res.Noted {
				t.Fatalf("the check: %+v", res)
			}
			again := save(t, c, client.BackupOptions{Paths: []string{src}})
			if again.Read == 0 || again.Chunks < 2 {
				t.Errorf("the backup after the check reads %d bytes and sends %d chunks", again.Read, again.Chunks)
			}
			if res := checkAll(t, c); res.Damaged > 0 {
				t.Errorf("after the backup: %+v", res)
			}
			to := t.TempDir()
			restore(t, c, client.RestoreOptions{ID: "src@1", To: to})
			same(t, src, filepath.Join(to, "src"))
			for _, store := range w.stores { // a second check may have to find the copy of the second node
				if n := store.Stats().Corrupt; n > 0 {
					t.Errorf("%d parts are still void", n)
				}
			}
		})
	}
}

// Shards of a chunk that was sealed badly are replaced, all of them.
func TestShardsOfAChunkThatDoesNotOpenAreReplaced(t *testing.T) {
	w, machines := newFleet(t, "2+1", 3)
	src, c := someFiles(t, 4), w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	vault := schemas.SealedVault("ana")
	id := chunksOf(t, machines[0].store, schemas.Data)[0]
	var shards []schemas.Chunk
	for _, m := range machines {
		check(t, m.store.Look(vault, []schemas.ChunkID{id}, func(_ int, p schemas.Part) error {
			s, err := m.store.GetPart(vault, id, p)
			shards = append(shards, s)
			return err
		}))
	}
	whole, err := erasure.Join(shards[:2], nil)
	if err != nil || len(shards) != 3 {
		t.Fatal(len(shards), err)
	}
	whole.Content[100] ^= 0x40
	whole.Sum = whole.Checksum()
	bad, _, err := erasure.Split(schemas.Durability{K: 2, M: 1}, &whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range machines {
		replace(t, m.store, shards[i].Part, bad[shards[i].Part.Shard()])
	}
	if res := checkAll(t, c); res.Damaged == 0 || !res.Noted {
		t.Fatalf("the check: %+v", res)
	}
	save(t, c, client.BackupOptions{Paths: []string{src}})
	if res := checkAll(t, c); res.Damaged > 0 {
		t.Errorf("after the backup: %+v", res)
	}
}

// A backup that cannot open the tree of its parent sends the tree again, without a check.
func TestATreeThatDoesNotOpenIsReplaced(t *testing.T) {
	w := newWorld(t, 1)
	src, c := someFiles(t, 4), w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	for _, id := range chunksOf(t, w.stores[0], schemas.Tree) {
		spoil(t, w.stores[0], id, 50)
	}
	// There is a warning that the parent cannot be read.
	if _, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{src}}); err != nil {
		t.Fatal(err)
	}
	if res := checkAll(t, c); res.Damaged > 0 {
		t.Errorf("after the backup: %+v", res)
	}
}

// A bad copy of a chunk costs nothing when another node has a good one, and a restore that meets the
// bad one has it replaced from there.
func TestABadCopyIsReplacedByAGoodOne(t *testing.T) {
	w := newWorld(t, 0)
	for range 2 {
		store := storagetest.Open(t, t.TempDir(), storage.Options{})
		n, err := node.Start(t.Context(), bustest.Connect(t, w.server), store, node.Options{Weight: 1, Settle: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { check(t, n.Stop()) })
		w.stores = append(w.stores, store)
	}
	w.durability("1+1")
	src, c := someFiles(t, 20), w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	ids := chunksOf(t, w.stores[0], schemas.Data)
	vault := schemas.SealedVault("ana")
	for i, id := range ids { // half of them on each node: a restore may ask either
		spoil(t, w.stores[i%2], id, 100)
	}
	bad := func() (n int) {
		for _, id := range ids {
			a, errA := w.stores[0].Get(vault, id)
			b, errB := w.stores[1].Get(vault, id)
			if check(t, errA); errB != nil || a.Sum != b.Sum {
				n++
			}
		}
		return n
	}
	to := t.TempDir()
	restore(t, c, client.RestoreOptions{ID: "src", To: to})
	same(t, src, filepath.Join(to, "src"))
	bustest.Eventually(t, "the bad copies that the restore has met are replaced", func() bool {
		return bad() < len(ids) && w.stores[0].Stats().Corrupt+w.stores[1].Stats().Corrupt == 0
	})
}

// What a check finds to be lost, though no node knows of it, is saved again by the next backup.
func TestWhatACheckFindsLostIsSavedAgain(t *testing.T) {
	w := newWorld(t, 1)
	src, c := someFiles(t, 4), w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	save(t, c, client.BackupOptions{Paths: []string{src}})
	var lost []storage.PartID
	for _, id := range chunksOf(t, w.stores[0], schemas.Data) {
		lost = append(lost, storage.PartID{ID: id})
	}
	_, err := w.stores[0].Drop(t.Context(), schemas.SealedVault("ana"), lost[:2], func() bool { return true })
	check(t, err)
	// An old version is checked; the next backup builds on the newest.
	res, err := c.Check(t.Context(), client.CheckOptions{ID: "src@1"})
	if err != nil || res.Damaged == 0 || !res.Noted {
		t.Fatalf("the check: %+v, %v", res, err)
	}
	if again := save(t, c, client.BackupOptions{Paths: []string{src}}); again.Read == 0 || again.Chunks < 2 {
		t.Errorf("the backup after the check reads %d bytes and sends %d chunks", again.Read, again.Chunks)
	}
	if res := checkAll(t, c); res.Damaged > 0 {
		t.Errorf("after the backup: %+v", res)
	}
	if again := save(t, c, client.BackupOptions{Paths: []string{src}}); again.Read > 0 {
		t.Errorf("the backup after that reads %d bytes again", again.Read)
	}
}

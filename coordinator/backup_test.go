package coordinator

import (
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// backupOf returns the ids of the chunks of the catalogue's current backup, by key.
func (w *world) backupOf() map[string]schemas.ChunkID {
	w.t.Helper()
	ids := map[string]schemas.ChunkID{}
	err := w.c.catalog.Entries(bustest.Context(w.t), func(e *schemas.CatalogueEntry) error {
		chunk, err := catalog.BackupChunk(e)
		ids[e.Key] = chunk.ID
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// wantBackup fails the test unless each node has these backup chunks and no others.
func (w *world) wantBackup(when string, nodes []*runningNode, want map[string]schemas.ChunkID) {
	w.t.Helper()
	vault := schemas.CatalogueVault()
	for i, n := range nodes {
		found := map[schemas.ChunkID]bool{}
		err := n.store.Each(bustest.Context(w.t), storage.Cursor{Vault: vault}, func(h storage.Held) bool {
			found[h.ID] = h.Vault == vault
			return h.Vault == vault
		})
		if err != nil {
			w.t.Fatal(err)
		}
		for key, id := range want {
			if !found[id] {
				w.t.Errorf("%s node %d has no backup of %s", when, i, key)
			}
			delete(found, id)
		}
		for id, is := range found {
			if !is {
				continue
			}
			c, err := n.store.Get(vault, id)
			var e schemas.CatalogueEntry
			if err == nil {
				err = schemas.Unmarshal(c.Content, &e)
			}
			w.t.Errorf("%s node %d has a backup of %s, revision %d (%v)", when, i, e.Key, e.Revision, err)
		}
	}
}

// A collection keeps the backup of the catalogue's current values, however old it is, and removes
// that of earlier values. Of a version that was forgotten and collected only the tombstone is
// left.
func TestCollectionOfTheBackup(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	nodes := []*runningNode{w.node(), w.node()}
	w.save(opening("r"), w.newTree(1, 1))
	w.save(opening("r"), w.newTree(1, 1))
	w.transmit(nickname, "f", "plain")
	w.endSessions()
	settled := func(when string, grace time.Duration) map[string]schemas.ChunkID {
		t.Helper()
		for range 3 { // what is backed up while one begins stays until the next
			w.c.catalog.ScanBackup()
			w.backedUp()
			w.collectAfter(grace)
		}
		now := w.backupOf()
		w.wantBackup(when, nodes, now)
		return now
	}
	before := settled("at first", 0)
	live, forgotten := versionKey(nickname, "r", 2), versionKey(nickname, "r", 1)
	if len(before) != 5 || before[live].IsZero() || before[forgotten].IsZero() { // and the id, the vault, and f
		t.Fatalf("the backup is %v", before)
	}
	w.forget("r@1", false)
	soft := settled("when one is forgotten", time.Hour)
	if soft[live] != before[live] || soft[forgotten] == before[forgotten] {
		t.Errorf("the backup is %v, it was %v", soft, before)
	}
	w.c.catalog.ScanBackup()
	w.backedUp()
	if c := w.collectAfter(0); c.Versions != 1 {
		t.Errorf("the collection: %+v", c)
	}
	gone := settled("when it is collected", 0)
	if gone[live] != before[live] || gone[forgotten] == soft[forgotten] {
		t.Errorf("the backup is %v, it was %v", gone, soft)
	}
}

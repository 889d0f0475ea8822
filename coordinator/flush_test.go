package coordinator

import (
	"errors"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// What was written before a process ends has a copy when BackUp returns: the versions and the
// policies of a command that ends at once can be rebuilt.
func TestBackUpBeforeTheEnd(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	node := w.node()
	// This coordinator writes the system's id.
	bustest.Eventually(t, "the system has its id", func() bool { return w.c.catalog.SystemID() != "" })
	if err := errors.Join(w.c.catalog.FlushBackup(bustest.Context(t)), w.c.Stop()); err != nil {
		t.Fatal(err)
	}
	running, err := Run(bustest.Context(t), w.nc, Options{CollectEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"one", "two", "three"} {
		w.transmit(nickname, "f", content)
	}
	w.durability(nickname, "1+0")
	if err := running.BackUp(bustest.Context(t)); err != nil {
		t.Error(err)
	}
	var rep schemas.ChunkIDsReply
	err = w.request(schemas.ChunksSubject(node.store.NodeID()), &schemas.ChunksRequest{Vault: schemas.CatalogueVault()}, &rep)
	if got := len(rep.IDs) / len(schemas.ChunkID{}); err != nil || got != 6 { // the id, a vault, three versions, a policy
		t.Errorf("the node has copies of %d values, %v", got, err)
	}
	if err := running.Stop(); err != nil {
		t.Error(err)
	}
}

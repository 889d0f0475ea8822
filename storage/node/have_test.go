package node_test

import (
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/storage/node"
	"servidor-backup/storage/nodetest"
	"servidor-backup/storage/storagetest"
)

// A have request is answered with the parts that are held. One that names an epoch is
// answered only by a node in that epoch, which enters the request's generation.
func TestHaveParts(t *testing.T) {
	s := nodetest.New(t, 1, schemas.Durability{K: 1}, node.Options{Survey: 1 << 40})
	n := s.Nodes[0]
	whole, split, missing := s.Data(100), s.Data(200), s.Data(1)
	shards, _, err := erasure.Split(d21, &split, nil)
	if err != nil {
		t.Fatal(err)
	}
	storagetest.Put(t, n.Store, whole, shards[2], shards[0])
	have := func(req schemas.IDsRequest) (seen string, err error) {
		var rep schemas.HaveReply
		t.Helper()
		req.Vault, req.IDs = storagetest.Vault, []schemas.ChunkID{missing.ID, whole.ID, split.ID, missing.ID}
		answer, err := bus.RequestRaw(bustest.Context(t), s.Conn, schemas.HaveSubject(n.ID), req.Encode())
		if err == nil {
			err = schemas.Unmarshal(answer, &rep)
		}
		if err == nil {
			err = rep.Err()
		}
		if err == nil {
			err = rep.Each(len(req.IDs), func(i int, p schemas.Part) { seen += string(rune('0'+i)) + p.String() + " " })
		}
		return seen, err
	}
	epoch := s.NodeMap().Epoch
	for name, c := range map[string]struct {
		req  schemas.IDsRequest
		want string
	}{
		"whole replicas": {schemas.IDsRequest{}, "1whole "},
		"parts":          {schemas.IDsRequest{Parts: true}, "1whole 2shard 0 of k=2 2shard 2 of k=2 "},
		"a look":         {schemas.IDsRequest{Parts: true, Look: true}, "1whole 2shard 0 of k=2 2shard 2 of k=2 "},
		"in the epoch":   {schemas.IDsRequest{Parts: true, Epoch: epoch}, "1whole 2shard 0 of k=2 2shard 2 of k=2 "},
	} {
		if seen, err := have(c.req); err != nil || seen != c.want {
			t.Errorf("%s: %q, %v", name, seen, err)
		}
	}
	_, err = have(schemas.IDsRequest{Parts: true, Epoch: epoch + 1})
	storagetest.Code(t, err, schemas.OtherEpoch)
	for _, g := range []uint32{9, 8} {
		if _, err := have(schemas.IDsRequest{Parts: true, Epoch: epoch, Generation: g}); err != nil || n.Store.Generation() != 9 {
			t.Errorf("after a request of generation %d, the node is in %d, %v", g, n.Store.Generation(), err)
		}
	}
}

// A node lists the whole chunks of a vault.
func TestChunksListsWholeChunks(t *testing.T) {
	s := nodetest.New(t, 1, schemas.Durability{K: 1}, node.Options{Survey: 1 << 40})
	n := s.Nodes[0]
	chunks := s.Chunks(9)
	shards, _, err := erasure.Split(d21, &chunks[8], nil)
	if err != nil {
		t.Fatal(err)
	}
	storagetest.Put(t, n.Store, append(shards, chunks[:8]...)...)
	var after *schemas.ChunkID
	seen := map[schemas.ChunkID]bool{}
	for {
		var rep schemas.ChunkIDsReply
		if err := n.Request(schemas.ChunksSubject, &schemas.ChunksRequest{Vault: storagetest.Vault, After: after}, &rep); err != nil {
			t.Fatal(err)
		}
		if len(rep.IDs) == 0 {
			break
		}
		for b := rep.IDs; len(b) > 0; b = b[32:] {
			id := schemas.ChunkID(b[:32])
			seen[id], after = true, &id
		}
	}
	if len(seen) != 8 || seen[chunks[8].ID] {
		t.Errorf("%d chunks are listed", len(seen))
	}
}

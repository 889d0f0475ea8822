package replica

import (
	"context"
	"errors"
	"sync"

	"servidor-backup/bus"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

// Void finds the parts of a chunk whose checksums are right and which do not make the chunk, and
// has their nodes note it: until such a part is put again it is not held, so a backup of the same
// content sends it, and nodes rebuild it from sound parts. Nothing is deleted.
//
// Every node that can be reached is asked for its parts once more, so that nothing that happened
// on the way, or in memory, condemns a part. opens is called with whole chunks, which it may
// change, and returns a [BadReplica] for one that does not open.
//
// found is how many such parts there are, and noted how many of them their nodes have noted. Nodes
// that do not respond, or cannot write, are passed over.
func (r *Reader) Void(ctx context.Context, vault schemas.VaultID, id schemas.ChunkID, opens func(*schemas.Chunk) error) (found, noted int) {
	parts := r.allParts(ctx, vault, id)
	bad := func(c schemas.Chunk) bool {
		var b badReplica
		return errors.As(opens(&c), &b)
	}
	for i := range parts {
		p := &parts[i]
		if p.chunk.Part == schemas.Whole {
			p.bad = bad(p.chunk)
			continue
		}
		if p.joined {
			continue
		}
		var stripe []schemas.Chunk
		var members []*placedChunk
		for j := range parts[i:] {
			if q := &parts[i+j]; q.chunk.Part.K() == p.chunk.Part.K() && erasure.SameSeal(&q.chunk, &p.chunk) {
				stripe, members = append(stripe, q.chunk), append(members, q)
				q.joined = true
			}
		}
		whole, err := erasure.Join(stripe, nil)
		isBad := err == nil && bad(whole)
		for _, q := range members {
			q.bad = isBad
		}
	}
	for i := range parts {
		p := &parts[i]
		if !p.bad {
			continue
		}
		found++
		var rep schemas.VoidReply
		ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
		err := bus.Request(ctx, r.nc, schemas.VoidSubject(p.node), &schemas.VoidRequest{Vault: vault, ID: id, Part: p.chunk.Part, Sum: p.chunk.Sum}, &rep)
		cancel()
		if err == nil && rep.Void {
			noted++
		}
	}
	return found, noted
}

// placedChunk is a part of a chunk, as a node has sent it.
type placedChunk struct {
	node   schemas.NodeID
	chunk  schemas.Chunk
	joined bool // a shard whose stripe was looked at
	bad    bool
}

// allParts fetches the parts of a chunk from every node that can be reached. It leaves out parts
// that do not match their checksums.
func (r *Reader) allParts(ctx context.Context, vault schemas.VaultID, id schemas.ChunkID) (all []placedChunk) {
	req := (&schemas.IDsRequest{Vault: vault, IDs: []schemas.ChunkID{id}}).Encode()
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, n := range r.Map().Nodes {
		if !n.State.Reachable() {
			continue
		}
		asking.Go(func() {
			b, err := r.request(ctx, n.ID, schemas.GetSubject(n.ID), req)
			if err != nil {
				return
			}
			rep, err := schemas.DecodeChunks(b)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range rep.Chunks {
				c := &rep.Chunks[i]
				r.bytes.Add(int64(c.Size()))
				if c.ID == id && c.Sum == c.Checksum() {
					all = append(all, placedChunk{node: n.ID, chunk: *c})
				}
			}
		})
	}
	asking.Wait()
	return all
}

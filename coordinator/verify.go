package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// verify proves that every chunk of the new part of the tree under root is held
// by a node. What hangs under parent, the root of the version that the session
// builds on, was proved when that was committed; it is zero when there is none,
// or when it is not to be trusted, and then everything is proved.
//
// Both trees are descended level by level. A chunk that both have is passed
// over with all that is below it: equal ids mean equal subtrees, because the id
// of a tree chunk covers its edges. So the work is proportional to the
// difference, and nothing of the contents is read.
func (c *Coordinator) verify(ctx context.Context, vault schemas.VaultID, root, parent schemas.ChunkID) error {
	if root.IsZero() {
		return schemas.Errorf(schemas.BadRequest, "the commit names no root")
	}
	v := &verifier{
		ctx: ctx, vault: vault, holders: replica.NewReader(c.nc, c.members.nodeMap()),
		oldTrees: idSet{}, newTrees: idSet{root: {}},
	}
	fresh, old := []schemas.ChunkID{root}, []schemas.ChunkID{}
	if !parent.IsZero() {
		v.oldTrees[parent] = struct{}{}
		old = append(old, parent)
	}
	for depth := 0; len(fresh) > 0; depth++ {
		if depth > maxTreeDepth {
			return schemas.Errorf(schemas.BadRequest, "the tree under %s is deeper than %d", root.Short(), maxTreeDepth)
		}
		fresh = v.oldTrees.without(fresh)
		old = v.newTrees.without(old)
		var err error
		fresh, old, err = v.level(fresh, old)
		if errors.Is(err, errParent) && ctx.Err() == nil {
			// A parent that cannot be read spares nothing, but it does not stand
			// in the way of a new version that is whole.
			return c.verify(ctx, vault, root, schemas.ChunkID{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errParent says that it is the parent's tree that cannot be read.
var errParent = errors.New("the parent version cannot be read")

// maxTreeDepth is far above what any tree of content-defined nodes reaches.
const maxTreeDepth = 64

type idSet map[schemas.ChunkID]struct{}

func (s idSet) without(ids []schemas.ChunkID) (rest []schemas.ChunkID) {
	for _, id := range ids {
		if _, in := s[id]; !in {
			rest = append(rest, id)
		}
	}
	return rest
}

// verifier is one call of verify.
type verifier struct {
	ctx     context.Context
	vault   schemas.VaultID
	holders *replica.Reader
	// Tree chunks seen so far on either side. They are few: one for some 64 KiB
	// of entries, and only where the trees differ.
	oldTrees, newTrees idSet
}

// batch is how many tree chunks are looked at together; the edges of so many
// are in memory at a time.
const batch = 64

// level expands one level of both trees: it proves the data edges of the new
// side, and returns the tree edges of both that were not seen before.
func (v *verifier) level(fresh, old []schemas.ChunkID) (nextFresh, nextOld []schemas.ChunkID, err error) {
	oldData := idSet{}
	nextOld, err = v.expand(old, v.oldTrees, func(data []schemas.ChunkID) error {
		for _, id := range data {
			oldData[id] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errParent, err)
	}
	nextFresh, err = v.expand(fresh, v.newTrees, func(data []schemas.ChunkID) error {
		return v.held(oldData.without(data))
	})
	return nextFresh, nextOld, err
}

// expand reads the edges of trees, hands each batch's data edges to data, and
// returns the tree edges that were not in seen.
func (v *verifier) expand(trees []schemas.ChunkID, seen idSet, data func([]schemas.ChunkID) error) (next []schemas.ChunkID, err error) {
	for len(trees) > 0 {
		some := trees[:min(len(trees), batch)]
		trees = trees[len(some):]
		var edges []schemas.ChunkID
		var mu sync.Mutex
		err := v.holders.Fetch(v.ctx, v.vault, some, true, func(_ int, c *schemas.Chunk) error {
			if c.Kind != schemas.Tree {
				return schemas.Errorf(schemas.BadRequest, "chunk %s is %v where a tree chunk is expected", c.ID.Short(), c.Kind)
			}
			mu.Lock()
			defer mu.Unlock()
			edges = append(edges, c.Data...)
			for _, id := range c.Trees {
				if _, known := seen[id]; !known {
					seen[id] = struct{}{}
					next = append(next, id)
				}
			}
			return nil
		})
		if err != nil {
			return next, incomplete(err)
		}
		if err := data(edges); err != nil {
			return next, err
		}
	}
	return next, nil
}

// held proves that data chunks are held.
func (v *verifier) held(ids []schemas.ChunkID) error {
	for len(ids) > 0 {
		some := ids[:min(len(ids), replica.MaxIDs)]
		ids = ids[len(some):]
		held, err := v.holders.Recoverable(v.ctx, v.vault, some)
		if err != nil {
			return incomplete(err)
		}
		for i, ok := range held {
			if !ok {
				return schemas.Errorf(schemas.Incomplete, "chunk %s is not held by any node: run the backup again, what is there is not sent twice", some[i].Short())
			}
		}
	}
	return nil
}

// incomplete turns a node's failure to deliver into the coordinator's refusal
// to commit.
func incomplete(err error) error {
	switch schemas.CodeOf(err) {
	case schemas.BadRequest:
		return err
	case schemas.NotHeld, schemas.Corrupt:
		return schemas.Errorf(schemas.Incomplete, "%v: run the backup again, what is there is not sent twice", err)
	}
	return schemas.Errorf(schemas.Unavailable, "%s", fmt.Sprintf("the version could not be checked: %v", err))
}

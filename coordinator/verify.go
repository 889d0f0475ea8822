package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// verify proves that nodes hold enough parts of every chunk of the new part of the tree under
// root to read it. Everything below parent, the root of the version that the session builds on,
// was proved when that version was committed. A zero parent proves the whole tree.
//
// Both trees are descended level by level. A chunk that both trees have is skipped with
// everything below it: equal ids mean equal subtrees, because the id of a tree chunk covers its
// edges. So the work is proportional to the difference, and no contents are read.
//
// Data chunks are pinned by being asked for. With pin the tree chunks are pinned too, before they
// are read: a session that was open all the time has pinned them itself.
//
// newReader returns a reader with the map as of now.
func verify(ctx context.Context, newReader func() *replica.Reader, vault schemas.VaultID, root, parent schemas.ChunkID, pin bool) error {
	if root.IsZero() {
		return schemas.Errorf(schemas.BadRequest, "the commit names no root")
	}
	v := &verifier{ctx: ctx, vault: vault, reader: newReader(), pin: pin}
	err := v.compare(root, parent)
	if errors.Is(err, errParent) && ctx.Err() == nil {
		// A parent that cannot be read saves no work, but it does not prevent a new version
		// that is complete. The nodes that could not be read may be down by now, so the whole
		// tree is read with the newest map.
		v.reader = newReader()
		err = v.compare(root, schemas.ChunkID{})
	}
	return err
}

// errParent says that the parent's tree cannot be read.
var errParent = errors.New("the parent version cannot be read")

// maxTreeDepth is far above the depth of any tree that a client makes.
const maxTreeDepth = 64

type idSet map[schemas.ChunkID]struct{}

// without returns the ids that are not in the set.
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
	ctx    context.Context
	vault  schemas.VaultID
	reader *replica.Reader
	pin    bool // tree chunks of the new side are pinned
	// oldTrees and newTrees are the tree chunks seen so far on either side. They are few:
	// one for about 64 KiB of entries, and only where the trees differ.
	oldTrees, newTrees idSet
}

// compare descends both trees and proves what only the one under root has.
func (v *verifier) compare(root, parent schemas.ChunkID) error {
	v.oldTrees, v.newTrees = idSet{}, idSet{root: {}}
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
		if fresh, old, err = v.level(fresh, old); err != nil {
			return err
		}
	}
	return nil
}

// verifyBatch is how many tree chunks are read at a time: the edges of that many are in memory.
const verifyBatch = 64

// level reads one level of both trees. It proves the data edges of the new side, and returns
// the tree edges of both sides that were not seen before.
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
	if v.pin {
		if err := v.proveHeld(fresh); err != nil {
			return nil, nil, err
		}
	}
	nextFresh, err = v.expand(fresh, v.newTrees, func(data []schemas.ChunkID) error {
		return v.proveHeld(oldData.without(data))
	})
	return nextFresh, nextOld, err
}

// expand reads the edges of trees. It calls data with each batch's data edges, adds the tree
// edges to seen, and returns those that were not in seen.
func (v *verifier) expand(trees []schemas.ChunkID, seen idSet, data func([]schemas.ChunkID) error) (next []schemas.ChunkID, err error) {
	for len(trees) > 0 {
		batch := trees[:min(len(trees), verifyBatch)]
		trees = trees[len(batch):]
		var edges []schemas.ChunkID
		var mu sync.Mutex
		err := v.reader.Fetch(v.ctx, v.vault, batch, true, func(_ int, c *schemas.Chunk) error {
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
			return next, commitError(err)
		}
		if err := data(edges); err != nil {
			return next, err
		}
	}
	return next, nil
}

// proveHeld proves that nodes hold enough parts of data chunks to read them.
func (v *verifier) proveHeld(ids []schemas.ChunkID) error {
	for len(ids) > 0 {
		batch := ids[:min(len(ids), replica.MaxIDs)]
		ids = ids[len(batch):]
		held, err := v.reader.Recoverable(v.ctx, v.vault, batch)
		if err != nil {
			return commitError(err)
		}
		for i, ok := range held {
			if !ok {
				return schemas.Explain(schemas.Incomplete, "parts-missing", "too few parts of chunk {chunk} are held to read it: run the backup again, chunks that are stored are not sent twice", "chunk", batch[i].Short())
			}
		}
	}
	return nil
}

// commitError turns a failure to read from nodes into the refusal of a commit.
func commitError(err error) error {
	switch schemas.CodeOf(err) {
	case schemas.BadRequest:
		return err
	case schemas.NotHeld, schemas.Corrupt:
		return schemas.Errorf(schemas.Incomplete, "%v: run the backup again, chunks that are stored are not sent twice", err)
	}
	return schemas.Errorf(schemas.Unavailable, "the version could not be checked: %v", err)
}

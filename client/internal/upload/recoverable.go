package upload

import (
	"context"
	"slices"
	"sync"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// MaxIDs is how many chunks one call of [Uploader.Recoverable] may name.
const MaxIDs = replica.MaxIDs

// Recoverable reports whether the nodes hold enough of every one of the chunks to read it. Small
// files that are neighbours share chunks, so the last answers are remembered.
func (u *Uploader) Recoverable(ctx context.Context, ids []schemas.ChunkID) (bool, error) {
	unknown, all := u.recoverable.unknown(ids)
	if !all || len(unknown) == 0 {
		return all, nil
	}
	var held []bool
	err := u.retry.Do(ctx, func() (err error) {
		held, err = u.opt.Replicas.Recoverable(ctx, u.opt.Vault, unknown)
		return err
	})
	if err != nil {
		return false, err
	}
	u.recoverable.remember(unknown, held)
	return !slices.Contains(held, false), nil
}

// answers remembers which chunks of earlier versions can be read. It is safe for concurrent use.
type answers struct {
	mu   sync.Mutex
	held map[schemas.ChunkID]bool
}

// unknown returns the ids without a remembered answer. all is false if a chunk among ids is
// known to be unreadable.
func (a *answers) unknown(ids []schemas.ChunkID) (unknown []schemas.ChunkID, all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		switch held, known := a.held[id]; {
		case !known:
			unknown = append(unknown, id)
		case !held:
			return nil, false
		}
	}
	return unknown, true
}

// remember keeps the answers about ids. When there are many, it forgets the earlier ones.
func (a *answers) remember(ids []schemas.ChunkID, held []bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held == nil || len(a.held) > MaxIDs {
		a.held = map[schemas.ChunkID]bool{}
	}
	for i, id := range ids {
		a.held[id] = held[i]
	}
}

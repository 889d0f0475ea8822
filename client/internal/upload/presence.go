package upload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

const (
	// haveBatch is how many chunks one question to the nodes is about at most.
	haveBatch = 1024
	// haveSlots is how many such questions are under way at a time.
	haveSlots = 4
)

// MaxIDs is how many chunks [uploader.recoverable] takes.
const MaxIDs = replica.MaxIDs

// ask gathers what is waiting into questions. While questions are under way the
// next one grows, so questions are as large as the nodes are slow.
func (u *Uploader) ask() error {
	defer close(u.wanted)
	questions, ctx := errgroup.WithContext(u.ctx)
	questions.SetLimit(haveSlots)
	for {
		chunks, open := u.gather()
		if len(chunks) > 0 {
			questions.Go(func() error {
				err := u.question(ctx, chunks)
				if err != nil {
					u.fail(err) // at once: nobody else takes what is waiting
				}
				return err
			})
		}
		if !open {
			return questions.Wait()
		}
	}
}

func (u *Uploader) gather() (chunks []*pendingChunk, open bool) {
	select {
	case o, open := <-u.asked:
		if !open {
			return nil, false
		}
		chunks = append(chunks, o)
	case <-u.ctx.Done():
		return nil, false
	}
	for len(chunks) < haveBatch {
		select {
		case o, open := <-u.asked:
			if !open {
				return chunks, false
			}
			chunks = append(chunks, o)
		default:
			return chunks, true
		}
	}
	return chunks, true
}

// question asks which nodes hold the chunks, and passes on those that too few do.
func (u *Uploader) question(ctx context.Context, chunks []*pendingChunk) error {
	ids := make([]schemas.ChunkID, len(chunks))
	for i, o := range chunks {
		ids[i] = o.chunk.ID
	}
	var d schemas.Durability
	var held []replica.Presence
	err := u.retry.Do(ctx, func() (err error) {
		d = u.opt.Replicas.Durability(u.opt.Vault)
		held, err = u.opt.Replicas.Presences(ctx, u.opt.Vault, ids)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask the storage nodes what they hold: %w", err)
	}
	for i, o := range chunks {
		if held[i].Complete(d) {
			u.release(o)
			u.states.held(o.chunk.ID)
			continue
		}
		u.states.want(o.chunk.ID, held[i].HasShards())
		select {
		case u.wanted <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Recoverable reports whether all of the chunks, MaxIDs at most, can be had from
// nodes. Small files that stand side by side share chunks, so the last answers are kept.
func (u *Uploader) Recoverable(ctx context.Context, ids []schemas.ChunkID) (bool, error) {
	unknown, all := u.present.unknown(ids)
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
	u.present.remember(unknown, held)
	return !slices.Contains(held, false), nil
}

// presences remembers whether chunks of earlier versions can be had. It is safe for
// concurrent use.
type presences struct {
	mu   sync.Mutex
	held map[schemas.ChunkID]bool
}

// unknown returns those of ids of which nothing is remembered; all is false if one of ids
// cannot be had.
func (p *presences) unknown(ids []schemas.ChunkID) (unknown []schemas.ChunkID, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		switch held, known := p.held[id]; {
		case !known:
			unknown = append(unknown, id)
		case !held:
			return nil, false
		}
	}
	return unknown, true
}

// remember keeps what was said of ids, in place of what was said long ago.
func (p *presences) remember(ids []schemas.ChunkID, held []bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil || len(p.held) > MaxIDs {
		p.held = map[schemas.ChunkID]bool{}
	}
	for i, id := range ids {
		p.held[id] = held[i]
	}
}

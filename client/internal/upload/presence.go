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

// MaxQuestion is how many chunks [uploader.recoverable] takes.
const MaxQuestion = replica.MaxIDs

// ask gathers what is waiting into questions. While questions are under way the
// next one grows, so questions are as large as the nodes are slow.
func (u *Uploader) ask() error {
	defer close(u.wanted)
	questions, ctx := errgroup.WithContext(u.Ctx)
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

func (u *Uploader) gather() (chunks []*PendingChunk, open bool) {
	select {
	case o, open := <-u.Asked:
		if !open {
			return nil, false
		}
		chunks = append(chunks, o)
	case <-u.Ctx.Done():
		return nil, false
	}
	for len(chunks) < haveBatch {
		select {
		case o, open := <-u.Asked:
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
func (u *Uploader) question(ctx context.Context, chunks []*PendingChunk) error {
	ids := make([]schemas.ChunkID, len(chunks))
	for i, o := range chunks {
		ids[i] = o.chunk.ID
	}
	var d schemas.Durability
	var held []replica.Presence
	err := u.retry.Do(ctx, func() (err error) {
		d = u.Holders.Durability(u.Vault)
		held, err = u.Holders.Presences(ctx, u.Vault, ids)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask the storage nodes what they hold: %w", err)
	}
	for i, o := range chunks {
		if held[i].Complete(d) {
			u.release(o)
			u.States.held(o.chunk.ID)
			continue
		}
		u.States.want(o.chunk.ID, held[i].HasShards())
		select {
		case u.wanted <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Recoverable reports whether all of the chunks, MaxQuestion at most, can be had from
// nodes. Small files that stand side by side share chunks, so the last answers are kept.
func (u *Uploader) Recoverable(ctx context.Context, ids []schemas.ChunkID) (bool, error) {
	unknown, all := u.present.unknown(ids)
	if !all || len(unknown) == 0 {
		return all, nil
	}
	var held []bool
	err := u.retry.Do(ctx, func() (err error) {
		held, err = u.Holders.Recoverable(ctx, u.Vault, unknown)
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
	if p.held == nil || len(p.held) > MaxQuestion {
		p.held = map[schemas.ChunkID]bool{}
	}
	for i, id := range ids {
		p.held[id] = held[i]
	}
}

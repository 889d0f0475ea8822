package upload

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

const (
	// maxAsked is how many chunks one question to the nodes is about at most.
	maxAsked = 1024
	// maxQuestions is how many questions are under way at a time.
	maxQuestions = 4
)

// ask gathers queued chunks into questions. While questions are under way, the next one grows,
// so questions are the larger, the slower the nodes are.
func (u *Uploader) ask() error {
	defer close(u.wanted)
	questions, ctx := errgroup.WithContext(u.ctx)
	questions.SetLimit(maxQuestions)
	for {
		chunks, more := u.gatherQueued()
		if len(chunks) > 0 {
			questions.Go(func() error {
				err := u.askAbout(ctx, chunks)
				if err != nil {
					u.fail(err) // at once: Wait may be far, and nothing else reads queued
				}
				return err
			})
		}
		if !more {
			return questions.Wait()
		}
	}
}

// gatherQueued waits for a queued chunk and takes the others that are queued by then. It
// reports false if no more come.
func (u *Uploader) gatherQueued() (chunks []*pendingChunk, more bool) {
	select {
	case p, more := <-u.queued:
		if !more {
			return nil, false
		}
		chunks = append(chunks, p)
	case <-u.ctx.Done():
		return nil, false
	}
	for len(chunks) < maxAsked {
		select {
		case p, more := <-u.queued:
			if !more {
				return chunks, false
			}
			chunks = append(chunks, p)
		default:
			return chunks, true
		}
	}
	return chunks, true
}

// askAbout asks the nodes what they hold of the chunks, and passes on to the sealers the
// chunks that they hold too little of.
func (u *Uploader) askAbout(ctx context.Context, chunks []*pendingChunk) error {
	ids := make([]schemas.ChunkID, len(chunks))
	for i, p := range chunks {
		ids[i] = p.chunk.ID
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
	for i, p := range chunks {
		if held[i].Enough(d) {
			u.release(p)
			u.states.markHeld(p.chunk.ID)
			continue
		}
		u.states.markWanted(p.chunk.ID, held[i].HasShards())
		select {
		case u.wanted <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

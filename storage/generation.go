package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// The generation is in a file of its own, GENERATION, because the index may lose its
// last batches in a crash, or all when it is made anew. It must not be forgotten: if a
// generation were entered a second time as if it were new, a sweep would take what was
// said to be held, and what was marked, in it before.

// SetGeneration begins the generation g of collections, which is larger than all
// before. From when it returns, whatever is put, or said to be held, is of at least
// this generation, also after a crash.
//
// What was said and marked before a crash may be forgotten. So sweeps are refused for
// sessions that are older than the first new generation which a store is given
// after it was opened; the one that it was in already is not new. Nor is there one to
// begin with anew if some in between were missed: what was said to be held in those is
// not of them.
func (s *Store) SetGeneration(ctx context.Context, g uint32) error {
	return s.turn(ctx, func() error {
		old := s.index.snapshot().generation
		if g > old+1 {
			s.floor.Store(0)
		}
		now := max(g, old)
		if now > s.written {
			if err := s.writeGeneration(now); err != nil {
				return err
			}
		}
		if err := s.index.setGeneration(now); err != nil {
			return err
		}
		if s.floor.Load() == 0 {
			floor := max(g, old+1)
			if s.unsure {
				floor = now + 1
			}
			s.floor.Store(floor)
		}
		return nil
	})
}

// CatchUp brings the store into the generation g, if it is in a lower one: somebody who
// is in g relies on what is said here. The collection of g has begun without this store,
// so it may not be swept for sessions of that one.
func (s *Store) CatchUp(ctx context.Context, g uint32) error {
	if g <= s.Generation() {
		return nil
	}
	return s.turn(ctx, func() error {
		if g <= s.Generation() {
			return nil
		}
		s.floor.Store(0)
		if g > s.written {
			if err := s.writeGeneration(g); err != nil {
				return err
			}
		}
		return s.index.setGeneration(g)
	})
}

// Generation is the one that the store is in, 0 before the first.
func (s *Store) Generation() uint32 { return s.index.snapshot().generation }

// openGeneration reads GENERATION, if there is one. After a damaged one nobody knows
// which generations were entered.
func (s *Store) openGeneration() error {
	b, err := readFile(s.fs, s.fs.PathJoin(s.dir, generationName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var h fileHeader
	if err == nil {
		h, err = decodeFileHeader(b, generationMagic)
	}
	switch {
	case errors.Is(err, errHeader) || err == nil && h.salt != s.identity.salt:
		s.unsure = true
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", generationName, err)
	}
	s.written = h.number
	return s.index.setGeneration(h.number)
}

// writeGeneration makes the GENERATION file, whole or not at all.
func (s *Store) writeGeneration(g uint32) error {
	h := s.identity
	h.magic, h.number = generationMagic, g
	if err := replaceFile(s.fs, s.dir, generationName, h.encode()); err != nil {
		return fmt.Errorf("write %s: %w", generationName, err)
	}
	s.written = g
	return nil
}

// setGeneration raises the generation.
func (x *index) setGeneration(g uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g <= x.state.generation {
		return nil
	}
	state := x.state
	state.generation = g
	return x.commit(x.db.NewBatch(), state, nil)
}

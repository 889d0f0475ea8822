package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

// generations is the store's memory of the generations of collections.
//
// The newest generation is in a file of its own, GENERATION, because the index may
// lose its last batches in a crash, or everything when it is rebuilt. The
// generation must not be forgotten: if the store entered one a second time as if it
// were new, a sweep would remove what was pinned and marked in it before.
type generations struct {
	dir   *directory
	index *index.Index

	// floor is the oldest generation for which the store may be swept: the first new
	// one that it entered since it was opened. It is 0 before that.
	floor atomic.Uint32

	// The writer's turns alone use these.
	written uint32 // the generation in the file
	unsure  bool   // the file was damaged when the store was opened
}

// load reads GENERATION, if there is one. If it is damaged, it is unknown which
// generations the store was in.
func (g *generations) load() error {
	h, err := g.dir.readHeader(generationName, segment.GenerationMagic)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, segment.ErrHeader):
		g.unsure = true
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", generationName, err)
	}
	g.written = h.Number
	return g.index.SetGeneration(h.Number)
}

// current returns the store's generation.
func (g *generations) current() uint32 { return g.index.State().Generation }

// begin begins the generation n of a collection. The file is written first, so that
// nothing is of a generation that a crash makes the store forget.
func (g *generations) begin(n uint32) error {
	old := g.current()
	if n > old+1 {
		g.floor.Store(0) // the store was not told of the generations in between
	}
	now := max(n, old)
	if err := g.enter(now); err != nil {
		return err
	}
	if g.floor.Load() == 0 {
		floor := max(n, old+1)
		if g.unsure {
			floor = now + 1
		}
		g.floor.Store(floor)
	}
	return nil
}

// catchUp enters the generation n, if it is newer, without taking part in its
// collection.
func (g *generations) catchUp(n uint32) error {
	if n <= g.current() {
		return nil
	}
	g.floor.Store(0)
	return g.enter(n)
}

func (g *generations) enter(n uint32) error {
	if n > g.written {
		if err := g.dir.writeHeader(generationName, segment.GenerationMagic, n, g.dir.identity.Created); err != nil {
			return err
		}
		g.written = n
	}
	return g.index.SetGeneration(n)
}

// canSweep returns an error if a sweep of what is older than the generation before
// is refused.
func (g *generations) canSweep(before uint32) error {
	if floor, now := g.floor.Load(), g.current(); floor == 0 || before < floor || before > now {
		return fmt.Errorf("%w: sessions of generation %d, node %s was started in %d and is in %d", ErrTooEarly, before, g.dir.identity.Node, floor, now)
	}
	return nil
}

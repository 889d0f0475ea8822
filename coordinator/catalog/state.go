package catalog

import (
	"context"
	"errors"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// State is what the coordinators know together beside the catalogue. Its bucket has the keys
//
//	generations    generations
//	collection     Collection, the newest one
//	copies         revisionBase
//	checkpoint.NICKNAME.RECORD    Checkpoint, with names as in the catalogue
type State struct{ bucket *kv.Bucket }

const (
	generationsKey  = "generations"
	collectionKey   = "collection"
	revisionBaseKey = "copies"
)

// generations number the collections.
type generations struct {
	// Given is the newest number. No number is given twice, whatever becomes of the
	// coordinator that has it.
	Given uint32 `msgpack:"given"`
	// Begun is the generation that sessions note when they are opened: all nodes know it.
	Begun uint32 `msgpack:"begun"`
}

// Collection is what is known of the newest collection.
type Collection struct {
	schemas.Collection
	// Lost are versions of which chunks are lost; LostMore says that there are more.
	Lost     []schemas.Lost `msgpack:"lost,omitempty"`
	LostMore bool           `msgpack:"lost_more,omitempty"`
}

// Running reports whether the collection has begun and not ended.
func (c *Collection) Running() bool { return c.Started > 0 && c.Ended == 0 }

// revisionBase is added to revisions in the catalogue's backup, so that they continue above
// those of catalogues that were lost. Revisions begin with the time at which the bucket was
// made, so the base is 0 unless a clock was wrong or JetStream has lost its last writes.
type revisionBase struct {
	Base uint64 `msgpack:"base"`
}

func (s *State) revisionBase(ctx context.Context) (uint64, error) {
	var b revisionBase
	_, err := s.bucket.Get(ctx, revisionBaseKey, &b)
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return b.Base, err
}

// Generation is the generation for sessions that are opened now. It may be an older one than
// that of the newest collection.
func (s *State) Generation(ctx context.Context) (uint32, error) {
	var g generations
	_, err := s.bucket.Get(ctx, generationsKey, &g)
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return g.Begun, err
}

// NextGeneration gives a number to a collection. The first number of a new bucket is above
// those of a bucket that was lost, which nodes may still have.
func (s *State) NextGeneration(ctx context.Context) (given uint32, err error) {
	err = s.editGenerations(ctx, func(g *generations) {
		if g.Given++; g.Given == 1 {
			g.Given = secondsNow()
		}
		given = g.Given
	})
	return given, err
}

// BeginGeneration makes the sessions that are opened from now on note the generation.
func (s *State) BeginGeneration(ctx context.Context, generation uint32) error {
	return s.editGenerations(ctx, func(g *generations) { g.Begun = max(g.Begun, generation) })
}

func (s *State) editGenerations(ctx context.Context, change func(*generations)) error {
	var g generations
	_, err := s.bucket.Edit(ctx, generationsKey, &g, func() { g = generations{} }, func() (bool, error) {
		change(&g)
		return true, nil
	})
	return err
}

// Collection is the newest collection; a zero one before the first.
func (s *State) Collection(ctx context.Context) (*Collection, error) {
	c := new(Collection)
	_, err := s.bucket.Get(ctx, collectionKey, c)
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return c, err
}

// SaveCollection writes the progress or the end of a collection, unless a newer one has begun.
func (s *State) SaveCollection(ctx context.Context, c *Collection) error {
	var now Collection
	_, err := s.bucket.Edit(ctx, collectionKey, &now, func() { now = Collection{} }, func() (bool, error) {
		if now.Generation > c.Generation {
			return false, schemas.Explain(schemas.NotNow, "collection-begun", "collection {number} has begun", "number", now.Generation)
		}
		now = *c
		return true, nil
	})
	return err
}

// continueNumbers makes numbers continue above those of catalogues that were lost: revisions
// in the backup, which were behind by the given number, and those of collections, which only
// the nodes know.
func (s *State) continueNumbers(ctx context.Context, behind uint64) error {
	var b revisionBase
	_, err := s.bucket.Edit(ctx, revisionBaseKey, &b, func() { b = revisionBase{} }, func() (bool, error) {
		b.Base += behind
		return behind > 0, nil
	})
	if err != nil {
		return err
	}
	return s.editGenerations(ctx, func(g *generations) { g.Given = max(g.Given, secondsNow()) })
}

// secondsNow is above the numbers of all collections: there were never as many as seconds
// since 1970.
func secondsNow() uint32 { return uint32(time.Now().Unix()) }

package coordinator

import (
	"context"
	"errors"
	"time"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// state is what coordinators know together beside the catalogue:
//
//	generations    generations
//	collection     collected, of the newest collection
//	copies         copyBase
type state struct{ kv *kv.Bucket }

const (
	generationsKey = "generations"
	collectionKey  = "collection"
	copiesKey      = "copies"
)

// generations number the collections.
type generations struct {
	// Given is the newest; no number is given twice, whatever becomes of the
	// coordinator that has it.
	Given uint32 `msgpack:"given"`
	// Begun is the one that sessions note when they are opened: all nodes know it.
	Begun uint32 `msgpack:"begun"`
}

// collected is what is known of the newest collection.
type collected struct {
	schemas.Collection
	Lost     []schemas.Lost `msgpack:"lost,omitempty"`
	LostMore bool           `msgpack:"lost_more,omitempty"`
}

// copyBase is what is added to the revisions in the catalogue's copies, so that they go on
// above those of catalogues before this one. Revisions begin with the time, so it is 0
// unless the clock was wrong, or JetStream has lost what was written last.
type copyBase struct {
	Base uint64 `msgpack:"base"`
}

func (s *state) copyBase(ctx context.Context) (uint64, error) {
	var b copyBase
	_, err := s.kv.Get(ctx, copiesKey, &b)
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return b.Base, err
}

// generation is the one for sessions that are opened now, or an older one.
func (s *state) generation(ctx context.Context) (uint32, error) {
	var g generations
	_, err := s.kv.Get(ctx, generationsKey, &g)
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return g.Begun, err
}

// next gives a number to a collection. The first begins above those of a state that was
// lost, which nodes may be in.
func (s *state) next(ctx context.Context) (given uint32, err error) {
	err = s.number(ctx, func(g *generations) {
		if g.Given++; g.Given == 1 {
			g.Given = secondsNow()
		}
		given = g.Given
	})
	return given, err
}

// begin makes the sessions that are opened from now on note the generation.
func (s *state) begin(ctx context.Context, generation uint32) error {
	return s.number(ctx, func(g *generations) { g.Begun = max(g.Begun, generation) })
}

func (s *state) number(ctx context.Context, change func(*generations)) error {
	var g generations
	_, err := s.kv.Edit(ctx, generationsKey, &g, func() { g = generations{} }, func() (bool, error) {
		change(&g)
		return true, nil
	})
	return err
}

// collection is the newest one; a zero one before the first.
func (s *state) collection(ctx context.Context) (*collected, error) {
	r := new(collected)
	_, err := s.kv.Get(ctx, collectionKey, r)
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return r, err
}

// save writes how a collection goes, unless a newer one has begun.
func (s *state) save(ctx context.Context, r *collected) error {
	var now collected
	_, err := s.kv.Edit(ctx, collectionKey, &now, func() { now = collected{} }, func() (bool, error) {
		if now.Generation > r.Generation {
			return false, schemas.Errorf(schemas.NotNow, "collection %d has begun", now.Generation)
		}
		now = *r
		return true, nil
	})
	return err
}

// goOn makes numbers go on above those of catalogues that were lost: revisions of copies,
// which were behind them by so much, and collections, of which only the nodes know.
func (s *state) goOn(ctx context.Context, behind uint64) error {
	var b copyBase
	_, err := s.kv.Edit(ctx, copiesKey, &b, func() { b = copyBase{} }, func() (bool, error) {
		b.Base += behind
		return behind > 0, nil
	})
	if err != nil {
		return err
	}
	return s.number(ctx, func(g *generations) { g.Given = max(g.Given, secondsNow()) })
}

// secondsNow is above the numbers of all collections: there were never as many as seconds.
func secondsNow() uint32 { return uint32(time.Now().Unix()) }

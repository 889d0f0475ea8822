package coordinator

import (
	"context"
	"errors"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// state is what coordinators know together beside the catalogue:
//
//	generations    generations
//	collection     collected, of the newest collection
type state struct{ kv *bus.Bucket }

const (
	generationsKey = "generations"
	collectionKey  = "collection"
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
	Lost []schemas.Lost `msgpack:"lost,omitempty"`
}

// generation is the one for sessions that are opened now, or an older one.
func (s *state) generation(ctx context.Context) (uint32, error) {
	var g generations
	_, err := s.kv.Get(ctx, generationsKey, &g)
	if errors.Is(err, bus.ErrNoKey) {
		err = nil
	}
	return g.Begun, err
}

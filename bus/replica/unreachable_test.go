package replica_test

import (
	"errors"
	"slices"
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// A request to an unresponsive node ends when a newer map says that the node is down.
func TestReaderEndsRequestsToNodesThatAreDown(t *testing.T) {
	for kind, ask := range map[string]func(t *testing.T, r *replica.Reader, c schemas.Chunk) error{
		"have": func(t *testing.T, r *replica.Reader, c schemas.Chunk) error {
			_, err := r.Recoverable(bustest.Context(t), vault, []schemas.ChunkID{c.ID})
			return err
		},
		"get": func(t *testing.T, r *replica.Reader, c schemas.Chunk) error {
			return fetched(t, r, []schemas.Chunk{c}, []schemas.ChunkID{c.ID})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			r, nodes := startMemoryNodes(t, schemas.Durability{K: 1}, "a")
			nodes["a"].unresponsive = true
			c := newChunk(100)
			ended := make(chan error, 1)
			go func() { ended <- ask(t, r, c) }()
			bustest.Eventually(t, "the node is asked", func() bool { return asked(nodes, kind) > 0 })
			m := *r.Map()
			m.Epoch++
			m.Nodes = slices.Clone(m.Nodes)
			m.Nodes[0].State = schemas.Down
			r.SetMap(&m)
			if err := bustest.Receive(t, "the end of the request", ended); !errors.Is(err, bus.ErrNoResponders) {
				t.Errorf("the error is %v, want %v", err, bus.ErrNoResponders)
			}
			// A node that is up again is asked again.
			up := m
			up.Epoch++
			up.Nodes = slices.Clone(m.Nodes)
			up.Nodes[0].State = schemas.Up
			r.SetMap(&up)
			nodes["a"].mu.Lock()
			nodes["a"].unresponsive = false
			nodes["a"].hold(c)
			nodes["a"].mu.Unlock()
			if err := ask(t, r, c); err != nil {
				t.Errorf("after the node is up again: %v", err)
			}
		})
	}
}

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

// A question to a node that does not answer ends when a newer map says that it is
// away.
func TestHoldersDoNotWaitForWhoIsAway(t *testing.T) {
	for kind, ask := range map[string]func(t *testing.T, h *replica.Reader, c schemas.Chunk) error{
		"have": func(t *testing.T, h *replica.Reader, c schemas.Chunk) error {
			_, err := h.Recoverable(bustest.Patient(t), vault, []schemas.ChunkID{c.ID})
			return err
		},
		"get": func(t *testing.T, h *replica.Reader, c schemas.Chunk) error {
			return fetched(t, h, []schemas.Chunk{c}, []schemas.ChunkID{c.ID})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			h, shelves := someShelves(t, schemas.Durability{K: 1}, "a")
			shelves["a"].silent = true
			c := newChunk(100)
			ended := make(chan error, 1)
			go func() { ended <- ask(t, h, c) }()
			bustest.Eventually(t, "the node is asked", func() bool { return asked(shelves, kind) > 0 })
			m := *h.Map()
			m.Epoch++
			m.Nodes = slices.Clone(m.Nodes)
			m.Nodes[0].State = schemas.Down
			h.SetMap(&m)
			if err := bustest.Receive(t, "the answer", ended); !errors.Is(err, bus.ErrNoResponders) {
				t.Errorf("the error is %v", err)
			}
			// Back again, it is asked and waited for.
			up := m
			up.Epoch++
			up.Nodes = slices.Clone(m.Nodes)
			up.Nodes[0].State = schemas.Up
			h.SetMap(&up)
			shelves["a"].mu.Lock()
			shelves["a"].silent = false
			shelves["a"].hold(c)
			shelves["a"].mu.Unlock()
			if err := ask(t, h, c); err != nil {
				t.Errorf("of a node that is back: %v", err)
			}
		})
	}
}

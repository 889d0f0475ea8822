package storage

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
)

// gate admits operations until the store is closed.
type gate struct {
	node       schemas.NodeID
	stop       chan struct{} // closed by Store.Close
	operations sync.RWMutex  // held for reading while an operation uses the files
	chore      chan struct{} // of capacity 1: full while a check or a compaction is under way
}

func newGate(node schemas.NodeID) *gate {
	return &gate{node: node, stop: make(chan struct{}), chore: make(chan struct{}, 1)}
}

// enter begins an operation that uses the files; leave ends it.
func (g *gate) enter() error {
	g.operations.RLock()
	if err := g.stopped(); err != nil {
		g.operations.RUnlock()
		return err
	}
	return nil
}

func (g *gate) leave() { g.operations.RUnlock() }

// stopped returns an error once the store is being closed.
func (g *gate) stopped() error {
	select {
	case <-g.stop:
		return g.closedError()
	default:
		return nil
	}
}

func (g *gate) closedError() error {
	return schemas.Explain(schemas.NodeClosed, "node-stops", "node {node} is shutting down; ask another one", "node", g.node)
}

// beginChore waits until no other check or compaction is under way. endChore must
// be called afterwards.
func (g *gate) beginChore(ctx context.Context) error {
	select {
	case g.chore <- struct{}{}:
		return nil
	case <-g.stop:
		return g.closedError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) endChore() { <-g.chore }

// health says whether the disk takes puts.
type health struct {
	node schemas.NodeID
	full atomic.Bool // the last put was refused for lack of space

	mu      sync.Mutex
	failure error // why puts are refused until the store is opened again
}

// fail makes the store refuse puts from now on. The first cause stays. After a
// failed sync it is unknown what the disk holds until the next Open reads it.
func (h *health) fail(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failure == nil {
		h.failure = cause
	}
}

// indexFailed notes a failure in Pebble's background. A full disk is no failure of
// the store: it passes.
func (h *health) indexFailed(cause error) {
	if vfs.IsNoSpaceError(cause) {
		h.full.Store(true)
		return
	}
	h.fail(cause)
}

// failed returns why puts are refused, or nil.
func (h *health) failed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failure
}

// refusal returns the answer to a put if the store has failed, or nil.
func (h *health) refusal() error {
	if cause := h.failed(); cause != nil {
		return schemas.Explain(schemas.DiskFailed, "disk-failed",
			"the disk of node {node} failed; it takes no puts until it is started again", "node", h.node).Because(cause)
	}
	return nil
}

package members

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// Map is the node map as of now, with the nodes sorted by name. It is the caller's.
func (m *Members) Map() *schemas.NodeMap {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &schemas.NodeMap{Epoch: m.epoch}
	for _, n := range m.nodes {
		if n.card.State == schemas.Removed {
			continue
		}
		c := n.card.Node
		c.Free, c.Chunks, c.Bytes, c.Damaged = n.latest.Free, n.latest.Chunks, n.latest.Bytes, n.latest.Damaged
		out.Nodes = append(out.Nodes, c)
	}
	slices.SortFunc(out.Nodes, func(a, b schemas.Node) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	m.fillPolicies(out)
	if m.opt.System != nil {
		out.System = m.opt.System()
	}
	return out
}

// Epoch is the epoch of the map as of now.
func (m *Members) Epoch() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch
}

// Changed returns a channel that is closed when the epoch is no longer that of now.
func (m *Members) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Serve answers backup.nodes.
func (m *Members) Serve(context.Context, *schemas.NodesRequest) (any, error) {
	return &schemas.NodesReply{Reply: schemas.OK, Map: m.Map()}, nil
}

const (
	// publishEvery is how often the map is published although nothing has changed, for
	// programs that have missed a change.
	publishEvery = 3 * time.Second
	// publishDelay is for how long changes are collected before the map is published.
	publishDelay = 30 * time.Millisecond
)

// publishMap publishes the map whenever it has changed, and again from time to time.
func (m *Members) publishMap(run context.Context, nc *nats.Conn) {
	again := time.NewTicker(publishEvery)
	defer again.Stop()
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if err := replica.PublishMap(nc, m.Map()); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			m.opt.Log.Warn("the node map could not be published", "error", err)
		}
		select {
		case <-run.Done():
			return
		case <-again.C:
		case <-changed:
			select {
			case <-run.Done():
				return
			case <-time.After(publishDelay):
			}
		}
	}
}

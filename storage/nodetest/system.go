// Package nodetest helps tests of storage nodes: a [System] is several nodes with real stores
// on one server, with just as much of a coordinator as they need.
package nodetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// System is several nodes on one server, and a coordinator that registers them and publishes
// the node map.
type System struct {
	*storagetest.Maker
	Conn  *nats.Conn // of the tests
	Opt   node.Options
	Nodes []*Member // except those that are down or gone

	t      testing.TB
	server *embedded.Server
	mu     sync.Mutex
	m      schemas.NodeMap
}

// New starts a system with a number of nodes and durability d, and waits until every node
// knows of all of them. Its nodes have the given options, but short times by default, and all
// the same weight.
func New(t testing.TB, nodes int, d schemas.Durability, opt node.Options) *System {
	t.Helper()
	s := &System{Maker: storagetest.NewMaker(7), t: t, server: bustest.Server(t), Opt: opt}
	if s.Opt.Settle == 0 {
		s.Opt.Settle = 20 * time.Millisecond
	}
	if s.Opt.Survey == 0 {
		s.Opt.Survey = 100 * time.Millisecond
	}
	s.Opt.Weight = 1
	s.m = schemas.NodeMap{Epoch: 1, Durability: d}
	s.Conn = bustest.Connect(t, s.server)
	if err := s.coordinate(); err != nil {
		t.Fatal(err)
	}
	for range nodes {
		s.Add()
	}
	s.AwaitSurveys()
	return s
}

// coordinate serves what nodes need of a coordinator.
func (s *System) coordinate() error {
	service, err := bus.NewService(s.Conn, bus.ServiceConfig{Name: "backup-coordinator"})
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = service.Stop() })
	err = bus.Handle(service, "register", schemas.SubjectRegister, s.register)
	if err == nil {
		err = bus.Handle(service, "nodes", schemas.SubjectNodes, func(context.Context, *schemas.NodesRequest) (any, error) {
			return &schemas.NodesReply{Reply: schemas.OK, Map: s.NodeMap()}, nil
		})
	}
	if err == nil {
		err = service.Ready(bustest.Context(s.t))
	}
	return err
}

func (s *System) register(_ context.Context, req *schemas.RegisterRequest) (any, error) {
	m := s.Change(func(m *schemas.NodeMap) bool {
		n := m.Find(req.Node.ID)
		switch {
		case n == nil:
			m.Nodes = append(m.Nodes, req.Node)
		case n.State == schemas.Down || n.State == schemas.Gone:
			n.State = schemas.Up
		default:
			return false
		}
		return true
	})
	return &schemas.RegisterReply{Reply: schemas.OK, Epoch: m.Epoch, Heartbeat: int64(time.Second)}, nil
}

// NodeMap returns a copy of the newest map.
func (s *System) NodeMap() *schemas.NodeMap {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.m
	m.Nodes = slices.Clone(m.Nodes)
	m.Vaults = slices.Clone(m.Vaults)
	return &m
}

// Change changes the map, and begins a new epoch if do returns true. It publishes the map in
// any case.
func (s *System) Change(do func(m *schemas.NodeMap) bool) *schemas.NodeMap {
	s.mu.Lock()
	if do(&s.m) {
		s.m.Epoch++
	}
	s.mu.Unlock()
	m := s.NodeMap()
	if err := replica.PublishMap(s.Conn, m); err != nil {
		s.t.Error(err)
	}
	return m
}

// SetState changes the state of a node in the map.
func (s *System) SetState(n *Member, state schemas.State) {
	s.Change(func(m *schemas.NodeMap) bool {
		m.Find(n.ID).State = state
		return true
	})
}

// SetDurability changes the default durability. The epoch is a new one even if the durability
// is not.
func (s *System) SetDurability(d schemas.Durability) {
	s.Change(func(m *schemas.NodeMap) bool {
		m.Durability = d
		return true
	})
}

// Add starts a new node.
func (s *System) Add() *Member {
	s.t.Helper()
	n := &Member{s: s, FS: vfs.NewCrashableMem()}
	s.Nodes = append(s.Nodes, n)
	n.Start()
	s.t.Cleanup(func() {
		if n.node != nil {
			n.Stop()
		}
	})
	return n
}

// Find returns the node with an id.
func (s *System) Find(id schemas.NodeID) *Member {
	for _, n := range s.Nodes {
		if n.ID == id {
			return n
		}
	}
	s.t.Fatalf("no node %s", id)
	return nil
}

func (s *System) remove(n *Member) {
	s.Nodes = slices.DeleteFunc(s.Nodes, func(o *Member) bool { return o == n })
}

// Save stores chunks on the nodes that clients would store them on. No node serves meanwhile:
// on a busy machine saving takes longer than Settle, and nodes would heal what is still to be
// saved.
func (s *System) Save(chunks ...schemas.Chunk) {
	s.t.Helper()
	m := s.NodeMap()
	p := placement.New(m)
	d := m.DurabilityOf(storagetest.Vault)
	parts := map[schemas.NodeID][]schemas.Chunk{}
	for i := range chunks {
		c := &chunks[i]
		if d.Splits(c.Kind, len(c.Content)) {
			shards, _, err := erasure.Split(d, c, nil)
			if err != nil {
				s.t.Fatal(err)
			}
			for i, id := range p.Place(nil, c.ID, d.Nodes()) {
				parts[id] = append(parts[id], shards[i])
			}
			continue
		}
		for _, id := range p.Place(nil, c.ID, d.Replicas()) {
			parts[id] = append(parts[id], *c)
		}
	}
	for _, n := range s.Nodes {
		n.Pause()
	}
	for id, parts := range parts {
		storagetest.Put(s.t, s.Find(id).Store, parts...)
	}
	for _, n := range s.Nodes {
		n.Serve()
	}
}

// Chunks makes n new chunks of every kind and several lengths.
func (s *System) Chunks(n int) (chunks []schemas.Chunk) {
	for i := range n {
		switch i % 4 {
		case 0:
			chunks = append(chunks, s.Data(schemas.MinSplit+i))
		case 1:
			chunks = append(chunks, s.Data(3000+i))
		case 2:
			chunks = append(chunks, s.Tree(2, 3, 1000+i))
		default:
			chunks = append(chunks, s.Data(schemas.MinSplit-1))
		}
	}
	return chunks
}

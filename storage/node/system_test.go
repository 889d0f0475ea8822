package node_test

import (
	"context"
	"fmt"
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
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// system is several nodes with real stores on one server, and what they need of a
// coordinator: somebody who keeps the map.
type system struct {
	*storagetest.Maker
	t      testing.TB
	server *embedded.Server
	nc     *nats.Conn
	opt    node.Options
	nodes  []*member

	mu sync.Mutex
	m  schemas.NodeMap
}

// member is a node of a system, also when it does not run.
type member struct {
	s     *system
	id    schemas.NodeID
	fs    *vfs.MemFS
	store *storage.Store
	node  *node.Node
	nc    *nats.Conn
}

func newSystem(t testing.TB, nodes int, d schemas.Durability, opt node.Options) *system {
	t.Helper()
	s := &system{Maker: storagetest.NewMaker(7), t: t, server: bustest.Server(t), opt: opt}
	if s.opt.Settle == 0 {
		s.opt.Settle = 20 * time.Millisecond
	}
	if s.opt.Survey == 0 {
		s.opt.Survey = 100 * time.Millisecond
	}
	s.opt.Weight = 1
	s.m = schemas.NodeMap{Epoch: 1, Durability: d}
	s.nc = bustest.Connect(t, s.server)
	service, err := bus.NewService(s.nc, bus.ServiceConfig{Name: "backup-coordinator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Stop() })
	err = bus.Handle(service, "register", schemas.SubjectRegister, func(_ context.Context, req *schemas.RegisterRequest) (any, error) {
		m := s.change(func(m *schemas.NodeMap) bool {
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
	})
	if err == nil {
		err = bus.Handle(service, "nodes", schemas.SubjectNodes, func(context.Context, *schemas.NodesRequest) (any, error) {
			return &schemas.NodesReply{Reply: schemas.OK, Map: s.nodeMap()}, nil
		})
	}
	if err == nil {
		err = service.Ready(bustest.Patient(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	for range nodes {
		s.add()
	}
	s.surveyed() // nobody believes that there are fewer
	return s
}

func (s *system) nodeMap() *schemas.NodeMap {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.m
	m.Nodes = slices.Clone(m.Nodes)
	m.Vaults = slices.Clone(m.Vaults)
	return &m
}

// change changes the map, if do says that it did, and tells everyone.
func (s *system) change(do func(m *schemas.NodeMap) bool) *schemas.NodeMap {
	s.mu.Lock()
	if do(&s.m) {
		s.m.Epoch++
	}
	s.mu.Unlock()
	m := s.nodeMap()
	if err := replica.PublishMap(s.nc, m); err != nil {
		s.t.Error(err)
	}
	return m
}

func (s *system) set(n *member, state schemas.State) {
	s.change(func(m *schemas.NodeMap) bool {
		m.Find(n.id).State = state
		return true
	})
}

func (s *system) policy(d schemas.Durability) {
	s.change(func(m *schemas.NodeMap) bool {
		m.Durability = d
		return true
	})
}

// add starts a new node.
func (s *system) add() *member {
	s.t.Helper()
	n := &member{s: s, fs: vfs.NewCrashableMem()}
	s.nodes = append(s.nodes, n)
	n.start()
	s.t.Cleanup(func() {
		if n.node != nil {
			n.stop()
		}
	})
	return n
}

// start starts the node, again or for the first time.
func (n *member) start() {
	t := n.s.t
	t.Helper()
	var err error
	if n.store, err = storage.Open("node", storage.Options{FS: n.fs}); err != nil {
		t.Fatal(err)
	}
	n.id = n.store.NodeID()
	if n.nc, err = bus.Connect(t.Context(), bus.ConnOptions{URL: n.s.server.URL()}); err != nil {
		t.Fatal(err)
	}
	n.serve()
}

func (n *member) serve() {
	n.s.t.Helper()
	var err error
	if n.node, err = node.Start(bustest.Patient(n.s.t), n.nc, n.store, n.s.opt); err != nil {
		n.s.t.Fatal(err)
	}
}

func (n *member) rest() {
	n.s.t.Helper()
	if err := n.node.Stop(); err != nil {
		n.s.t.Error(err)
	}
	n.node = nil
}

// stop stops it in good order, but for the state in the map.
func (n *member) stop() {
	t := n.s.t
	t.Helper()
	n.rest()
	n.nc.Close()
	storagetest.CloseClean(t, n.store)
}

// down stops the node, which is expected back.
func (n *member) down() {
	n.stop()
	n.s.set(n, schemas.Down)
	n.s.forget(n)
}

// back starts it again.
func (n *member) back() {
	n.start()
	n.s.nodes = append(n.s.nodes, n)
}

// crash ends the node as a power cut does, and starts it again.
func (n *member) crash() {
	left := n.fs.CrashClone(vfs.CrashCloneCfg{})
	n.stop()
	n.fs = left
	n.start()
}

func (s *system) forget(n *member) {
	s.nodes = slices.DeleteFunc(s.nodes, func(o *member) bool { return o == n })
}

// lose takes the node and all that it held away.
func (n *member) lose() {
	n.stop()
	n.s.set(n, schemas.Gone)
	n.s.forget(n)
}

// save stores chunks where clients do. The nodes rest meanwhile: on a busy machine it
// takes longer than Settle, and what is still to come would be healed.
func (s *system) save(chunks ...schemas.Chunk) {
	s.t.Helper()
	m := s.nodeMap()
	p := placement.New(m)
	d := m.DurabilityOf(storagetest.Vault)
	at := map[schemas.NodeID][]schemas.Chunk{}
	for i := range chunks {
		c := &chunks[i]
		if d.Splits(c.Kind, len(c.Content)) {
			shards, _, err := erasure.Split(d, c, nil)
			if err != nil {
				s.t.Fatal(err)
			}
			for i, id := range p.Place(nil, c.ID, d.Nodes()) {
				at[id] = append(at[id], shards[i])
			}
			continue
		}
		for _, id := range p.Place(nil, c.ID, d.Replicas()) {
			at[id] = append(at[id], *c)
		}
	}
	for _, n := range s.nodes {
		n.rest()
	}
	for id, parts := range at {
		storagetest.Put(s.t, s.find(id).store, parts...)
	}
	for _, n := range s.nodes {
		n.serve()
	}
}

func (s *system) find(id schemas.NodeID) *member {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	s.t.Fatalf("no node %s", id)
	return nil
}

// status asks a node.
func (n *member) status() schemas.NodeStatus {
	n.s.t.Helper()
	var rep schemas.NodeStatusReply
	if err := bus.Request(bustest.Patient(n.s.t), n.s.nc, schemas.StatusSubject(n.id), &schemas.StatusRequest{}, &rep); err != nil {
		n.s.t.Fatal(err)
	}
	return rep.Status
}

// parts are what the node holds of the chunk.
func (n *member) parts(id schemas.ChunkID) (parts []schemas.Part) {
	n.s.t.Helper()
	err := n.store.Look(storagetest.Vault, []schemas.ChunkID{id}, func(_ int, p schemas.Part) error {
		parts = append(parts, p)
		return nil
	})
	if err != nil {
		n.s.t.Fatal(err)
	}
	return parts
}

// away says what is wrong with where a chunk is: all of its home set must have
// different parts, and nobody else any.
func (s *system) away(m *schemas.NodeMap, c *schemas.Chunk) string {
	d := m.DurabilityOf(storagetest.Vault)
	k, want := 1, d.Replicas()
	if d.Splits(c.Kind, len(c.Content)) {
		k, want = int(d.K), d.Nodes()
	}
	home := placement.NewAssigned(m).Place(nil, c.ID, want)
	seen := map[schemas.Part]bool{}
	for _, n := range s.nodes {
		parts := n.parts(c.ID)
		switch {
		case !slices.Contains(home, n.id) && len(parts) > 0:
			return fmt.Sprintf("a stray has %v", parts)
		case slices.Contains(home, n.id):
			if len(parts) != 1 || parts[0].K() != k || k > 1 && seen[parts[0]] {
				return fmt.Sprintf("one at home has %v", parts)
			}
			seen[parts[0]] = true
		}
	}
	if len(home) < want {
		return "there are too few nodes"
	}
	return ""
}

// atHome waits until all chunks are where they belong.
func (s *system) atHome(chunks ...schemas.Chunk) {
	s.t.Helper()
	m := s.nodeMap()
	why := ""
	defer func() {
		if s.t.Failed() && why != "" {
			s.t.Log(why)
			for _, n := range s.nodes {
				s.t.Logf("%+v", n.status().Survey)
			}
		}
	}()
	bustest.Eventually(s.t, "everything is at home", func() bool {
		for i := range chunks {
			if why = s.away(m, &chunks[i]); why != "" {
				why = fmt.Sprintf("chunk %d of %d: %s", i, len(chunks), why)
				return false
			}
		}
		return true
	})
	s.intact(chunks...)
}

// surveyed waits until every node has gone through all that it holds under the newest map.
func (s *system) surveyed() {
	s.t.Helper()
	m := s.nodeMap()
	bustest.Eventually(s.t, "all nodes have surveyed the newest map", func() bool {
		for _, n := range s.nodes {
			if n.status().Survey.Epoch != m.Epoch {
				return false
			}
		}
		return true
	})
}

// sum adds up what the nodes say of their surveys.
func (s *system) sum(of func(schemas.Survey) int64) (all int64) {
	for _, n := range s.nodes {
		all += of(n.status().Survey)
	}
	return all
}

func healed(s schemas.Survey) int64 { return s.Healed }

// intact fails the test unless every part that is held is what it must be.
func (s *system) intact(chunks ...schemas.Chunk) {
	s.t.Helper()
	for i := range chunks {
		c := &chunks[i]
		for _, n := range s.nodes {
			for _, p := range n.parts(c.ID) {
				got, err := n.store.GetPart(storagetest.Vault, c.ID, p)
				if err != nil {
					s.t.Fatal(err)
				}
				want := *c
				if p != schemas.Whole {
					shards, _, err := erasure.Split(schemas.Durability{K: uint8(p.K()), M: uint8(max(p.Shard()-p.K()+1, 1))}, c, nil)
					if err != nil {
						s.t.Fatal(err)
					}
					want = shards[p.Shard()]
				}
				storagetest.Same(s.t, want, got)
			}
		}
	}
}

// counted waits until the nodes together say that so many chunks are whole, and that
// nothing is left to do.
func (s *system) counted(whole int64) {
	s.t.Helper()
	m := s.nodeMap()
	bustest.Eventually(s.t, fmt.Sprintf("%d chunks are counted as whole, and nothing is to be healed", whole), func() bool {
		var all int64
		for _, n := range s.nodes {
			st := n.status().Survey
			if st.Epoch != m.Epoch || st.ToHeal != 0 || st.Misplaced != 0 {
				return false
			}
			for _, l := range st.Levels {
				if l.Margin < int(l.Durability.M) {
					return false
				}
				all += l.Chunks
			}
		}
		return all == whole
	})
}

// some makes n chunks of every kind and some lengths.
func (s *system) some(n int) (chunks []schemas.Chunk) {
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

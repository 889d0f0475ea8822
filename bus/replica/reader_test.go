package replica_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// memoryNode is a node that answers only have, get and edges, from a map. A test can make
// it misbehave.
type memoryNode struct {
	t  *testing.T
	id schemas.NodeID

	mu           sync.Mutex
	chunks       map[schemas.ChunkID]schemas.Chunk
	shards       map[schemas.ChunkID][]schemas.Chunk
	unresponsive bool                     // nothing is answered
	corrupt      map[schemas.ChunkID]bool // have says yes, get fails
	most         int                      // chunks in one answer; 0 is no limit
	garbage      string                   // the answer to a get or edges, when not empty
	asked        map[string]int           // requests by kind
}

func newMemoryNode(t *testing.T, nc *nats.Conn, id schemas.NodeID) *memoryNode {
	t.Helper()
	s := &memoryNode{t: t, id: id, chunks: map[schemas.ChunkID]schemas.Chunk{}, shards: map[schemas.ChunkID][]schemas.Chunk{}, corrupt: map[schemas.ChunkID]bool{}, asked: map[string]int{}}
	for kind, subject := range map[string]string{"have": schemas.HaveSubject(id), "get": schemas.GetSubject(id), "edges": schemas.EdgesSubject(id)} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { s.answer(kind, m) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(bustest.Timeout); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *memoryNode) hold(chunks ...schemas.Chunk) {
	for _, c := range chunks {
		if c.Part == schemas.Whole {
			s.chunks[c.ID] = c
		} else {
			s.shards[c.ID] = append(s.shards[c.ID], c)
		}
	}
}

func (s *memoryNode) answer(kind string, m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[kind]++
	if s.unresponsive {
		return
	}
	req, err := schemas.DecodeIDs(m.Data)
	if err != nil || req.Vault != vault || len(req.IDs) == 0 || len(req.IDs) > replica.MaxIDs {
		s.t.Errorf("node %s got a wrong %s request: %v", s.id, kind, err)
		return
	}
	var b []byte
	switch {
	case kind == "have":
		b = s.have(req)
	case s.garbage != "":
		b = []byte(s.garbage)
	default:
		b = s.read(kind, req.IDs)
	}
	if err := m.Respond(b); err != nil {
		s.t.Error(err)
	}
}

func (s *memoryNode) have(req *schemas.IDsRequest) []byte {
	rep, err := schemas.HaveOf(len(req.IDs), req.Parts, func(visit func(int, schemas.Part) error) (err error) {
		for i, id := range req.IDs {
			if _, held := s.chunks[id]; held {
				err = errors.Join(err, visit(i, schemas.Whole))
			}
			for _, c := range s.shards[id] {
				err = errors.Join(err, visit(i, c.Part))
			}
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	b, err := schemas.Marshal(rep)
	if err != nil {
		s.t.Error(err)
	}
	return b
}

func (s *memoryNode) read(kind string, ids []schemas.ChunkID) []byte {
	rep := schemas.NewChunks(nil)
	var failed []schemas.Failed
	for _, id := range ids {
		c, held := s.chunks[id]
		switch {
		case !held && len(s.shards[id]) > 0 && kind == "get":
			for i := range s.shards[id] {
				rep.Add(&s.shards[id][i])
			}
		case !held:
			failed = append(failed, schemas.Failed{ID: id, Code: schemas.NotHeld, Message: "not here"})
		case s.corrupt[id]:
			failed = append(failed, schemas.Failed{ID: id, Code: schemas.Corrupt, Message: "damaged"})
		default:
			if kind == "edges" {
				c.Content = nil
			}
			rep.Add(&c)
		}
		if s.most > 0 && rep.Len()+len(failed) == s.most {
			break
		}
	}
	return rep.Reply(failed)
}

// startThreeNodes starts three nodes and returns a Reader of their map.
func startThreeNodes(t *testing.T) (*replica.Reader, map[schemas.NodeID]*memoryNode) {
	t.Helper()
	return startMemoryNodes(t, schemas.Durability{}, "a", "b", "c")
}

// startMemoryNodes starts a node for each id, and returns a Reader of their map.
func startMemoryNodes(t *testing.T, d schemas.Durability, ids ...schemas.NodeID) (*replica.Reader, map[schemas.NodeID]*memoryNode) {
	t.Helper()
	s := bustest.Server(t)
	nodes := map[schemas.NodeID]*memoryNode{}
	m := &schemas.NodeMap{Epoch: 1, Durability: d}
	for _, id := range ids {
		nodes[id] = newMemoryNode(t, bustest.Connect(t, s), id)
		m.Nodes = append(m.Nodes, schemas.Node{ID: id, Name: "disk-" + string(id), Weight: 1, State: schemas.Up})
	}
	return replica.NewReader(bustest.Connect(t, s), m), nodes
}

// newChunks makes n chunks, and returns for each its first assigned node and another node.
func newChunks(r *replica.Reader, n int) (chunks []schemas.Chunk, ids []schemas.ChunkID, assigned, other []schemas.NodeID) {
	for range n {
		c := newChunk(200)
		set := placement.New(r.Map()).Place(nil, c.ID, 2)
		chunks, ids = append(chunks, c), append(ids, c.ID)
		assigned, other = append(assigned, set[0]), append(other, set[1])
	}
	return
}

// fetched fetches the chunks and checks that each came once, undamaged, with its index.
func fetched(t *testing.T, r *replica.Reader, want []schemas.Chunk, ids []schemas.ChunkID) error {
	t.Helper()
	var mu sync.Mutex
	came := map[int]int{}
	err := r.Fetch(bustest.Context(t), vault, ids, false, func(index int, c *schemas.Chunk) error {
		mu.Lock()
		defer mu.Unlock()
		came[index]++
		if c.ID != want[index].ID || c.Checksum() != want[index].Sum {
			t.Errorf("another chunk came with the index %d", index)
		}
		return nil
	})
	for index, n := range came {
		if n != 1 {
			t.Errorf("the chunk with the index %d came %d times", index, n)
		}
	}
	if err == nil && len(came) != len(ids) {
		t.Errorf("%d of %d chunks came, without an error", len(came), len(ids))
	}
	return err
}

// A chunk is found on any node, even if its assigned node does not hold it or answers
// incompletely.
func TestReaderFindsChunksOnAnyNode(t *testing.T) {
	for name, arrange := range map[string]func(assigned, other *memoryNode, c schemas.Chunk){
		"on the assigned node": func(assigned, _ *memoryNode, c schemas.Chunk) { assigned.hold(c) },
		"on another node":      func(_, other *memoryNode, c schemas.Chunk) { other.hold(c) },
		"damaged on the assigned node": func(assigned, other *memoryNode, c schemas.Chunk) {
			assigned.hold(c)
			assigned.corrupt[c.ID] = true
			other.hold(c)
		},
		"one chunk in an answer":  func(assigned, _ *memoryNode, c schemas.Chunk) { assigned.hold(c); assigned.most = 1 },
		"two chunks in an answer": func(_, other *memoryNode, c schemas.Chunk) { other.hold(c); other.most = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			r, nodes := startThreeNodes(t)
			chunks, ids, assigned, other := newChunks(r, 20)
			for i, c := range chunks {
				arrange(nodes[assigned[i]], nodes[other[i]], c)
			}
			if err := fetched(t, r, chunks, ids); err != nil {
				t.Error(err)
			}
			held, err := r.Have(bustest.Context(t), vault, ids)
			for i := range held {
				if !held[i] {
					t.Errorf("chunk %d is not held", i)
				}
			}
			if err != nil || r.BytesReceived() != int64(20*200) {
				t.Errorf("%d bytes received, %v", r.BytesReceived(), err)
			}
		})
	}
}

// An assigned node that answers nonsense, or nothing, does not prevent a fetch while
// another node holds the chunk.
func TestReaderSkipsABrokenNode(t *testing.T) {
	stranger := newChunk(5)
	foreign := schemas.NewChunks(nil)
	foreign.Add(&stranger)
	for name, garbage := range map[string]string{
		"not msgpack": "\xc1", "an empty answer": string(schemas.NewChunks(nil).Reply(nil)),
		"chunks that were not requested": string(foreign.Reply(nil)), "a refusal": "\x82\xa6status\xcd\x03\x8a\xa4code\xabdisk-failed",
	} {
		t.Run(name, func(t *testing.T) {
			r, nodes := startThreeNodes(t)
			chunks, ids, assigned, other := newChunks(r, 1)
			nodes[assigned[0]].hold(chunks[0]) // so that its answer to a have is right
			nodes[assigned[0]].garbage = garbage
			if err := fetched(t, r, chunks, ids); err == nil || !strings.Contains(err.Error(), ids[0].Short()) || !strings.Contains(err.Error(), string(assigned[0])) {
				t.Errorf("%v does not name the chunk and the node", err)
			}
			nodes[other[0]].hold(chunks[0])
			if err := fetched(t, r, chunks, ids); err != nil {
				t.Error(err)
			}
		})
	}
}

// The error names the chunk that no node holds, and the reason.
func TestReaderNamesTheChunkThatIsNotHeld(t *testing.T) {
	r, nodes := startThreeNodes(t)
	chunks, ids, assigned, _ := newChunks(r, 5)
	for i, c := range chunks {
		nodes[assigned[i]].hold(c)
	}
	delete(nodes[assigned[3]].chunks, ids[3])
	err := fetched(t, r, chunks, ids)
	bustest.WantCode(t, err, schemas.NotHeld)
	if err != nil && !strings.Contains(err.Error(), ids[3].Short()) {
		t.Errorf("%q does not name chunk %s", err, ids[3].Short())
	}
	held, err := r.Have(bustest.Context(t), vault, ids)
	if err != nil || fmt.Sprint(held) != "[true true true false true]" {
		t.Errorf("held are %v, %v", held, err)
	}
	// That a chunk is damaged says more than that other nodes do not hold it.
	nodes[assigned[3]].hold(chunks[3])
	nodes[assigned[3]].corrupt[ids[3]] = true
	bustest.WantCode(t, fetched(t, r, chunks, ids), schemas.Corrupt)
}

// An unreachable node causes an error only for chunks that no other node holds.
func TestReaderNeedsAnUnreachableNodeOnlyForItsChunks(t *testing.T) {
	r, nodes := startThreeNodes(t)
	m := &schemas.NodeMap{Epoch: 2}
	for _, id := range []schemas.NodeID{"a", "b", "unreachable"} {
		m.Nodes = append(m.Nodes, schemas.Node{ID: id, Name: "disk-" + string(id), Weight: 1, State: schemas.Up})
	}
	r.SetMap(m)
	var chunks []schemas.Chunk
	var ids []schemas.ChunkID
	for len(chunks) < 2 { // chunks that are assigned to the unreachable node
		if c, id, assigned, _ := newChunks(r, 1); assigned[0] == "unreachable" {
			chunks, ids = append(chunks, c...), append(ids, id...)
		}
	}
	nodes["b"].hold(chunks[0])
	if err := fetched(t, r, chunks[:1], ids[:1]); err != nil {
		t.Errorf("a chunk that b has: %v", err)
	}
	if held, err := r.Have(bustest.Context(t), vault, ids[:1]); err != nil || !held[0] {
		t.Errorf("for a chunk that b has, held is %v, %v", held, err)
	}
	bustest.WantIs(t, fetched(t, r, chunks, ids), bus.ErrNoResponders)
	held, err := r.Have(bustest.Context(t), vault, ids)
	bustest.WantIs(t, err, bus.ErrNoResponders)
	if !held[0] || held[1] {
		t.Errorf("held are %v", held)
	}
	// Once the node is known to be down, it is not asked any more, and the error names it.
	down := &schemas.NodeMap{Epoch: 3, Nodes: append([]schemas.Node(nil), m.Nodes...)}
	down.Nodes[2].State = schemas.Down
	r.SetMap(down)
	err = fetched(t, r, chunks, ids)
	bustest.WantCode(t, err, schemas.NotHeld)
	if err != nil && !strings.Contains(err.Error(), "disk-unreachable is down") {
		t.Errorf("%q does not say that a node is down", err)
	}
	// An older map is ignored.
	r.SetMap(m)
	r.SetMap(nil)
	bustest.WantCode(t, fetched(t, r, chunks, ids), schemas.NotHeld)
}

// A draining node is read from, even when no other node is up.
func TestReaderReadsFromDrainingNodes(t *testing.T) {
	r, nodes := startThreeNodes(t)
	chunks, ids, _, _ := newChunks(r, 3)
	nodes["a"].hold(chunks...)
	r.SetMap(&schemas.NodeMap{Epoch: 2, Nodes: []schemas.Node{{ID: "a", Weight: 1, State: schemas.Draining}}})
	if err := fetched(t, r, chunks, ids); err != nil {
		t.Error(err)
	}
	if held, err := r.Have(bustest.Context(t), vault, ids); err != nil || !held[0] {
		t.Errorf("held are %v, %v", held, err)
	}
	r.SetMap(&schemas.NodeMap{Epoch: 3})
	bustest.WantCode(t, fetched(t, r, chunks, ids), schemas.NoNode)
}

// A request has at most MaxIDs ids. The same id may occur at several indexes.
func TestReaderSplitsLargeRequests(t *testing.T) {
	r, nodes := startThreeNodes(t)
	one := newChunk(10)
	ids := make([]schemas.ChunkID, replica.MaxIDs+5)
	want := make([]schemas.Chunk, len(ids))
	for i := range ids {
		ids[i], want[i] = one.ID, one
	}
	assigned := nodes[placement.New(r.Map()).Place(nil, one.ID, 1)[0]]
	assigned.hold(one)
	held, err := complete(t, r, ids)
	if err != nil || !held[0] || !held[len(ids)-1] || assigned.asked["have"] != 2 {
		t.Errorf("held is %v, the requests are %v, %v", held[len(ids)-1], assigned.asked, err)
	}
	if err := fetched(t, r, want[:3], ids[:3]); err != nil {
		t.Error(err)
	}
}

// Edges come without contents. An error of the receiver ends the fetch.
func TestReaderFetchesEdgesWithoutContents(t *testing.T) {
	r, nodes := startThreeNodes(t)
	tree := newChunk(100)
	tree.Kind, tree.Data = schemas.Tree, []schemas.ChunkID{{1}, {2}}
	tree.Sum = tree.Checksum()
	for _, s := range nodes {
		s.hold(tree)
	}
	err := r.Fetch(bustest.Context(t), vault, []schemas.ChunkID{tree.ID}, true, func(_ int, c *schemas.Chunk) error {
		if len(c.Data) != 2 || len(c.Content) != 0 || c.Kind != schemas.Tree {
			t.Errorf("the edges are %+v", c)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	mine := errors.New("mine")
	bustest.WantIs(t, r.Fetch(bustest.Context(t), vault, []schemas.ChunkID{tree.ID}, false, func(int, *schemas.Chunk) error { return mine }), mine)
}

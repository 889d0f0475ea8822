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

// shelf is a node that only answers have, get and edges, from a map, in ways
// that a test can bend.
type shelf struct {
	t  *testing.T
	id schemas.NodeID

	mu      sync.Mutex
	chunks  map[schemas.ChunkID]schemas.Chunk
	shards  map[schemas.ChunkID][]schemas.Chunk
	silent  bool                     // nothing is answered
	corrupt map[schemas.ChunkID]bool // have says yes, get fails
	most    int                      // chunks in one answer; 0 is no limit
	garbage string                   // the answer to a get or edges, when not empty
	asked   map[string]int           // requests by kind
}

func newShelf(t *testing.T, nc *nats.Conn, id schemas.NodeID) *shelf {
	t.Helper()
	s := &shelf{t: t, id: id, chunks: map[schemas.ChunkID]schemas.Chunk{}, shards: map[schemas.ChunkID][]schemas.Chunk{}, corrupt: map[schemas.ChunkID]bool{}, asked: map[string]int{}}
	for kind, subject := range map[string]string{"have": schemas.HaveSubject(id), "get": schemas.GetSubject(id), "edges": schemas.EdgesSubject(id)} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { s.answer(kind, m) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(bustest.Patience); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shelf) hold(chunks ...schemas.Chunk) {
	for _, c := range chunks {
		if c.Part == schemas.Whole {
			s.chunks[c.ID] = c
		} else {
			s.shards[c.ID] = append(s.shards[c.ID], c)
		}
	}
}

func (s *shelf) answer(kind string, m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[kind]++
	if s.silent {
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

func (s *shelf) have(req *schemas.IDsRequest) []byte {
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

func (s *shelf) read(kind string, ids []schemas.ChunkID) []byte {
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

// threeShelves are three shelves and holders of their map.
func threeShelves(t *testing.T) (*replica.Reader, map[schemas.NodeID]*shelf) {
	t.Helper()
	return someShelves(t, schemas.Durability{}, "a", "b", "c")
}

func someShelves(t *testing.T, d schemas.Durability, ids ...schemas.NodeID) (*replica.Reader, map[schemas.NodeID]*shelf) {
	t.Helper()
	s := bustest.Server(t)
	shelves := map[schemas.NodeID]*shelf{}
	m := &schemas.NodeMap{Epoch: 1, Durability: d}
	for _, id := range ids {
		shelves[id] = newShelf(t, bustest.Connect(t, s), id)
		m.Nodes = append(m.Nodes, schemas.Node{ID: id, Name: "disk-" + string(id), Weight: 1, State: schemas.Up})
	}
	return replica.NewReader(bustest.Connect(t, s), m), shelves
}

// someChunks makes chunks, and says for each the owner and another node.
func someChunks(h *replica.Reader, n int) (chunks []schemas.Chunk, ids []schemas.ChunkID, owner, other []schemas.NodeID) {
	for range n {
		c := newChunk(200)
		set := placement.New(h.Map()).Place(nil, c.ID, 2)
		chunks, ids = append(chunks, c), append(ids, c.ID)
		owner, other = append(owner, set[0]), append(other, set[1])
	}
	return
}

// fetched gets the chunks and checks that each came once, whole, in its place.
func fetched(t *testing.T, h *replica.Reader, want []schemas.Chunk, ids []schemas.ChunkID) error {
	t.Helper()
	var mu sync.Mutex
	came := map[int]int{}
	err := h.Fetch(bustest.Patient(t), vault, ids, false, func(place int, c *schemas.Chunk) error {
		mu.Lock()
		defer mu.Unlock()
		came[place]++
		if c.ID != want[place].ID || c.Checksum() != want[place].Sum {
			t.Errorf("place %d got another chunk", place)
		}
		return nil
	})
	for place, n := range came {
		if n != 1 {
			t.Errorf("place %d was filled %d times", place, n)
		}
	}
	if err == nil && len(came) != len(ids) {
		t.Errorf("%d of %d chunks came, and no error", len(came), len(ids))
	}
	return err
}

// A chunk is found wherever it is, whatever its owner says or does not say.
func TestHoldersFindChunks(t *testing.T) {
	for name, arrange := range map[string]func(own, other *shelf, c schemas.Chunk){
		"at the owner":                        func(own, _ *shelf, c schemas.Chunk) { own.hold(c) },
		"elsewhere":                           func(_, other *shelf, c schemas.Chunk) { other.hold(c) },
		"damaged at the owner, whole on both": func(own, other *shelf, c schemas.Chunk) { own.hold(c); own.corrupt[c.ID] = true; other.hold(c) },
		"at the owner, a chunk at a time":     func(own, _ *shelf, c schemas.Chunk) { own.hold(c); own.most = 1 },
		"elsewhere, two at a time":            func(_, other *shelf, c schemas.Chunk) { other.hold(c); other.most = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			h, shelves := threeShelves(t)
			chunks, ids, owner, other := someChunks(h, 20)
			for i, c := range chunks {
				arrange(shelves[owner[i]], shelves[other[i]], c)
			}
			if err := fetched(t, h, chunks, ids); err != nil {
				t.Error(err)
			}
			held, err := h.Have(bustest.Patient(t), vault, ids)
			for i := range held {
				if !held[i] {
					t.Errorf("chunk %d is not held", i)
				}
			}
			if err != nil || h.BytesReceived() != int64(20*200) {
				t.Errorf("%d bytes received, %v", h.BytesReceived(), err)
			}
		})
	}
}

// An owner that answers nonsense, or nothing, is no obstacle while another node
// has the chunk.
func TestHoldersPassOverABrokenOwner(t *testing.T) {
	stranger := newChunk(5)
	foreign := schemas.NewChunks(nil)
	foreign.Add(&stranger)
	for name, garbage := range map[string]string{
		"not msgpack": "\xc1", "an empty answer": string(schemas.NewChunks(nil).Reply(nil)),
		"chunks nobody asked for": string(foreign.Reply(nil)), "a refusal": "\x82\xa6status\xcd\x03\x8a\xa4code\xabdisk-failed",
	} {
		t.Run(name, func(t *testing.T) {
			h, shelves := threeShelves(t)
			chunks, ids, owner, other := someChunks(h, 1)
			shelves[owner[0]].hold(chunks[0]) // it says that it has it
			shelves[owner[0]].garbage = garbage
			if err := fetched(t, h, chunks, ids); err == nil || !strings.Contains(err.Error(), ids[0].Short()) || !strings.Contains(err.Error(), string(owner[0])) {
				t.Errorf("%v does not name the chunk and the node", err)
			}
			shelves[other[0]].hold(chunks[0])
			if err := fetched(t, h, chunks, ids); err != nil {
				t.Error(err)
			}
		})
	}
}

// What nobody has is named, and why.
func TestHoldersNameWhatIsMissing(t *testing.T) {
	h, shelves := threeShelves(t)
	chunks, ids, owner, _ := someChunks(h, 5)
	for i, c := range chunks {
		shelves[owner[i]].hold(c)
	}
	delete(shelves[owner[3]].chunks, ids[3])
	err := fetched(t, h, chunks, ids)
	bustest.WantCode(t, err, schemas.NotHeld)
	if err != nil && !strings.Contains(err.Error(), ids[3].Short()) {
		t.Errorf("%q does not name chunk %s", err, ids[3].Short())
	}
	held, err := h.Have(bustest.Patient(t), vault, ids)
	if err != nil || fmt.Sprint(held) != "[true true true false true]" {
		t.Errorf("held are %v, %v", held, err)
	}
	// That it is damaged says more than that others never had it.
	shelves[owner[3]].hold(chunks[3])
	shelves[owner[3]].corrupt[ids[3]] = true
	bustest.WantCode(t, fetched(t, h, chunks, ids), schemas.Corrupt)
}

// A node that is gone is an error only for what it alone may have.
func TestHoldersWithoutANode(t *testing.T) {
	h, shelves := threeShelves(t)
	m := &schemas.NodeMap{Epoch: 2}
	for _, id := range []schemas.NodeID{"a", "b", "absent"} {
		m.Nodes = append(m.Nodes, schemas.Node{ID: id, Name: "disk-" + string(id), Weight: 1, State: schemas.Up})
	}
	h.SetMap(m)
	var chunks []schemas.Chunk
	var ids []schemas.ChunkID
	for len(chunks) < 2 { // the absent node's own
		if c, id, owner, _ := someChunks(h, 1); owner[0] == "absent" {
			chunks, ids = append(chunks, c...), append(ids, id...)
		}
	}
	shelves["b"].hold(chunks[0])
	if err := fetched(t, h, chunks[:1], ids[:1]); err != nil {
		t.Errorf("a chunk that b has: %v", err)
	}
	if held, err := h.Have(bustest.Patient(t), vault, ids[:1]); err != nil || !held[0] {
		t.Errorf("a chunk that b has is held: %v, %v", held, err)
	}
	bustest.WantIs(t, fetched(t, h, chunks, ids), bus.ErrNoResponders)
	held, err := h.Have(bustest.Patient(t), vault, ids)
	bustest.WantIs(t, err, bus.ErrNoResponders)
	if !held[0] || held[1] {
		t.Errorf("held are %v", held)
	}
	// Once it is known to be down it is not asked, but named.
	down := &schemas.NodeMap{Epoch: 3, Nodes: append([]schemas.Node(nil), m.Nodes...)}
	down.Nodes[2].State = schemas.Down
	h.SetMap(down)
	err = fetched(t, h, chunks, ids)
	bustest.WantCode(t, err, schemas.NotHeld)
	if err != nil && !strings.Contains(err.Error(), "disk-absent is down") {
		t.Errorf("%q does not say that a node is down", err)
	}
	// An older map changes nothing.
	h.SetMap(m)
	h.SetMap(nil)
	bustest.WantCode(t, fetched(t, h, chunks, ids), schemas.NotHeld)
}

// A node that is being emptied is read from, even when no other is up.
func TestHoldersReadFromDrainingNodes(t *testing.T) {
	h, shelves := threeShelves(t)
	chunks, ids, _, _ := someChunks(h, 3)
	shelves["a"].hold(chunks...)
	h.SetMap(&schemas.NodeMap{Epoch: 2, Nodes: []schemas.Node{{ID: "a", Weight: 1, State: schemas.Draining}}})
	if err := fetched(t, h, chunks, ids); err != nil {
		t.Error(err)
	}
	if held, err := h.Have(bustest.Patient(t), vault, ids); err != nil || !held[0] {
		t.Errorf("held are %v, %v", held, err)
	}
	h.SetMap(&schemas.NodeMap{Epoch: 3})
	bustest.WantCode(t, fetched(t, h, chunks, ids), schemas.NoNode)
}

// One question is about MaxIDs chunks at most; the same chunk may be asked for
// in two places.
func TestHoldersSplitQuestions(t *testing.T) {
	h, shelves := threeShelves(t)
	one := newChunk(10)
	ids := make([]schemas.ChunkID, replica.MaxIDs+5)
	want := make([]schemas.Chunk, len(ids))
	for i := range ids {
		ids[i], want[i] = one.ID, one
	}
	owner := shelves[placement.New(h.Map()).Place(nil, one.ID, 1)[0]]
	owner.hold(one)
	held, err := complete(t, h, ids)
	if err != nil || !held[0] || !held[len(ids)-1] || owner.asked["have"] != 2 {
		t.Errorf("held is %v, asked are %v, %v", held[len(ids)-1], owner.asked, err)
	}
	if err := fetched(t, h, want[:3], ids[:3]); err != nil {
		t.Error(err)
	}
}

// Edges come without contents, and the receiver's error ends it all.
func TestHoldersEdges(t *testing.T) {
	h, shelves := threeShelves(t)
	tree := newChunk(100)
	tree.Kind, tree.Data = schemas.Tree, []schemas.ChunkID{{1}, {2}}
	tree.Sum = tree.Checksum()
	for _, s := range shelves {
		s.hold(tree)
	}
	err := h.Fetch(bustest.Patient(t), vault, []schemas.ChunkID{tree.ID}, true, func(_ int, c *schemas.Chunk) error {
		if len(c.Data) != 2 || len(c.Content) != 0 || c.Kind != schemas.Tree {
			t.Errorf("the edges are %+v", c)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	mine := errors.New("mine")
	bustest.WantIs(t, h.Fetch(bustest.Patient(t), vault, []schemas.ChunkID{tree.ID}, false, func(int, *schemas.Chunk) error { return mine }), mine)
}

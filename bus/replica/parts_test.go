package replica_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/schemas/placement"
)

var sixNodes = []schemas.NodeID{"a", "b", "c", "d", "e", "f"}

// split makes the shards of a chunk.
func split(t *testing.T, d schemas.Durability, c schemas.Chunk) []schemas.Chunk {
	t.Helper()
	shards, _, err := erasure.Split(d, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

// spread puts shard i on node i of the chunk's set, and returns the set.
func spread(t *testing.T, h *replica.Reader, shelves map[schemas.NodeID]*shelf, d schemas.Durability, c schemas.Chunk) []schemas.NodeID {
	t.Helper()
	set := placement.New(h.Map()).Place(nil, c.ID, d.Nodes())
	for i, shard := range split(t, d, c) {
		shelves[set[i]].hold(shard)
	}
	return set
}

func asked(shelves map[schemas.NodeID]*shelf, kind string) (n int) {
	for _, s := range shelves {
		n += s.count(kind)
	}
	return n
}

func (s *shelf) count(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[kind]
}

func loseAll(s *shelf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.chunks)
	clear(s.shards)
}

// What is held as shards comes back whole, whichever m nodes have lost theirs, and
// is not to be had when one more has.
func TestHoldersJoinShards(t *testing.T) {
	d := schemas.Durability{K: 4, M: 2}
	h, shelves := someShelves(t, d, append(sixNodes, "g", "h")...)
	var chunks []schemas.Chunk
	var ids []schemas.ChunkID
	for i := range 8 {
		c := newChunk(70_000 + i)
		spread(t, h, shelves, d, c)
		chunks, ids = append(chunks, c), append(ids, c.ID)
	}
	if err := fetched(t, h, chunks, ids); err != nil {
		t.Fatal(err)
	}
	gone := []schemas.NodeID{"b", "e", "g"}
	for _, id := range gone[:2] {
		loseAll(shelves[id])
		if err := fetched(t, h, chunks, ids); err != nil {
			t.Errorf("without %s: %v", id, err)
		}
		if can, err := h.Recoverable(bustest.Patient(t), vault, ids); err != nil || slices.Contains(can, false) {
			t.Errorf("without %s: recoverable are %v, %v", id, can, err)
		}
	}
	loseAll(shelves["g"])
	for i, id := range ids {
		left := 0
		for _, s := range shelves {
			left += len(s.shards[id])
		}
		can, err := h.Recoverable(bustest.Patient(t), vault, ids[i:i+1])
		if err != nil || can[0] != (left >= 4) {
			t.Errorf("of %d shards it is recoverable: %v, %v", left, can, err)
		}
		if err := fetched(t, h, chunks[i:i+1], ids[i:i+1]); (err == nil) != (left >= 4) || left < 4 && schemas.CodeOf(err) != schemas.NotHeld {
			t.Errorf("of %d shards: %v", left, err)
		}
	}
}

// Shards are found wherever they are; those that are damaged, or of the same chunk
// sealed at another time, are passed over, and a copy is as good.
func TestHoldersFindShards(t *testing.T) {
	d := schemas.Durability{K: 2, M: 1}
	place := func(t *testing.T, h *replica.Reader, c schemas.Chunk) []schemas.NodeID {
		return placement.New(h.Map()).Place(nil, c.ID, 6)
	}
	for name, arrange := range map[string]func(t *testing.T, at []*shelf, shards []schemas.Chunk, c schemas.Chunk){
		"on strays": func(t *testing.T, at []*shelf, shards []schemas.Chunk, _ schemas.Chunk) {
			at[4].hold(shards[0])
			at[5].hold(shards[2])
		},
		"two on one node": func(t *testing.T, at []*shelf, shards []schemas.Chunk, _ schemas.Chunk) {
			at[1].hold(shards[0], shards[1])
		},
		"the same one twice": func(t *testing.T, at []*shelf, shards []schemas.Chunk, _ schemas.Chunk) {
			at[0].hold(shards[1])
			at[1].hold(shards[1])
			at[2].hold(shards[1])
			at[3].hold(shards[2])
		},
		"one damaged": func(t *testing.T, at []*shelf, shards []schemas.Chunk, _ schemas.Chunk) {
			bad := shards[0]
			bad.Content = slices.Clone(bad.Content)
			bad.Content[len(bad.Content)-1] ^= 1
			at[0].hold(bad)
			at[1].hold(shards[1])
			at[2].hold(shards[2])
		},
		"sealed twice": func(t *testing.T, at []*shelf, shards []schemas.Chunk, c schemas.Chunk) {
			other := newChunk(len(c.Content))
			other.ID = c.ID
			other.Sum = other.Checksum()
			strange := split(t, d, other)
			at[0].hold(strange[0])
			at[1].hold(shards[1])
			at[2].hold(shards[2])
		},
		"a copy beside a shard": func(t *testing.T, at []*shelf, shards []schemas.Chunk, c schemas.Chunk) {
			at[0].hold(shards[0])
			at[5].hold(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, shelves := someShelves(t, d, sixNodes...)
			for range 6 { // whichever is asked first
				c := newChunk(70_000)
				var at []*shelf
				for _, id := range place(t, h, c) {
					at = append(at, shelves[id])
				}
				arrange(t, at, split(t, d, c), c)
				if err := fetched(t, h, []schemas.Chunk{c}, []schemas.ChunkID{c.ID}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A receiver that finds a copy to be bad is given another one, and its own error if
// there is none.
func TestHoldersTryAnotherCopy(t *testing.T) {
	h, shelves := someShelves(t, schemas.Durability{K: 1, M: 2}, sixNodes...)
	good, bad := newChunk(100), newChunk(100)
	bad.ID = good.ID
	bad.Sum = bad.Checksum()
	set := placement.New(h.Map()).Place(nil, good.ID, 3)
	wrong := errors.New("it does not open")
	get := func() (tries int, err error) {
		err = h.Fetch(bustest.Patient(t), vault, []schemas.ChunkID{good.ID}, false, func(_ int, c *schemas.Chunk) error {
			tries++ // one copy at a time
			if c.Sum != good.Sum {
				return replica.BadReplica(fmt.Errorf("chunk: %w", wrong))
			}
			return nil
		})
		return tries, err
	}
	for _, id := range set {
		shelves[id].hold(bad)
	}
	if tries, err := get(); tries != 3 || !errors.Is(err, wrong) {
		t.Errorf("of three bad copies %d were tried: %v", tries, err)
	}
	shelves[set[1]].hold(good)
	for range 5 {
		if _, err := get(); err != nil {
			t.Errorf("with one good copy: %v", err)
		}
	}
}

// An answer that is late is not waited for while another owner has the chunk; and
// it is not asked first for a while.
func TestHoldersDoNotWaitForASlowNode(t *testing.T) {
	for _, d := range []schemas.Durability{{K: 1, M: 1}, {K: 2, M: 1}} {
		t.Run(d.String(), func(t *testing.T) {
			h, shelves := someShelves(t, d, "a", "b", "c")
			var chunks []schemas.Chunk
			var ids []schemas.ChunkID
			for range 12 { // all of them fit one answer
				c := newChunk(70_000)
				if d.K > 1 {
					spread(t, h, shelves, d, c)
				} else {
					for _, id := range placement.New(h.Map()).Place(nil, c.ID, 2) {
						shelves[id].hold(c)
					}
				}
				chunks, ids = append(chunks, c), append(ids, c.ID)
			}
			slow := shelves["b"]
			slow.silent = true
			begin := time.Now()
			if err := fetched(t, h, chunks, ids); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took > 10*time.Second { // as long as an answer may take
				t.Errorf("a node that does not answer was waited for, %v", took)
			}
			before := slow.count("get")
			if before == 0 {
				t.Fatal("the node that does not answer was not asked")
			}
			if err := fetched(t, h, chunks, ids); err != nil {
				t.Fatal(err)
			}
			if slow.count("get") > before {
				t.Error("a node that did not answer is asked first again")
			}
		})
	}
}

// Reads are spread over the owners.
func TestHoldersSpreadReads(t *testing.T) {
	h, shelves := someShelves(t, schemas.Durability{K: 1, M: 2}, "a", "b", "c")
	c := newChunk(100)
	for _, s := range shelves {
		s.hold(c)
	}
	many := make([]schemas.ChunkID, 300)
	want := make([]schemas.Chunk, len(many))
	for i := range many {
		many[i], want[i] = c.ID, c
	}
	if err := fetched(t, h, want, many); err != nil {
		t.Fatal(err)
	}
	for id, s := range shelves {
		if s.asked["get"] == 0 {
			t.Errorf("node %s was not asked", id)
		}
	}
}

// Held is what survives as many losses as the durability says, wherever it is.
func TestHoldersKnowWhatIsComplete(t *testing.T) {
	for name, c := range map[string]struct {
		d       schemas.Durability
		arrange func(at []*shelf, shards []schemas.Chunk, c schemas.Chunk)
		held    bool
	}{
		"one of two copies": {schemas.Durability{K: 1, M: 1}, func(at []*shelf, _ []schemas.Chunk, c schemas.Chunk) { at[0].hold(c) }, false},
		"both copies":       {schemas.Durability{K: 1, M: 1}, func(at []*shelf, _ []schemas.Chunk, c schemas.Chunk) { at[0].hold(c); at[1].hold(c) }, true},
		"one of them a stray": {schemas.Durability{K: 1, M: 1},
			func(at []*shelf, _ []schemas.Chunk, c schemas.Chunk) { at[1].hold(c); at[4].hold(c) }, true},
		"all shards": {schemas.Durability{K: 2, M: 1},
			func(at []*shelf, s []schemas.Chunk, _ schemas.Chunk) {
				at[0].hold(s[2])
				at[1].hold(s[0])
				at[5].hold(s[1])
			}, true},
		"two shards on one node": {schemas.Durability{K: 2, M: 1},
			func(at []*shelf, s []schemas.Chunk, _ schemas.Chunk) { at[0].hold(s[2], s[0]); at[1].hold(s[1]) }, false},
		"a shard twice": {schemas.Durability{K: 2, M: 1},
			func(at []*shelf, s []schemas.Chunk, _ schemas.Chunk) {
				at[0].hold(s[0])
				at[1].hold(s[0])
				at[2].hold(s[1])
			}, false},
		"copies of what could be split": {schemas.Durability{K: 2, M: 1},
			func(at []*shelf, _ []schemas.Chunk, c schemas.Chunk) { at[0].hold(c); at[1].hold(c) }, true},
		"a copy and shards": {schemas.Durability{K: 2, M: 1},
			func(at []*shelf, s []schemas.Chunk, c schemas.Chunk) {
				at[0].hold(c)
				at[1].hold(s[0])
				at[2].hold(s[1])
			}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, shelves := someShelves(t, c.d, sixNodes...)
			chunk := newChunk(70_000)
			var at []*shelf
			for _, id := range placement.New(h.Map()).Place(nil, chunk.ID, 6) {
				at = append(at, shelves[id])
			}
			c.arrange(at, split(t, schemas.Durability{K: 2, M: 1}, chunk), chunk)
			held, err := complete(t, h, []schemas.ChunkID{chunk.ID})
			if err != nil || held[0] != c.held {
				t.Errorf("held is %v, %v", held, err)
			}
		})
	}
}

// complete says which chunks are held as they should be, as a client asks for those that
// it is about to save.
func complete(t *testing.T, h *replica.Reader, ids []schemas.ChunkID) (held []bool, err error) {
	t.Helper()
	holdings, err := h.Presences(bustest.Patient(t), vault, ids)
	for i := range holdings {
		held = append(held, holdings[i].Complete(h.Durability(vault)))
	}
	return held, err
}

// What is new costs a question to its own nodes, and no other; while chunks move,
// they are looked for everywhere.
func TestHoldersAskFewAboutNewChunks(t *testing.T) {
	for d, want := range map[schemas.Durability]int{{K: 1}: 1, {K: 1, M: 1}: 2, {K: 2, M: 1}: 3} {
		h, shelves := someShelves(t, d, sixNodes...)
		c := newChunk(10)
		if held, err := complete(t, h, []schemas.ChunkID{c.ID}); err != nil || held[0] {
			t.Errorf("%v: held is %v, %v", d, held, err)
		}
		if n := asked(shelves, "have"); n != want {
			t.Errorf("%v: %d nodes were asked about a new chunk, want %d", d, n, want)
		}
		m := *h.Map()
		m.Epoch++
		m.Nodes = slices.Clone(m.Nodes)
		m.Nodes[0].State = schemas.Draining
		h.SetMap(&m)
		for range 1 + d.M { // all on one side, where the chunk does not belong any more
			shelves["a"].hold(c)
		}
		before := asked(shelves, "have")
		if held, err := complete(t, h, []schemas.ChunkID{c.ID}); err != nil || held[0] != (d.M == 0 && d.K == 1) {
			t.Errorf("%v: while a node is emptied, held is %v, %v", d, held, err)
		}
		if n := asked(shelves, "have") - before; n != 6 {
			t.Errorf("%v: while a node is emptied %d were asked, want all", d, n)
		}
	}
}

// Where fewer nodes are accepted, what is wanted is what they allow.
func TestHoldersAcceptLess(t *testing.T) {
	h, _ := someShelves(t, schemas.Durability{K: 1, M: 2}, "a", "b")
	if d := h.Durability(vault); d.M != 2 {
		t.Errorf("the durability is %v", d)
	}
	h.AllowDegraded()
	if d := h.Durability(vault); d.M != 1 {
		t.Errorf("the durability is %v", d)
	}
}

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

// split returns the shards of a chunk.
func split(t *testing.T, d schemas.Durability, c schemas.Chunk) []schemas.Chunk {
	t.Helper()
	shards, _, err := erasure.Split(d, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

// spread stores shard i on node i of the chunk's set, and returns the set.
func spread(t *testing.T, r *replica.Reader, nodes map[schemas.NodeID]*memoryNode, d schemas.Durability, c schemas.Chunk) []schemas.NodeID {
	t.Helper()
	set := placement.New(r.Map()).Place(nil, c.ID, d.Nodes())
	for i, shard := range split(t, d, c) {
		nodes[set[i]].hold(shard)
	}
	return set
}

// asked is the number of requests of a kind that all nodes have received.
func asked(nodes map[schemas.NodeID]*memoryNode, kind string) (n int) {
	for _, s := range nodes {
		n += s.count(kind)
	}
	return n
}

func (s *memoryNode) count(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[kind]
}

func loseAll(s *memoryNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.chunks)
	clear(s.shards)
}

// A chunk is read from its shards whichever m nodes have lost theirs. It cannot be read
// when one more node has.
func TestReaderJoinsShards(t *testing.T) {
	d := schemas.Durability{K: 4, M: 2}
	r, nodes := startMemoryNodes(t, d, append(sixNodes, "g", "r")...)
	var chunks []schemas.Chunk
	var ids []schemas.ChunkID
	for i := range 8 {
		c := newChunk(70_000 + i)
		spread(t, r, nodes, d, c)
		chunks, ids = append(chunks, c), append(ids, c.ID)
	}
	if err := fetched(t, r, chunks, ids); err != nil {
		t.Fatal(err)
	}
	for _, id := range []schemas.NodeID{"b", "e"} {
		loseAll(nodes[id])
		if err := fetched(t, r, chunks, ids); err != nil {
			t.Errorf("without %s: %v", id, err)
		}
		if can, err := r.Recoverable(bustest.Context(t), vault, ids); err != nil || slices.Contains(can, false) {
			t.Errorf("without %s: recoverable are %v, %v", id, can, err)
		}
	}
	loseAll(nodes["g"])
	for i, id := range ids {
		left := 0
		for _, s := range nodes {
			left += len(s.shards[id])
		}
		can, err := r.Recoverable(bustest.Context(t), vault, ids[i:i+1])
		if err != nil || can[0] != (left >= 4) {
			t.Errorf("with %d shards left, recoverable is %v, %v", left, can, err)
		}
		if err := fetched(t, r, chunks[i:i+1], ids[i:i+1]); (err == nil) != (left >= 4) || left < 4 && schemas.CodeOf(err) != schemas.NotHeld {
			t.Errorf("with %d shards left, the fetch returns %v", left, err)
		}
	}
}

// Shards are found on any node. Shards that are damaged, or that come from another sealing
// of the chunk, are ignored. A replica can take the place of shards.
func TestReaderFindsShardsOnAnyNode(t *testing.T) {
	d := schemas.Durability{K: 2, M: 1}
	for name, arrange := range map[string]func(t *testing.T, at []*memoryNode, shards []schemas.Chunk, c schemas.Chunk){
		"on nodes that are not assigned": func(t *testing.T, at []*memoryNode, shards []schemas.Chunk, _ schemas.Chunk) {
			at[4].hold(shards[0])
			at[5].hold(shards[2])
		},
		"two on one node": func(t *testing.T, at []*memoryNode, shards []schemas.Chunk, _ schemas.Chunk) {
			at[1].hold(shards[0], shards[1])
		},
		"the same one twice": func(t *testing.T, at []*memoryNode, shards []schemas.Chunk, _ schemas.Chunk) {
			at[0].hold(shards[1])
			at[1].hold(shards[1])
			at[2].hold(shards[1])
			at[3].hold(shards[2])
		},
		"one damaged": func(t *testing.T, at []*memoryNode, shards []schemas.Chunk, _ schemas.Chunk) {
			bad := shards[0]
			bad.Content = slices.Clone(bad.Content)
			bad.Content[len(bad.Content)-1] ^= 1
			at[0].hold(bad)
			at[1].hold(shards[1])
			at[2].hold(shards[2])
		},
		"sealed twice": func(t *testing.T, at []*memoryNode, shards []schemas.Chunk, c schemas.Chunk) {
			other := newChunk(len(c.Content))
			other.ID = c.ID
			other.Sum = other.Checksum()
			foreign := split(t, d, other)
			at[0].hold(foreign[0])
			at[1].hold(shards[1])
			at[2].hold(shards[2])
		},
		"a replica beside a shard": func(t *testing.T, at []*memoryNode, shards []schemas.Chunk, c schemas.Chunk) {
			at[0].hold(shards[0])
			at[5].hold(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, nodes := startMemoryNodes(t, d, sixNodes...)
			for range 6 { // so that different nodes are asked first
				c := newChunk(70_000)
				var at []*memoryNode
				for _, id := range placement.New(r.Map()).Place(nil, c.ID, 6) {
					at = append(at, nodes[id])
				}
				arrange(t, at, split(t, d, c), c)
				if err := fetched(t, r, []schemas.Chunk{c}, []schemas.ChunkID{c.ID}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// When the receiver finds a replica bad, it gets another one. If there is none, Fetch
// returns the receiver's error.
func TestReaderTriesAnotherReplica(t *testing.T) {
	r, nodes := startMemoryNodes(t, schemas.Durability{K: 1, M: 2}, sixNodes...)
	good, bad := newChunk(100), newChunk(100)
	bad.ID = good.ID
	bad.Sum = bad.Checksum()
	set := placement.New(r.Map()).Place(nil, good.ID, 3)
	wrong := errors.New("it does not open")
	get := func() (tries int, err error) {
		err = r.Fetch(bustest.Context(t), vault, []schemas.ChunkID{good.ID}, false, func(_ int, c *schemas.Chunk) error {
			tries++ // without a lock: one replica at a time
			if c.Sum != good.Sum {
				return replica.BadReplica(fmt.Errorf("chunk: %w", wrong))
			}
			return nil
		})
		return tries, err
	}
	for _, id := range set {
		nodes[id].hold(bad)
	}
	if tries, err := get(); tries != 3 || !errors.Is(err, wrong) {
		t.Errorf("of three bad replicas %d were tried: %v", tries, err)
	}
	nodes[set[1]].hold(good)
	for range 5 {
		if _, err := get(); err != nil {
			t.Errorf("with one good replica: %v", err)
		}
	}
}

// Fetch does not wait for a late answer while another assigned node holds the chunk, and
// for a while it does not ask the late node first.
func TestReaderDoesNotWaitForASlowNode(t *testing.T) {
	for _, d := range []schemas.Durability{{K: 1, M: 1}, {K: 2, M: 1}} {
		t.Run(d.String(), func(t *testing.T) {
			r, nodes := startMemoryNodes(t, d, "a", "b", "c")
			var chunks []schemas.Chunk
			var ids []schemas.ChunkID
			for range 12 { // all chunks fit one answer
				c := newChunk(70_000)
				if d.K > 1 {
					spread(t, r, nodes, d, c)
				} else {
					for _, id := range placement.New(r.Map()).Place(nil, c.ID, 2) {
						nodes[id].hold(c)
					}
				}
				chunks, ids = append(chunks, c), append(ids, c.ID)
			}
			slow := nodes["b"]
			slow.unresponsive = true
			begin := time.Now()
			if err := fetched(t, r, chunks, ids); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took > 10*time.Second { // the timeout of an answer
				t.Errorf("the fetch waited for an unresponsive node: it took %v", took)
			}
			before := slow.count("get")
			if before == 0 {
				t.Fatal("the unresponsive node was not asked")
			}
			if err := fetched(t, r, chunks, ids); err != nil {
				t.Fatal(err)
			}
			if slow.count("get") > before {
				t.Error("the unresponsive node was asked first again")
			}
		})
	}
}

// Reads are spread over the nodes that a chunk is assigned to.
func TestReaderSpreadsReads(t *testing.T) {
	r, nodes := startMemoryNodes(t, schemas.Durability{K: 1, M: 2}, "a", "b", "c")
	c := newChunk(100)
	for _, s := range nodes {
		s.hold(c)
	}
	many := make([]schemas.ChunkID, 300)
	want := make([]schemas.Chunk, len(many))
	for i := range many {
		many[i], want[i] = c.ID, c
	}
	if err := fetched(t, r, want, many); err != nil {
		t.Fatal(err)
	}
	for id, s := range nodes {
		if s.asked["get"] == 0 {
			t.Errorf("node %s was not asked", id)
		}
	}
}

// A chunk is complete if it survives as many losses as the durability demands, on whichever
// nodes its parts are.
func TestReaderKnowsWhichChunksAreComplete(t *testing.T) {
	for name, c := range map[string]struct {
		d       schemas.Durability
		arrange func(at []*memoryNode, shards []schemas.Chunk, c schemas.Chunk)
		held    bool
	}{
		"one of two replicas": {schemas.Durability{K: 1, M: 1}, func(at []*memoryNode, _ []schemas.Chunk, c schemas.Chunk) { at[0].hold(c) }, false},
		"both replicas":       {schemas.Durability{K: 1, M: 1}, func(at []*memoryNode, _ []schemas.Chunk, c schemas.Chunk) { at[0].hold(c); at[1].hold(c) }, true},
		"one replica on a node that is not assigned": {schemas.Durability{K: 1, M: 1},
			func(at []*memoryNode, _ []schemas.Chunk, c schemas.Chunk) { at[1].hold(c); at[4].hold(c) }, true},
		"all shards": {schemas.Durability{K: 2, M: 1},
			func(at []*memoryNode, s []schemas.Chunk, _ schemas.Chunk) {
				at[0].hold(s[2])
				at[1].hold(s[0])
				at[5].hold(s[1])
			}, true},
		"two shards on one node": {schemas.Durability{K: 2, M: 1},
			func(at []*memoryNode, s []schemas.Chunk, _ schemas.Chunk) { at[0].hold(s[2], s[0]); at[1].hold(s[1]) }, false},
		"a shard twice": {schemas.Durability{K: 2, M: 1},
			func(at []*memoryNode, s []schemas.Chunk, _ schemas.Chunk) {
				at[0].hold(s[0])
				at[1].hold(s[0])
				at[2].hold(s[1])
			}, false},
		"replicas of a chunk that could be split": {schemas.Durability{K: 2, M: 1},
			func(at []*memoryNode, _ []schemas.Chunk, c schemas.Chunk) { at[0].hold(c); at[1].hold(c) }, true},
		"a replica and shards": {schemas.Durability{K: 2, M: 1},
			func(at []*memoryNode, s []schemas.Chunk, c schemas.Chunk) {
				at[0].hold(c)
				at[1].hold(s[0])
				at[2].hold(s[1])
			}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, nodes := startMemoryNodes(t, c.d, sixNodes...)
			chunk := newChunk(70_000)
			var at []*memoryNode
			for _, id := range placement.New(r.Map()).Place(nil, chunk.ID, 6) {
				at = append(at, nodes[id])
			}
			c.arrange(at, split(t, schemas.Durability{K: 2, M: 1}, chunk), chunk)
			held, err := complete(t, r, []schemas.ChunkID{chunk.ID})
			if err != nil || held[0] != c.held {
				t.Errorf("held is %v, %v, want %v", held, err, c.held)
			}
		})
	}
}

// complete reports which chunks are complete, in the way a client asks about chunks that it
// is about to save.
func complete(t *testing.T, r *replica.Reader, ids []schemas.ChunkID) (held []bool, err error) {
	t.Helper()
	presences, err := r.Presences(bustest.Context(t), vault, ids)
	for i := range presences {
		held = append(held, presences[i].Enough(r.Durability(vault)))
	}
	return held, err
}

// Only the assigned nodes are asked about a new chunk. While healing moves chunks, all
// nodes are asked.
func TestReaderAsksFewNodesAboutNewChunks(t *testing.T) {
	for d, want := range map[schemas.Durability]int{{K: 1}: 1, {K: 1, M: 1}: 2, {K: 2, M: 1}: 3} {
		r, nodes := startMemoryNodes(t, d, sixNodes...)
		c := newChunk(10)
		if held, err := complete(t, r, []schemas.ChunkID{c.ID}); err != nil || held[0] {
			t.Errorf("%v: held is %v, %v", d, held, err)
		}
		if n := asked(nodes, "have"); n != want {
			t.Errorf("%v: %d nodes were asked about a new chunk, want %d", d, n, want)
		}
		m := *r.Map()
		m.Epoch++
		m.Nodes = slices.Clone(m.Nodes)
		m.Nodes[0].State = schemas.Draining
		r.SetMap(&m)
		for range 1 + d.M { // all on one node, to which the chunk is no longer assigned
			nodes["a"].hold(c)
		}
		before := asked(nodes, "have")
		if held, err := complete(t, r, []schemas.ChunkID{c.ID}); err != nil || held[0] != (d.M == 0 && d.K == 1) {
			t.Errorf("%v: while a node is draining, held is %v, %v", d, held, err)
		}
		if n := asked(nodes, "have") - before; n != 6 {
			t.Errorf("%v: while a node is draining, %d nodes were asked, want all", d, n)
		}
	}
}

// When degraded operation is allowed, the durability is limited by the number of nodes.
func TestReaderAcceptsADegradedDurability(t *testing.T) {
	r, _ := startMemoryNodes(t, schemas.Durability{K: 1, M: 2}, "a", "b")
	if d := r.Durability(vault); d.M != 2 {
		t.Errorf("the durability is %v, want 1+2", d)
	}
	r.AllowDegraded()
	if d := r.Durability(vault); d.M != 1 {
		t.Errorf("the degraded durability is %v, want 1+1", d)
	}
}

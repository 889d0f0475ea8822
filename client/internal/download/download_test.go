package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// fakeNode is a storage node that answers get and have requests from memory.
type fakeNode struct {
	nc     *nats.Conn
	keys   *seal.Keys
	chunks map[schemas.ChunkID]schemas.Chunk
	gets   atomic.Int64
	others map[schemas.NodeID]schemas.Chunk // what a node has instead of its only chunk

	broken, garbled map[schemas.ChunkID]bool // the disk does not give it; the answer with it is no message
}

// startNode starts nodes with the given ids. They share a connection and the chunks, which
// must not change any more when requests come.
func startNode(t *testing.T, ids ...schemas.NodeID) *fakeNode {
	t.Helper()
	n := &fakeNode{
		nc: bustest.Connect(t, bustest.Server(t)), keys: seal.New(seal.VaultKey{1}),
		chunks: map[schemas.ChunkID]schemas.Chunk{}, broken: map[schemas.ChunkID]bool{}, garbled: map[schemas.ChunkID]bool{},
	}
	for _, id := range ids {
		for subject, answer := range map[string]func(*schemas.IDsRequest) ([]byte, error){
			schemas.GetSubject(id): func(req *schemas.IDsRequest) ([]byte, error) { return n.get(id, req) }, schemas.HaveSubject(id): n.have,
		} {
			_, err := n.nc.Subscribe(subject, func(m *nats.Msg) {
				req, err := schemas.DecodeIDs(m.Data)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := answer(req)
				if err == nil {
					err = m.Respond(b)
				}
				if err != nil && !n.nc.IsClosed() {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

func (n *fakeNode) get(node schemas.NodeID, req *schemas.IDsRequest) ([]byte, error) {
	n.gets.Add(1)
	rep := schemas.NewChunks(nil)
	var failed []schemas.Failed
	for _, id := range req.IDs {
		if n.garbled[id] {
			return []byte{0xc1}, nil
		}
		if n.broken[id] {
			failed = append(failed, schemas.Failed{ID: id, Code: schemas.DiskFailed, Message: "input/output error"})
		} else if c, held := n.chunks[id]; held {
			if other, instead := n.others[node]; instead {
				c = other
			}
			rep.Add(&c)
		} else {
			failed = append(failed, schemas.Failed{ID: id, Code: schemas.NotHeld, Message: "not here"})
		}
	}
	return rep.Reply(failed), nil
}

func (n *fakeNode) have(req *schemas.IDsRequest) ([]byte, error) {
	rep := schemas.HaveReply{Reply: schemas.OK, Have: make([]byte, (len(req.IDs)+7)/8)}
	for i, id := range req.IDs {
		if _, held := n.chunks[id]; held {
			rep.Have[i/8] |= 1 << (i % 8)
		}
	}
	return schemas.Marshal(&rep)
}

// data seals a data chunk and stores it.
func (n *fakeNode) data(t *testing.T, plain []byte) schemas.ChunkID {
	t.Helper()
	id := n.keys.DataID(plain)
	frame, err := n.keys.Seal(nil, id, plain, seal.CompressDefault)
	if err != nil {
		t.Fatal(err)
	}
	c := schemas.Chunk{ID: id, Kind: schemas.Data, Content: frame}
	c.Sum = c.Checksum()
	n.chunks[id] = c
	return id
}

// reader makes a reader that starts with the map m.
func (n *fakeNode) reader(m *schemas.NodeMap, newest func(context.Context) (*schemas.NodeMap, error)) *Reader {
	return NewReader(Options{
		Keys: n.keys, Replicas: replica.NewReader(n.nc, m), NewestMap: newest, Status: func(schemas.Sentence) {},
	})
}

func upNode(id schemas.NodeID) schemas.Node {
	return schemas.Node{ID: id, Name: string(id), State: schemas.Up, Weight: 1}
}

// A node that is not in the map of the start is found through the newest map, which is asked
// for once.
func TestNodeMapIsRenewed(t *testing.T) {
	n := startNode(t, "new")
	content := clienttest.Noise(1, 5000)
	id := n.data(t, content)
	asked := 0
	r := n.reader(&schemas.NodeMap{Epoch: 0}, func(context.Context) (*schemas.NodeMap, error) {
		asked++
		return &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{upNode("new")}}, nil
	})
	got, err := r.AppendPiece(bustest.Context(t), []byte("head"), tree.Piece{ID: id, Skip: 100, Len: 4000})
	if want := slices.Concat([]byte("head"), content[100:4100]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came (%v), want the %d bytes of the piece", len(got), err, len(want))
	}
	if asked != 1 {
		t.Errorf("the map was asked for %d times, want 1", asked)
	}
	if r.Received() < int64(len(content)) {
		t.Errorf("%d bytes are counted as received, want at least %d", r.Received(), len(content))
	}
}

// A chunk that no node holds is not lost if a node that was up at the start is down by the
// newest map. A node that was down at the start does not matter.
func TestChunkOfNodeThatWentDownIsNotLost(t *testing.T) {
	n := startNode(t, "here")
	other := upNode("other")
	before := &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{upNode("here"), other}}
	other.State = schemas.Down
	now := &schemas.NodeMap{Epoch: 2, Nodes: []schemas.Node{upNode("here"), other}}
	for _, m := range []*schemas.NodeMap{before, now} {
		r := n.reader(m, func(context.Context) (*schemas.NodeMap, error) { return now, nil })
		r.retry.Limit = 0
		err := r.Fetch(bustest.Context(t), []schemas.ChunkID{{1}}, nil)
		if lost := m == now; err == nil || IsDamage(err) != lost || transfer.IsUnresponsive(err) == lost {
			t.Errorf("with map %d at the start, a chunk that no node holds is: %v", m.Epoch, err)
		}
	}
}

// A replica that is damaged below its checksum is found when it is opened. Another replica is
// then asked for; without one, the chunk is damaged.
func TestDamagedReplicaIsReplaced(t *testing.T) {
	for nodes, want := range map[int]bool{1: false, 2: true} {
		ids := []schemas.NodeID{"a", "b"}[:nodes]
		n := startNode(t, ids...)
		m := &schemas.NodeMap{Epoch: 1}
		for _, id := range ids {
			m.Nodes = append(m.Nodes, upNode(id))
		}
		content := clienttest.Noise(1, 5000)
		id := n.data(t, content)
		r := n.reader(m, nil)
		var first atomic.Bool
		err := r.Fetch(bustest.Context(t), []schemas.ChunkID{id}, func(_ int, c *schemas.Chunk) error {
			if first.CompareAndSwap(false, true) {
				c.Content[100] ^= 1
			}
			plain, err := r.Open(c)
			if err != nil {
				return err
			}
			defer plain.Release()
			if !bytes.Equal(plain.Bytes, content) || !r.Matches(id, plain.Bytes) {
				t.Errorf("with %d nodes: the chunk has another content", nodes)
			}
			return nil
		})
		if (err == nil) != want || err != nil && !IsDamage(err) {
			t.Errorf("with %d nodes, the first replica being damaged: %v", nodes, err)
		}
		// Afterwards every node is asked once more, to find out which replicas are bad.
		if asked := n.gets.Load(); asked != 2*int64(nodes) {
			t.Errorf("with %d nodes: %d requests", nodes, asked)
		}
	}
}

// What is wrong with one chunk costs that chunk alone: a frame whose first byte is wrong, although
// its checksum is right; a disk that does not give it; an answer that is no message.
func TestOneBadChunkCostsNoOther(t *testing.T) {
	n := startNode(t, "only")
	good := [][]byte{clienttest.Noise(1, 5000), clienttest.Noise(2, 5000), clienttest.Noise(3, 5000)}
	var ids []schemas.ChunkID
	for _, content := range good {
		ids = append(ids, n.data(t, content))
	}
	for name, spoil := range map[string]func(id schemas.ChunkID){
		"first byte": func(id schemas.ChunkID) {
			c := n.chunks[id]
			c.Content = append([]byte{9}, c.Content[1:]...)
			c.Sum = c.Checksum()
			n.chunks[id] = c
		},
		"disk":   func(id schemas.ChunkID) { n.broken[id] = true },
		"answer": func(id schemas.ChunkID) { n.garbled[id] = true },
	} {
		t.Run(name, func(t *testing.T) {
			bad := n.data(t, clienttest.Noise(9, 5000))
			defer delete(n.broken, bad)
			defer delete(n.garbled, bad)
			spoil(bad)
			r := n.reader(&schemas.NodeMap{Nodes: []schemas.Node{upNode("only")}}, nil)
			var got atomic.Int64
			err := r.Fetch(t.Context(), []schemas.ChunkID{ids[0], ids[1], bad, ids[2]}, func(_ int, c *schemas.Chunk) error {
				p, err := r.Open(c)
				if err == nil {
					got.Add(1)
					p.Release()
				}
				return err
			})
			if !IsDamage(err) || got.Load() != 3 {
				t.Errorf("%d of 3 good chunks came, and the error is %v", got.Load(), err)
			}
		})
	}
}

// A frame whose first byte is wrong on one node is taken from another one.
func TestFrameOfAnotherVersionIsReplaced(t *testing.T) {
	n := startNode(t, "good", "worse")
	content := clienttest.Noise(1, 5000)
	id := n.data(t, content)
	bad := n.chunks[id]
	bad.Content = append([]byte{9}, bad.Content[1:]...)
	bad.Sum = bad.Checksum()
	n.others = map[schemas.NodeID]schemas.Chunk{"worse": bad}
	m := &schemas.NodeMap{Nodes: []schemas.Node{upNode("good"), upNode("worse")}, Durability: schemas.Durability{K: 1, M: 1}}
	for range 10 { // whichever of them is asked first
		r := n.reader(m, nil)
		b, err := r.AppendPiece(t.Context(), nil, tree.Piece{ID: id, Len: 5000})
		if err != nil || !bytes.Equal(b, content) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
}

// An error is damage if it is about a chunk, wherever it is wrapped.
func TestIsDamage(t *testing.T) {
	for _, tc := range []struct {
		err            error
		damage, oldMap bool
	}{
		{nil, false, false},
		{schemas.Errorf(schemas.Corrupt, "x"), true, false},
		{schemas.Errorf(schemas.NotHeld, "x"), true, true},
		{fmt.Errorf("open: %w", seal.ErrDamaged), true, false},
		{replica.BadReplica(seal.ErrDamaged), true, false},
		{schemas.Errorf(schemas.NoNode, "x"), false, true},
		{schemas.Errorf(schemas.Unavailable, "x"), false, true},
		{errNoLongerUp, false, true},
		{errors.New("x"), false, false},
	} {
		if IsDamage(tc.err) != tc.damage || mayBeOldMap(tc.err) != tc.oldMap {
			t.Errorf("%v: damage %v, may come of an old map %v", tc.err, IsDamage(tc.err), mayBeOldMap(tc.err))
		}
	}
}

func TestLacksNode(t *testing.T) {
	state := func(s schemas.State) *schemas.NodeMap {
		n := upNode("n")
		n.State = s
		return &schemas.NodeMap{Nodes: []schemas.Node{n}}
	}
	none := &schemas.NodeMap{}
	for _, tc := range []struct {
		name       string
		newer, old *schemas.NodeMap
		want       bool
	}{
		{"the same", state(schemas.Up), state(schemas.Up), false},
		{"down by now", state(schemas.Down), state(schemas.Up), true},
		{"removed by now", none, state(schemas.Up), true},
		{"down already", state(schemas.Down), state(schemas.Down), false},
		{"added", state(schemas.Up), none, false},
	} {
		if got := lacksNode(tc.newer, tc.old); got != tc.want {
			t.Errorf("a node that is %s: %v", tc.name, got)
		}
	}
}

package client

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// shelf is a storage node that keeps chunks in memory and counts what is asked
// of it, so that a test decides what a version looks like.
type shelf struct {
	t  testing.TB
	k  *keys
	nc *nats.Conn

	mu     sync.Mutex
	chunks map[schemas.ChunkID]schemas.Chunk
	gets   map[schemas.ChunkID]int
	// before is called with each id that is asked for; an error is the answer.
	before func(schemas.ChunkID) error
}

func newShelf(t testing.TB) *shelf {
	t.Helper()
	s := &shelf{t: t, k: newKeys(testKey()), nc: bustest.Connect(t, bustest.Server(t)),
		chunks: map[schemas.ChunkID]schemas.Chunk{}, gets: map[schemas.ChunkID]int{}}
	for subject, answer := range map[string]func(*schemas.IDsRequest) []byte{
		schemas.GetSubject("shelf"): s.get, schemas.HaveSubject("shelf"): s.have,
	} {
		_, err := s.nc.Subscribe(subject, func(m *nats.Msg) {
			req, err := schemas.DecodeIDs(m.Data)
			if err == nil {
				err = m.Respond(answer(req))
			}
			if err != nil && !s.nc.IsClosed() {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *shelf) get(req *schemas.IDsRequest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep := schemas.NewChunks(nil)
	var failed []schemas.Failed
	for _, id := range req.IDs {
		c, held := s.chunks[id]
		var err error
		if !held {
			err = schemas.Errorf(schemas.NotHeld, "not here")
		}
		if s.before != nil {
			if told := s.before(id); told != nil {
				err = told
			}
		}
		switch {
		case err != nil:
			failed = append(failed, schemas.Failed{ID: id, Code: schemas.CodeOf(err), Message: err.Error()})
		case rep.HasRoom(c.Size()):
			s.gets[id]++
			rep.Add(&c)
		}
	}
	return rep.Reply(failed)
}

func (s *shelf) have(req *schemas.IDsRequest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep := schemas.HaveReply{Reply: schemas.OK, Have: make([]byte, (len(req.IDs)+7)/8)}
	for i, id := range req.IDs {
		if _, held := s.chunks[id]; held {
			rep.Have[i/8] |= 1 << (i % 8)
		}
	}
	b, err := schemas.Marshal(&rep)
	if err != nil {
		s.t.Error(err)
	}
	return b
}

// data keeps a data chunk.
func (s *shelf) data(plain []byte) schemas.ChunkID {
	s.t.Helper()
	id := s.k.dataID(plain)
	frame, err := s.k.sealData(nil, id, plain, sealOptions{Unchecked: true})
	s.keep(schemas.Chunk{ID: id, Kind: schemas.Data, Content: frame}, err)
	return id
}

// tree keeps a tree chunk; it is a treePut.
func (s *shelf) tree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	frame, err := s.k.sealTree(nil, id, trees, data, payload, sealOptions{})
	s.keep(schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: slices.Clone(trees), Data: slices.Clone(data), Content: frame}, err)
	return nil
}

func (s *shelf) keep(c schemas.Chunk, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	c.Sum = c.Checksum()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[c.ID] = c
}

// version makes a tree of entries, which it puts in order, and opens it.
func (s *shelf) version(entries []*Entry) *opened {
	s.t.Helper()
	slices.SortFunc(entries, func(a, b *Entry) int { return comparePath(a.Path, b.Path) })
	w := newTreeWriter(s.k, s.tree)
	for _, e := range entries {
		if err := w.add(e); err != nil {
			s.t.Fatal(err)
		}
	}
	root, err := w.finish()
	if err != nil {
		s.t.Fatal(err)
	}
	holders := replica.NewReader(s.nc, &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{{ID: "shelf", Name: "shelf", State: schemas.Up, Weight: 1}}})
	v := &opened{Version: schemas.Version{ID: "r@1", Record: "r", Root: root}, k: s.k, label: &label{Top: "r"},
		source: newSource(schemas.VaultID{}, holders, func(string) {})}
	v.get = treeGetter(s.k, v.source)
	v.tree = newTreeReader(v.get, root)
	return v
}

// restore brings v back into a new folder, which it returns, and says what was
// warned of.
func (s *shelf) restore(v *opened) (to string, r *restorer, warnings []string) {
	s.t.Helper()
	to = s.t.TempDir()
	r, warnings = s.restoreTo(to, v)
	return filepath.Join(to, "r"), r, warnings
}

func (s *shelf) restoreTo(to string, v *opened) (r *restorer, warnings []string) {
	s.t.Helper()
	var mu sync.Mutex
	r = &restorer{v: v, opt: RestoreOptions{To: to, Progress: &Progress{}, Warn: func(path string, err error) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, fmt.Sprintf("%s: %v", path, err))
	}}}
	if err := r.run(bustest.Patient(s.t)); err != nil {
		s.t.Fatal(err)
	}
	return r, warnings
}

// dataGets is how often each data chunk was fetched.
func (s *shelf) dataGets() map[schemas.ChunkID]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	gets := maps.Clone(s.gets)
	maps.DeleteFunc(gets, func(id schemas.ChunkID, _ int) bool { return s.chunks[id].Kind == schemas.Tree })
	return gets
}

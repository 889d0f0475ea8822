package restore

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// shelf is a storage node that holds chunks in memory and counts requests, so that a test decides
// what a version looks like.
type shelf struct {
	t  testing.TB
	k  *seal.Keys
	nc *nats.Conn

	mu     sync.Mutex
	chunks map[schemas.ChunkID]schemas.Chunk
	gets   map[schemas.ChunkID]int
	// before is called with each id that is requested; its error is the answer.
	before func(schemas.ChunkID) error
}

func newShelf(t testing.TB) *shelf {
	t.Helper()
	s := &shelf{t: t, k: seal.New(seal.VaultKey{1}), nc: bustest.Connect(t, bustest.Server(t)),
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
		case rep.HasSpace(c.Size()):
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

// data stores a data chunk and returns its id.
func (s *shelf) data(plain []byte) schemas.ChunkID {
	s.t.Helper()
	id := s.k.DataID(plain)
	frame, err := s.k.Seal(nil, id, plain, seal.CompressDefault)
	s.add(schemas.Chunk{ID: id, Kind: schemas.Data, Content: frame}, err)
	return id
}

// tree stores a tree chunk; it is a [tree.Putter].
func (s *shelf) tree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	frame, err := s.k.Seal(nil, id, payload, seal.CompressDefault)
	s.add(schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: slices.Clone(trees), Data: slices.Clone(data), Content: frame}, err)
	return nil
}

func (s *shelf) add(c schemas.Chunk, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	c.Sum = c.Checksum()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[c.ID] = c
}

// version makes a tree of entries, which it sorts, and opens it.
func (s *shelf) version(entries []*tree.Entry) *Source {
	s.t.Helper()
	slices.SortFunc(entries, func(a, b *tree.Entry) int { return tree.ComparePath(a.Path, b.Path) })
	w := tree.NewWriter(s.k, s.tree)
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			s.t.Fatal(err)
		}
	}
	root, err := w.Finish()
	if err != nil {
		s.t.Fatal(err)
	}
	chunks := download.NewReader(download.Options{Keys: s.k, Replicas: replica.NewReader(s.nc, shelfMap()), Status: func(schemas.Sentence) {}})
	return &Source{Chunks: chunks, Entries: tree.NewReader(chunks.TreeNodes, root)}
}

// shelfMap returns a node map with only the shelf.
func shelfMap() *schemas.NodeMap {
	return &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{{ID: "shelf", Name: "shelf", State: schemas.Up, Weight: 1}}}
}

// restore restores src as "r" into a new folder. It returns the path of "r" and the warnings.
func (s *shelf) restore(src *Source) (to string, done Result, warnings []string) {
	s.t.Helper()
	to = s.t.TempDir()
	done, warnings = s.restoreTo(to, src)
	return filepath.Join(to, "r"), done, warnings
}

func (s *shelf) restoreTo(to string, src *Source) (done Result, warnings []string) {
	s.t.Helper()
	var mu sync.Mutex
	done, err := s.run(to, src, target.Options{}, func(path string, err error) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, fmt.Sprintf("%s: %v", path, err))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return done, warnings
}

// run restores src with the settings of a client.
func (s *shelf) run(to string, src *Source, opt target.Options, warn func(string, error)) (Result, error) {
	s.t.Helper()
	opt.Owner, opt.Warn = os.Geteuid() == 0, warn
	into, err := target.Open(to, opt)
	if err != nil {
		s.t.Fatal(err)
	}
	return Run(bustest.Context(s.t), *src, into, []Part{{From: ".", To: "r"}},
		Options{Progress: &transfer.Progress{}, Failed: warn, Incomplete: warn})
}

// dataGets returns how often each data chunk was fetched.
func (s *shelf) dataGets() map[schemas.ChunkID]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	gets := maps.Clone(s.gets)
	maps.DeleteFunc(gets, func(id schemas.ChunkID, _ int) bool { return s.chunks[id].Kind == schemas.Tree })
	return gets
}

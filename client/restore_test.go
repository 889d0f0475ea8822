package client

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
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
		case rep.Fits(&c):
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
	holders := bus.NewHolders(s.nc, &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{{ID: "shelf", Name: "shelf", State: schemas.Up, Weight: 1}}})
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

func dirEntry(path string) *Entry { return &Entry{Path: path, Type: TypeDir, Mode: 0o755} }

// partOf is a file whose content is the piece [skip, skip+n) of a chunk.
func partOf(path string, id schemas.ChunkID, skip, n int64) *Entry {
	return &Entry{Path: path, Type: TypeFile, Mode: 0o644, Size: n,
		Content: Content{Pieces: []Piece{{Len: n, ID: id, Skip: skip}}, Bytes: n}}
}

func wantContent(t testing.TB, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes (%v), want the %d that were saved", path, len(got), err, len(want))
	}
}

// Small files share chunks, of several versions in turn and with large files in
// between: each chunk is fetched once.
func TestSharedChunksAreFetchedOnce(t *testing.T) {
	s := newShelf(t)
	shared := [][]byte{noise(1, 200_000), text(300_000), noise(2, 5000)}
	ids := make([]schemas.ChunkID, len(shared))
	for i, plain := range shared {
		ids[i] = s.data(plain)
	}
	large := noise(3, maxChunk)
	entries := []*Entry{dirEntry("."), partOf("large", s.data(large), 0, int64(len(large)))}
	want := map[string][]byte{"large": large}
	for d := range 5 {
		entries = append(entries, dirEntry(fmt.Sprint(d)))
		for f := range 40 {
			c, skip, n := f%3, int64(d*40+f)*20, int64(f)
			name := fmt.Sprintf("%d/%02d", d, f)
			e := partOf(name, ids[c], skip, n)
			if n == 0 {
				e.Content = Content{}
			}
			entries = append(entries, e)
			want[name] = shared[c][skip:][:n]
		}
	}
	to, r, warnings := s.restore(s.version(entries))
	for name, content := range want {
		wantContent(t, filepath.Join(to, name), content)
	}
	if len(warnings) > 0 || r.files.Load() != int64(len(want)) {
		t.Errorf("%d files came back, want %d; warnings: %q", r.files.Load(), len(want), warnings)
	}
	for id, n := range s.dataGets() {
		if n != 1 {
			t.Errorf("chunk %s was fetched %d times", id.Short(), n)
		}
	}
}

// What is wrong with a shared chunk, or with one file's part of it, is the loss
// of exactly the files that need it.
func TestDamageCostsOnlyItsFiles(t *testing.T) {
	s := newShelf(t)
	good, bad, gone := noise(1, 9000), s.data(noise(2, 9000)), s.data(noise(3, 9000))
	c := s.chunks[bad]
	c.Content[100] ^= 1
	delete(s.chunks, gone)
	id := s.data(good)
	to, r, warnings := s.restore(s.version([]*Entry{
		dirEntry("."), partOf("a", id, 0, 4000), partOf("b", bad, 0, 4000), partOf("c", gone, 0, 4000),
		partOf("d", id, 4000, 5000), partOf("e", id, 4001, 5000), partOf("f", bad, 4000, 1),
	}))
	wantContent(t, filepath.Join(to, "a"), good[:4000])
	wantContent(t, filepath.Join(to, "d"), good[4000:])
	wantNames(t, to, "a", "d")
	if len(warnings) != 4 || r.failed.Load() != 4 {
		t.Errorf("%d failed, want 4: %q", r.failed.Load(), warnings)
	}
}

// far is a version in which the file "z" is equal to "a", far behind it.
func (s *shelf) far() (v *opened, content []byte, id, middle schemas.ChunkID) {
	content = noise(200, 300_000)
	id = s.data(content)
	entries := []*Entry{dirEntry("."), partOf("a", id, 0, int64(len(content))), partOf("z", id, 0, int64(len(content)))}
	const between = 2*fetchSlots + windowBytes/maxChunk
	for i := range between {
		other := s.data(noise(byte(i), maxChunk))
		entries = append(entries, partOf(fmt.Sprintf("b%02d", i), other, 0, maxChunk))
		if i == fetchSlots {
			middle = other
		}
	}
	return s.version(entries), content, id, middle
}

func TestWhatWasWrittenIsNotFetchedAgain(t *testing.T) {
	s := newShelf(t)
	v, content, id, _ := s.far()
	to, _, warnings := s.restore(v)
	wantContent(t, filepath.Join(to, "a"), content)
	wantContent(t, filepath.Join(to, "z"), content)
	if n := s.gets[id]; n != 1 || len(warnings) > 0 {
		t.Errorf("the chunk was fetched %d times; warnings: %q", n, warnings)
	}
}

// What was written is trusted only as far as it still is what it was.
func TestWhatWasWrittenMayHaveChanged(t *testing.T) {
	s := newShelf(t)
	v, content, id, middle := s.far()
	for name, change := range map[string]func(path string) error{
		"overwritten": func(path string) error { return os.WriteFile(path, noise(201, 300_000), 0o600) },
		"cut off":     func(path string) error { return os.Truncate(path, 1) },
		"removed":     os.Remove,
		"a link":      func(path string) error { return errors.Join(os.Remove(path), os.Symlink("b00", path)) },
		"a folder":    func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			clear(s.gets)
			s.before = func(asked schemas.ChunkID) error {
				if asked == middle {
					a := filepath.Join(to, "r", "a")
					bustest.Eventually(t, "the first file is there", func() bool {
						info, err := os.Stat(a)
						return err == nil && info.ModTime().UnixNano() == 0 // set last
					})
					if err := change(a); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			s.restoreTo(to, v)
			wantContent(t, filepath.Join(to, "r", "z"), content)
			if n := s.gets[id]; n != 2 {
				t.Errorf("the chunk was fetched %d times, want 2", n)
			}
		})
	}
}

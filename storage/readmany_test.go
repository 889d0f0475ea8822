package storage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// ReadAll gives what Get and Edges give, in the order of ids: for chunks that are near
// and far, large and small, asked for twice, not held, and damaged between sound ones.
func TestReadAll(t *testing.T) {
	mem := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: mem, SegmentSize: 2 << 20})
	m := storagetest.NewMaker(1)
	var chunks []schemas.Chunk
	for i := range 400 {
		chunks = append(chunks, m.Data(i*13), m.Tree(i%3, i%70, i))
		if i%50 == 0 {
			chunks = append(chunks, m.Data(schemas.MaxContent-i), m.Data(300_000))
		}
	}
	storagetest.Put(t, s, chunks...)
	bad := len(chunks) / 2
	damage(t, mem, s, chunks[bad])

	ids := []schemas.ChunkID{{1}, {2}} // not held
	for i := range chunks {
		ids = append(ids, chunks[i].ID)
	}
	ids = append(ids, ids[:len(ids)/2]...)
	rng := rand.New(rand.NewPCG(1, 1))
	for round := range 4 {
		if round > 0 { // the first round is in the order of locations
			rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		}
		for _, edges := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d edges=%v", round, edges), func(t *testing.T) { compareReads(t, s, ids, edges) })
		}
	}
	if n := s.Stats().Corrupt; n != 1 {
		t.Errorf("%d chunks are known to be damaged, want 1", n)
	}
	storagetest.Put(t, s, chunks[bad])
	storagetest.Holds(t, s, chunks...)
	storagetest.CloseClean(t, s)
	storagetest.Code(t, s.ReadAll(storagetest.Vault, ids, false, nil), schemas.NodeClosed)
}

func compareReads(t *testing.T, s *storage.Store, ids []schemas.ChunkID, edges bool) {
	get := s.Get
	if edges {
		get = s.Edges
	}
	for _, limit := range []int{len(ids), 7} {
		n := 0
		err := s.ReadAll(storagetest.Vault, ids, edges, func(i int, c *storage.Found, err error) bool {
			if err == nil {
				err = c.Read(make([]byte, c.Len))
			}
			if i != n {
				t.Fatalf("visit %d is of index %d", n, i)
			}
			n++
			want, wantErr := get(storagetest.Vault, ids[i])
			if schemas.CodeOf(err) != schemas.CodeOf(wantErr) {
				t.Errorf("chunk %d: %v, want %v", i, err, wantErr)
			}
			if err == nil && wantErr == nil {
				storagetest.Same(t, want, c.Chunk)
			}
			return n < limit
		})
		if err != nil || n != limit {
			t.Errorf("%d of %d were visited: %v", n, limit, err)
		}
	}
}

// damage flips a bit of the chunk's content on the disk.
func damage(t *testing.T, fs vfs.FS, s *storage.Store, c schemas.Chunk) {
	t.Helper()
	for n := range s.Stats().Segments {
		name := fmt.Sprintf("%s/segments/%08d.seg", dir, n+1)
		b := readFile(t, fs, name)
		at := bytes.Index(b, c.Content)
		if at < 0 {
			continue
		}
		f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{b[at] ^ 1}, int64(at)); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the content is in no segment")
}

// Edges are read and checked without the content, which may be damaged.
func TestReadAllEdgesOfDamagedContent(t *testing.T) {
	mem := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: mem})
	tree := storagetest.NewMaker(1).Tree(3, 4, 500)
	storagetest.Put(t, s, tree)
	damage(t, mem, s, tree)
	err := s.ReadAll(storagetest.Vault, []schemas.ChunkID{tree.ID}, true, func(_ int, c *storage.Found, err error) bool {
		if err == nil {
			err = c.Read(make([]byte, c.Len))
		}
		if err != nil || len(c.Trees) != 3 || len(c.Data) != 4 {
			t.Errorf("the edges are %d and %d, %v", len(c.Trees), len(c.Data), err)
		}
		return true
	})
	if err != nil || s.Stats().Corrupt != 0 {
		t.Errorf("%v; the stats are %+v", err, s.Stats())
	}
	storagetest.Put(t, s, tree)
	if _, err := s.Get(storagetest.Vault, tree.ID); schemas.CodeOf(err) != schemas.Corrupt {
		t.Errorf("reading the content gives %v", err)
	}
	storagetest.Put(t, s, tree) // so that the check at the end is clean
}

package storage_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// flip flips one bit of a file in memory. No store may have it open.
func flip(t *testing.T, fs *vfs.MemFS, name string, offset int64) {
	t.Helper()
	b, err := fs.UnsafeGetFileDataBuffer(name)
	if err != nil {
		t.Fatal(err)
	}
	b[offset] ^= 0x04
}

// A flipped bit anywhere in a record is found and its location is named. The chunk is
// not held until it is put again; then it is held and no problem is left.
func TestFlippedBit(t *testing.T) {
	m := storagetest.NewMaker(1)
	a, b, c := m.Data(300), m.Tree(2, 3, 400), m.Data(500)
	start := int64(128 + 152 + 300) // of b, in one batch with the others
	for name, offset := range map[string]int64{
		"magic": 0, "kind": 4, "k": 6, "trees": 8, "data": 12, "content length": 16, "padding": 20,
		"time": 24, "batch start": 32, "vault": 40, "id": 56, "sum": 88, "edgesum": 120, "headsum": 136,
		"tree edges": 152, "data edges": 152 + 64, "content": 152 + 160, "last byte": 152 + 160 + 399,
	} {
		for _, first := range []string{"get", "check"} {
			t.Run(name+" by "+first, func(t *testing.T) {
				fs := vfs.NewMem()
				s := storagetest.Open(t, dir, storage.Options{FS: fs})
				storagetest.Put(t, s, a, b, c)
				storagetest.CloseClean(t, s)
				flip(t, fs, segment1, start+offset)
				s = storagetest.Open(t, dir, storage.Options{FS: fs})
				if first == "get" {
					_, err := s.Get(storagetest.Vault, b.ID)
					storagetest.Code(t, err, schemas.Corrupt)
					if err != nil && !strings.Contains(err.Error(), "segments/00000001.seg at offset 580") {
						t.Errorf("the error does not name the location: %v", err)
					}
				} else {
					got := storagetest.Problems(t, s)
					if len(got) != 1 || got[0].ID != b.ID || got[0].Vault != storagetest.Vault || got[0].Offset != start {
						t.Errorf("the check found %v", got)
					}
				}
				heals(t, s, a, b, c)
			})
		}
	}
}

// heals expects that b is known to be damaged, and that putting it again replaces it.
func heals(t *testing.T, s *storage.Store, a, b, c schemas.Chunk) {
	t.Helper()
	have := []bool{true}
	if err := s.Has(storagetest.Vault, []schemas.ChunkID{b.ID}, have); err != nil || have[0] {
		t.Errorf("has says %v, %v of a damaged chunk", have[0], err)
	}
	_, err := s.Edges(storagetest.Vault, b.ID)
	storagetest.Code(t, err, schemas.Corrupt)
	if n := s.Stats().Corrupt; n != 1 {
		t.Errorf("%d corrupt chunks are counted, want 1", n)
	}
	storagetest.Put(t, s, a, b, c)
	storagetest.Holds(t, s, a, b, c)
	if st := s.Stats(); st.Corrupt != 0 || st.Chunks != 3 {
		t.Errorf("after healing the stats are %+v", st)
	}
	storagetest.Clean(t, s)
}

// A flipped bit that belongs to no chunk is found too.
func TestFlippedBitElsewhere(t *testing.T) {
	m := storagetest.NewMaker(1)
	for name, offset := range map[string]int64{
		"file magic": 0, "version": 8, "number": 12, "node": 16, "salt": 50, "checksum": 100, "mark": 128 + 152 + 300 + 60,
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := storagetest.Open(t, dir, storage.Options{FS: fs})
			a, b := m.Data(300), m.Data(10)
			storagetest.Put(t, s, a)
			storagetest.CloseClean(t, s)
			s = storagetest.Open(t, dir, storage.Options{FS: fs})
			storagetest.Put(t, s, b)
			storagetest.CloseClean(t, s)
			flip(t, fs, segment1, offset)
			s, err := storage.Open(dir, storage.Options{FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			storagetest.Holds(t, s, a, b)
			if got := storagetest.Problems(t, s); len(got) != 1 || !got[0].ID.IsZero() || got[0].Segment != "segments/00000001.seg" {
				t.Errorf("the check found %v", got)
			}
		})
	}
}

// A check finds that the end of a segment is missing, be it a finished segment or the
// last one.
func TestMissingBytes(t *testing.T) {
	m := storagetest.NewMaker(1)
	a, b := m.Data(3000), m.Data(3000)
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 4096})
	storagetest.Put(t, s, a)
	storagetest.Put(t, s, b)
	storagetest.CloseClean(t, s)
	writeFile(t, fs, segment1, readFile(t, fs, segment1)[:128])
	s = storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 4096})
	if got := storagetest.Problems(t, s); len(got) != 2 || !strings.Contains(got[0].What, "is lost") || got[1].ID != a.ID {
		t.Errorf("the check found %v", got)
	}
	storagetest.Put(t, s, a)
	storagetest.Holds(t, s, a, b)
	if _, err := s.Compact(t.Context(), storage.Compaction{}); err != nil {
		t.Error(err)
	}
	storagetest.CloseClean(t, s)

	// Now the last one. Puts go on in a new segment.
	last := dir + "/segments/00000003.seg"
	writeFile(t, fs, last, readFile(t, fs, last)[:1000])
	s = storagetest.Open(t, dir, storage.Options{FS: fs})
	if s.Stats().Damaged != 1 {
		t.Errorf("the missing end is not counted: %+v", s.Stats())
	}
	_, err := s.Get(storagetest.Vault, a.ID)
	storagetest.Code(t, err, schemas.Corrupt)
	storagetest.Put(t, s, a)
	storagetest.Holds(t, s, a, b)
}

// An index that cannot be read is rebuilt.
func TestDamagedIndex(t *testing.T) {
	m := storagetest.NewMaker(1)
	chunks := m.Mixed()
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	storagetest.Put(t, s, chunks...)
	storagetest.CloseClean(t, s)
	names, err := fs.List(dir + "/index")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST") {
			writeFile(t, fs, dir+"/index/"+name, []byte("rubbish that is no manifest"))
		}
	}
	s = storagetest.Open(t, dir, storage.Options{FS: fs})
	if !s.Stats().Reindexed {
		t.Error("the stats do not say that the index was rebuilt")
	}
	storagetest.Holds(t, s, chunks...)
}

// newer changes a file header so that a newer version seems to have written it.
func newer(t *testing.T, fs vfs.FS, name string) {
	b := readFile(t, fs, name)
	b[8]++
	sum := blake3.Sum256(b[:96])
	copy(b[96:128], sum[:])
	writeFile(t, fs, name, b)
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, fs *vfs.MemFS)
		want  error
	}{
		{"newer store", func(t *testing.T, fs *vfs.MemFS) { newer(t, fs, dir+"/STORE") }, storage.ErrNewer},
		{"newer segment", func(t *testing.T, fs *vfs.MemFS) { newer(t, fs, segment1) }, storage.ErrNewer},
		{"damaged identity", func(t *testing.T, fs *vfs.MemFS) { flip(t, fs, dir+"/STORE", 20) }, storage.ErrCorrupt},
		{"flipped version", func(t *testing.T, fs *vfs.MemFS) { flip(t, fs, dir+"/STORE", 8) }, storage.ErrCorrupt},
		{"empty identity", func(t *testing.T, fs *vfs.MemFS) { writeFile(t, fs, dir+"/STORE", nil) }, storage.ErrCorrupt},
		{"missing identity", func(t *testing.T, fs *vfs.MemFS) { fs.Remove(dir + "/STORE") }, storage.ErrNotStore},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := storagetest.Open(t, dir, storage.Options{FS: fs})
			storagetest.Put(t, s, storagetest.NewMaker(1).Data(100))
			storagetest.CloseClean(t, s)
			tt.spoil(t, fs)
			if _, err := storage.Open(dir, storage.Options{FS: fs}); !errors.Is(err, tt.want) {
				t.Errorf("open says %v, want %v", err, tt.want)
			}
		})
	}
}

func TestOpenSomethingElse(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(path+"/photo.jpg", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.Open(path, storage.Options{}); !errors.Is(err, storage.ErrNotStore) {
		t.Errorf("open says %v", err)
	}
}

func TestMissingIdentity(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	c := storagetest.NewMaker(1).Data(100)
	storagetest.Put(t, s, c)
	node := s.NodeID()
	storagetest.CloseClean(t, s)
	if err := fs.Remove(dir + "/STORE"); err != nil {
		t.Fatal(err)
	}
	s = storagetest.Open(t, dir, storage.Options{FS: fs, RebuildIndex: true})
	storagetest.Holds(t, s, c)
	if s.NodeID() != node {
		t.Errorf("the node's id was %s and is %s", node, s.NodeID())
	}
}

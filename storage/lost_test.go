package storage_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// lostStore returns a disk with a store of three segments, and the chunk in each.
func lostStore(t *testing.T) (fs *vfs.MemFS, chunks []schemas.Chunk) {
	t.Helper()
	fs = vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 1})
	m := storagetest.NewMaker(1)
	for range 3 {
		chunks = append(chunks, m.Data(1000))
		storagetest.Put(t, s, chunks[len(chunks)-1])
	}
	storagetest.CloseClean(t, s)
	return fs, chunks
}

func segmentPath(n int) string { return fmt.Sprintf("%s/segments/%08d.seg", dir, n) }

// onSegment fails operations on the files of segments.
func onSegment(fs vfs.FS, err error, numbers []int, kinds ...errorfs.OpKind) (vfs.FS, *errorfs.Toggle) {
	fault := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		for _, n := range numbers {
			if strings.HasSuffix(op.Path, segmentPath(n)[len(dir):]) && slices.Contains(kinds, op.Kind) {
				return err
			}
		}
		return nil
	})}
	fault.On()
	return errorfs.Wrap(fs, fault), fault
}

// A segment that cannot be used costs the parts that were in it: they are not held, a put
// brings them back, and the others are served all the while. If the file can be used again
// before that, its parts are held again.
func TestLostSegment(t *testing.T) {
	other, _ := lostStore(t) // of another salt
	same := func(fs *vfs.MemFS) (vfs.FS, *errorfs.Toggle) { return fs, nil }
	ways := map[string]func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle){
		"missing": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			for _, n := range lost {
				if err := fs.Remove(segmentPath(n)); err != nil {
					t.Fatal(err)
				}
			}
			return same(fs)
		},
		"empty": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			for _, n := range lost {
				writeFile(t, fs, segmentPath(n), nil)
			}
			return same(fs)
		},
		"cut": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			for _, n := range lost {
				writeFile(t, fs, segmentPath(n), readFile(t, fs, segmentPath(n))[:700])
			}
			return same(fs)
		},
		"of another store": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			for _, n := range lost {
				writeFile(t, fs, segmentPath(n), readFile(t, other, segmentPath(n)))
			}
			return same(fs)
		},
		"zeros": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			for _, n := range lost {
				writeFile(t, fs, segmentPath(n), make([]byte, 5000))
			}
			return same(fs)
		},
		"not examined": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			return onSegment(fs, errorfs.ErrInjected, lost, errorfs.OpStat)
		},
		"not opened": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			return onSegment(fs, errorfs.ErrInjected, lost, errorfs.OpOpen)
		},
		"not read": func(t *testing.T, fs *vfs.MemFS, lost []int) (vfs.FS, *errorfs.Toggle) {
			return onSegment(fs, errorfs.ErrInjected, lost, errorfs.OpFileReadAt)
		},
	}
	for way, spoil := range ways {
		for _, lost := range [][]int{{1}, {3}, {2, 3}, {1, 2, 3}} {
			for _, index := range []string{"present", "rebuilt"} {
				t.Run(fmt.Sprintf("%s %v, index %s", way, lost, index), func(t *testing.T) {
					mem, chunks := lostStore(t)
					before := map[int][]byte{}
					for _, n := range lost {
						before[n] = readFile(t, mem, segmentPath(n))
					}
					fs, fault := spoil(t, mem, lost)
					l := &lostWorld{t: t, chunks: chunks, lost: lost}
					s := l.open(storage.Options{FS: fs, RebuildIndex: index == "rebuilt"})
					l.expect(s, false)
					s = l.restart(s, storage.Options{FS: fs})
					l.expect(s, false)
					if fault != nil {
						fault.Off()
						s = l.restart(s, storage.Options{FS: fs})
						l.expect(s, true)
						fault.On()
						s = l.restart(s, storage.Options{FS: fs})
						l.expect(s, false)
					} else if way == "missing" && (index == "present" || !slices.Contains(lost, 3)) {
						if err := s.Close(); err != nil {
							t.Error(err)
						}
						for n, b := range before {
							writeFile(t, mem, segmentPath(n), b)
						}
						s = l.open(storage.Options{FS: fs})
						l.expect(s, true)
						for n := range before {
							if err := mem.Remove(segmentPath(n)); err != nil {
								t.Fatal(err)
							}
						}
						s = l.restart(s, storage.Options{FS: fs})
						l.expect(s, false)
					}
					storagetest.Put(t, s, chunks...)
					storagetest.Holds(t, s, chunks...)
					if n := s.Stats().Corrupt; n != 0 {
						t.Errorf("after the put %d parts are damaged", n)
					}
					if _, err := s.Compact(t.Context(), storage.Compaction{}); err != nil && fault == nil {
						t.Error(err)
					}
					if n := s.Stats().Lost; n != 0 {
						t.Errorf("%d segments count as lost when nothing is", n)
					}
					for range 2 {
						s = l.restart(s, storage.Options{FS: fs})
						storagetest.Holds(t, s, chunks...)
					}
					s = l.restart(s, storage.Options{FS: fs, RebuildIndex: true})
					storagetest.Holds(t, s, chunks...)
				})
			}
		}
	}
}

// lostWorld is what a test of lost segments expects.
type lostWorld struct {
	t      *testing.T
	chunks []schemas.Chunk // one in each segment
	lost   []int
}

// open opens a store that a check may find problems in.
func (l *lostWorld) open(opt storage.Options) *storage.Store {
	l.t.Helper()
	opt.SegmentSize = 1
	s, err := storage.Open(dir, opt)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (l *lostWorld) restart(s *storage.Store, opt storage.Options) *storage.Store {
	l.t.Helper()
	if err := s.Close(); err != nil {
		l.t.Error(err)
	}
	return l.open(opt)
}

// expect expects that the chunks of the lost segments are held, or cannot be read and are not
// held from then on, and that the others are held.
func (l *lostWorld) expect(s *storage.Store, held bool) {
	l.t.Helper()
	for i, c := range l.chunks {
		if held || !slices.Contains(l.lost, i+1) {
			storagetest.Holds(l.t, s, c)
			continue
		}
		_, err := s.Get(storagetest.Vault, c.ID)
		if code := schemas.CodeOf(err); code != schemas.NotHeld && code != schemas.Corrupt {
			l.t.Errorf("chunk %d: %v", i, err)
		}
		have := []bool{true}
		if err := s.Has(storagetest.Vault, []schemas.ChunkID{c.ID}, have); err != nil || have[0] {
			l.t.Errorf("chunk %d is held: %v, %v", i, have[0], err)
		}
	}
}

// A process that has too many files open does not take a segment for lost.
func TestTooManyFilesLoseNothing(t *testing.T) {
	mem, chunks := lostStore(t)
	fs, fault := onSegment(mem, syscall.EMFILE, []int{1, 2, 3}, errorfs.OpOpen, errorfs.OpStat)
	if _, err := storage.Open(dir, storage.Options{FS: fs}); err == nil {
		t.Error("the store opens")
	}
	fault.Off()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	fault.On()
	_, err := s.Get(storagetest.Vault, chunks[0].ID)
	storagetest.Code(t, err, schemas.DiskFailed)
	have := make([]bool, 1)
	if err := s.Has(storagetest.Vault, []schemas.ChunkID{chunks[0].ID}, have); err != nil || !have[0] {
		t.Errorf("held: %v, %v", have[0], err)
	}
	fault.Off()
	storagetest.Holds(t, s, chunks...)
}

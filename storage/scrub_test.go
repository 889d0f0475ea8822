package storage_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// scrub returns the problems that a scrub finds.
func scrub(t *testing.T, s *storage.Store, from uint32) (problems []storage.Problem, result storage.ScrubResult) {
	t.Helper()
	result, err := s.Scrub(t.Context(), storage.ScrubOptions{From: from, Found: func(p storage.Problem) { problems = append(problems, p) }})
	if err != nil || result.Found != int64(len(problems)) {
		t.Errorf("the scrub found %d of %v: %v", result.Found, problems, err)
	}
	return problems, result
}

// A scrub finds damage to any bytes of a record, and reports it once. The part is not
// held from then on, and a put replaces it.
func TestScrub(t *testing.T) {
	m := storagetest.NewMaker(1)
	part := shards(t, m.Data(900))[1]
	chunks := []schemas.Chunk{m.Data(500), part, m.Data(700), m.Data(20), m.Data(300)}
	// Each segment has one chunk, between its file header and a mark.
	for name, spoil := range map[string]func(b []byte) []byte{
		"content":       func(b []byte) []byte { b[128+152+36] ^= 1; return b },
		"header":        func(b []byte) []byte { b[128+60] ^= 1; return b },
		"magic":         func(b []byte) []byte { b[128] ^= 1; return b },
		"end":           func(b []byte) []byte { return b[:128+152+100] },
		"all of it":     func(b []byte) []byte { return b[:128] },
		"in the header": func(b []byte) []byte { return b[:128+100] },
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			opt := storage.Options{FS: fs, SegmentSize: 1}
			s := storagetest.Open(t, dir, opt)
			for i := range chunks {
				storagetest.Put(t, s, chunks[i])
			}
			storagetest.CloseClean(t, s)
			second := dir + "/segments/00000002.seg"
			writeFile(t, fs, second, spoil(readFile(t, fs, second)))
			s = storagetest.Open(t, dir, opt)
			if found, _ := scrub(t, s, 3); len(found) != 0 {
				t.Errorf("behind the damage the scrub found %v", found)
			}
			known := s.Stats().Corrupt == 1 // a missing end is found when the store is opened
			found, result := scrub(t, s, 0)
			if known != (name == "end" || name == "all of it" || name == "in the header") || known && len(found) > 0 {
				t.Errorf("the damage was known: %v, and the scrub found %v", known, found)
			}
			if !known && (len(found) != 1 || found[0].ID != part.ID || found[0].Part != part.Part || found[0].Vault != storagetest.Vault) {
				t.Errorf("the scrub found %v", found)
			}
			if result.Records < 4 || result.Bytes < 1300 {
				t.Errorf("the scrub read %+v", result)
			}
			if got := partsOf(t, s, part.ID); got[0] != "" || s.Stats().Corrupt != 1 {
				t.Errorf("the damaged part is held: %q, %+v", got, s.Stats())
			}
			if found, _ := scrub(t, s, 0); len(found) != 0 {
				t.Errorf("the next scrub found %v", found)
			}
			storagetest.Put(t, s, part)
			if got, err := s.GetPart(storagetest.Vault, part.ID, part.Part); err != nil {
				t.Error(err)
			} else {
				storagetest.Same(t, part, got)
			}
			if found, _ := scrub(t, s, 0); len(found) != 0 || s.Stats().Corrupt != 0 {
				t.Errorf("after the put the scrub found %v; %+v", found, s.Stats())
			}
			// Not CloseClean: a check would report the damage that names no chunk.
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A scrub that was interrupted goes on in the segment where it was.
func TestScrubResumes(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 1})
	m := storagetest.NewMaker(1)
	for range 6 {
		storagetest.Put(t, s, m.Data(100))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var position, last = uint32(0), 0.0
	progress := func(done float64, from uint32) {
		if done < last || done > 1 || from < position {
			t.Errorf("after %v in segment %d comes %v in %d", last, position, done, from)
		}
		position, last = from, done
		if from == 4 {
			cancel()
		}
	}
	paced := int64(0)
	pace := func(_ context.Context, bytes int64) error {
		paced += bytes
		return nil
	}
	first, err := s.Scrub(ctx, storage.ScrubOptions{Pace: pace, Progress: progress})
	if !errors.Is(err, context.Canceled) || position != 4 || paced != first.Bytes {
		t.Fatalf("the scrub ended in segment %d, paced %d of %d: %v", position, paced, first.Bytes, err)
	}
	rest, err := s.Scrub(t.Context(), storage.ScrubOptions{From: position, Progress: progress})
	if err != nil || last != 1 {
		t.Errorf("the scrub ended at %v: %v", last, err)
	}
	if _, all := scrub(t, s, 0); rest.Records >= all.Records-3 || first.Records+rest.Records < all.Records {
		t.Errorf("%d and %d of %d records were read", first.Records, rest.Records, all.Records)
	}
	full := errors.New("no more")
	if _, err := s.Scrub(t.Context(), storage.ScrubOptions{Pace: func(context.Context, int64) error { return full }}); !errors.Is(err, full) {
		t.Errorf("the scrub does not end with the error of its pace: %v", err)
	}
}

// A scrub reports a disk that cannot be read at all, and no part counts as damaged.
func TestScrubDiskDoesNotRead(t *testing.T) {
	fs, fault := faulty(vfs.NewMem(), errorfs.OpFileReadAt, errorfs.ErrInjected)
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	m := storagetest.NewMaker(1)
	var chunks []schemas.Chunk
	for range 300 {
		chunks = append(chunks, m.Data(1000))
	}
	storagetest.Put(t, s, chunks...)
	fault.On()
	if found, _ := scrub(t, s, 0); len(found) == 0 {
		t.Error("the scrub reports no problem")
	}
	fault.Off()
	storagetest.Holds(t, s, chunks...)
}

// A segment that a compaction removes while a scrub reads it is no problem.
func TestScrubBesideCompaction(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 2_500_000})
	m := storagetest.NewMaker(1)
	var kept []schemas.Chunk
	doomed := map[schemas.ChunkID]bool{}
	for i := range 120 {
		c := m.Data(100_000)
		storagetest.Put(t, s, c)
		if doomed[c.ID] = i%3 == 0; !doomed[c.ID] {
			kept = append(kept, c)
		}
	}
	if err := s.SetGeneration(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), 1, func(_ schemas.VaultID, id schemas.ChunkID, _ schemas.Part) bool { return doomed[id] }); err != nil {
		t.Fatal(err)
	}
	before, removed := s.Stats().Segments, int64(0)
	_, err := s.Scrub(t.Context(), storage.ScrubOptions{
		From:  2,
		Found: func(p storage.Problem) { t.Errorf("the scrub found %v", p) },
		Pace: func(ctx context.Context, _ int64) error {
			if removed > 0 {
				return nil
			}
			done, err := s.Compact(ctx, storage.Compaction{Dead: 0.05})
			removed = done.Segments
			return err
		},
	})
	if err != nil || removed < before-2 {
		t.Errorf("%d of %d segments were removed: %v", removed, before, err)
	}
	storagetest.Holds(t, s, kept...)
}

// badSector is a disk on which one sector of the first segment cannot be read, if sector
// is not negative.
type badSector struct {
	vfs.FS
	sector *atomic.Int64
}

type badFile struct {
	vfs.File
	sector *atomic.Int64
}

func (d badSector) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	if err == nil && name == segment1 {
		f = badFile{f, d.sector}
	}
	return f, err
}

func (f badFile) ReadAt(b []byte, off int64) (int, error) {
	const size = 4096
	if from := f.sector.Load() * size; from >= 0 && off < from+size && off+int64(len(b)) > from {
		return 0, errorfs.ErrInjected
	}
	return f.File.ReadAt(b, off)
}

// A part whose record begins in a sector that cannot be read is not held, and a put
// replaces it. The other records of the segment are sound.
func TestScrubBadSector(t *testing.T) {
	for name, sector := range map[string]int64{"first": 0, "inner": 2} {
		t.Run(name, func(t *testing.T) {
			disk := badSector{vfs.NewMem(), new(atomic.Int64)}
			disk.sector.Store(-1)
			s := storagetest.Open(t, dir, storage.Options{FS: disk})
			m := storagetest.NewMaker(1)
			var chunks []schemas.Chunk
			unreadable := map[schemas.ChunkID]bool{}
			for at := int64(128); at < 9*4096; {
				c := m.Data(700)
				if rest := 4096 - at%4096; rest < 1100 {
					c = m.Data(int(rest + 4096 - 152)) // ends with the next sector
				}
				end := at + 152 + int64(len(c.Content))
				unreadable[c.ID] = at/4096 == sector
				chunks, at = append(chunks, c), end
			}
			storagetest.Put(t, s, chunks...)
			disk.sector.Store(sector)
			found, _ := scrub(t, s, 0)
			bad := 0
			for _, p := range found {
				if !p.ID.IsZero() && !unreadable[p.ID] {
					t.Errorf("the scrub found %v", p)
				} else if !p.ID.IsZero() {
					bad++
				}
			}
			if bad < 4 || s.Stats().Corrupt != int64(bad) {
				t.Errorf("%d parts are found damaged, and %d are counted", bad, s.Stats().Corrupt)
			}
			storagetest.Put(t, s, chunks...)
			storagetest.Holds(t, s, chunks...)
			found, _ = scrub(t, s, 0)
			for _, p := range found {
				if !p.ID.IsZero() {
					t.Errorf("after the put the scrub found %v", p)
				}
			}
			// Not CloseClean: a check would report the damage that names no chunk.
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

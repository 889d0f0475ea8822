package storage_test

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// smallDisk is a disk in memory of some size, which counts what its files take.
type smallDisk struct {
	*vfs.MemFS
	total uint64

	mu sync.Mutex
}

func (d *smallDisk) used(t *testing.T, path string) (bytes uint64) {
	names, err := d.List(path)
	if err != nil {
		return 0
	}
	for _, name := range names {
		name = d.PathJoin(path, name)
		info, err := d.Stat(name)
		switch {
		case err != nil: // removed meanwhile
		case info.IsDir():
			bytes += d.used(t, name)
		default:
			bytes += uint64(info.Size())
		}
	}
	return bytes
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	used := d.used(nil, dir)
	return vfs.DiskUsage{TotalBytes: d.total, UsedBytes: used, AvailBytes: d.total - min(used, d.total)}, nil
}

// sweepAll forgets the chunks that are not kept.
func sweepAll(t *testing.T, s *storage.Store, kept map[schemas.ChunkID]bool) {
	t.Helper()
	g := s.Generation() + 1
	if err := s.SetGeneration(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	_, err := s.Sweep(t.Context(), g, func(_ schemas.VaultID, id schemas.ChunkID, _ schemas.Part) bool { return !kept[id] })
	if err != nil {
		t.Fatal(err)
	}
}

// A store that has one segment gets smaller when most of it was forgotten, and is not written
// again when little was.
func TestSmallStoreShrinks(t *testing.T) {
	disk := &smallDisk{MemFS: vfs.NewMem(), total: 1 << 40}
	s := storagetest.Open(t, dir, storage.Options{FS: disk})
	m := storagetest.NewMaker(1)
	keep := m.Data(5000)
	storagetest.Put(t, s, keep)
	for range 20 {
		storagetest.Put(t, s, m.Data(1_000_000))
	}
	sweepAll(t, s, map[schemas.ChunkID]bool{keep.ID: true})
	if done, err := s.Compact(t.Context(), storage.Compaction{}); err != nil || done.Segments != 1 {
		t.Errorf("compacted %+v, %v", done, err)
	}
	if used := disk.used(t, dir); used > 1<<20 {
		t.Errorf("%d bytes are used", used)
	}
	storagetest.Holds(t, s, keep)
	storagetest.Put(t, s, m.Data(300_000))
	sweepAll(t, s, map[schemas.ChunkID]bool{keep.ID: true})
	if done, err := s.Compact(t.Context(), storage.Compaction{}); err != nil || done.Segments != 0 {
		t.Errorf("for 300 kB it compacted %+v, %v", done, err)
	}
	storagetest.CloseClean(t, s)
	s = storagetest.Open(t, dir, storage.Options{FS: disk, RebuildIndex: true})
	storagetest.Holds(t, s, keep)
}

// A disk that puts have filled is emptied by forgetting, whatever share of each segment was
// forgotten, and takes puts again without a restart.
func TestFullDiskIsEmptied(t *testing.T) {
	for name, forgotten := range map[string]int{"all": 1, "half": 2, "a fourth": 4} {
		t.Run(name, func(t *testing.T) {
			disk := &smallDisk{MemFS: vfs.NewMem(), total: 128 << 20}
			s := storagetest.Open(t, dir, storage.Options{FS: disk})
			m := storagetest.NewMaker(1)
			var kept []schemas.Chunk
			keep := map[schemas.ChunkID]bool{}
			for i := 0; ; i++ {
				c := m.Data(500_000)
				if err := s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{c}); err != nil {
					storagetest.Code(t, err, schemas.DiskFull)
					break
				}
				if i%forgotten != 0 {
					kept, keep[c.ID] = append(kept, c), true
				}
			}
			before := disk.used(t, dir)
			sweepAll(t, s, keep)
			for range 3 {
				if _, err := s.Compact(t.Context(), storage.Compaction{}); err != nil {
					t.Error(err)
				}
			}
			live := uint64(len(kept)) * 500_152
			if used := disk.used(t, dir); used > live+live/4+(2<<20) {
				t.Errorf("%d bytes of %d are still used, for %d", used, before, live)
			}
			storagetest.Put(t, s, m.Data(500_000))
			storagetest.Holds(t, s, kept...)
		})
	}
}

package storage_test

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// A store on a disk that cannot be written is read, also after a crash and when its index is
// damaged. Puts are refused, and nothing is changed.
func TestReadOnly(t *testing.T) {
	for name, spoil := range map[string]func(fs *vfs.MemFS){
		"closed": nil,
		"no index": func(fs *vfs.MemFS) {
			if err := fs.RemoveAll(dir + "/index"); err != nil {
				t.Fatal(err)
			}
		},
		"a lost segment": func(fs *vfs.MemFS) {
			if err := fs.Remove(segmentPath(2)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, killed := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				s := storagetest.Open(t, dir, storage.Options{FS: mem, SegmentSize: 1})
				m := storagetest.NewMaker(1)
				var chunks []schemas.Chunk
				for range 4 {
					chunks = append(chunks, m.Data(1000))
					storagetest.Put(t, s, chunks[len(chunks)-1])
				}
				crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
				storagetest.CloseClean(t, s)
				if killed {
					mem = crashed
				}
				if spoil != nil {
					spoil(mem)
				}
				frozen := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
					if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
						t.Errorf("operation %d on %s", op.Kind, op.Path)
						return errorfs.ErrInjected
					}
					return nil
				}))
				s, err := storage.Open(dir, storage.Options{FS: frozen, ReadOnly: true})
				if err != nil {
					t.Fatal(err)
				}
				for i, c := range chunks {
					if name == "a lost segment" && i == 1 {
						_, err := s.Get(storagetest.Vault, c.ID)
						if code := schemas.CodeOf(err); code != schemas.Corrupt && code != schemas.NotHeld {
							t.Error(err)
						}
						continue
					}
					storagetest.Holds(t, s, c)
				}
				if err := s.SetGeneration(t.Context(), 1); err != nil {
					t.Error(err)
				}
				storagetest.Code(t, s.Put(t.Context(), storagetest.Vault, []schemas.Chunk{m.Data(10)}), schemas.DiskFailed)
				if _, err := s.Compact(t.Context(), storage.Compaction{}); err == nil {
					t.Error("a store that is only read is compacted")
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

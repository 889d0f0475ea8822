package storage_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

func TestContractOnDisk(t *testing.T) {
	storagetest.Contract(t, func(t *testing.T) (string, storage.Options) {
		return t.TempDir(), storage.Options{}
	})
}

func TestContractInMemory(t *testing.T) {
	storagetest.Contract(t, func(t *testing.T) (string, storage.Options) {
		return "store", storage.Options{FS: vfs.NewMem()}
	})
}

// With small segments, almost every put begins a new one; with little memory, the index
// is written out often.
func TestContractManySegments(t *testing.T) {
	storagetest.Contract(t, func(t *testing.T) (string, storage.Options) {
		return "a/b/store", storage.Options{FS: vfs.NewCrashableMem(), SegmentSize: 4096, IndexMemory: 256 << 10}
	})
}

package storage_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// shapes are messages as clients send them: with pieces of large files, and with many
// small files. Files of a page each are the worst case.
var shapes = []struct {
	name              string
	each, size, total int // chunks of a message, bytes of a chunk, messages made
}{
	{"2x450KB", 2, 450_000, 64},
	{"220x4KiB", 220, 4096, 256},
}

// BenchmarkPut measures puts of a message of new chunks, by one sender and by eight at
// once. Most of the time is the disk's sync.
func BenchmarkPut(b *testing.B) {
	for _, shape := range shapes {
		for _, senders := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/by=%d", shape.name, senders), func(b *testing.B) {
				s := benchStore(b)
				w := storagetest.NewWork(1, shape.total, shape.each, shape.size)
				meter := storagetest.StartMeter(b)
				putAll(b, s, w, b.N, senders)
				meter.Stop(w.Chunks(), w.Bytes())
			})
		}
	}
}

// BenchmarkPutHeld measures puts of chunks that are held already.
func BenchmarkPutHeld(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			s := benchStore(b)
			w := storagetest.NewWork(1, shape.total, shape.each, shape.size)
			putAll(b, s, w, shape.total, 8)
			meter := storagetest.StartMeter(b)
			for i := range b.N {
				vault, chunks := w.Message(i % shape.total)
				if err := s.Put(b.Context(), vault, chunks); err != nil {
					b.Fatal(err)
				}
			}
			meter.Stop(w.Chunks(), w.Bytes())
		})
	}
}

// putAll puts n messages of w, by the given number of senders.
func putAll(b *testing.B, s *storage.Store, w *storagetest.Work, n, senders int) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				vault, chunks := w.Message(int(i))
				if err := s.Put(b.Context(), vault, chunks); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkGet measures reads of single chunks.
func BenchmarkGet(b *testing.B) {
	benchRead(b, func(s *storage.Store, id schemas.ChunkID) error {
		_, err := s.Get(storagetest.Vault, id)
		return err
	})
}

// BenchmarkEdges is BenchmarkGet for the edges alone, of chunks that have none.
func BenchmarkEdges(b *testing.B) {
	benchRead(b, func(s *storage.Store, id schemas.ChunkID) error {
		_, err := s.Edges(storagetest.Vault, id)
		return err
	})
}

func benchRead(b *testing.B, read func(*storage.Store, schemas.ChunkID) error) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			s := benchStore(b)
			w := storagetest.NewWork(1, shape.total, shape.each, shape.size)
			putAll(b, s, w, shape.total, 8)
			meter := storagetest.StartMeter(b)
			for i := range b.N {
				_, chunks := w.Message(i / shape.each % shape.total)
				if err := read(s, chunks[i%shape.each].ID); err != nil {
					b.Fatal(err)
				}
			}
			meter.Stop(1, int64(shape.size))
		})
	}
}

// BenchmarkHas asks for all chunks of a message at a time.
func BenchmarkHas(b *testing.B) {
	shape := shapes[1]
	for name, seed := range map[string]byte{"held": 1, "new": 2} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			putAll(b, s, storagetest.NewWork(1, shape.total, shape.each, shape.size), shape.total, 8)
			w := storagetest.NewWork(seed, shape.total, shape.each, shape.size)
			have := make([]bool, shape.each)
			ids := make([]schemas.ChunkID, shape.each)
			meter := storagetest.StartMeter(b)
			for i := range b.N {
				_, chunks := w.Message(i % shape.total)
				for j := range chunks {
					ids[j] = chunks[j].ID
				}
				if err := s.Has(storagetest.Vault, ids, have); err != nil {
					b.Fatal(err)
				}
				if have[0] != (seed == 1) {
					b.Fatalf("has says %v", have[0])
				}
			}
			meter.Stop(w.Chunks(), w.Bytes())
		})
	}
}

// BenchmarkRecovery opens a store without an index, so that all of its 230 MB are read,
// checked and indexed.
func BenchmarkRecovery(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			dir := b.TempDir()
			s := openStore(b, dir, storage.Options{})
			w := storagetest.NewWork(1, shape.total, shape.each, shape.size)
			putAll(b, s, w, 256, 8)
			closeStore(b, s)
			meter := storagetest.StartMeter(b)
			for range b.N {
				closeStore(b, openStore(b, dir, storage.Options{RebuildIndex: true}))
			}
			meter.Stop(256*w.Chunks(), 256*w.Bytes())
		})
	}
}

func benchStore(b *testing.B) *storage.Store {
	s := openStore(b, b.TempDir(), storage.Options{})
	b.Cleanup(func() { closeStore(b, s) })
	return s
}

func openStore(b *testing.B, dir string, opt storage.Options) *storage.Store {
	s, err := storage.Open(dir, opt)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func closeStore(b *testing.B, s *storage.Store) {
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

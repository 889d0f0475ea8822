package storage_test

import (
	"testing"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// BenchmarkPut measures puts of 1 MB, alone and many at a time; the time is that
// of the disk's sync. Every chunk is new: only its id differs.
func BenchmarkPut(b *testing.B) {
	for name, chunks := range map[string][]schemas.Chunk{
		"1x1MB": {storagetest.NewMaker(1).Data(schemas.MaxContent)}, "256x4KiB": small(256),
	} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			setBytes(b, chunks)
			var n uint64
			for b.Loop() {
				n++
				storagetest.Put(b, s, renamed(chunks, n)...)
			}
		})
	}
	b.Run("256x4KiB in parallel", func(b *testing.B) {
		s, chunks := benchStore(b), small(256)
		setBytes(b, chunks)
		vaults := make(chan schemas.VaultID, 1)
		vaults <- schemas.VaultID{}
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			vault := <-vaults
			vault[0]++
			vaults <- vault
			for n := uint64(1); pb.Next(); n++ {
				if err := s.Put(b.Context(), vault, renamed(chunks, n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

func BenchmarkGet(b *testing.B) {
	for name, size := range map[string]int{"1MB": schemas.MaxContent, "4KiB": 4096} {
		b.Run(name, func(b *testing.B) {
			s, c := benchStore(b), storagetest.NewMaker(1).Data(size)
			storagetest.Put(b, s, c)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := s.Get(storagetest.Vault, c.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHas asks for 256 chunks at a time.
func BenchmarkHas(b *testing.B) {
	s, chunks := benchStore(b), small(256)
	for n := range uint64(100) {
		storagetest.Put(b, s, renamed(chunks, n+1)...)
	}
	for name, round := range map[string]uint64{"held": 50, "new": 1000} {
		b.Run(name, func(b *testing.B) {
			have := make([]bool, len(chunks))
			var ids []schemas.ChunkID
			for _, c := range renamed(chunks, round) {
				ids = append(ids, c.ID)
			}
			for b.Loop() {
				if err := s.Has(storagetest.Vault, ids, have); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchStore(b *testing.B) *storage.Store {
	s, err := storage.Open(b.TempDir(), storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func small(n int) (chunks []schemas.Chunk) {
	m := storagetest.NewMaker(1)
	for range n {
		chunks = append(chunks, m.Data(4096))
	}
	return chunks
}

func setBytes(b *testing.B, chunks []schemas.Chunk) {
	var n int64
	for i := range chunks {
		n += int64(len(chunks[i].Content))
	}
	b.SetBytes(n)
}

// renamed gives the chunks other ids: the checksum does not cover them.
func renamed(chunks []schemas.Chunk, n uint64) []schemas.Chunk {
	other := make([]schemas.Chunk, len(chunks))
	for i, c := range chunks {
		for j := range 8 {
			c.ID[8+j] ^= byte(n >> (8 * j))
		}
		other[i] = c
	}
	return other
}

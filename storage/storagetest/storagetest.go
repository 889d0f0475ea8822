// Package storagetest helps to test stores: it makes chunks from a seed, opens stores
// that are checked when their test ends, and has the contract that a store must fulfil
// on every file system.
package storagetest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// Vault is the vault of tests that need only one.
var Vault = schemas.SealedVault("storagetest")

// Maker makes chunks whose bytes depend only on its seed. It is not safe for concurrent
// use.
type Maker struct{ rng *rand.ChaCha8 }

// NewMaker returns a maker with the seed.
func NewMaker(seed byte) *Maker { return &Maker{rand.NewChaCha8([32]byte{seed})} }

// Data makes a data chunk with size bytes of content.
func (m *Maker) Data(size int) schemas.Chunk {
	c := schemas.Chunk{ID: m.id(), Kind: schemas.Data, Content: make([]byte, size)}
	m.rng.Read(c.Content)
	c.Sum = c.Checksum()
	return c
}

// Tree makes a tree chunk with the given numbers of edges and size bytes of content. The
// edges point to no chunk.
func (m *Maker) Tree(trees, data, size int) schemas.Chunk {
	c := m.Data(size)
	c.Kind = schemas.Tree
	for range trees {
		c.Trees = append(c.Trees, m.id())
	}
	for range data {
		c.Data = append(c.Data, m.id())
	}
	c.Sum = c.Checksum()
	return c
}

// Mixed makes chunks of every kind.
func (m *Maker) Mixed() []schemas.Chunk {
	plain := m.Data(77)
	plain.Kind = schemas.Plain
	plain.ID = schemas.PlainChunkID(Vault, plain.Content)
	plain.Sum = plain.Checksum()
	return []schemas.Chunk{
		m.Data(1), m.Data(4096), m.Data(20_000), plain,
		m.Tree(0, 0, 10), m.Tree(3, 0, 500), m.Tree(0, 7, 1), m.Tree(11, 13, 2000),
	}
}

func (m *Maker) id() (id schemas.ChunkID) {
	m.rng.Read(id[:])
	return id
}

// Open opens a store. When the test ends, the store is checked and closed.
func Open(t testing.TB, dir string, opt storage.Options) *storage.Store {
	t.Helper()
	s, err := storage.Open(dir, opt)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() { CloseClean(t, s) })
	return s
}

// CloseClean checks the store, unless it is closed already, and closes it.
func CloseClean(t testing.TB, s *storage.Store) {
	t.Helper()
	if err := s.Has(Vault, nil, nil); schemas.CodeOf(err) != schemas.NodeClosed {
		Clean(t, s)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close the store: %v", err)
	}
}

// Clean fails the test if a check of the store finds a problem.
func Clean(t testing.TB, s *storage.Store) {
	t.Helper()
	for _, p := range Problems(t, s) {
		t.Errorf("the check found: %v", p)
	}
}

// Problems returns the problems that a check of the store finds.
func Problems(t testing.TB, s *storage.Store) (problems []storage.Problem) {
	t.Helper()
	// The test's own context has ended when its clean-up runs.
	ctx := context.WithoutCancel(t.Context())
	report, err := s.Check(ctx, func(p storage.Problem) { problems = append(problems, p) })
	if err != nil {
		t.Fatalf("check the store: %v", err)
	}
	if report.Problems != int64(len(problems)) {
		t.Errorf("the check counts %d problems and reported %d", report.Problems, len(problems))
	}
	return problems
}

// Put puts chunks into [Vault].
func Put(t testing.TB, s *storage.Store, chunks ...schemas.Chunk) {
	t.Helper()
	if err := s.Put(t.Context(), Vault, chunks); err != nil {
		t.Fatalf("put %d chunks: %v", len(chunks), err)
	}
}

// Holds fails the test unless [Vault] holds the whole chunks.
func Holds(t testing.TB, s *storage.Store, chunks ...schemas.Chunk) {
	t.Helper()
	ids := make([]schemas.ChunkID, len(chunks))
	for i := range chunks {
		ids[i] = chunks[i].ID
		got, err := s.Get(Vault, ids[i])
		if err != nil {
			t.Errorf("get chunk %d: %v", i, err)
		} else {
			Same(t, chunks[i], got)
		}
	}
	have := make([]bool, len(ids))
	if err := s.Has(Vault, ids, have); err != nil {
		t.Fatalf("has: %v", err)
	}
	for i := range have {
		if !have[i] {
			t.Errorf("has says that chunk %d is not held", i)
		}
	}
}

// Same fails the test unless two chunks are equal.
func Same(t testing.TB, want, got schemas.Chunk) {
	t.Helper()
	if want.ID != got.ID || want.Kind != got.Kind || want.Part != got.Part || want.Sum != got.Sum ||
		!slices.Equal(want.Trees, got.Trees) || !slices.Equal(want.Data, got.Data) ||
		!bytes.Equal(want.Content, got.Content) {
		t.Errorf("chunk %s came back changed: %v, %d+%d edges, %d bytes; want %v, %d+%d edges, %d bytes", want.ID.Short(),
			got.Kind, len(got.Trees), len(got.Data), len(got.Content), want.Kind, len(want.Trees), len(want.Data), len(want.Content))
	}
}

// Code fails the test unless err has the code.
func Code(t testing.TB, err error, want schemas.Code) {
	t.Helper()
	if got := schemas.CodeOf(err); err == nil || got != want {
		t.Errorf("the error is %v with code %q, want code %q", err, got, want)
	}
}

package storagetest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// Contract runs the tests that every store must pass. For each test it calls newStore for
// an empty directory and the options to open it with; opening it again with the same
// values must find what was put.
func Contract(t *testing.T, newStore func(t *testing.T) (dir string, opt storage.Options)) {
	tests := []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"round trip", roundTrip},
		{"not held", notHeld},
		{"edges", edges},
		{"vaults are apart", vaults},
		{"twice is once", twice},
		{"bad chunks", badChunks},
		{"limits", limits},
		{"long put", longPut},
		{"put keeps nothing", keepsNothing},
		{"cancelled", cancelled},
		{"reopened", reopened},
		{"rebuilt", rebuilt},
		{"closed", closedStore},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, Maker: NewMaker(1)}
			f.dir, f.opt = newStore(t)
			f.open()
			tt.run(t, f)
		})
	}
}

// fixture is a store under test, with its directory and options.
type fixture struct {
	*Maker
	*storage.Store
	t   *testing.T
	dir string
	opt storage.Options
}

func (f *fixture) open() { f.Store = Open(f.t, f.dir, f.opt) }

func (f *fixture) reopen() {
	f.t.Helper()
	CloseClean(f.t, f.Store)
	f.open()
}

func (f *fixture) put(chunks ...schemas.Chunk) {
	f.t.Helper()
	Put(f.t, f.Store, chunks...)
}

func roundTrip(t *testing.T, f *fixture) {
	chunks := f.Mixed()
	f.put(chunks...)
	Holds(t, f.Store, chunks...)
	var content int64
	for i := range chunks {
		content += int64(len(chunks[i].Content))
	}
	stats := f.Stats()
	if stats.Chunks != int64(len(chunks)) || stats.Bytes != content {
		t.Errorf("stats count %d chunks of %d bytes, want %d of %d", stats.Chunks, stats.Bytes, len(chunks), content)
	}
}

func notHeld(t *testing.T, f *fixture) {
	c := f.Data(10)
	_, err := f.Get(Vault, c.ID)
	Code(t, err, schemas.NotHeld)
	_, err = f.Edges(Vault, c.ID)
	Code(t, err, schemas.NotHeld)
	have := []bool{true}
	if err := f.Has(Vault, []schemas.ChunkID{c.ID}, have); err != nil || have[0] {
		t.Errorf("has says %v, %v", have[0], err)
	}
	if err := f.Has(Vault, []schemas.ChunkID{c.ID}, nil); err == nil {
		t.Error("Has accepts a slice that is too small")
	}
}

func edges(t *testing.T, f *fixture) {
	chunks := f.Mixed()
	f.put(chunks...)
	for _, want := range chunks {
		got, err := f.Edges(Vault, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		want.Content = nil
		Same(t, want, got)
	}
}

func vaults(t *testing.T, f *fixture) {
	other := schemas.SealedVault("another")
	mine := f.Data(100)
	theirs := f.Data(200)
	theirs.ID = mine.ID
	theirs.Sum = theirs.Checksum()
	f.put(mine)
	_, err := f.Get(other, mine.ID)
	Code(t, err, schemas.NotHeld)
	if err := f.Put(t.Context(), other, []schemas.Chunk{theirs}); err != nil {
		t.Fatal(err)
	}
	Holds(t, f.Store, mine)
	got, err := f.Get(other, mine.ID)
	if err != nil || len(got.Content) != 200 {
		t.Errorf("the other vault's chunk has %d bytes, %v", len(got.Content), err)
	}
}

func twice(t *testing.T, f *fixture) {
	a, b := f.Data(1000), f.Data(1000)
	f.put(a, a, b, a)
	f.put(b, a)
	if n := f.Stats().Chunks; n != 2 {
		t.Errorf("two chunks are counted as %d", n)
	}
	report, err := f.Check(t.Context(), func(p storage.Problem) { t.Error(p) })
	if err != nil {
		t.Fatal(err)
	}
	if report.Dead != 0 || report.Bytes > 2*1000+1000 {
		t.Errorf("two chunks of 1000 bytes take %d bytes, %d of them dead", report.Bytes, report.Dead)
	}
}

func badChunks(t *testing.T, f *fixture) {
	ok := f.Data(10)
	flipped := f.Data(10)
	flipped.Content[3] ^= 1
	noID := f.Data(10)
	noID.ID = schemas.ChunkID{}
	edged := f.Tree(1, 0, 10)
	edged.Kind = schemas.Data
	edged.Sum = edged.Checksum()
	for _, bad := range []schemas.Chunk{flipped, noID, edged} {
		Code(t, f.Put(t.Context(), Vault, []schemas.Chunk{ok, bad}), schemas.BadChunk)
	}
	_, err := f.Get(Vault, ok.ID)
	Code(t, err, schemas.NotHeld)
	f.put(ok)
	Holds(t, f.Store, ok)
}

func limits(t *testing.T, f *fixture) {
	biggest := f.Data(schemas.MaxContent)
	broadest := f.Tree(1, schemas.MaxEdges-1, 100)
	empty := f.Data(0)
	f.put(biggest, broadest, empty)
	Holds(t, f.Store, biggest, broadest, empty)
	tooBig := f.Data(schemas.MaxContent + 1)
	Code(t, f.Put(t.Context(), Vault, []schemas.Chunk{tooBig}), schemas.BadChunk)
	f.put()
}

func longPut(t *testing.T, f *fixture) {
	var chunks []schemas.Chunk
	for range 5 {
		chunks = append(chunks, f.Data(900_000))
	}
	f.put(chunks...)
	Holds(t, f.Store, chunks...)
}

func keepsNothing(t *testing.T, f *fixture) {
	c := f.Tree(2, 2, 1000)
	want := c
	want.Trees, want.Data, want.Content = slices.Clone(c.Trees), slices.Clone(c.Data), slices.Clone(c.Content)
	f.put(c)
	clear(c.Content)
	clear(c.Trees)
	clear(c.Data)
	Holds(t, f.Store, want)
	got, err := f.Get(Vault, want.ID)
	if err != nil {
		t.Fatal(err)
	}
	clear(got.Content) // the caller owns it
	Holds(t, f.Store, want)
}

func cancelled(t *testing.T, f *fixture) {
	f.put(f.Data(10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Put(ctx, Vault, []schemas.Chunk{f.Data(10)}); !errors.Is(err, context.Canceled) {
		t.Errorf("a put with a cancelled context says %v", err)
	}
	if _, err := f.Check(ctx, func(storage.Problem) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("a check with a cancelled context says %v", err)
	}
}

func reopened(t *testing.T, f *fixture) {
	node := f.NodeID()
	if !schemas.ValidNodeID(node) {
		t.Errorf("the node id %q is invalid", node)
	}
	var all []schemas.Chunk
	for range 4 {
		chunks := f.Mixed()
		f.put(chunks...)
		all = append(all, chunks...)
		before := f.Stats()
		f.reopen()
		if diff := cmp.Diff(before, f.Stats(), ignoreDisk); diff != "" {
			t.Errorf("stats changed (-before +after):\n%s", diff)
		}
		Holds(t, f.Store, all...)
	}
	if f.NodeID() != node {
		t.Errorf("the node's id was %s and is %s", node, f.NodeID())
	}
}

// ignoreDisk ignores what other programs change.
var ignoreDisk = cmp.FilterPath(func(p cmp.Path) bool {
	name := p.String()
	return name == "DiskFree" || name == "DiskTotal"
}, cmp.Ignore())

func rebuilt(t *testing.T, f *fixture) {
	var all []schemas.Chunk
	for range 3 {
		all = append(all, f.Mixed()...)
		f.put(all...)
	}
	before := f.Stats()
	f.opt.RebuildIndex = true
	f.reopen()
	if diff := cmp.Diff(before, f.Stats(), ignoreDisk); diff != "" {
		t.Errorf("stats changed (-before +after):\n%s", diff)
	}
	Holds(t, f.Store, all...)
}

func closedStore(t *testing.T, f *fixture) {
	c := f.Data(10)
	f.put(c)
	CloseClean(t, f.Store)
	Code(t, f.Put(t.Context(), Vault, []schemas.Chunk{c}), schemas.NodeClosed)
	_, err := f.Get(Vault, c.ID)
	Code(t, err, schemas.NodeClosed)
	Code(t, f.Has(Vault, nil, nil), schemas.NodeClosed)
	_, err = f.Check(t.Context(), func(storage.Problem) {})
	Code(t, err, schemas.NodeClosed)
	if err := f.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

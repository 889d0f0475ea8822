package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

// shelf is an uploader that keeps what it takes, and reads versions back.
type shelf struct {
	ctx  context.Context
	keys *seal.Keys

	mu    sync.Mutex
	data  map[schemas.ChunkID][]byte
	nodes map[schemas.ChunkID]tree.Node
	// onData, if not nil, is called with each data chunk.
	onData func(plain []byte)
}

func newShelf(t *testing.T) *shelf {
	return &shelf{
		ctx: t.Context(), keys: seal.New(seal.VaultKey(clienttest.Key())),
		data: map[schemas.ChunkID][]byte{}, nodes: map[schemas.ChunkID]tree.Node{},
	}
}

func (s *shelf) Context() context.Context { return s.ctx }

func (s *shelf) CopyPlain(b []byte) (chunk.Plaintext, error) { return chunk.CopyPlaintext(b), nil }

func (s *shelf) PutData(id schemas.ChunkID, plain chunk.Plaintext) error {
	defer plain.Release()
	s.mu.Lock()
	s.data[id] = bytes.Clone(plain.Bytes)
	s.mu.Unlock()
	if s.onData != nil {
		s.onData(plain.Bytes)
	}
	return nil
}

func (s *shelf) PutTree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[id] = tree.Node{Payload: bytes.Clone(payload), Trees: slices.Clone(trees), Data: slices.Clone(data)}
	return nil
}

func (s *shelf) Recoverable(context.Context, []schemas.ChunkID) (bool, error) { return true, nil }

func (s *shelf) Stats() upload.Stats { return upload.Stats{} }

func (s *shelf) getNodes(_ context.Context, ids []schemas.ChunkID) (nodes []tree.Node, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		n, ok := s.nodes[id]
		if !ok {
			err = errors.Join(err, fmt.Errorf("there is no tree chunk %s", id.Short()))
		}
		nodes = append(nodes, n)
	}
	return nodes, err
}

// saved is a version on a shelf.
type saved struct {
	*Result
	shelf    *shelf
	entries  map[string]*tree.Entry
	warnings []string
}

// save saves paths. parent may be nil. change changes the options.
func (s *shelf) save(t *testing.T, parent *saved, change func(*Options), paths ...string) *saved {
	t.Helper()
	v, err := s.trySave(t, parent, change, paths...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *shelf) trySave(t *testing.T, parent *saved, change func(*Options), paths ...string) (*saved, error) {
	t.Helper()
	v := &saved{shelf: s, entries: map[string]*tree.Entry{}}
	var mu sync.Mutex
	roots, err := scan.NewRoots(paths)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Keys: s.keys, Roots: roots, Progress: new(transfer.Progress), Warn: func(path string, err error) {
		mu.Lock()
		defer mu.Unlock()
		v.warnings = append(v.warnings, fmt.Sprintf("%s: %v", path, err))
	}}
	if parent != nil {
		opt.Parent = &Parent{ID: "v@1", Root: parent.Root, NewGetter: func() tree.Getter { return s.getNodes }}
	}
	if change != nil {
		change(&opt)
	}
	if v.Result, err = Save(s, opt); err != nil {
		return nil, err
	}
	for entries := tree.NewReader(s.getNodes, v.Root).Iterate(t.Context(), "."); ; {
		e, ok, err := entries.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return v, nil
		}
		v.entries[e.Path] = e
	}
}

// content returns the content of a saved file.
func (v *saved) content(t *testing.T, path string) []byte {
	t.Helper()
	e := v.entries[path]
	if e == nil {
		t.Fatalf("%q is not in the version, which has the warnings %q", path, v.warnings)
	}
	b := make([]byte, e.Size)
	for pieces := tree.NewPieces(t.Context(), v.shelf.getNodes, e.Content, e.Size); ; {
		p, ok, err := pieces.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return b
		}
		plain, err := p.Cut(v.shelf.data[p.ID])
		if err != nil {
			t.Fatal(err)
		}
		copy(b[p.Off:], plain)
	}
}

// wantContent demands the content of a saved file.
func (v *saved) wantContent(t *testing.T, path, want string) {
	t.Helper()
	if got := string(v.content(t, path)); got != want {
		t.Errorf("%q has the content %.40q, want %.40q", path, got, want)
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

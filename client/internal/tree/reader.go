package tree

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"servidor-backup/schemas"
)

// Getter fetches and opens tree chunks: one tree node for each id, in the same
// order. The reader owns the tree nodes.
type Getter func(ctx context.Context, ids []schemas.ChunkID) ([]Node, error)

// readAhead is how many leaves are fetched at once, so that a walk does not wait for
// the network at each leaf; about 1 MiB of memory.
const readAhead = 16

// Reader reads the path tree of a version. It caches nothing, and is safe for
// concurrent use if Get is.
type Reader struct {
	Get  Getter
	Root schemas.ChunkID
}

// NewReader returns a reader of the path tree with this root.
func NewReader(get Getter, root schemas.ChunkID) *Reader {
	return &Reader{Get: get, Root: root}
}

// Entries yields the entries of a walk in order: Next returns the next entry, or false
// after the last. After an error, Next returns the error again, unless Resume can go on
// behind it.
type Entries = cursor[*Entry]

// Iterate walks the entries that are not before the path from; "." walks all.
func (r *Reader) Iterate(ctx context.Context, from string) *Entries {
	return r.cursor(ctx, from, readAhead)
}

// Subtree walks the entry at top and everything below it.
func (r *Reader) Subtree(ctx context.Context, top string) *Entries {
	c := r.cursor(ctx, top, readAhead)
	c.within = func(path string) bool { return InSubtree(path, top) }
	return c
}

// Lookup returns the entry at path. The error is fs.ErrNotExist if there is none.
func (r *Reader) Lookup(ctx context.Context, path string) (*Entry, error) {
	e, ok, err := r.cursor(ctx, path, 1).Next()
	if err != nil {
		return nil, err
	}
	if !ok || e.Path != path {
		return nil, schemas.Explain("", "not-in-version", "\"{path}\" is not in this version", "path", path).WithKind(fs.ErrNotExist)
	}
	return e, nil
}

// Tops returns the paths without a parent, in order: "." alone for a version of one folder, else
// the names of the files and folders that were saved together. It reads only the tree nodes on the
// way to them. After an error, the paths before it are returned as well.
func (r *Reader) Tops(ctx context.Context) (tops []string, err error) {
	for from := "."; ; {
		e, ok, err := r.cursor(ctx, from, 1).Next()
		if err != nil || !ok {
			return tops, err
		}
		top, _, _ := strings.Cut(e.Path, "/")
		tops = append(tops, top)
		if top == "." {
			return tops, nil // everything else is below it
		}
		from = top + "\x01" // after everything below top, and before any other name
	}
}

// Pieces walks the content of a file of size bytes. For an entry's file, pass Content and
// Size; for its attributes, XattrContent and MaxXattrs.
func (r *Reader) Pieces(ctx context.Context, content Content, size int64) *Pieces {
	return NewPieces(ctx, r.Get, content, size)
}

func (r *Reader) cursor(ctx context.Context, from string, ahead int) *Entries {
	return &Entries{ctx: ctx, get: r.Get, kind: pathTree, decode: decodeEntry, from: from, ahead: ahead,
		stack: aboveRoot(r.Root)}
}

// Pieces yields a file's pieces, ascending by offset.
type Pieces struct {
	content Content
	cursor  *cursor[Piece] // nil when the pieces are in content
	size    int64
	end     int64 // of the last piece
	bytes   int64 // yielded so far
}

// NewPieces is like [Reader.Pieces], for a caller that has no path tree.
func NewPieces(ctx context.Context, get Getter, content Content, size int64) *Pieces {
	it := &Pieces{content: content, size: size}
	if !content.Tree.IsZero() {
		it.cursor = &cursor[Piece]{ctx: ctx, get: get, kind: fileTree, decode: decodePiece, ahead: readAhead,
			stack: aboveRoot(content.Tree)}
	}
	return it
}

// Next returns the next piece, or false after the last. The pieces do not
// overlap, lie within the file, and sum up to content.Bytes; otherwise the error is
// [seal.ErrDamaged].
func (it *Pieces) Next() (Piece, bool, error) {
	p, ok, err := it.step()
	if err != nil {
		return Piece{}, false, err
	}
	if !ok {
		if it.bytes != it.content.Bytes {
			return Piece{}, false, damaged("file tree", it.content.Tree, fmt.Errorf("it has %d bytes of content, the entry says %d", it.bytes, it.content.Bytes))
		}
		return Piece{}, false, nil
	}
	if err := p.check(it.end, it.size); err != nil {
		return Piece{}, false, damaged("file tree", it.content.Tree, err)
	}
	it.end = p.Off + p.Len
	it.bytes += p.Len
	return p, true, nil
}

// step returns the next piece unchecked.
func (it *Pieces) step() (Piece, bool, error) {
	if it.cursor != nil {
		return it.cursor.Next()
	}
	if len(it.content.Pieces) == 0 {
		return Piece{}, false, nil
	}
	p := it.content.Pieces[0]
	it.content.Pieces = it.content.Pieces[1:]
	return p, true, nil
}

func decodePiece(r *nodeReader) (string, Piece) {
	if n := r.arrayLen(3); r.err == nil && n != 3 {
		r.fail(fmt.Errorf("a piece has %d numbers", n))
	}
	p := Piece{Off: r.int(), Len: r.int(), ID: r.dataEdge()}
	if r.err == nil {
		r.err = p.check(0, maxFileSize)
	}
	return offsetKey(p.Off), p
}

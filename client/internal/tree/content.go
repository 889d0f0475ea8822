package tree

import (
	"fmt"
	"slices"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// Content says which chunks hold a file's bytes. A few are listed in the entry
// itself, many in a file tree of their own; a [FileWriter] decides. A gap
// between two pieces, or after the last one, is a hole: it reads as zeros and
// is not stored.
type Content struct {
	// Pieces are ascending by offset and do not overlap.
	Pieces []Piece
	// Tree is the root of the file tree, or zero. With it, Pieces is nil.
	Tree schemas.ChunkID
	// Bytes is the sum of the pieces' lengths: the plaintext that a restore has to
	// fetch.
	Bytes int64
}

// Piece is a run of a file's bytes that a data chunk holds.
type Piece struct {
	Off, Len int64 // in the file, in bytes
	ID       schemas.ChunkID
	// Skip is where in the chunk the run begins: small files share chunks. It
	// is 0 if the content has several pieces.
	Skip int64
}

// Cut returns the piece's part of plain, the plaintext of its chunk.
func (p Piece) Cut(plain []byte) ([]byte, error) {
	if int64(len(plain))-p.Skip < p.Len {
		return nil, fmt.Errorf("chunk %s has %d bytes, its file says %d from %d on: %w", p.ID.Short(), len(plain), p.Len, p.Skip, seal.ErrDamaged)
	}
	return plain[p.Skip:][:p.Len], nil
}

func (c *Content) isEmpty() bool { return len(c.Pieces) == 0 && c.Tree.IsZero() }

func (c *Content) equal(o *Content) bool {
	return c.Bytes == o.Bytes && c.Tree == o.Tree && slices.Equal(c.Pieces, o.Pieces)
}

// check says what is wrong with a content that has to lie within size bytes, or
// returns nil.
func (c *Content) check(size int64) error {
	if c.Bytes < 0 || c.Bytes > size {
		return fmt.Errorf("%d bytes of content in a file of %d", c.Bytes, size)
	}
	if !c.Tree.IsZero() {
		if len(c.Pieces) > 0 {
			return fmt.Errorf("both a list of chunks and a tree of them")
		}
		return nil
	}
	if len(c.Pieces) > maxInlinePieces {
		return fmt.Errorf("%d chunks in the entry, at most %d are allowed there", len(c.Pieces), maxInlinePieces)
	}
	var end, sum int64
	for _, p := range c.Pieces {
		if p.Skip != 0 && len(c.Pieces) > 1 {
			return fmt.Errorf("one of %d pieces begins within a chunk, which only a lone piece may", len(c.Pieces))
		}
		if err := p.check(end, size); err != nil {
			return err
		}
		end, sum = p.Off+p.Len, sum+p.Len
	}
	if sum != c.Bytes {
		return fmt.Errorf("the chunks have %d bytes together, the entry says %d", sum, c.Bytes)
	}
	return nil
}

// check says what is wrong with a piece that has to lie within the file's bytes
// [from, to), or returns nil.
func (p *Piece) check(from, to int64) error {
	if p.Len <= 0 || p.Len > seal.MaxPlain || p.Off < from || p.Off > to-p.Len {
		return fmt.Errorf("a chunk for the bytes [%d, %d+%d) where only [%d, %d) are left", p.Off, p.Off, p.Len, from, to)
	}
	if p.Skip < 0 || p.Skip > seal.MaxPlain-p.Len {
		return fmt.Errorf("%d bytes from %d on in a chunk, which has %d at most", p.Len, p.Skip, seal.MaxPlain)
	}
	return nil
}

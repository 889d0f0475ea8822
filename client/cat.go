package client

import (
	"context"
	"fmt"
	"io"
	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
)

// catAhead is how many pieces are fetched before they are written: enough to
// hide the way to the nodes.
const catAhead = 8

// Cat writes one file of a version to w. inside may be "" when the version is one
// file.
func (c *Client) Cat(ctx context.Context, id, inside string, w io.Writer) error {
	ctx, cancel := c.watchServer(ctx)
	defer cancel(nil)
	v, err := c.open(ctx, id)
	if err != nil {
		return err
	}
	if v.plain != nil {
		if inside != "" {
			return fmt.Errorf("%s is one file, there is no %q inside", v.ID, inside)
		}
		_, err := w.Write(*v.plain)
		return err
	}
	e, err := v.file(ctx, inside)
	if err != nil {
		return err
	}
	err = v.copyTo(ctx, e, w, transfer.Budget(c.opt.Room).Slots(catAhead))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return unreachable(err)
}

// file finds the one regular file that is meant.
func (v *version) file(ctx context.Context, inside string) (e *tree.Entry, err error) {
	if inside == "" {
		var ok bool
		if e, ok, err = v.entries.Iterate(ctx, ".").Next(); err == nil && !ok {
			err = fmt.Errorf("%s is empty", v.ID)
		}
	} else {
		e, err = v.inside(ctx, inside)
	}
	if err == nil && e.HardLink != "" {
		e, err = v.entries.Lookup(ctx, e.HardLink)
	}
	if err == nil && e.Type != tree.TypeFile {
		err = fmt.Errorf("%s: %q is a %v: name one file inside", v.ID, e.Path, e.Type)
	}
	return e, err
}

// copyTo writes a file's bytes in order, holes as zeros; so many pieces are fetched
// before they are written.
func (v *version) copyTo(ctx context.Context, e *tree.Entry, w io.Writer, pieces int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan fetched, pieces)
	go v.fetchAhead(ctx, e, queue)
	var at int64
	for next := range queue {
		f := <-next
		if f.err != nil {
			return fmt.Errorf("read %q: %w", e.Path, f.err)
		}
		if err := writeZeros(w, f.off-at); err != nil {
			return err
		}
		if _, err := w.Write(f.plain); err != nil {
			return err
		}
		at = f.off + int64(len(f.plain))
		chunk.Buffers.Put(f.plain)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeZeros(w, e.Size-at)
}

// fetched is a piece that came, or the reason why it did not.
type fetched struct {
	off   int64
	plain []byte
	err   error
}

// fetchAhead puts a channel for each piece into the queue, in order, and fetches
// the pieces side by side.
func (v *version) fetchAhead(ctx context.Context, e *tree.Entry, queue chan<- chan fetched) {
	defer close(queue)
	pieces := v.entries.Pieces(ctx, e.Content, e.Size)
	for {
		p, ok, err := pieces.Next()
		if err == nil && !ok {
			return
		}
		slot := make(chan fetched, 1)
		select {
		case queue <- slot:
		case <-ctx.Done():
			return
		}
		if err != nil {
			slot <- fetched{err: err}
			return
		}
		go func() {
			f := fetched{off: p.Off}
			f.plain, f.err = v.chunks.AppendPiece(ctx, pieceBuffer(p), p)
			slot <- f
		}()
	}
}

// pooledPiece is the length from which a piece is put into a buffer of the pool, in bytes.
const pooledPiece = 128 << 10

// pieceBuffer is empty and has the capacity for a piece. Whoever is done with it gives it
// to plains.put.
func pieceBuffer(p tree.Piece) []byte {
	if p.Len < pooledPiece {
		return make([]byte, 0, p.Len)
	}
	return chunk.Buffers.Get()
}

func writeZeros(w io.Writer, n int64) error {
	_, err := io.CopyN(w, zeros{}, n)
	return err
}

// zeros is an endless reader of zeros.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

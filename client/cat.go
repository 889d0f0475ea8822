package client

import (
	"context"
	"fmt"
	"io"
)

// catAhead is how many pieces are fetched before they are written: enough to
// hide the way to the nodes.
const catAhead = 8

// Cat writes one file of a version to w. inside may be "" when the version is one
// file.
func (c *Client) Cat(ctx context.Context, id, inside string, w io.Writer) error {
	ctx, cancel := c.watched(ctx)
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
	err = v.copyTo(ctx, e, w)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return unreachable(err)
}

// file finds the one regular file that is meant.
func (v *opened) file(ctx context.Context, inside string) (e *Entry, err error) {
	if inside == "" {
		var ok bool
		if e, ok, err = v.tree.iterate(ctx, ".").Next(); err == nil && !ok {
			err = fmt.Errorf("%s is empty", v.ID)
		}
	} else {
		e, err = v.inside(ctx, inside)
	}
	if err == nil && e.HardLink != "" {
		e, err = v.tree.lookup(ctx, e.HardLink)
	}
	if err == nil && e.Type != TypeFile {
		err = fmt.Errorf("%s: %q is a %v: name one file inside", v.ID, e.Path, e.Type)
	}
	return e, err
}

// copyTo writes a file's bytes in order, holes as zeros.
func (v *opened) copyTo(ctx context.Context, e *Entry, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan fetched, v.room.slots(catAhead))
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
		plains.put(f.plain)
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

// fetchAhead puts a place for each piece into the queue, in order, and fetches
// the pieces side by side.
func (v *opened) fetchAhead(ctx context.Context, e *Entry, queue chan<- chan fetched) {
	defer close(queue)
	pieces := newPieceIter(ctx, v.get, e.Content, e.Size)
	for {
		p, ok, err := pieces.Next()
		if err == nil && !ok {
			return
		}
		place := make(chan fetched, 1)
		if !push(ctx, queue, place) {
			return
		}
		if err != nil {
			place <- fetched{err: err}
			return
		}
		go func() {
			f := fetched{off: p.Off, plain: newPlain(int(p.Len))}
			f.err = v.fetchOne(ctx, p, func(plain []byte) error {
				copy(f.plain, plain)
				return nil
			})
			place <- f
		}()
	}
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

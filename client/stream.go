package client

import (
	"context"
	"fmt"
	"io"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// catAhead is how many pieces Cat fetches ahead: enough to hide the latency of the nodes.
const catAhead = 8

// file returns the regular file at a path, or with "" the only file of the version.
func (v *version) file(ctx context.Context, inside string) (e *tree.Entry, err error) {
	if inside == "" {
		if inside, err = v.onlyTop(ctx); err != nil {
			return nil, err
		}
		e, err = v.entries.Lookup(ctx, inside)
	} else {
		e, err = v.inside(ctx, inside)
	}
	if err == nil && e.IsBareLink() {
		e, err = v.entries.Lookup(ctx, e.HardLink)
	}
	if err == nil && e.Type == tree.TypeDir {
		return e, schemas.Explain("", "path-is-folder", "\"{path}\" of {version} is a folder: name one file inside", "path", e.Path, "version", v.ID)
	}
	if err == nil && e.Type != tree.TypeFile {
		err = fmt.Errorf("%s: %q is a %v: name one file inside", v.ID, e.Path, e.Type)
	}
	return e, err
}

// onlyTop returns the path of the only entry at the top of the version. A version that was made
// from several paths is refused, even if only one of them could be saved.
func (v *version) onlyTop(ctx context.Context) (string, error) {
	tops, err := v.entries.Tops(ctx)
	switch {
	case err != nil:
		return "", err
	case len(tops) == 0:
		return "", schemas.Explain("", "version-is-empty", "{version} is empty", "version", v.ID)
	case len(tops) > 1:
		return "", schemas.Explain("", "version-of-several", "{version} holds several files and folders (\"{path}\", \"{other}\", …): name one file inside", "version", v.ID, "path", tops[0], "other", tops[1])
	case len(v.label.Paths) > 1:
		return "", fmt.Errorf("%s was made from %d paths, of which only %q is in it: name the file inside", v.ID, len(v.label.Paths), tops[0])
	}
	return tops[0], nil
}

// copyTo writes a file's bytes to w in order, holes as zeros. It fetches up to ahead pieces before
// they can be written.
func (v *version) copyTo(ctx context.Context, e *tree.Entry, w io.Writer, ahead int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan fetched, ahead)
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

// fetched is a piece that was fetched, or the error why it was not.
type fetched struct {
	off   int64
	plain []byte
	err   error
}

// fetchAhead fetches the pieces of a file concurrently. It puts a channel for each piece into the
// queue, in order, on which the piece will arrive.
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

// pooledPiece is the smallest length of a piece, in bytes, for which a buffer of the pool is used.
const pooledPiece = 128 << 10

// pieceBuffer returns an empty buffer with the capacity for a piece. It may be given to
// [chunk.Buffers] after use.
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

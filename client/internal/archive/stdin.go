package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"servidor-backup/client/internal/tree"
)

// readStdin reads to the end of standard input, or until ctx ends. Any failure ends the
// backup.
func (r *reader) readStdin(ctx context.Context, e *tree.Entry) error {
	in := abandonable(ctx, r.s.Stdin)
	defer in.Close()
	got, err := r.readOn(e, in)
	var failed *readError
	if errors.As(err, &failed) {
		return fmt.Errorf("read standard input: %w", failed.err)
	}
	e.Size = got.end
	return err
}

// abandonable returns a reader of r whose reads fail as soon as ctx ends or it is closed. A
// read of a pipe or terminal cannot be interrupted, so the goroutine that waits in one is left
// behind until its read returns or the process ends.
func abandonable(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err) // nil is the end of the stream
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	return out
}

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// ErrNoResponders is returned when nothing is subscribed to a request's subject: the
// server is reachable, but the role is not running.
var ErrNoResponders = errors.New("no service responds")

// RequestTimeout is the timeout of a request whose context has no deadline.
const RequestTimeout = 15 * time.Second

// Reply is an answer that carries a status: any message that embeds
// [schemas.Reply].
type Reply interface{ Err() error }

// Request sends req to subject and decodes the answer into rep. A failure that
// the answer carries is returned as *[schemas.Error]. If nothing is subscribed to the
// subject, the error is [ErrNoResponders]; if no answer comes in time, it is
// [context.DeadlineExceeded].
func Request(ctx context.Context, nc *nats.Conn, subject string, req any, rep Reply) error {
	b, err := schemas.Marshal(req)
	if err != nil {
		return err
	}
	answer, err := RequestRaw(ctx, nc, subject, b)
	if err != nil {
		return err
	}
	if err := schemas.Unmarshal(answer, rep); err != nil {
		return fmt.Errorf("the answer to %s: %w", subject, err)
	}
	return rep.Err()
}

// RequestRaw is [Request] for encoded bytes; it does not decode failures. The caller owns
// the returned slice.
func RequestRaw(ctx context.Context, nc *nats.Conn, subject string, req []byte) ([]byte, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, RequestTimeout)
		defer cancel()
	}
	m, err := nc.RequestWithContext(ctx, subject, req)
	switch {
	case err == nil:
		return m.Data, nil
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("%w on %s", ErrNoResponders, subject)
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrReconnectBufExceeded):
		// The second also means that no answer can come in time: the connection is lost,
		// and its buffer for messages until it is back is full.
		err = context.DeadlineExceeded
	}
	return nil, fmt.Errorf("request to %s: %w", subject, err)
}

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// ErrNoResponders is returned when no one is subscribed to a request's subject: the
// server is there, the role is not.
var ErrNoResponders = errors.New("nobody answers")

// RequestTimeout ends a request whose context has no deadline.
const RequestTimeout = 15 * time.Second

// Reply is an answer that carries a status: any message that embeds
// [schemas.Reply].
type Reply interface{ Err() error }

// Request sends req to subject and decodes the answer into rep. A failure that
// the answer carries is returned as *[schemas.Error], a missing role as
// [ErrNoResponders], silence as [context.DeadlineExceeded].
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

// RequestRaw is [Request] for encoded bytes. The answer is the caller's.
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
		// The second is silence too: the connection is away, and what waits for
		// it to come back is more than it takes.
		err = context.DeadlineExceeded
	}
	return nil, fmt.Errorf("request to %s: %w", subject, err)
}

package kv

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Operations are retried while servers restart. A read without an answer is sent again. A
// write whose outcome is unknown is sent again under the same message id, by which
// JetStream recognizes it.

const (
	// tryTimeout is the timeout of one write, and of a watcher that delivers nothing. A
	// write or a watcher is lost when its server stops in the middle.
	tryTimeout = 3 * time.Second
	// readTimeout is the timeout of one read. It is short: while the stream has no leader
	// no server answers, and the next leader does not know earlier requests.
	readTimeout = time.Second
	// retryTime is the time for which an operation is retried. A cluster elects a new
	// leader within 4 to 9 s, and a coordinator's client waits for bus.RequestTimeout.
	retryTime = 10 * time.Second
	// loneRetryTime is used instead if no other server will take over: a lone server has no
	// responder for JetStream, or a server cannot make the stream.
	loneRetryTime = 2 * time.Second
	// openTryTimeout and openRetryTime are used for finding or making a bucket: the
	// program has just started, and perhaps the servers have, too.
	openTryTimeout = 5 * time.Second
	openRetryTime  = 30 * time.Second
	// retryPause is the time between two tries.
	retryPause = 25 * time.Millisecond
)

// retry calls try until it succeeds, fails with an error that is not transient, or limit
// has passed.
func (b *Bucket) retry(ctx context.Context, limit time.Duration, try func() error) error {
	for start := time.Now(); ; {
		err := try()
		if !isTransient(err) || ctx.Err() != nil {
			return err
		}
		took := time.Since(start)
		alone := isNoResponder(err) && !b.clustered() || hasCode(err, codeStreamCreate)
		if took > limit || took > loneRetryTime && alone {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryPause):
		}
	}
}

// clustered reports whether the server at the other end is one of several.
func (b *Bucket) clustered() bool { return b.nc.ConnectedClusterName() != "" }

// errBehind says that a server answered with a state that is known to be old.
var errBehind = errors.New("the server is behind the others")

func isNoResponder(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// hasCode reports whether err is an error of JetStream with the given code.
func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// isLost reports whether err says that there is no such bucket.
func isLost(err error) bool { return hasCode(err, jetstream.JSErrCodeStreamNotFound) }

// isTransient reports whether err comes from servers that are unreachable, starting, or
// electing a leader.
func isTransient(err error) bool {
	if isNoResponder(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, errBehind) {
		return true
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount, codeNoPeers:
		return false
	case codeWriteInProcess, codeStreamCreate:
		return true
	}
	return api.Code == http.StatusServiceUnavailable
}

// Error codes of JetStream that the library has no names for.
const (
	codeNoPeers        jetstream.ErrorCode = 10005 // the cluster has fewer servers than replicas
	codeWriteInProcess jetstream.ErrorCode = 10158 // a message with this id is being written
	// codeStreamCreate says that the server could not make a stream, mostly because of its
	// disk. A server that has just deleted its last stream removes the directory of all streams
	// a moment later, even if a new stream is being made in it.
	codeStreamCreate jetstream.ErrorCode = 10049
)

// isTooFewServers reports whether the cluster has too few servers for the replicas.
func isTooFewServers(err error) bool { return hasCode(err, codeNoPeers) }

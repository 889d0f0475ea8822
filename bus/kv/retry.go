package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"servidor-backup/schemas"
)

// What a bucket does while servers come and go: a question that nobody answered is
// asked again; a write of which nobody knows what became of it is written again
// under the same id, by which JetStream knows it.

const (
	// attemptTime ends one write, or a watcher that brings nothing: it is lost when
	// a server goes away in the middle.
	attemptTime = 3 * time.Second
	// askTime is the same for a question. It is short, because while there is no
	// leader nobody says so, and whoever will lead has not heard what was asked
	// before.
	askTime = time.Second
	// bucketTime is for how long an operation is begun again. A cluster chooses a
	// new leader within 4 to 9 s; whoever asks a coordinator waits for
	// RequestTimeout.
	bucketTime = 10 * time.Second
	// loneTime is the same for a server without others that says that it has no
	// JetStream: nobody will take its place.
	loneTime = 2 * time.Second
	// openAttempt and openTime are the same for finding or making a bucket: whoever
	// does so has just started, and the servers perhaps as well.
	openAttempt = 5 * time.Second
	openTime    = 30 * time.Second
	// againTime lies between two attempts.
	againTime = 25 * time.Millisecond
)

// retry calls try until it succeeds, fails for a reason that does not pass, or
// has done so for long enough.
func (b *Bucket) retry(ctx context.Context, limit time.Duration, try func() error) error {
	for start := time.Now(); ; {
		err := try()
		if !passes(err) || ctx.Err() != nil {
			return err
		}
		took := time.Since(start)
		if took > limit || took > loneTime && isNobody(err) && !b.clustered() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(againTime):
		}
	}
}

// clustered reports whether the server at the other end is one of several.
func (b *Bucket) clustered() bool { return b.nc.ConnectedClusterName() != "" }

// errBehind says that what was read is older than what is known to be there.
var errBehind = errors.New("the server is behind the others")

func isNobody(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// isLost reports whether err says that there is no such bucket.
func isLost(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamNotFound
}

// passes reports whether err comes of servers that are away, starting, or choosing
// a leader.
func passes(err error) bool {
	if isNobody(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, errBehind) {
		return true
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount, noPeers:
		return false
	case inProcess:
		return true
	}
	return api.Code == http.StatusServiceUnavailable
}

// Error codes of JetStream that the library has no names for.
const (
	noPeers   jetstream.ErrorCode = 10005 // fewer servers are there than are asked for
	inProcess jetstream.ErrorCode = 10158 // a message with this id is being written
)

// tooFew reports whether there are not enough servers for so many replicas.
func tooFew(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == noPeers
}

// operation is the header by which a key-value bucket tells a deletion.
const operation = "KV-Operation"

// stored is a value as it stands in the bucket's stream.
type stored struct {
	revision uint64
	id       string // of the write
	deleted  bool
	value    []byte
}

func (b *Bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// last is the value that was written last to a key, or to any that matches a
// filter; [ErrNotFound] if there is none. The library would ask any server that has
// the stream, also one that is behind; this asks the one that leads.
func (b *Bucket) last(ctx context.Context, filter string) (m stored, err error) {
	if !validFilter.MatchString(filter) {
		return m, jetstream.ErrInvalidKey
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	question, err := json.Marshal(map[string]string{"last_by_subj": b.subject(filter)})
	if err != nil {
		return m, err
	}
	answer, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+b.name, question)
	if err != nil {
		return m, err
	}
	var rep struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &rep); err != nil {
		return m, fmt.Errorf("the answer of JetStream: %w", err)
	}
	switch {
	case rep.Error != nil && rep.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return m, ErrNotFound
	case rep.Error != nil:
		return m, rep.Error
	}
	m = stored{revision: rep.Message.Sequence, value: rep.Message.Data}
	if len(rep.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(rep.Message.Header)
		if err != nil {
			return m, fmt.Errorf("the header of %s: %w", filter, err)
		}
		m.id = h.Get(jetstream.MsgIDHeader)
		m.deleted = h.Get(operation) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
	}
	return m, nil
}

// What the library takes for keys, and for filters of them.
var (
	validKey    = regexp.MustCompile(`^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*$`)
	validFilter = regexp.MustCompile(`^[-/_=a-zA-Z0-9*]+(\.[-/_=a-zA-Z0-9*]+)*(\.>)?$|^>$`)
)

func (b *Bucket) message(key string, value []byte) *nats.Msg {
	return &nats.Msg{Subject: b.subject(key), Header: nats.Header{}, Data: value}
}

// publish is one attempt to write.
func (b *Bucket) publish(ctx context.Context, m *nats.Msg, options ...jetstream.PublishOpt) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	// The library's own retries are ours.
	ack, err := b.js.PublishMsg(ctx, m, append(options, jetstream.WithRetryAttempts(0))...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// write writes key if its revision is still the given one, 0 for a key that is not
// there. An attempt whose outcome is unknown is repeated under the same id: if it
// was written after all, JetStream says so; and if it has forgotten the id, the id
// that stands with the value tells. Only if the value has been overwritten as well
// is it taken for one that was not written.
func (b *Bucket) write(ctx context.Context, key string, v any, revision uint64) (next uint64, err error) {
	if !validKey.MatchString(key) {
		return 0, jetstream.ErrInvalidKey
	}
	value, err := schemas.Marshal(v)
	if err != nil {
		return 0, err
	}
	return b.change(ctx, key, b.message(key, value), revision)
}

// change is write for the message that stands for the key's new state, which may be
// its deletion.
func (b *Bucket) change(ctx context.Context, key string, m *nats.Msg, revision uint64) (next uint64, err error) {
	id, expected := nuid.Next(), revision
	err = b.retry(ctx, bucketTime, func() error {
		next, err = b.publish(ctx, m, jetstream.WithMsgID(id), jetstream.WithExpectLastSequencePerSubject(expected))
		if !isMismatch(err) {
			return err
		}
		now, err := b.last(ctx, key)
		switch {
		case err == nil && now.id == id:
			next = now.revision
		case err == nil && now.deleted && revision == 0 && now.revision != expected:
			expected = now.revision // a key that was deleted can be made again
			err = errBehind
		case err == nil && now.revision == expected, errors.Is(err, ErrNotFound) && expected == 0:
			err = errBehind // a write that is not decided yet stands in the way
		case err == nil && revision == 0:
			err = ErrExists
		case err == nil, errors.Is(err, ErrNotFound):
			err = ErrConflict
		}
		return err
	})
	return next, err
}

// isMismatch reports whether the key's revision was another one. JetStream has two
// codes for it, the second for a write that overtakes one which is not decided.
func isMismatch(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"servidor-backup/schemas"
)

// operationHeader is the header that marks a message of a bucket as a deletion.
const operationHeader = "KV-Operation"

// stored is a value in the bucket's stream.
type stored struct {
	revision uint64
	id       string // message id of the write
	deleted  bool
	value    []byte
}

func (b *Bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// readLast returns the value that was written last to a key, or to any key that matches a
// filter, or [ErrNotFound]. It asks the stream's leader. The library would ask any server
// that holds the stream, even one that is behind.
func (b *Bucket) readLast(ctx context.Context, filter string) (m stored, err error) {
	if !validFilter.MatchString(filter) {
		return m, jetstream.ErrInvalidKey
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"last_by_subj": b.subject(filter)})
	if err != nil {
		return m, err
	}
	answer, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+streamPrefix+b.name, request)
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
		return m, fmt.Errorf("decode the answer of JetStream: %w", err)
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
			return m, fmt.Errorf("decode the header of %s: %w", filter, err)
		}
		m.id = h.Get(jetstream.MsgIDHeader)
		m.deleted = h.Get(operationHeader) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
	}
	return m, nil
}

// The keys and the filters that the library accepts.
var (
	validKey    = regexp.MustCompile(`^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*$`)
	validFilter = regexp.MustCompile(`^[-/_=a-zA-Z0-9*]+(\.[-/_=a-zA-Z0-9*]+)*(\.>)?$|^>$`)
)

func (b *Bucket) message(key string, value []byte) *nats.Msg {
	return &nats.Msg{Subject: b.subject(key), Header: nats.Header{}, Data: value}
}

// publish tries once to write a message, and returns its revision.
func (b *Bucket) publish(ctx context.Context, m *nats.Msg, options ...jetstream.PublishOpt) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	// Bucket.retry retries instead of the library.
	ack, err := b.js.PublishMsg(ctx, m, append(options, jetstream.WithRetryAttempts(0))...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// write writes key if its revision is still the given one; 0 means that the key has no
// value. A try whose outcome is unknown is repeated under the same message id. If the first
// try was written after all, JetStream says so; if JetStream has forgotten the id, the id
// that is stored with the value tells. Only if the value has also been overwritten meanwhile
// is the write reported as a conflict although it happened.
func (b *Bucket) write(ctx context.Context, key string, v any, revision uint64) (next uint64, err error) {
	if !validKey.MatchString(key) {
		return 0, jetstream.ErrInvalidKey
	}
	value, err := schemas.Marshal(v)
	if err != nil {
		return 0, err
	}
	return b.replace(ctx, key, b.message(key, value), revision)
}

// replace is [Bucket.write] for a message with the key's new state, which may be a
// deletion.
func (b *Bucket) replace(ctx context.Context, key string, m *nats.Msg, revision uint64) (next uint64, err error) {
	id, expected := nuid.Next(), revision
	err = b.retry(ctx, retryTime, func() error {
		next, err = b.publish(ctx, m, jetstream.WithMsgID(id), jetstream.WithExpectLastSequencePerSubject(expected))
		if !isMismatch(err) {
			return err
		}
		now, err := b.readLast(ctx, key)
		switch {
		case err == nil && now.id == id:
			next = now.revision
		case err == nil && now.deleted && revision == 0 && now.revision != expected:
			expected = now.revision // a deleted key can be created again
			err = errBehind
		case err == nil && now.revision == expected, errors.Is(err, ErrNotFound) && expected == 0:
			err = errBehind // another write of the key is not decided yet
		case err == nil && revision == 0:
			err = ErrExists
		case err == nil, errors.Is(err, ErrNotFound):
			err = ErrConflict
		}
		return err
	})
	return next, err
}

// isMismatch reports whether the key had another revision than expected. JetStream has two
// codes for that; the second is for a write that overtakes another one that is not decided.
func isMismatch(err error) bool {
	return hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence) ||
		hasCode(err, jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

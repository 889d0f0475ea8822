package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

// Errors of buckets.
var (
	ErrNoKey    = errors.New("no such key")
	ErrExists   = errors.New("the key exists already")
	ErrConflict = errors.New("the key was changed by another")
)

// BucketConfig describes a bucket; it is used when the bucket is first made.
type BucketConfig struct {
	Name        string
	Description string
	// TTL lets values lapse that nobody has written again for so long; 0 keeps
	// them.
	TTL time.Duration
	// Replicas on a NATS cluster; 0 is 1.
	Replicas int
}

// Bucket is a JetStream key-value bucket of msgpack values. A write has been
// synced when it returns. Reads may come from a follower that is behind; writes
// are protected by compare-and-set, so what was decided on a stale read fails
// with [ErrConflict] or [ErrExists] and is decided again.
type Bucket struct {
	nc *nats.Conn
	kv jetstream.KeyValue
}

// bucketTimeout ends one read or write, which is lost when the server goes
// away in the middle.
const bucketTimeout = 10 * time.Second

// OpenBucket binds to the bucket, making it if there is none. A bucket that
// exists is left as it is: its stream may have been tuned by the operator.
func OpenBucket(ctx context.Context, nc *nats.Conn, cfg BucketConfig) (*Bucket, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:      cfg.Name,
			Description: cfg.Description,
			TTL:         cfg.TTL,
			Replicas:    max(cfg.Replicas, 1),
			Storage:     jetstream.FileStorage,
			History:     1,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = js.KeyValue(ctx, cfg.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", cfg.Name, err)
	}
	return &Bucket{nc: nc, kv: kv}, nil
}

// Get decodes the value of key into v and returns its revision, or [ErrNoKey].
func (b *Bucket) Get(ctx context.Context, key string, v any) (revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	e, err := b.kv.Get(ctx, key)
	if err != nil {
		return 0, b.wrap("read", key, err)
	}
	return e.Revision(), b.decode(e, v)
}

// Create writes a key that does not exist yet; [ErrExists] otherwise.
func (b *Bucket) Create(ctx context.Context, key string, v any) (revision uint64, err error) {
	value, err := schemas.Marshal(v)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	revision, err = b.kv.Create(ctx, key, value)
	return revision, b.wrap("create", key, err)
}

// Update writes a key whose revision is still the given one; [ErrConflict]
// otherwise.
func (b *Bucket) Update(ctx context.Context, key string, v any, revision uint64) (uint64, error) {
	value, err := schemas.Marshal(v)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	next, err := b.kv.Update(ctx, key, value, revision)
	if errors.Is(err, jetstream.ErrKeyExists) {
		err = ErrConflict // the library has one error for both
	}
	return next, b.wrap("update", key, err)
}

// Holds reports whether a key has a value, asking the replica that decides on writes:
// what was written, or deleted, before the question is seen.
func (b *Bucket) Holds(ctx context.Context, key string) (bool, error) {
	req, err := json.Marshal(map[string]string{"last_by_subj": "$KV." + b.kv.Bucket() + "." + key})
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+b.kv.Bucket(), req)
	if err != nil {
		return false, b.wrap("look for", key, err)
	}
	var rep struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Headers []byte `json:"hdrs"`
		} `json:"message"`
	}
	switch err = json.Unmarshal(m.Data, &rep); {
	case err != nil:
	case rep.Error != nil && rep.Error.Code == http.StatusNotFound:
		return false, nil
	case rep.Error != nil:
		err = rep.Error
	}
	// A deleted key is a message with the header KV-Operation.
	return err == nil && !bytes.Contains(rep.Message.Headers, []byte("KV-Operation:")), b.wrap("look for", key, err)
}

// DeleteAt removes a key whose revision is still the given one; [ErrConflict]
// otherwise.
func (b *Bucket) DeleteAt(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	err := b.kv.Delete(ctx, key, jetstream.LastRevision(revision))
	var wrong *jetstream.APIError
	if errors.As(err, &wrong) && wrong.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		err = ErrConflict
	}
	return b.wrap("delete", key, err)
}

// Delete removes a key.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	return b.wrap("delete", key, b.kv.Delete(ctx, key))
}

// Edit reads the value into v (which stays as it is when there is none), lets
// change alter it, and writes it, again from the start when someone else was
// faster. change returns false to leave things as they are.
func (b *Bucket) Edit(ctx context.Context, key string, v any, reset func(), change func() (bool, error)) (revision uint64, err error) {
	for {
		reset()
		revision, err = b.Get(ctx, key, v)
		missing := errors.Is(err, ErrNoKey)
		if err != nil && !missing {
			return 0, err
		}
		if write, err := change(); err != nil || !write {
			return revision, err
		}
		if missing {
			revision, err = b.Create(ctx, key, v)
		} else {
			revision, err = b.Update(ctx, key, v, revision)
		}
		if !errors.Is(err, ErrExists) && !errors.Is(err, ErrConflict) {
			return revision, err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

// Entry is a value as [Bucket.Scan] and [Bucket.Watch] hand it out.
type Entry struct {
	Key      string
	Revision uint64
	Deleted  bool
	value    []byte
}

// Decode decodes the value into v.
func (e *Entry) Decode(v any) error { return schemas.Unmarshal(e.value, v) }

// Raw is the value as it is kept.
func (e *Entry) Raw() []byte { return e.value }

func (b *Bucket) decode(e jetstream.KeyValueEntry, v any) error {
	if err := schemas.Unmarshal(e.Value(), v); err != nil {
		return fmt.Errorf("the key %s of the bucket %s: %w", e.Key(), b.kv.Bucket(), err)
	}
	return nil
}

// Scan calls visit for every value whose key matches the filter (a key with the
// wildcards * and >), in the order of their last writes.
func (b *Bucket) Scan(ctx context.Context, filter string, visit func(Entry) error) error {
	return b.scan(ctx, filter, visit, jetstream.IgnoreDeletes())
}

func (b *Bucket) scan(ctx context.Context, filter string, visit func(Entry) error, options ...jetstream.WatchOpt) error {
	w, end, err := b.watch(ctx, filter, options...)
	if err != nil {
		return b.wrap("scan", filter, err)
	}
	defer end()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-w.Updates():
			if e == nil {
				if !open {
					return b.wrap("scan", filter, errors.New("the watcher ended early"))
				}
				return nil
			}
			if err := visit(entryOf(e)); err != nil {
				return err
			}
		}
	}
}

// Everything calls visit for every value, and every key that was deleted, as of when it
// was called or later: [Bucket.Scan] may miss what was written last, when a replica
// answers that is behind. So it writes the key fence first, and calls begin and reads
// all until it has come to that. Without a fence it reads once what the replica has.
func (b *Bucket) Everything(ctx context.Context, fence string, begin func(), visit func(Entry) error) error {
	revision := uint64(0)
	if fence != "" {
		bounded, cancel := context.WithTimeout(ctx, bucketTimeout)
		defer cancel()
		var err error
		if revision, err = b.kv.Put(bounded, fence, nil); err != nil {
			return b.wrap("write", fence, err)
		}
	}
	for {
		complete := fence == ""
		begin()
		err := b.scan(ctx, ">", func(e Entry) error {
			if e.Key == fence {
				complete = e.Revision >= revision
				return nil
			}
			return visit(e)
		})
		if err != nil || complete {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// watch starts a watcher; end ends it.
func (b *Bucket) watch(ctx context.Context, filter string, options ...jetstream.WatchOpt) (w jetstream.KeyWatcher, end func(), err error) {
	// Ending it by its context, not by Stop, leaves it to the library to tell a
	// server that may be gone.
	ctx, cancel := context.WithCancel(ctx)
	if w, err = b.kv.Watch(ctx, filter, options...); err != nil {
		cancel()
		return nil, nil, err
	}
	return w, func() {
		cancel()
		for range w.Updates() { // its goroutine would wait for ever to hand them over
		}
	}, nil
}

// Watch calls visit for every value and then for every change, until ctx ends
// or the connection closes; while the connection is away it waits. visit gets
// nil once, when all that was there has been seen.
func (b *Bucket) Watch(ctx context.Context, filter string, visit func(*Entry)) error {
	// A server that restarts forgets its watchers, and the library takes some
	// 20 s to notice. So each connection has a watcher of its own, which goes
	// on where the one before ended.
	reconnected := b.nc.StatusChanged(nats.CONNECTED)
	defer b.nc.RemoveStatusListener(reconnected)
	var last uint64
	complete := false
	for {
		again, err := b.follow(ctx, filter, last, reconnected, func(e *Entry) {
			switch {
			case e != nil:
				last = e.Revision
				visit(e)
			case !complete:
				complete = true
				visit(nil)
			}
		})
		if !again {
			return err
		}
	}
}

// follow is Watch, after the given revision, until the connection was away.
func (b *Bucket) follow(ctx context.Context, filter string, last uint64, reconnected <-chan nats.Status, visit func(*Entry)) (again bool, err error) {
	var options []jetstream.WatchOpt
	if last > 0 {
		options = append(options, jetstream.ResumeFromRevision(last+1))
	}
	w, end, err := b.watch(ctx, filter, options...)
	if err != nil {
		return false, b.wrap("watch", filter, err)
	}
	defer end()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-reconnected:
			return true, nil
		case e, open := <-w.Updates():
			switch {
			case !open:
				return false, b.wrap("watch", filter, errors.New("the connection was closed"))
			case e == nil:
				visit(nil)
			default:
				entry := entryOf(e)
				visit(&entry)
			}
		}
	}
}

func entryOf(e jetstream.KeyValueEntry) Entry {
	return Entry{
		Key:      e.Key(),
		Revision: e.Revision(),
		Deleted:  e.Operation() != jetstream.KeyValuePut,
		value:    e.Value(),
	}
}

func (b *Bucket) wrap(what, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		err = ErrNoKey
	case errors.Is(err, jetstream.ErrKeyExists):
		err = ErrExists
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		err = fmt.Errorf("%w (%w)", schemas.Errorf(schemas.Unavailable, "the catalogue does not answer"), err)
	}
	return fmt.Errorf("%s the key %s of the bucket %s: %w", what, key, b.kv.Bucket(), err)
}

// maxToken keeps two names, a number and a bucket well inside NATS's limit of
// 4 KiB for a protocol line.
const maxToken = 200

// KeyToken makes one token of a key out of any name. Letters, digits, "-" and
// "_" stand for themselves, so that "nats kv ls" is readable; other bytes become
// = and two hex digits; what gets too long becomes == and a hash.
func KeyToken(name string) string {
	const hex = "0123456789abcdef"
	var t []byte
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			t = append(t, c)
		} else {
			t = append(t, '=', hex[c>>4], hex[c&15])
		}
	}
	if len(t) <= maxToken {
		return string(t)
	}
	sum := blake3.Sum256([]byte(name))
	return fmt.Sprintf("==%x", sum[:16])
}

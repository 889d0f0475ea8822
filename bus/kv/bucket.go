package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

// Errors of buckets.
var (
	ErrNotFound = errors.New("no such key")
	ErrExists   = errors.New("the key exists already")
	ErrConflict = errors.New("the key was changed by another")
)

// Config describes a bucket; it is used when the bucket is first made.
type Config struct {
	Name        string
	Description string
	// TTL lets values lapse that nobody has written again for so long; 0 keeps
	// them.
	TTL time.Duration
	// Replicas on a NATS cluster; 0 is three, if it has so many servers.
	Replicas int
}

// Bucket is a JetStream key-value bucket of msgpack values. A write has been
// synced when it returns, on a cluster by a majority of the servers that keep the
// bucket. Reads are answered by the one that leads them, so what was written is
// read by everybody; only a leader that was cut off from the others may answer
// from the past for some seconds, until it knows. Writes are protected by
// compare-and-set, so what was decided on such a read fails with [ErrConflict] or
// [ErrExists] and is decided again.
//
// While a cluster chooses a new leader, operations wait for it, for a bounded time.
type Bucket struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	kv   jetstream.KeyValue // for watching
	name string

	began uint64 // its first revision, by which it is known from one that is made later
}

// Open binds to the bucket, making it if there is none. A bucket that
// exists is left as it is, as its stream may have been tuned by the operator; but
// see [Bucket.Spread].
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Bucket, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	b := &Bucket{nc: nc, js: js, name: cfg.Name}
	err = b.retry(ctx, openTime, func() error {
		b.kv, err = b.open(ctx, cfg)
		return err
	})
	if err == nil {
		b.began, err = b.first(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", cfg.Name, err)
	}
	return b, nil
}

func (b *Bucket) open(ctx context.Context, cfg Config) (jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, openAttempt)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, cfg.Name)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, err
	}
	// As the library makes buckets, but for where revisions begin: one that was lost and
	// is made anew must not give those out again that somebody still knows, so they go on
	// above all that a bucket made earlier can have come to.
	stream := jetstream.StreamConfig{
		Name:              streamPrefix + cfg.Name,
		Description:       cfg.Description,
		Subjects:          []string{"$KV." + cfg.Name + ".>"},
		MaxMsgsPerSubject: 1,
		MaxAge:            cfg.TTL,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		Replicas:          b.replicas(cfg.Replicas),
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
		FirstSeq:          uint64(time.Now().UnixMicro()),
	}
	_, err = b.js.CreateStream(ctx, stream)
	if tooFew(err) {
		// Fewer servers are there now; Spread sees to it when there are more.
		stream.Replicas = 1
		_, err = b.js.CreateStream(ctx, stream)
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil, err
	}
	kv, err = b.js.KeyValue(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = fmt.Errorf("%w: %w", errBehind, err) // another one is just making it
	}
	return kv, err
}

// streamPrefix is what NATS calls the stream of a bucket, before its name.
const streamPrefix = "KV_"

// mostReplicas is what suffices for any one server to be lost.
const mostReplicas = 3

// replicas is how many servers shall keep the bucket, unless told otherwise.
func (b *Bucket) replicas(asked int) int {
	switch {
	case asked > 0:
		return asked
	case b.clustered():
		return mostReplicas
	}
	return 1
}

// EnsureReplicas has the bucket kept by as many servers as it shall be, as
// [Config].Replicas says, if it is kept by fewer; all else stays as it is.
// An error says that it is not, such as for want of servers.
func (b *Bucket) EnsureReplicas(ctx context.Context, replicas int) error {
	ctx, cancel := context.WithTimeout(ctx, openAttempt)
	defer cancel()
	s, err := b.js.Stream(ctx, streamPrefix+b.name)
	if err != nil {
		return fmt.Errorf("look at the bucket %s: %w", b.name, err)
	}
	cfg := s.CachedInfo().Config
	if want := b.replicas(replicas); cfg.Replicas < want {
		cfg.Replicas = want
		if _, err := b.js.UpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("keep the bucket %s on %d servers: %w", b.name, want, err)
		}
	}
	return nil
}

// first is the revision that the bucket was made to begin with, above all that one of its
// name came to before; 0 if none was chosen for it.
func (b *Bucket) first(ctx context.Context) (first uint64, err error) {
	err = b.retry(ctx, bucketTime, func() error {
		ctx, cancel := context.WithTimeout(ctx, openAttempt)
		defer cancel()
		s, err := b.js.Stream(ctx, streamPrefix+b.name)
		if err == nil {
			first = s.CachedInfo().Config.FirstSeq
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("look at the bucket %s: %w", b.name, err)
	}
	return first, err
}

// Get decodes the value of key into v and returns its revision, or [ErrNotFound].
func (b *Bucket) Get(ctx context.Context, key string, v any) (revision uint64, err error) {
	var m stored
	err = b.retry(ctx, bucketTime, func() error {
		m, err = b.last(ctx, key)
		return err
	})
	if err == nil && m.deleted {
		err = ErrNotFound
	}
	if err != nil {
		return 0, b.wrap("read", key, err)
	}
	return m.revision, b.decode(key, m.value, v)
}

// Create writes a key that does not exist yet; [ErrExists] otherwise.
func (b *Bucket) Create(ctx context.Context, key string, v any) (revision uint64, err error) {
	revision, err = b.write(ctx, key, v, 0)
	return revision, b.wrap("create", key, err)
}

// Update writes a key whose revision is still the given one; [ErrConflict]
// otherwise.
func (b *Bucket) Update(ctx context.Context, key string, v any, revision uint64) (uint64, error) {
	next, err := b.write(ctx, key, v, revision)
	return next, b.wrap("update", key, err)
}

// Exists reports whether a key has a value.
func (b *Bucket) Exists(ctx context.Context, key string) (bool, error) {
	_, err := b.Get(ctx, key, new(msgpack.RawMessage))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// DeleteAt removes a key whose revision is still the given one; [ErrConflict]
// otherwise. The mark that is left says v to [Bucket.Everything].
func (b *Bucket) DeleteAt(ctx context.Context, key string, revision uint64, v any) error {
	value, err := schemas.Marshal(v)
	if err != nil {
		return b.wrap("delete", key, err)
	}
	m := b.message(key, value)
	m.Header.Set(operation, "DEL")
	_, err = b.change(ctx, key, m, revision)
	return b.wrap("delete", key, err)
}

// Delete removes a key.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	id := nuid.Next()
	return b.wrap("delete", key, b.retry(ctx, bucketTime, func() error {
		m := b.message(key, nil)
		m.Header.Set(operation, "DEL")
		_, err := b.publish(ctx, m, jetstream.WithMsgID(id))
		return err
	}))
}

// Edit reads the value into v (which stays as it is when there is none), lets
// change alter it, and writes it, again from the start when someone else was
// faster. change returns false to leave things as they are.
func (b *Bucket) Edit(ctx context.Context, key string, v any, reset func(), change func() (bool, error)) (revision uint64, err error) {
	for {
		reset()
		revision, err = b.Get(ctx, key, v)
		missing := errors.Is(err, ErrNotFound)
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
		select { // whoever was faster may have another change to make
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(rand.N(maxYield)):
		}
	}
}

// maxYield is how long an edit lets others go first, at most.
const maxYield = 5 * time.Millisecond

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

func (b *Bucket) decode(key string, value []byte, v any) error {
	if err := schemas.Unmarshal(value, v); err != nil {
		return fmt.Errorf("the key %s of the bucket %s: %w", key, b.name, err)
	}
	return nil
}

func (b *Bucket) wrap(what, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case isLost(err):
		err = fmt.Errorf("%w (%w)", schemas.Errorf(schemas.Unavailable, "the catalogue is gone, an empty one will be made"), err)
	case passes(err):
		err = fmt.Errorf("%w (%w)", schemas.Errorf(schemas.Unavailable, "the catalogue does not answer"), err)
	}
	return fmt.Errorf("%s the key %s of the bucket %s: %w", what, key, b.name, err)
}

// maxToken keeps two names, a number and a bucket well inside NATS's limit of
// 4 KiB for a protocol line.
const maxToken = 200

// Token makes one token of a key out of any name. Letters, digits, "-" and
// "_" stand for themselves, so that "nats kv ls" is readable; other bytes become
// = and two hex digits; what gets too long becomes == and a hash.
func Token(name string) string {
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

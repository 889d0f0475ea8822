package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/schemas"
)

// Errors of buckets.
var (
	ErrNotFound = errors.New("no such key")
	ErrExists   = errors.New("the key exists already")
	ErrConflict = errors.New("the key was changed by another")
)

// Config describes a bucket. Only the Name matters for a bucket that exists already.
type Config struct {
	Name        string
	Description string
	// TTL is the time after its last write at which a value lapses; 0 means never.
	TTL time.Duration
	// Replicas is the number of servers that hold the bucket. 0 means three on a NATS
	// cluster, or one if the cluster has too few servers.
	Replicas int
}

// Bucket is a JetStream key-value bucket of msgpack values. It is safe for concurrent use.
//
// A write has been synced when it returns, on a cluster by a majority of the servers that
// hold the bucket. The leader of these servers answers reads, so every client reads what
// was written before. The only exception is a leader that is cut off from the other
// servers: it may answer with old values for some seconds, until it notices. Writes are
// protected by compare-and-set, so a write that is based on an old value fails with
// [ErrConflict] or [ErrExists], and the caller decides again.
//
// While a cluster elects a new leader, operations wait for it for a bounded time.
type Bucket struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	kv   jetstream.KeyValue // for watching
	name string

	// firstRevision distinguishes this bucket from one of the same name that is made later.
	firstRevision uint64
}

// Open opens the bucket, and makes it if it does not exist. It leaves an existing bucket
// as it is, because the administrator may have tuned its stream; but see
// [Bucket.EnsureReplicas].
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Bucket, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	b := &Bucket{nc: nc, js: js, name: cfg.Name}
	err = b.retry(ctx, openRetryTime, func() error {
		b.kv, err = b.open(ctx, cfg)
		return err
	})
	if err == nil {
		b.firstRevision, err = b.readFirstRevision(ctx)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, schemas.Explain("", "no-jetstream",
			"the NATS server answers, but its JetStream does not: does its configuration switch it on?").WithKind(err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", cfg.Name, err)
	}
	return b, nil
}

func (b *Bucket) open(ctx context.Context, cfg Config) (jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, openTryTimeout)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, cfg.Name)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, err
	}
	// The stream is as the library makes it, except for its first revision. A bucket that
	// was lost and is recreated must not use revisions again that a client still knows, so
	// it starts above all revisions that an earlier bucket can have reached.
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
	if isTooFewServers(err) {
		// The cluster has fewer servers now; EnsureReplicas adds replicas later.
		stream.Replicas = 1
		_, err = b.js.CreateStream(ctx, stream)
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil, err
	}
	kv, err = b.js.KeyValue(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = fmt.Errorf("%w: %w", errBehind, err) // another client is just making it
	}
	return kv, err
}

// streamPrefix and the bucket's name are the name of the bucket's stream.
const streamPrefix = "KV_"

// defaultReplicas is the smallest number of replicas that survives the loss of any server.
const defaultReplicas = 3

// replicas is the number of servers that should hold the bucket: configured, or the
// default if that is 0.
func (b *Bucket) replicas(configured int) int {
	switch {
	case configured > 0:
		return configured
	case b.clustered():
		return defaultReplicas
	}
	return 1
}

// EnsureReplicas raises the number of servers that hold the bucket to replicas, which has
// the meaning of [Config].Replicas. It never lowers the number and changes nothing else. It
// fails, for example, if the cluster has too few servers.
func (b *Bucket) EnsureReplicas(ctx context.Context, replicas int) error {
	ctx, cancel := context.WithTimeout(ctx, openTryTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, streamPrefix+b.name)
	if err != nil {
		return fmt.Errorf("inspect the bucket %s: %w", b.name, err)
	}
	cfg := s.CachedInfo().Config
	if want := b.replicas(replicas); cfg.Replicas < want {
		cfg.Replicas = want
		if _, err := b.js.UpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("replicate the bucket %s to %d servers: %w", b.name, want, err)
		}
	}
	return nil
}

// Server is a NATS server that holds a replica of a bucket.
type Server struct {
	Name    string
	Leader  bool
	Current bool // it is reachable and has everything
}

// Servers returns the servers that hold the bucket, sorted by name; none if a single server
// without a cluster does.
func (b *Bucket) Servers(ctx context.Context) ([]Server, error) {
	if !b.clustered() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTryTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, streamPrefix+b.name)
	if err != nil {
		return nil, fmt.Errorf("inspect the bucket %s: %w", b.name, err)
	}
	cluster := s.CachedInfo().Cluster
	if cluster == nil || cluster.Leader == "" {
		return nil, nil
	}
	all := []Server{{Name: cluster.Leader, Leader: true, Current: true}}
	for _, r := range cluster.Replicas {
		all = append(all, Server{Name: r.Name, Current: r.Current && !r.Offline})
	}
	slices.SortFunc(all, func(x, y Server) int { return strings.Compare(x.Name, y.Name) })
	return all, nil
}

// readFirstRevision asks for the revision at which the bucket starts, which is above all
// revisions of earlier buckets of its name. It is 0 if none was set when the bucket was made.
func (b *Bucket) readFirstRevision(ctx context.Context) (first uint64, err error) {
	err = b.retry(ctx, retryTime, func() error {
		ctx, cancel := context.WithTimeout(ctx, openTryTimeout)
		defer cancel()
		s, err := b.js.Stream(ctx, streamPrefix+b.name)
		if err == nil {
			first = s.CachedInfo().Config.FirstSeq
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("inspect the bucket %s: %w", b.name, err)
	}
	return first, err
}

// Get decodes the value of key into v and returns its revision, or [ErrNotFound].
func (b *Bucket) Get(ctx context.Context, key string, v any) (revision uint64, err error) {
	var m stored
	err = b.retry(ctx, retryTime, func() error {
		m, err = b.readLast(ctx, key)
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

// Create writes a key that does not exist, and returns its revision. If the key exists it
// fails with [ErrExists].
func (b *Bucket) Create(ctx context.Context, key string, v any) (revision uint64, err error) {
	revision, err = b.write(ctx, key, v, 0)
	return revision, b.wrap("create", key, err)
}

// Update writes a key and returns its new revision. If the key's revision is no longer the
// given one it fails with [ErrConflict].
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

// DeleteRevision removes a key. If the key's revision is no longer the given one it fails with
// [ErrConflict]. The tombstone that stays has the value v, which [Bucket.ScanAll]
// reports.
func (b *Bucket) DeleteRevision(ctx context.Context, key string, revision uint64, v any) error {
	value, err := schemas.Marshal(v)
	if err != nil {
		return b.wrap("delete", key, err)
	}
	m := b.message(key, value)
	m.Header.Set(operationHeader, "DEL")
	_, err = b.replace(ctx, key, m, revision)
	return b.wrap("delete", key, err)
}

// Delete removes a key, whatever its revision.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	id := nuid.Next()
	return b.wrap("delete", key, b.retry(ctx, retryTime, func() error {
		m := b.message(key, nil)
		m.Header.Set(operationHeader, "DEL")
		_, err := b.publish(ctx, m, jetstream.WithMsgID(id))
		return err
	}))
}

// Edit calls reset, reads the value of key into v (which it leaves as it is if the key has
// no value), calls change to alter v, and writes v. If another client has changed the key
// meanwhile, Edit starts again. It writes nothing if change returns false.
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
		select { // the other client may have more changes to make
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(rand.N(maxConflictPause)):
		}
	}
}

// maxConflictPause is the longest pause of an edit after a conflict. It is random, so that
// other clients get ahead.
const maxConflictPause = 5 * time.Millisecond

// Entry is a key and its value, as [Bucket.Scan] and [Bucket.Watch] report it.
type Entry struct {
	Key      string
	Revision uint64
	Deleted  bool
	value    []byte
}

// Decode decodes the value into v.
func (e *Entry) Decode(v any) error { return schemas.Unmarshal(e.value, v) }

// Raw returns the encoded value, which must not be changed.
func (e *Entry) Raw() []byte { return e.value }

func (b *Bucket) decode(key string, value []byte, v any) error {
	if err := schemas.Unmarshal(value, v); err != nil {
		return fmt.Errorf("the key %s of the bucket %s: %w", key, b.name, err)
	}
	return nil
}

// wrap adds the operation and the key to an error. A bucket that is lost or unreachable
// gets the code [schemas.Unavailable].
func (b *Bucket) wrap(what, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case isLost(err):
		err = fmt.Errorf("%w (%w)", schemas.Explain(schemas.Unavailable, "catalogue-is-gone", "the catalogue is lost; a coordinator will make an empty one"), err)
	case isTransient(err):
		err = fmt.Errorf("%w (%w)", schemas.Explain(schemas.Unavailable, "catalogue-silent", "the catalogue does not answer"), err)
	}
	return fmt.Errorf("%s the key %s of the bucket %s: %w", what, key, b.name, err)
}

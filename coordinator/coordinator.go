package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"servidor-backup/bus"
	"servidor-backup/bus/kv"
	"servidor-backup/bus/replica"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/coordinator/internal/lease"
	"servidor-backup/coordinator/internal/session"
	"servidor-backup/coordinator/members"
	"servidor-backup/schemas"
)

// Options tune a coordinator; the zero value is right for production.
type Options struct {
	// Version of the program, shown by "nats micro info".
	Version string
	// Log takes what an administrator should know; nil discards it.
	Log *slog.Logger
	// Replicas is on how many servers of a NATS cluster the buckets are replicated;
	// default 3, or 1 as long as there are fewer servers.
	Replicas int
	// DownAfter is how long a node may send nothing until it is down; default 10 s.
	DownAfter time.Duration
	// Grace is how long a node may be down until it is gone, unless a policy says
	// otherwise; default 15 min.
	Grace time.Duration
	// SessionTTL is after how long a session that is not renewed lapses; default 2 min.
	SessionTTL time.Duration
	// CollectEvery is how often garbage is collected without a request; default 24 h, less
	// than 0 is never.
	CollectEvery time.Duration
	// ForgetGrace is how long ago a version must have been forgotten to be collected;
	// default 24 h.
	ForgetGrace time.Duration
	// BeginAnew goes on with a catalogue that knows less than the copies of one on the nodes.
	// Otherwise all requests of clients are refused until the catalogue is rebuilt.
	BeginAnew bool
	// LeaseTerm is how long a job stays undone after its coordinator has died; default 15 s.
	LeaseTerm time.Duration
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.DownAfter, 10*time.Second)
	setDefault(&o.Grace, 15*time.Minute)
	setDefault(&o.SessionTTL, 2*time.Minute)
	setDefault(&o.CollectEvery, 24*time.Hour)
	setDefault(&o.ForgetGrace, 24*time.Hour)
	setDefault(&o.LeaseTerm, 15*time.Second)
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// putTime is how long a node may leave a relayed put unacknowledged. It is a little less than
// the client waits, so that the answer says what happened.
const putTime = bus.RequestTimeout - 3*time.Second

// Coordinator is one running coordinator.
type Coordinator struct {
	nc       *nats.Conn
	opt      Options
	id       string
	service  *bus.Service
	buckets  buckets
	members  *members.Members
	catalog  *catalog.Catalog
	sessions *session.Store
	leases   *lease.Leases
	writer   *replica.Writer
	copies   *copies
	run      context.Context // until Stop
	stop     context.CancelFunc
	loops    sync.WaitGroup
}

// Start binds to the buckets, makes those that are missing, and serves. ctx bounds the start
// only. The connection stays the caller's.
func Start(ctx context.Context, nc *nats.Conn, opt Options) (*Coordinator, error) {
	opt.setDefaults()
	c := &Coordinator{nc: nc, opt: opt, id: nuid.Next()}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	c.run, c.stop = context.WithCancel(context.Background())
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	c.event(schemas.EventCoordinatorStarted, c.id, "", "a coordinator has started")
	return c, nil
}

// serviceName is the name of the coordinators' NATS micro service.
const serviceName = "backup-coordinator"

// buckets are all buckets of a coordinator.
type buckets struct{ catalogue, nodes, sessions, state, leases *kv.Bucket }

func (b *buckets) all() []*kv.Bucket {
	return []*kv.Bucket{b.catalogue, b.nodes, b.sessions, b.state, b.leases}
}

func openBuckets(ctx context.Context, nc *nats.Conn, opt *Options) (b buckets, err error) {
	for _, o := range []struct {
		bucket            **kv.Bucket
		name, description string
		ttl               time.Duration
	}{
		{&b.catalogue, "backup-catalogue", "records and versions", 0},
		{&b.nodes, "backup-nodes", "storage nodes' cards, and policies", 0},
		{&b.sessions, "backup-sessions", "open sessions", opt.SessionTTL},
		{&b.state, "backup-state", "collections", 0},
		{&b.leases, "backup-leases", "which coordinator does the jobs that one must do alone", 0},
	} {
		*o.bucket, err = kv.Open(ctx, nc, kv.Config{Name: o.name, Description: o.description, TTL: o.ttl, Replicas: opt.Replicas})
		if err != nil {
			return buckets{}, err
		}
	}
	return b, nil
}

func (c *Coordinator) open(ctx context.Context) (err error) {
	if c.buckets, err = openBuckets(ctx, c.nc, &c.opt); err != nil {
		return err
	}
	b := &c.buckets
	c.leases, c.sessions = lease.New(b.leases, c.opt.LeaseTerm), session.NewStore(b.sessions)
	c.catalog = catalog.New(c.nc, catalog.Buckets{Catalogue: b.catalogue, Policies: b.nodes, State: b.state}, c.leases, catalog.Options{
		PolicyPrefix: members.PolicyPrefix,
		Log:          c.opt.Log,
		Map:          func() *schemas.NodeMap { return c.members.Map() },
		Put:          c.put,
	})
	c.copies = newCopies(c)
	c.members = members.New(b.nodes, members.Options{
		Log:           c.opt.Log,
		DownAfter:     c.opt.DownAfter,
		Grace:         c.opt.Grace,
		Event:         c.event,
		PolicyWritten: c.catalog.QueueBackup,
		System:        c.catalog.SystemID,
	})
	return nil
}

func (c *Coordinator) start(ctx context.Context) (err error) {
	if c.writer, err = replica.NewWriter(c.nc, replica.WriterOptions{Unresponsive: putTime}); err != nil {
		return err
	}
	if err := c.members.Start(ctx, c.run, c.nc, &c.loops); err != nil {
		return err
	}
	c.loops.Go(c.spread)
	c.loops.Go(c.guard)
	c.loops.Go(c.copies.watch)
	c.service, err = bus.NewService(c.nc, bus.ServiceConfig{
		Name:        serviceName,
		Description: "brings clients and storage nodes together",
		Version:     c.opt.Version,
		Workers:     32,
	})
	if err != nil {
		return err
	}
	if err := c.serve(); err != nil {
		return err
	}
	c.loops.Go(func() { c.catalog.RunBackup(c.run) })
	if c.opt.CollectEvery > 0 {
		c.loops.Go(c.scheduleCollections)
	}
	return c.service.Ready(ctx)
}

func (c *Coordinator) serve() error {
	return errors.Join(
		bus.Handle(c.service, "transmit", schemas.SubjectTransmit, c.transmit),
		bus.Handle(c.service, "list", schemas.SubjectList, c.list),
		bus.Handle(c.service, "download", schemas.SubjectDownload, c.download),
		bus.Handle(c.service, "nodes", schemas.SubjectNodes, c.members.Serve),
		bus.Handle(c.service, "session-open", schemas.SubjectSessionOpen, c.openSession),
		bus.Handle(c.service, "session-renew", schemas.SubjectSessionRenew, c.renewSession),
		bus.Handle(c.service, "session-commit", schemas.SubjectSessionCommit, c.commitSession),
		bus.Handle(c.service, "register", schemas.SubjectRegister, c.members.Register),
		bus.Handle(c.service, "rebuild", schemas.SubjectRebuild, c.rebuild),
		bus.Handle(c.service, "status", schemas.SubjectStatus, c.status),
		bus.Handle(c.service, "gc", schemas.SubjectCollect, c.collect),
		bus.Handle(c.service, "forget", schemas.SubjectForget, c.forget),
		bus.Handle(c.service, "doubt", schemas.SubjectDoubt, c.doubt),
		bus.Handle(c.service, "policy", schemas.SubjectPolicy, c.policy),
		bus.Handle(c.service, "nicknames", schemas.SubjectNicknames, c.nicknames),
		bus.Handle(c.service, "node-state", schemas.SubjectNodeState, c.members.SetState),
	)
}

// spreadRetryMin and spreadRetryMax are the shortest and the longest time before spread tries
// again. The leader of a new cluster knows all servers within a second or two.
const (
	spreadRetryMin = 100 * time.Millisecond
	spreadRetryMax = 5 * time.Second
)

// spread makes the buckets be replicated on as many servers as they should be: the cluster may
// have been smaller when they were made.
func (c *Coordinator) spread() {
	for pause, logged := spreadRetryMin, ""; ; pause = min(2*pause, spreadRetryMax) {
		var errs []error
		for _, b := range c.buckets.all() {
			errs = append(errs, b.EnsureReplicas(c.run, c.opt.Replicas))
		}
		err := errors.Join(errs...)
		if err == nil || c.run.Err() != nil {
			return
		}
		if err.Error() != logged {
			logged = err.Error()
			c.opt.Log.Warn("the buckets are replicated on fewer servers than they should be", "error", err)
		}
		select {
		case <-c.run.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Stop ends the coordinator after the requests under way. The connection stays open.
func (c *Coordinator) Stop() error {
	var err error
	if c.service != nil {
		err = c.service.Stop()
	}
	c.stop()
	c.loops.Wait()
	if c.writer != nil {
		c.writer.Close()
	}
	return err
}

// event publishes an event. An event is news, not a promise: it may be lost on the way.
func (c *Coordinator) event(kind, subject, owner, text string, args ...any) {
	e := schemas.Event{Kind: kind, Time: time.Now().UnixNano(), Subject: subject, Owner: owner, Text: fmt.Sprintf(text, args...)}
	c.opt.Log.Info(e.Text, "event", kind, "subject", subject)
	if b, err := schemas.Marshal(&e); err == nil {
		_ = c.nc.Publish(schemas.EventSubject(kind), b)
	}
}

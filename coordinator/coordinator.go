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
	"servidor-backup/schemas"
)

// Options tune a coordinator; the zero value is right for production.
type Options struct {
	// Version of the program, shown by "nats micro info".
	Version string
	// Log takes what an operator should know; nil discards it.
	Log *slog.Logger
	// Replicas is how many servers of a NATS cluster keep the catalogue; default 3,
	// or 1 as long as there are fewer.
	Replicas int
	// Silence is after how long a node that says nothing is down; default 10 s.
	Silence time.Duration
	// Grace is for how long a node may be down until it is not expected back, unless
	// a policy says otherwise; default 15 min.
	Grace time.Duration
	// SessionTTL is after how long a session that is not renewed lapses;
	// default 2 min.
	SessionTTL time.Duration
	// CollectEvery is how often a collection begins by itself; default 24 h, less
	// than 0 is never.
	CollectEvery time.Duration
	// ForgetGrace is how long ago a version must have been forgotten to be collected;
	// default 24 h.
	ForgetGrace time.Duration
	// LeaseTerm is for how long a job of a coordinator that has died stays undone;
	// default 15 s.
	LeaseTerm time.Duration
}

// putTime is how long a node may leave a relayed put unacknowledged: a little
// less than the one who asked waits, so that the answer says what happened.
const putTime = bus.RequestTimeout - 3*time.Second

// Coordinator is one running coordinator.
type Coordinator struct {
	nc       *nats.Conn
	opt      Options
	id       string
	service  *bus.Service
	members  *members
	records  *records
	sessions *kv.Bucket
	state    *state
	leases   *leases
	buckets  []*kv.Bucket // all of them
	sender   *replica.Writer
	run      context.Context // until Stop
	stop     context.CancelFunc
	loops    sync.WaitGroup

	written       chan string // keys that are to be copied
	lookForCopies chan struct{}
}

// Start binds to the buckets, making those that are missing, and serves. ctx
// bounds the start only.
func Start(ctx context.Context, nc *nats.Conn, opt Options) (*Coordinator, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Silence == 0 {
		opt.Silence = 10 * time.Second
	}
	if opt.Grace == 0 {
		opt.Grace = 15 * time.Minute
	}
	if opt.SessionTTL == 0 {
		opt.SessionTTL = 2 * time.Minute
	}
	if opt.CollectEvery == 0 {
		opt.CollectEvery = 24 * time.Hour
	}
	if opt.ForgetGrace == 0 {
		opt.ForgetGrace = 24 * time.Hour
	}
	if opt.LeaseTerm == 0 {
		opt.LeaseTerm = 15 * time.Second
	}
	c := &Coordinator{nc: nc, opt: opt, id: nuid.Next(),
		written: make(chan string, copyQueue), lookForCopies: make(chan struct{}, 1)}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	c.run, c.stop = run, stop
	if err := c.start(ctx, run); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	c.event(schemas.EventCoordinatorStarted, c.id, "", "a coordinator has started")
	return c, nil
}

func (c *Coordinator) open(ctx context.Context) error {
	bucket := func(name, what string, ttl time.Duration) (*kv.Bucket, error) {
		return kv.Open(ctx, c.nc, kv.Config{Name: name, Description: what, TTL: ttl, Replicas: c.opt.Replicas})
	}
	catalogue, err := bucket("backup-catalogue", "records and versions", 0)
	if err != nil {
		return err
	}
	nodes, err := bucket("backup-nodes", "storage nodes' cards, and policies", 0)
	if err != nil {
		return err
	}
	if c.sessions, err = bucket("backup-sessions", "open sessions", c.opt.SessionTTL); err != nil {
		return err
	}
	known, err := bucket("backup-state", "collections", 0)
	if err != nil {
		return err
	}
	held, err := bucket("backup-leases", "who does the jobs that one must do alone", 0)
	if err != nil {
		return err
	}
	c.leases = &leases{kv: held, term: c.opt.LeaseTerm, seen: map[string]sighting{}}
	c.records, c.state = &records{kv: catalogue, wrote: c.wrote}, &state{kv: known}
	c.members = newMembers(nodes, c.opt, c.event, c.wrote)
	c.buckets = []*kv.Bucket{catalogue, nodes, c.sessions, known, held}
	return nil
}

func (c *Coordinator) start(ctx, run context.Context) (err error) {
	if c.sender, err = replica.NewWriter(c.nc, replica.WriterOptions{Unresponsive: putTime}); err != nil {
		return err
	}
	if err := c.members.start(ctx, run, c.nc, &c.loops); err != nil {
		return err
	}
	c.loops.Go(func() { c.spread(run) })
	c.loops.Go(func() { c.guard(run) })
	c.service, err = bus.NewService(c.nc, bus.ServiceConfig{
		Name:        "backup-coordinator",
		Description: "brings clients and storage nodes together",
		Version:     c.opt.Version,
		Workers:     32,
	})
	if err != nil {
		return err
	}
	err = errors.Join(
		bus.Handle(c.service, "transmit", schemas.SubjectTransmit, c.transmit),
		bus.Handle(c.service, "list", schemas.SubjectList, c.list),
		bus.Handle(c.service, "download", schemas.SubjectDownload, c.download),
		bus.Handle(c.service, "nodes", schemas.SubjectNodes, c.nodes),
		bus.Handle(c.service, "session-open", schemas.SubjectSessionOpen, c.openSession),
		bus.Handle(c.service, "session-renew", schemas.SubjectSessionRenew, c.renewSession),
		bus.Handle(c.service, "session-commit", schemas.SubjectSessionCommit, c.commitSession),
		bus.Handle(c.service, "register", schemas.SubjectRegister, c.members.register),
		bus.Handle(c.service, "rebuild", schemas.SubjectRebuild, c.rebuild),
		bus.Handle(c.service, "status", schemas.SubjectStatus, c.status),
		bus.Handle(c.service, "gc", schemas.SubjectCollect, c.collect),
		bus.Handle(c.service, "forget", schemas.SubjectForget, c.forget),
		bus.Handle(c.service, "policy", schemas.SubjectPolicy, c.setPolicy),
		bus.Handle(c.service, "node-state", schemas.SubjectNodeState, c.members.nodeState),
	)
	if err != nil {
		return err
	}
	c.loops.Go(c.keepCopies)
	if c.opt.CollectEvery > 0 {
		c.loops.Go(c.collectByItself)
	}
	return c.service.Ready(ctx)
}

// spreadTime lies between two attempts to keep the buckets on more servers.
const spreadTime = 5 * time.Second

// spread sees to it that the buckets are kept by as many servers as they shall be:
// a cluster may have been smaller when they were made.
func (c *Coordinator) spread(run context.Context) {
	for said := ""; ; {
		var errs []error
		for _, b := range c.buckets {
			errs = append(errs, b.EnsureReplicas(run, c.opt.Replicas))
		}
		err := errors.Join(errs...)
		if err == nil || run.Err() != nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			c.opt.Log.Warn("the catalogue is kept by fewer servers than it shall be", "error", err)
		}
		select {
		case <-run.Done():
			return
		case <-time.After(spreadTime):
		}
	}
}

// Stop ends the coordinator after the requests under way. The connection stays
// open; it is the caller's.
func (c *Coordinator) Stop() error {
	var err error
	if c.service != nil {
		err = c.service.Stop()
	}
	c.stop()
	c.loops.Wait()
	if c.sender != nil {
		c.sender.Close()
	}
	return err
}

// nodes answers backup.nodes.
func (c *Coordinator) nodes(context.Context, *schemas.NodesRequest) (any, error) {
	return &schemas.NodesReply{Reply: schemas.OK, Map: c.members.nodeMap()}, nil
}

// event tells the world. Events are news, not promises: one that is lost on the
// way is lost.
func (c *Coordinator) event(kind, subject, owner, text string, args ...any) {
	e := schemas.Event{Kind: kind, Time: time.Now().UnixNano(), Subject: subject, Owner: owner, Text: fmt.Sprintf(text, args...)}
	c.opt.Log.Info(e.Text, "event", kind, "subject", subject)
	if b, err := schemas.Marshal(&e); err == nil {
		_ = c.nc.Publish(schemas.EventSubject(kind), b)
	}
}

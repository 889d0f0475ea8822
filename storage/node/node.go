// Package node serves a [storage.Store] on the bus: it registers with the coordinators,
// accepts puts under its own flow control, answers which chunks it holds and what is in them,
// and takes part in collections. Package heal moves, replaces and drops what the store holds;
// a scrubber reads it back in the background.
//
// # The order of a put
//
//  1. The message arrives. Its shape, and the checksum of each chunk, are checked.
//  2. The store appends the chunks, together with those of other messages that are waiting,
//     and syncs.
//  3. Only then is the message acknowledged, with the sender's window for further messages.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/heal"
)

// Options describe a node; the zero value works.
type Options struct {
	// Name is the node's name for people; default: its id.
	Name string
	// Zone is where the node stands; the parts of a chunk are spread over zones.
	Zone string
	// Weight is the node's share of new data, relative to other nodes; default: the GiB of
	// its file system.
	Weight uint32
	// Version is the version of the program.
	Version string
	// Host is the name of the host, for the message to a process that wants to serve the same node.
	Host string
	// Budget bounds the unacknowledged bytes of all senders together; default 32 MiB. That
	// keeps a disk busy, and stays under the 64 MiB at which NATS closes a connection.
	Budget int64
	// HealRate bounds the parts that healing makes and moves, in bytes per second. 0 is no
	// bound other than the windows, in which healing is one sender among others.
	HealRate int64
	// ScrubPeriod is the time in which everything is read back once; default 30 days.
	ScrubPeriod time.Duration
	// Survey is the time between a survey and the next one, if nothing happens; default
	// 10 min.
	Survey time.Duration
	// Settle is how long changes that may be under way are left alone: the time from a
	// change of the map to the survey, and the time that a part must be missing before it is
	// healed; default 2 s.
	Settle time.Duration
	// Log takes what an administrator should know; nil discards it.
	Log *slog.Logger
	// Status is told what the node waits for, and "" when it goes on.
	Status func(s schemas.Sentence)
}

// Node is one running storage node.
type Node struct {
	nc        *nats.Conn
	store     *storage.Store
	id        schemas.NodeID
	opt       Options
	service   *bus.Service
	windows   *windows
	putBudget *semaphore.Weighted // bytes of puts between their arrival and the acknowledgement
	run       context.Context     // ends with Stop
	stop      context.CancelFunc
	loops     sync.WaitGroup
	puts      sync.WaitGroup
	unfollow  func()
	healer    *heal.Healer
	scrubber  *scrubber
	sweeper   sweeper
	// damageTold is when the last event about damage was published, Unix ns.
	damageTold atomic.Int64
	// damaged says whether the last card told of damage, and news wakes the one who sends cards.
	damaged atomic.Bool
	news    wakeup
	// heartbeat is how often the card is published, as the coordinator decides.
	heartbeat time.Duration
	// started and cards order the node's cards: see schemas.RegisterRequest.
	started int64
	cards   uint64
	folder  storage.Run // this run of the store
	claim   *claim
}

// Start serves store on nc and registers. It returns when the node serves and has
// registered, or ctx ends; it waits for a coordinator that is missing. If another process serves
// the node, the error is a [RunningError]. The store and the connection stay the caller's.
func Start(ctx context.Context, nc *nats.Conn, store *storage.Store, opt Options) (*Node, error) {
	n := &Node{nc: nc, store: store, id: store.NodeID(), opt: opt, news: newWakeup(), claim: newClaim(nc, store.NodeID(), opt.Host)}
	n.started = n.claim.began
	n.setDefaults()
	n.windows = newWindows(n.opt.Budget)
	n.putBudget = semaphore.NewWeighted(2 * n.opt.Budget)
	n.scrubber = newScrubber(n)
	n.run, n.stop = context.WithCancel(context.Background())
	err := n.claim.make(ctx)
	if err == nil {
		err = n.serve()
	}
	if err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	n.loops.Go(func() {
		select {
		case <-n.claim.lost:
			n.stop() // no put is taken any more
		case <-n.run.Done():
		}
	})
	registered := make(chan struct{})
	n.loops.Go(func() { n.keepRegistered(n.run, registered) })
	n.loops.Go(func() { n.healer.Run(n.run) })
	n.loops.Go(func() { n.scrubber.loop(n.run) })
	select {
	case <-registered:
		return n, nil
	case <-n.claim.lost:
		return nil, errors.Join(n.claim.by, n.Stop())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), n.Stop())
	}
}

func (n *Node) setDefaults() {
	if n.opt.Name == "" {
		n.opt.Name = string(n.id)
	}
	if n.opt.Weight == 0 {
		n.opt.Weight = uint32(min(max(n.store.Stats().DiskTotal>>30, 1), 1<<20))
	}
	if n.opt.Budget == 0 {
		n.opt.Budget = 32 << 20
	}
	if n.opt.ScrubPeriod == 0 {
		n.opt.ScrubPeriod = 30 * 24 * time.Hour
	}
	if n.opt.Survey == 0 {
		n.opt.Survey = 10 * time.Minute
	}
	if n.opt.Settle == 0 {
		n.opt.Settle = 2 * time.Second
	}
	if n.opt.Log == nil {
		n.opt.Log = slog.New(slog.DiscardHandler)
	}
	if n.opt.Status == nil {
		n.opt.Status = func(schemas.Sentence) {}
	}
}

func (n *Node) serve() (err error) {
	id := n.id
	n.healer, err = heal.New(n.nc, n.store, heal.Options{
		Name: n.opt.Name, Rate: n.opt.HealRate, Survey: n.opt.Survey, Settle: n.opt.Settle,
		Log: n.opt.Log, Event: n.event,
	})
	if err != nil {
		return err
	}
	if n.unfollow, err = replica.WatchMap(n.nc, n.healer.SetMap); err != nil {
		return err
	}
	n.service, err = bus.NewService(n.nc, bus.ServiceConfig{
		Name:        "backup-storage",
		Description: "stores chunks",
		Version:     n.opt.Version,
		Metadata:    map[string]string{"node": string(id), "name": n.opt.Name, "zone": n.opt.Zone},
	})
	if err != nil {
		return err
	}
	for i, subject := range schemas.PutSubscriptions(id) {
		// Twice the budget: senders that begin send one message each in addition to the
		// windows that were given out before.
		if err := n.service.HandleStream(fmt.Sprintf("put-%d", i), subject, false, int(2*n.opt.Budget), n.put); err != nil {
			return err
		}
	}
	return errors.Join(
		n.service.HandleBytes("have", schemas.HaveSubject(id), n.have),
		n.service.HandleBytes("get", schemas.GetSubject(id), n.get),
		n.service.HandleBytes("edges", schemas.EdgesSubject(id), n.edges),
		bus.Handle(n.service, "generation", schemas.GenerationSubject(id), n.generation),
		bus.Handle(n.service, "mark", schemas.MarkSubject(id), n.mark),
		bus.Handle(n.service, "sweep", schemas.SweepSubject(id), n.sweep),
		bus.Handle(n.service, "status", schemas.StatusSubject(id), n.status),
		bus.Handle(n.service, "scrub", schemas.ScrubSubject(id), n.scrub),
		bus.Handle(n.service, "chunks", schemas.ChunksSubject(id), n.chunks),
		bus.Handle(n.service, "void", schemas.VoidSubject(id), n.void),
	)
}

// Stop ends what is under way, publishes that the node leaves, and returns when nothing of
// the node runs any more.
func (n *Node) Stop() error {
	n.stop()
	if n.unfollow != nil {
		n.unfollow()
	}
	if n.healer != nil {
		n.healer.Close()
	}
	n.loops.Wait()
	// A process that has not registered, or ends for the sake of another one, is not the node.
	if n.claim.since.Load() > 0 && n.Err() == nil {
		n.publishCard(schemas.Down)
	}
	var err error
	if n.service != nil {
		err = n.service.Stop()
	}
	n.puts.Wait()
	n.claim.end()
	return err
}

// Failed is closed when the node cannot go on; [Node.Err] says why. The caller stops it then.
func (n *Node) Failed() <-chan struct{} { return n.claim.lost }

// Err is why the node cannot go on: a [RunningError]; nil if it can.
func (n *Node) Err() error {
	if n.claim.isLost() {
		return n.claim.by
	}
	return nil
}

// status answers what the node is, holds and does.
func (n *Node) status(context.Context, *schemas.StatusRequest) (any, error) {
	return &schemas.NodeStatusReply{Reply: schemas.OK, Status: schemas.NodeStatus{
		Node: n.card(schemas.Up), Epoch: n.healer.View().Epoch(),
		Survey: n.healer.Status(), Scrub: n.scrubber.status(), Sweep: n.sweeper.status(),
	}}, nil
}

// event publishes and logs an event about this node.
func (n *Node) event(kind, format string, args ...any) {
	e := schemas.Event{Kind: kind, Time: time.Now().UnixNano(), Subject: string(n.id), Text: fmt.Sprintf(format, args...)}
	n.opt.Log.Info(e.Text, "event", kind)
	if b, err := schemas.Marshal(&e); err == nil {
		_ = n.nc.Publish(schemas.EventSubject(kind), b)
	}
}

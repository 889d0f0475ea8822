// Package node serves a [storage.Store] on the bus: it registers with the
// coordinators, takes puts under its own flow control, and answers what it
// holds.
//
// # The order of a put
//
//  1. the message arrives; its shape, and each chunk's checksum, are checked;
//  2. the store appends the chunks, together with those of other messages that
//     are waiting, and syncs;
//  3. only then is the message acknowledged, with the window for what may follow.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// Options describe a node; the zero value works.
type Options struct {
	// Name is what people call the node; default: its id.
	Name string
	// Zone is where it stands; copies are spread over zones.
	Zone string
	// Weight is its share of new data, relative to other nodes; default: the
	// GiB of its file system.
	Weight uint32
	// Version of the program.
	Version string
	// Budget bounds the unacknowledged bytes of all sessions together; default
	// 32 MiB: enough to keep a disk busy, little enough to stay under the 64
	// MiB at which NATS cuts a connection off.
	Budget int64
	// HealRate bounds what healing makes and moves, in bytes per second; 0 does not,
	// and leaves it to the windows, in which healing is one session among others.
	HealRate int64
	// ScrubPeriod is how long it takes to read everything back once; default 30 days.
	ScrubPeriod time.Duration
	// Survey is how long after a survey the next one begins if nothing happens;
	// default 10 min.
	Survey time.Duration
	// Settle is for how long things are left alone that may be just happening: how
	// long after a change of the map a survey begins, and how long what is incomplete
	// must be so until it is healed. Default 2 s.
	Settle time.Duration
	// Log takes what an operator should know; nil discards it.
	Log *slog.Logger
	// Status is told what the node waits for, and "" when it goes on.
	Status func(text string)
}

// Node is one running storage node.
type Node struct {
	nc       *nats.Conn
	store    *storage.Store
	id       schemas.NodeID
	opt      Options
	service  *bus.Service
	windows  *windows
	room     *semaphore.Weighted // bytes of puts between their arrival and the acknowledgement
	run      context.Context     // until Stop
	stop     context.CancelFunc
	loops    sync.WaitGroup
	puts     sync.WaitGroup
	unfollow func()
	view     atomic.Pointer[view]
	keeper   *keeper
	scrubber *scrubber
	sweeper  sweeper
	told     atomic.Int64 // when of damage, Unix ns
	// heartbeat is how often to publish the card; the coordinator decides.
	heartbeat time.Duration
}

// Start serves store on nc and registers. It returns when the node serves and
// has registered, or ctx ends; a missing coordinator is waited for. The store
// and the connection stay the caller's.
func Start(ctx context.Context, nc *nats.Conn, store *storage.Store, opt Options) (*Node, error) {
	n := &Node{nc: nc, store: store, id: store.NodeID(), opt: opt}
	n.setDefaults()
	n.windows = newWindows(n.opt.Budget)
	n.room = semaphore.NewWeighted(2 * n.opt.Budget)
	n.scrubber = newScrubber(n)
	n.run, n.stop = context.WithCancel(context.Background())
	if err := n.serve(); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	first := make(chan struct{})
	n.loops.Go(func() { n.keepRegistered(n.run, first) })
	n.loops.Go(func() { n.keeper.loop(n.run) })
	n.loops.Go(func() { n.scrubber.loop(n.run) })
	select {
	case <-first:
		return n, nil
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
		n.opt.Status = func(string) {}
	}
}

func (n *Node) serve() (err error) {
	id := n.id
	if n.keeper, err = newKeeper(n); err != nil {
		return err
	}
	if n.unfollow, err = replica.WatchMap(n.nc, n.follow); err != nil {
		return err
	}
	n.service, err = bus.NewService(n.nc, bus.ServiceConfig{
		Name:        "backup-storage",
		Description: "keeps chunks",
		Version:     n.opt.Version,
		Metadata:    map[string]string{"node": string(id), "name": n.opt.Name, "zone": n.opt.Zone},
	})
	if err != nil {
		return err
	}
	for i, subject := range schemas.PutSubscriptions(id) {
		// Twice the budget: sessions that begin have one message each on top
		// of the windows that were given out before.
		if err := n.service.HandleStream(fmt.Sprintf("put-%d", i), subject, false, int(2*n.opt.Budget), n.put); err != nil {
			return err
		}
	}
	return errors.Join(
		n.service.HandleBytes("have", schemas.HaveSubject(id), n.have),
		n.service.HandleBytes("get", schemas.GetSubject(id), n.get),
		n.service.HandleBytes("edges", schemas.EdgesSubject(id), n.edges),
		n.serveKeeping(),
	)
}

// Stop says that the node leaves, ends what is under way and returns.
func (n *Node) Stop() error {
	n.stop()
	if n.unfollow != nil {
		n.unfollow()
	}
	if n.keeper != nil {
		n.keeper.close()
	}
	n.loops.Wait()
	n.publishCard(schemas.Down)
	var err error
	if n.service != nil {
		err = n.service.Stop()
	}
	n.puts.Wait()
	return err
}

// put handles one put message. The store commits in groups, so messages are
// handed to it side by side; how many there can be is bounded by the windows.
func (n *Node) put(m *bus.Message) {
	req, err := schemas.DecodePut(m.Data)
	if err != nil {
		n.acknowledge(m, "", err)
		return
	}
	// Windows bound what clients send; this bounds what anybody can make the
	// node hold. While it is full, messages wait in the connection.
	size := min(int64(len(m.Data)), 2*n.opt.Budget)
	if n.room.Acquire(n.run, size) != nil {
		n.acknowledge(m, req.Session, schemas.Errorf(schemas.NodeClosed, "node %s is shutting down; ask another one", n.id))
		return
	}
	n.puts.Go(func() {
		defer n.room.Release(size)
		n.acknowledge(m, req.Session, n.store.Put(context.Background(), req.Vault, req.Chunks))
		if strings.HasPrefix(req.Session, healSession) {
			n.keeper.brought()
		}
	})
}

func (n *Node) acknowledge(m *bus.Message, session string, err error) {
	rep := schemas.PutReply{Reply: schemas.OK, Node: n.id, Window: n.windows.of(session, time.Now())}
	if err != nil {
		err = storageError(err)
		rep.Reply = schemas.Fail(err)
		n.opt.Log.Warn("a put was refused", "session", session, "error", err)
	}
	m.Answer(&rep, err)
}

// storageError gives an error of the disk, which has no code, the seed's status
// for a storage node.
func storageError(err error) error {
	if schemas.CodeOf(err) != "" {
		return err
	}
	return schemas.Errorf(schemas.DiskFailed, "%v", err)
}

// get answers with chunks, edges with their clear edges alone.
func (n *Node) get(_ context.Context, b, to []byte) ([]byte, error)   { return n.read(b, to, false) }
func (n *Node) edges(_ context.Context, b, to []byte) ([]byte, error) { return n.read(b, to, true) }

// failedRoom is more than one entry of a reply's list of failures takes: a
// message of at most 300 bytes and its envelope.
const failedRoom = 512

func (n *Node) read(b, to []byte, edges bool) ([]byte, error) {
	req, err := decodeIDs(b)
	if err != nil {
		return nil, err
	}
	rep := schemas.NewChunks(slices.Grow(to, schemas.MaxBatch))
	var failed []schemas.Failed
	err = n.store.ReadAll(req.Vault, req.IDs, edges, func(i int, c *storage.Found, err error) bool {
		// What has no room is left to the asker to ask again for.
		taken := rep.Size() + len(failed)*failedRoom
		if err == nil {
			size := c.Size() + c.Len
			if !rep.HasRoom(size) || len(failed) > 0 && taken+size+failedRoom > schemas.MaxBatch {
				return false
			}
			if err = rep.AddFrom(&c.Chunk, c.Len, c.Read); err == nil {
				return true
			}
		}
		if taken+failedRoom > schemas.MaxBatch {
			return false
		}
		err = storageError(err)
		failed = append(failed, schemas.Failed{ID: req.IDs[i], Code: schemas.CodeOf(err), Message: shorten(err.Error())})
		if code := schemas.CodeOf(err); code != schemas.NotHeld {
			n.damaged(code)
			n.opt.Log.Error("a chunk could not be read", "chunk", req.IDs[i], "vault", req.Vault, "error", err)
		}
		return true
	})
	if err != nil {
		return nil, storageError(err)
	}
	return rep.Reply(failed), nil
}

func shorten(s string) string { return s[:min(len(s), 300)] }

func decodeIDs(b []byte) (*schemas.IDsRequest, error) {
	req, err := schemas.DecodeIDs(b)
	switch {
	case err != nil:
		return nil, err
	case len(req.IDs) == 0:
		return nil, schemas.Errorf(schemas.BadRequest, "the request names no chunk (id_arquivo is empty or missing)")
	case len(req.IDs) > replica.MaxIDs:
		return nil, schemas.Errorf(schemas.BadRequest, "the request names %d chunks, at most %d are allowed", len(req.IDs), replica.MaxIDs)
	}
	return req, nil
}

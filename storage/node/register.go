package node

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

const (
	// retryRegister is the pause after a registration that failed.
	retryRegister = 500 * time.Millisecond
	// registerTimeout bounds one registration.
	registerTimeout = 5 * time.Second
	// minHeartbeat is the least time between two cards, whatever a coordinator says.
	minHeartbeat = 100 * time.Millisecond
)

// keepRegistered registers at once, and again when the connection is restored or a
// coordinator has started; in between it publishes the card. first is closed after the first
// success.
func (n *Node) keepRegistered(run context.Context, first chan struct{}) {
	started := newWakeup() // a coordinator has
	if sub, err := n.nc.Subscribe(schemas.SubjectCoordinator, func(*nats.Msg) { started.send() }); err == nil {
		defer func() { _ = sub.Unsubscribe() }()
	}
	connected := n.nc.StatusChanged(nats.CONNECTED)
	defer n.nc.RemoveStatusListener(connected)
	n.beginRun()
	next := time.NewTimer(0)
	defer next.Stop()
	registered := false
	for {
		select {
		case <-run.Done():
			return
		case <-connected:
			registered = false
		case <-started:
			registered = false
		case <-n.claim.again:
			registered = false
		case <-n.news:
		case <-next.C:
		}
		wait := n.heartbeat
		if registered {
			n.publishCard(schemas.Up)
		} else if heartbeat, epoch, err := n.register(run); err != nil {
			n.opt.Status(registerStatus(err))
			wait = retryRegister
		} else {
			registered, wait = true, heartbeat
			n.heartbeat = heartbeat
			n.claim.registered(n.started)
			n.opt.Status(schemas.Sentence{})
			if first != nil {
				close(first)
				first = nil
			}
			n.healer.FetchMap(run, epoch)
		}
		if registered {
			n.claim.announce()
		}
		next.Reset(wait)
	}
}

// registerStatus says what a node waits for whose registration failed with err.
func registerStatus(err error) schemas.Sentence {
	if errors.Is(err, bus.ErrNoResponders) {
		return schemas.Say("waiting-to-register", "waiting for a coordinator to register with")
	}
	var known *schemas.Error
	if errors.As(err, &known) && known.Reason != "" {
		return schemas.Sentence{Text: known.Message, Reason: known.Reason, Values: known.Values}
	}
	return schemas.Say("not-registered", "waiting to register: {cause}", "cause", err)
}

// register introduces the node, and returns how often to publish its card, and the epoch of
// the node map.
func (n *Node) register(ctx context.Context) (heartbeat time.Duration, epoch uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	var rep schemas.RegisterReply
	err = bus.Request(ctx, n.nc, schemas.SubjectRegister, n.cardMessage(schemas.Up), &rep)
	// A coordinator that knows a later start refuses the card: the clock was set back since an
	// earlier process of this node started.
	n.started = max(n.started, rep.Started+1)
	if rep.Older {
		n.opt.Log.Warn("this folder is an older state of the node's folder: what the node held later is lost, and the next backups save it again")
	}
	return max(time.Duration(rep.Heartbeat), minHeartbeat), rep.Epoch, err
}

// publishCard publishes the heartbeat. One that is lost does not matter, as another follows.
func (n *Node) publishCard(state schemas.State) {
	b, err := schemas.Marshal(n.cardMessage(state))
	if err == nil {
		_ = n.nc.Publish(schemas.SubjectAlive, b)
		_ = n.nc.FlushTimeout(time.Second)
	}
}

// cardMessage is the node's card with its position in the order of all cards of the
// node. It must not be called from two goroutines at once.
func (n *Node) cardMessage(state schemas.State) *schemas.RegisterRequest {
	n.cards++
	return &schemas.RegisterRequest{
		Protocol: schemas.ProtocolVersion, Node: n.card(state), Started: n.started, Seq: n.cards,
		Run: n.folder.ID, Before: n.folder.Before, Position: n.store.Position(),
	}
}

// beginRun begins a run of the store, before the node registers: once the coordinators know a run,
// the folder must know it too, or it looks like an older state of itself. A folder that cannot be
// written does not change, so it goes on as the run before.
func (n *Node) beginRun() {
	var err error
	if n.folder, err = n.store.BeginRun(); err != nil {
		n.opt.Log.Info("the start of the node could not be noted in its folder", "error", err)
	}
}

// card describes the node as it is now.
func (n *Node) card(state schemas.State) schemas.Node {
	s := n.store.Stats()
	card := schemas.Node{
		ID: n.id, Name: n.opt.Name, Zone: n.opt.Zone, Weight: n.opt.Weight, State: state,
		Version: n.opt.Version, Capacity: int64(s.DiskTotal), Free: int64(s.DiskFree), Chunks: s.Chunks, Bytes: s.Bytes,
		Damaged: s.Corrupt + s.Damaged + s.Lost,
	}
	n.damaged.Store(card.Damaged > 0)
	switch {
	case s.Failed != nil:
		card.Trouble = string(schemas.DiskFailed)
	case s.Full:
		card.Trouble = string(schemas.DiskFull)
	}
	return card
}

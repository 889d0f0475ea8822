package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// retryRegister is how long to wait after a registration that failed.
const retryRegister = 500 * time.Millisecond

// keepRegistered registers at once, again whenever the connection or a
// coordinator has come back, and publishes the card in between. first is closed
// after the first success.
func (n *Node) keepRegistered(run context.Context, first chan struct{}) {
	again := make(chan struct{}, 1)
	wake := func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	if sub, err := n.nc.Subscribe(schemas.SubjectCoordinator, func(*nats.Msg) { wake() }); err == nil {
		defer func() { _ = sub.Unsubscribe() }()
	}
	connected := n.nc.StatusChanged(nats.CONNECTED)
	defer n.nc.RemoveStatusListener(connected)
	next := time.NewTimer(0)
	defer next.Stop()
	registered := false
	for {
		select {
		case <-run.Done():
			return
		case <-connected:
			registered = false
		case <-again:
			registered = false
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
			n.opt.Status("")
			if first != nil {
				close(first)
				first = nil
			}
			n.askMap(run, epoch)
		}
		next.Reset(wait)
	}
}

func registerStatus(err error) string {
	if errors.Is(err, bus.ErrNoResponders) {
		return "waiting for a coordinator to register with"
	}
	return fmt.Sprintf("waiting to register: %v", err)
}

// register introduces the node and returns how often to publish its card, and the
// map's epoch.
func (n *Node) register(ctx context.Context) (heartbeat time.Duration, epoch uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var rep schemas.RegisterReply
	err = bus.Request(ctx, n.nc, schemas.SubjectRegister, &schemas.RegisterRequest{
		Protocol: schemas.ProtocolVersion, Node: n.card(schemas.Up),
	}, &rep)
	return max(time.Duration(rep.Heartbeat), 100*time.Millisecond), rep.Epoch, err
}

// publishCard is the heartbeat; one that is lost is made good by the next.
func (n *Node) publishCard(state schemas.State) {
	b, err := schemas.Marshal(&schemas.RegisterRequest{Protocol: schemas.ProtocolVersion, Node: n.card(state)})
	if err == nil {
		_ = n.nc.Publish(schemas.SubjectAlive, b)
		_ = n.nc.FlushTimeout(time.Second)
	}
}

func (n *Node) card(state schemas.State) schemas.Node {
	s := n.store.Stats()
	card := schemas.Node{
		ID: n.id, Name: n.opt.Name, Zone: n.opt.Zone, Weight: n.opt.Weight, State: state,
		Version: n.opt.Version, Capacity: int64(s.DiskTotal), Free: int64(s.DiskFree), Chunks: s.Chunks, Bytes: s.Bytes,
		Damaged: s.Corrupt + s.Damaged,
	}
	switch {
	case s.Failed != nil:
		card.Trouble = string(schemas.DiskFailed)
	case s.Full:
		card.Trouble = string(schemas.DiskFull)
	}
	return card
}

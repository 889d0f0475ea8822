package replica

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// resendLoop sends messages again that seem to be lost, and gives up nodes that do not
// respond.
func (w *Writer) resendLoop(ctx context.Context) {
	reconnected := w.nc.StatusChanged(nats.CONNECTED)
	defer w.nc.RemoveStatusListener(reconnected)
	tick := time.NewTicker(min(w.opt.Resend/4, 250*time.Millisecond))
	defer tick.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-reconnected:
			all = true
		case <-tick.C:
		}
		for _, m := range w.dueForResend(all, time.Now()) {
			w.publish(m)
		}
	}
}

// dueForResend gives up unresponsive nodes and returns the messages to send again, in the
// order of their numbers; after a reconnect these are all messages. While the connection is
// lost nothing is due: the connection reports what it waits for, and the caller's context
// ends the wait.
func (w *Writer) dueForResend(reconnected bool, now time.Time) []*message {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.nc.IsClosed():
		w.fail(fmt.Errorf("send to storage nodes: %w", nats.ErrConnectionClosed))
		return nil
	case !w.nc.IsConnected():
		w.wasDisconnected = true
		return nil
	}
	all := reconnected || w.wasDisconnected
	w.wasDisconnected = false
	if all {
		w.resetTimers(now)
	}
	var again []*message
	for _, m := range w.pending {
		if r := w.unresponsiveNode(m, now); r != nil {
			w.giveUpNode(m, r.id, fmt.Errorf("%w: %s", ErrUnresponsive, r.id))
			continue
		}
		if all || w.needsResend(m, now) {
			m.sent = now
			m.resends++
			m.publishing++
			again = append(again, m)
		}
	}
	slices.SortFunc(again, func(a, b *message) int { return int(a.seq) - int(b.seq) })
	return again
}

// resetTimers restarts the timeouts of all nodes, whose responses could not arrive.
func (w *Writer) resetTimers(now time.Time) {
	for _, r := range w.nodes {
		r.lastResponse = now
	}
	for _, m := range w.pending {
		m.unsubscribedSince = time.Time{}
	}
}

// unresponsiveNode returns a node that has exceeded its timeout for m, or nil. If a node
// has used a quarter of its timeout, the Writer reports that it waits for the node.
func (w *Writer) unresponsiveNode(m *message, now time.Time) *receiver {
	for _, id := range m.unacknowledged {
		r := w.nodes[id]
		limit, since := w.opt.Unresponsive, r.lastResponse
		if !m.unsubscribedSince.IsZero() {
			since = m.unsubscribedSince
			if !r.answered {
				limit = w.opt.Unsubscribed
			}
		}
		waited := now.Sub(since)
		if waited > limit {
			return r
		}
		if waited > limit/4 && !w.statusShown {
			w.statusShown = true
			w.opt.Status(schemas.Say("waiting-for-node", "waiting for storage node {node}", "node", w.nodeName(id)))
		}
	}
	return nil
}

// nodeName is the name of a node, or its id if the map does not have it.
func (w *Writer) nodeName(id schemas.NodeID) string {
	if w.nodeMap != nil {
		if n := w.nodeMap.Find(id); n != nil {
			return n.Name
		}
	}
	return string(id)
}

// clearStatus reports that the Writer goes on, if it has reported a wait.
func (w *Writer) clearStatus() {
	if w.statusShown {
		w.statusShown = false
		w.opt.Status(schemas.Sentence{})
	}
}

// needsResend reports whether m should be sent again to the nodes that have not
// acknowledged it.
func (w *Writer) needsResend(m *message, now time.Time) bool {
	age := now.Sub(m.sent)
	if m.unsubscribedSeen.After(m.sent) { // no node has received m
		return age > w.opt.Resend/20
	}
	for _, id := range m.unacknowledged {
		r := w.nodes[id]
		wait := max(w.opt.Resend, 2*r.ackTime)
		// Nodes acknowledge messages in order, so a newer one that is acknowledged means
		// that m was lost.
		if r.newestAcked > m.seq && age > wait {
			return true
		}
		// Otherwise the node may be slow, and so may one that has never responded. m is not
		// sent again while the node responds, and then at growing intervals.
		if !r.answered {
			wait *= 2
		}
		wait <<= min(m.resends, 3)
		if age > wait && now.Sub(r.lastResponse) > wait {
			return true
		}
	}
	return false
}

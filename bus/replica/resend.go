package replica

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// watch sends again what seems lost and gives up on what will not come.
func (s *Writer) watch(ctx context.Context) {
	reconnected := s.nc.StatusChanged(nats.CONNECTED)
	defer s.nc.RemoveStatusListener(reconnected)
	tick := time.NewTicker(min(s.opt.Resend/4, 250*time.Millisecond))
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
		for _, m := range s.overdue(all, time.Now()) {
			s.publish(m)
		}
	}
}

// overdue fails what has been waited for long enough and returns what to send
// again: everything after a reconnect. While the connection is down nothing is
// overdue: the connection says what it waits for, and the caller's context ends
// it.
func (s *Writer) overdue(reconnected bool, now time.Time) []*message {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.nc.IsClosed():
		s.end(fmt.Errorf("send to storage nodes: %w", nats.ErrConnectionClosed))
		return nil
	case !s.nc.IsConnected():
		s.away = true
		return nil
	}
	all := reconnected || s.away
	s.away = false
	if all {
		s.forgive(now)
	}
	var again []*message
	for _, m := range s.pending {
		if silent := s.givenUp(m, now); silent != nil {
			s.without(m, silent.id, fmt.Errorf("%w: %s", ErrUnresponsive, silent.id))
			continue
		}
		if all || s.lost(m, now) {
			m.sent = now
			m.again++
			m.publishing++
			again = append(again, m)
		}
	}
	slices.SortFunc(again, func(a, b *message) int { return int(a.seq) - int(b.seq) })
	return again
}

// forgive starts the nodes' time anew: they could not be heard.
func (s *Writer) forgive(now time.Time) {
	for _, r := range s.nodes {
		r.heard = now
	}
	for _, m := range s.pending {
		m.nobody = time.Time{}
	}
}

// givenUp is the node because of which m cannot be delivered, or nil.
func (s *Writer) givenUp(m *message, now time.Time) *receiver {
	for _, id := range m.missing {
		r := s.nodes[id]
		limit, since := s.opt.Unresponsive, r.heard
		if !m.nobody.IsZero() {
			since = m.nobody
			if !r.answered {
				limit = s.opt.Unsubscribed
			}
		}
		silent := now.Sub(since)
		if silent > limit {
			return r
		}
		if silent > limit/4 && !s.waiting {
			s.waiting = true
			s.opt.Status(fmt.Sprintf("waiting for storage node %s", s.called(id)))
		}
	}
	return nil
}

// called is the name of a node, as far as it is known.
func (s *Writer) called(id schemas.NodeID) string {
	if s.nodeMap != nil {
		if n := s.nodeMap.Find(id); n != nil {
			return n.Name
		}
	}
	return string(id)
}

// goesOn takes a Status back.
func (s *Writer) goesOn() {
	if s.waiting {
		s.waiting = false
		s.opt.Status("")
	}
}

// lost reports whether m should be sent again to those who miss it.
func (s *Writer) lost(m *message, now time.Time) bool {
	age := now.Sub(m.sent)
	if m.refused.After(m.sent) { // else someone may have it by now, and be slow
		return age > s.opt.Resend/20
	}
	for _, id := range m.missing {
		r := s.nodes[id]
		wait := max(s.opt.Resend, 2*r.takes)
		// Nodes work in order, so something newer that is acknowledged means that m
		// got lost.
		if r.newest > m.seq && age > wait {
			return true
		}
		// Else the node may be slow, as it may be when nobody knows it yet. It is
		// left in peace as long as it answers, and then sent it more and more seldom.
		if !r.answered {
			wait *= 2
		}
		wait <<= min(m.again, 3)
		if age > wait && now.Sub(r.heard) > wait {
			return true
		}
	}
	return false
}

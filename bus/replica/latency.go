package replica

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/schemas"
)

const (
	// An answer is late after lateFactor times the node's usual latency, but never
	// before lateLeast, and after lateFirst while the node's latency is unknown.
	lateFactor = 4
	lateLeast  = 300 * time.Millisecond
	lateFirst  = time.Second
	// shunTime is the time for which a node that was late, or failed, is asked last.
	shunTime = 10 * time.Second
)

// latencies records how fast nodes respond, to choose the node to ask and to know when an
// answer is late.
type latencies struct {
	responded atomic.Bool // some node has answered

	mu    sync.Mutex
	nodes map[schemas.NodeID]*latency
}

type latency struct {
	usual        time.Duration // of an answer; 0 before the first
	pending      int           // chunks that the node is being asked for
	shunnedUntil time.Time     // other nodes are asked first until then
}

// latencyOf returns the record of a node. The caller holds the lock.
func (l *latencies) latencyOf(node schemas.NodeID) *latency {
	if l.nodes[node] == nil {
		if l.nodes == nil {
			l.nodes = map[schemas.NodeID]*latency{}
		}
		l.nodes[node] = &latency{}
	}
	return l.nodes[node]
}

// start records the start of a request to a node for n chunks. It returns the time after
// which the answer is late.
func (l *latencies) start(node schemas.NodeID, n int) (lateAfter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.latencyOf(node)
	x.pending += n
	if x.usual == 0 {
		return lateFirst
	}
	return max(lateFactor*x.usual, lateLeast)
}

// finish records the end of a request. A slow answer changes the usual latency much, a
// fast one little.
func (l *latencies) finish(node schemas.NodeID, n int, took time.Duration, answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.latencyOf(node)
	x.pending -= n
	if answered {
		l.responded.Store(true)
	}
	switch {
	case x.usual == 0:
		if answered {
			x.usual = took
		}
	case took > x.usual:
		x.usual += (took - x.usual) / 2
	case answered:
		x.usual -= (x.usual - took) / 16
	}
}

// shun makes a node the last choice for shunTime.
func (l *latencies) shun(node schemas.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencyOf(node).shunnedUntil = time.Now().Add(shunTime)
}

// bestNode returns the index of the node to ask: one that is not shunned, if any; of these
// one with a low latency; and of several with a similar latency the one that is being asked
// for the fewest chunks. chosen has the chunks that nodes are about to be asked for.
func (l *latencies) bestNode(nodes []schemas.NodeID, chosen map[schemas.NodeID][]int) int {
	if len(nodes) == 1 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	type rank struct {
		shunned bool
		class   int // of the latency; each class has twice the latency of the one before
		pending int
	}
	rankOf := func(node schemas.NodeID) rank {
		x := l.latencyOf(node)
		return rank{now.Before(x.shunnedUntil), bits.Len64(uint64(x.usual / (2 * time.Millisecond))), x.pending + len(chosen[node])}
	}
	best := 0
	least := rankOf(nodes[0])
	for i, node := range nodes[1:] {
		r := rankOf(node)
		switch {
		case r.shunned != least.shunned:
			if r.shunned {
				continue
			}
		case r.class != least.class:
			if r.class > least.class {
				continue
			}
		case r.pending >= least.pending:
			continue
		}
		best, least = i+1, r
	}
	return best
}

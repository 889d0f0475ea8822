package replica

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/schemas"
)

const (
	// An answer is late when it takes lateFactor times as long as the node usually
	// needs, and at least lateLeast; lateFirst as long as the node is not known.
	lateFactor = 4
	lateLeast  = 300 * time.Millisecond
	lateFirst  = time.Second
	// shunTime is for how long a node that was late, or failed, is asked last.
	shunTime = 10 * time.Second
)

// latencies are how fast nodes answer.
type latencies struct {
	heard atomic.Bool // some node has answered

	mu    sync.Mutex
	nodes map[schemas.NodeID]*latency
}

type latency struct {
	usual time.Duration // of an answer; 0 if none came yet
	waits int           // chunks that it is asked for now
	shun  time.Time     // until then others are asked first
}

// of is the pulse of a node. The caller holds the lock.
func (p *latencies) of(node schemas.NodeID) *latency {
	if p.nodes[node] == nil {
		if p.nodes == nil {
			p.nodes = map[schemas.NodeID]*latency{}
		}
		p.nodes[node] = &latency{}
	}
	return p.nodes[node]
}

// begin notes that a node is asked for n chunks, and says when its answer is late.
func (p *latencies) begin(node schemas.NodeID, n int) (late time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.of(node)
	x.waits += n
	if x.usual == 0 {
		return lateFirst
	}
	return max(lateFactor*x.usual, lateLeast)
}

// end notes how the question ended. Slowness is believed at once, and speed only
// when it lasts.
func (p *latencies) end(node schemas.NodeID, n int, took time.Duration, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.of(node)
	x.waits -= n
	if answered {
		p.heard.Store(true)
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

// avoid has a node asked last for a while.
func (p *latencies) avoid(node schemas.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(node).shun = time.Now().Add(shunTime)
}

// best is the place of the node to ask: of those in good standing one that answers
// fast, and of several that take about as long the one that is asked for the least.
// chosen are the chunks that others are about to be asked for.
func (p *latencies) best(nodes []schemas.NodeID, chosen map[schemas.NodeID][]int) int {
	if len(nodes) == 1 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	type rank struct {
		shunned bool
		class   int // of its time: each is of twice the one before
		waits   int
	}
	rankOf := func(node schemas.NodeID) rank {
		x := p.of(node)
		return rank{now.Before(x.shun), bits.Len64(uint64(x.usual / (2 * time.Millisecond))), x.waits + len(chosen[node])}
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
		case r.waits >= least.waits:
			continue
		}
		best, least = i+1, r
	}
	return best
}

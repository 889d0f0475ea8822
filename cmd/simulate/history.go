package main

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// A history simulates failures of nodes, and healing part by part. At most 64 nodes are
// possible, because node n is bit n of a set.
//
// The history does not choose new nodes for the parts that it heals. A lost node is instead
// replaced by a new one with the same index as soon as all its parts are healed.
type history struct {
	risk
	sets    []uint64 // by chunk: the nodes that the chunk is assigned to
	random  *rand.Rand
	now     float64
	missing []uint64  // by chunk: the nodes whose part is missing
	failed  []float64 // by node: the time of its failure, or +Inf while it is up
}

// timeToLoss simulates from the beginning until data is lost, and returns the time at which
// the first chunk has lost more than m parts.
func (h *history) timeToLoss() float64 {
	h.now = 0
	h.missing = make([]uint64, len(h.sets))
	h.failed = slices.Repeat([]float64{math.Inf(1)}, h.nodes)
	for {
		up := 0
		for _, f := range h.failed {
			if math.IsInf(f, 1) {
				up++
			}
		}
		next := h.now + h.random.ExpFloat64()/(float64(up)*h.rate)
		if h.healUntil(next) {
			// One more node is up, so the failure rate has changed. Times between failures
			// have no memory: drawing the next one again does not distort them.
			continue
		}
		if h.fail(h.random.IntN(up)) {
			return h.now
		}
	}
}

// fail makes the i-th of the nodes that are up fail. It reports whether a chunk is lost.
func (h *history) fail(i int) bool {
	for node, f := range h.failed {
		if !math.IsInf(f, 1) {
			continue
		}
		if i > 0 {
			i--
			continue
		}
		h.failed[node] = h.now
		lost := false
		for c, set := range h.sets {
			h.missing[c] |= set & (1 << node)
			lost = lost || bits.OnesCount64(h.missing[c]) > h.margin
		}
		return lost
	}
	return false
}

// healUntil heals until the time end, or until a lost node is replaced, and reports whether
// one was. Parts are healed one at a time, at the rate at which healing all parts of one
// node takes h.heal.
func (h *history) healUntil(end float64) (replaced bool) {
	perPart := h.heal / (float64(len(h.sets)*h.parts) / float64(h.nodes))
	for {
		var gone uint64
		wake, lost := end, 0
		for node, f := range h.failed {
			if !math.IsInf(f, 1) {
				lost++
			}
			switch {
			case f+h.grace <= h.now:
				gone |= 1 << node
			case !math.IsInf(f, 1):
				wake = min(wake, f+h.grace)
			}
		}
		c := h.nextToHeal(gone, lost)
		if gone != 0 && c < 0 {
			for node := range h.failed {
				if gone&(1<<node) != 0 {
					h.failed[node] = math.Inf(1)
				}
			}
			return true
		}
		if c < 0 || h.now+perPart > wake {
			// The next event comes before the part is healed. The part starts again
			// afterwards, which makes no difference when there are many parts.
			h.now = wake
			if wake == end {
				return false
			}
			continue
		}
		h.now += perPart
		candidates := h.missing[c] & gone
		node := candidates & -candidates // the lowest bit
		h.missing[c] &^= node
		if !h.missesPartsOf(node) {
			h.failed[bits.TrailingZeros64(node)] = math.Inf(1)
			return true
		}
	}
}

// nextToHeal returns the chunk that misses the most parts, among the chunks that miss a part
// of a node in gone. It returns -1 if there is none. lost is the number of nodes that have
// failed, and so the most parts that a chunk can miss.
func (h *history) nextToHeal(gone uint64, lost int) int {
	best, most := -1, 0
	for c, missing := range h.missing {
		if n := bits.OnesCount64(missing); missing&gone != 0 && n > most {
			best, most = c, n
		}
		if most == lost {
			break
		}
	}
	return best
}

// missesPartsOf reports whether any chunk misses its part of a node, which is given as a bit.
func (h *history) missesPartsOf(node uint64) bool {
	return slices.ContainsFunc(h.missing, func(missing uint64) bool { return missing&node != 0 })
}

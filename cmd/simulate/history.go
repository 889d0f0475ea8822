package main

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// A history plays failures of nodes, part by part. sets has a bit for each node that
// has a part of a chunk. What is healed counts as held by whatever takes the lost node's
// place, which is there when all of it is healed.
type history struct {
	risk
	sets    []uint64
	random  *rand.Rand
	now     float64
	lacking []uint64  // by chunk: nodes whose part is missing
	failed  []float64 // by node: when, or +Inf while it is up
}

// untilLoss is the time until one chunk has lost more parts than it may.
func (h *history) untilLoss() float64 {
	h.now = 0
	h.lacking = make([]uint64, len(h.sets))
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
			continue // a node more is up: the next failure is drawn anew, as it has no memory
		}
		if h.fail(h.random.IntN(up)) {
			return h.now
		}
	}
}

// fail loses the i-th of the nodes that are up, and reports whether that was one too many.
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
			h.lacking[c] |= set & (1 << node)
			lost = lost || bits.OnesCount64(h.lacking[c]) > h.spare
		}
		return lost
	}
	return false
}

// healUntil heals until the time that is given, or until a node has been replaced, which
// it reports. Healing goes on part by part, at the rate at which one node's parts take
// the time to heal.
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
		c := h.mostEndangered(gone, lost)
		if gone != 0 && c < 0 {
			for node := range h.failed {
				if gone&(1<<node) != 0 {
					h.failed[node] = math.Inf(1)
				}
			}
			return true
		}
		if c < 0 || h.now+perPart > wake {
			// A part that is under way is begun again, which makes no difference while
			// parts are many.
			h.now = wake
			if wake == end {
				return false
			}
			continue
		}
		h.now += perPart
		missing := h.lacking[c] & gone
		h.lacking[c] &^= missing & -missing
		if bit := missing & -missing; !h.lacks(bit) {
			h.failed[bits.TrailingZeros64(bit)] = math.Inf(1)
			return true
		}
	}
}

// mostEndangered is the chunk that lacks most of those that lack a part of a node that is
// gone, or -1. None lacks more than have been lost.
func (h *history) mostEndangered(gone uint64, lost int) int {
	best, most := -1, 0
	for c, l := range h.lacking {
		if n := bits.OnesCount64(l); l&gone != 0 && n > most {
			best, most = c, n
		}
		if most == lost {
			break
		}
	}
	return best
}

func (h *history) lacks(bit uint64) bool {
	return slices.ContainsFunc(h.lacking, func(l uint64) bool { return l&bit != 0 })
}

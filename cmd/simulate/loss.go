package main

import (
	"math"

	"servidor-backup/schemas"
)

const (
	year  = 365.25 * 24 * 3600
	grace = 15 * 60 // seconds until a silent node counts as gone
	afr   = 0.04    // of all nodes, how many are lost for good in a year
)

// A risk is what the chance of losing data depends on. Times are in any one unit.
type risk struct {
	nodes  int
	parts  int // of a chunk: k+m
	spare  int // m
	chunks float64
	rate   float64 // of failures, per node and time
	grace  float64 // until healing begins
	heal   float64 // how long it takes, for all that a node held
}

// windows are the mean times for which some chunks lack 1, 2, … m parts, once they do.
//
// The first is the grace time and all of the healing. With j nodes lost at once, only
// the chunks that have parts on all of them lack j, and they come first, so what is to
// be healed is less by the chance that a chunk of one node is on the others too. Nothing
// waits for the grace time of the last node if an earlier one is gone already; and if an
// earlier one was being healed, half of it is done, on average.
func (r risk) windows() []float64 {
	var all []float64
	together, waiting, share := 1.0, 1.0, 1.0
	for j := 1; j <= r.spare; j++ {
		if j > 1 {
			share *= float64(r.parts-j+1) / float64(r.nodes-j+1)
		}
		inGrace := waiting * r.grace / float64(j)
		w := (inGrace + r.heal*share*(together+waiting)/2) / together
		all = append(all, w)
		together, waiting = together*w, inGrace
	}
	return all
}

// until is the mean time until data is lost: of a chain whose states are how many nodes
// are lost and not healed. One more is lost at the rate of all that are left; one less
// when the window is over. More than m lose data if they have a chunk in common.
func (r risk) until() float64 {
	windows := r.windows()
	var sum, step float64 // step is the mean time from j lost nodes to j+1
	for j := 0; j <= r.spare; j++ {
		up := float64(r.nodes-j) * r.rate
		if j == 0 {
			step = 1 / up
		} else {
			step = 1/up + step/(up*windows[j-1])
		}
		sum += step
	}
	return sum + step*(1/r.common()-1)
}

// common is the chance that m+1 nodes have a chunk in common: with many chunks, nearly
// all combinations do.
func (r risk) common() float64 { return -math.Expm1(-r.chunks * r.onAll()) }

// onAll is the chance that a chunk has parts on m+1 given nodes.
func (r risk) onAll() float64 {
	p := 1.0
	for i := range r.spare + 1 {
		p *= float64(r.parts-i) / float64(r.nodes-i)
	}
	return p
}

// inAYear is the chance that anything is lost within a year.
func (s site) inAYear(d schemas.Durability) float64 {
	heal, _ := s.healing(d)
	if math.IsInf(heal, 1) {
		// Nothing is whole again until someone brings a new node, which is then filled
		// as fast as one node can be.
		heal = timeToReplace + s.size/min(s.network, s.disk)
	}
	r := risk{
		nodes: s.nodes, parts: d.Nodes(), spare: int(d.M), chunks: s.chunks(d),
		rate: afr / year, grace: grace, heal: heal,
	}
	return -math.Expm1(-year / r.until())
}

// timeToReplace is how soon people bring a new node where no other can take over.
const timeToReplace = 3 * 24 * 3600

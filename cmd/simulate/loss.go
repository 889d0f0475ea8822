package main

import (
	"math"

	"servidor-backup/schemas"
)

const (
	year  = 365.25 * 24 * 3600
	grace = 15 * 60 // seconds for which a node is down before it counts as gone
	afr   = 0.04    // annual failure rate: the fraction of nodes that is lost for good in a year
)

// A risk holds the parameters of the model of loss. All times are in the same unit, which
// may be any.
type risk struct {
	nodes  int
	parts  int // of a chunk: k+m
	margin int // parts that a chunk can lose without harm: m
	chunks float64
	rate   float64 // failures per node and unit of time
	grace  float64 // time from a failure until healing starts
	heal   float64 // time to heal all parts of one node
}

// windows returns m mean times: element j-1 is the time for which some chunks miss j parts,
// once they do.
//
// The first time is the grace period and the whole healing. With j nodes lost, only the
// chunks that have parts on all j nodes miss j parts, and these chunks are healed first. So
// the work is reduced by the chance that a chunk of one node is on the other j-1 nodes too.
// If an earlier node is gone already, healing does not wait for the grace period of the last
// one. If an earlier node was being healed, half of that work is done on average.
func (r risk) windows() []float64 {
	var all []float64
	together, waiting, share := 1.0, 1.0, 1.0
	for j := 1; j <= r.margin; j++ {
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

// timeToLoss returns the mean time until data is lost. It is the time that a Markov chain
// takes to its last state. The states are the numbers of lost nodes that are not healed. The
// number grows at the failure rate of all remaining nodes, and shrinks at the end of the
// window. More than m lost nodes lose data if they have a chunk in common.
func (r risk) timeToLoss() float64 {
	windows := r.windows()
	var sum, step float64 // step is the mean time from j to j+1 lost nodes
	for j := 0; j <= r.margin; j++ {
		up := float64(r.nodes-j) * r.rate
		if j == 0 {
			step = 1 / up
		} else {
			step = 1/up + step/(up*windows[j-1])
		}
		sum += step
	}
	return sum + step*(1/r.sharedChance()-1)
}

// sharedChance returns the chance that m+1 given nodes have a chunk in common. With many
// chunks it is close to 1.
func (r risk) sharedChance() float64 { return -math.Expm1(-r.chunks * r.chunkChance()) }

// chunkChance returns the chance that a given chunk has parts on m+1 given nodes.
func (r risk) chunkChance() float64 {
	p := 1.0
	for i := range r.margin + 1 {
		p *= float64(r.parts-i) / float64(r.nodes-i)
	}
	return p
}

// lossChance returns the chance that the site loses any data within a year.
func (s site) lossChance(d schemas.Durability) float64 {
	heal, _ := s.healingTime(d)
	if math.IsInf(heal, 1) {
		// No node can take the parts until somebody adds one. The new node is then filled as
		// fast as its network and its disk allow.
		heal = timeToReplace + s.size/min(s.network, s.disk)
	}
	r := risk{
		nodes: s.nodes, parts: d.Nodes(), margin: int(d.M), chunks: s.chunks(d),
		rate: afr / year, grace: grace, heal: heal,
	}
	return -math.Expm1(-year / r.timeToLoss())
}

// timeToReplace is the time until somebody replaces a node whose parts no other node can
// take, in seconds.
const timeToReplace = 3 * 24 * 3600

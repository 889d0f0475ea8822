package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"

	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// A cluster is nodes that differ in nothing but what is told here.
type cluster struct {
	nodes   int
	zones   int                    // the nodes are dealt to them in turn; 0 is none named
	weights func(i int) uint32     // nil: all equal
	zoneOf  func(i int) (zone int) // nil: in turn
}

// nodeMap is the cluster's map.
func (c cluster) nodeMap() *schemas.NodeMap {
	m := &schemas.NodeMap{}
	for i := range c.nodes {
		n := schemas.Node{ID: schemas.NodeID(fmt.Sprintf("node-%d", i)), Weight: 1000, State: schemas.Up}
		if c.weights != nil {
			n.Weight = c.weights(i)
		}
		switch {
		case c.zoneOf != nil:
			n.Zone = fmt.Sprint(c.zoneOf(i))
		case c.zones > 0:
			n.Zone = fmt.Sprint(i % c.zones)
		}
		m.Nodes = append(m.Nodes, n)
	}
	return m
}

// chunk is chunk i of all that are placed: its id is a random number that does not
// change from run to run.
func chunk(i int) (id schemas.ChunkID) {
	r := rand.NewPCG(20, uint64(i))
	binary.LittleEndian.PutUint64(id[:], r.Uint64())
	return id
}

// eachSet calls do with the numbers of the nodes of the sets of so many chunks, of n
// nodes each. Calls are made from several goroutines, with the number of each; sets
// are good until do returns.
func eachSet(m *schemas.NodeMap, chunks, n int, do func(worker, chunk int, set []int)) {
	number := map[schemas.NodeID]int{}
	for i := range m.Nodes {
		number[m.Nodes[i].ID] = i
	}
	p := placement.New(m)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			ids, set := make([]schemas.NodeID, 0, n), make([]int, 0, n)
			for i := w; i < chunks; i += workers {
				ids, set = p.Place(ids[:0], chunk(i), n), set[:0]
				for _, id := range ids {
					set = append(set, number[id])
				}
				do(w, i, set)
			}
		})
	}
	wait.Wait()
}

var workers = runtime.GOMAXPROCS(0)

// fill counts the parts that each node gets.
func fill(m *schemas.NodeMap, chunks, n int) []float64 {
	counts := make([][]float64, workers)
	for w := range counts {
		counts[w] = make([]float64, len(m.Nodes))
	}
	eachSet(m, chunks, n, func(w, _ int, set []int) {
		for _, node := range set {
			counts[w][node]++
		}
	})
	for _, more := range counts[1:] {
		for i := range more {
			counts[0][i] += more[i]
		}
	}
	return counts[0]
}

// deviations are how much more than its share by weight each node has: 0.05 is 5 % more.
func deviations(m *schemas.NodeMap, fill []float64) []float64 {
	var all, weight float64
	for i := range fill {
		all += fill[i]
		weight += float64(m.Nodes[i].Weight)
	}
	d := make([]float64, len(fill))
	for i := range fill {
		d[i] = fill[i]/(all*float64(m.Nodes[i].Weight)/weight) - 1
	}
	return d
}

// worst is the largest deviation to either side.
func worst(d []float64) (most float64) {
	for _, v := range d {
		most = max(most, math.Abs(v))
	}
	return most
}

// chanceSpread is the standard deviation of what one of so many equal nodes has, as a
// fraction of it, when each chunk falls on n of them by chance: a binomial
// distribution, as a node has a chunk or has it not.
func chanceSpread(nodes, n, chunks int) float64 {
	p := float64(n) / float64(nodes)
	return math.Sqrt((1 - p) / (p * float64(chunks)))
}

// quantileOfAll is how many standard deviations none of so many nodes exceeds, to
// either side, in 99 of 100 cases.
func quantileOfAll(nodes int) float64 {
	return math.Sqrt2 * math.Erfinv(1-0.01/float64(nodes))
}

// chunksFor is from how many chunks on all nodes are within a fraction of their share, in
// 99 of 100 cases.
func chunksFor(within float64, nodes, n int) float64 {
	p := float64(n) / float64(nodes)
	return math.Ceil((1 - p) / p * math.Pow(quantileOfAll(nodes)/within, 2))
}

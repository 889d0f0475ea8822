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

// A cluster describes storage nodes that differ in zone and weight only.
type cluster struct {
	nodes   int
	zones   int                    // number of zones, filled in rotation; 0 for nodes without a zone
	weights func(i int) uint32     // weight of node i; nil for equal weights
	zoneOf  func(i int) (zone int) // zone of node i; nil for zones in rotation
}

// nodeMap returns the node map of the cluster. All nodes are up.
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

// chunkID returns the id of chunk i: a random number that is the same in every run.
func chunkID(i int) (id schemas.ChunkID) {
	r := rand.NewPCG(20, uint64(i))
	binary.LittleEndian.PutUint64(id[:], r.Uint64())
	return id
}

// forEachSet places the first chunks of chunkID on n nodes each. For each chunk it calls do
// with the set of the chunk: the indices in m.Nodes of the nodes that the chunk is assigned
// to. The calls come from several goroutines; worker is the index of the goroutine, below
// the variable workers. A set is valid until do returns.
func forEachSet(m *schemas.NodeMap, chunks, n int, do func(worker, chunk int, set []int)) {
	index := map[schemas.NodeID]int{}
	for i := range m.Nodes {
		index[m.Nodes[i].ID] = i
	}
	p := placement.New(m)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			ids, set := make([]schemas.NodeID, 0, n), make([]int, 0, n)
			for i := w; i < chunks; i += workers {
				ids, set = p.Place(ids[:0], chunkID(i), n), set[:0]
				for _, id := range ids {
					set = append(set, index[id])
				}
				do(w, i, set)
			}
		})
	}
	wait.Wait()
}

// workers is the number of goroutines that place chunks.
var workers = runtime.GOMAXPROCS(0)

// countParts places the first chunks of chunkID on n nodes each and returns the number of
// parts on each node, in the order of m.Nodes.
func countParts(m *schemas.NodeMap, chunks, n int) []float64 {
	counts := make([][]float64, workers)
	for w := range counts {
		counts[w] = make([]float64, len(m.Nodes))
	}
	forEachSet(m, chunks, n, func(w, _ int, set []int) {
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

// deviations compares the number of parts on each node with the node's share by weight. It
// returns the relative differences: 0.05 for a node that has 5 % more than its share.
func deviations(m *schemas.NodeMap, parts []float64) []float64 {
	var all, weight float64
	for i := range parts {
		all += parts[i]
		weight += float64(m.Nodes[i].Weight)
	}
	d := make([]float64, len(parts))
	for i := range parts {
		d[i] = parts[i]/(all*float64(m.Nodes[i].Weight)/weight) - 1
	}
	return d
}

// largestDeviation returns the largest absolute value in d.
func largestDeviation(d []float64) (most float64) {
	for _, v := range d {
		most = max(most, math.Abs(v))
	}
	return most
}

// standardDeviation returns the standard deviation of the number of parts on a node, as a
// fraction of its mean, when each chunk falls on n of the nodes at random. The nodes are
// equal. The number has a binomial distribution, because a node has one part of a chunk or
// none.
func standardDeviation(nodes, n, chunks int) float64 {
	p := float64(n) / float64(nodes)
	return math.Sqrt((1 - p) / (p * float64(chunks)))
}

// randomLimit returns a deviation, in standard deviations, that no node of a cluster exceeds
// in either direction in 99 of 100 cases.
func randomLimit(nodes int) float64 {
	return math.Sqrt2 * math.Erfinv(1-0.01/float64(nodes))
}

// chunksNeeded returns the number of chunks from which all nodes hold their share, give or
// take the fraction within, in 99 of 100 cases. Each chunk has n parts.
func chunksNeeded(within float64, nodes, n int) float64 {
	p := float64(n) / float64(nodes)
	return math.Ceil((1 - p) / p * math.Pow(randomLimit(nodes)/within, 2))
}

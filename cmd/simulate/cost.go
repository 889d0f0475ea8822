package main

import (
	"time"

	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// A cost is the time that it takes to place one chunk on n of the nodes.
type cost struct {
	nodes, n int
	took     time.Duration
}

// costSizes lists the clusters and the set sizes to measure.
var costSizes = struct{ nodes, sets []int }{
	[]int{3, 10, 30, 100, 300, 1000, 3000, 10_000},
	[]int{1, 2, 3, 6, 11},
}

// measureCosts measures the time to place one chunk, for all costSizes. Each result is the
// shortest time of 15 rounds, because other work on the machine can only add time.
func measureCosts() (all []cost) {
	for _, nodes := range costSizes.nodes {
		p := placement.New(cluster{nodes: nodes, weights: mixedWeights}.nodeMap())
		for _, n := range costSizes.sets {
			if n > nodes {
				continue
			}
			set, ids := make([]schemas.NodeID, 0, n), make([]schemas.ChunkID, max(50, 200_000/(nodes+100)))
			for i := range ids {
				ids[i] = chunkID(i)
			}
			best := time.Hour
			for range 15 {
				start := time.Now()
				for i := range ids {
					set = p.Place(set[:0], ids[i], n)
				}
				best = min(best, time.Since(start)/time.Duration(len(ids)))
			}
			all = append(all, cost{nodes, n, best})
		}
	}
	return all
}

// mixedWeights returns the weight of node i in a cluster with disks of four sizes.
func mixedWeights(i int) uint32 { return []uint32{4000, 8000, 12_000, 20_000}[i%4] }

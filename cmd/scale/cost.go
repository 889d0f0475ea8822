package main

import (
	"time"

	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// A cost is what placing one chunk takes.
type cost struct {
	nodes, n int
	took     time.Duration
}

var costSizes = struct{ nodes, sets []int }{
	[]int{3, 10, 30, 100, 300, 1000, 3000, 10_000},
	[]int{1, 2, 3, 6, 11},
}

// measureCosts takes the best of several runs each, as everything that disturbs makes
// it longer.
func measureCosts() (all []cost) {
	for _, nodes := range costSizes.nodes {
		p := placement.New(cluster{nodes: nodes, weights: mixedWeights}.nodeMap())
		for _, n := range costSizes.sets {
			if n > nodes {
				continue
			}
			set, ids := make([]schemas.NodeID, 0, n), make([]schemas.ChunkID, max(50, 200_000/(nodes+100)))
			for i := range ids {
				ids[i] = chunk(i)
			}
			best := time.Hour
			for range 15 {
				began := time.Now()
				for i := range ids {
					set = p.Place(set[:0], ids[i], n)
				}
				best = min(best, time.Since(began)/time.Duration(len(ids)))
			}
			all = append(all, cost{nodes, n, best})
		}
	}
	return all
}

// mixedWeights are those of disks of four sizes.
func mixedWeights(i int) uint32 { return []uint32{4000, 8000, 12_000, 20_000}[i%4] }

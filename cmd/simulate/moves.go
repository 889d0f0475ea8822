package main

import "servidor-backup/schemas"

// moved compares where chunks are before and after a change of the map. Both results
// are fractions of all parts after it: those on a node that did not have one of the
// chunk, and how many had to be, whatever the method, for each node to become as full
// as it is. Nodes are the same if they have the same id.
func moved(before, after *schemas.NodeMap, chunks, n int) (moves, least float64) {
	at := make([]map[schemas.NodeID]bool, chunks)
	eachSet(before, chunks, n, func(_, i int, set []int) {
		at[i] = map[schemas.NodeID]bool{}
		for _, node := range set {
			at[i][before.Nodes[node].ID] = true
		}
	})
	counts, parts := make([]float64, workers), make([]float64, workers)
	eachSet(after, chunks, n, func(w, i int, set []int) {
		for _, node := range set {
			parts[w]++
			if !at[i][after.Nodes[node].ID] {
				counts[w]++
			}
		}
	})
	had := map[schemas.NodeID]float64{}
	for i, v := range fill(before, chunks, n) {
		had[before.Nodes[i].ID] = v
	}
	for i, v := range fill(after, chunks, n) {
		least += max(0, v-had[after.Nodes[i].ID])
	}
	var all float64
	for w := range counts {
		moves += counts[w]
		all += parts[w]
	}
	return moves / all, least / all
}

// A change of a map.
type change struct {
	name   string
	before cluster
	after  func(m *schemas.NodeMap) // changes a map of before
	sets   []schemas.Durability
}

// join lets a node come that is like the first, into a zone.
func join(zone string) func(m *schemas.NodeMap) {
	return func(m *schemas.NodeMap) {
		n := m.Nodes[0]
		n.ID, n.Zone = "new", zone
		m.Nodes = append(m.Nodes, n)
	}
}

func lose(m *schemas.NodeMap) { m.Nodes = m.Nodes[1:] }

func double(m *schemas.NodeMap) { m.Nodes[0].Weight *= 2 }

// joinZone lets a zone come, with as many nodes.
func joinZone(nodes int) func(m *schemas.NodeMap) {
	return func(m *schemas.NodeMap) {
		for i := range nodes {
			n := m.Nodes[0]
			n.ID, n.Zone = schemas.NodeID("new-"+string(rune('a'+i))), "new"
			m.Nodes = append(m.Nodes, n)
		}
	}
}

var (
	d10, d11, d12 = schemas.Durability{K: 1}, schemas.Durability{K: 1, M: 1}, schemas.Durability{K: 1, M: 2}
	d21, d42, d83 = schemas.Durability{K: 2, M: 1}, schemas.Durability{K: 4, M: 2}, schemas.Durability{K: 8, M: 3}
)

var changes = []change{
	{"from 5 to 6 nodes", cluster{nodes: 5}, join(""), []schemas.Durability{d11, d12, d42}},
	{"from 6 to 7 nodes", cluster{nodes: 6}, join(""), []schemas.Durability{d11, d12, d42}},
	{"from 100 to 101 nodes", cluster{nodes: 100}, join(""), []schemas.Durability{d11, d12, d42}},
	{"from 7 to 6 nodes", cluster{nodes: 7}, lose, []schemas.Durability{d11, d12, d42}},
	{"from 100 to 99 nodes", cluster{nodes: 100}, lose, []schemas.Durability{d11, d12, d42}},
	{"one of 10 nodes gets twice the weight", cluster{nodes: 10}, double, []schemas.Durability{d11, d12, d42}},
	{"a node more in one of 3 zones of 4", cluster{nodes: 12, zones: 3}, join("0"), []schemas.Durability{d11, d12, d42}},
	{"from 3 to 4 zones of 4", cluster{nodes: 12, zones: 3}, joinZone(4), []schemas.Durability{d11, d12, d42}},
}

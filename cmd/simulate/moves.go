package main

import "servidor-backup/schemas"

// moved places chunks on n nodes each, before and after a change of the node map. Both
// results are fractions of all parts after the change:
//
//   - moves are the parts on a node that had no part of the same chunk before,
//   - least are the parts that any method would have to move for the nodes to become as
//     full as they are after the change.
//
// Nodes of the two maps are the same if they have the same id.
func moved(before, after *schemas.NodeMap, chunks, n int) (moves, least float64) {
	assigned := make([]map[schemas.NodeID]bool, chunks)
	forEachSet(before, chunks, n, func(_, i int, set []int) {
		assigned[i] = map[schemas.NodeID]bool{}
		for _, node := range set {
			assigned[i][before.Nodes[node].ID] = true
		}
	})
	movedParts, parts := make([]float64, workers), make([]float64, workers)
	forEachSet(after, chunks, n, func(w, i int, set []int) {
		for _, node := range set {
			parts[w]++
			if !assigned[i][after.Nodes[node].ID] {
				movedParts[w]++
			}
		}
	})
	had := map[schemas.NodeID]float64{}
	for i, v := range countParts(before, chunks, n) {
		had[before.Nodes[i].ID] = v
	}
	for i, v := range countParts(after, chunks, n) {
		least += max(0, v-had[after.Nodes[i].ID])
	}
	var all float64
	for w := range movedParts {
		moves += movedParts[w]
		all += parts[w]
	}
	return moves / all, least / all
}

// A change of a node map, and the durabilities for which the table shows it.
type change struct {
	name   string
	before cluster
	apply  func(m *schemas.NodeMap) // changes the map of the cluster before
	sets   []schemas.Durability
}

// addNode returns a change that adds a node to the zone. The node has the weight of the first.
func addNode(zone string) func(m *schemas.NodeMap) {
	return func(m *schemas.NodeMap) {
		n := m.Nodes[0]
		n.ID, n.Zone = "new", zone
		m.Nodes = append(m.Nodes, n)
	}
}

func removeNode(m *schemas.NodeMap) { m.Nodes = m.Nodes[1:] }

func doubleWeight(m *schemas.NodeMap) { m.Nodes[0].Weight *= 2 }

// addZone returns a change that adds a zone with that number of nodes.
func addZone(nodes int) func(m *schemas.NodeMap) {
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
	{"from 5 to 6 nodes", cluster{nodes: 5}, addNode(""), []schemas.Durability{d11, d12, d42}},
	{"from 6 to 7 nodes", cluster{nodes: 6}, addNode(""), []schemas.Durability{d11, d12, d42}},
	{"from 100 to 101 nodes", cluster{nodes: 100}, addNode(""), []schemas.Durability{d11, d12, d42}},
	{"from 7 to 6 nodes", cluster{nodes: 7}, removeNode, []schemas.Durability{d11, d12, d42}},
	{"from 100 to 99 nodes", cluster{nodes: 100}, removeNode, []schemas.Durability{d11, d12, d42}},
	{"twice the weight for one of 10 nodes", cluster{nodes: 10}, doubleWeight, []schemas.Durability{d11, d12, d42}},
	{"one more node in one of 3 zones of 4", cluster{nodes: 12, zones: 3}, addNode("0"), []schemas.Durability{d11, d12, d42}},
	{"from 3 to 4 zones of 4", cluster{nodes: 12, zones: 3}, addZone(4), []schemas.Durability{d11, d12, d42}},
}

// Package placement decides which nodes a chunk belongs to, as a pure function of the node
// map, the chunk's id and the number of nodes. Everyone who has the same map computes the
// same nodes, on every machine.
//
// [New] places new data, on nodes that take it now; [NewAssigned] says which nodes a chunk
// is assigned to, including those that are down or full for the moment. The arithmetic is a
// format: a change would move data, and docs/protocol.md has its vectors.
package placement

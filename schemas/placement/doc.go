// Package placement decides which nodes a chunk belongs to, as a pure function of the node
// map, the chunk's id and the number of nodes. All programs with the same map compute the
// same nodes, on every machine.
//
// [New] places new data, on the nodes that take data now. [NewAssigned] computes the nodes
// that a chunk is assigned to, including nodes that are down or full at the moment. The
// arithmetic is a format, with vectors in docs/protocol.md: a change would move data.
package placement

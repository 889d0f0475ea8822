// Package placement ranks nodes for a chunk, as a pure function of the node map, the chunk's id
// and the number of nodes wanted. All programs with the same map compute the same ranking, on
// every machine.
//
// [New] says where a new chunk goes: to nodes that take data now. [NewAssigned] says where a
// chunk is assigned, also to nodes that are down or full at the moment. The arithmetic is a
// format, with vectors in docs/protocol.md: a change would move data.
package placement

// Package replica moves chunks between a client, a coordinator or a node and the storage
// nodes that hold them.
//
// A [Writer] publishes messages of chunks to the subject of a replica set, so that the
// broker makes the replicas, under the flow control of the receivers: every
// acknowledgement says how many bytes the session may have unacknowledged at that node. A
// message is done when every node of its set has acknowledged it; some nodes' refusal is a
// [PartialFailure], which names them.
//
// A [Reader] asks the assigned nodes what they hold of chunks ([Presence]) and fetches
// them: from the node that usually answers first, from the next when an answer is late or a
// replica is bad, from every node of the map when the assigned ones have not enough, and
// joined from any k shards.
//
// [WatchMap] and [PublishMap] carry the node map, by whose epoch both are kept current.
package replica

// Package replica moves chunks between a client, a coordinator or a node and the storage
// nodes that hold them.
//
// A [Writer] publishes messages of chunks to the subject of a replica set, so that the NATS
// server distributes them to the nodes. The nodes control the flow: every acknowledgement
// says how many bytes the session may have unacknowledged at that node. A message is done
// when every node of its set has acknowledged it. If some nodes do not take it, it ends
// with a [PartialFailure], which names them.
//
// A [Reader] asks the nodes that placement ranks first among those it can reach which parts of
// chunks they hold ([Presence]), and fetches chunks: from the one of these nodes that usually
// responds first, from another one when the answer is late or the replica is damaged, from any
// node of the map when these nodes do not hold enough, and joined from any k shards.
//
// [WatchMap] and [PublishMap] carry the node map. Writer and Reader follow the map with the
// highest epoch that they have been given, and ignore older ones.
package replica

// Package schemas defines what travels over the bus and what it means: messages, subjects,
// ids, names, codes of failures, and the node map. It is the ground of the house;
// it imports none of the others.
//
// # The system in a page
//
// People save files over the network and get them back. The system has three roles:
// clients, coordinators and storage nodes. Each of them only ever dials a NATS server.
//
// A client cuts a file into chunks at boundaries that the content determines, and names
// each chunk by a keyed hash ([ChunkID]). It asks the storage nodes which chunks they hold
// already, compresses and seals the others, and publishes each to the subject that names
// its replica set ([PutSubject]). A node acknowledges a chunk after its disk has synced.
// A folder becomes a tree of chunks. The server can read which chunks a tree chunk points
// to (its clear edges), but not its sealed content. At the end the client asks the
// coordinator to commit. The coordinator follows the clear edges to check that everything
// new is held, and only then writes the [Version] to the catalogue.
//
// # Invariants
//
// Bytes on the wire never change their meaning; fields are only ever added, and a decoder
// skips fields that it does not know. The protocol is documented for other languages in
// docs/protocol.md; tests hold that document and this package against each other.
//
// # Words
//
// A chunk is held either as replicas (copies of the whole chunk) or as k+m shards, any k of
// which make the chunk; a [Part] names the whole or one shard. A node pins a part when it
// promises to keep it through a generation of the garbage collection. The epoch is the
// number of a node map. Durability k+m means that data survives the loss of any m nodes.
//
// Package schemas/placement decides where chunks belong under a node map, and
// schemas/erasure splits chunks into shards.
package schemas

// Package schemas is the ground floor of Servidor Backup: what travels over the
// bus and what it means. Every other package imports it; it imports none of
// them.
//
// # The system in a page
//
// People save files over the network and get them back. There are three kinds of
// node, and each only ever dials a NATS server: clients, coordinators and storage
// nodes.
//
// A client cuts a file into chunks where its content says so, names each chunk
// by a keyed hash ([ChunkID]), asks storage nodes which they hold already,
// compresses and seals the others, and publishes each to the subject that names
// its replica set ([PutSubject]); a node acknowledges after its disk has synced.
// A folder becomes a tree of chunks: what a tree chunk points to is readable by
// the server (its clear edges), what it says is not. Then the client asks the
// coordinator to commit; the coordinator checks through the clear edges that
// everything new is held, and only then writes the [Version] to the catalogue.
//
// # Beside it
//
// Package schemas/placement says where chunks belong under a node map, and
// schemas/erasure splits chunks into shards.
//
// The formats are documented for other languages in docs/protocol.md.
package schemas

// Package coordinator brings clients and storage nodes together. It keeps
// nothing in memory that matters: the catalogue, the node map's cards and the
// sessions live in JetStream key-value buckets, so any number of coordinators
// can share the work through the queue group of their service.
//
//   - coordinator.go: the service and its life;
//   - members.go: which nodes there are, and the map; states.go: what becomes of them;
//     policy.go: what operators decide; room.go: what that leaves for new data, and
//     whether what was held still is;
//   - records.go: the catalogue: records, versions, names; forget.go: versions that are
//     not wanted any more;
//   - seed.go: the seed's protocol: transmit, list, download;
//   - sessions.go: bulk sessions from open to commit;
//   - verify.go: what a commit must prove, through clear edges, without a key;
//   - lease.go: jobs that one coordinator does; state.go: what they know together;
//   - collect.go, mark.go: collection, as docs/keeping.md tells;
//   - copies.go, rebuild.go: the catalogue's copies on nodes, and a catalogue from them;
//   - status.go: how things are.
//
// # Order of durability
//
// A version must not be listed before everything below it is on stable storage:
//
//  1. nodes acknowledge chunks, then tree chunks, each after its disk has synced
//     (client and node);
//  2. commit checks that every edge of the new part of the tree is held
//     (verify.go);
//  3. the version record is created in the catalogue, synced by JetStream
//     (records.go);
//  4. the record's head is moved to it;
//  5. the client is answered.
//
// A crash between any two steps leaves what was listed before, and at most
// chunks that nothing points to.
package coordinator

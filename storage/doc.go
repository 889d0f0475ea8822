// Package storage is the engine of a storage node: it stores chunks on disk, says
// which it holds, and returns them checked. It knows no network; package
// storage/node serves it on the bus. The bytes on disk are those of
// internal/segment; internal/index finds them.
//
// # Words
//
// A store holds parts of chunks, most of which are whole chunks. A part is held
// when its record is on stable storage and not known to be damaged. To pin a part
// is to keep it from sweeps of older generations. A record is a segment record: a
// header and a body in a segment, for a part, a sync mark or a void. It is live while
// the index points to it, and dead afterwards. The index is the store's Pebble
// database.
//
// # The directory
//
//	LOCK                    held while a process has the store open
//	STORE                   the store's identity: one file header
//	REMOVED                 the numbers of removed segments: a file header and ranges
//	GENERATION              the newest generation of collections: a file header
//	SCRUB                   the progress of the scrub: a file header
//	RUNS                    the last runs of the node: a file header and ids
//	segments/00000001.seg   the data: append-only, numbered from 1
//	index/                  Pebble: where each part is; derivable from the segments
//
// # Commit
//
// One goroutine writes. It gathers the waiting puts into a batch, appends the batch
// to the last segment, syncs the file, enters the batch in the index, and only then
// answers the puts. When no put waits, it appends a sync mark, which needs no
// sync of its own.
//
// # Collection
//
// A segment is never changed, except at its end while it is the last one. What a
// sweep forgets (see [Store.Sweep]) only leaves the index; [Store.Compact] moves
// the live records of a segment to the end of the store and removes the segment.
//
// # Recovery
//
// After a crash the index holds a prefix of the batches, and its position says up
// to where segments are indexed. Recovery reads the segments from there. A record
// that does not match its checksums is damage to acknowledged data if a later
// header proves that the record had been synced: a batch start or a sync mark
// behind it, or a later segment, which is only made after its predecessor is synced. Such a
// record is kept, counted and reported. Without such proof it belongs to the torn
// end of a batch whose puts were never answered, and the writer goes on at its
// offset.
package storage

// Package storage is the engine of a storage node: it keeps chunks on disk,
// says which it has, and gives them back checked. It knows no network; package
// storage/node serves it on the bus.
//
// # The directory
//
//	LOCK                    held while a process has the store open
//	STORE                   identity: one file header (below)
//	REMOVED                 the numbers of segments that were emptied: a file header and ranges
//	GENERATION              the newest generation of collections: a file header
//	SCRUB                   how far the reading back has come: a file header
//	segments/00000001.seg   the data: append-only, numbered from 1
//	index/                  Pebble: where each chunk is; derivable from the rest
//
// # File header
//
// STORE, REMOVED, GENERATION, SCRUB and every segment begin with the same 128 bytes. All numbers of the
// format are little endian. Every version of the format keeps the place of
// magic, version and checksum, so that "damaged" and "newer than this program"
// can be told apart.
//
//	0        8       12      16        48      80        88    96         128
//	+--------+-------+-------+---------+-------+---------+-----+----------+
//	| magic  |version|number | node id | salt  | created | 0   | checksum |
//	| 8      | u32   | u32   | 32      | 32    | i64     | 8   | 32       |
//	+--------+-------+-------+---------+-------+---------+-----+----------+
//
// The magic is "SBKSTORE", "SBKREMVD", "SBKGENER", "SBKSCRUB" or "SBKSEGMT"; number is the
// segment's, 0 in STORE, how many ranges follow in REMOVED, or the generation; the node id is padded with
// zeros; salt is random, made with the directory and equal in all files; created
// is in Unix seconds; the checksum is BLAKE3-256 of bytes 0 to 95.
//
// # Records
//
// After its header a segment is a sequence of records without a gap: a record
// header of 152 bytes, then the body.
//
//	0       4      5       6   7   8       12     16        20   24     32
//	+-------+------+-------+---+---+-------+------+---------+----+------+
//	| magic | kind | shard | k | m | trees | data | content | 0  | time |
//	| "SBr1"| u8   | u8    | u8| u8| u32   | u32  | u32     | u32| i64  |
//	+-------+------+-------+---+---+-------+------+---------+----+------+
//	32            40       56         88     120       136        152
//	+-------------+--------+----------+------+---------+----------+
//	| batch start | vault  | chunk id | sum  | edgesum | headsum  |
//	| i64         | 16     | 32       | 32   | 16      | 16       |
//	+-------------+--------+----------+------+---------+----------+
//	| ids of tree chunks | ids of data chunks | content           |
//	+--------------------+--------------------+-------------------+
//
// kind is a [schemas.Kind], or 0x81 for a mark or 0x82 for a void. trees and
// data count the clear edges, content is in bytes, time in Unix seconds. shard
// and k are the [schemas.Part], 0 and 1 for a whole chunk; m is 0. sum is [schemas.Chunk.Checksum]; edgesum
// is the first 16 bytes of BLAKE3 over the edges, so that edges are read and
// checked without the content. headsum is the first 16 bytes of BLAKE3, keyed
// with the salt, over header bytes 0 to 135, the segment's number (u32) and the
// record's offset (i64): a header is only valid where it was written, so that a
// record inside somebody's file is never taken for one of ours, nor one that
// the disk put in the wrong place.
//
// A mark is a header only. It says: everything before me is on stable storage.
// A void is a header followed by content bytes that mean nothing: what a torn
// or refused write left behind. There is no truncation; the next batch covers
// the leftovers with a void, before the same sync.
//
// # Commit
//
// One goroutine writes. It gathers the puts that wait into a batch, appends it,
// syncs the file, enters it in the index, and only then are the puts answered.
// batch start is the offset at which a record's batch begins, and everything
// before it was synced when the record was written. When no put waits, the
// writer appends a mark, which needs no sync of its own.
//
// # Collection
//
// A segment is never changed, but for its end while it is the last. What is
// forgotten (see [Store.Sweep]) leaves the index and nothing else; [Store.Compact]
// moves what is left of a segment to the end of the store and removes it.
//
// # Recovery
//
// Pebble runs without a log of its own: after a crash it holds a prefix of the
// index batches, and each names the position up to which segments are indexed.
// Recovery reads on from there. A record that does not check is rot in
// acknowledged data if a later header proves that it had been synced (a batch
// start or a mark behind it, or a later segment, which is only made after its
// predecessor is synced). It is then kept, counted and reported. Without such
// proof it is the torn end of a batch that nobody was told of, and the writer
// goes on at its place.
package storage

// Package segment is the format of a store's files on disk: the header that each
// file begins with, the records of which a segment consists, and the scan that
// reads a segment's records in order and checks every byte. It opens no files and
// decides nothing: what a damaged record means is up to package storage.
//
// # File header
//
// STORE, REMOVED, GENERATION, SCRUB and every segment begin with the same 128
// bytes. All numbers of the format are little endian. Every version of the format
// keeps magic, version and checksum at the same offsets, so that a program can
// tell a damaged file from one that a newer program wrote.
//
//	0        8       12      16        48      80        88    96         128
//	+--------+-------+-------+---------+-------+---------+-----+----------+
//	| magic  |version|number | node id | salt  | created | 0   | checksum |
//	| 8      | u32   | u32   | 32      | 32    | i64     | 8   | 32       |
//	+--------+-------+-------+---------+-------+---------+-----+----------+
//
// The magic is "SBKSTORE", "SBKREMVD", "SBKGENER", "SBKSCRUB" or "SBKSEGMT".
// Number is 0 in STORE, the segment's number in a segment, the number of ranges
// that follow in REMOVED, the generation in GENERATION, and the next segment to
// scrub in SCRUB. The node id is padded with zeros. Salt is random, made with the
// store's directory and equal in all its files. Created is in Unix seconds. The
// checksum is BLAKE3-256 of bytes 0 to 95.
//
// # Records
//
// After its header a segment is a sequence of records without gaps: a record
// header of 152 bytes, then the body.
//
//	0       4      5       6   7   8       12     16        20   24     32
//	+-------+------+-------+---+---+-------+------+---------+----+------+
//	| magic | kind | shard | k | m | trees | data | content |seal| time |
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
// The kind is a [schemas.Kind], or 0x81 for a sync mark, or 0x82 for a void. Trees
// and data count the clear edges, content is in bytes, time in Unix seconds. Shard, k
// and the seal id at offset 20 are those of the [schemas.Part]: 0, 1 and 0 for a
// whole chunk; m is 0. The sum is [schemas.Chunk.Checksum]. The edgesum is the
// first 16 bytes of BLAKE3 over the edges, so that edges can be read and checked
// without the content; header and edges together are the record's front.
//
// The headsum is the first 16 bytes of BLAKE3, keyed with the salt, over header
// bytes 0 to 135, the segment's number (u32) and the record's offset (i64). A
// header is therefore valid only at the location where it was written: neither a
// record inside a user's file nor a record that the disk wrote to a wrong
// location is taken for one of the store's.
//
// A sync mark is a header only. It says that everything before it is on stable
// storage. A void is a header followed by content bytes that mean nothing: the
// leftovers of a torn or refused write. Segments are never truncated; the next
// batch covers the leftovers with a void, before the same sync.
//
// Batch start is the offset at which a record's batch begins. Everything before
// that offset was synced when the record was written.
package segment

// Package index finds the records of chunks. It keeps an entry for each part of a
// chunk that a store holds, the bytes that are live in each segment, and the
// position up to which segments are indexed. It is the only package that uses
// Pebble's database, and it knows nothing of files that hold chunks.
//
// Everything in the index, but flag 4 below, can be derived from the segments. Pebble therefore runs
// without a log of its own: after a crash the index holds a prefix of the batches
// that were committed, and its position says from where the store must read the
// segments again.
//
// # Keys and values
//
// Numbers are little endian, except in keys:
//
//	'c' vault 16 | chunk id 32 | part u48be → segment u32 | offset i64 | content u32 |
//	                                          edges u32 | kind u8 | flags u8 | generation u32
//	'd' segment u32be | offset u64be        → length i64
//	'p'                                     → version u8 | segment u32 | offset i64 |
//	                                          chunks, bytes, corrupt, damaged i64 | generation u32
//	's' segment u32be                       → live, damaged i64
//	'l' segment u32be                       → state u8
//
// 'c' is an entry. 'd' is a dead record: one to which no entry points, because its
// chunk was forgotten or has a newer record. 'p' is the state: the position, the
// counts and the generation. 's' is the usage of a segment: the bytes of its live
// records, to which entries point, and the number of its damaged stretches that
// name no chunk. 'l' is a segment that was lost, wholly or in part; see [Lost]. Flag 1 says that a
// record is corrupt, flag 2 that a part is marked, flag 4 that a corrupt record can be read,
// but was found not to open by a client, which has its key. Only flag 4 cannot be derived.
//
// # Generations
//
// A generation is the number of a collection of garbage. An entry carries the
// generation in which its part was last put, pinned or marked. To pin a part is to
// raise its entry to the current generation, so that a sweep of older generations
// leaves it.
//
// # Concurrency
//
// All methods may be called concurrently, except that at most one batch may be
// under way; the store's writer sees to that.
package index

// Package chunk cuts content into chunks and holds their plaintext until it is sealed.
//
// A [Cutter] reads content and ends a chunk where the content says so, by keyed FastCDC:
// see [Gear]. The same key and content give the same chunks in every release, which is
// what deduplication depends on. A long run of zeros belongs to no chunk: the cutter
// returns its length instead, so that a disk image has the same chunks whether it has
// holes or zeros.
//
// Plaintext is not copied between reading and sealing. A reader fills an [Intake], which
// gathers bytes in a block of [BlockSize] bytes. A chunk is a part of a block, a
// [Plaintext]; the block becomes free when the last chunk in it is released. The number
// of [Blocks] bounds the memory of a backup, and a reader that finds no free block waits,
// so the slowest step sets the pace.
//
// Every Plaintext carries a checksum that is taken before its id is computed. It detects
// what bad memory does to the bytes until they are sealed.
//
// docs/formats.md specifies where content is cut, with vectors.
package chunk

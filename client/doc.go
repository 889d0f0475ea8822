// Package client saves files and folders and brings them back. It is a library;
// the command is in cmd/backup.
//
// # The path of a byte
//
// A backup reads this table forwards, a restore backwards:
//
//	scan      folders, in order, with one lstat for each file
//	osfs      owners, times, links, attributes, holes
//	chunk     a file's bytes, cut where the content says so and where long runs of zeros are
//	seal      a keyed hash is the chunk's name; compress, seal, open again, compare
//	upload    ask the nodes what they hold; put the rest under windows
//	tree      entries and lists of chunks, as chunks
//
// # What a backup does
//
// The walk meets every path in the tree's order, and so it can be merged with
// the parent version's tree as that is read: a file whose size,
// times and inode are those of its entry there is not opened, and leaves in which
// nothing has changed are taken over whole. Others are read and cut by a few
// readers; hashing, asking the nodes what they hold, sealing and sending are
// steps with a bounded number of bytes between them, so memory does not depend
// on what is saved. Entries are added to the new tree in order, each as soon as
// the ids of its chunks are known. When every put has been acknowledged, which
// nodes do after syncing, the session is committed.
//
// # What a restore does
//
// One goroutine descends the tree, makes folders and gathers what is wanted, by
// chunk: in a window of 8 MiB each chunk is asked for once, whoever needs it.
// Several others fetch, open and write. A file that is one piece of a chunk is
// made, written and finished in one go. A large chunk that was written before is
// read back from there; what is read is held against its id.
package client

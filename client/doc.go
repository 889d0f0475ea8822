// Package client saves files and folders and brings them back. It is a library;
// the command is in cmd/backup.
//
// # The path of a byte
//
// backup.go and save.go read it forwards, restore.go and restoretree.go
// backwards:
//
//	walk*.go     folders, in order, one lstat a file        place.go
//	meta*.go     owner, times, links, attributes, holes     place_*.go
//	saveread.go  a file's bytes                             restorefile.go
//	chunk.go     cut where the content says so, and         restorewindow.go
//	             where long runs of zeros are, zeros.go
//	keys.go      a keyed hash is the chunk's name           keys.go
//	seal.go      compress, seal, open again, compare        seal.go
//	send.go      have?, seal, and pack.go: put under        fetch.go
//	             windows
//	treewrite.go entries and chunk lists, as chunks         treeread.go
//
// # What a backup does
//
// The walk meets every path in the tree's order, and so it can be merged with
// the parent version's tree as that is read (treeparent.go): a file whose size,
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

// Package client backs up files and folders to a system of coordinators and storage nodes, and
// restores them.
//
// [Connect] returns a [Client] for one vault. [Client.Backup] saves paths as the next version of
// a record. [Client.Restore] writes a version or parts of it to a folder, and [Client.Cat]
// writes one file of it to a stream. [Client.Records], [Client.Versions] and [Client.Tree] list
// what there is, and [Client.Check] proves that it can be restored. The other methods are for
// the administrator of the system. The package prints nothing and reads no settings; it writes
// only the key file and, in a restore, below [RestoreOptions].To.
//
// Content, names and metadata are sealed on this machine, with a key that never leaves it. Servers
// see sizes, times, the names of records, and which chunks belong to which version.
//
// # The path of a byte
//
// A backup passes these packages of client/internal, in this order:
//
//	scan, osfs    walk folders in order, with one lstat for each file; read owners, times,
//	              links, attributes and holes
//	chunk         cut content into chunks, where the content itself and long runs of zeros say so
//	seal          name each chunk by a keyed hash; compress, encrypt, open again, compare
//	upload        ask the nodes what they hold and send them the rest
//	tree          store entries and lists of chunks as chunks, too
//
// Package archive drives these steps. A restore, which package restore drives, passes these:
//
//	tree          find the entries, and the chunks that their files consist of
//	download      fetch chunks from the nodes that hold them
//	seal          decrypt, unpack, and check each chunk against its id
//	target, osfs  write folders and files, set their metadata, sync
//
// # Backup
//
// The walk visits paths in the order of the tree, so that the tree of the parent version can be
// read and compared along the way. A file whose size, times and inode are those of its entry there
// is not opened, and leaves of the tree without a change are reused whole. Memory does not depend
// on how much is saved: the steps run side by side, with a bounded number of bytes between them.
// Nodes acknowledge a chunk after it is on stable storage. When every chunk of a version has been
// acknowledged, the coordinator is asked to commit the version. Until then it does not exist, and
// what was sent is not sent again by the next attempt.
//
// # Restore
//
// One goroutine descends the tree, makes folders and gathers requests for pieces of files, up to
// 8 MiB of chunks or 4096 pieces, so that files that share a chunk fetch it once. Other goroutines
// fetch and open chunks and write files. Every chunk is checked against its id. Damage costs
// exactly the paths whose content is damaged.
package client

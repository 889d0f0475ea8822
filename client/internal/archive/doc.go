// Package archive makes the tree of a new version: it decides what has to be read, reads it,
// and passes the chunks to an [Uploader].
//
// [Save] runs three steps side by side, with bounded queues between them:
//
//   - The walk meets every path in the tree's order, merged with the parent version's tree.
//     Here it is decided whether a file is unchanged (isUnchanged): type, size, modification
//     time, inode and change time are those of its entry in the parent. An unchanged file is
//     not opened; its entry takes over the parent's content.
//   - A few readers read what is left. They join small neighbours to a bundle, which is one
//     chunk, and cut larger files into chunks by their content, without holes and long runs of
//     zeros. A file that changes while it is read is read again.
//   - The last step makes the tree: it adds the entries in order, each as soon as the ids of its
//     chunks are known. Leaves that are as in the parent's tree are reused whole. Here the further
//     names of a file get what was read under its first name (sharedFile).
//
// A version contains every path that could be read. A path that could not be, or only in part, is
// a warning and is counted in [Result].Unreadable; one that lacks attributes, in Incomplete. Any
// other failure ends all steps, and there is no version; there is none either if no file was saved
// and something could not be. An entry whose file may change without a sign in its times gets the change
// time 0, so that the next backup reads it again.
//
// The words: an entry is pending until the tree has it; the parent is the version that this one
// builds on; to recheck is to ask the nodes for the chunks of an unchanged file before they are
// reused, because some of the parent's chunks may be lost.
package archive

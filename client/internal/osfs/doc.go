// Package osfs reads and changes files, folders and their metadata as the operating
// system has them: on Linux with all it offers, on macOS and Windows with what can be had
// there. It knows nothing of backups: the walk of a backup (package scan) and the target
// of a restore (package target) stand on it.
//
// # Folders
//
// [Dirs] is a set of folders of which a bounded number is open at a time. A [Dir] is one
// folder. It is reached from an open parent by a single name, never by a longer path.
// So paths of any length work, and no symbolic link on the way is ever followed. A
// folder that was closed and is opened again must still be the same one; otherwise the
// error is [ErrReplaced]. A folder is acquired before a call that needs it open, and
// released afterwards.
//
// There are two kinds of sets: that of [NewDirs] opens folders by package os, for all uses;
// that of [NewWalkDirs] is for a walk, which only reads. On Linux the latter makes its
// system calls itself, because package os costs a walk two more calls and some memory for
// each file.
//
// # Metadata
//
// [Meta] is what lstat tells, in the layout of Unix on every system: st_mode, numeric
// owners, times in nanoseconds since 1970. [Identity] tells whether a name still stands
// for the same file, [ChangedBetween] whether a file was changed between two looks at it, and
// [MayRepeat] whether its times can be trusted to show the next change. [Kind] tells how far sizes
// and times of a file system can be relied on. (Whether a
// file is unchanged since the last backup is decided in package archive.) [OwnerNames] and
// [OwnerIDs] translate owners. Setting metadata is the business of [Ref], which never
// follows a symbolic link, and of [File] for files that were just made.
//
// # Holes
//
// [DataRegions] finds the parts of a sparse file that hold data.
//
// Errors come without the operation and the path of package os (see [WithoutPath]): the
// names in them are relative to some open folder, so the caller adds the entry's path.
package osfs

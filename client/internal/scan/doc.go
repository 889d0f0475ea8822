// Package scan walks the files and folders that a backup saves, in the order of a version's
// tree.
//
// [NewRoots] finds out what the given paths stand for. [Walk] visits the roots and everything
// below them, one [Item] after the other: depth first, names sorted bytewise, a folder before
// what is in it ([tree.ComparePath]). So the walk can be merged with the tree of the parent
// version. For each path the walk makes one lstat, and nothing more: [Item.ReadRest] and
// [Item.Open] read what takes more calls, and package archive calls them only for what has
// changed. A [Matcher] says what is left out.
//
// Helpers read folders ahead of the visitor. They work on a queue of listings, which has the
// order in which the walk needs them. A listing covers a bounded number of names, so a large
// folder does not delay the walk. Helpers stop while many items wait to be visited, so memory
// and open folders are bounded, whatever is walked.
//
// Paths that cannot be read do not end a walk: they are visited as items with an error.
// Everything is opened relative to its folder, without following symbolic links, so a file or
// folder that is replaced during the walk is noticed and nothing else is read in its place.
package scan

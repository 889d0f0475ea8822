// Package tree writes and reads the trees of a version: the path tree, which has an
// [Entry] for each file, folder and link, and file trees, which list the chunks of big
// files. It knows neither how tree nodes are stored nor how files are read: a [Putter] takes
// finished tree nodes, a [Getter] fetches them.
//
// A tree is a prolly tree: a search tree that is cut into tree nodes at borders which the
// vault's key and the items' keys decide. So equal ranges of two versions are equal tree nodes
// with equal ids, however each tree came about, and an unchanged range costs nothing in a
// new version. A tree node is one tree chunk; it names the chunks below it by clear edges,
// which the server can follow, and its payload is sealed.
//
// Entries are in the order of [ComparePath], which is that of a depth-first walk. A
// [Writer] takes them in this order and keeps one open tree node per level. A [Reader] walks
// them with a read-ahead of a few leaves. Neither's memory depends on the size of the
// tree. A [Parent] reads the version before in step with the writer: an unchanged entry
// is reused, and a leaf whose entries are all reused becomes part of the new tree as it
// is.
//
// What is read is checked as strictly as what is written: kinds, levels, order of keys,
// limits of fields. A tree that breaks a rule is damaged ([seal.ErrDamaged]); a newer
// version of the format has the code [schemas.TooNew].
//
// docs/formats.md specifies the format, with vectors.
package tree

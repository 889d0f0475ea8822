package archive

import (
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/tree"
)

// sharedFile is a file with several names. Content, attributes and everything else but the path
// belong to the file: they are read once, under the first name that can be read, and all its
// names get them in the same state, even if the file changes between the looks at its names.
type sharedFile struct {
	// What lstat told at the first name. A file with the same inode and other times may be
	// another one, which got the inode of a removed file. The walk alone uses these.
	mtime, ctime, size int64
	// entry is that of the first name that is in the tree; nil while there is none. makeTree
	// alone uses it. It is a copy, because an entry keeps those of its neighbours in memory.
	entry *tree.Entry
	// torn and lacking are those of that name: each name is warned of.
	torn, lacking error
}

// sharedFiles are the files with several names that the walk has met.
type sharedFiles map[osfs.Inode]*sharedFile

// find returns the file of which the item is one of several names, or nil if it has no other
// name. further reports whether the walk has met another name before.
func (m sharedFiles) find(it *scan.Item) (f *sharedFile, further bool) {
	e := it.Entry
	if it.Nlink < 2 || e.Type == tree.TypeDir {
		return nil, false
	}
	inode := osfs.Inode{Dev: e.Dev, Ino: e.Ino}
	f = m[inode]
	if f != nil && f.mtime == e.Mtime && f.ctime == e.Ctime && f.size == e.Size {
		return f, true
	}
	f = &sharedFile{mtime: e.Mtime, ctime: e.Ctime, size: e.Size}
	m[inode] = f
	return f, false
}

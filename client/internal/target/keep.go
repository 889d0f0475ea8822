package target

import (
	"io/fs"
	"os"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Old is what a target has under the name of a regular file that is to be restored.
type Old struct {
	// Is says that it is a regular file, SameSize that it has the size of the entry as well,
	// and SameTime that it has the modification time, as exactly as its file system keeps times.
	Is, SameSize, SameTime bool
}

// Look looks at what has the name of e, a regular file in dir, which is nil for the top. It finds
// nothing unless overwriting is allowed, and costs no system call if this restore has made dir.
func (t *Target) Look(e *tree.Entry, dir *Dir) (old Old) {
	if dir == nil {
		dir = t.top
	}
	if !t.opt.Overwrite || len(dir.before) == 0 || dir.disk.Acquire() != nil {
		return old
	}
	defer dir.disk.Release()
	_, name := tree.SplitPath(e.Path)
	info, err := dir.existing(name)
	if err != nil || info == nil || !info.Mode().IsRegular() {
		return old // making the file tells why it cannot be made
	}
	now := osfs.MetaOf(info)
	old.Is, old.SameSize, old.SameTime = true, now.Size == e.Size, sameTime(now.Mtime, e.Mtime)
	return old
}

// IsThere reports whether what is at a path, of which Lstat told info, is taken for the entry: a file
// of its size and time, a link to its target, or anything else of its type.
func IsThere(e *tree.Entry, path string, info fs.FileInfo) bool {
	now := osfs.MetaOf(info)
	if tree.TypeOfMode(now.Mode) != e.Type {
		return false
	}
	switch e.Type {
	case tree.TypeFile:
		return now.Size == e.Size && sameTime(now.Mtime, e.Mtime)
	case tree.TypeSymlink:
		to, err := os.Readlink(path)
		return err == nil && to == e.Target
	}
	return true
}

// sameTime reports whether a file with the time got, in nanoseconds since 1970, can be the one that
// was given the time want. File systems keep times in units of up to two seconds.
func sameTime(got, want int64) bool {
	if got == want {
		return true
	}
	for _, unit := range []time.Duration{100, time.Microsecond, time.Second, 2 * time.Second} {
		u := int64(unit)
		if cut := want - ((want%u)+u)%u; got == cut {
			return true
		}
	}
	return false
}

// Keep gives the file that [Target.Look] found, and whose content is that of e, the metadata of e.
func (t *Target) Keep(e *tree.Entry, dir *Dir) error {
	if dir == nil {
		dir = t.top
	}
	if err := dir.disk.Acquire(); err != nil {
		return entryError(e, err)
	}
	defer dir.disk.Release()
	_, name := tree.SplitPath(e.Path)
	f, err := dir.disk.OpenToRead(name)
	if err != nil { // its mode may forbid reading; what is set then is set by its name
		f = nil
	} else {
		defer f.Close()
	}
	info, err := stat(dir.disk, name, f)
	if err != nil {
		return entryError(e, err)
	}
	t.meta.adjust(dir.disk, name, f, e, osfs.MetaOf(info))
	return nil
}

func stat(dir *osfs.Dir, name string, f *os.File) (info fs.FileInfo, err error) {
	if f != nil {
		info, err = f.Stat()
	} else {
		info, err = dir.Root.Lstat(name)
	}
	if err == nil && !info.Mode().IsRegular() {
		err = osfs.ErrReplaced
	}
	return info, osfs.WithoutPath(err)
}

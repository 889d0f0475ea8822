package archive

import "servidor-backup/client/internal/tree"

// isUnchanged reports whether a path of any type is unchanged since the parent version. before
// is its entry there, or nil; e is what lstat tells now. Any change sets the change time. A
// change time of 0 in e or before never counts as equal: it was not trustworthy, or the system
// has none. So on a file system without change times, such as FAT on Windows, every file is read
// again. A further name of a file, as earlier programs saved it, has no content to take over.
func isUnchanged(e, before *tree.Entry) bool {
	return before != nil && before.Type == e.Type && !before.IsBareLink() &&
		before.Size == e.Size && before.Mtime == e.Mtime && before.Ino == e.Ino &&
		before.Ctime == e.Ctime && e.Ctime != 0
}

// reuseContent takes the content of an unchanged file from the parent's entry.
func (s *saver) reuseContent(e, before *tree.Entry) {
	e.Content = before.Content
	s.unchanged.Add(1)
	s.Progress.Bytes.Add(e.Size)
}

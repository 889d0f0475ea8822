package osfs

import "golang.org/x/sys/unix"

// RenameNew renames a file unless the new name is taken: the error is then fs.ErrExist. Some
// file systems cannot do this.
func RenameNew(from, to string) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
}

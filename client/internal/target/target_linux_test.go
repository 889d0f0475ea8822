package target

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// ACLs that the target folder hands down are not part of the version.
func TestInheritedACLIsRemoved(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, err := range []error{os.Mkdir(filepath.Join(from, "dir"), 0o755), os.WriteFile(filepath.Join(from, "dir", "file"), []byte("x"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// rwx for the owner, r-x for group and others, r-x for user 12345.
	acl := []byte("\x02\x00\x00\x00" +
		"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x05\x00\x39\x30\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff")
	if err := unix.Setxattr(to, "system.posix_acl_default", acl, 0); err != nil {
		t.Skipf("the file system has no ACLs: %v", err)
	}
	copyTree(t, from, to, restoreOptions())
	wantSame(t, from, to)
}

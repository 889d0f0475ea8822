package treetest

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDifferentAttributesAreFound(t *testing.T) {
	a, b := New(t, 3, Small), New(t, 3, Small)
	for _, attr := range []struct{ file, name string }{
		{"xattrs/file", "user.bytes"}, {"xattrs/folder", "user.new"}, {"order/a/x", "user.new"},
	} {
		if err := unix.Setxattr(filepath.Join(b, attr.file), attr.name, []byte("other"), 0); err != nil {
			t.Skipf("the file system has no attributes: %v", err)
		}
		if diffs := Compare(a, b, Ignore{}); !strings.Contains(strings.Join(diffs, "\n"), attr.file) {
			t.Errorf("after %s of %s was set, the differences are %q", attr.name, attr.file, diffs)
		}
		if diffs := Compare(a, b, Ignore{Xattrs: true}); len(diffs) > 0 {
			t.Errorf("without attributes, the differences are %q", diffs)
		}
	}
}

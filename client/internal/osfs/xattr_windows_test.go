package osfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// TestAttributesAreKept: hidden and system are read and set, of files and folders, and nothing else
// is changed by that. What Windows has no place for is refused.
func TestAttributesAreKept(t *testing.T) {
	top := t.TempDir()
	write(t, filepath.Join(top, "file"), "content")
	if err := os.Mkdir(filepath.Join(top, "folder"), 0o777); err != nil {
		t.Fatal(err)
	}
	dirs := NewDirs()
	defer dirs.Close()
	dir, err := dirs.Top(top)
	if err == nil {
		err = dir.Acquire()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Release()
	read := func(name string) string {
		t.Helper()
		got := ""
		if err := dir.ReadXattrs(name, func(name string, value []byte) { got += name + "=" + string(value) }); err != nil {
			t.Error(err)
		}
		return got
	}
	for _, name := range []string{"file", "folder"} {
		before, err := os.Lstat(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		at := Ref{Dir: dir, Name: name}
		if got := read(name); got != "" {
			t.Errorf("%s has %s from the start", name, got)
		}
		if err := at.SetXattr("user.DOSATTRIB", []byte("0x6")); err != nil {
			t.Errorf("set the attributes of %s: %v", name, err)
		}
		path := windows.StringToUTF16Ptr(filepath.Join(top, name))
		now, err := windows.GetFileAttributes(path)
		if err != nil {
			t.Fatal(err)
		}
		if now&keptAttributes == 0 {
			t.Skip("this file system does not keep attributes")
		}
		if got, want := read(name), "user.DOSATTRIB=0x6"; got != want || now&keptAttributes != keptAttributes {
			t.Errorf("%s has %q (%#x), want %q", name, got, now, want)
		}
		if err := at.RemoveXattr("user.DOSATTRIB"); err != nil {
			t.Errorf("remove the attributes of %s: %v", name, err)
		}
		if got := read(name); got != "" {
			t.Errorf("%s has %s after they were removed", name, got)
		}
		after, err := os.Lstat(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		if after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
			t.Errorf("%s was %v of %v and is %v of %v", name, before.Mode(), before.ModTime(), after.Mode(), after.ModTime())
		}
		if err := at.SetXattr("user.other", []byte("x")); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("set an attribute that has no place: %v", err)
		}
	}
}

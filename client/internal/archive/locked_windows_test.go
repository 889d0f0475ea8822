package archive

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// A file that another program has open for itself is named as not saved, and the others are saved,
// the hidden one with its attribute.
func TestLockedFilesAreNamed(t *testing.T) {
	dir, s := t.TempDir(), newShelf(t)
	for _, name := range []string{"free", "hidden", "locked"} {
		writeFile(t, filepath.Join(dir, name), "content of "+name)
	}
	path := func(name string) *uint16 { return windows.StringToUTF16Ptr(filepath.Join(dir, name)) }
	if err := windows.SetFileAttributes(path("hidden"), windows.FILE_ATTRIBUTE_HIDDEN); err != nil {
		t.Fatal(err)
	}
	h, err := windows.CreateFile(path("locked"), windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	v, err := s.trySave(t, nil, nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	if v.Unreadable != 1 || v.entries["locked"] != nil || v.entries["free"] == nil {
		t.Errorf("%d files were not saved, and the entries are %v, want all but the locked one", v.Unreadable, v.entries)
	}
	e := v.entries["hidden"]
	if e == nil || len(e.Xattrs) != 1 || string(e.Xattrs[0].Value) != "0x2" {
		t.Errorf("the hidden file is %+v", e)
	}
}

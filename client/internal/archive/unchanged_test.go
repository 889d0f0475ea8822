package archive

import (
	"path/filepath"
	"testing"
	"time"

	"servidor-backup/client/internal/tree"
)

func TestFileIsUnchangedOnlyIfAllSignsAgree(t *testing.T) {
	entry := func(change func(e *tree.Entry)) *tree.Entry {
		e := &tree.Entry{Path: "f", Type: tree.TypeFile, Mode: 0o644, Size: 5, Mtime: 6, Ctime: 7, Dev: 8, Ino: 9}
		change(e)
		return e
	}
	same := entry(func(*tree.Entry) {})
	for name, tc := range map[string]struct {
		e, before *tree.Entry
		want      bool
	}{
		"same":                  {same, entry(func(*tree.Entry) {}), true},
		"another device":        {same, entry(func(e *tree.Entry) { e.Dev++ }), true},
		"not in the parent":     {same, nil, false},
		"type":                  {same, entry(func(e *tree.Entry) { e.Type = tree.TypeSymlink }), false},
		"size":                  {same, entry(func(e *tree.Entry) { e.Size++ }), false},
		"modification time":     {same, entry(func(e *tree.Entry) { e.Mtime++ }), false},
		"change time":           {same, entry(func(e *tree.Entry) { e.Ctime++ }), false},
		"inode":                 {same, entry(func(e *tree.Entry) { e.Ino++ }), false},
		"was a further name":    {same, entry(func(e *tree.Entry) { e.HardLink = "g" }), false},
		"untrusted change time": {entry(func(e *tree.Entry) { e.Ctime = 0 }), entry(func(e *tree.Entry) { e.Ctime = 0 }), false},
	} {
		if got := isUnchanged(tc.e, tc.before); got != tc.want {
			t.Errorf("%s: unchanged is %v, want %v", name, got, tc.want)
		}
	}
}

// When the clock was set back since the parent version, a file gets the time at which it was saved
// a second time.
func TestAClockThatWasSetBackIsNoticed(t *testing.T) {
	dir, s := t.TempDir(), newShelf(t)
	writeFile(t, filepath.Join(dir, "f"), "content")
	v := s.save(t, nil, nil, dir)
	for v.Unchanged == 0 { // its times are too fresh at first
		v = s.save(t, v, nil, dir)
	}
	v, err := s.trySave(t, v, func(o *Options) { o.now = time.Now().Add(-time.Hour) }, dir)
	if err != nil {
		t.Fatal(err)
	}
	if e := v.entries["f"]; v.Unchanged != 1 || e.Ctime != 0 {
		t.Errorf("the entry is %+v, want it unchanged, and read by the next backup", e)
	}
}

package osfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// lookAt returns what a walk sees of a name, and checks that the open file says the same.
func lookAt(t *testing.T, folder, name string) (Meta, Identity) {
	t.Helper()
	dirs := NewWalkDirs()
	defer dirs.Close()
	dir, err := dirs.Top(folder)
	if err == nil {
		err = dir.Acquire()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Release()
	meta, id, err := dir.LstatMeta(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := dir.OpenNoAtime(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := Stat(f)
	if err != nil {
		t.Fatal(err)
	}
	if open := MetaOf(info); open != meta {
		t.Errorf("the walk sees %+v of %s, the open file is %+v", meta, name, open)
	}
	if !id.Matches(info) {
		t.Errorf("the open file %s is not the one of the walk", name)
	}
	return meta, id
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestChangeTime: what keeps size and modification time is seen by the change time, and nothing
// else changes it.
func TestChangeTime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, filepath.Join(dir, "other"), "before")
	write(t, path, "before")
	when := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
	first, id := lookAt(t, dir, "file")
	if first.Ctime == 0 || first.Ino == 0 {
		t.Skipf("the file system of %s keeps no change times or has no ids: %+v", dir, first)
	}
	if again, _ := lookAt(t, dir, "file"); again != first {
		t.Errorf("%+v became %+v, and nothing was done", first, again)
	}
	var second Meta
	for end := time.Now().Add(time.Minute); second.Ctime <= first.Ctime; {
		if time.Now().After(end) {
			t.Fatalf("a change of content shows %+v, as before it", second)
		}
		write(t, path, "AFTER.")
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		second, _ = lookAt(t, dir, "file")
	}
	if second.Ino != first.Ino || second.Dev != first.Dev || second.Mtime != first.Mtime || second.Size != first.Size {
		t.Errorf("the file was %+v and is %+v, want a new change time alone", first, second)
	}
	other, otherID := lookAt(t, dir, "other")
	if other.Ino == first.Ino || otherID == id {
		t.Errorf("two files have the id %d", other.Ino)
	}
}

func TestNamesOfOneFileAreCounted(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "content")
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	a, _ := lookAt(t, dir, "a")
	b, _ := lookAt(t, dir, "b")
	if a != b || a.Nlink != 2 {
		t.Errorf("one file with two names is %+v and %+v", a, b)
	}
}

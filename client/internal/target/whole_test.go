package target

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
)

// attempts makes an entry of each kind at path, and returns the errors by kind.
func attempts(p *Target, path string) map[string]error {
	_, dir := p.Mkdir(&tree.Entry{Path: path, Type: tree.TypeDir, Mode: 0o755})
	large, err := p.Create(&tree.Entry{Path: path, Type: tree.TypeFile, Mode: 0o644})
	if err == nil {
		err = large.Finish()
	}
	return map[string]error{
		"folder": dir, "large file": err, "small file": putFile(p, path, "new"),
		"link": putEntry(p, &tree.Entry{Path: path, Type: tree.TypeSymlink, Target: "new"}),
		"fifo": putEntry(p, &tree.Entry{Path: path, Type: tree.TypeFifo, Mode: 0o644}),
	}
}

// What appears in a folder after the restore has come to it is neither replaced nor filled, whether
// overwriting is allowed or not.
func TestWhatAppearsMeanwhileIsKept(t *testing.T) {
	for _, overwrite := range []bool{false, true} {
		to, outside := t.TempDir(), t.TempDir()
		p := newTestTarget(t, to, Options{Overwrite: overwrite})
		if err := putEntry(p, &tree.Entry{Path: "d", Type: tree.TypeDir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		at := func(name string) string { return filepath.Join(to, "d", name) }
		err := errors.Join(os.Mkdir(at("folder"), 0o711), os.WriteFile(at("file"), []byte("mine"), 0o600),
			os.Symlink(outside, at("link")), os.Symlink("nowhere", at("broken")))
		if err != nil {
			t.Fatal(err)
		}
		there := []string{"broken", "file", "folder", "link"}
		for _, name := range there {
			for what, err := range attempts(p, "d/"+name) {
				if !errors.Is(err, fs.ErrExist) {
					t.Errorf("a %s in place of the %s: %v, want an error that is fs.ErrExist", what, name, err)
				}
			}
		}
		treetest.WantNames(t, filepath.Join(to, "d"), there...)
		treetest.WantNames(t, outside)
		treetest.WantNames(t, at("folder"))
		if got, err := os.ReadFile(at("file")); string(got) != "mine" {
			t.Errorf("the file holds %q (%v)", got, err)
		}
	}
}

// Without Overwrite, nothing that was there is replaced or filled; with it, everything but folders is
// replaced.
func TestWhatWasThereIsReplacedOnlyIfAllowed(t *testing.T) {
	to := t.TempDir()
	at := func(name string) string { return filepath.Join(to, name) }
	if err := errors.Join(os.Mkdir(at("folder"), 0o711), os.WriteFile(at("file"), []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"folder", "file"} {
		for what, err := range attempts(newTestTarget(t, to, Options{}), name) {
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("a %s in place of the %s: %v, want an error that is fs.ErrExist", what, name, err)
			}
		}
	}
	p := newTestTarget(t, to, Options{Overwrite: true})
	if err := errors.Join(putFile(p, "folder/new", "new"), putFile(p, "file", "new")); err != nil {
		t.Error(err)
	}
	if err := putFile(p, "folder", "new"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file in place of a folder: %v", err)
	}
	treetest.WantNames(t, to, "file", "folder")
	treetest.WantNames(t, at("folder"), "new")
}

// Temporary names that a killed restore has left are removed by the next one of the same record, and
// only by that, and only if nobody else is restoring there.
func TestLeftoversAreRemoved(t *testing.T) {
	to := t.TempDir()
	killed := newTestTarget(t, to, Options{Record: "photos"})
	if err := putEntry(killed, &tree.Entry{Path: "d", Type: tree.TypeDir, Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	var writing []*File
	for _, path := range []string{"large", "d/large"} {
		f, err := killed.Create(&tree.Entry{Path: path, Type: tree.TypeFile, Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		writing = append(writing, f)
	}
	mine := []string{leftoverPrefix("letters") + "AAAAAAAA-1", ".restore-notes", "d", "x"}
	for _, name := range mine {
		if name != "d" {
			if err := os.WriteFile(filepath.Join(to, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	again := func() {
		t.Helper()
		p := newTestTarget(t, to, Options{Record: "photos", Overwrite: true})
		if err := putEntry(p, &tree.Entry{Path: "d", Type: tree.TypeDir, Mode: 0o755}); err != nil {
			t.Error(err)
		}
		p.Close()
	}
	again() // while the other has not ended
	if left, err := filepath.Glob(filepath.Join(to, "*", ".restore-*")); err != nil || len(left) != 1 {
		t.Errorf("a file that another restore is writing was removed: %v (%v)", left, err)
	}
	// As when its process ends.
	if err := errors.Join(killed.unlock(), writing[0].file.Close(), writing[1].file.Close()); err != nil {
		t.Fatal(err)
	}
	again()
	slices.Sort(mine)
	treetest.WantNames(t, to, mine...)
	treetest.WantNames(t, filepath.Join(to, "d"))
}

// A time that the target cannot have, or that the version could not hold, is told once.
func TestTimesThatCannotBeSetAreTold(t *testing.T) {
	to := t.TempDir()
	var warned []string
	p := newTestTarget(t, to, Options{Warn: func(path string, err error) {
		if !strings.Contains(err.Error(), "time") {
			t.Errorf("%s: %v", path, err)
		}
		warned = append(warned, path)
	}})
	want := []string{"far"}
	times := map[string]int64{
		"far": math.MaxInt64, "now": time.Now().UnixNano(), "old": time.Date(1890, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano(),
		"late": time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), "1969": -5e9,
	}
	for name, mtime := range times {
		e := &tree.Entry{Path: name, Type: tree.TypeFile, Mode: 0o644, Mtime: mtime}
		if err := p.PutFile(e, nil); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		if name != "far" && !info.ModTime().Truncate(2*time.Second).Equal(time.Unix(0, mtime).Truncate(2*time.Second)) {
			want = append(want, name) // this file system has no such time
		}
	}
	slices.Sort(want)
	slices.Sort(warned)
	if !slices.Equal(warned, want) {
		t.Errorf("warned of %q, want %q", warned, want)
	}
}

// Owners come back by name where this machine knows the name, or by number if that is asked for.
func TestOwnersByNameOrNumber(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	to := t.TempDir()
	for numeric, want := range map[bool]uint32{true: 4321, false: 0} {
		p := newTestTarget(t, to, Options{Owner: true, NumericOwner: numeric, Overwrite: true})
		for name, size := range map[string]int64{"small": 0, "large": 1} {
			e := &tree.Entry{Path: name, Type: tree.TypeFile, Mode: 0o644, UID: 4321, GID: 4321, User: "root", Group: "root", Size: size}
			f, err := p.Create(e)
			if size == 0 {
				err = errors.Join(err, f.Abort(), p.PutFile(e, nil))
			} else if err == nil {
				err = f.Finish()
			}
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(to, name))
			if err != nil {
				t.Fatal(err)
			}
			if m := osfs.MetaOf(info); m.UID != want || m.GID != want {
				t.Errorf("%s belongs to %d:%d, want %d (by number: %v)", name, m.UID, m.GID, want, numeric)
			}
		}
	}
}

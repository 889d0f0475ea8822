package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"servidor-backup/client/internal/scan"
)

// A source of which nothing could be saved makes no version: it would be the newest, and empty.
func TestNothingThatCanBeReadMakesNoVersion(t *testing.T) {
	for name, tc := range map[string]struct {
		files []string
		lost  func(dir string) error // after the paths were looked at first
		saved bool
	}{
		"the folder vanishes": {[]string{"a"}, os.RemoveAll, false},
		"it is empty":         {nil, func(string) error { return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, s := filepath.Join(t.TempDir(), "src"), newShelf(t)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range tc.files {
				writeFile(t, filepath.Join(dir, name), "content")
			}
			_, err := s.trySave(t, nil, func(*Options) {
				if err := tc.lost(dir); err != nil {
					t.Fatal(err)
				}
			}, dir)
			if (err == nil) != tc.saved {
				t.Errorf("got %v, want a version: %v", err, tc.saved)
			}
		})
	}
}

// Of several paths, those that cannot be saved are named, and the others are saved. What has no
// content is said to have none.
func TestPathsThatCannotBeSavedAreNamed(t *testing.T) {
	dir, s := t.TempDir(), newShelf(t)
	writeFile(t, filepath.Join(dir, "a"), "content")
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(unix.Mkfifo(at("pipe"), 0o600), os.Symlink("nowhere", at("loose"))); err != nil {
		t.Fatal(err)
	}
	for name, words := range map[string]string{"missing": "no such file", "loose": "no such file", "pipe": "a pipe, which has no content"} {
		v := s.save(t, nil, nil, at("a"), at(name))
		v.wantContent(t, "a", "content")
		if v.Unreadable != 1 || len(v.warnings) != 1 || !strings.HasPrefix(v.warnings[0], name+": ") || !strings.Contains(v.warnings[0], words) {
			t.Errorf("%s: %d paths are counted, with the warnings %q", name, v.Unreadable, v.warnings)
		}
		if _, err := scan.NewRoots([]string{at(name)}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s alone: got %v, want an error", name, err)
		}
	}
	if _, err := scan.NewRoots([]string{at("missing"), at("gone")}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("got %v, want an error that names both", err)
	}
	if _, err := scan.NewRoots([]string{"/dev/null"}); err == nil || !strings.Contains(err.Error(), "a device") {
		t.Errorf("a device: got %v", err)
	}
}

// A time that the format does not hold is told at every backup, also of an unchanged file.
func TestTimesThatCannotBeKeptAreTold(t *testing.T) {
	dir, s := t.TempDir(), newShelf(t)
	path := filepath.Join(dir, "f")
	writeFile(t, path, "content")
	far := time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC)
	times := []unix.Timespec{{Sec: far.Unix()}, {Sec: far.Unix()}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(far) {
		t.Skipf("this file system does not keep the time: %v, %v", info.ModTime(), err)
	}
	v := s.save(t, nil, nil, dir)
	for v.Unchanged == 0 { // its times are too fresh at first
		v = s.save(t, v, nil, dir)
	}
	if v.Incomplete != 1 || v.Unreadable != 0 || len(v.warnings) != 1 || !strings.Contains(v.warnings[0], "time") {
		t.Errorf("%d paths are incomplete, with the warnings %q, want 1", v.Incomplete, v.warnings)
	}
}

package archive

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/treetest"
)

// The kernel says that files of /proc have 0 bytes, and those of /sys one page.
func TestFilesThatHideTheirSizeAreSavedWhole(t *testing.T) {
	for _, path := range []string{"/proc/version", "/proc/kallsyms", "/sys/kernel/mm/transparent_hugepage/enabled"} {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Logf("%s is not here: %v", path, err)
			continue
		}
		v := newShelf(t).save(t, nil, nil, path)
		v.wantContent(t, filepath.Base(path), string(want))
		if len(v.warnings) > 0 || v.Bytes != int64(len(want)) {
			t.Errorf("%s: %d bytes with the warnings %q, want %d and none", path, v.Bytes, v.warnings, len(want))
		}
	}
}

// What is mounted below the saved folder and shows the kernel's state is left out.
func TestPseudoFileSystemsBelowAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	proc := filepath.Join(dir, "proc")
	if err := os.Mkdir(proc, 0o755); err != nil {
		t.Fatal(err)
	}
	treetest.MountAt(t, proc, "proc")
	v := newShelf(t).save(t, nil, nil, dir)
	if v.entries["proc"] == nil || v.entries["proc/version"] != nil || len(v.warnings) > 0 {
		t.Errorf("%d entries are saved with the warnings %q, want the empty folder and none", len(v.entries), v.warnings)
	}
}

// A file that changes at each reading is saved as it was read, with nothing added, and counted.
func TestChangesDuringTheReadingAreTold(t *testing.T) {
	const size = 3 * chunk.MaxSize
	for name, tc := range map[string]struct {
		change func(f *os.File) error
		once   bool
	}{
		"grows":         {func(f *os.File) error { _, err := f.WriteAt([]byte("x"), size); return err }, true},
		"shrinks":       {func(f *os.File) error { return f.Truncate(size / 2) }, true},
		"keeps growing": {appendByte, false},
		"keeps shrinking": {func(f *os.File) error {
			info, err := f.Stat()
			if err != nil {
				return err
			}
			return f.Truncate(info.Size() - 1)
		}, false},
		"keeps its size": {func(f *os.File) error { _, err := f.WriteAt([]byte("x"), 7); return err }, false},
	} {
		t.Run(name, func(t *testing.T) {
			path, s := filepath.Join(t.TempDir(), "f"), newShelf(t)
			writeFile(t, path, strings.Repeat("content ", size/8))
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			changes := 0
			s.onData = func([]byte) {
				if changes++; tc.once && changes > 1 {
					return
				}
				if err := tc.change(f); err != nil {
					t.Error(err)
				}
			}
			v := s.save(t, nil, nil, path)
			got := v.content(t, "f")
			now, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if tc.once {
				if string(got) != string(now) || len(v.warnings) > 0 {
					t.Errorf("%d bytes are saved with the warnings %q, the file has %d", len(got), v.warnings, len(now))
				}
				return
			}
			if v.Unreadable != 1 || len(v.warnings) != 1 || !strings.Contains(v.warnings[0], "changed while it was read") {
				t.Errorf("%d paths are counted, with the warnings %q", v.Unreadable, v.warnings)
			}
			// A file that is cut off while the kernel copies a page of it reads as zeros there.
			zeros := strings.Contains(string(got), "\x00") && name != "keeps shrinking"
			if int64(len(got)) != v.Bytes || zeros || name == "keeps shrinking" && len(got) >= size {
				t.Errorf("%d bytes are saved and %d counted, or some were added", len(got), v.Bytes)
			}
			if v.entries["f"].Ctime != 0 {
				t.Error("the next backup would not read the file again")
			}
		})
	}
}

func appendByte(f *os.File) error {
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	_, err := f.WriteString("x")
	return err
}

// Times that the file system may give twice are not trusted.
func TestAChangeWithinATickIsSaved(t *testing.T) {
	dir := treetest.Mount(t, "ext4", "-q", "-I", "128")
	path, s := filepath.Join(dir, "f"), newShelf(t)
	var one *saved
	for {
		writeFile(t, path, "AAAA")
		one = s.save(t, nil, nil, path)
		before, now := ctime(t, path), time.Now()
		writeFile(t, path, "BBBB")
		if ctime(t, path) == before && now.Unix() == before {
			break // both within one tick
		}
	}
	two := s.save(t, one, nil, path)
	two.wantContent(t, "f", "BBBB")
}

func ctime(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ctim.Sec
}

// A file may change without a sign, so a backup can be told to read everything.
func TestRereadReadsWhatIsUnchanged(t *testing.T) {
	dir, s := t.TempDir(), newShelf(t)
	writeFile(t, filepath.Join(dir, "f"), "content")
	v := s.save(t, nil, nil, dir)
	for v.Unchanged == 0 { // its times are too fresh at first
		v = s.save(t, v, nil, dir)
	}
	all := s.save(t, v, func(o *Options) { o.Reread = true }, dir)
	if all.Unchanged != 0 || all.Read != 7 {
		t.Errorf("%d files are not read and %d bytes are, want none and 7", all.Unchanged, all.Read)
	}
}

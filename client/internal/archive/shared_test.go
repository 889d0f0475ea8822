package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/tree"
)

// during calls act when all readers are busy with a large file in the folder "m": all paths are
// looked at by then, and the files after it are not read.
func (s *shelf) during(t *testing.T, dir string, act func() error) {
	t.Helper()
	var busy, acted sync.WaitGroup
	busy.Add(readers())
	acted.Add(readers())
	marks := map[string]func(){}
	for i := range readers() {
		mark := bytes.Repeat(fmt.Append(nil, "the file", i, "in the middle"), 20_000)
		writeFile(t, filepath.Join(dir, "m", fmt.Sprint(i)), string(mark))
		marks[string(mark[:10])] = sync.OnceFunc(func() {
			busy.Done()
			busy.Wait()
			if i == 0 {
				if err := act(); err != nil {
					t.Error(err)
				}
			}
			acted.Done()
			acted.Wait()
		})
	}
	s.onData = func(plain []byte) {
		if wait := marks[string(plain[:min(10, len(plain))])]; wait != nil {
			wait()
		}
	}
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Link(from, to); err != nil {
		t.Skipf("no hard link can be made: %v", err)
	}
}

// Every name has what belongs to its file, and names the first.
func TestEveryNameHasWhatBelongsToTheFile(t *testing.T) {
	dir, s := t.TempDir(), newShelf(t)
	a := filepath.Join(dir, "a")
	writeFile(t, a, "text")
	link(t, a, filepath.Join(dir, "z"))
	first := s.save(t, nil, nil, dir)
	again := s.save(t, first, nil, dir)
	for _, v := range []*saved{first, again} {
		v.wantContent(t, "z", "text")
		want := *v.entries["a"]
		want.Path, want.HardLink = "z", "a"
		if got := v.entries["z"]; !got.Equal(&want) {
			t.Errorf("the further name is\n%+v, want\n%+v", got, want)
		}
	}
	if again.Root != first.Root && again.entries["a"].Ctime == first.entries["a"].Ctime {
		t.Error("nothing has changed, and the tree is another one")
	}
}

// A version of an earlier program has no content at further names. When the first name is gone
// from what is saved, the file is read again.
func TestFurtherNamesOfEarlierProgramsAreReadAgain(t *testing.T) {
	before := &tree.Entry{Path: "z", Type: tree.TypeFile, Size: 4, Mtime: 1, Ctime: 2, Ino: 3, HardLink: "a"}
	now := *before
	now.HardLink = ""
	if isUnchanged(&now, before) {
		t.Error("an entry without content counts as unchanged")
	}
	before.Content = tree.Content{Bytes: 4, Pieces: []tree.Piece{{Len: 4}}}
	if !isUnchanged(&now, before) {
		t.Error("an entry with content counts as changed")
	}
}

// What happens to a file between the look at its names and its reading happens to all names.
func TestNamesOfAFileThatChangesStayTogether(t *testing.T) {
	for name, tc := range map[string]struct {
		act      func(dir string) error
		want     map[string]string // by path
		linked   bool
		warnings int
	}{
		"grows": {
			func(dir string) error {
				f, err := os.OpenFile(filepath.Join(dir, "n"), os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				_, err = f.WriteString(" and more")
				return errors.Join(err, f.Close())
			},
			map[string]string{"n": "old and more", "o": "old and more", "p": "old and more"}, true, 0,
		},
		"first name vanishes": {
			func(dir string) error { return os.Remove(filepath.Join(dir, "n")) },
			map[string]string{"o": "old", "p": "old"}, true, 1,
		},
		"first name is replaced": {
			func(dir string) error {
				n := filepath.Join(dir, "n")
				return errors.Join(os.WriteFile(n+".new", []byte("new"), 0o600), os.Rename(n+".new", n))
			},
			map[string]string{"o": "old", "p": "old"}, true, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, s := t.TempDir(), newShelf(t)
			first := filepath.Join(dir, "n")
			writeFile(t, first, "old")
			link(t, first, filepath.Join(dir, "o"))
			link(t, first, filepath.Join(dir, "p"))
			s.during(t, dir, func() error { return tc.act(dir) })
			v := s.save(t, nil, nil, dir)
			for path, content := range tc.want {
				v.wantContent(t, path, content)
			}
			if o, p := v.entries["o"], v.entries["p"]; o == nil || p == nil || (p.HardLink != "") != tc.linked {
				t.Errorf("the further names are %+v and %+v", o, p)
			}
			if len(v.warnings) != tc.warnings || v.Unreadable != int64(tc.warnings) {
				t.Errorf("%d paths are counted, with the warnings %q, want %d", v.Unreadable, v.warnings, tc.warnings)
			}
		})
	}
}

// What is wrong with a file is wrong with each of its names.
func TestEveryNameOfATornFileIsNamed(t *testing.T) {
	dir, s := t.TempDir(), newShelf(t)
	first := filepath.Join(dir, "n")
	writeFile(t, first, string(clienttest.Noise(1, 2<<20)))
	link(t, first, filepath.Join(dir, "o"))
	seconds := time.Unix(1e9, 0)
	s.onData = func([]byte) { // as long as it is read, it changes
		seconds = seconds.Add(time.Second)
		if err := os.Chtimes(first, seconds, seconds); err != nil {
			t.Error(err)
		}
	}
	v := s.save(t, nil, nil, dir)
	slices.Sort(v.warnings)
	if v.Unreadable != 2 || len(v.warnings) != 2 || v.warnings[0][:2] != "n:" || v.warnings[1][:2] != "o:" {
		t.Errorf("%d paths are counted, with the warnings %q, want n and o", v.Unreadable, v.warnings)
	}
}

// A file that got the inode of a removed one is another file, although the inode is the same.
func TestAReusedInodeIsAnotherFile(t *testing.T) {
	files := sharedFiles{}
	item := func(change func(e *tree.Entry)) (f *sharedFile, further bool) {
		e := &tree.Entry{Path: "f", Type: tree.TypeFile, Size: 5, Mtime: 6, Ctime: 7, Dev: 8, Ino: 9}
		change(e)
		it := sharedItem(e)
		return files.find(&it)
	}
	old, further := item(func(*tree.Entry) {})
	if further {
		t.Fatal("the first name counts as further")
	}
	if f, further := item(func(*tree.Entry) {}); f != old || !further {
		t.Error("the second name belongs to another file")
	}
	for name, change := range map[string]func(e *tree.Entry){
		"ctime":  func(e *tree.Entry) { e.Ctime++ },
		"mtime":  func(e *tree.Entry) { e.Mtime++ },
		"size":   func(e *tree.Entry) { e.Size++ },
		"device": func(e *tree.Entry) { e.Dev++ },
	} {
		f, further := item(change)
		if further || f == old {
			t.Errorf("%s: it counts as the same file", name)
		}
	}
}

func sharedItem(e *tree.Entry) scan.Item { return scan.Item{Path: e.Path, Entry: e, Nlink: 2} }

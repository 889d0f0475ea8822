package treetest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEveryDifferenceIsFound(t *testing.T) {
	a, b := New(t, 3, Small), New(t, 3, Small)
	at := func(name string) string { return filepath.Join(b, name) }
	day := time.Unix(1_600_000_000, 1)
	long := "deep" + strings.Repeat("/"+strings.Repeat("d", 250), 19) + "/file"
	var want []string
	change := func(line string, steps ...error) {
		t.Helper()
		if err := errors.Join(steps...); err != nil {
			t.Fatal(err)
		}
		want = append(want, line)
	}
	change(`"files/text-4096": has other content from byte 0 on`, os.WriteFile(at("files/text-4096"), make([]byte, 4096), 0))
	change(`"files/text-4097": has 4095 bytes instead of 4097`, os.Truncate(at("files/text-4097"), 4095))
	change(`"files/twin-a": has other content from byte 3145727 on`, flipLastByte(at("files/twin-a")))
	change(`"files/text-1": has mode -rw------- instead of -rw-r--r--`, os.Chmod(at("files/text-1"), 0o600))
	change(`"order": has mode dtrwxr-xr-x`, os.Chmod(at("order"), 0o755|os.ModeSticky))
	change(`"order/a.b": is missing`, os.Remove(at("order/a.b")))
	change(`"order/new": should not be there`, os.Mkdir(at("order/new"), 0o755))
	change(`"links/self": is drwxr-xr-x instead of L`, os.Remove(at("links/self")), os.Mkdir(at("links/self"), 0o755))
	change(`"links/up": links to "x"`, os.Remove(at("links/up")), os.Symlink("x", at("links/up")))
	change(`are not one file any more`, replaceByCopy(at("links/n-same-folder")))
	change(`["files/text-511" "files/text-65536"] were not one file`, os.Remove(at("files/text-65536")), os.Link(at("files/text-511"), at("files/text-65536")))
	change(`"sparse/all": takes 8388608 bytes on disk instead of 0`, replaceByCopy(at("sparse/all")))
	change(`".": has mode drwx--x--x`, os.Chmod(b, 0o711))
	change(`"`+long+`": has mode -rw-------`, chmodDeep(b, long))
	change(`"files": has mtime 2020-09-13 12:26:40.000000001 +0000 UTC`, os.Chtimes(at("files"), day, day))

	diffs := strings.Join(Compare(a, b, Ignore{}), "\n")
	for _, line := range want {
		if !strings.Contains(diffs, line) {
			t.Errorf("no line has %.80s", line)
		}
	}
	if t.Failed() {
		t.Log(diffs)
	}
}

func flipLastByte(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	content[len(content)-1] ^= 1
	return os.WriteFile(path, content, 0)
}

// replaceByCopy replaces a file by a copy that has no holes and no other names.
func replaceByCopy(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(path), os.WriteFile(path, content, info.Mode()), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

// chmodDeep changes the mode of a file whose path is too long for one system call.
func chmodDeep(dir, path string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Chmod(path, 0o600)
}

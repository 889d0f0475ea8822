package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
)

// filled makes a server's directory with a bucket of 20 values, and returns the bucket's
// folder. crashed leaves it as a server does that was killed.
func filled(t *testing.T, crashed bool) (dir, bucket string) {
	t.Helper()
	dir = t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: "127.0.0.1:0"})
	b := openBucket(t, bustest.Dial(t, s.URL()), "values")
	for i := range 20 {
		if _, err := b.Create(bustest.Context(t), fmt.Sprint("k", i), number{i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remember(); err != nil {
		t.Fatal(err)
	}
	if crashed {
		killed := t.TempDir()
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		bustest.Shutdown(t, s)
		dir = killed
	} else {
		bustest.Shutdown(t, s)
	}
	return dir, filepath.Join(dir, "jetstream", "$G", "streams", "KV_values")
}

// content reads all files of a directory; folders have a nil content.
func content(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "LOCK" {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// blockOf is the path of the only block of a bucket.
func blockOf(t *testing.T, bucket string) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(bucket, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("the blocks are %v, %v", blocks, err)
	}
	return blocks[0]
}

// Damage that the NATS server would answer by throwing data away keeps it from starting. The
// error names what is damaged, and every file is left as it is.
func TestDamagedStreamIsAnErrorAndIsLeftAlone(t *testing.T) {
	edit := func(path string, change func([]byte) []byte) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(b), 0o600)
	}
	for name, c := range map[string]struct {
		crashed bool
		damage  func(bucket, block string) (named string, err error)
	}{
		"a flipped bit": {true, func(_, block string) (string, error) {
			return block, edit(block, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}},
		"a flipped bit in the last message": {false, func(_, block string) (string, error) {
			return block, edit(block, func(b []byte) []byte { b[len(b)-20] ^= 1; return b })
		}},
		"a block of zeros": {true, func(_, block string) (string, error) {
			return block, edit(block, func(b []byte) []byte { return make([]byte, len(b)) })
		}},
		"a block that is cut off": {false, func(_, block string) (string, error) {
			return block, edit(block, func(b []byte) []byte { return b[:len(b)-1] })
		}},
		"an empty block": {false, func(_, block string) (string, error) {
			return block, os.Truncate(block, 0)
		}},
		"a missing block": {false, func(bucket, block string) (string, error) {
			return filepath.Join(bucket, "msgs"), os.Remove(block)
		}},
		"a missing configuration": {true, func(bucket, _ string) (string, error) {
			path := filepath.Join(bucket, "meta.inf")
			return path, os.Remove(path)
		}},
		"a missing checksum": {false, func(bucket, _ string) (string, error) {
			path := filepath.Join(bucket, "meta.sum")
			return path, os.Remove(path)
		}},
		"a damaged configuration": {true, func(bucket, _ string) (string, error) {
			path := filepath.Join(bucket, "meta.inf")
			return path, edit(path, func(b []byte) []byte { return bytes.Replace(b, []byte("limits"), []byte("LIMITS"), 1) })
		}},
		"an empty configuration": {false, func(bucket, _ string) (string, error) {
			path := filepath.Join(bucket, "meta.inf")
			return path, os.Truncate(path, 0)
		}},
		"a missing stream": {true, func(bucket, _ string) (string, error) {
			return "KV_values", os.RemoveAll(bucket)
		}},
		"no streams": {true, func(bucket, _ string) (string, error) {
			return "KV_values", os.RemoveAll(filepath.Join(bucket, "..", "..", ".."))
		}},
		"a file in place of a folder": {true, func(bucket, _ string) (string, error) {
			streams := filepath.Dir(bucket)
			return streams, errors.Join(os.Rename(streams, streams+"2"), os.WriteFile(streams, nil, 0o600))
		}},
		"a damaged record": {true, func(bucket, _ string) (string, error) {
			path := filepath.Join(bucket, "..", "..", "..", "..", "STREAMS")
			return filepath.Clean(path), os.Truncate(path, 5)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, bucket := filled(t, c.crashed)
			named, err := c.damage(bucket, blockOf(t, bucket))
			if err != nil {
				t.Fatal(err)
			}
			before := content(t, dir)
			s, err := embedded.Start(embedded.Options{Dir: dir})
			if err == nil {
				bustest.Shutdown(t, s)
				t.Fatal("the server has started")
			}
			bustest.WantIs(t, err, embedded.ErrUnreadable)
			if !strings.Contains(err.Error(), named) {
				t.Errorf("%q does not name %s", err, named)
			}
			after := content(t, dir)
			for path, b := range before {
				if !bytes.Equal(after[path], b) {
					t.Errorf("%s is another file now", path)
				}
			}
		})
	}
}

// A message that a killed server had begun to write was not acknowledged: it is cut off, and
// what was acknowledged is there.
func TestUnfinishedMessageIsNoDamage(t *testing.T) {
	for name, garbage := range map[string]func(block []byte) []byte{
		"half a message": func(b []byte) []byte { return b[:len(b)/40] },
		"zeros":          func([]byte) []byte { return make([]byte, 5000) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, bucket := filled(t, true)
			block := blockOf(t, bucket)
			b, err := os.ReadFile(block)
			if err == nil {
				err = os.WriteFile(block, append(b, garbage(b)...), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			wantValues(t, dir)
		})
	}
}

// wantValues checks that all values are in the bucket.
func wantValues(t *testing.T, dir string) {
	t.Helper()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: "127.0.0.1:0"})
	defer bustest.Shutdown(t, s)
	found := 0
	err := openBucket(t, bustest.Dial(t, s.URL()), "values").Scan(bustest.Context(t), ">", func(kv.Entry) error { found++; return nil })
	if err != nil || found != 20 {
		t.Errorf("%d values are there, %v", found, err)
	}
}

// Files that the NATS server has removed because it could not read them are there again, at
// once or, if the process was killed, after the next start.
func TestRemovedStreamIsBroughtBack(t *testing.T) {
	dir, bucket := filled(t, false)
	second := filepath.Join(dir, "recovering", "$G", "streams")
	err := os.MkdirAll(second, 0o700)
	if err == nil {
		err = os.Rename(bucket, filepath.Join(second, "KV_values")) // as a crash leaves it
	}
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "recovering")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the second names are still there: %v", err)
	}
}

// A stream of another account's owner is an error that names the file.
func TestUnreadableStreamIsAnError(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("this account may read every file")
	}
	dir, bucket := filled(t, false)
	for _, path := range []string{blockOf(t, bucket), filepath.Join(bucket, "meta.inf"), filepath.Join(bucket, "msgs")} {
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		s, err := embedded.Start(embedded.Options{Dir: dir})
		if err == nil {
			bustest.Shutdown(t, s)
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("the error is %v, want one that names %s", err, path)
		}
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	wantValues(t, dir)
}

// Second names that a server has no need for any more, which a kill has left, are removed, and a
// stream that was deleted meanwhile does not come back from them.
func TestDeletedStreamIsNotBroughtBack(t *testing.T) {
	dir, bucket := filled(t, false)
	old := filepath.Join(dir, "recovered")
	streams := filepath.Join(old, "$G", "streams")
	err := os.MkdirAll(streams, 0o700)
	if err == nil {
		err = os.CopyFS(filepath.Join(streams, "KV_deleted"), os.DirFS(bucket))
	}
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, dir)
	for _, path := range []string{old, filepath.Join(filepath.Dir(bucket), "KV_deleted")} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
}

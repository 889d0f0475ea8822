package client_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pkg/xattr"

	"servidor-backup/client"
	"servidor-backup/client/treetest"
)

// An entry that is reused from the parent version has everything: attributes, targets of links, and
// content.
func TestReusedEntriesAreComplete(t *testing.T) {
	src := treetest.New(t, 3, treetest.Small)
	c := newWorld(t, 1).client()
	back := func(id string) {
		t.Helper()
		to := treetest.TempDir(t)
		res := restore(t, c, client.RestoreOptions{ID: id, To: to})
		same(t, src, filepath.Join(to, res.Top[0]))
	}
	for range 3 { // the first may find times that are too new to be trusted
		save(t, c, client.BackupOptions{Paths: []string{src}, Name: "things"})
	}
	back("things@3")
}

// A change of anything but the content of a file is in the next version, too.
func TestChangesOfMetadataAreSaved(t *testing.T) {
	src := filepath.Join(t.TempDir(), "r")
	at := func(name string) string { return filepath.Join(src, name) }
	write(t, at("file"), []byte("x"))
	write(t, at("dir/other"), []byte("y"))
	check(t, os.Symlink("one", at("link")))
	c := newWorld(t, 1).client()
	for _, change := range []func() error{
		func() error { return nil },
		func() error { return nil },
		func() error { return xattr.Set(at("file"), "user.a", []byte("1")) },
		func() error { return xattr.Set(at("file"), "user.a", []byte("2")) },
		func() error { return xattr.Set(at("dir"), "user.a", []byte("3")) },
		func() error { return nil },
		func() error { return xattr.Set(at("file"), "user.b", bytes.Repeat([]byte("attribute "), 300)) },
		func() error { return xattr.Remove(at("file"), "user.a") },
		func() error { return os.Chmod(at("dir"), 0o700) },
		func() error { return errors.Join(os.Remove(at("link")), os.Symlink("two", at("link"))) },
		func() error { return os.Link(at("file"), at("another")) },
		func() error { return os.Remove(at("another")) },
		func() error { return nil },
	} {
		if err := change(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
		res := save(t, c, client.BackupOptions{Paths: []string{src}})
		to := t.TempDir()
		restore(t, c, client.RestoreOptions{ID: res.Version.ID, To: to})
		same(t, src, filepath.Join(to, "r"))
		settle(t, src)
	}
}

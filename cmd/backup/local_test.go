//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"servidor-backup/client/treetest"
	"servidor-backup/schemas"
)

// The backups in a folder can be made and read with and without a server in turns.
func TestWithAndWithoutAServer(t *testing.T) {
	w := newWorld(t, 2*time.Minute)
	data := w.dir()
	src, before := treetest.New(t, 1, treetest.Small), treetest.New(t, 1, treetest.Small)
	alone := w.local(data)
	first := alone.transmit("--name", "tree", src)
	alone.intact(data)

	p, _ := w.up(data, "--name", "attic")
	w.mutate(src)
	second := w.transmit("--name", "tree", src)
	if second.Sent*4 > first.Sent || second.Unchanged == 0 {
		t.Errorf("the second version sent %d bytes after %d", second.Sent, first.Sent)
	}
	w.restores(second.ID, src)
	// A command with --data finds the "up" that serves the folder.
	if third := alone.transmit("--name", "tree", src); third.ID != "tree@3" || third.Read != 0 {
		t.Errorf("beside the server: %+v", third)
	}
	p.stop()

	if again := alone.transmit("--name", "tree", src); again.ID != "tree@4" || again.Read != 0 || again.Sent != 0 {
		t.Errorf("after the server: %+v", again)
	}
	alone.restores("tree@1", before)
	alone.restores("tree@4", src)
	alone.expect(exitDone, []string{"attic"}, "nodes") // the node keeps its name
	alone.intact(data)
}

// A backup skips its own destination, with a server and without.
func TestBackupsAreNotBackedUp(t *testing.T) {
	w := newWorld(t, time.Minute)
	src := w.dir()
	data := filepath.Join(src, "sub", "backups")
	w.write(filepath.Join(src, "sub", "file"), []byte("x"))
	alone := w.local(data)
	for range 2 {
		alone.transmit("--name", "all", src) // exit code 0: nothing changed while it was read
	}
	w.up(data)
	if res := w.transmit("--name", "all", src); res.ID != "all@3" || res.Files != 1 {
		t.Errorf("%+v", res)
	}
}

// A backup leaves out every folder that a marker marks, whoever's store it is and however the
// server was named, and says so. What only has the marker's name is saved, and so is a folder
// that was named.
func TestStoresAreNotBackedUp(t *testing.T) {
	w := newWorld(t, time.Minute)
	src := w.dir()
	_, url := w.up(filepath.Join(src, "system"))
	node := w.start("storage", "--data", filepath.Join(src, "sub", "node"), "--server", url, "--name", "b")
	node.serves()
	w.local(filepath.Join(src, "disk")).transmit("--name", "x", filepath.Join(w.home)) // another system
	w.write(filepath.Join(src, "file"), []byte("x"))
	w.write(filepath.Join(src, "no store", schemas.StoreMarker), []byte("Signature: of something else"))
	if err := os.MkdirAll(filepath.Join(src, "no store either", schemas.StoreMarker), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o := w.ok("--server", strings.Replace(url, "127.0.0.1", "localhost", 1), "transmit", "--name", "all", src)
		if !strings.Contains(o.out+o.err, "3 folders that hold backups") {
			t.Errorf("not told: %v", o)
		}
	}
	tree := w.ok("list", "all", "--tree", "--server", url).out
	for _, path := range []string{"system/", "disk/", "sub/node/"} {
		if strings.Contains(tree, path) {
			t.Errorf("%s was saved:\n%s", path, tree)
		}
	}
	contains(t, tree, " file", "no store/"+schemas.StoreMarker, "no store either/"+schemas.StoreMarker)

	// A disk that has other things too is not hidden with them.
	disk := filepath.Join(src, "mixed")
	w.write(filepath.Join(disk, "photo"), []byte("x"))
	w.local(disk).transmit("--name", "x", w.home)
	w.transmit("--name", "mixed", src, "--server", url)
	tree = w.ok("list", "mixed", "--tree", "--server", url).out
	if contains(t, tree, "mixed/photo"); strings.Contains(tree, "mixed/node/") || strings.Contains(tree, "mixed/nats/") {
		t.Errorf("a store on a disk was saved:\n%s", tree)
	}
	w.expect(exitFailed, []string{"is not a backup store"}, "storage", "--data", w.home, "--server", url)
	if _, err := os.Stat(filepath.Join(w.home, schemas.StoreMarker)); err == nil {
		t.Error("a folder that is refused was marked")
	}

	// A folder that an older version has made gets its marker when it is served.
	node.stop()
	marker := filepath.Join(src, "sub", "node", schemas.StoreMarker)
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	node = w.start("storage", "--data", filepath.Dir(marker), "--server", url, "--name", "b")
	node.serves()
	if _, err := os.Stat(marker); err != nil {
		t.Error(err)
	}
	node.stop()
	if res := w.local(w.dir()).transmit("--name", "named", filepath.Dir(marker)); res.Files < 3 {
		t.Errorf("a folder that was named: %+v", res)
	}
}

// --data means the same before and after the command "up".
func TestUpTakesDataAnywhere(t *testing.T) {
	w := newWorld(t, time.Minute)
	for _, args := range [][]string{{"--data", "a", "up"}, {"up", "--data", "a"}} {
		p := w.start(append(args, "--listen", "127.0.0.1:0")...)
		p.serves()
		p.stop()
		w.intact("a")
	}
	p := w.local("b").start("up", "--listen", "127.0.0.1:0")
	p.serves()
	p.stop()
	w.intact("b")
	for _, name := range []string{"a/nats", "a/node", "b/nats", "b/node"} {
		if _, err := os.Stat(filepath.Join(w.home, name)); err != nil {
			t.Error(err)
		}
	}
}

// Two commands cannot use one folder at once: the second waits a moment and then names the
// process that uses it.
func TestAFolderInUse(t *testing.T) {
	w := newWorld(t, time.Minute)
	data := w.dir()
	alone := w.local(data)
	p, in := alone.busy()
	alone.expect(exitFailed, []string{data + " is in use by process " + strconv.Itoa(p.cmd.Process.Pid), "hint: "}, "transmit", w.home)

	waiting := alone.start("list")
	w.eventually("it is waiting", func() bool { return strings.Contains(waiting.stderr.String(), "is in use by process") })
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitDone {
		t.Errorf("exit code %d: %s", code, tail(p.stderr.String()))
	}
	if code := waiting.wait(); code != exitDone {
		t.Errorf("exit code %d: %s", code, tail(waiting.stderr.String()))
	}
	alone.intact(data)
}

// An interrupt ends command and system in order. A kill loses nothing that was saved before.
func TestInterruptedWithoutAServer(t *testing.T) {
	w := newWorld(t, time.Minute)
	data, src := w.dir(), treetest.New(t, 1, treetest.Small)
	alone := w.local(data)
	alone.transmit("--name", "tree", src)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, os.Kill} {
		p, in := alone.busy()
		if err := p.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(); signal != os.Kill && (code != exitInterrupted || !strings.Contains(p.stderr.String(), "interrupted")) {
			t.Errorf("%v: exit code %d: %s", signal, code, tail(p.stderr.String()))
		}
		in.Close()
		alone.intact(data)
		alone.restores("tree", src)
	}
}

// An interrupt ends a command at once even while it waits for its rate limit.
func TestLimitedTransfersCanBeInterrupted(t *testing.T) {
	w := newWorld(t, time.Minute)
	alone := w.local(w.dir())
	src := w.dir()
	w.write(filepath.Join(src, "file"), random(1, 6*mib))
	for _, args := range [][]string{
		{"transmit", "--limit-upload", "1K", src}, // would take hours
		{"download", "--limit-download", "1K", filepath.Base(src)},
	} {
		p := alone.start(args...)
		w.eventually("the folder is in use", func() bool { return lockHolder(filepath.Join(natsDir(alone.data), "LOCK")) > 0 })
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(); code != exitInterrupted || !strings.Contains(p.stderr.String(), "interrupted") {
			t.Errorf("%q: exit code %d: %s", args, code, tail(p.stderr.String()))
		}
		alone.transmit(src)
	}
}

//go:build unix

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/client/treetest"
)

// random is incompressible content that depends only on the seed.
func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2], key[3] = byte(seed), byte(seed>>8), byte(seed>>16), byte(seed>>24)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

const mib = 1 << 20

func TestTreeIsRestored(t *testing.T) {
	w := newWorld(t, 2*time.Minute)
	w.up(w.dir())
	src, before := treetest.New(t, 1, treetest.Small), treetest.New(t, 1, treetest.Small)
	first := w.transmit("--name", "tree", src)
	w.mutate(src)
	second := w.transmit("--name", "tree", src)
	if second.Sent*4 > first.Sent || second.Unchanged == 0 {
		t.Errorf("the second version sent %d bytes after %d", second.Sent, first.Sent)
	}
	w.restores(second.ID, src)
	to := w.dir()
	res := w.download(first.ID, "--to", to)
	w.same(before, filepath.Join(to, res.Top[0]))
}

// mutate changes a generated tree in typical ways.
func (w *world) mutate(src string) {
	w.Helper()
	w.write(filepath.Join(src, "files", "new", "file"), []byte("new"))
	w.write(filepath.Join(src, "files", "random-4096"), []byte("other content"))
	for _, err := range []error{
		os.RemoveAll(filepath.Join(src, "order")),
		os.Rename(filepath.Join(src, "files", "twin-a"), filepath.Join(src, "files", "renamed")),
		os.Chmod(filepath.Join(src, "files", "text-1"), 0o600),
		os.Remove(filepath.Join(src, "files", "zeros")),
		os.Mkdir(filepath.Join(src, "files", "zeros"), 0o755), // a folder in place of a file
		os.Remove(filepath.Join(src, "links", "dangling")),
		os.Symlink("elsewhere", filepath.Join(src, "links", "dangling")),
		os.Link(filepath.Join(src, "files", "text-2"), filepath.Join(src, "files", "text-2-too")),
	} {
		if err != nil {
			w.Fatal(err)
		}
	}
}

// Other tools find the restored part of a version equal to the source.
func TestOtherToolsAgree(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	src := treetest.New(t, 2, treetest.Small)
	w.transmit("--name", "tree", src)
	to := w.dir()
	w.download("tree", "files", "order/a", "--to", to)
	for _, tool := range [][]string{
		{"diff", "-r"}, {"rsync", "-aniHAX", "--checksum", "--delete"},
	} {
		path, err := exec.LookPath(tool[0])
		if err != nil {
			t.Logf("%s is not installed, so it does not compare", tool[0])
			continue
		}
		for a, b := range map[string]string{"files": "files", "order/a": "a"} {
			args := append(tool[1:], filepath.Join(src, a)+"/", filepath.Join(to, b)+"/")
			if out, err := exec.CommandContext(w.ctx, path, args...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s finds a difference: %v\n%s", tool[0], err, out)
			}
		}
	}
}

func TestUnchangedFilesAreNotRead(t *testing.T) {
	w := newWorld(t, 3*time.Minute)
	w.up(w.dir())
	files := pick(t, 3000, 20_000)
	src := w.dir()
	for i := range files {
		w.write(filepath.Join(src, fmt.Sprint(i/100), fmt.Sprint(i)), random(uint64(i), i%3000))
	}
	first := w.transmit("--name", "small", src)
	again := w.transmit("--name", "small", src)
	if first.Files != int64(files) || again.Unchanged != int64(files) || again.Read != 0 {
		t.Errorf("of %d files the first run saved %d; the second read %d bytes and found %d unchanged", files, first.Files, again.Read, again.Unchanged)
	}
	if again.Sent*100 > first.Sent {
		t.Errorf("the second run sent %d bytes, the first %d", again.Sent, first.Sent)
	}
	w.restores("small", src)
}

func TestInsertedByteSendsLittle(t *testing.T) {
	w := newWorld(t, 3*time.Minute)
	w.up(w.dir())
	size := pick(t, 64*mib, 1024*mib)
	path := filepath.Join(w.dir(), "big")
	content := random(3, size)
	w.write(path, content)
	w.transmit(path)
	content = append([]byte{'!'}, content...)
	w.write(path, content)
	if again := w.transmit(path); again.Sent >= 4*mib || again.Read != int64(len(content)) {
		t.Errorf("%d bytes were sent again, %d of %d read", again.Sent, again.Read, len(content))
	}
	if got := w.ok("download", "big", "--to", "-").out; got != string(content) {
		t.Errorf("%d bytes were restored that are not the file", len(got))
	}
}

func TestSparseFileStaysSparse(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	src := w.dir()
	f, err := os.Create(filepath.Join(src, "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 30); err != nil {
		t.Skipf("SKIPPED: this file system allows no sparse file of 64 GiB: %v", err)
	}
	for _, off := range []int64{0, 5 << 30, 64<<30 - 10_000} {
		if _, err := f.WriteAt(random(4, 10_000), off); err != nil {
			t.Fatal(err)
		}
	}
	saved := w.transmit("--name", "sparse", src)
	if saved.Read > mib || saved.Bytes != 64<<30 {
		t.Errorf("%+v", saved)
	}
	w.restores("sparse", src)
}

func TestPipes(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	for _, content := range [][]byte{nil, []byte("x"), random(5, 5*mib+1)} {
		cmd := w.command("transmit", "-", "--name", "dump.sql")
		cmd.Stdin = bytes.NewReader(content)
		w.finish(cmd).demand(t, exitDone)
		if got := w.ok("download", "dump.sql", "--to", "-").out; got != string(content) {
			t.Errorf("%d of %d bytes were restored", len(got), len(content))
		}
	}
	w.expect(exitUsage, []string{"--name"}, "transmit", "-")
}

// A part of a version that contains only another name of a file restores the file's content.
func TestHardLinkSubset(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	src := w.dir()
	w.write(filepath.Join(src, "a", "first"), random(6, 700_000))
	for _, name := range []string{"b/second", "b/third"} {
		path := filepath.Join(src, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(src, "a", "first"), path); err != nil {
			t.Fatal(err)
		}
	}
	w.transmit("--name", "links", src)
	w.restores("links", src)
	to := w.dir()
	w.download("links", "b", "--to", to)
	w.same(filepath.Join(src, "b"), filepath.Join(to, "b"))
	if got := w.ok("download", "links", "b/third", "--to", "-").out; got != string(random(6, 700_000)) {
		t.Errorf("%d bytes came to stdout", len(got))
	}
}

func TestExistingTargetIsRefused(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	src, to := filepath.Join(w.dir(), "docs"), w.dir()
	w.write(filepath.Join(src, "letter"), []byte("saved"))
	w.transmit(src)
	w.write(filepath.Join(to, "docs", "letter"), []byte("mine"))
	w.write(filepath.Join(to, "docs", "other"), []byte("mine too"))
	w.expect(exitFailed, []string{"--force", filepath.Join(to, "docs")}, "download", "docs", "--to", to)
	w.holds(filepath.Join(to, "docs", "letter"), "mine")
	w.download("docs", "--to", to, "--force")
	w.holds(filepath.Join(to, "docs", "letter"), "saved")
	w.holds(filepath.Join(to, "docs", "other"), "mine too")
}

// holds demands the content of a file.
func (w *world) holds(path, want string) {
	w.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		w.Errorf("%s holds %q (%v), not %q", path, tail(string(got)), err, tail(want))
	}
}

// The command prints the paths that it restored.
func TestRestoredPathsAreNamed(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	src, to := filepath.Join(w.dir(), "docs"), w.dir()
	w.write(filepath.Join(src, "letter"), []byte("saved"))
	w.transmit(src)
	o := w.ok("download", "docs", "--to", to)
	for line := range strings.Lines(o.out) {
		if path, ok := strings.CutPrefix(line, "  "); ok {
			if path = strings.TrimSpace(path); path != filepath.Join(to, "docs") {
				t.Errorf("it printed %q, restored to %q", path, to)
			}
			return
		}
	}
	t.Errorf("it printed no path: %v", o)
}

// nodeLine is a node in the output of "nodes --json".
type nodeLine struct {
	Name, State, Trouble string
	Chunks, Bytes        int64
}

func (w *world) nodes() []nodeLine {
	w.Helper()
	return lines[nodeLine](w.T, w.ok("nodes", "--json").out)
}

// Every role runs in its own process with an unmodified NATS server. A role that starts first
// waits for the others.
func TestRolesInAnyOrder(t *testing.T) {
	for _, order := range []string{"server coordinator a b", "coordinator a server b", "a b server coordinator", "b server coordinator a"} {
		t.Run(order, func(t *testing.T) {
			w := newNATSWorld(t, 2*time.Minute)
			address := bustest.FreeAddress(t)
			url := "nats://" + address
			client := w.with("BACKUP_SERVER=" + url)
			data := map[string]string{"a": w.dir(), "b": w.dir()}
			running := map[string]*process{}
			for role := range strings.FieldsSeq(order) {
				switch role {
				case "server":
					running[role] = w.launchNATS("-p", strings.TrimPrefix(address, "127.0.0.1:"))
				case "coordinator":
					running[role] = w.start("coordinator", "--server", url)
				default:
					running[role] = w.start("storage", "--data", data[role], "--server", url, "--name", role)
				}
			}
			for _, role := range []string{"coordinator", "a", "b"} {
				if what := running[role].serves(); !strings.Contains(what, url) {
					t.Errorf("%s is ready with %q", role, what)
				}
			}
			client.twoNodesWork()
			for _, role := range []string{"a", "coordinator", "b"} {
				running[role].stop()
			}
			for _, dir := range data {
				w.intact(dir)
			}
		})
	}
}

// twoNodesWork demands that data goes to both nodes and can be restored.
func (w *world) twoNodesWork() {
	w.Helper()
	src := w.dir()
	w.write(filepath.Join(src, "file"), random(7, 16*mib))
	w.transmit("--name", "spread", src)
	w.restores("spread", src)
	w.eventually("both nodes have chunks", func() bool {
		nodes := w.nodes()
		if len(nodes) != 2 || nodes[0].Name != "a" || nodes[1].Name != "b" {
			w.Fatalf("the nodes are %+v", nodes)
		}
		return !slices.ContainsFunc(nodes, func(n nodeLine) bool { return n.State != "up" || n.Chunks == 0 })
	})
}

// Chunks that reached the node before the client was killed are not sent again.
func TestInterruptedTransmitContinues(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	content := random(8, 24*mib)
	cmd := w.command("transmit", "-", "--name", "dump")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := w.launch(cmd)
	if _, err := in.Write(content[:16*mib]); err != nil {
		t.Fatal(err)
	}
	var stored int64
	w.eventually("the node has the first MiB", func() bool {
		stored = w.nodes()[0].Bytes
		return stored > 8*mib
	})
	p.kill()
	w.expect(exitDone, nil, "list")
	w.expect(exitFailed, []string{"dump"}, "list", "dump")

	cmd = w.command("transmit", "-", "--name", "dump", "--json")
	cmd.Stdin = bytes.NewReader(content)
	o := w.finish(cmd)
	o.demand(t, exitDone)
	if again := parse[saved](t, o.out); again.Sent > int64(len(content))-stored+mib {
		t.Errorf("%d bytes of %d were sent although %d were stored", again.Sent, len(content), stored)
	}
	if got := w.ok("download", "dump", "--to", "-").out; got != string(content) {
		t.Errorf("%d bytes were restored that are not the saved ones", len(got))
	}
}

// Ctrl-C ends a command at once with a message.
func TestInterruptIsReported(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	cmd := w.command("transmit", "-", "--name", "endless")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := w.launch(cmd)
	for range 2 {
		if _, err := in.Write(random(9, 4*mib)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitInterrupted || !strings.Contains(p.stderr.String(), "interrupted") {
		t.Errorf("exit %d: %s", code, p.stderr.String())
	}
}

// Clients of one nickname and of several save at the same time; a part of the content is
// shared.
func TestManyClientsAtOnce(t *testing.T) {
	w := newWorld(t, 2*time.Minute)
	_, url := w.up(w.dir())
	other := w.machine().with("BACKUP_SERVER="+url, "BACKUP_NICKNAME=rui")
	clients := []*world{w, w, w, w, other, other}
	shared := random(10, 4*mib)
	sources := make([]string, len(clients))
	running := make([]*process, len(clients))
	for i, c := range clients {
		sources[i] = w.dir()
		w.write(filepath.Join(sources[i], "shared"), shared)
		w.write(filepath.Join(sources[i], "own"), random(uint64(100+i), 2*mib))
		running[i] = c.start("transmit", "--name", fmt.Sprint("r", i), sources[i])
	}
	for i, p := range running {
		if code := p.wait(); code != exitDone {
			t.Fatalf("client %d ended with %d: %s", i, code, p.stderr.String())
		}
	}
	for i, c := range clients {
		c.restores(fmt.Sprintf("r%d@1", i), sources[i])
	}
}

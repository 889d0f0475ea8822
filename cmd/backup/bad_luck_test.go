//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"servidor-backup/bus/bustest"
	"servidor-backup/client/treetest"
)

// failTime is how long a command may take to find out that nothing answers: five seconds, and
// some more on a busy machine.
const failTime = 15 * time.Second

// failsSoon demands a failure within failTime.
func (w *world) failsSoon(texts []string, args ...string) {
	w.Helper()
	if o := w.expect(exitFailed, texts, args...); o.took > failTime {
		w.Errorf("the failure took %v", o.took)
	}
}

// The error says which part does not answer: server, coordinator or node.
func TestUnreachablePartIsNamed(t *testing.T) {
	w := newNATSWorld(t, 2*time.Minute)
	file := filepath.Join(w.dir(), "file")
	w.write(file, []byte("x"))
	w.failsSoon([]string{"no server is known", "backup up --data"}, "list")

	nowhere := "nats://" + bustest.FreeAddress(t)
	for _, command := range [][]string{{"list"}, {"transmit", file}, {"download", "file"}, {"nodes"}} {
		w.failsSoon([]string{"no NATS server answers", nowhere}, append(command, "--server", nowhere)...)
	}
	w.failsSoon([]string{"no NATS server answers"}, "list", "--server", w.silentServer())

	_, url := w.natsServer()
	w = w.with("BACKUP_SERVER=" + url)
	for _, command := range [][]string{{"list"}, {"transmit", file}, {"download", "file"}} {
		w.failsSoon([]string{"no coordinator answers", "backup coordinator --server " + url}, command...)
	}

	w.start("coordinator", "--server", url).serves()
	// Without a node nobody knows whether a catalogue was lost: "never saved" would be too much.
	w.failsSoon([]string{"no storage node is up", "backup storage"}, "transmit", file)
	w.failsSoon([]string{"no storage node is up", "backup storage"}, "download", "file")

	node := w.start("storage", "--server", url, "--data", w.dir(), "--name", "cellar")
	node.serves()
	w.transmit(file)
	node.stop()
	w.failsSoon([]string{"cellar: down"}, "transmit", file)
	w.failsSoon(nil, "download", "file", "--to", w.dir())
	w.expect(exitDone, []string{"file"}, "list")
}

// silentServer accepts connections and never answers.
func (w *world) silentServer() (url string) {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the cleanup has closed it
			}
			open.Go(func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
	})
	w.Cleanup(func() {
		if err := l.Close(); err != nil {
			w.Error(err)
		}
		open.Wait()
	})
	return "nats://" + l.Addr().String()
}

// asNobody makes a world whose programs have no special rights. If the tests run as root, it
// needs another user, and folders that this user can reach.
func (w *world) asNobody() *world {
	w.Helper()
	if os.Geteuid() != 0 {
		return w
	}
	const nobody = 65534
	other := *w
	other.home = w.sharedDir()
	other.exe = filepath.Join(w.sharedDir(), "backup")
	other.cred = &syscall.Credential{Uid: nobody, Gid: nobody}
	program, err := os.ReadFile(w.exe)
	if err == nil {
		err = os.WriteFile(other.exe, program, 0o755)
	}
	if err = errors.Join(err, os.Chown(other.home, nobody, nobody)); err != nil {
		w.Fatal(err)
	}
	return &other
}

// sharedDir is a folder that every user can reach.
func (w *world) sharedDir() string {
	w.Helper()
	dir, err := os.MkdirTemp("", "backup-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			w.Error(err)
		}
	})
	return dir
}

func TestUnreadableFileIsSkipped(t *testing.T) {
	w := newWorld(t, time.Minute)
	_, url := w.up(w.dir())
	w = w.asNobody().with("BACKUP_SERVER=" + url)
	src := w.sharedDir()
	secret := filepath.Join(src, "secret")
	w.write(filepath.Join(src, "open"), []byte("read me"))
	w.write(secret, []byte("do not"))
	w.write(filepath.Join(src, "closed", "file"), []byte("below"))
	w.chmod(secret, 0)
	w.chmod(filepath.Join(src, "closed"), 0)

	o := w.expect(exitPartial, []string{"secret", "closed", "permission denied"}, "transmit", "--name", "mixed", "--json", src)
	if got := parse[saved](t, o.out); got.Unreadable != 2 || got.Files != 1 {
		t.Errorf("%+v", got)
	}
	w.expect(exitDone, []string{`"partial":true`}, "list", "mixed", "--json")
	told := []string{"mixed@1", "incomplete"}
	if got := w.expect(exitPartial, told, "download", "mixed", "open", "--to", "-").out; got != "read me" {
		t.Errorf("%q", got)
	}
	to := w.sharedDir()
	w.chmod(to, 0o777)
	o = w.expect(exitPartial, told, "download", "mixed", "--to", to, "--json")
	if got := parse[jsonRestored](t, o.out); !got.Partial || got.Failed != 0 || got.Files != 1 {
		t.Errorf("%+v", got)
	}
	w.expect(exitDone, told, "check", "mixed", "--quiet")
	w.expect(exitFailed, []string{"secret"}, "download", "mixed", "secret", "--to", "-")

	w.chmod(secret, 0o644)
	w.chmod(filepath.Join(src, "closed"), 0o755)
	if got := w.transmit("--name", "mixed", src); got.Unreadable != 0 || got.Files != 3 {
		t.Errorf("%+v", got)
	}
}

func (w *world) chmod(path string, mode os.FileMode) {
	w.Helper()
	if err := os.Chmod(path, mode); err != nil {
		w.Fatal(err)
	}
}

func TestTargetWithoutPermission(t *testing.T) {
	w := newWorld(t, time.Minute)
	_, url := w.up(w.dir())
	w = w.asNobody().with("BACKUP_SERVER=" + url)
	src, to := filepath.Join(w.sharedDir(), "docs"), w.sharedDir()
	w.write(filepath.Join(src, "letter"), []byte("x"))
	w.transmit(src)
	w.chmod(to, 0o555)
	w.expect(exitFailed, []string{to, "permission denied"}, "download", "docs", "--to", to)
	w.expect(exitFailed, []string{to, "permission denied"}, "download", "docs", "--to", filepath.Join(to, "new"))
	w.chmod(to, 0o755)
}

// Of a file that grows while it is read, a beginning is saved, and the command reports the
// change.
func TestFileChangesWhileRead(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	src := w.dir()
	log := filepath.Join(src, "app.log")
	w.write(filepath.Join(src, "still"), []byte("still"))
	w.write(log, random(20, 48*mib)) // large, so that the append happens while it is read
	stop := w.appendTo(log)
	o := w.run("transmit", "--name", "busy", src)
	stop()
	o.demand(t, exitPartial, "app.log", "changed while it was read")
	now, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	told := []string{"busy@1", "incomplete"}
	if got := w.expect(exitPartial, told, "download", "busy", "app.log", "--to", "-").out; len(got) < 48*mib || !bytes.HasPrefix(now, []byte(got)) {
		t.Errorf("%d bytes were restored that are no beginning of the file", len(got))
	}
	if got := w.expect(exitPartial, told, "download", "busy", "still", "--to", "-").out; got != "still" {
		t.Errorf("%q", got)
	}
	if again := w.transmit("--name", "busy", src); again.Unchanged != 1 {
		t.Errorf("a file that changed was not read again: %+v", again)
	}
	w.restores("busy", src)
}

// appendTo lets a file grow until stop is called.
func (w *world) appendTo(path string) (stop func()) {
	w.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.Fatal(err)
	}
	ended, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-ended:
				done <- f.Close()
				return
			default:
			}
			if _, err := fmt.Fprintln(f, time.Now()); err != nil {
				done <- errors.Join(err, f.Close())
				return
			}
		}
	}()
	return func() {
		w.Helper()
		close(ended)
		if err := <-done; err != nil {
			w.Fatal(err)
		}
	}
}

// Files that are deleted during a backup are skipped, and the rest is saved unchanged.
func TestFilesAreDeletedDuringBackup(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	src := w.dir()
	const files = 1500
	for i := range files {
		w.write(filepath.Join(src, fmt.Sprintf("%04d", i)), random(uint64(i), 5000))
	}
	client := w.start("transmit", "--name", "melting", src)
	for i := files - 1; i >= 0; i -= 2 {
		if err := os.Remove(filepath.Join(src, fmt.Sprintf("%04d", i))); err != nil {
			t.Fatal(err)
		}
	}
	code := client.wait()
	if code != exitDone && code != exitPartial {
		t.Fatalf("it ended with %d", code)
	}
	to := w.dir()
	w.expect(code, nil, "download", "melting", "--to", to)
	for i := range files {
		name := fmt.Sprintf("%04d", i)
		got, err := os.ReadFile(filepath.Join(to, filepath.Base(src), name))
		if missing := errors.Is(err, fs.ErrNotExist); missing && i%2 == 0 || !missing && !bytes.Equal(got, random(uint64(i), 5000)) {
			t.Errorf("%s was restored with %d bytes: %v", name, len(got), err)
		}
	}
}

// The disk of the node is its own file system, which the test fills.
func TestDiskOfNodeIsFull(t *testing.T) {
	w := newWorld(t, 2*time.Minute)
	data := w.dir()
	disk := filepath.Join(data, "node")
	w.mount(disk, "112m")
	p, url := w.up(data)
	src, more := w.dir(), w.dir()
	w.write(filepath.Join(src, "fits"), random(30, 8*mib))
	w.write(filepath.Join(more, "does not"), random(31, 60*mib))
	w.transmit("--name", "fits", src)

	w.expect(exitFailed, []string{"full", "free space on the node"}, "transmit", "--name", "more", more)
	// Less than a chunk may still be free, enough for a small file. Another program takes
	// that, and a part of what the node reserves for its index.
	w.write(filepath.Join(disk, "of another program"), random(33, 24*mib))
	wire := w.dialWire(url)
	request := fields{"apelido": "rui", "nome_arquivo": "f", "conteudo_arquivo": random(32, 900_000)}
	wire.refuse("backup.transmit", wire.encode(request), wireStorage, "disk-full")
	w.restores("fits", src) // reads still work
	w.eventually("the node reports the full disk", func() bool { return w.nodes()[0].Trouble == "disk-full" })
	w.expect(exitFailed, []string{"more"}, "list", "more")

	w.remount(disk, "300m")
	w.eventually("the node reports no trouble", func() bool { return w.nodes()[0].Trouble == "" })
	w.transmit("--name", "more", more)
	w.restores("more", more)
	wire.succeed("backup.transmit", request)

	// With a completely full disk the start fails with a message instead of waiting.
	p.kill()
	if err := w.tryFill(disk, 0); err != nil {
		t.Fatal(err)
	}
	w.expect(exitFailed, []string{"is full", "make room, and start it again"}, "up", "--data", data, "--listen", "127.0.0.1:0")
	w.remount(disk, "300m")
	w.up(data)
}

// lastSegment is the file to which the node appends.
func (w *world) lastSegment(data string) string {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(data, "node", "segments", "*.seg"))
	if err != nil || len(files) == 0 {
		w.Fatalf("no segments: %v", err)
	}
	return files[len(files)-1]
}

// After a crash the last write may be partial or garbage. No acknowledged version suffers.
func TestTornTail(t *testing.T) {
	for name, tear := range map[string]func(b []byte) []byte{
		"garbage follows":        func(b []byte) []byte { return append(b, random(40, 300_000)...) },
		"zeros follow":           func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
		"half a record follows":  func(b []byte) []byte { return append(b, b[128:100_000]...) },
		"the last mark is short": func(b []byte) []byte { return b[:len(b)-50] },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, time.Minute)
			data, src := w.dir(), treetest.New(t, 3, treetest.Small)
			p, _ := w.upRaw(data)
			first := w.transmit("--name", "tree", src)
			p.kill()
			segment := w.lastSegment(data)
			b, err := os.ReadFile(segment)
			if err == nil {
				err = os.WriteFile(segment, tear(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.up(data)
			w.restores(first.ID, src)
			w.write(filepath.Join(src, "files", "after"), random(41, mib))
			w.restores(w.transmit("--name", "tree", src).ID, src)
		})
	}
}

// A damaged chunk is reported, everything else is restored, and the next backup of the same
// content repairs the chunk.
func TestFlippedBit(t *testing.T) {
	w := newWorld(t, 2*time.Minute)
	data, src := w.dir(), filepath.Join(w.dir(), "docs")
	files := []string{"a", "b", "c"}
	for i, name := range files {
		w.write(filepath.Join(src, name), random(uint64(50+i), 100_000)) // one chunk each
	}
	p, url := w.upRaw(data)
	w.transmit(src)
	wire := w.dialWire(url)
	wire.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": "plain", "conteudo_arquivo": "a needle in a segment"})
	p.stop()
	w.flip(w.lastSegment(data), func(b []byte) int { return 150_000 }) // in the second chunk
	w.flip(w.lastSegment(data), func(b []byte) int { return bytes.Index(b, []byte("needle")) })
	w.expect(exitFailed, []string{"segments/", "chunk", "2 problems"}, "storage", "--data", data, "--check")

	p, url = w.upRaw(data)
	to := w.dir()
	o := w.expect(exitPartial, []string{"chunk", "1 path"}, "download", "docs", "--to", to)
	bad := w.damaged(src, filepath.Join(to, "docs"), files)
	if !strings.Contains(o.err, bad) {
		t.Errorf("%q is missing and not reported: %v", bad, o)
	}
	w.expect(exitFailed, []string{"chunk"}, "download", "docs", bad, "--to", "-")
	w.expect(exitFailed, []string{"chunk"}, "download", "docs", bad, "--to", w.dir())
	wire = w.dialWire(url)
	wire.refuse("backup.download", wire.encode(fields{"apelido": "ana", "id_arquivo": "plain"}), wireStorage, "corrupt")

	now := time.Now()
	if err := os.Chtimes(filepath.Join(src, bad), now, now); err != nil {
		t.Fatal(err)
	}
	w.transmit(src)
	wire.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": "plain", "conteudo_arquivo": "a needle in a segment"})
	w.restores("docs", src)
	back := w.dir()
	w.download("docs@1", "--to", back)
	if left := w.differing(src, filepath.Join(back, "docs"), files); len(left) != 0 {
		t.Errorf("the first version still lacks %q", left)
	}
	p.stop()
	w.intact(data)
}

// flip flips one bit of the byte at the offset that at returns.
func (w *world) flip(path string, at func([]byte) int) {
	w.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	off := at(b)
	if off < 0 || off >= len(b) {
		w.Fatalf("offset %d is outside of %d bytes", off, len(b))
	}
	b[off] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.Fatal(err)
	}
}

// differing returns the files whose content in b is missing or not as in a.
func (w *world) differing(a, b string, files []string) (names []string) {
	w.Helper()
	for _, name := range files {
		want, err := os.ReadFile(filepath.Join(a, name))
		if err != nil {
			w.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(b, name)); err != nil || !bytes.Equal(got, want) {
			names = append(names, name)
		}
	}
	return names
}

// damaged returns the one file that b lacks.
func (w *world) damaged(a, b string, files []string) string {
	w.Helper()
	names := w.differing(a, b, files)
	if len(names) != 1 {
		w.Fatalf("want one missing file: %q", names)
	}
	if _, err := os.Lstat(filepath.Join(b, names[0])); !errors.Is(err, fs.ErrNotExist) {
		w.Errorf("the damaged %q exists: %v", names[0], err)
	}
	return names[0]
}

func TestDataFolderIsInUse(t *testing.T) {
	w := newWorld(t, time.Minute)
	data := w.dir()
	_, url := w.up(data)
	w.expect(exitFailed, []string{"in use", data}, "up", "--data", data, "--listen", "127.0.0.1:0")
	node := filepath.Join(data, "node")
	w.expect(exitFailed, []string{"in use", node}, "storage", "--data", node, "--server", url)
	w.expect(exitFailed, []string{"in use", node}, "storage", "--data", data, "--check")
	w.expect(exitDone, nil, "nodes")
}

// The test rewrites a store's identity as a future program might.
func TestNewerFormatIsRefused(t *testing.T) {
	w := newWorld(t, time.Minute)
	data := w.dir()
	p, _ := w.upRaw(data)
	p.stop()
	path := filepath.Join(data, "node", "STORE")
	b, err := os.ReadFile(path)
	if err != nil || len(b) != 128 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	binary.LittleEndian.PutUint32(b[8:], 99)
	sum := blake3.Sum256(b[:96])
	copy(b[96:], sum[:])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	w.expect(exitFailed, []string{"newer version", "99"}, "up", "--data", data, "--listen", "127.0.0.1:0")
	w.expect(exitFailed, []string{"newer version", "99"}, "storage", "--data", data, "--check")
}

// Links in a version are restored as links. A restore writes outside of its folder neither
// through them nor through links in the target.
func TestRestoreFollowsNoLinks(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	outside := w.dir()
	w.write(filepath.Join(outside, "precious"), []byte("precious"))
	src := filepath.Join(w.dir(), "docs")
	w.write(filepath.Join(src, "sub", "precious"), []byte("from the backup"))
	if err := os.Symlink(outside, filepath.Join(src, "away")); err != nil {
		t.Fatal(err)
	}
	w.transmit(src)
	w.restores("docs", src)

	to := w.dir()
	if err := os.Mkdir(filepath.Join(to, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(to, "docs", "sub")); err != nil {
		t.Fatal(err)
	}
	w.download("docs", "--to", to, "--force")
	w.same(src, filepath.Join(to, "docs"))
	w.holds(filepath.Join(outside, "precious"), "precious")
	if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
		t.Errorf("outside of the target: %v, %v", names, err)
	}
}

func TestUnknownSettingIsNamed(t *testing.T) {
	w := newWorld(t, time.Minute)
	config := filepath.Join(w.dir(), "config.toml")
	w.write(config, []byte("nickname = \"ana\"\nserwer = \"nats://127.0.0.1:1\"\n"))
	w.expect(exitFailed, []string{config, "line 2", "serwer"}, "list", "--config", config)
}

// A record is one folder on one machine, unless --moved says otherwise.
func TestNameStandsForOneSource(t *testing.T) {
	w := newWorld(t, time.Minute)
	w.up(w.dir())
	here, there := filepath.Join(w.dir(), "docs"), filepath.Join(w.dir(), "docs")
	w.write(filepath.Join(here, "letter"), []byte("mine"))
	w.write(filepath.Join(there, "letter"), []byte("other"))
	w.transmit(here)
	w.expect(exitFailed, []string{"docs", "another source", "--name", "--moved"}, "transmit", there)
	w.restores("docs", here)
	w.transmit(there, "--moved")
	w.restores("docs", there)
	w.restores("docs@1", here)
	w.expect(exitFailed, []string{"--moved"}, "transmit", here)
}

func TestOtherKeyIsRefused(t *testing.T) {
	w := newWorld(t, time.Minute)
	_, url := w.up(w.dir())
	src := filepath.Join(w.dir(), "docs")
	w.write(filepath.Join(src, "letter"), []byte("secret"))
	w.transmit(src)
	other := w.machine().with("BACKUP_SERVER=" + url)
	other.expect(exitFailed, []string{"not on this machine", "copy its file to", "--key-file", "--nickname"}, "transmit", src)

	keyless := w.machine().with("BACKUP_SERVER=" + url)
	o := keyless.expect(exitFailed, []string{"not on this machine", "copy its file to"}, "download", "docs", "--to", "-")
	if strings.Contains(o.out, "secret") {
		t.Errorf("%v", o)
	}
}

// Without authentication the program neither listens for other machines nor connects to them
// without --insecure.
func TestOnlyThisMachine(t *testing.T) {
	w := newWorld(t, time.Minute)
	for _, args := range [][]string{
		{"up", "--data", w.dir(), "--listen", "0.0.0.0:0"},
		{"up", "--data", w.dir(), "--listen", ":0"},
		{"up", "--data", w.dir(), "--listen", "[::]:0"},
		{"storage", "--data", w.dir(), "--server", "nats://192.0.2.1:4222"},
		{"coordinator", "--server", "nats://192.0.2.1:4222"},
		{"coordinator", "--server", "nats://127.0.0.1:4222,nats://192.0.2.1:4222"},
	} {
		w.expect(exitFailed, []string{"--insecure", "no authentication"}, args...)
	}
	p, url := w.upRaw(w.dir(), "--listen", "0.0.0.0:0", "--insecure")
	w.with("BACKUP_SERVER="+url).expect(exitDone, nil, "nodes")
	p.stop()
}

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
	"servidor-backup/coordinator"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// world is a whole system in this process: a real server, a coordinator, and storage nodes on real
// disks.
type world struct {
	t      testing.TB
	server *embedded.Server
	stores []*storage.Store
	dirs   []string
	key    string
}

func newWorld(t testing.TB, nodes int) *world {
	t.Helper()
	w := &world{t: t, server: bustest.Server(t), key: filepath.Join(t.TempDir(), "ana.key")}
	nc := bustest.Connect(t, w.server)
	c, err := coordinator.Start(t.Context(), nc, coordinator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, c.Stop()) })
	for i := range nodes {
		w.addNode(nc, fmt.Sprintf("node%d", i))
	}
	return w
}

func (w *world) addNode(nc *nats.Conn, name string) {
	w.t.Helper()
	dir := w.t.TempDir()
	store, err := storage.Open(dir, storage.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := node.Start(w.t.Context(), nc, store, node.Options{Name: name, Weight: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	w.stores, w.dirs = append(w.stores, store), append(w.dirs, dir)
	w.t.Cleanup(func() {
		check(w.t, n.Stop())
		storagetest.Clean(w.t, store)
		check(w.t, store.Close())
	})
}

// durability sets the administrator's policy and waits until it is in the node map.
func (w *world) durability(text string) {
	w.t.Helper()
	d, err := schemas.ParseDurability(text)
	check(w.t, err)
	c := w.client()
	_, err = c.Policy(w.t.Context(), &schemas.Policy{Durability: &d}, "")
	check(w.t, err)
	bustest.Eventually(w.t, "the policy is in the map", func() bool {
		m, err := c.Nodes(w.t.Context())
		return err == nil && m.Durability == d
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func (w *world) client(change ...func(*client.Options)) *client.Client {
	w.t.Helper()
	opt := client.Options{Server: w.server.URL(), Nickname: "ana", KeyFile: w.key, Host: "here"}
	for _, f := range change {
		f(&opt)
	}
	c, err := client.Connect(w.t.Context(), opt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func save(t testing.TB, c *client.Client, opt client.BackupOptions) *client.BackupResult {
	t.Helper()
	opt.Warn = func(path string, err error) { t.Errorf("%s: %v", path, err) }
	res, err := c.Backup(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func restore(t testing.TB, c *client.Client, opt client.RestoreOptions) *client.RestoreResult {
	t.Helper()
	opt.Warn = func(path string, err error) { t.Errorf("%s: %v", path, err) }
	res, err := c.Restore(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func cat(t testing.TB, c *client.Client, id, inside string, w io.Writer) *schemas.Version {
	t.Helper()
	v, err := c.Cat(t.Context(), id, inside, w)
	check(t, err)
	return v
}

func TestBackupAndRestore(t *testing.T) {
	w := newWorld(t, 2)
	src := treetest.New(t, 1, treetest.Small)
	c := w.client()
	first := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "things"})
	if !c.KeyCreated() {
		t.Error("the first backup made no key")
	}
	to := treetest.TempDir(t)
	res := restore(t, w.client(), client.RestoreOptions{ID: "things", To: to})
	same(t, src, filepath.Join(to, res.Top[0]))
	if res.Files != first.Files || res.Bytes != first.Bytes {
		t.Errorf("saved %d files of %d bytes, restored %d of %d", first.Files, first.Bytes, res.Files, res.Bytes)
	}
	for i, s := range w.stores {
		if s.Stats().Chunks == 0 {
			t.Errorf("node %d holds nothing: placement does not spread", i)
		}
	}
}

func same(t testing.TB, a, b string) {
	t.Helper()
	for _, difference := range treetest.Compare(a, b, treetest.Ignore{Special: true}) {
		t.Error(difference)
	}
}

func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	w := newWorld(t, 1)
	src := t.TempDir()
	for i := range 300 {
		write(t, filepath.Join(src, fmt.Sprintf("d%d/f%d", i%7, i)), clienttest.Noise(byte(i), i*100))
	}
	settle(t, src)
	c := w.client()
	first := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	second := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	if second.Read != 0 || second.Sent*100 >= first.Sent || second.Version.Root != first.Version.Root {
		t.Errorf("the second run read %d bytes and sent %d (the first sent %d)", second.Read, second.Sent, first.Sent)
	}
	if second.Unchanged != 300 || second.Bytes != first.Bytes || second.Version.Number != 2 {
		t.Errorf("the second run: %+v", second)
	}
	write(t, filepath.Join(src, "d3/f3"), []byte("new"))
	third := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	if third.Read != 3 {
		t.Errorf("one file of 3 bytes changed, %d bytes were read", third.Read)
	}
}

// settle waits until the times of everything below dir are old enough to be trusted.
func settle(t testing.TB, dir string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	newest := changeTime(t, dir)
	for {
		write(t, probe, nil)
		if changeTime(t, filepath.Dir(probe))-newest > 30_000_000 {
			return
		}
		check(t, os.Remove(probe))
	}
}

// changeTime returns the newest mtime below dir, in ns.
func changeTime(t testing.TB, dir string) (newest int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			newest = max(newest, info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return newest
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A byte that is inserted at the front of a file changes only its first chunks.
func TestAnInsertedByteCostsLittle(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(t.TempDir(), "big")
	content := clienttest.Noise(1, 48<<20)
	write(t, src, content)
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	write(t, src, append([]byte("x"), content...))
	second := save(t, c, client.BackupOptions{Paths: []string{src}})
	if second.Sent > 4<<20 || second.Sent == 0 {
		t.Errorf("after a byte was inserted into 48 MiB, %d bytes were sent", second.Sent)
	}
	var back bytes.Buffer
	if _, err := c.Cat(t.Context(), "big@1", "", &back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Bytes(), content) {
		t.Error("the first version differs from what was saved")
	}
}

func TestPartsOfAVersion(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(t.TempDir(), "photos")
	write(t, filepath.Join(src, "a/one"), []byte("1"))
	write(t, filepath.Join(src, "a/deep/two"), []byte("22"))
	write(t, filepath.Join(src, "b/three"), []byte("333"))
	check(t, os.Link(filepath.Join(src, "a/one"), filepath.Join(src, "b/same")))
	check(t, os.Link(filepath.Join(src, "a/one"), filepath.Join(src, "b/same2")))
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})

	for _, inside := range []string{"a/deep", "photos/a/deep", "/a/deep/"} {
		to := t.TempDir()
		res := restore(t, c, client.RestoreOptions{ID: "photos@1", Inside: []string{inside}, To: to})
		same(t, filepath.Join(src, "a/deep"), filepath.Join(to, "deep"))
		if want := []string{"deep"}; !slices.Equal(res.Top, want) {
			t.Errorf("%s appeared as %v, want %v", inside, res.Top, want)
		}
	}
	// The first name of the linked file is outside of the restored part.
	to := t.TempDir()
	restore(t, c, client.RestoreOptions{ID: "photos", Inside: []string{"b"}, To: to})
	for _, name := range []string{"same", "same2"} {
		if b, err := os.ReadFile(filepath.Join(to, "b", name)); err != nil || string(b) != "1" {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
	}
	one, err1 := os.Stat(filepath.Join(to, "b/same"))
	two, err2 := os.Stat(filepath.Join(to, "b/same2"))
	if err1 != nil || err2 != nil || !os.SameFile(one, two) {
		t.Error("two names of one file became two files")
	}

	_, err := c.Restore(t.Context(), client.RestoreOptions{ID: "photos", Inside: []string{"c"}, To: t.TempDir()})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "c") {
		t.Errorf("a path that is not inside: %v", err)
	}
	if _, err := c.Restore(t.Context(), client.RestoreOptions{ID: "photos", Inside: []string{"b"}, To: to}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing folder was not respected: %v", err)
	}
	twice := client.RestoreOptions{ID: "photos", Inside: []string{"a/one", "photos/a/one"}, To: t.TempDir()}
	if _, err := c.Restore(t.Context(), twice); !errors.Is(err, client.ErrSameName) {
		t.Errorf("two paths of the same name: %v", err)
	}
	write(t, filepath.Join(to, "b/three"), []byte("other"))
	restore(t, c, client.RestoreOptions{ID: "photos", Inside: []string{"b"}, To: to, Force: true})
	if b, _ := os.ReadFile(filepath.Join(to, "b/three")); string(b) != "333" {
		t.Errorf("Force left %q", b)
	}
}

func TestSeveralPathsAndExcludes(t *testing.T) {
	w := newWorld(t, 1)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x/keep"), []byte("k"))
	write(t, filepath.Join(dir, "x/drop.tmp"), []byte("d"))
	write(t, filepath.Join(dir, "y"), []byte("y"))
	c := w.client()
	paths := []string{filepath.Join(dir, "y"), filepath.Join(dir, "x")}
	if _, err := c.Backup(t.Context(), client.BackupOptions{Paths: paths}); err == nil {
		t.Error("two paths without a name were accepted")
	}
	save(t, c, client.BackupOptions{Paths: paths, Name: "both", Exclude: []string{"*.tmp"}})
	var got []string
	check(t, c.Tree(t.Context(), "both", "", func(e *tree.Entry) error {
		got = append(got, e.Path)
		return nil
	}))
	if want := []string{"x", "x/keep", "y"}; !slices.Equal(got, want) {
		t.Errorf("saved %v, want %v", got, want)
	}
	to := t.TempDir()
	res := restore(t, c, client.RestoreOptions{ID: "both", To: to})
	if want := []string{"x", "y"}; !slices.Equal(res.Top, want) {
		t.Errorf("restored %v, want %v", res.Top, want)
	}
}

func TestStandardInput(t *testing.T) {
	w := newWorld(t, 1)
	content := clienttest.Noise(2, 3<<20)
	c := w.client()
	if _, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{"-"}, Stdin: bytes.NewReader(content)}); err == nil {
		t.Error("standard input without a name was accepted")
	}
	save(t, c, client.BackupOptions{Paths: []string{"-"}, Stdin: bytes.NewReader(content), Name: "dump"})
	var back bytes.Buffer
	cat(t, c, "dump", "", &back)
	if !bytes.Equal(back.Bytes(), content) {
		t.Error("standard input was restored with other content")
	}
	broken := io.MultiReader(bytes.NewReader(content), brokenReader{})
	if _, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{"-"}, Stdin: broken, Name: "dump"}); !errors.Is(err, errBroken) {
		t.Errorf("input that ended with an error: %v", err)
	}
}

var errBroken = errors.New("the pipe broke")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func TestSparseFiles(t *testing.T) {
	w := newWorld(t, 1)
	dir := filepath.Join(t.TempDir(), "vm")
	check(t, os.Mkdir(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	offsets := []int64{1 << 20, 200 << 20}
	for i := range int64(500) {
		offsets = append(offsets, 220<<20+i*32<<10) // holes that are too small to end a chunk
	}
	for _, off := range offsets {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	check(t, f.Truncate(300<<20))
	check(t, f.Close())
	c := w.client()
	res := save(t, c, client.BackupOptions{Paths: []string{dir}})
	if res.Sent > 1<<20 {
		t.Errorf("2 KB in a sparse file sent %d bytes", res.Sent)
	}
	if res.Chunks > 60 {
		t.Errorf("a sparse file became %d chunks", res.Chunks)
	}
	to := treetest.TempDir(t)
	restore(t, c, client.RestoreOptions{ID: "vm", To: to})
	same(t, dir, filepath.Join(to, "vm"))
	var n counter
	cat(t, c, "vm", "disk", &n)
	if n != 300<<20 {
		t.Errorf("as a stream it has %d bytes", n)
	}
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// Of two first backups on two machines one makes the key; the other is told, and keeps none.
func TestOneOfTwoFirstBackupsMakesTheKey(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(t.TempDir(), "x")
	write(t, src, []byte("a"))
	for round := range 5 {
		dir := t.TempDir()
		var errs [2]error
		var clients [2]*client.Client
		file := func(i int) string { return filepath.Join(dir, fmt.Sprint(i), "k") }
		var both sync.WaitGroup
		for i := range clients {
			clients[i] = w.client(func(o *client.Options) {
				o.Nickname, o.KeyFile = fmt.Sprint("race", round), file(i)
			})
			both.Go(func() {
				_, errs[i] = clients[i].Backup(t.Context(), client.BackupOptions{Paths: []string{src}})
			})
		}
		both.Wait()
		made := 0
		for i, err := range errs {
			_, missing := os.Stat(file(i))
			switch {
			case err == nil && clients[i].KeyCreated() && missing == nil:
				made++
			case err == nil || clients[i].KeyCreated() || !errors.Is(err, client.ErrNoKey) || !errors.Is(missing, fs.ErrNotExist):
				t.Errorf("machine %d: %v, made a key: %t, its file: %v", i, err, clients[i].KeyCreated(), missing)
			}
		}
		if made != 1 {
			t.Errorf("%d machines made a key, want 1", made)
		}
	}
}

// A record belongs to one source: the paths and the host of its first version.
func TestNamesStandForOneSource(t *testing.T) {
	w := newWorld(t, 1)
	a, b := filepath.Join(t.TempDir(), "x"), filepath.Join(t.TempDir(), "x")
	write(t, a, []byte("a"))
	write(t, b, []byte("b"))
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{a}})
	_, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{b}})
	if schemas.CodeOf(err) != schemas.NameTaken || !strings.Contains(err.Error(), "another folder") {
		t.Errorf("another folder: %v", err)
	}
	elsewhere := w.client(func(o *client.Options) { o.Host = "there" })
	if _, err := elsewhere.Backup(t.Context(), client.BackupOptions{Paths: []string{a}}); schemas.CodeOf(err) != schemas.NameTaken {
		t.Errorf("another host: %v", err)
	}
	if v := save(t, c, client.BackupOptions{Paths: []string{b}, Moved: true}).Version; v.Number != 2 {
		t.Errorf("a moved source became version %d", v.Number)
	}
	versions, err := c.Versions(t.Context(), "x", client.ListOptions{})
	if err != nil || len(versions) != 2 || versions[0].Paths[0] != b || versions[1].Paths[0] != a || versions[0].Host != "here" {
		t.Errorf("versions are %+v, %v", versions, err)
	}
}

func TestAnotherKeyIsRefused(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(t.TempDir(), "x")
	write(t, src, []byte("a"))
	save(t, w.client(), client.BackupOptions{Paths: []string{src}})
	missing := filepath.Join(t.TempDir(), "keys", "k")
	stranger := w.client(func(o *client.Options) { o.KeyFile = missing })
	if _, err := stranger.Backup(t.Context(), client.BackupOptions{Paths: []string{src}}); !errors.Is(err, client.ErrNoKey) || stranger.KeyCreated() {
		t.Errorf("without a key: %v, made: %t", err, stranger.KeyCreated())
	}
	if _, err := os.Stat(filepath.Dir(missing)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made for a key: %v", err)
	}
	// A key of other backups is called that; what it cannot open is not called damaged.
	wrong := w.client(func(o *client.Options) { o.Nickname, o.KeyFile = "other", missing })
	save(t, wrong, client.BackupOptions{Paths: []string{src}})
	wrong = w.client(func(o *client.Options) { o.KeyFile = missing })
	_, saved := wrong.Backup(t.Context(), client.BackupOptions{Paths: []string{src}})
	_, restored := wrong.Restore(t.Context(), client.RestoreOptions{ID: "x", To: t.TempDir()})
	_, listed := wrong.Versions(t.Context(), "x", client.ListOptions{})
	_, checked := wrong.Check(t.Context(), client.CheckOptions{})
	_, streamed := wrong.Cat(t.Context(), "x", "", io.Discard)
	for i, err := range []error{saved, restored, listed, checked, streamed} {
		var mine *client.KeyError
		if schemas.CodeOf(err) != schemas.OtherKey || !errors.As(err, &mine) || errors.Is(err, client.ErrDamaged) {
			t.Errorf("%d: with a wrong key: %v", i, err)
		}
	}
	if _, err := os.Stat(missing); err != nil {
		t.Errorf("the key of other backups: %v", err)
	}
	keyless := w.client(func(o *client.Options) { o.KeyFile = filepath.Join(t.TempDir(), "none") })
	if _, err := keyless.Restore(t.Context(), client.RestoreOptions{ID: "x", To: t.TempDir()}); !errors.Is(err, client.ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
}

// After an interrupted backup, the next one sends only what is missing.
func TestAnInterruptedBackupGoesOn(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(t.TempDir(), "big")
	content := clienttest.Noise(3, 40<<20)
	write(t, src, content)
	c := w.client()
	ctx, cancel := context.WithCancel(t.Context())
	progress := &client.Progress{}
	go func() {
		defer cancel()
		poll := time.NewTicker(time.Millisecond)
		defer poll.Stop()
		for progress.Sent.Load() < 15<<20 && ctx.Err() == nil {
			<-poll.C
		}
	}()
	_, err := c.Backup(ctx, client.BackupOptions{Paths: []string{src}, Progress: progress})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the backup ended with %v", err)
	}
	if records, err := c.Records(t.Context(), client.ListOptions{}); err != nil || len(records) != 0 {
		t.Errorf("an interrupted backup is listed: %v, %v", records, err)
	}
	res := save(t, w.client(), client.BackupOptions{Paths: []string{src}})
	if res.Sent > 35<<20 {
		t.Errorf("after 15 MiB were sent, %d of 40 MiB were sent again", res.Sent)
	}
	to := t.TempDir()
	restore(t, c, client.RestoreOptions{ID: "big", To: to})
	if b, err := os.ReadFile(filepath.Join(to, "big")); err != nil || !bytes.Equal(b, content) {
		t.Errorf("it was restored with %d bytes, %v", len(b), err)
	}
}

func TestClientsSideBySide(t *testing.T) {
	w := newWorld(t, 2)
	// The fastest of them makes the key.
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			src := filepath.Join(t.TempDir(), fmt.Sprintf("r%d", i))
			for j := range 30 {
				write(t, filepath.Join(src, fmt.Sprint(j)), clienttest.Noise(byte(30*i+j), 1<<(j%18)))
			}
			c := w.client()
			for range 2 {
				save(t, c, client.BackupOptions{Paths: []string{src}})
			}
			to := t.TempDir()
			restore(t, c, client.RestoreOptions{ID: filepath.Base(src), To: to})
			same(t, src, filepath.Join(to, filepath.Base(src)))
		})
	}
	all.Wait()
	if records, err := w.client().Records(t.Context(), client.ListOptions{}); err != nil || len(records) != 6 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// A record that was transmitted with the seed's protocol, and so is not sealed, can be restored
// with this client, too.
func TestSeedRecords(t *testing.T) {
	w := newWorld(t, 1)
	nc := bustest.Connect(t, w.server)
	content := []byte("olá")
	var rep schemas.TransmitReply
	if err := bus.Request(t.Context(), nc, schemas.SubjectTransmit, &schemas.TransmitRequest{Nickname: "ana", Record: "nota.txt", Content: &content}, &rep); err != nil {
		t.Fatal(err)
	}
	c := w.client()
	to := t.TempDir()
	restore(t, c, client.RestoreOptions{ID: rep.ID, To: to})
	if b, err := os.ReadFile(filepath.Join(to, "nota.txt")); err != nil || string(b) != "olá" {
		t.Errorf("it holds %q, %v", b, err)
	}
	var entries int
	check(t, c.Tree(t.Context(), "nota.txt", "", func(*tree.Entry) error { entries++; return nil }))
	if entries != 1 {
		t.Errorf("%d entries", entries)
	}
}

// A restore waits for a node that was killed and is started again, and says so.
func TestARestartingNodeIsWaitedFor(t *testing.T) {
	w := newWorld(t, 0)
	store := storagetest.Open(t, t.TempDir(), storage.Options{})
	serve := func() *nats.Conn {
		nc := bustest.Connect(t, w.server)
		n, err := node.Start(t.Context(), nc, store, node.Options{Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Stop() }) // the first one's connection is gone by then
		return nc
	}
	first := serve()
	src := filepath.Join(t.TempDir(), "x")
	write(t, src, clienttest.Noise(1, 3<<20))
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})

	first.Close()
	said := make(chan string, 100)
	waiting := w.client(func(o *client.Options) { o.Status = func(s schemas.Sentence) { said <- s.Text } })
	to := t.TempDir()
	done := make(chan error, 1)
	go func() {
		_, err := waiting.Restore(t.Context(), client.RestoreOptions{ID: "x", To: to})
		done <- err
	}()
	for text := ""; !strings.Contains(text, "storage node"); {
		text = bustest.Receive(t, "the client says that it waits", said)
	}
	serve()
	if err := bustest.Receive(t, "the restore", done); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "x")); err != nil || !bytes.Equal(b, clienttest.Noise(1, 3<<20)) {
		t.Errorf("it was restored with %d bytes, %v", len(b), err)
	}
}

// Chunks that were lost with a node are saved again although their files have not changed, so every
// listed version can be restored.
func TestUnchangedFilesAreSavedAgainAfterALoss(t *testing.T) {
	w := newWorld(t, 1)
	w.durability("1+0")
	nc := bustest.Connect(t, w.server)
	store := storagetest.Open(t, t.TempDir(), storage.Options{})
	doomed, err := node.Start(t.Context(), nc, store, node.Options{Name: "doomed", Weight: 1})
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(t.TempDir(), "r")
	for i := range 60 {
		write(t, filepath.Join(src, fmt.Sprint(i)), clienttest.Noise(byte(i), 70_000)) // too large to share a chunk with others
	}
	settle(t, src)
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	if store.Stats().Chunks == 0 || w.stores[0].Stats().Chunks == 0 {
		t.Fatal("one of the nodes has nothing to lose")
	}
	check(t, doomed.Stop())
	bustest.Eventually(t, "the node is down", func() bool {
		nodes, err := c.Nodes(t.Context())
		return err == nil && len(nodes.Writable()) == 1
	})

	treeLost := false // the tree itself may have been on the lost node
	res, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{src}, Warn: func(string, error) { treeLost = true }})
	if err != nil {
		t.Fatal(err)
	}
	if res.Unchanged == 60 || res.Unchanged == 0 && !treeLost {
		t.Errorf("%d of 60 files were reused, though about half were lost", res.Unchanged)
	}
	to := t.TempDir()
	restore(t, c, client.RestoreOptions{ID: "r@2", To: to})
	same(t, src, filepath.Join(to, "r"))
	if third := save(t, c, client.BackupOptions{Paths: []string{src}}); third.Unchanged != 60 {
		t.Errorf("with unchanged nodes, %d of 60 files were reused", third.Unchanged)
	}
}

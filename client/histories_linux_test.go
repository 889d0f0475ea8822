package client_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"servidor-backup/client"
	"servidor-backup/client/treetest"
)

// TestHistories makes random trees, changes them between and during backups, and compares what is
// restored with what a backup may contain: of what does not change during a backup exactly its
// state; of what changes either the state of one moment, or the path is named as not saved whole.
//
// With BACKUP_LONG, changes happen during backups, too. BACKUP_SEED repeats one history, except for
// when such changes happen. BACKUP_HISTORIES is the number of histories, BACKUP_HISTORIES_DIR the
// folder for the trees, which may be on any file system.
func TestHistories(t *testing.T) {
	n, seed := 12, uint64(time.Now().UnixNano())
	if s := os.Getenv("BACKUP_HISTORIES"); s != "" {
		n = number(t, s)
	}
	if s := os.Getenv("BACKUP_SEED"); s != "" {
		seed, n = uint64(number(t, s)), 1
	}
	dir := os.Getenv("BACKUP_HISTORIES_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	histories(t, dir, seed, n)
}

// On a file system whose times are whole seconds, most changes come within a tick of its clock.
func TestHistoriesOnWholeSeconds(t *testing.T) {
	histories(t, treetest.Mount(t, "ext4", "-q", "-I", "128"), uint64(time.Now().UnixNano()), 8)
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// worldHistories is how many histories share a world: it does not grow without end.
const worldHistories = 250

// histories runs n histories with the seeds from seed on. Several run side by side in one world.
func histories(t *testing.T, dir string, seed uint64, n int) {
	for first := 0; first < n && !t.Failed(); first += worldHistories {
		t.Run(fmt.Sprint("from ", seed+uint64(first)), func(t *testing.T) {
			w := newWorld(t, 1)
			seeds := make(chan uint64)
			var all sync.WaitGroup
			for i := range min(3, n) {
				c := w.client(func(o *client.Options) { o.Nickname, o.KeyFile = fmt.Sprint("n", i), w.key+fmt.Sprint(i) })
				all.Go(func() {
					for seed := range seeds {
						(&historyRun{t: t, c: c, seed: seed}).run(dir)
					}
				})
			}
			for i := first; i < min(n, first+worldHistories); i++ {
				seeds <- seed + uint64(i)
			}
			close(seeds)
			all.Wait()
		})
	}
}

// historyRun is a history of one tree.
type historyRun struct {
	t       *testing.T
	c       *client.Client
	seed    uint64
	h       *treetest.History
	src, to string
	saved   []savedTree
}

// savedTree is what a version may contain.
type savedTree struct {
	id      string
	tree    *treetest.Tree
	moments treetest.Moments
	named   map[string]bool
}

func (r *historyRun) errorf(format string, args ...any) {
	r.t.Errorf("BACKUP_SEED=%d: %s", r.seed, fmt.Sprintf(format, args...))
}

func (r *historyRun) run(dir string) {
	src, err1 := os.MkdirTemp(dir, "history")
	to, err2 := os.MkdirTemp(r.t.TempDir(), "restored")
	if err := errors.Join(err1, err2); err != nil {
		r.errorf("%v", err)
		return
	}
	defer func() { check(r.t, errors.Join(treetest.RemoveAll(src), treetest.RemoveAll(to))) }()
	r.src, r.to = src, to
	r.h = treetest.NewHistory(src, r.seed)
	for range 2 + r.h.Pick(4) {
		r.save()
		r.restore()
		r.h.Change()
	}
}

// warnings collects the paths that the client names, with the reasons.
type warnings struct {
	sync.Mutex
	paths map[string]string
}

func (w *warnings) warn(path string, err error) {
	w.Lock()
	defer w.Unlock()
	if w.paths == nil {
		w.paths = map[string]string{}
	}
	w.paths[path] = err.Error()
}

func (w *warnings) named() map[string]bool {
	named := map[string]bool{}
	for p := range w.paths {
		named[p] = true
	}
	return named
}

// save makes a version, in half of the long runs while the tree changes.
func (r *historyRun) save() {
	var warned warnings
	var moments treetest.Moments
	reread := r.h.Pick(6) == 0
	done, changed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(changed)
		if r.h.Pick(2) == 0 && os.Getenv("BACKUP_LONG") != "" {
			moments = r.h.ChangeUntil(done)
		}
	}()
	res, err := r.c.Backup(r.t.Context(), client.BackupOptions{Paths: []string{r.src}, Warn: warned.warn, Reread: reread})
	close(done)
	<-changed
	tree, treeErr := treetest.TakeTree(r.src)
	if treeErr != nil {
		r.errorf("%v", treeErr)
		return
	}
	if err != nil {
		if moments == nil && tree.HasReadableFile() { // else all that could be saved may have gone
			r.errorf("backup: %v", err)
		}
		return
	}
	if whole := res.Unreadable+res.Incomplete == 0; whole != (len(warned.paths) == 0) {
		r.errorf("the backup counts %d unreadable and %d incomplete paths, and names %v", res.Unreadable, res.Incomplete, warned.paths)
	}
	for p, why := range warned.paths {
		if s, there := tree.States[p]; moments[p] == nil && there && s != (treetest.State{}) && !s.Unreadable && s.HasTime() {
			r.errorf("%q did not change, and is not saved: %s", p, why)
		}
	}
	r.saved = append(r.saved, savedTree{res.Version.ID, tree, moments, warned.named()})
}

// restore restores a version, usually the newest, or a part of it, and compares.
func (r *historyRun) restore() {
	if len(r.saved) == 0 {
		return
	}
	v := r.saved[len(r.saved)-1]
	if r.h.Pick(4) == 0 {
		v = r.saved[r.h.Pick(len(r.saved))]
	}
	to, err := os.MkdirTemp(r.to, "")
	if err != nil {
		r.errorf("%v", err)
		return
	}
	part, opt := ".", client.RestoreOptions{ID: v.id, To: to}
	if r.h.Pick(3) == 0 {
		part = r.pickPart(v)
		opt.Inside = []string{part}
	}
	var warned warnings
	opt.Warn = warned.warn
	res, err := r.c.Restore(r.t.Context(), opt)
	if err != nil {
		if part != "." && v.moments[part] != nil && errors.Is(err, fs.ErrNotExist) {
			return // it was not there at some moment
		}
		r.errorf("restore %q of %s: %v", part, v.id, err)
		return
	}
	for p, why := range warned.paths {
		if rel, _ := filepath.Rel(filepath.Base(r.src), p); !v.named[rel] && !v.named[path.Join(part, rel)] {
			r.errorf("restore %q: %s", p, why)
		}
	}
	if res.Failed+res.Incomplete != int64(len(warned.paths)) {
		r.errorf("the restore counts %d failed and %d incomplete paths, and names %v", res.Failed, res.Incomplete, warned.paths)
	}
	top := filepath.Base(r.src)
	if part != "." {
		top = path.Base(part)
	}
	got, err := treetest.TakeTree(filepath.Join(to, top))
	if err != nil {
		r.errorf("%v", err)
		return
	}
	named := map[string]bool{}
	for p := range v.named {
		if p == part || part == "." {
			named[p] = true
		} else if rel, below := strings.CutPrefix(p, part+"/"); below {
			named[rel] = true
		}
	}
	if v.named[part] {
		named["."] = true
	}
	for _, d := range v.tree.Differences(part, got, v.moments, named) {
		r.errorf("%s, part %q: %s", v.id, part, d)
	}
	if r.h.Pick(3) == 0 {
		r.restoreAgain(opt, filepath.Join(to, top), got)
	}
}

// restoreAgain restores what was restored before into the same folder, of which much is damaged
// meanwhile. Then it is there again, as before.
func (r *historyRun) restoreAgain(opt client.RestoreOptions, dir string, want *treetest.Tree) {
	r.h.Damage(dir)
	opt.Force, opt.Verify = true, true
	opt.Warn = nil // the same as before
	if _, err := r.c.Restore(r.t.Context(), opt); err != nil {
		r.errorf("restore %q again: %v", opt.Inside, err)
		return
	}
	got, err := treetest.TakeTree(dir)
	if err != nil {
		r.errorf("%v", err)
		return
	}
	for _, d := range want.Differences(".", got, nil, nil) {
		r.errorf("restored again, %s, part %q: %s", opt.ID, opt.Inside, d)
	}
}

// pickPart returns a path in a version, or "." if there is none that can be expected.
func (r *historyRun) pickPart(v savedTree) string {
	paths := slices.Sorted(maps.Keys(v.tree.States))
	p := paths[r.h.Pick(len(paths))]
	if named := v.named[p]; named {
		return "."
	}
	return p
}

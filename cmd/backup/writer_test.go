//go:build unix

package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// writer is a client that saves one folder again and again and restores versions in between.
type writer struct {
	h        *history
	w        *world
	nickname string
	links    []*link
	rng      *rand.Rand
	// dir holds all folders of the writer. It is made before the writer begins, so it is removed
	// after the writer has ended.
	dir     string
	src     string
	stop    chan struct{}
	halting sync.Once
	done    sync.WaitGroup

	read  atomic.Int64 // versions restored during the faults
	paths atomic.Int64 // made by newPath

	mu           sync.Mutex
	acknowledged map[string]string // id of the version → copy of its content
	newest       string            // copy of the newest version
}

func (h *history) newWriter(nickname string, rng *rand.Rand) *writer {
	h.w.Helper()
	wr := &writer{h: h, nickname: nickname, rng: rng, dir: h.w.dir(), stop: make(chan struct{}), acknowledged: map[string]string{}}
	wr.src = wr.newPath("source")
	wr.w, wr.links = h.client(nickname)
	for i := range 30 {
		wr.w.write(filepath.Join(wr.src, fmt.Sprintf("d%d", i%4), fmt.Sprintf("f%d", i)), random(rng.Uint64(), rng.IntN(200_000)))
	}
	wr.w.write(filepath.Join(wr.src, "large"), random(rng.Uint64(), 5*mib))
	wr.done.Go(wr.run)
	return wr
}

// newPath returns a path for a new folder.
func (wr *writer) newPath(name string) string {
	return filepath.Join(wr.dir, fmt.Sprint(name, "-", wr.paths.Add(1)))
}

// run saves until it is stopped.
func (wr *writer) run() {
	for {
		select {
		case <-wr.stop:
			return
		case <-time.After(time.Duration(wr.rng.Float64() * float64(2*time.Second))):
		}
		if o := wr.save(); o.code != exitDone && (o.code != exitFailed || o.err == "") {
			wr.w.Errorf("transmit failed without a message: %v", o)
			return
		}
		if wr.rng.IntN(3) == 0 {
			wr.readOne()
		}
	}
}

// save changes some files and saves the folder once. It keeps a copy of an acknowledged
// version.
func (wr *writer) save() outcome {
	for range 1 + wr.rng.IntN(5) {
		i := wr.rng.IntN(40)
		wr.w.write(filepath.Join(wr.src, fmt.Sprintf("d%d", i%4), fmt.Sprintf("f%d", i)), random(wr.rng.Uint64(), wr.rng.IntN(300_000)))
	}
	want := wr.newPath("want")
	if out, err := exec.Command("cp", "-a", wr.src, want).CombinedOutput(); err != nil {
		return outcome{code: exitFailed, err: fmt.Sprintf("cp: %v: %s", err, out)}
	}
	o := wr.w.run("transmit", "--json", "--name", "record", wr.src)
	if o.code == exitDone {
		wr.mu.Lock()
		defer wr.mu.Unlock()
		wr.acknowledged[parse[saved](wr.w.T, o.out).ID] = want
		wr.newest = want
	}
	return o
}

// readOne restores a random version during the faults. That may fail, but must not restore
// other bytes.
func (wr *writer) readOne() {
	wr.mu.Lock()
	ids := slices.Sorted(maps.Keys(wr.acknowledged))
	if len(ids) == 0 {
		wr.mu.Unlock()
		return
	}
	id := ids[wr.rng.IntN(len(ids))]
	want := wr.acknowledged[id]
	wr.mu.Unlock()
	to := wr.newPath("to")
	o := wr.w.run("download", "--json", id, "--to", to)
	switch {
	case o.code == exitDone:
		wr.w.same(want, filepath.Join(to, filepath.Base(wr.src)))
		wr.read.Add(1)
	case o.code != exitFailed && o.code != exitPartial || o.err == "":
		wr.w.Errorf("download failed without a message: %v", o)
	}
	wr.discard(to)
}

// discard removes a folder before the end of the test to save disk space.
func (wr *writer) discard(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		wr.w.Error(err)
	}
}

// finish stops the writer and demands that one more transmit succeeds, now that all faults
// have ended.
func (wr *writer) finish() {
	wr.w.Helper()
	wr.halt()
	wr.save().demand(wr.w.T, exitDone)
}

// startOver starts with an empty catalogue; it returns the versions acknowledged in the lost
// one.
func (wr *writer) startOver() (before map[string]string) {
	before, wr.acknowledged = wr.acknowledged, map[string]string{}
	return before
}

// merge adds the versions of a rebuilt catalogue; moved maps old ids to new ones.
func (wr *writer) merge(before map[string]string, moved map[string]string) {
	wr.w.Helper()
	for id, want := range wr.acknowledged {
		if to := moved[id]; to != "" {
			id = to
		}
		if before[id] != "" {
			wr.w.Errorf("two versions have the id %s", id)
		}
		before[id] = want
	}
	wr.acknowledged = before
}

// halt stops the writer after its current command.
func (wr *writer) halt() {
	wr.halting.Do(func() { close(wr.stop) })
	wr.done.Wait()
}

// release removes an older version from those that must be restorable.
func (wr *writer) release(rng *rand.Rand) (id, want string) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	ids := slices.Sorted(maps.Keys(wr.acknowledged))
	if len(ids) < 3 {
		return "", ""
	}
	id = ids[rng.IntN(len(ids))]
	want = wr.acknowledged[id]
	delete(wr.acknowledged, id)
	return id, want
}

// reclaim adds a version to those that must be restorable.
func (wr *writer) reclaim(id, want string) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	wr.acknowledged[id] = want
}

// restoresAll demands that every version restores its content, and that the record restores
// its newest version.
func (wr *writer) restoresAll() int {
	wr.w.Helper()
	restores := func(id, want string) {
		wr.w.Helper()
		to := wr.newPath("to")
		wr.w.download(id, "--to", to)
		wr.w.same(want, filepath.Join(to, filepath.Base(wr.src)))
		wr.discard(to)
	}
	for id, want := range wr.acknowledged {
		restores(id, want)
	}
	restores("record", wr.newest)
	return len(wr.acknowledged)
}

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

// writer is a client that saves one folder again and again, and brings versions back
// between.
type writer struct {
	h        *history
	w        *world
	nickname string
	links    []*link
	rng      *rand.Rand
	src      string
	stop     chan struct{}
	halting  sync.Once
	done     sync.WaitGroup

	read atomic.Int64 // versions that came back in the middle of it

	mu           sync.Mutex
	acknowledged map[string]string // the version's id, and a copy of what it must be
	newest       string            // the copy for the newest
}

func (h *history) newWriter(nickname string, rng *rand.Rand) *writer {
	h.w.Helper()
	wr := &writer{h: h, nickname: nickname, rng: rng, src: h.w.dir(), stop: make(chan struct{}), acknowledged: map[string]string{}}
	wr.w, wr.links = h.client(nickname)
	for i := range 30 {
		wr.w.write(filepath.Join(wr.src, fmt.Sprintf("d%d", i%4), fmt.Sprintf("f%d", i)), random(rng.Uint64(), rng.IntN(200_000)))
	}
	wr.w.write(filepath.Join(wr.src, "large"), random(rng.Uint64(), 5*mib))
	wr.done.Go(wr.run)
	return wr
}

// run saves until it is told to stop. What a transmit answers for is kept beside.
func (wr *writer) run() {
	for {
		select {
		case <-wr.stop:
			return
		case <-time.After(time.Duration(wr.rng.Float64() * float64(2*time.Second))):
		}
		if o := wr.save(); o.code != exitDone && (o.code != exitFailed || o.err == "") {
			wr.w.Errorf("transmit ended without a word: %v", o)
			return
		}
		if wr.rng.IntN(3) == 0 {
			wr.readOne()
		}
	}
}

// save changes something and saves it once.
func (wr *writer) save() outcome {
	for range 1 + wr.rng.IntN(5) {
		i := wr.rng.IntN(40)
		wr.w.write(filepath.Join(wr.src, fmt.Sprintf("d%d", i%4), fmt.Sprintf("f%d", i)), random(wr.rng.Uint64(), wr.rng.IntN(300_000)))
	}
	kept := filepath.Join(wr.w.dir(), "kept")
	if out, err := exec.Command("cp", "-a", wr.src, kept).CombinedOutput(); err != nil {
		return outcome{code: exitFailed, err: fmt.Sprintf("cp: %v: %s", err, out)}
	}
	o := wr.w.run("transmit", "--json", "--name", "record", wr.src)
	if o.code == exitDone {
		wr.mu.Lock()
		defer wr.mu.Unlock()
		wr.acknowledged[parse[saved](wr.w.T, o.out).ID] = kept
		wr.newest = kept
	}
	return o
}

// readOne brings some version back, whatever goes on. That may fail, but not with other
// bytes.
func (wr *writer) readOne() {
	wr.mu.Lock()
	ids := slices.Sorted(maps.Keys(wr.acknowledged))
	if len(ids) == 0 {
		wr.mu.Unlock()
		return
	}
	id := ids[wr.rng.IntN(len(ids))]
	kept := wr.acknowledged[id]
	wr.mu.Unlock()
	to := filepath.Join(wr.w.dir(), "to")
	o := wr.w.run("download", "--json", id, "--to", to)
	switch {
	case o.code == exitDone:
		wr.w.same(kept, filepath.Join(to, filepath.Base(wr.src)))
		wr.read.Add(1)
	case o.code != exitFailed && o.code != exitPartial || o.err == "":
		wr.w.Errorf("download ended without a word: %v", o)
	}
	wr.discard(to)
}

// discard makes room early, as there are many versions.
func (wr *writer) discard(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		wr.w.Error(err)
	}
}

// finish ends the writer after what it is doing, and demands that one more transmit
// succeeds now that nothing is wrong any more.
func (wr *writer) finish() {
	wr.w.Helper()
	wr.halt()
	wr.save().demand(wr.w.T, exitDone)
}

// beginAnew begins a catalogue that knows nothing; it returns what was acknowledged in
// another one.
func (wr *writer) beginAnew() (before map[string]string) {
	before, wr.acknowledged = wr.acknowledged, map[string]string{}
	return before
}

// merge says that a catalogue has come back, and which versions have other numbers now.
func (wr *writer) merge(before map[string]string, moved map[string]string) {
	wr.w.Helper()
	for id, kept := range wr.acknowledged {
		if to := moved[id]; to != "" {
			id = to
		}
		if before[id] != "" {
			wr.w.Errorf("two versions are %s", id)
		}
		before[id] = kept
	}
	wr.acknowledged = before
}

// halt ends the writer after what it is doing.
func (wr *writer) halt() {
	wr.halting.Do(func() { close(wr.stop) })
	wr.done.Wait()
}

// giveUp takes one of the older versions out of those that must come back.
func (wr *writer) giveUp(rng *rand.Rand) (id, kept string) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	ids := slices.Sorted(maps.Keys(wr.acknowledged))
	if len(ids) < 3 {
		return "", ""
	}
	id = ids[rng.IntN(len(ids))]
	kept = wr.acknowledged[id]
	delete(wr.acknowledged, id)
	return id, kept
}

// takeBack is for a version that must come back after all.
func (wr *writer) takeBack(id, kept string) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	wr.acknowledged[id] = kept
}

// restoresAll demands that every version comes back as it was, and the newest as such.
func (wr *writer) restoresAll() int {
	wr.w.Helper()
	restores := func(id, kept string) {
		wr.w.Helper()
		to := filepath.Join(wr.w.dir(), "to")
		wr.w.download(id, "--to", to)
		wr.w.same(kept, filepath.Join(to, filepath.Base(wr.src)))
		wr.discard(to)
	}
	for id, kept := range wr.acknowledged {
		restores(id, kept)
	}
	restores("record", wr.newest)
	return len(wr.acknowledged)
}

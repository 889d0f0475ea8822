//go:build unix

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFaults runs random histories on a cluster of three NATS servers, two coordinators and
// six nodes, while clients save and restore. Programs are killed and paused, links are cut in
// one or both directions, disks are full and slow, nodes lose their data, files are damaged,
// nodes are added and removed, versions are forgotten and collected. After each round the
// system must heal by itself. In the end every acknowledged version must be restorable and
// every store intact. See docs/reliability.md.
//
// BACKUP_FAULTS is the number of histories. BACKUP_SEED repeats one history: the same faults
// in the same order; the timing of the programs still varies.
func TestFaults(t *testing.T) {
	t.Parallel()
	if _, err := natsBinary(); err != nil {
		t.Fatal(err)
	}
	seed, histories := uint64(time.Now().UnixNano()), numberOf(t, "BACKUP_FAULTS", 1)
	if os.Getenv("BACKUP_SEED") != "" {
		seed, histories = numberOf(t, "BACKUP_SEED", 0), 1
	}
	rounds, steps := pick(t, 1, 3), pick(t, 12, 20)
	longest := time.Duration(0)
	for i := range histories {
		began := time.Now()
		if deadline, ok := t.Deadline(); ok && time.Until(deadline) < 2*longest {
			t.Logf("the time ends after %d of %d histories", i, histories)
			break
		}
		t.Run(fmt.Sprint("BACKUP_SEED=", seed+i), func(t *testing.T) {
			h := newHistory(t, seed+i)
			for range rounds {
				for range steps {
					h.step()
				}
				h.recover()
			}
			h.end()
		})
		longest = max(longest, time.Since(began))
	}
}

// numberOf is the value of an environment variable, or usual if the variable is not set.
func numberOf(t *testing.T, name string, usual uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// history is one run of the fault test.
type history struct {
	*cluster
	seed, steps uint64
	rng         *rand.Rand // of one step, so that earlier steps do not change it
	began       time.Time
	admin       *world
	writers     []*writer
	// losses are the nodes that have lost data since the system was last intact: at most as
	// many as the durabilities allow.
	losses   map[*member]bool
	tried    map[string]int
	commands sync.WaitGroup // running commands of the administrator

	mu      sync.Mutex
	removed []*member // nodes that the administrator has removed and that still run
}

// maxLosses is the m of all writers' durabilities.
const maxLosses = 2

// leastNodes is the k+m of the largest durability, plus one.
const leastNodes = 6

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	w := beginWorld(t, 6*time.Minute)
	h := &history{cluster: &cluster{w: w, bound: true}, seed: seed, began: time.Now(), losses: map[*member]bool{}, tried: map[string]int{}}
	h.begin(3, 2, leastNodes)
	h.admin, _ = h.client("admin")
	for i, durability := range []string{"1+2", "3+2", "2+2"} {
		nickname := fmt.Sprint("writer", i+1)
		h.admin.ok("policy", "durability", durability, "--nickname", nickname)
		h.writers = append(h.writers, h.newWriter(nickname, rand.New(rand.NewPCG(seed, uint64(10+i)))))
	}
	t.Cleanup(func() {
		for _, wr := range h.writers {
			wr.halt() // after a failure they still run
		}
		h.commands.Wait()
		if t.Failed() {
			again := fmt.Sprintf("BACKUP_SEED=%d go test -count 1 -v -run '^TestFaults$' ./cmd/backup", seed)
			if long {
				again = "BACKUP_LONG=1 " + again
			}
			t.Logf("run it again: %s", again)
		}
	})
	return h
}

// logf logs an event with its time.
func (h *history) logf(format string, args ...any) {
	h.w.Helper()
	h.w.Logf("%6.1fs %s", time.Since(h.began).Seconds(), fmt.Sprintf(format, args...))
}

// step applies a fault and lets some time pass.
func (h *history) step() {
	h.w.Helper()
	h.steps++
	h.rng = rand.New(rand.NewPCG(h.seed, 1000+h.steps))
	h.killRemoved()
	for !h.tryFault() {
	}
	select {
	case <-time.After(time.Duration(h.rng.Float64() * h.rng.Float64() * float64(4*time.Second))):
	case <-h.w.ctx.Done():
		h.w.Fatal("the history takes too long")
	}
}

// tryFault applies a random fault; it reports false if that fault is impossible now.
func (h *history) tryFault() bool {
	h.w.Helper()
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	at := h.rng.IntN(total)
	for _, f := range faults {
		if at -= f.weight; at < 0 {
			what := f.do(h)
			if what != "" {
				h.tried[f.name]++
				h.logf("%s: %s", f.name, what)
			}
			return what != ""
		}
	}
	return false
}

// inBackground runs a command of the administrator in the background, because it may take long.
func (h *history) inBackground(do func()) { h.commands.Go(do) }

// killRemoved kills the nodes that have been removed.
func (h *history) killRemoved() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.removed {
		m.kill()
		h.nodes = slices.DeleteFunc(h.nodes, func(n *member) bool { return n == m })
	}
	h.removed = nil
}

// recover ends all temporary faults and demands that the system heals by itself while clients
// go on. A scrub finds hidden damage.
func (h *history) recover() {
	h.w.Helper()
	h.endFaults()
	for _, wr := range h.writers {
		reach(wr.links, linkOpen)
	}
	h.commands.Wait()
	h.killRemoved()
	h.logf("all temporary faults have ended")
	h.healed(h.admin, 3*time.Minute)
	h.admin.ok("scrub", "--now")
	h.w.eventually("everything has been read back", func() bool {
		return !slices.ContainsFunc(h.status(h.admin).Scrubs, func(s scrubLine) bool { return s.Running })
	})
	h.healed(h.admin, 2*time.Minute)
	clear(h.losses)
	h.logf("everything is intact")
}

// end demands that no version was lost. Some histories lose the catalogue first.
func (h *history) end() {
	h.w.Helper()
	for _, wr := range h.writers {
		wr.finish()
	}
	// A collection whose coordinator was killed may have to be marked as abandoned first.
	h.w.eventually("a collection goes through", func() bool { return h.admin.run("gc", "--grace", "0s").code == exitDone })
	h.healed(h.admin, 2*time.Minute)
	if rand.New(rand.NewPCG(h.seed, 2)).IntN(2) == 0 {
		h.loseCatalogue()
		h.healed(h.admin, 2*time.Minute)
	}
	versions, read := 0, int64(0)
	for _, wr := range h.writers {
		versions += wr.restoresAll()
		read += wr.read.Load()
	}
	for _, m := range h.nodes {
		m.p.stop()
		h.w.intact(m.data)
	}
	h.logf("%d versions were restored at the end, %d during the faults; faults: %v", versions, read, h.tried)
}

// loseCatalogue deletes all data of NATS and rebuilds the catalogue from the nodes.
// Coordinators and nodes run meanwhile.
func (h *history) loseCatalogue() {
	h.w.Helper()
	for _, m := range h.servers {
		m.kill()
	}
	lost := time.Now()
	for _, m := range h.servers {
		entries, err := os.ReadDir(m.data)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(m.data, e.Name())))
		}
		if err != nil {
			h.w.Fatal(err)
		}
	}
	for _, m := range h.servers {
		h.start(m)
	}
	h.logf("the catalogue is lost")
	h.w.eventually("all nodes are back", func() bool {
		o := h.admin.run("nodes", "--json")
		if o.code != exitDone {
			return false
		}
		there := lines[jsonNode](h.w.T, o.out)
		return len(there) == len(h.nodes) && !slices.ContainsFunc(there, func(n jsonNode) bool {
			registered, err := time.Parse(time.RFC3339, n.Registered)
			return err != nil || registered.Before(lost) || n.State != "up" && n.State != "draining"
		})
	})
	before := map[*writer]map[string]string{}
	for _, wr := range h.writers {
		before[wr] = wr.startOver()
	}
	h.w.eventually("the loss is noticed", func() bool {
		o := h.admin.run("list", "--json")
		return o.code == exitFailed && strings.Contains(o.err, "catalogue-lost")
	})
	moved := map[string]map[string]string{}
	for _, wr := range h.writers {
		moved[wr.nickname] = map[string]string{}
	}
	// A coordinator that has not noticed the loss yet refuses.
	h.w.eventually("the catalogue is rebuilt", func() bool {
		o := h.admin.run("rebuild-catalogue", "--json")
		if o.code == exitDone {
			for _, m := range parse[jsonRebuilt](h.w.T, o.out).Moved {
				moved[m.Nickname][m.From] = m.To
			}
		}
		return o.code == exitDone
	})
	for _, wr := range h.writers {
		wr.merge(before[wr], moved[wr.nickname])
	}
	h.logf("the catalogue was rebuilt, with new numbers for %v", moved)
}

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
	"sync"
	"testing"
	"time"
)

// TestFaults runs random histories on a cluster of three NATS servers, two coordinators
// and six nodes, while clients save and read: programs are killed and paused, links are
// cut, also one way, disks are full and slow, nodes lose their data, files are damaged,
// nodes come and go, versions are forgotten and collected. After each round everything
// becomes whole by itself; in the end everything that was acknowledged comes back, and
// every store is sound. docs/reliability.md tells more.
//
// BACKUP_FAULTS is how many histories are run, BACKUP_SEED the seed of one that is run
// again: the same is tried in the same order. When programs do their part is theirs.
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
			t.Logf("the time is up after %d of %d histories", i, histories)
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

// numberOf is a variable of the environment, or another number if it is not set.
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

// history is one run.
type history struct {
	*cluster
	seed, steps uint64
	rng         *rand.Rand // of one step: what came of those before changes nothing
	began       time.Time
	admin       *world
	writers     []*writer
	// losses are nodes that have lost something since all was whole: as many as the
	// durabilities allow, and no more.
	losses map[*member]bool
	tried  map[string]int
	orders sync.WaitGroup // commands of the operator that are under way

	mu      sync.Mutex
	removed []*member // that the operator has removed, and that still run
}

// maxLosses is the m of all writers' durabilities.
const maxLosses = 2

// leastNodes is the k+m of the largest durability, and one for good measure.
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
			wr.halt() // a history that failed has not
		}
		h.orders.Wait()
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

// say notes what happens and when.
func (h *history) say(format string, args ...any) {
	h.w.Helper()
	h.w.Logf("%6.1fs %s", time.Since(h.began).Seconds(), fmt.Sprintf(format, args...))
}

// step does something, and lets some time pass.
func (h *history) step() {
	h.w.Helper()
	h.steps++
	h.rng = rand.New(rand.NewPCG(h.seed, 1000+h.steps))
	h.dismiss()
	for !h.one() {
	}
	select {
	case <-time.After(time.Duration(h.rng.Float64() * h.rng.Float64() * float64(4*time.Second))):
	case <-h.w.ctx.Done():
		h.w.Fatal("the history takes too long")
	}
}

// one does something, unless what it would do cannot be done now.
func (h *history) one() bool {
	h.w.Helper()
	total := 0
	for _, f := range faults {
		total += f.often
	}
	at := h.rng.IntN(total)
	for _, f := range faults {
		if at -= f.often; at < 0 {
			what := f.do(h)
			if what != "" {
				h.tried[f.name]++
				h.say("%s: %s", f.name, what)
			}
			return what != ""
		}
	}
	return false
}

// order has the operator do something meanwhile, as it can take its time.
func (h *history) order(do func()) { h.orders.Go(do) }

// dismiss ends the nodes that have been removed.
func (h *history) dismiss() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.removed {
		m.kill()
		h.nodes = slices.DeleteFunc(h.nodes, func(n *member) bool { return n == m })
	}
	h.removed = nil
}

// recover mends what can be mended, and demands that everything becomes whole without
// anybody's help, while clients go on. What was damaged unseen is found by a scrub.
func (h *history) recover() {
	h.w.Helper()
	h.mend()
	for _, wr := range h.writers {
		reach(wr.links, linkWhole)
	}
	h.orders.Wait()
	h.dismiss()
	h.say("everything was mended")
	h.healed(h.admin, 3*time.Minute)
	h.admin.ok("scrub", "--now")
	h.w.eventually("everything has been read back", func() bool {
		return !slices.ContainsFunc(h.status(h.admin).Scrubs, func(s scrubLine) bool { return s.Running })
	})
	h.healed(h.admin, 2*time.Minute)
	clear(h.losses)
	h.say("all is whole")
}

// end demands that nothing was lost. In some histories the catalogue is, before.
func (h *history) end() {
	h.w.Helper()
	for _, wr := range h.writers {
		wr.finish()
	}
	// One whose coordinator was killed may have to be buried first.
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
		h.w.sound(m.data)
	}
	h.say("%d versions came back, %d did so in the middle; tried: %v", versions, read, h.tried)
}

// loseCatalogue takes all that NATS has, and has it made anew from the nodes.
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
	h.say("the catalogue is lost")
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
	// Nobody has seen it yet, so backups go on.
	before := map[*writer]map[string]string{}
	for _, wr := range h.writers {
		before[wr] = wr.beginAnew()
		for range wr.rng.IntN(3) {
			h.w.eventually("a client saves", func() bool { return wr.save().code == exitDone })
		}
	}
	moved := map[string]map[string]string{}
	for _, wr := range h.writers {
		moved[wr.nickname] = map[string]string{}
	}
	// A coordinator that has not noticed yet says that it cannot.
	h.w.eventually("the catalogue comes back", func() bool {
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
	h.say("the catalogue came back, with other numbers for %v", moved)
}

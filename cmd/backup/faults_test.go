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
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestFaults runs random histories on a cluster of three NATS servers, two
// coordinators and six nodes, while clients save: programs are killed and paused,
// links are cut, also one way, nodes lose their data, segments are damaged, nodes come
// and go, versions are forgotten and collected. Afterwards everything that was
// acknowledged must come back, all must become whole, and every store must be sound.
//
// BACKUP_SEED repeats a history. What it does is the same then; when the programs do
// their part is theirs.
func TestFaults(t *testing.T) {
	t.Parallel()
	if _, err := natsBinary(); err != nil {
		t.Fatal(err)
	}
	seed, histories := uint64(time.Now().UnixNano()), pick(t, 1, 20)
	if s := os.Getenv("BACKUP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("BACKUP_SEED: %v", err)
		}
		histories = 1
	}
	steps := pick(t, 25, 60)
	for i := range histories {
		t.Run(fmt.Sprint("BACKUP_SEED=", seed+uint64(i)), func(t *testing.T) {
			h := newHistory(t, seed+uint64(i))
			for range steps {
				h.step()
			}
			h.end()
		})
	}
}

// history is one run.
type history struct {
	*cluster
	rng     *rand.Rand
	admin   *world
	writers []*writer
	// losses are nodes that have lost something since all was whole: as many as the
	// durabilities allow, and no more.
	losses map[*member]bool
	tried  map[string]int
}

// maxLosses is the m of all writers' durabilities.
const maxLosses = 2

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	w := beginWorld(t, 6*time.Minute)
	h := &history{cluster: w.newCluster(3, 2, 6), rng: rand.New(rand.NewPCG(seed, 1)), losses: map[*member]bool{}, tried: map[string]int{}}
	h.admin, _ = h.client("admin")
	for i, durability := range []string{"1+2", "3+2", "2+2"} {
		nickname := fmt.Sprint("writer", i+1)
		h.admin.ok("policy", "durability", durability, "--nickname", nickname)
		h.writers = append(h.writers, h.newWriter(nickname, rand.New(rand.NewPCG(seed, uint64(10+i)))))
	}
	t.Cleanup(func() { t.Logf("tried: %v", h.tried) })
	return h
}

// faults are what may happen; the number is how often, relative to others.
var faults = []struct {
	name  string
	often int
	do    func(*history) bool // false: not now
}{
	{"kill a node", 4, func(h *history) bool { return h.kill(h.nodes) }},
	{"kill a coordinator", 2, func(h *history) bool { return h.kill(h.coordinators) }},
	{"kill a server", 2, func(h *history) bool { return h.others(h.servers) && h.kill(h.servers) }},
	{"start what was killed", 6, (*history).restart},
	{"pause a node", 2, func(h *history) bool { return h.pause(h.nodes) }},
	{"pause a coordinator", 1, func(h *history) bool { return h.pause(h.coordinators) }},
	{"pause a server", 1, func(h *history) bool { return h.others(h.servers) && h.pause(h.servers) }},
	{"go on", 4, (*history).goOn},
	{"spoil links", 4, (*history).spoilLinks},
	{"mend links", 4, (*history).mendLinks},
	{"lose a node's data", 1, (*history).wipe},
	{"flip bits", 1, (*history).flip},
	{"truncate a segment", 1, (*history).truncate},
	{"add a node", 1, (*history).add},
	{"drain a node", 1, (*history).drain},
	{"forget and collect", 2, (*history).forget},
	{"scrub", 1, func(h *history) bool { return h.admin.run("scrub").code >= 0 }},
}

// step does something, and lets some time pass.
func (h *history) step() {
	h.w.Helper()
	total := 0
	for _, f := range faults {
		total += f.often
	}
	at := h.rng.IntN(total)
	for _, f := range faults {
		if at -= f.often; at < 0 {
			if f.do(h) {
				h.tried[f.name]++
			}
			break
		}
	}
	select {
	case <-time.After(time.Duration(h.rng.Float64() * h.rng.Float64() * float64(4*time.Second))):
	case <-h.w.ctx.Done():
		h.w.Fatal("the history takes too long")
	}
}

// one of the members that fulfil is, or nil.
func (h *history) one(all []*member, is func(*member) bool) *member {
	at := h.rng.IntN(len(all))
	for i := range all {
		if m := all[(at+i)%len(all)]; is(m) {
			return m
		}
	}
	return nil
}

func (h *history) fit(m *member) bool { return m.running() && !m.paused }

// others reports whether a majority is left when one more is not.
func (h *history) others(all []*member) bool {
	n := 0
	for _, m := range all {
		if h.fit(m) {
			n++
		}
	}
	return n-1 > len(all)/2-1
}

func (h *history) kill(all []*member) bool {
	m := h.one(all, (*member).running)
	if m != nil {
		m.kill()
	}
	return m != nil
}

func (h *history) all() []*member { return slices.Concat(h.servers, h.coordinators, h.nodes) }

func (h *history) restart() bool {
	m := h.one(h.all(), func(m *member) bool { return !m.running() })
	if m != nil {
		h.start(m)
	}
	return m != nil
}

func (h *history) pause(all []*member) bool {
	m := h.one(all, h.fit)
	if m != nil {
		m.pause()
	}
	return m != nil
}

func (h *history) goOn() bool {
	m := h.one(h.all(), func(m *member) bool { return m.paused })
	if m != nil {
		m.resume()
	}
	return m != nil
}

func (h *history) linked() (all [][]*link) {
	for _, m := range slices.Concat(h.coordinators, h.nodes) {
		all = append(all, m.links)
	}
	for _, wr := range h.writers {
		all = append(all, wr.links)
	}
	return all
}

// spoilLinks spoils one or all of somebody's links.
func (h *history) spoilLinks() bool {
	all := h.linked()
	links := all[h.rng.IntN(len(all))]
	if h.rng.IntN(2) == 0 {
		links = links[:1+h.rng.IntN(len(links))]
	}
	reach(links, linkMode(1+h.rng.IntN(int(linkModes)-1)))
	return true
}

func (h *history) mendLinks() bool {
	all := h.linked()
	reach(all[h.rng.IntN(len(all))], linkWhole)
	return true
}

// loser is a node that may lose something now, or nil.
func (h *history) loser() *member {
	m := h.one(h.nodes, func(m *member) bool {
		return len(m.segments()) > 0 && (h.losses[m] || len(h.losses) < maxLosses)
	})
	if m != nil {
		h.losses[m] = true
	}
	return m
}

// wipe takes a node away for good, with all its data. A new one takes its place.
func (h *history) wipe() bool {
	m := h.loser()
	if m == nil {
		return false
	}
	m.kill()
	h.nodes = slices.DeleteFunc(h.nodes, func(n *member) bool { return n == m })
	h.addNode("")
	return true
}

// flip flips some bits of a segment under a node that may be running.
func (h *history) flip() bool {
	return h.damage(h.rng.IntN(2) == 0, func(f *os.File, size int64) error {
		for range 1 + h.rng.IntN(3) {
			var b [1]byte
			at := h.rng.Int64N(size)
			if _, err := f.ReadAt(b[:], at); err != nil {
				return err
			}
			b[0] ^= 1 << h.rng.IntN(8)
			if _, err := f.WriteAt(b[:], at); err != nil {
				return err
			}
		}
		return nil
	})
}

// truncate cuts the end off a segment of a node that is down.
func (h *history) truncate() bool {
	return h.damage(true, func(f *os.File, size int64) error { return f.Truncate(h.rng.Int64N(size)) })
}

func (h *history) damage(kill bool, do func(f *os.File, size int64) error) bool {
	m := h.loser()
	if m == nil {
		return false
	}
	if kill {
		m.kill()
	}
	segments := m.segments()
	f, err := os.OpenFile(segments[h.rng.IntN(len(segments))], os.O_RDWR, 0)
	if err != nil {
		h.w.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = do(f, info.Size())
	}
	if err != nil {
		h.w.Fatal(err)
	}
	return true
}

func (h *history) add() bool {
	if len(h.nodes) > 8 {
		return false
	}
	h.addNode("")
	return true
}

// drain empties a node while others are enough.
func (h *history) drain() bool {
	if len(h.nodes) < 7 {
		return false
	}
	m := h.nodes[h.rng.IntN(len(h.nodes))]
	return h.admin.run("node", "drain", m.name).code == exitDone
}

// forget forgets an older version of a writer, and collects.
func (h *history) forget() bool {
	wr := h.writers[h.rng.IntN(len(h.writers))]
	id := wr.giveUp(h.rng)
	if id == "" {
		return false
	}
	wr.w.run("forget", id) // whether it was is not known if that fails
	h.admin.run("gc", "--grace", "0s", "--wait=false")
	return true
}

// end mends what can be mended, and demands that nothing was lost.
func (h *history) end() {
	h.w.Helper()
	h.mend()
	for _, wr := range h.writers {
		reach(wr.links, linkWhole)
		wr.finish()
	}
	h.healed(h.admin, 3*time.Minute)
	h.admin.ok("scrub")
	h.w.eventually("everything has been read back", func() bool {
		return !slices.ContainsFunc(h.status(h.admin).Scrubs, func(s struct {
			Node    string
			Running bool
			Found   int64
		}) bool {
			return s.Running
		})
	})
	h.healed(h.admin, 2*time.Minute)
	h.admin.ok("gc", "--grace", "0s")
	h.healed(h.admin, time.Minute)
	versions := 0
	for _, wr := range h.writers {
		versions += wr.restoresAll()
	}
	if versions == 0 {
		h.w.Error("nothing was ever acknowledged: nothing was tried")
	}
	for _, m := range h.nodes {
		m.p.stop()
		h.w.sound(m.data)
	}
	h.w.Logf("%d versions came back", versions)
}

// writer is a client that saves one folder again and again.
type writer struct {
	h     *history
	w     *world
	links []*link
	rng   *rand.Rand
	src   string
	stop  chan struct{}
	done  sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[string]string // the version's id, and a copy of what it must be
}

func (h *history) newWriter(nickname string, rng *rand.Rand) *writer {
	h.w.Helper()
	wr := &writer{h: h, rng: rng, src: h.w.dir(), stop: make(chan struct{}), acknowledged: map[string]string{}}
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
	for round := 0; ; round++ {
		select {
		case <-wr.stop:
			return
		default:
		}
		for range 1 + wr.rng.IntN(5) {
			i := wr.rng.IntN(40)
			wr.w.write(filepath.Join(wr.src, fmt.Sprintf("d%d", i%4), fmt.Sprintf("f%d", i)), random(wr.rng.Uint64(), wr.rng.IntN(300_000)))
		}
		kept := filepath.Join(wr.w.dir(), "kept")
		if out, err := exec.Command("cp", "-a", wr.src, kept).CombinedOutput(); err != nil {
			wr.w.Errorf("cp: %v: %s", err, out)
			return
		}
		o := wr.w.run("transmit", "--json", "--name", "record", wr.src)
		switch {
		case o.code == exitDone:
			wr.mu.Lock()
			wr.acknowledged[parse[saved](wr.w.T, o.out).ID] = kept
			wr.mu.Unlock()
		case o.code != exitFailed || o.err == "":
			wr.w.Errorf("transmit ended without a word: %v", o)
			return
		}
	}
}

// finish ends the writer after what it is doing, and demands that one more transmit
// succeeds now that nothing is wrong any more.
func (wr *writer) finish() {
	wr.w.Helper()
	close(wr.stop)
	wr.done.Wait()
	v := wr.w.transmit("--name", "record", wr.src)
	wr.acknowledged[v.ID] = wr.src
}

// giveUp takes one of the older versions out of those that must come back.
func (wr *writer) giveUp(rng *rand.Rand) string {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	ids := slices.Sorted(maps.Keys(wr.acknowledged))
	if len(ids) < 3 {
		return ""
	}
	id := ids[rng.IntN(len(ids))]
	delete(wr.acknowledged, id)
	return id
}

// restoresAll demands that every version comes back as it was.
func (wr *writer) restoresAll() int {
	wr.w.Helper()
	for id, kept := range wr.acknowledged {
		wr.w.restores(id, kept)
	}
	return len(wr.acknowledged)
}

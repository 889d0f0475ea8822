//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// faults are the actions of a history. weight is the probability relative to the others. do
// returns a description of what it did, or "" if the action is impossible now.
var faults = []struct {
	name   string
	weight int
	do     func(*history) string
}{
	{"kill a node", 4, func(h *history) string { return h.kill(h.nodes) }},
	{"kill a coordinator", 2, func(h *history) string { return h.kill(h.coordinators) }},
	{"kill a server", 2, func(h *history) string { return h.kill(h.expendable(h.servers)) }},
	{"start a killed process", 6, (*history).restart},
	{"pause a node", 2, func(h *history) string { return h.pause(h.nodes) }},
	{"pause a coordinator", 1, func(h *history) string { return h.pause(h.coordinators) }},
	{"pause a server", 1, func(h *history) string { return h.pause(h.expendable(h.servers)) }},
	{"resume a paused process", 4, (*history).resumeOne},
	{"break links", 4, (*history).breakLinks},
	{"repair links", 4, (*history).repairLinks},
	{"break a route", 3, (*history).breakRoute},
	{"repair a route", 3, (*history).repairRoute},
	{"slow a disk", 3, (*history).slow},
	{"speed a disk up", 2, (*history).fast},
	{"fill a disk", 3, (*history).fill},
	{"free a disk", 2, (*history).freeDisk},
	{"lose a node's data", 1, (*history).wipe},
	{"flip bits", 1, (*history).flip},
	{"truncate a segment", 1, (*history).truncate},
	{"damage an index", 1, (*history).damageIndex},
	{"add a node", 1, (*history).add},
	{"drain a node", 1, (*history).drain},
	{"undrain a node", 1, (*history).undrain},
	{"remove a drained node", 2, (*history).remove},
	{"forget and collect", 2, (*history).forget},
	{"forget and unforget", 1, (*history).unforget},
	{"scrub", 1, (*history).scrub},
}

// pick returns a random one of the members for which is holds, or nil.
func (h *history) pick(all []*member, is func(*member) bool) *member {
	if len(all) == 0 {
		return nil
	}
	at := h.rng.IntN(len(all))
	for i := range all {
		if m := all[(at+i)%len(all)]; is(m) {
			return m
		}
	}
	return nil
}

// label is the name of a member, "" for nil.
func (m *member) label() string {
	if m == nil {
		return ""
	}
	return m.name
}

func (m *member) healthy() bool { return m.running() && !m.paused }

// expendable returns all members if a majority stays healthy when one more fails, else none.
func (h *history) expendable(all []*member) []*member {
	n := 0
	for _, m := range all {
		if m.healthy() {
			n++
		}
	}
	if 2*(n-1) <= len(all) {
		return nil
	}
	return all
}

func (h *history) kill(all []*member) string {
	m := h.pick(all, (*member).running)
	if m != nil {
		m.kill()
	}
	return m.label()
}

func (h *history) all() []*member { return slices.Concat(h.servers, h.coordinators, h.nodes) }

func (h *history) restart() string {
	m := h.pick(h.all(), func(m *member) bool { return !m.running() })
	if m != nil {
		h.start(m)
	}
	return m.label()
}

func (h *history) pause(all []*member) string {
	m := h.pick(all, (*member).healthy)
	if m != nil {
		m.pause()
	}
	return m.label()
}

func (h *history) resumeOne() string {
	m := h.pick(h.all(), func(m *member) bool { return m.paused })
	if m != nil {
		m.resume()
	}
	return m.label()
}

// linked returns the name and the links of a random program for whose links is holds.
func (h *history) linked(is func([]*link) bool) (who string, links []*link) {
	all := slices.Concat(h.coordinators, h.nodes)
	for i, wr := range h.writers {
		all = append(all, &member{name: fmt.Sprint("writer ", i+1), links: wr.links})
	}
	m := h.pick(all, func(m *member) bool { return is(m.links) })
	if m == nil {
		return "", nil
	}
	return m.name, m.links
}

func broken(links []*link) bool {
	return slices.ContainsFunc(links, func(l *link) bool { return !l.open() })
}

// randomBreak returns a random mode except open.
func (h *history) randomBreak() linkMode { return linkMode(1 + h.rng.IntN(int(linkModes)-1)) }

// breakLinks breaks one or all links of a program.
func (h *history) breakLinks() string {
	who, links := h.linked(func([]*link) bool { return true })
	mode := h.randomBreak()
	if h.rng.IntN(2) == 0 {
		at := h.rng.IntN(len(links))
		links = links[at : at+1]
	}
	reach(links, mode)
	return fmt.Sprintf("%d of %s %v", len(links), who, mode)
}

func (h *history) repairLinks() string {
	who, links := h.linked(broken)
	reach(links, linkOpen)
	return who
}

// breakRoute breaks the route between two servers, or all routes of one server.
func (h *history) breakRoute() string {
	mode, at, alone := h.randomBreak(), h.rng.IntN(len(h.servers)), h.rng.IntN(3) == 0
	other := (at + 1 + h.rng.IntN(len(h.servers)-1)) % len(h.servers)
	for i := range h.servers {
		if i == other || alone && i != at {
			h.route(at, i, mode)
		}
	}
	if alone {
		return fmt.Sprintf("all of %s %v", h.servers[at].name, mode)
	}
	return fmt.Sprintf("%s to %s %v", h.servers[at].name, h.servers[other].name, mode)
}

// repairRoute repairs all routes of a server.
func (h *history) repairRoute() string {
	at := h.rng.IntN(len(h.servers))
	done := ""
	for i := range h.servers {
		if i != at && !h.routes[at][i].open() {
			h.route(at, i, linkOpen)
			done = h.servers[at].name
		}
	}
	return done
}

// slow makes a disk slow or stops it.
func (h *history) slow() string {
	m := h.nodes[h.rng.IntN(len(h.nodes))]
	speed := []int64{5_000_000, 500_000, 50_000, 0}[h.rng.IntN(4)]
	m.setSpeed(h.w.T, speed)
	return fmt.Sprintf("%s to %d bytes per second", m.name, speed)
}

func (h *history) fast() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.slow })
	if m != nil {
		m.setSpeed(h.w.T, fullSpeed)
	}
	return m.label()
}

// fill leaves no space on a disk, or less than a node reserves for its index.
func (h *history) fill() string {
	free := []int64{0, 1 << 20, 40 << 20}[h.rng.IntN(3)]
	m := h.pick(h.nodes, func(m *member) bool { return m.bounded && !m.full })
	if m == nil {
		return ""
	}
	if err := h.w.tryFill(m.data, free); err != nil {
		return "" // the node wrote something meanwhile
	}
	m.full = true
	return fmt.Sprintf("%s except for %d bytes", m.name, free)
}

func (h *history) freeDisk() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.full })
	if m != nil {
		h.w.remount(m.data, largeDisk)
		m.full = false
	}
	return m.label()
}

// loser returns a node that may lose data now, or nil.
func (h *history) loser() *member {
	m := h.pick(h.nodes, func(m *member) bool {
		return len(m.files("segments")) > 0 && (h.losses[m] || len(h.losses) < maxLosses)
	})
	if m != nil {
		h.losses[m] = true
	}
	return m
}

// wipe loses a node for good, with all its data, and adds a new node. Sometimes the administrator
// also removes the lost node.
func (h *history) wipe() string {
	say := h.rng.IntN(2) == 0
	m := h.loser()
	if m == nil {
		return ""
	}
	m.kill()
	h.nodes = slices.DeleteFunc(h.nodes, func(n *member) bool { return n == m })
	h.addNode()
	if say {
		h.inBackground(func() { h.admin.run("node", "remove", m.name, "--force") })
	}
	return m.name
}

// flip flips bits in a segment of a node that may be running.
func (h *history) flip() string {
	kill := h.rng.IntN(2) == 0
	m := h.loser()
	if m == nil {
		return ""
	}
	if kill {
		m.kill()
	}
	return h.damage(m, "segments", h.flipBits)
}

// truncate cuts off the end of a segment of a killed node.
func (h *history) truncate() string {
	m := h.loser()
	if m == nil {
		return ""
	}
	m.kill()
	return h.damage(m, "segments", func(f *os.File, size int64) error { return f.Truncate(h.rng.Int64N(size)) })
}

// damageIndex flips bits in the index of a killed node; the node can rebuild it.
func (h *history) damageIndex() string {
	m := h.pick(h.nodes, func(m *member) bool { return len(m.files("index")) > 0 })
	if m == nil {
		return ""
	}
	m.kill()
	return h.damage(m, "index", h.flipBits)
}

func (h *history) flipBits(f *os.File, size int64) error {
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
}

func (h *history) damage(m *member, folder string, do func(f *os.File, size int64) error) string {
	h.w.Helper()
	files := m.files(folder)
	if len(files) == 0 {
		return "" // compacted in this moment
	}
	f, err := os.OpenFile(files[h.rng.IntN(len(files))], os.O_RDWR, 0)
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
	return fmt.Sprintf("%s: %s of %d bytes", m.name, filepath.Base(f.Name()), info.Size())
}

func (h *history) add() string {
	if len(h.nodes) > leastNodes+2 {
		return ""
	}
	return h.addNode().name
}

// drain drains a node if enough others stay.
func (h *history) drain() string {
	staying := 0
	for _, m := range h.nodes {
		if !m.draining {
			staying++
		}
	}
	m := h.pick(h.nodes, func(m *member) bool { return !m.draining })
	if staying <= leastNodes || m == nil {
		return ""
	}
	m.draining = true
	h.inBackground(func() { h.admin.run("node", "drain", m.name) })
	return m.name
}

// undrain undoes a drain. The node still counts as draining, because the command may fail.
func (h *history) undrain() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.draining })
	if m != nil {
		h.inBackground(func() { h.admin.run("node", "undrain", m.name) })
	}
	return m.label()
}

// remove removes a drained node; the command refuses a node that still holds data.
func (h *history) remove() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.draining && m.healthy() })
	if m != nil {
		h.inBackground(func() {
			if h.admin.run("node", "remove", m.name).code == exitDone {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.removed = append(h.removed, m)
			}
		})
	}
	return m.label()
}

// forget forgets an older version of a writer and collects garbage.
func (h *history) forget() string {
	wr := h.writers[h.rng.IntN(len(h.writers))]
	id, _ := wr.release(h.rng)
	if id == "" {
		return ""
	}
	h.inBackground(func() {
		wr.w.run("forget", id) // if it fails, the version may or may not be forgotten
		h.admin.run("gc", "--grace", "0s", "--wait=false")
	})
	return id
}

// unforget forgets a version and takes it back. If that succeeds, the version must stay
// restorable, even after a collection.
func (h *history) unforget() string {
	wr, collect := h.writers[h.rng.IntN(len(h.writers))], h.rng.IntN(2) == 0
	id, want := wr.release(h.rng)
	if id == "" {
		return ""
	}
	h.inBackground(func() {
		wr.w.run("forget", id)
		if o := wr.w.run("unforget", id, "--json"); o.code == exitDone && strings.Contains(o.out, id) {
			wr.reclaim(id, want)
		}
		if collect {
			h.admin.run("gc", "--grace", "0s", "--wait=false")
		}
	})
	return id
}

func (h *history) scrub() string {
	h.inBackground(func() { h.admin.run("scrub", "--now") })
	return "all"
}

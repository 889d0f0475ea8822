//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// faults are what may happen; the number is how often, relative to others. What is done
// is told in a word, "" if nothing can be done now.
var faults = []struct {
	name  string
	often int
	do    func(*history) string
}{
	{"kill a node", 4, func(h *history) string { return h.kill(h.nodes) }},
	{"kill a coordinator", 2, func(h *history) string { return h.kill(h.coordinators) }},
	{"kill a server", 2, func(h *history) string { return h.kill(h.spare(h.servers)) }},
	{"start what was killed", 6, (*history).restart},
	{"pause a node", 2, func(h *history) string { return h.pause(h.nodes) }},
	{"pause a coordinator", 1, func(h *history) string { return h.pause(h.coordinators) }},
	{"pause a server", 1, func(h *history) string { return h.pause(h.spare(h.servers)) }},
	{"let what was paused go on", 4, (*history).goOn},
	{"spoil links", 4, (*history).spoilLinks},
	{"mend links", 4, (*history).mendLinks},
	{"spoil a route", 3, (*history).spoilRoute},
	{"mend a route", 3, (*history).mendRoute},
	{"slow a disk", 3, (*history).slow},
	{"let a disk be fast", 2, (*history).fast},
	{"fill a disk", 3, (*history).fill},
	{"make room on a disk", 2, (*history).makeRoom},
	{"lose a node's data", 1, (*history).wipe},
	{"flip bits", 1, (*history).flip},
	{"truncate a segment", 1, (*history).truncate},
	{"damage an index", 1, (*history).damageIndex},
	{"add a node", 1, (*history).add},
	{"drain a node", 1, (*history).drain},
	{"undrain a node", 1, (*history).undrain},
	{"remove a drained node", 2, (*history).remove},
	{"forget and collect", 2, (*history).forget},
	{"forget and take back", 1, (*history).unforget},
	{"scrub", 1, (*history).scrub},
}

// pick picks one of the members that fulfil is, or nil.
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

// called is the name of somebody to whom something was done, or "".
func (m *member) called() string {
	if m == nil {
		return ""
	}
	return m.name
}

func (m *member) fit() bool { return m.running() && !m.paused }

// spare are all of them, if a majority is left when one more is not.
func (h *history) spare(all []*member) []*member {
	n := 0
	for _, m := range all {
		if m.fit() {
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
	return m.called()
}

func (h *history) all() []*member { return slices.Concat(h.servers, h.coordinators, h.nodes) }

func (h *history) restart() string {
	m := h.pick(h.all(), func(m *member) bool { return !m.running() })
	if m != nil {
		h.start(m)
	}
	return m.called()
}

func (h *history) pause(all []*member) string {
	m := h.pick(all, (*member).fit)
	if m != nil {
		m.pause()
	}
	return m.called()
}

func (h *history) goOn() string {
	m := h.pick(h.all(), func(m *member) bool { return m.paused })
	if m != nil {
		m.resume()
	}
	return m.called()
}

// linked is somebody with links, of those that fulfil is, or nobody.
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

func spoilt(links []*link) bool {
	return slices.ContainsFunc(links, func(l *link) bool { return !l.whole() })
}

// spoil is some way of not being whole.
func (h *history) spoil() linkMode { return linkMode(1 + h.rng.IntN(int(linkModes)-1)) }

// spoilLinks spoils one or all of somebody's links.
func (h *history) spoilLinks() string {
	who, links := h.linked(func([]*link) bool { return true })
	mode := h.spoil()
	if h.rng.IntN(2) == 0 {
		at := h.rng.IntN(len(links))
		links = links[at : at+1]
	}
	reach(links, mode)
	return fmt.Sprintf("%d of %s %v", len(links), who, mode)
}

func (h *history) mendLinks() string {
	who, links := h.linked(spoilt)
	reach(links, linkWhole)
	return who
}

// spoilRoute spoils the way between two servers, or all ways of one.
func (h *history) spoilRoute() string {
	mode, at, alone := h.spoil(), h.rng.IntN(len(h.servers)), h.rng.IntN(3) == 0
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

// mendRoute mends all ways of a server.
func (h *history) mendRoute() string {
	at := h.rng.IntN(len(h.servers))
	done := ""
	for i := range h.servers {
		if i != at && !h.routes[at][i].whole() {
			h.route(at, i, linkWhole)
			done = h.servers[at].name
		}
	}
	return done
}

// slow makes a disk slow, or stand still.
func (h *history) slow() string {
	m := h.nodes[h.rng.IntN(len(h.nodes))]
	speed := []int64{5_000_000, 500_000, 50_000, 0}[h.rng.IntN(4)]
	m.setSpeed(h.w.T, speed)
	return fmt.Sprintf("%s to %d bytes a second", m.name, speed)
}

func (h *history) fast() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.slow })
	if m != nil {
		m.setSpeed(h.w.T, fullSpeed)
	}
	return m.called()
}

// fill leaves nothing free on a disk, or less than a node keeps free for its index.
func (h *history) fill() string {
	free := []int64{0, 1 << 20, 40 << 20}[h.rng.IntN(3)]
	m := h.pick(h.nodes, func(m *member) bool { return m.bounded && !m.full })
	if m == nil {
		return ""
	}
	if err := h.w.tryFill(m.data, free); err != nil {
		return "" // something was written meanwhile
	}
	m.full = true
	return fmt.Sprintf("%s but for %d bytes", m.name, free)
}

func (h *history) makeRoom() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.full })
	if m != nil {
		h.w.remount(m.data, roomy)
		m.full = false
	}
	return m.called()
}

// loser is a node that may lose something now, or nil.
func (h *history) loser() *member {
	m := h.pick(h.nodes, func(m *member) bool {
		return len(m.files("segments")) > 0 && (h.losses[m] || len(h.losses) < maxLosses)
	})
	if m != nil {
		h.losses[m] = true
	}
	return m
}

// wipe takes a node away for good, with all its data. A new one takes its place, and
// sometimes the operator says that the old one is not expected back.
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
		h.order(func() { h.admin.run("node", "remove", m.name, "--force") })
	}
	return m.name
}

// flip flips some bits of a segment under a node that may be running.
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

// truncate cuts the end off a segment of a node that is down.
func (h *history) truncate() string {
	m := h.loser()
	if m == nil {
		return ""
	}
	m.kill()
	return h.damage(m, "segments", func(f *os.File, size int64) error { return f.Truncate(h.rng.Int64N(size)) })
}

// damageIndex flips bits in what a node that is down can make anew.
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
		return "" // compacted at this moment
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

// drain empties a node while others are enough.
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
	h.order(func() { h.admin.run("node", "drain", m.name) })
	return m.name
}

// undrain takes that back. Should the command fail, the node is not counted on.
func (h *history) undrain() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.draining })
	if m != nil {
		h.order(func() { h.admin.run("node", "undrain", m.name) })
	}
	return m.called()
}

// remove removes a node that holds nothing any more; others are not removed.
func (h *history) remove() string {
	m := h.pick(h.nodes, func(m *member) bool { return m.draining && m.fit() })
	if m != nil {
		h.order(func() {
			if h.admin.run("node", "remove", m.name).code == exitDone {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.removed = append(h.removed, m)
			}
		})
	}
	return m.called()
}

// forget forgets an older version of a writer, and collects.
func (h *history) forget() string {
	wr := h.writers[h.rng.IntN(len(h.writers))]
	id, _ := wr.giveUp(h.rng)
	if id == "" {
		return ""
	}
	h.order(func() {
		wr.w.run("forget", id) // whether it was is not known if that fails
		h.admin.run("gc", "--grace", "0s", "--wait=false")
	})
	return id
}

// unforget forgets a version and takes it back. If that succeeds it must come back, also
// when somebody collects.
func (h *history) unforget() string {
	wr, collect := h.writers[h.rng.IntN(len(h.writers))], h.rng.IntN(2) == 0
	id, kept := wr.giveUp(h.rng)
	if id == "" {
		return ""
	}
	h.order(func() {
		wr.w.run("forget", id)
		if o := wr.w.run("unforget", id, "--json"); o.code == exitDone && strings.Contains(o.out, id) {
			wr.takeBack(id, kept)
		}
		if collect {
			h.admin.run("gc", "--grace", "0s", "--wait=false")
		}
	})
	return id
}

func (h *history) scrub() string {
	h.order(func() { h.admin.run("scrub", "--now") })
	return "all"
}

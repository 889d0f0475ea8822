//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"servidor-backup/bus/bustest"
)

// cluster is a whole system of many processes: unmodified NATS servers that form a
// cluster, coordinators and storage nodes, each with links of its own to all servers.
type cluster struct {
	w            *world
	servers      []*member
	coordinators []*member
	nodes        []*member
	routes       [][]*link // from each server to each, nil to itself
	born         int       // nodes so far, for their names
	bound        bool      // some nodes get disks that can be filled
}

// member is one program of the cluster, which may be running or not.
type member struct {
	name   string
	cmd    func(links []string) []string // the program and its arguments
	data   string
	env    []string
	links  []*link
	p      *process
	paused bool

	control  string // of a node: the file that says how fast its disk is
	slow     bool   // of a node: its disk is
	bounded  bool   // of a node: its disk is a file system of its own
	full     bool   // of a node: its disk is
	draining bool   // of a node: it was told to
	monitor  string // of a server: where it tells of itself
}

// newCluster starts so many of each. The servers' catalogue has three replicas.
func (w *world) newCluster(servers, coordinators, nodes int) *cluster {
	w.Helper()
	c := &cluster{w: w}
	c.begin(servers, coordinators, nodes)
	return c
}

func (c *cluster) begin(servers, coordinators, nodes int) {
	c.w.Helper()
	c.startServers(servers)
	for i := range coordinators {
		m := &member{name: fmt.Sprint("c", i+1)}
		m.cmd = func(links []string) []string {
			return []string{c.w.exe, "coordinator", "--server", strings.Join(links, ","), "--replicas", fmt.Sprint(servers), "--grace", "8s"}
		}
		m.links = c.newLinks()
		c.coordinators = append(c.coordinators, m)
		c.start(m)
	}
	for range nodes {
		c.addNode()
	}
	for _, m := range slices.Concat(c.coordinators, c.nodes) {
		m.p.serves()
	}
}

// startServers starts NATS servers that know each other. Each reaches each other one by
// a link, and by no other way.
func (c *cluster) startServers(n int) {
	c.w.Helper()
	exe, err := natsBinary()
	if err != nil {
		c.w.Fatal(err)
	}
	var clients, listen []string
	for range n {
		clients = append(clients, bustest.FreeAddress(c.w))
		listen = append(listen, bustest.FreeAddress(c.w))
	}
	for i := range n {
		m := &member{name: fmt.Sprint("s", i+1), data: c.w.dir(), monitor: bustest.FreeAddress(c.w)}
		var routes []string
		c.routes = append(c.routes, make([]*link, n))
		for j := range n {
			to := listen[j]
			if j != i {
				c.routes[i][j] = newLink(c.w, to)
				to = c.routes[i][j].address
			}
			routes = append(routes, "nats://"+to)
		}
		conf := filepath.Join(c.w.dir(), "nats.conf")
		// What is advertised would lead round the links: clients are told nothing, and
		// other servers of an address where nobody is.
		c.w.write(conf, fmt.Appendf(nil, `
server_name: %s
listen: %q
http: %q
jetstream { store_dir: %q, sync_interval: always }
cluster { name: faults, listen: %q, no_advertise: true, advertise: "127.0.0.1:1", routes: ["%s"] }
`, m.name, clients[i], m.monitor, m.data, listen[i], strings.Join(routes, `", "`)))
		m.cmd = func([]string) []string { return []string{exe, "-c", conf} }
		m.links = []*link{{address: clients[i]}} // where it is, for newLinks
		c.servers = append(c.servers, m)
		c.start(m)
	}
}

// route sets the ways between two servers. What is deaf or mute is so as the first one
// sees it, whoever has opened the connection.
func (c *cluster) route(i, j int, mode linkMode) {
	c.routes[i][j].set(mode)
	c.routes[j][i].set(mode.reversed())
}

// newLinks are links to all servers.
func (c *cluster) newLinks() (links []*link) {
	c.w.Helper()
	for _, s := range c.servers {
		links = append(links, newLink(c.w, s.links[0].address))
	}
	return links
}

func urls(links []*link) (all []string) {
	for _, l := range links {
		all = append(all, "nats://"+l.address)
	}
	return all
}

// addNode starts a new storage node. Its disk can be slowed; that of each third one, if it
// is wanted and this machine lets us, is a file system of its own, that can be filled.
func (c *cluster) addNode() *member {
	c.w.Helper()
	c.born++
	m := &member{name: fmt.Sprint("n", c.born), data: filepath.Join(c.w.dir(), "data"), links: c.newLinks()}
	m.control = filepath.Join(c.w.dir(), "speed")
	m.env = []string{diskControl + "=" + m.control}
	if c.bound && c.born%3 == 2 {
		err := c.w.tryMount(m.data, roomy)
		if m.bounded = err == nil; err != nil {
			c.w.Logf("no disk is filled: %v", err)
		}
	}
	m.cmd = func(links []string) []string {
		return []string{c.w.exe, "storage", "--data", m.data, "--server", strings.Join(links, ","), "--name", m.name, "--weight", "100"}
	}
	c.nodes = append(c.nodes, m)
	c.start(m)
	return m
}

// roomy is the size of a bounded disk that has room. It takes memory as it is filled.
const roomy = "2g"

func (c *cluster) start(m *member) {
	c.w.Helper()
	argv, w := m.cmd(urls(m.links)), c.w.with(m.env...)
	m.p, m.paused = w.launch(w.prepare(argv[0], argv[1:]...)), false
}

// client is a machine whose commands go to the cluster, and its links.
func (c *cluster) client(nickname string) (*world, []*link) {
	c.w.Helper()
	links := c.newLinks()
	m := c.w.machine().with("BACKUP_SERVER="+strings.Join(urls(links), ","), "BACKUP_NICKNAME="+nickname)
	return m, links
}

func (m *member) running() bool { return m.p != nil && !m.p.hasEnded() }

// kill ends the program as a power cut would.
func (m *member) kill() {
	m.p.kill()
	m.paused = false
}

// pause stops the program in its tracks; resume lets it go on.
func (m *member) pause()  { m.signal(syscall.SIGSTOP, true) }
func (m *member) resume() { m.signal(syscall.SIGCONT, false) }

func (m *member) signal(s syscall.Signal, paused bool) {
	if m.running() {
		_ = m.p.cmd.Process.Signal(s) // it may end at this moment
		m.paused = paused
	}
}

// reach sets all links of a program.
func reach(links []*link, mode linkMode) {
	for _, l := range links {
		l.set(mode)
	}
}

// mend undoes all faults that pass: everything runs and can be reached.
func (c *cluster) mend() {
	c.w.Helper()
	for _, m := range c.servers {
		m.resume()
		if !m.running() {
			c.start(m)
		}
	}
	for i := range c.routes {
		for j := range i {
			c.route(i, j, linkWhole)
		}
	}
	for _, m := range slices.Concat(c.coordinators, c.nodes) {
		reach(m.links, linkWhole)
		if m.bounded {
			c.w.remount(m.data, roomy)
			m.full = false
		}
		m.setSpeed(c.w.T, fullSpeed)
		m.resume()
		if !m.running() {
			c.start(m)
		}
	}
}

// clusterStatus is what "status --json" says.
type clusterStatus struct {
	Intact, Surveyed bool
	Misplaced        int64
	ToHeal           int64 `json:"to_heal"`
	Healed           int64
	HealedBytes      int64 `json:"healed_bytes"`
	Waiting          []string
	Levels           []struct {
		Durability, State string
		Margin            int
		Chunks            int64
	}
	Nodes []nodeLine
	Lost  []struct {
		Nickname, Version string
		Chunks            int64
	}
	Scrubs []scrubLine
}

// scrubLine is what it says of a node that reads back.
type scrubLine struct {
	Node    string
	Running bool
	Found   int64
}

// has reports whether a node is there.
func (s *clusterStatus) has(name string) bool {
	return slices.ContainsFunc(s.Nodes, func(n nodeLine) bool {
		return n.Name == name && (n.State == "up" || n.State == "draining") && n.Trouble == ""
	})
}

// status asks until somebody answers.
func (c *cluster) status(w *world) (s clusterStatus) {
	w.Helper()
	w.eventually("the status is told", func() bool {
		o := w.run("status", "--json")
		if o.code == exitDone {
			s = parse[clusterStatus](w.T, o.out)
		}
		return o.code == exitDone
	})
	return s
}

// healed waits until all nodes are there and everything is intact.
func (c *cluster) healed(w *world, within time.Duration) {
	w.Helper()
	deadline := time.Now().Add(within)
	for {
		s := c.status(w)
		if s.Intact && !slices.ContainsFunc(c.nodes, func(m *member) bool { return !s.has(m.name) }) {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("not intact after %v: %+v", within, s)
		}
		select {
		case <-w.ctx.Done():
			w.Fatalf("not intact: %+v", s)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// files are those in a folder of a node's store that are not nearly empty.
func (m *member) files(folder string) []string {
	files, _ := filepath.Glob(filepath.Join(m.data, folder, "*"))
	return slices.DeleteFunc(files, func(f string) bool {
		info, err := os.Stat(f)
		return err != nil || !info.Mode().IsRegular() || info.Size() < 4096
	})
}

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

// cluster is a whole system of many processes: a cluster of unmodified NATS servers, and
// coordinators and storage nodes, each with its own links to all servers.
type cluster struct {
	w            *world
	servers      []*member
	coordinators []*member
	nodes        []*member
	routes       [][]*link // from each server to each other; nil to itself
	made         int       // number of nodes made so far, for their names
	bound        bool      // some nodes get a disk that can be filled
}

// member is one program of the cluster, running or not.
type member struct {
	name   string
	cmd    func(links []string) []string // the program and its arguments
	data   string
	env    []string
	links  []*link
	p      *process
	paused bool

	control  string // of a node: the file with the speed of its disk
	slow     bool   // of a node: its disk is slow
	bounded  bool   // of a node: its disk is a file system of its own
	full     bool   // of a node: its disk is full
	draining bool   // of a node: it was told to drain
	monitor  string // of a server: address of its monitoring
}

// newCluster starts the given numbers of programs. Each server holds the catalogue.
func newCluster(w *world, servers, coordinators, nodes int) *cluster {
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

// startServers starts NATS servers that form a cluster. Each reaches each other only through
// a link.
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
		// Advertised addresses would bypass the links: servers advertise nothing to clients,
		// and an unused address to other servers.
		c.w.write(conf, fmt.Appendf(nil, `
server_name: %s
listen: %q
http: %q
jetstream { store_dir: %q, sync_interval: always }
cluster { name: faults, listen: %q, no_advertise: true, advertise: "127.0.0.1:1", routes: ["%s"] }
`, m.name, clients[i], m.monitor, m.data, listen[i], strings.Join(routes, `", "`)))
		m.cmd = func([]string) []string { return []string{exe, "-c", conf} }
		m.links = []*link{{address: clients[i]}} // the server's address, for newLinks
		c.servers = append(c.servers, m)
		c.start(m)
	}
}

// route sets the routes between two servers. Deaf and mute are as seen by server i, whichever
// server opened the connection.
func (c *cluster) route(i, j int, mode linkMode) {
	c.routes[i][j].set(mode)
	c.routes[j][i].set(mode.reversed())
}

// newLinks makes links to all servers.
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

// addNode starts a new storage node. Its disk can be slowed. If bound is set and this machine
// allows it, the disk of each third node is its own file system, which can be filled.
func (c *cluster) addNode() *member {
	c.w.Helper()
	c.made++
	m := &member{name: fmt.Sprint("n", c.made), data: filepath.Join(c.w.dir(), "data"), links: c.newLinks()}
	m.control = filepath.Join(c.w.dir(), "speed")
	m.env = []string{diskControl + "=" + m.control}
	if c.bound && c.made%3 == 2 {
		err := c.w.tryMount(m.data, largeDisk)
		if m.bounded = err == nil; err != nil {
			c.w.Logf("no disk can be filled: %v", err)
		}
	}
	m.cmd = func(links []string) []string {
		return []string{c.w.exe, "storage", "--data", m.data, "--server", strings.Join(links, ","), "--name", m.name, "--weight", "100"}
	}
	c.nodes = append(c.nodes, m)
	c.start(m)
	return m
}

// largeDisk is the size of a bounded disk with free space. It uses memory only as it fills.
const largeDisk = "2g"

func (c *cluster) start(m *member) {
	c.w.Helper()
	argv, w := m.cmd(urls(m.links)), c.w.with(m.env...)
	m.p, m.paused = w.launch(w.prepare(argv[0], argv[1:]...)), false
}

// client returns a machine whose commands use the cluster, and its links.
func (c *cluster) client(nickname string) (*world, []*link) {
	c.w.Helper()
	links := c.newLinks()
	m := c.w.machine().with("BACKUP_SERVER="+strings.Join(urls(links), ","), "BACKUP_NICKNAME="+nickname)
	return m, links
}

func (m *member) running() bool { return m.p != nil && !m.p.hasEnded() }

// kill ends the program without warning, like a power cut.
func (m *member) kill() {
	m.p.kill()
	m.paused = false
}

// pause suspends the program; resume continues it.
func (m *member) pause()  { m.signal(syscall.SIGSTOP, true) }
func (m *member) resume() { m.signal(syscall.SIGCONT, false) }

func (m *member) signal(s syscall.Signal, paused bool) {
	if m.running() {
		_ = m.p.cmd.Process.Signal(s) // it may end in this moment
		m.paused = paused
	}
}

// reach sets the mode of all links of a program.
func reach(links []*link, mode linkMode) {
	for _, l := range links {
		l.set(mode)
	}
}

// endFaults ends all temporary faults: everything runs and is reachable.
func (c *cluster) endFaults() {
	c.w.Helper()
	for _, m := range c.servers {
		m.resume()
		if !m.running() {
			c.start(m)
		}
	}
	for i := range c.routes {
		for j := range i {
			c.route(i, j, linkOpen)
		}
	}
	for _, m := range slices.Concat(c.coordinators, c.nodes) {
		reach(m.links, linkOpen)
		if m.bounded {
			c.w.remount(m.data, largeDisk)
			m.full = false
		}
		m.setSpeed(c.w.T, fullSpeed)
		m.resume()
		if !m.running() {
			c.start(m)
		}
	}
}

// clusterStatus is the output of "status --json".
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

// scrubLine is the scrub of one node in it.
type scrubLine struct {
	Node    string
	Running bool
	Found   int64
}

// has reports whether a node is up and takes data.
func (s *clusterStatus) has(name string) bool {
	return slices.ContainsFunc(s.Nodes, func(n nodeLine) bool {
		return n.Name == name && (n.State == "up" || n.State == "draining") && n.Trouble == ""
	})
}

// status asks until it gets an answer.
func (c *cluster) status(w *world) (s clusterStatus) {
	w.Helper()
	w.eventually("the status arrives", func() bool {
		o := w.run("status", "--json")
		answered := o.code == exitDone || o.code == exitEndangered
		if answered {
			s = parse[clusterStatus](w.T, o.out)
		}
		return answered
	})
	return s
}

// healed waits until all nodes are up and everything is intact.
func (c *cluster) healed(w *world, within time.Duration) {
	w.Helper()
	deadline := time.Now().Add(within)
	for {
		s := c.status(w)
		if s.Intact && !slices.ContainsFunc(c.nodes, func(m *member) bool { return !s.has(m.name) }) {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("not intact after %v: %s", within, w.run("status", "--json").out)
		}
		select {
		case <-w.ctx.Done():
			w.Fatalf("not intact: %+v", s)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// files are the files of at least 4 KiB in a folder of a node's store.
func (m *member) files(folder string) []string {
	files, _ := filepath.Glob(filepath.Join(m.data, folder, "*"))
	return slices.DeleteFunc(files, func(f string) bool {
		info, err := os.Stat(f)
		return err != nil || !info.Mode().IsRegular() || info.Size() < 4096
	})
}

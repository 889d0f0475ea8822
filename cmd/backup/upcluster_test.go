//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"servidor-backup/bus/bustest"
)

// Three "up" form one system: after one is killed, the others still list what was saved through
// it, and it can rejoin.
func TestClusterOfSystems(t *testing.T) {
	w := newWorld(t, 90*time.Second)
	var listen, cluster [3]string
	var dirs [3]string
	for i := range listen {
		listen[i], cluster[i], dirs[i] = bustest.FreeAddress(t), bustest.FreeAddress(t), w.dir()
	}
	start := func(i int) *process {
		return w.machine().start("up", "--data", dirs[i], "--name", fmt.Sprint("host", i), "--listen", listen[i],
			"--cluster-listen", cluster[i], "--routes", strings.Join(cluster[:], ","))
	}
	first := start(0)
	w.eventually("the first system waits", func() bool {
		return strings.Contains(first.stderr.String(), "waiting for the cluster: 1 of 3 servers")
	})
	systems := []*process{first, start(1), start(2)}
	for _, p := range systems {
		p.serves()
	}
	servers := func(order ...int) string {
		var urls []string
		for _, i := range order {
			urls = append(urls, "nats://"+listen[i])
		}
		return strings.Join(urls, ",")
	}
	through := func(order ...int) *world { return w.with("BACKUP_SERVER=" + servers(order...)) }
	w.eventually("all nodes are known", func() bool {
		return strings.Count(through(0).ok("nodes").out, " up ") == 3
	})
	w.replicated(servers(0, 1, 2))
	src := w.dir()
	w.write(filepath.Join(src, "file"), random(1, 300_000))
	saved := through(0, 1, 2).transmit("--name", "src", src)
	listed := func(order ...int) bool {
		o := through(order...).run("list", "src")
		if o.code == exitDone && !strings.Contains(o.out, saved.ID) {
			t.Errorf("through %v: %v", order, o)
		}
		return o.code == exitDone
	}
	for i := range systems {
		if !listed(i) {
			t.Errorf("system %d lists nothing", i)
		}
	}
	systems[0].kill()
	w.eventually("the other two list the version", func() bool { return listed(0, 1, 2) && listed(2, 1, 0) })
	systems[0] = start(0)
	systems[0].serves()
	w.eventually("it has rejoined", func() bool { return listed(0) })
	through(0).restores(saved.ID, src)
	for i, p := range systems {
		p.stop()
		w.intact(dirs[i])
	}
}

// replicated waits until all three servers have all of every bucket. Buckets that are made
// before a new cluster's leader knows all servers have fewer replicas for a moment.
func (w *world) replicated(servers string) {
	w.Helper()
	js, err := jetstream.New(bustest.Dial(w, servers))
	if err != nil {
		w.Fatal(err)
	}
	complete := func(info *jetstream.StreamInfo) bool {
		return info.Cluster != nil && len(info.Cluster.Replicas) == 2 &&
			info.Cluster.Replicas[0].Current && info.Cluster.Replicas[1].Current
	}
	w.eventually("three servers have all of every bucket", func() bool {
		buckets, all := js.ListStreams(w.ctx, jetstream.WithStreamListSubject("$KV.>")), true
		n := 0
		for info := range buckets.Info() {
			n++
			all = all && complete(info)
		}
		return buckets.Err() == nil && n > 0 && all
	})
}

// A role names all servers that it cannot reach.
func TestSeveralServersAreNamed(t *testing.T) {
	w := newWorld(t, 30*time.Second)
	servers := "nats://" + bustest.FreeAddress(t) + ",nats://" + bustest.FreeAddress(t)
	w.expect(exitFailed, []string{servers}, "list", "--server", servers)
	p := w.start("coordinator", "--server", servers)
	w.eventually("the coordinator names the servers that it waits for", func() bool {
		return strings.Contains(p.stderr.String(), "waiting for "+servers)
	})
	p.stop()
}

// documented returns a configuration file of docs/cluster.md with the addresses and folders of
// this test.
func documented(t *testing.T, name string, replace ...string) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```conf " + name + "\n(.*?)```").FindSubmatch(doc)
	if block == nil {
		t.Fatalf("docs/cluster.md has no configuration %q", name)
	}
	text := strings.NewReplacer(replace...).Replace(string(block[1]))
	if strings.Contains(text, "10.0.0.") {
		t.Fatalf("an address was not replaced in\n%s", text)
	}
	return text
}

// The documented configuration makes a cluster with a leaf. A storage node and a client are
// behind the leaf, the coordinators at the cluster. One server of the cluster is killed, and
// everything goes on.
func TestDocumentedCluster(t *testing.T) {
	w := newNATSWorld(t, 90*time.Second)
	var clients, routes, leaves [3]string
	var all []string
	for i := range clients {
		clients[i], routes[i], leaves[i] = bustest.FreeAddress(t), bustest.FreeAddress(t), bustest.FreeAddress(t)
		all = append(all, "nats://"+clients[i])
	}
	addresses := func(own int) (pairs []string) {
		pairs = []string{"server_name: nats-1", fmt.Sprint("server_name: nats-", own+1), "/srv/nats", w.dir(),
			`listen: "10.0.0.1:4222"`, fmt.Sprintf("listen: %q", clients[own]),
			`listen: "10.0.0.1:6222"`, fmt.Sprintf("listen: %q", routes[own]),
			`listen: "10.0.0.1:7422"`, fmt.Sprintf("listen: %q", leaves[own])}
		for i := range clients {
			pairs = append(pairs, fmt.Sprintf("10.0.0.%d:6222", i+1), routes[i], fmt.Sprintf("10.0.0.%d:7422", i+1), leaves[i])
		}
		return pairs
	}
	run := func(config string) *process {
		exe, err := natsBinary()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(w.dir(), "nats.conf")
		w.write(path, []byte(config))
		return w.launch(w.prepare(exe, "-c", path))
	}
	var servers [3]*process
	for i := range servers {
		servers[i] = run(documented(t, "external", addresses(i)...) + documented(t, "hub", addresses(i)...))
	}
	office := bustest.FreeAddress(t)
	run(documented(t, "leaf", append(addresses(0), "127.0.0.1:4222", office)...))
	for range 2 {
		w.start("coordinator", "--server", strings.Join(all, ","), "--replicas", "3").serves()
	}
	data := w.dir()
	node := w.start("storage", "--server", "nats://"+office, "--data", data)
	node.serves()
	w.replicated(strings.Join(all, ","))

	behind, at := w.with("BACKUP_SERVER=nats://"+office), w.with("BACKUP_SERVER="+strings.Join(all, ","))
	src := w.dir()
	w.write(filepath.Join(src, "file"), random(1, 3*mib))
	behind.transmit("--name", "src", src)
	servers[0].kill()
	w.write(filepath.Join(src, "other"), random(2, 3*mib))
	var again saved
	w.eventually("a transmit succeeds with two servers", func() bool {
		o := behind.run("transmit", "--json", "--name", "src", src)
		if o.code == exitDone {
			again = parse[saved](t, o.out)
		}
		return o.code == exitDone
	})
	behind.restores(again.ID, src)
	at.restores(again.ID, src)
	node.stop()
	w.intact(data)
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Many clients save at once to three nodes, one of which has a slow disk. All finish, no server
// cuts a connection for being slow, and the memory of every process stays bounded.
func TestCrowdAndASlowDisk(t *testing.T) {
	w := newNATSWorld(t, 3*time.Minute)
	c := newCluster(w, 3, 1, 3)
	const speed = 5_000_000
	c.nodes[1].setSpeed(t, speed)
	clients := make([]*world, pick(t, 10, 50))
	size := pick(t, 2*mib, 16*mib)
	sources := make([]string, len(clients))
	running := make([]*process, len(clients))
	for i := range clients {
		clients[i], _ = c.client(fmt.Sprint("client", i))
		sources[i] = w.dir()
		w.write(filepath.Join(sources[i], "own"), random(uint64(i), size))
	}
	began := time.Now()
	for i, m := range clients {
		running[i] = m.start("transmit", "--name", "r", sources[i])
	}
	most := 0 // KiB of a client
	for i, p := range running {
		for !p.hasEnded() {
			for _, p := range running {
				if n, err := peakOf(p.cmd.Process.Pid); err == nil { // an error means that it has ended
					most = max(most, n)
				}
			}
			select {
			case <-p.ended:
			case <-time.After(100 * time.Millisecond):
			case <-w.ctx.Done():
				t.Fatalf("client %d does not end: %s", i, tail(p.stderr.String()))
			}
		}
		if code := p.wait(); code != exitDone {
			t.Fatalf("client %d ended with %d: %s", i, code, tail(p.stderr.String()))
		}
	}
	took := time.Since(began)
	if n := c.slowConsumers(); n != 0 {
		t.Errorf("%d connections were cut for being slow", n)
	}
	c.nodes[1].setSpeed(t, fullSpeed)
	c.healed(clients[0], pick(t, time.Minute, 5*time.Minute))
	s := c.status(clients[0])
	for i, m := range clients {
		m.restores("r@1", sources[i])
	}
	t.Logf("%d clients with %d bytes each: %.1f s, %.2f MB/s; %d parts healed; at most %d MiB in a client", len(clients), size,
		took.Seconds(), float64(len(clients)*size)/took.Seconds()/1e6, s.Healed, most>>10)
	for _, m := range slices.Concat(c.servers, c.coordinators, c.nodes) {
		memory := peak(t, m.p.cmd.Process.Pid)
		t.Logf("%s: at most %d MiB", m.name, memory>>10)
		if memory > mostMemory {
			t.Errorf("%s had %d KiB of memory", m.name, memory)
		}
	}
	if most == 0 || most > mostMemory {
		t.Errorf("a client had %d KiB of memory", most)
	}
}

// mostMemory is more memory than a process needs even with the race detector, in KiB.
const mostMemory = 1 << 20

// slowConsumers is the number of connections that servers have cut for being slow.
func (c *cluster) slowConsumers() (all int64) {
	c.w.Helper()
	for _, s := range c.servers {
		rep, err := http.Get("http://" + s.monitor + "/varz")
		if err != nil {
			c.w.Fatal(err)
		}
		var of struct {
			SlowConsumers *int64 `json:"slow_consumers"`
		}
		err = json.NewDecoder(rep.Body).Decode(&of)
		if rep.Body.Close(); err != nil || of.SlowConsumers == nil {
			c.w.Fatalf("the monitoring of the server: %v, %+v", err, of)
		}
		all += *of.SlowConsumers
	}
	return all
}

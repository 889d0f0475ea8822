//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
)

// TestServerIsKilled kills the whole system again and again while a client saves. Every
// acknowledged version must stay restorable; the client must finish, or fail with a message,
// within a bound. BACKUP_SEED repeats a run.
func TestServerIsKilled(t *testing.T) {
	kills := pick(t, 5, 50)
	c := newCrash(t, 10*time.Minute)
	c.files = pick(t, 24, 60) // with more files, more kills hit a running transmit
	rounds := 0
	for ; c.hit < kills && rounds < 10*kills; rounds++ {
		c.round(rounds)
	}
	for _, v := range c.listed() {
		c.w.restores(v.ID, v.Paths[0])
	}
	c.server.stop()
	c.w.intact(c.data)
	t.Logf("of %d transmits, a kill hit %d, and %d were acknowledged", rounds, c.hit, len(c.acknowledged))
	if c.hit < kills || len(c.acknowledged) == 0 {
		t.Errorf("too few: a kill hit %d transmits, want %d", c.hit, kills)
	}
}

// clientBound is how long a client may take to finish, or to give up, after the server is
// back. It waits a minute for a server, and less for a node.
const clientBound = 90 * time.Second

// crash is a system that is killed again and again, and the versions that must survive.
type crash struct {
	w            *world
	rng          *rand.Rand
	data, listen string
	server       *process
	sources      string          // holds one folder per round
	acknowledged map[string]bool // folders whose transmit has succeeded
	files        int             // in each folder
	hit          int             // transmits that ran when the system was killed
}

func newCrash(t *testing.T, bound time.Duration) *crash {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BACKUP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("BACKUP_SEED: %v", err)
		}
	}
	t.Logf("BACKUP_SEED=%d", seed)
	w := newWorld(t, bound)
	c := &crash{
		rng: rand.New(rand.NewPCG(seed, 1)), data: w.dir(), sources: w.dir(),
		listen: bustest.FreeAddress(w), acknowledged: map[string]bool{},
	}
	c.w = w.with("BACKUP_SERVER=nats://" + c.listen)
	c.start()
	return c
}

func (c *crash) start() {
	c.w.Helper()
	c.server = c.w.start("up", "--data", c.data, "--listen", c.listen)
	c.server.serves()
}

// moment is a random time up to most; short times are more likely.
func (c *crash) moment(most time.Duration) <-chan time.Time {
	f := c.rng.Float64()
	return time.After(time.Duration(f * f * float64(most)))
}

// round saves a folder and kills the server meanwhile.
func (c *crash) round(round int) {
	c.w.Helper()
	src := c.source(round)
	client := c.w.start("transmit", src, "--name", "record", "--moved")
	if c.rng.IntN(4) > 0 { // else the kill may come before the client begins
		c.w.eventually("the client begins", func() bool {
			return client.hasEnded() || strings.Contains(c.server.stderr.String(), "began to save")
		})
	}
	select {
	case <-c.moment(800 * time.Millisecond):
		c.hit++
	case <-client.ended:
	}
	c.server.kill()
	if c.rng.IntN(3) == 0 { // kill it again while it recovers
		again := c.w.start("up", "--data", c.data, "--listen", c.listen)
		<-c.moment(600 * time.Millisecond)
		again.kill()
	}
	c.start()
	back := time.Now()
	code := client.wait()
	if took := time.Since(back); took > clientBound {
		c.w.Errorf("round %d: the client took %v", round, took)
	}
	switch {
	case code == exitDone:
		c.acknowledged[src] = true
	case code != exitFailed || client.stderr.String() == "":
		c.w.Fatalf("round %d: the client ended with %d: %s", round, code, client.stderr.String())
	default:
		c.w.Logf("round %d: the client gave up: %s", round, tail(client.stderr.String()))
	}
	c.check(round)
}

// source makes the folder of a round. Half of its files equal those of the previous round.
func (c *crash) source(round int) string {
	c.w.Helper()
	dir := filepath.Join(c.sources, fmt.Sprint("round ", round))
	for i := range c.files {
		seed := uint64(round/2*1000 + i)
		if i%2 == 0 {
			seed = uint64(round*1000 + i)
		}
		c.w.write(filepath.Join(dir, fmt.Sprint(i)), random(seed, int(seed*7919%900_000)))
	}
	return dir
}

// versionLine is a version in the output of "list NAME --json".
type versionLine struct {
	ID    string
	Paths []string
}

// listed returns the versions in the catalogue. Every acknowledged version must be listed
// exactly once.
func (c *crash) listed() []versionLine {
	c.w.Helper()
	if len(c.acknowledged) == 0 && len(lines[struct{}](c.w.T, c.w.run("list", "--json").out)) == 0 {
		return nil
	}
	all := lines[versionLine](c.w.T, c.w.ok("list", "record", "--json").out)
	times := map[string]int{}
	for _, v := range all {
		times[v.Paths[0]]++
	}
	for src := range c.acknowledged {
		if times[src] != 1 {
			c.w.Fatalf("%s was acknowledged and is listed %d times", src, times[src])
		}
	}
	return all
}

// check restores the newest versions and some older ones.
func (c *crash) check(round int) {
	c.w.Helper()
	all := c.listed()
	older := slices.Clone(all[min(2, len(all)):])
	c.rng.Shuffle(len(older), func(i, j int) { older[i], older[j] = older[j], older[i] })
	for _, v := range slices.Concat(all[:min(2, len(all))], older[:min(2, len(older))]) {
		c.w.restores(v.ID, v.Paths[0])
	}
	if c.w.Failed() {
		c.w.Fatalf("round %d", round)
	}
}

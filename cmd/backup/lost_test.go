//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// With 4+2 on six nodes, two nodes are lost for good during a backup, and two more during the
// restore. Both finish, and after two new nodes start, the system heals by itself.
func TestTwoOfSixNodesAreLost(t *testing.T) {
	w := newNATSWorld(t, 4*time.Minute)
	c := newCluster(w, 3, 2, 6)
	m, _ := c.client("ana")
	m.ok("policy", "durability", "4+2", "--degraded") // four nodes are enough meanwhile
	size := pick(t, 48*mib, 2<<30)
	src := w.dir()
	for i, n := 0, size; n > 0; i, n = i+1, n-16*mib {
		w.write(filepath.Join(src, fmt.Sprintf("f%03d", i)), random(uint64(i), min(n, 16*mib)))
	}
	saving := m.start("transmit", "--name", "large", src)
	c.loseTwo(saving, "saved", func() bool {
		stored := int64(0)
		for _, n := range c.nodes {
			stored += bytesIn(n.data)
		}
		return stored > int64(size)/3
	})
	if code := saving.wait(); code != exitDone {
		t.Fatalf("transmit ended with %d: %s", code, tail(saving.stderr.String()))
	}
	t.Logf("after two nodes were lost: %+v", c.status(m))
	c.healWithTwoNodes(m)
	to := filepath.Join(w.dir(), "to")
	reading := m.start("download", "large", "--to", to)
	c.loseTwo(reading, "restored", func() bool { return bytesIn(to) > int64(size)/3 })
	if code := reading.wait(); code != exitDone {
		t.Fatalf("download ended with %d: %s", code, tail(reading.stderr.String()))
	}
	w.same(src, filepath.Join(to, filepath.Base(src)))
	c.healWithTwoNodes(m)
	for _, n := range c.nodes {
		n.p.stop()
		w.intact(n.data)
	}
}

// loseTwo kills two nodes and deletes their data as soon as far returns true, while p runs.
func (c *cluster) loseTwo(p *process, doing string, far func() bool) {
	c.w.Helper()
	c.w.eventually("a third is "+doing, func() bool { return far() || p.hasEnded() })
	if p.hasEnded() {
		c.w.Fatalf("everything was %s before a node was lost: %s", doing, tail(p.stderr.String()))
	}
	for _, n := range c.nodes[:2] {
		n.kill()
		files, err := filepath.Glob(filepath.Join(n.data, "*")) // the folder may be a mount point
		if err != nil || len(files) == 0 {
			c.w.Fatalf("%s has nothing to lose: %v", n.name, err)
		}
		for _, f := range files {
			if err := os.RemoveAll(f); err != nil {
				c.w.Fatal(err)
			}
		}
	}
	c.nodes = slices.Delete(c.nodes, 0, 2)
}

// healWithTwoNodes adds two nodes and waits until everything is intact.
func (c *cluster) healWithTwoNodes(w *world) {
	c.w.Helper()
	began := time.Now()
	for range 2 {
		c.addNode().p.serves()
	}
	c.healed(w, pick(c.w.T, 2*time.Minute, 15*time.Minute))
	s := c.status(w)
	c.w.Logf("intact %.0f s after two nodes were added: %+v, %d bytes made or moved", time.Since(began).Seconds(), s.Levels, s.HealedBytes)
}

// bytesIn is the sum of the sizes of all files below a folder.
func bytesIn(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // files come and go
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

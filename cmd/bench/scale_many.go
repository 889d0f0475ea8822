package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// makeRandom makes files of size random bytes in a new folder.
func makeRandom(dir string, files int, size int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	n := newNoise(filepath.Base(dir))
	for i := range files {
		if err := writeFile(filepath.Join(dir, fmt.Sprintf("f%05d.bin", i)), io.LimitReader(n, size)); err != nil {
			return err
		}
	}
	return nil
}

// The steps of versions that only look.
const (
	stepList = "list"
	stepFile = "one file"
	looks    = 5 // how often each is done
)

// versionAfterVersion saves version after version, then lists them, and brings
// back one file out of the one in the middle.
func versionAfterVersion(ctx context.Context, g *scaling) error {
	files, versions := int(scaled(2000, g.scale, 100)), int(scaled(1000, g.scale, 10))
	src := filepath.Join(g.src, "folder")
	if err := makeRandom(src, files, 20*kib); err != nil {
		return err
	}
	return g.with(ctx, 1, src, func(o *ourSystem) error {
		var name string // of the file to bring back
		var want []byte // what is in it then
		for v := 1; v <= versions; v++ {
			step := phaseFirst
			if v > 1 {
				step = stepRepeat
				changed, err := changeSome(src, files, v)
				if err != nil {
					return err
				}
				if v == versions/2 {
					name = changed
					if want, err = os.ReadFile(filepath.Join(src, name)); err != nil {
						return err
					}
				}
			}
			if err := g.step(ctx, o, step, float64(v), o.backup(), "", nil); err != nil {
				return err
			}
		}
		return g.lookInto(ctx, o, versions, name, want)
	})
}

// changeSome overwrites the content of 1 % of the files that makeRandom made in
// dir, in part, and names one of them. They keep their sizes, so that all
// versions are of the same size.
func changeSome(dir string, files, version int) (string, error) {
	m := &mutation{noise: newNoise(fmt.Sprintf("version %d", version)), root: dir}
	name := ""
	for _, i := range m.Perm(files)[:max(1, files/100)] {
		name = fmt.Sprintf("f%05d.bin", i)
		if err := m.changeFile(filepath.Join(dir, name), 0); err != nil {
			return "", err
		}
	}
	return name, nil
}

func (g *scaling) lookInto(ctx context.Context, o *ourSystem, versions int, name string, want []byte) error {
	record := filepath.Base(o.src)
	for range looks {
		list := job{argv: o.client("list", "--json", record), dir: o.home}
		if err := g.step(ctx, o, stepList, float64(versions), list, "", nil); err != nil {
			return err
		}
	}
	for i := range looks {
		to := filepath.Join(o.dir, fmt.Sprint("back-", i))
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		id := fmt.Sprintf("%s@%d", record, versions/2)
		one := job{argv: o.client("download", "--json", id, name, "--to", to), dir: to}
		err := g.step(ctx, o, stepFile, float64(versions), one, "", func() (string, error) {
			got, err := os.ReadFile(filepath.Join(to, name))
			if err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("%s is not what it was in %s", name, id)
			}
			return "", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// crowdOf saves so many bytes by one client, and by many at once: to each a
// folder, a home, a nickname and so a vault of its own.
func crowdOf(bytes int64) func(context.Context, *scaling) error {
	return func(ctx context.Context, g *scaling) error { return crowd(ctx, g, bytes) }
}

func crowd(ctx context.Context, g *scaling, bytes int64) error {
	clients := int(scaled(20, g.scale, 4))
	const filesEach = 4
	size := scaled(bytes, g.scale, int64(clients)*filesEach) / int64(clients) / filesEach
	src := filepath.Join(g.src, "all")
	var names []string
	for i := range clients {
		names = append(names, fmt.Sprintf("client-%02d", i+1))
		if err := makeRandom(filepath.Join(src, names[i]), filesEach, size); err != nil {
			return err
		}
	}
	err := g.with(ctx, 1, src, func(o *ourSystem) error {
		return g.cycle(ctx, o, 1, src, func(back string) (string, error) { return "compared", compareTrees(src, back) })
	})
	if err != nil {
		return err
	}
	return g.with(ctx, 1, src, func(o *ourSystem) error {
		var guests []*ourSystem
		for _, name := range names {
			guest, err := o.guest(name, filepath.Join(src, name))
			if err != nil {
				return err
			}
			guests = append(guests, guest)
		}
		save := func(o *ourSystem) (job, error) { return o.backup(), nil }
		for _, name := range []string{phaseFirst, phaseUnchanged} {
			if err := g.together(ctx, o, name, guests, save, src, nil); err != nil {
				return err
			}
		}
		bring := func(o *ourSystem) (job, error) {
			to := filepath.Join(o.home, "back")
			return o.restore(to), os.Mkdir(to, 0o755)
		}
		return g.together(ctx, o, phaseRestore, guests, bring, o.repo, func() (string, error) {
			for _, guest := range guests {
				if err := compareTrees(guest.src, guest.restore(filepath.Join(guest.home, "back")).tree); err != nil {
					return "", err
				}
			}
			return "compared", nil
		})
	})
}

// guest is somebody else who uses the running system to save src.
func (o *ourSystem) guest(nickname, src string) (*ourSystem, error) {
	s := *o.site
	s.src, s.home, s.servers = src, filepath.Join(o.dir, nickname), nil
	s.env = append(slices.Clip(o.env), "HOME="+s.home, "BACKUP_NICKNAME="+nickname) // the last of a name counts
	return &ourSystem{site: &s}, os.Mkdir(s.home, 0o755)
}

// each is added to the name of a step for the lines of its single clients.
const each = ", each"

// together measures one job of every guest at once. It adds a line of all, whose
// x is their number, and one of each, whose x is its place in the crowd. One that
// fails does not stop the others.
func (g *scaling) together(ctx context.Context, o *ourSystem, name string, guests []*ourSystem,
	prepare func(*ourSystem) (job, error), reads string, look check) error {
	jobs, them, failures := make([]job, len(guests)), make([]measured, len(guests)), make([]error, len(guests))
	for i, guest := range guests {
		var err error
		if jobs[i], err = prepare(guest); err != nil {
			return err
		}
	}
	var all measured
	err := g.observe(ctx, o.site, reads, &all, func() error {
		start := time.Now()
		var work errgroup.Group
		for i, guest := range guests {
			work.Go(func() error {
				failures[i] = g.client(ctx, guest.site, jobs[i], &them[i])
				return nil
			})
		}
		_ = work.Wait() // the failures are kept
		all.wall = time.Since(start)
		return nil
	})
	if err != nil {
		return err
	}
	total := newPoint(name, float64(len(guests)), all)
	total.clientCPU, total.clientMem = 0, 0
	var notes []string
	for i, m := range them {
		p := newPoint(name+each, float64(i+1), m)
		p.serverCPU, p.serverMem = -1, -1 // they serve everybody
		if p.note = g.anywhere(waitedFor(m.stderr)); p.note != "" {
			notes = append(notes, fmt.Sprintf("client %d: %s", i+1, p.note))
		}
		for k, at := range total.clients() {
			if v := *p.clients()[k]; v >= 0 {
				*at = max(0, *at) + v
			}
		}
		if err := g.add(ctx, o, p, failures[i]); err != nil && failures[i] == nil {
			return err
		}
	}
	if err = errors.Join(failures...); err == nil && look != nil {
		var note string
		note, err = look()
		notes = append(notes, note)
	}
	total.note = strings.Join(notes, "; ")
	return g.add(ctx, o, total, err)
}

// clients are the places of a point's numbers that come from clients.
func (p *point) clients() []*float64 {
	return []*float64{&p.clientCPU, &p.clientMem, &p.read, &p.sent}
}

// waitedFor is what a command of ours, by what it printed, had to wait for, such
// as a connection that was lost; "" for nothing.
func waitedFor(stderr []byte) string {
	var all []string
	for _, line := range jsonLines(stderr) {
		var said struct{ Status string }
		if json.Unmarshal(line, &said) == nil && said.Status != "" {
			all = append([]string{said.Status}, all...) // the lines come last first
		}
	}
	return strings.Join(all, "; ")
}

// moreNodes saves the same files into systems of more and more nodes.
func moreNodes(ctx context.Context, g *scaling) error {
	const files = 16
	src := filepath.Join(g.src, "files")
	if err := makeRandom(src, files, scaled(gib, g.scale, files*kib)/files); err != nil {
		return err
	}
	for _, nodes := range []int{0, 1, 2, 4} {
		err := g.with(ctx, 1+nodes, src, func(o *ourSystem) error {
			return g.cycle(ctx, o, float64(nodes), src, func(back string) (string, error) { return "compared", compareTrees(src, back) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

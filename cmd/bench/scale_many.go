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

// makeRandom makes a folder with files of size random bytes each.
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

// The steps of the scenario "versions" that only read.
const (
	stepList  = "list"
	stepFile  = "one file"
	readSteps = 5 // number of each of these steps
)

// manyVersions is the scenario of many versions. At the end it lists them, and restores one
// file of the version in the middle.
func manyVersions(ctx context.Context, g *scaling) error {
	files, versions := int(scaled(2000, g.scale, 100)), int(scaled(1000, g.scale, 10))
	src := filepath.Join(g.src, "folder")
	if err := makeRandom(src, files, 20*kib); err != nil {
		return err
	}
	return g.withSystem(ctx, 1, src, func(o *ourSystem) error {
		var name string // of the file to restore
		var want []byte // its content in the version in the middle
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
		return g.readVersions(ctx, o, versions, name, want)
	})
}

// changeSome overwrites a part of 1 % of the files that makeRandom made in dir, and returns
// the name of one of them. The files keep their sizes, so all versions have the same size.
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

// readVersions measures the list of versions, and the restore of the file name from the
// version in the middle. The file must have the content want.
func (g *scaling) readVersions(ctx context.Context, o *ourSystem, versions int, name string, want []byte) error {
	record := filepath.Base(o.src)
	for range readSteps {
		list := job{argv: o.client("list", "--json", record), dir: o.home}
		if err := g.step(ctx, o, stepList, float64(versions), list, "", nil); err != nil {
			return err
		}
	}
	for i := range readSteps {
		to := filepath.Join(o.dir, fmt.Sprint("restored-", i))
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		id := fmt.Sprintf("%s@%d", record, versions/2)
		one := job{argv: o.client("download", "--json", id, name, "--to", to), dir: to}
		err := g.step(ctx, o, stepFile, float64(versions), one, "", func() (string, error) {
			got, err := os.ReadFile(filepath.Join(to, name))
			if err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("%s does not have the content that it has in %s", name, id)
			}
			return "", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// crowdOf returns the scenario of many clients, with size bytes in total. One client backs
// up all of it. Then each of several clients backs up a part at the same time. Each of these
// has a home folder and a nickname, and so a vault, of its own.
func crowdOf(total int64) func(context.Context, *scaling) error {
	return func(ctx context.Context, g *scaling) error { return crowd(ctx, g, total) }
}

func crowd(ctx context.Context, g *scaling, total int64) error {
	clients := int(scaled(20, g.scale, 4))
	const filesEach = 4
	size := scaled(total, g.scale, int64(clients)*filesEach) / int64(clients) / filesEach
	src := filepath.Join(g.src, "all")
	var names []string
	for i := range clients {
		names = append(names, fmt.Sprintf("client-%02d", i+1))
		if err := makeRandom(filepath.Join(src, names[i]), filesEach, size); err != nil {
			return err
		}
	}
	err := g.withSystem(ctx, 1, src, func(o *ourSystem) error {
		return g.backUpAndRestore(ctx, o, 1, src, func(restored string) (string, error) { return "compared", compareTrees(src, restored) })
	})
	if err != nil {
		return err
	}
	return g.withSystem(ctx, 1, src, func(o *ourSystem) error {
		var clients []*ourSystem
		for _, name := range names {
			client, err := o.newClient(name, filepath.Join(src, name))
			if err != nil {
				return err
			}
			clients = append(clients, client)
		}
		backUp := func(o *ourSystem) (job, error) { return o.backup(), nil }
		for _, name := range []string{phaseFirst, phaseUnchanged} {
			if err := g.stepOfAll(ctx, o, name, clients, backUp, src, nil); err != nil {
				return err
			}
		}
		restore := func(o *ourSystem) (job, error) {
			to := filepath.Join(o.home, "restored")
			return o.restore(to), os.Mkdir(to, 0o755)
		}
		return g.stepOfAll(ctx, o, phaseRestore, clients, restore, o.repo, func() (string, error) {
			for _, client := range clients {
				if err := compareTrees(client.src, client.restore(filepath.Join(client.home, "restored")).tree); err != nil {
					return "", err
				}
			}
			return "compared", nil
		})
	})
}

// newClient returns another client of the running system, with another nickname. It backs
// up src.
func (o *ourSystem) newClient(nickname, src string) (*ourSystem, error) {
	s := *o.site
	s.src, s.home, s.servers = src, filepath.Join(o.dir, nickname), nil
	// If a variable has several values, the last one counts.
	s.env = append(slices.Clip(o.env), "HOME="+s.home, "BACKUP_NICKNAME="+nickname)
	return &ourSystem{site: &s}, os.Mkdir(s.home, 0o755)
}

// each is the suffix of a step's name in the lines of single clients.
const each = ", each"

// stepOfAll measures one job of every client, all at the same time. It adds a line for each
// client, whose x is the number of the client from 1, and a line for all of them, whose x is
// how many clients there are. A client that fails does not stop the others.
func (g *scaling) stepOfAll(ctx context.Context, o *ourSystem, name string, clients []*ourSystem,
	prepare func(*ourSystem) (job, error), reads string, verify check) error {
	jobs, results, failures := make([]job, len(clients)), make([]measured, len(clients)), make([]error, len(clients))
	for i, client := range clients {
		var err error
		if jobs[i], err = prepare(client); err != nil {
			return err
		}
	}
	var all measured
	err := g.observe(ctx, o.site, reads, &all, func() error {
		start := time.Now()
		var work errgroup.Group
		for i, client := range clients {
			work.Go(func() error {
				failures[i] = g.client(ctx, client.site, jobs[i], &results[i])
				return nil
			})
		}
		_ = work.Wait() // all errors are in failures
		all.wall = time.Since(start)
		return nil
	})
	if err != nil {
		return err
	}
	total := newPoint(name, float64(len(clients)), all)
	total.clientCPU, total.clientMem = 0, 0
	var notes []string
	for i, m := range results {
		p := newPoint(name+each, float64(i+1), m)
		p.serverCPU, p.serverMem = -1, -1 // the servers work for all clients
		if p.note = g.anonymize(statusTexts(m.stderr)); p.note != "" {
			notes = append(notes, fmt.Sprintf("client %d: %s", i+1, p.note))
		}
		for k, sum := range total.clientValues() {
			if v := *p.clientValues()[k]; v >= 0 {
				*sum = max(0, *sum) + v
			}
		}
		if err := g.add(ctx, o, p, failures[i]); err != nil && failures[i] == nil {
			return err
		}
	}
	if err = errors.Join(failures...); err == nil && verify != nil {
		var note string
		note, err = verify()
		notes = append(notes, note)
	}
	total.note = strings.Join(notes, "; ")
	return g.add(ctx, o, total, err)
}

// clientValues returns pointers to the values of a point that come from clients.
func (p *point) clientValues() []*float64 {
	return []*float64{&p.clientCPU, &p.clientMem, &p.read, &p.sent}
}

// statusTexts returns the status texts that our command printed, joined with "; ". A status
// tells what the command waited for, such as a lost connection.
func statusTexts(stderr []byte) string {
	var all []string
	for _, line := range jsonLines(stderr) {
		var message struct{ Status string }
		if json.Unmarshal(line, &message) == nil && message.Status != "" {
			all = append([]string{message.Status}, all...) // jsonLines gives the last line first
		}
	}
	return strings.Join(all, "; ")
}

// moreNodes is the scenario of a growing number of nodes.
func moreNodes(ctx context.Context, g *scaling) error {
	const files = 16
	src := filepath.Join(g.src, "files")
	if err := makeRandom(src, files, scaled(gib, g.scale, files*kib)/files); err != nil {
		return err
	}
	for _, nodes := range []int{0, 1, 2, 4} {
		err := g.withSystem(ctx, 1+nodes, src, func(o *ourSystem) error {
			return g.backUpAndRestore(ctx, o, float64(nodes), src, func(restored string) (string, error) { return "compared", compareTrees(src, restored) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

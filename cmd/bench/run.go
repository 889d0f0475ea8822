package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// runOptions are what "bench run" is told.
type runOptions struct {
	conditions
	data, work, csv string
	rounds          int
	peers, sets     []string
	deadline        time.Duration // after which no set is begun; 0 for none
}

func runCommand(ctx context.Context, f *pflag.FlagSet, args []string) error {
	var opt runOptions
	f.IntVar(&opt.rounds, "rounds", 1, "how often everything is measured")
	f.StringSliceVar(&opt.peers, "peers", nil, "who is measured: all that are here")
	f.StringSliceVar(&opt.sets, "sets", nil, "on what: all that are in DATA")
	f.Float64Var(&opt.touch, "touch", 0, "GiB of memory to touch before each command")
	f.DurationVar(&opt.limit, "limit", 15*time.Minute, "after which a command is killed")
	f.DurationVar(&opt.deadline, "deadline", 0, "after which nothing more is begun")
	args, err := parse(f, args, 3, 3)
	if err != nil {
		return err
	}
	opt.data, opt.work, opt.csv = args[0], args[1], args[2]
	return run(ctx, opt, os.Stderr)
}

// A bench is one run of rounds.
type bench struct {
	runOptions
	programs programs
	peers    []peer
	csv      *results[row]
	log      io.Writer
	start    time.Time
}

// run measures, and appends to the CSV. A peer that fails is a result; an error
// is something that no more can be measured with.
func run(ctx context.Context, opt runOptions, log io.Writer) (err error) {
	if err := canMeasure(); err != nil {
		return err
	}
	b := &bench{runOptions: opt, log: log, start: time.Now()}
	if b.data, err = filepath.Abs(opt.data); err != nil {
		return err
	}
	if b.work, err = filepath.Abs(opt.work); err != nil {
		return err
	}
	if b.sets, err = chooseSets(b.data, opt.sets); err != nil {
		return err
	}
	if b.programs, err = findPrograms(); err != nil {
		return err
	}
	var left []string
	if b.peers, left, err = choosePeers(opt.peers, b.programs); err != nil {
		return err
	}
	first, err := nextRound(opt.csv)
	if err != nil {
		return err
	}
	if b.csv, err = runTable.open(opt.csv); err != nil {
		return err
	}
	defer closing(b.csv, &err)
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	facts := b.facts(b.work, b.peers, b.programs)
	if len(left) > 0 {
		facts = append(facts, remark{"left out", strings.Join(left, ", ")})
	}
	if err := b.csv.remark(facts...); err != nil {
		return err
	}
	rounds := filepath.Join(b.work, "rounds")
	if err := os.RemoveAll(rounds); err != nil {
		return err
	}
	defer os.RemoveAll(rounds)
	for round := first; round < first+opt.rounds; round++ {
		for _, set := range b.sets {
			if opt.deadline > 0 && time.Since(b.start) > opt.deadline {
				fmt.Fprintf(log, "the deadline is over: round %d ends before %s\n", round, set)
				return nil
			}
			if err := b.measureSet(ctx, round, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// chooseSets are the sets of these names, or all that are in data.
func chooseSets(data string, names []string) ([]string, error) {
	var chosen []string
	for _, name := range datasetNames() {
		_, err := os.Stat(filepath.Join(data, name))
		if asked := slices.Contains(names, name); asked && err != nil {
			return nil, fmt.Errorf("the set %s is not there: make it with \"bench data\": %w", name, err)
		} else if err == nil && (asked || len(names) == 0) {
			chosen = append(chosen, name)
		}
	}
	for _, name := range names {
		if !slices.Contains(chosen, name) {
			return nil, fmt.Errorf("no data set %q: there are %s", name, strings.Join(datasetNames(), ", "))
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no data sets in %s: make them with \"bench data\"", data)
	}
	return chosen, nil
}

// nextRound is the round after those that are in a CSV file: rounds can be added
// by later runs, and their order of peers goes on.
func nextRound(csv string) (int, error) {
	rows, _, err := runTable.read(csv)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) {
		return 1, nil
	}
	last := 0
	for _, r := range rows {
		last = max(last, r.round)
	}
	return last + 1, err
}

// facts are what readers of numbers want to know of the machine and the programs.
func (c conditions) facts(work string, chosen []peer, found programs) []remark {
	facts := []remark{{"date", time.Now().UTC().Format(time.DateOnly)}, {"machine", machine(work)}}
	if c.touch > 0 {
		facts = append(facts, remark{"touched", fmt.Sprintf("%v GiB of memory before each command", c.touch)})
	}
	for _, v := range versions(chosen, found) {
		facts = append(facts, remark{"version", v})
	}
	return facts
}

// turn is one peer in a round of one set.
type turn struct {
	*bench
	peer   peer
	site   *site
	system system
	row    row // what all its rows have in common
	failed bool
}

// emptyFrom is the length from which files are emptied once they are done with.
const emptyFrom = 64 << 10

// empty gives back the space of what a round has left, without removing it: ext4
// walks past inodes that were freed in the last minutes, so that whoever makes files
// after many were removed pays for those before him, ten times over.
func empty(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Size() < emptyFrom {
			return err
		}
		return os.Truncate(path, 0)
	})
}

// measureSet is one round of one set.
func (b *bench) measureSet(ctx context.Context, round int, set string) (err error) {
	root := filepath.Join(b.work, "rounds", fmt.Sprint(round, "-", set))
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, empty(root)) }()
	pristine, src := filepath.Join(b.data, set), filepath.Join(root, "src")
	if out, err := exec.CommandContext(ctx, "cp", "-a", pristine, src).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s: %w: %s", set, err, lastLine(string(out)))
	}
	size, err := measureTree(src)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.log, "%s: round %d of %s, %d files, %d MiB\n", time.Now().Format(time.TimeOnly), round, set, size.files, size.bytes/mib)

	var turns []*turn
	for i := range b.peers {
		p := b.peers[(i+round-1)%len(b.peers)]
		s, err := newSite(b.programs, filepath.Join(root, p.name), src)
		if err != nil {
			return err
		}
		t := &turn{bench: b, peer: p, site: s, system: p.at(s)}
		t.row = row{round: round, order: i + 1, set: set, peer: p.name, source: float64(size.bytes)}
		turns = append(turns, t)
		if err := t.half(ctx, t.saving); err != nil {
			return err
		}
	}
	done, err := mutate(src, uint64(round))
	if err != nil {
		return fmt.Errorf("changing the copy of %s: %w", set, err)
	}
	fmt.Fprintf(b.log, "changed: %v\n", done)
	for _, t := range turns {
		want := src
		if t.peer.copies {
			want = pristine // its only backup is the first
		}
		if err := t.half(ctx, func(ctx context.Context) error { return t.bringing(ctx, want) }); err != nil {
			return err
		}
		if err := empty(t.site.dir); err != nil {
			return err
		}
	}
	return nil
}

// half runs one half of a turn between start and stop of the servers. A failed
// peer is noted, and left alone from then on.
func (t *turn) half(ctx context.Context, what func(context.Context) error) error {
	if t.failed {
		return nil
	}
	err := what(ctx)
	if stopErr := t.site.stop(); stopErr != nil {
		fmt.Fprintln(t.log, stopErr)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var broken *benchError
	if errors.As(err, &broken) {
		return err
	}
	t.failed = err != nil
	return nil
}

// benchError is a failure of the bench itself, not of a peer.
type benchError struct{ error }

// saving is the first half: a new repository, "first" and "unchanged".
func (t *turn) saving(ctx context.Context) error {
	if err := t.system.create(ctx); err != nil {
		return t.note(phaseFirst, measured{sent: -1}, err)
	}
	if err := t.system.serve(ctx); err != nil {
		return t.note(phaseFirst, measured{sent: -1}, err)
	}
	if err := t.save(ctx, phaseFirst); err != nil || t.peer.copies {
		return err
	}
	return t.save(ctx, phaseUnchanged)
}

// bringing is the second half: "mutated" and "restore".
func (t *turn) bringing(ctx context.Context, want string) error {
	next := phaseMutated
	if t.peer.copies {
		next = phaseRestore
	}
	if err := t.system.serve(ctx); err != nil {
		return t.note(next, measured{sent: -1}, err)
	}
	if !t.peer.copies {
		if err := t.save(ctx, phaseMutated); err != nil {
			return err
		}
	}
	to := filepath.Join(t.site.dir, "back")
	if err := os.Mkdir(to, 0o755); err != nil {
		return &benchError{err}
	}
	j := t.system.restore(to)
	m, err := t.measure(ctx, t.site, j, t.site.repo)
	if err == nil {
		err = compareTrees(want, j.tree)
	}
	return t.note(phaseRestore, m, err)
}

// save measures one backup.
func (t *turn) save(ctx context.Context, phase string) error {
	m, err := t.measure(ctx, t.site, t.system.backup(), t.site.src)
	return t.note(phase, m, err)
}

// note writes a row and returns the peer's error, if it has one.
func (t *turn) note(phase string, m measured, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // we were interrupted, not the peer
	}
	r := newRow(m, err)
	r.result = strings.ReplaceAll(r.result, t.work, "WORK") // whoever reads it does not care where that is
	r.round, r.order, r.set, r.peer, r.phase, r.source = t.row.round, t.row.order, t.row.set, t.row.peer, phase, t.row.source
	if size, sizeErr := measureTree(t.site.repo); sizeErr == nil {
		r.stored = float64(size.disk)
	}
	fmt.Fprintln(t.log, r)
	if addErr := t.csv.add(r); addErr != nil {
		return &benchError{addErr}
	}
	return err
}

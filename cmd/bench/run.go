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

// runOptions are the arguments of "bench run".
type runOptions struct {
	conditions
	data, work, csv string
	rounds          int
	peers, sets     []string
	deadline        time.Duration // time after which no set starts; 0 for none
}

func runCommand(ctx context.Context, f *pflag.FlagSet, args []string) error {
	var opt runOptions
	f.IntVar(&opt.rounds, "rounds", 1, "number of rounds")
	f.StringSliceVar(&opt.peers, "peers", nil, "peers to measure; default: all whose programs are installed")
	f.StringSliceVar(&opt.sets, "sets", nil, "data sets to use; default: all that are in DATA")
	f.Float64Var(&opt.touch, "touch", 0, "GiB of memory to touch before each command")
	f.DurationVar(&opt.limit, "limit", 15*time.Minute, "time limit of a command")
	f.DurationVar(&opt.deadline, "deadline", 0, "time after which no set starts")
	args, err := parse(f, args, 3, 3)
	if err != nil {
		return err
	}
	opt.data, opt.work, opt.csv = args[0], args[1], args[2]
	return run(ctx, opt, os.Stderr)
}

// A bench is one run of "bench run".
type bench struct {
	runOptions
	programs programs
	peers    []peer
	csv      *results[row]
	log      io.Writer
	start    time.Time
}

// run measures and appends the results to the CSV. A failure of a peer is a result. An
// error means that bench cannot go on.
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
	var leftOut []string
	if b.peers, leftOut, err = choosePeers(opt.peers, b.programs); err != nil {
		return err
	}
	first, err := nextRound(opt.csv)
	if err != nil {
		return err
	}
	if b.csv, err = runTable.open(opt.csv); err != nil {
		return err
	}
	defer closeFile(b.csv, &err)
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	facts := b.facts(b.work, b.peers, b.programs)
	if len(leftOut) > 0 {
		facts = append(facts, remark{"left out", strings.Join(leftOut, ", ")})
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
				fmt.Fprintf(log, "the deadline has passed: round %d stops before %s\n", round, set)
				return nil
			}
			if err := b.measureSet(ctx, round, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// chooseSets returns the sets with these names, or all sets in data if there are no names.
func chooseSets(data string, names []string) ([]string, error) {
	var chosen []string
	for _, name := range datasetNames() {
		_, err := os.Stat(filepath.Join(data, name))
		if named := slices.Contains(names, name); named && err != nil {
			return nil, fmt.Errorf("the data set %s was not found: make it with \"bench data\": %w", name, err)
		} else if err == nil && (named || len(names) == 0) {
			chosen = append(chosen, name)
		}
	}
	for _, name := range names {
		if !slices.Contains(chosen, name) {
			return nil, fmt.Errorf("no data set is called %q; choose from %s", name, strings.Join(datasetNames(), ", "))
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no data sets in %s: make them with \"bench data\"", data)
	}
	return chosen, nil
}

// nextRound returns the number of the round after the last one in a CSV file. So a later
// run can add rounds, and the rotation of the peers continues.
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

// facts returns remarks about the machine and the programs.
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

// A turn is one peer in a round of one set.
type turn struct {
	*bench
	peer   peer
	site   *site
	system system
	row    row  // the fields that all rows of the turn share
	failed bool // the peer has failed and is not measured again
}

// truncateFrom is the size from which truncateFiles truncates a file.
const truncateFrom = 64 << 10

// truncateFiles frees the disk space of the large files in a tree without removing them.
// Removing would distort later measurements: ext4 skips inodes that were freed in the last
// few minutes, so a peer that creates files after many others were removed could take ten
// times as long.
func truncateFiles(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Size() < truncateFrom {
			return err
		}
		return os.Truncate(path, 0)
	})
}

// measureSet runs one round of one set.
func (b *bench) measureSet(ctx context.Context, round int, set string) (err error) {
	root := filepath.Join(b.work, "rounds", fmt.Sprint(round, "-", set))
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, truncateFiles(root)) }()
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
		t := &turn{bench: b, peer: p, site: s, system: p.setUp(s)}
		t.row = row{round: round, order: i + 1, set: set, peer: p.name, source: float64(size.bytes)}
		turns = append(turns, t)
		if err := t.runHalf(ctx, t.backUp); err != nil {
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
			want = pristine // the peer has only the first backup
		}
		if err := t.runHalf(ctx, func(ctx context.Context) error { return t.mutatedAndRestore(ctx, want) }); err != nil {
			return err
		}
		if err := truncateFiles(t.site.dir); err != nil {
			return err
		}
	}
	return nil
}

// runHalf runs one half of a turn, and then stops the servers. It does nothing if the peer
// has failed before. It returns an error only if bench cannot go on.
func (t *turn) runHalf(ctx context.Context, half func(context.Context) error) error {
	if t.failed {
		return nil
	}
	err := half(ctx)
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

// A benchError is a failure of bench, not of a peer.
type benchError struct{ error }

// backUp is the first half of a turn: a new repository, "first" and "unchanged".
func (t *turn) backUp(ctx context.Context) error {
	if err := t.system.create(ctx); err != nil {
		return t.record(phaseFirst, measured{sent: -1}, err)
	}
	if err := t.system.serve(ctx); err != nil {
		return t.record(phaseFirst, measured{sent: -1}, err)
	}
	if err := t.measureBackup(ctx, phaseFirst); err != nil || t.peer.copies {
		return err
	}
	return t.measureBackup(ctx, phaseUnchanged)
}

// mutatedAndRestore is the second half of a turn: "mutated" and "restore". The restored
// files must be the same as the tree want.
func (t *turn) mutatedAndRestore(ctx context.Context, want string) error {
	next := phaseMutated
	if t.peer.copies {
		next = phaseRestore
	}
	if err := t.system.serve(ctx); err != nil {
		return t.record(next, measured{sent: -1}, err)
	}
	if !t.peer.copies {
		if err := t.measureBackup(ctx, phaseMutated); err != nil {
			return err
		}
	}
	to := filepath.Join(t.site.dir, "restored")
	if err := os.Mkdir(to, 0o755); err != nil {
		return &benchError{err}
	}
	j := t.system.restore(to)
	m, err := t.measure(ctx, t.site, j, t.site.repo)
	if err == nil {
		err = compareTrees(want, j.tree)
	}
	return t.record(phaseRestore, m, err)
}

// measureBackup measures one backup.
func (t *turn) measureBackup(ctx context.Context, phase string) error {
	m, err := t.measure(ctx, t.site, t.system.backup(), t.site.src)
	return t.record(phase, m, err)
}

// record writes a row with the result err of the peer, and returns err.
func (t *turn) record(phase string, m measured, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // bench was interrupted; the peer has not failed
	}
	r := newRow(m, err)
	r.result = strings.ReplaceAll(r.result, t.work, "WORK") // results do not depend on the path
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

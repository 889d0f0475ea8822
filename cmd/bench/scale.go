package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// A scenario measures our system while one quantity grows.
type scenario struct {
	name string
	what string // description for the report
	x    string // the quantity that grows
	run  func(context.Context, *scaling) error
}

// scenarios lists all scenarios in the order of reports.
var scenarios = []scenario{
	{"million", "Files of up to 2 KiB, 100 in each folder. Memory must not grow with the number of files.", "files", million},
	{"sparse", "One file of 64 GiB: a sixteenth is random data in runs of 1 MiB, and the rest is holes.", "MiB of data", sparse},
	{"versions", "Versions of one record of 2,000 files of 20 KiB. Each version changes 1 % of the files. The last version must cost as much as the second.", "version", manyVersions},
	{"crowd", "One client backs up and restores 256 MiB. Then 20 clients do that at the same time with a part each. A large part of their time is the start of 20 programs.", "clients", crowdOf(256 * mib)},
	{"crowd-big", "The same with 2.5 GiB, where the start of the programs matters little.", "clients", crowdOf(2560 * mib)},
	{"nodes", "The same 1 GiB on a growing number of storage nodes, each in a process of its own, with each chunk on one node. With 0 such nodes, all data is on the node in the process of the NATS server.", "node processes", moreNodes},
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// A point is one measurement of a scenario and one line of the CSV. A number is -1 if there
// is no value.
type point struct {
	scenario, step string
	x              float64 // the quantity that grows, see scenario

	wall, clientCPU, serverCPU float64 // s
	clientMem, serverMem       float64 // peaks, MiB; sums for several clients or servers
	read                       float64 // bytes: a backup reads the disk, a restore the network
	sent                       float64 // bytes sent to the network
	stored                     float64 // disk space of the repository afterwards, bytes
	note                       string
}

// failed is the prefix of the note of a failed measurement.
const failed = "failed: "

// scaleTable is the table of "bench scale".
var scaleTable = table[point]{
	{"scenario", func(p *point) any { return &p.scenario }},
	{"step", func(p *point) any { return &p.step }},
	{"x", func(p *point) any { return &p.x }},
	{"wall_s", func(p *point) any { return &p.wall }},
	{"client_cpu_s", func(p *point) any { return &p.clientCPU }},
	{"server_cpu_s", func(p *point) any { return &p.serverCPU }},
	{"client_rss_mib", func(p *point) any { return &p.clientMem }},
	{"server_rss_mib", func(p *point) any { return &p.serverMem }},
	{"read_bytes", func(p *point) any { return &p.read }},
	{"sent_bytes", func(p *point) any { return &p.sent }},
	{"stored_bytes", func(p *point) any { return &p.stored }},
	{"note", func(p *point) any { return &p.note }},
}

// scaleOptions are the arguments of "bench scale".
type scaleOptions struct {
	conditions
	data, work, csv string
	scenarios       []string
	scale           float64
}

func scaleCommand(ctx context.Context, f *pflag.FlagSet, args []string) error {
	var opt scaleOptions
	f.Float64Var(&opt.scale, "scale", 1, "size of all scenarios as a fraction of the full size")
	f.Float64Var(&opt.touch, "touch", 0, "GiB of memory to touch before each command")
	f.DurationVar(&opt.limit, "limit", time.Hour, "time limit of a command")
	args, err := parse(f, args, 3, -1)
	if err != nil {
		return err
	}
	opt.data, opt.work, opt.csv, opt.scenarios = args[0], args[1], args[2], args[3:]
	return scale(ctx, opt, os.Stderr)
}

// A scaling is one run of "bench scale".
type scaling struct {
	scaleOptions
	programs programs
	lines    *results[point]
	log      io.Writer

	scenario string
	src      string // folder for the files to back up: empty at the start, removed at the end
	dir      string // folder for everything else of the scenario, likewise
}

// scale runs scenarios and appends the results to the CSV. If a scenario fails, its last
// line says so, and scale goes on with the next one. The error names all failed scenarios.
func scale(ctx context.Context, opt scaleOptions, log io.Writer) (err error) {
	if err := canMeasure(); err != nil {
		return err
	}
	if opt.scale <= 0 || opt.scale > 1 {
		return fmt.Errorf("the scale %v is not in (0,1]", opt.scale)
	}
	for _, name := range opt.scenarios {
		if !slices.Contains(scenarioNames(), name) {
			return fmt.Errorf("no scenario is called %q; choose from %s", name, strings.Join(scenarioNames(), ", "))
		}
	}
	g := &scaling{scaleOptions: opt, log: log}
	if g.data, err = filepath.Abs(opt.data); err != nil {
		return err
	}
	if g.work, err = filepath.Abs(opt.work); err != nil {
		return err
	}
	if g.programs, err = findPrograms(); err != nil {
		return err
	}
	ourPeer, _, err := choosePeers([]string{oursName}, g.programs)
	if err != nil {
		return err
	}
	if err := g.checkScale(); err != nil {
		return err
	}
	if g.lines, err = scaleTable.open(opt.csv); err != nil {
		return err
	}
	defer closeFile(g.lines, &err)
	if err := os.MkdirAll(g.work, 0o755); err != nil {
		return err
	}
	facts := append(g.facts(g.work, ourPeer, g.programs), remark{"scale", fmt.Sprint(g.scale)})
	if err := g.lines.remark(facts...); err != nil {
		return err
	}
	var all error
	for _, s := range scenarios {
		if len(opt.scenarios) > 0 && !slices.Contains(opt.scenarios, s.name) {
			continue
		}
		if err := g.runScenario(ctx, s); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", s.name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return all
}

// checkScale returns an error if the CSV has lines of another scale.
func (g *scaling) checkScale() error {
	_, remarks, err := scaleTable.read(g.csv)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) {
		return nil
	}
	for _, r := range remarks {
		if r.key == "scale" && r.value != fmt.Sprint(g.scale) {
			return fmt.Errorf("%s has results of scale %s: remove it, or choose another file", g.csv, r.value)
		}
	}
	return err
}

// runScenario runs one scenario in folders of its own.
func (g *scaling) runScenario(ctx context.Context, s scenario) (err error) {
	g.scenario, g.src, g.dir = s.name, filepath.Join(g.data, "scale-"+s.name), filepath.Join(g.work, "scale-"+s.name)
	fmt.Fprintf(g.log, "%s: %s\n", time.Now().Format(time.TimeOnly), s.what)
	for _, dir := range []string{g.src, g.dir} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	return s.run(ctx, g)
}

// withSystem starts a fresh system with that number of nodes, calls do, and stops the
// system. A backup by the system's own client backs up src.
func (g *scaling) withSystem(ctx context.Context, nodes int, src string, do func(*ourSystem) error) error {
	s, err := newSite(g.programs, filepath.Join(g.dir, "site"), src)
	if err != nil {
		return err
	}
	o := ours(nodes)(s).(*ourSystem)
	o.dataOnFurtherNodes = true
	err = o.serve(ctx)
	if err == nil {
		err = do(o)
	}
	return errors.Join(err, o.stop(), g.warnings(s), os.RemoveAll(s.dir))
}

// warnings writes the warnings and errors in the servers' log as remarks.
func (g *scaling) warnings(s *site) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil {
		return nil // no server was started
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			if err := g.lines.remark(remark{"server log", g.scenario + ": " + g.anonymize(line)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// anonymize puts a text on one line and replaces the folders of this machine.
func (g *scaling) anonymize(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, g.work, "WORK"), g.data, "DATA")
	return strings.Join(strings.Fields(text), " ")
}

// A check verifies the result of a command. It returns a text for the note of the line.
type check func() (string, error)

// step measures one job at a system, calls verify unless that is nil, and adds a line.
func (g *scaling) step(ctx context.Context, o *ourSystem, name string, x float64, j job, reads string, verify check) error {
	m, err := g.measure(ctx, o.site, j, reads)
	note := ""
	if err == nil && verify != nil {
		note, err = verify()
	}
	p := newPoint(name, x, m)
	p.note = note
	return g.add(ctx, o, p, err)
}

// newPoint returns a point with the measured values.
func newPoint(step string, x float64, m measured) point {
	p := point{
		step: step, x: x, wall: m.wall.Seconds(), clientCPU: m.clientCPU.Seconds(), serverCPU: m.serverCPU.Seconds(),
		clientMem: float64(m.clientMem) / mib, serverMem: float64(m.serverMem) / mib, stored: -1,
	}
	p.read, p.sent = reportedBytes(m.stdout)
	return p
}

// reportedBytes returns the bytes that our command reports in its output, or -1 for each
// value that it does not report. For a restore, read is what came from the network.
func reportedBytes(stdout []byte) (read, sent float64) {
	for _, line := range jsonLines(stdout) {
		result := struct{ Read, Sent, Received *float64 }{}
		if json.Unmarshal(line, &result) != nil {
			continue
		}
		switch {
		case result.Received != nil:
			return *result.Received, -1
		case result.Read != nil && result.Sent != nil:
			return *result.Read, *result.Sent
		}
	}
	return -1, -1
}

// add completes and writes a line with the result err. It returns err, joined with the
// errors of writing.
func (g *scaling) add(ctx context.Context, o *ourSystem, p point, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // bench was interrupted
	}
	p.scenario = g.scenario
	if err != nil {
		p.note = failed + g.anonymize(err.Error())
	}
	size, sizeErr := measureTree(o.repo)
	if sizeErr == nil {
		p.stored = float64(size.disk)
	}
	fmt.Fprintf(g.log, "%-9s %-15s %8s %8.3f s, cpu %s s, peak %s MiB %s\n", p.scenario, p.step, exact(p.x), p.wall,
		sum(p.clientCPU, p.serverCPU), sum(p.clientMem, p.serverMem), p.note)
	return errors.Join(err, sizeErr, g.lines.add(p))
}

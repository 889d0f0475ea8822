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

// A scenario is something that grows, and what that does to this system.
type scenario struct {
	name string
	what string // for the report
	x    string // what grows
	run  func(context.Context, *scaling) error
}

// scenarios are all, in the order of reports.
var scenarios = []scenario{
	{"million", "Files of up to 2 KiB, 100 in each folder: memory must not grow with their number.", "files", million},
	{"sparse", "One file of 64 GiB, a sixteenth of it random data in runs of 1 MiB, the rest holes.", "MiB of data", sparse},
	{"versions", "Versions of one record of 2,000 files of 20 KiB, with 1 % of them changed for each: the last must cost what the second did.", "version", versionAfterVersion},
	{"crowd", "The same 256 MiB saved and brought back by one client, and by 20 at once with a part each: much of that is the start of 20 programs.", "clients", crowdOf(256 * mib)},
	{"crowd-big", "The same with 2.5 GiB, where starting counts little.", "clients", crowdOf(2560 * mib)},
	{"nodes", "The same 1 GiB on more and more storage nodes, each a process of its own, each chunk on one of them. With 0 of them it is all in the node that is in one process with the NATS server.", "node processes", moreNodes},
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// A point is one measurement of a scenario, a line of its CSV. Numbers are -1
// where there is none.
type point struct {
	scenario, step string
	x              float64 // what grows, see scenario

	wall, clientCPU, serverCPU float64 // s
	clientMem, serverMem       float64 // peaks, MiB; those of several clients or servers added up
	read                       float64 // bytes: of the disk when saving, of the network when bringing back
	sent                       float64 // bytes: to the network
	stored                     float64 // bytes of disk that the repository takes afterwards
	note                       string
}

// failed begins the note of a point that does not count.
const failed = "failed: "

// scaleTable is what "bench scale" measured.
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

// scaleOptions are what "bench scale" is told.
type scaleOptions struct {
	conditions
	data, work, csv string
	scenarios       []string
	scale           float64
}

func scaleCommand(ctx context.Context, f *pflag.FlagSet, args []string) error {
	var opt scaleOptions
	f.Float64Var(&opt.scale, "scale", 1, "how much of it all, 1 is the full size")
	f.Float64Var(&opt.touch, "touch", 0, "GiB of memory to touch before each command")
	f.DurationVar(&opt.limit, "limit", time.Hour, "after which a command is killed")
	args, err := parse(f, args, 3, -1)
	if err != nil {
		return err
	}
	opt.data, opt.work, opt.csv, opt.scenarios = args[0], args[1], args[2], args[3:]
	return scale(ctx, opt, os.Stderr)
}

// scaling is one run of scenarios.
type scaling struct {
	scaleOptions
	programs programs
	lines    *results[point]
	log      io.Writer

	scenario string
	src      string // what the scenario may save; empty when it begins, gone when it ends
	dir      string // everything else of it, likewise
}

// scale runs scenarios and appends to the CSV. One that fails leaves a line that
// says so, and the next one begins; the error names them all.
func scale(ctx context.Context, opt scaleOptions, log io.Writer) (err error) {
	if err := canMeasure(); err != nil {
		return err
	}
	if opt.scale <= 0 || opt.scale > 1 {
		return fmt.Errorf("the scale %v is not in (0,1]", opt.scale)
	}
	for _, name := range opt.scenarios {
		if !slices.Contains(scenarioNames(), name) {
			return fmt.Errorf("no scenario %q: there are %s", name, strings.Join(scenarioNames(), ", "))
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
	us, _, err := choosePeers([]string{oursName}, g.programs)
	if err != nil {
		return err
	}
	if err := g.sameScale(); err != nil {
		return err
	}
	if g.lines, err = scaleTable.open(opt.csv); err != nil {
		return err
	}
	defer closing(g.lines, &err)
	if err := os.MkdirAll(g.work, 0o755); err != nil {
		return err
	}
	facts := append(g.facts(g.work, us, g.programs), remark{"scale", fmt.Sprint(g.scale)})
	if err := g.lines.remark(facts...); err != nil {
		return err
	}
	var all error
	for _, s := range scenarios {
		if len(opt.scenarios) > 0 && !slices.Contains(opt.scenarios, s.name) {
			continue
		}
		if err := g.one(ctx, s); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", s.name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return all
}

// sameScale is an error when the CSV has lines of another scale.
func (g *scaling) sameScale() error {
	_, remarks, err := scaleTable.read(g.csv)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) {
		return nil
	}
	for _, r := range remarks {
		if r.key == "scale" && r.value != fmt.Sprint(g.scale) {
			return fmt.Errorf("%s is of scale %s: remove it, or name another file", g.csv, r.value)
		}
	}
	return err
}

// one runs one scenario in folders of its own.
func (g *scaling) one(ctx context.Context, s scenario) (err error) {
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

// with runs a fresh system of so many nodes for as long as do takes. What it
// saves by itself is src.
func (g *scaling) with(ctx context.Context, nodes int, src string, do func(*ourSystem) error) error {
	s, err := newSite(g.programs, filepath.Join(g.dir, "site"), src)
	if err != nil {
		return err
	}
	o := ours(nodes)(s).(*ourSystem)
	o.heavy = true
	err = o.serve(ctx)
	if err == nil {
		err = do(o)
	}
	return errors.Join(err, o.stop(), g.warnings(s), os.RemoveAll(s.dir))
}

// warnings makes remarks of what the servers have warned of.
func (g *scaling) warnings(s *site) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil {
		return nil // none was started
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			if err := g.lines.remark(remark{"a server warned", g.scenario + ": " + g.anywhere(line)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// anywhere is a text in one line without where on this machine things were.
func (g *scaling) anywhere(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, g.work, "WORK"), g.data, "DATA")
	return strings.Join(strings.Fields(text), " ")
}

// check looks at what a command did. What it says goes into the line's note.
type check func() (string, error)

// step measures one job at a system, looks at what it did if there is a check,
// and adds a line.
func (g *scaling) step(ctx context.Context, o *ourSystem, name string, x float64, j job, reads string, look check) error {
	m, err := g.measure(ctx, o.site, j, reads)
	note := ""
	if err == nil && look != nil {
		note, err = look()
	}
	p := newPoint(name, x, m)
	p.note = note
	return g.add(ctx, o, p, err)
}

func newPoint(step string, x float64, m measured) point {
	p := point{
		step: step, x: x, wall: m.wall.Seconds(), clientCPU: m.clientCPU.Seconds(), serverCPU: m.serverCPU.Seconds(),
		clientMem: float64(m.clientMem) / mib, serverMem: float64(m.serverMem) / mib, stored: -1,
	}
	p.read, p.sent = moved(m.stdout)
	return p
}

// moved is what a command of ours says that it read and sent, in bytes.
func moved(stdout []byte) (read, sent float64) {
	for _, line := range jsonLines(stdout) {
		said := struct{ Read, Sent, Received *float64 }{}
		if json.Unmarshal(line, &said) != nil {
			continue
		}
		switch {
		case said.Received != nil:
			return *said.Received, -1
		case said.Read != nil && said.Sent != nil:
			return *said.Read, *said.Sent
		}
	}
	return -1, -1
}

// add completes and adds a line, and returns err, or why there could be no line.
func (g *scaling) add(ctx context.Context, o *ourSystem, p point, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // we were interrupted
	}
	p.scenario = g.scenario
	if err != nil {
		p.note = failed + g.anywhere(err.Error())
	}
	size, sizeErr := measureTree(o.repo)
	if sizeErr == nil {
		p.stored = float64(size.disk)
	}
	fmt.Fprintf(g.log, "%-9s %-15s %8s %8.3f s, cpu %s s, peak %s MiB %s\n", p.scenario, p.step, exact(p.x), p.wall,
		sum(p.clientCPU, p.serverCPU), sum(p.clientMem, p.serverMem), p.note)
	return errors.Join(err, sizeErr, g.lines.add(p))
}

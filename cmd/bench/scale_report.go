package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

func scaleReportCommand(f *pflag.FlagSet, args []string) error {
	plots := f.String("plots", "", "folder for plots in SVG, beside where the report will be")
	args, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	lines, remarks, err := scaleTable.read(args[0])
	if err != nil {
		return err
	}
	s := newScaleSummary(lines)
	s.write(os.Stdout, remarks)
	if *plots == "" {
		return nil
	}
	names, err := s.plot(*plots)
	writeImages(os.Stdout, *plots, names)
	return err
}

// A scaleSummary is what the lines of many runs say: of each scenario, step and x
// one point, whose numbers are medians.
type scaleSummary struct {
	points []point
	failed []point
}

// numbers are the places of a point's numbers that are measured.
func (p *point) numbers() []*float64 {
	return []*float64{&p.wall, &p.clientCPU, &p.serverCPU, &p.clientMem, &p.serverMem, &p.read, &p.sent, &p.stored}
}

func newScaleSummary(lines []point) *scaleSummary {
	s := &scaleSummary{}
	type key struct {
		scenario, step string
		x              float64
	}
	same, order := map[key][]point{}, []key(nil)
	for _, p := range lines {
		if strings.HasPrefix(p.note, failed) {
			s.failed = append(s.failed, p)
			continue
		}
		k := key{p.scenario, p.step, p.x}
		if same[k] == nil {
			order = append(order, k)
		}
		same[k] = append(same[k], p)
	}
	for _, k := range order {
		s.points = append(s.points, medianPoint(same[k]))
	}
	return s
}

// medianPoint has the median of each number, and the rest of the middle point.
func medianPoint(all []point) point {
	p := all[len(all)/2]
	for i, at := range p.numbers() {
		var values []float64
		for _, other := range all {
			if v := *other.numbers()[i]; v >= 0 {
				values = append(values, v)
			}
		}
		*at = median(values)
	}
	return p
}

// of are the points of a step, by what grows.
func (s *scaleSummary) of(scenario, step string) []point {
	var found []point
	for _, p := range s.points {
		if p.scenario == scenario && p.step == step {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b point) int {
		switch {
		case a.x < b.x:
			return -1
		case a.x > b.x:
			return 1
		}
		return 0
	})
	return found
}

// steps are those of a scenario, in their order.
func (s *scaleSummary) steps(scenario string) []string {
	var found []string
	for _, p := range s.points {
		if p.scenario == scenario && !slices.Contains(found, p.step) {
			found = append(found, p.step)
		}
	}
	return found
}

func (s *scaleSummary) write(w io.Writer, remarks []remark) {
	fmt.Fprintf(w, "## How it was measured\n\n")
	for _, r := range remarks {
		fmt.Fprintf(w, "- %s: %s\n", r.key, r.value)
	}
	fmt.Fprintf(w, "\nCPU and peak memory are those of clients + servers, several of them added up; a client's peak is never seen\n"+
		"below the 12 MiB or so of the bench itself. Read is from the disk when saving, and from the network when bringing\n"+
		"back; sent is what clients sent. Stored is the disk that the repository takes afterwards. A step with many lines\n"+
		"shows some of them.\n")
	for _, c := range scenarios {
		steps := s.steps(c.name)
		if len(steps) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n### %s\n\n%s\n\n", c.name, c.what)
		if findings := s.findings(c.name); len(findings) > 0 {
			fmt.Fprintf(w, "| what | is | should be |\n|---|--:|---|\n")
			for _, f := range findings {
				fmt.Fprintf(w, "| %s | %s | %s |\n", f.what, number(f.value), f.should)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "| step | %s | s | CPU s | peak MiB | read MiB | sent MiB | stored MiB | |\n|---|%s---|\n", c.x, strings.Repeat("--:|", 7))
		for _, step := range steps {
			for _, p := range some(s.of(c.name, step)) {
				fmt.Fprintf(w, "| %s | %v | %s | %s | %s | %s | %s | %s | %s |\n", p.step, exact(p.x), number(p.wall),
					sum(p.clientCPU, p.serverCPU), sum(p.clientMem, p.serverMem),
					number(inMiB(p.read)), number(inMiB(p.sent)), number(inMiB(p.stored)), cell(p.note))
			}
		}
	}
	if len(s.failed) > 0 {
		fmt.Fprintf(w, "\n## What failed\n\n| scenario | step | x | what |\n|---|---|--:|---|\n")
		for _, p := range s.failed {
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", p.scenario, p.step, exact(p.x), cell(strings.TrimPrefix(p.note, failed)))
		}
	}
}

// some are all points if they are few, else the first, about eight more that are
// spread evenly, and the last.
func some(points []point) []point {
	const few = 10
	if len(points) <= few {
		return points
	}
	var chosen []point
	for i := range few {
		chosen = append(chosen, points[i*(len(points)-1)/(few-1)])
	}
	return chosen
}

// exact is a number with as many digits as it needs.
func exact(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.3f", v), ".000") }

// A finding is one number of a scenario that tells how well things go.
type finding struct {
	what   string
	value  float64 // -1 when it cannot be told
	should string
}

// findings are those of a scenario, as far as it was measured.
func (s *scaleSummary) findings(scenario string) []finding {
	var all []finding
	find := func(value float64, should, what string, args ...any) {
		if value >= 0 {
			all = append(all, finding{fmt.Sprintf(what, args...), value, should})
		}
	}
	// growth is a number at the largest x divided by that at the smallest.
	growth := func(step string, of func(point) float64) float64 {
		points := s.of(scenario, step)
		if len(points) < 2 {
			return -1
		}
		return ratio(of(points[len(points)-1]), of(points[0]))
	}
	// perData is a number of bytes divided by x, where that is MiB.
	perData := func(step string, of func(point) float64) float64 {
		points := s.of(scenario, step)
		if len(points) == 0 {
			return -1
		}
		last := points[len(points)-1]
		return ratio(of(last), last.x*mib)
	}
	switch scenario {
	case "million":
		for _, step := range []string{phaseFirst, phaseUnchanged, phaseRestore} {
			find(growth(step, func(p point) float64 { return p.clientMem }), "about 1", "peak memory of the client, %s, most files ÷ fewest", step)
			find(growth(step, func(p point) float64 { return p.serverMem }), "about 1", "peak memory of the server, %s, most files ÷ fewest", step)
			find(growth(step, func(p point) float64 { return p.wall / p.x }), "about 1", "time of a file, %s, most files ÷ fewest", step)
		}
	case "sparse":
		find(perData(phaseFirst, func(p point) float64 { return p.read }), "about 1", "bytes read ÷ data, first")
		find(perData(phaseFirst, func(p point) float64 { return p.stored }), "about 1", "bytes stored ÷ data")
		find(perData(phaseRestore, func(p point) float64 { return p.read }), "about 1", "bytes received ÷ data, restore")
	case "versions":
		repeats := s.of(scenario, stepRepeat)
		if tenth := max(1, len(repeats)/10); len(repeats) > 1 {
			for _, m := range []struct {
				what string
				of   func(point) float64
			}{
				{"time", func(p point) float64 { return p.wall }},
				{"CPU of all", func(p point) float64 { return p.clientCPU + p.serverCPU }},
				{"bytes sent", func(p point) float64 { return p.sent }},
			} {
				find(ratio(medianOf(repeats[len(repeats)-tenth:], m.of), medianOf(repeats[:tenth], m.of)), "about 1",
					"%s of a version, last tenth ÷ first tenth (medians)", m.what)
			}
			grown := repeats[len(repeats)-1].stored - repeats[0].stored
			sent := 0.0
			for _, p := range repeats[1:] {
				sent += p.sent
			}
			find(ratio(max(0, grown), sent), "about 1", "growth of the repository ÷ bytes sent")
		}
		find(1000*medianOf(s.of(scenario, stepList), func(p point) float64 { return p.wall }), "–", "ms to list the versions")
		find(1000*medianOf(s.of(scenario, stepFile), func(p point) float64 { return p.wall }), "below 100", "ms to bring back one file out of the middle version")
	case "crowd", "crowd-big":
		for _, step := range []string{phaseFirst, phaseRestore} {
			find(growth(step, func(p point) float64 { return 1 / p.wall }), "about 1 or more", "throughput, %s, all at once ÷ one alone", step)
			walls := s.of(scenario, step+each)
			if len(walls) > 1 {
				find(extreme(walls, 1)/extreme(walls, -1), "about 1", "slowest ÷ fastest of the crowd, %s", step)
			}
		}
		failures := 0
		for _, p := range s.failed {
			if p.scenario == scenario && strings.HasSuffix(p.step, each) {
				failures++
			}
		}
		find(float64(failures), "0", "failed clients")
	case "nodes":
		for _, step := range []string{phaseFirst, phaseRestore} {
			points := s.of(scenario, step)
			one := slices.IndexFunc(points, func(p point) bool { return p.x == 1 })
			for i, p := range points {
				if one >= 0 && i != one {
					find(ratio(cpuOfPoint(p), cpuOfPoint(points[one])), "about 1", "CPU of all, %s, %s node processes ÷ 1", step, exact(p.x))
				}
			}
		}
	}
	return all
}

// extreme is the longest time for sign 1, the shortest for -1.
func extreme(points []point, sign float64) float64 {
	best := points[0].wall
	for _, p := range points {
		if sign*p.wall > sign*best {
			best = p.wall
		}
	}
	return best
}

func medianOf(points []point, of func(point) float64) float64 {
	var values []float64
	for _, p := range points {
		values = append(values, of(p))
	}
	return median(values)
}

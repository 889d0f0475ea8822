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
	plots := f.String("plots", "", "folder for plots in SVG, next to the report")
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

// A scaleSummary holds the results of all runs: one point for each scenario, step and x,
// whose numbers are the medians of the runs.
type scaleSummary struct {
	points []point
	failed []point // failed measurements
}

// measuredValues returns pointers to the measured values of a point.
func (p *point) measuredValues() []*float64 {
	return []*float64{&p.wall, &p.clientCPU, &p.serverCPU, &p.clientMem, &p.serverMem, &p.read, &p.sent, &p.stored}
}

func newScaleSummary(lines []point) *scaleSummary {
	s := &scaleSummary{}
	type key struct {
		scenario, step string
		x              float64
	}
	groups, order := map[key][]point{}, []key(nil)
	for _, p := range lines {
		if strings.HasPrefix(p.note, failed) {
			s.failed = append(s.failed, p)
			continue
		}
		k := key{p.scenario, p.step, p.x}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], p)
	}
	for _, k := range order {
		s.points = append(s.points, medianPoint(groups[k]))
	}
	return s
}

// medianPoint returns the median of each measured value, and the other fields of the point
// in the middle.
func medianPoint(all []point) point {
	p := all[len(all)/2]
	for i, value := range p.measuredValues() {
		var values []float64
		for _, other := range all {
			if v := *other.measuredValues()[i]; v >= 0 {
				values = append(values, v)
			}
		}
		*value = median(values)
	}
	return p
}

// pointsOf returns the points of a step, sorted by x.
func (s *scaleSummary) pointsOf(scenario, step string) []point {
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

// steps returns the steps of a scenario in the order of measurement.
func (s *scaleSummary) steps(scenario string) []string {
	var found []string
	for _, p := range s.points {
		if p.scenario == scenario && !slices.Contains(found, p.step) {
			found = append(found, p.step)
		}
	}
	return found
}

// write writes the whole report but the plots.
func (s *scaleSummary) write(w io.Writer, remarks []remark) {
	fmt.Fprintf(w, "## How it was measured\n\n")
	for _, r := range remarks {
		fmt.Fprintf(w, "- %s: %s\n", r.key, r.value)
	}
	fmt.Fprintf(w, "\nCPU and peak memory are shown as clients + servers, each the sum of several processes. A client's peak below\n"+
		"about 12 MiB, the memory of bench itself, cannot be measured. A backup reads from the disk, and a restore reads\n"+
		"from the network. Sent is what the clients send. Stored is the disk space of the repository afterwards. If a step\n"+
		"has many lines, the table shows a sample.\n")
	for _, c := range scenarios {
		steps := s.steps(c.name)
		if len(steps) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n### %s\n\n%s\n\n", c.name, c.what)
		if findings := s.findings(c.name); len(findings) > 0 {
			fmt.Fprintf(w, "| result | measured | expected |\n|---|--:|---|\n")
			for _, f := range findings {
				fmt.Fprintf(w, "| %s | %s | %s |\n", f.what, number(f.value), f.expected)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "| step | %s | s | CPU s | peak MiB | read MiB | sent MiB | stored MiB | |\n|---|%s---|\n", c.x, strings.Repeat("--:|", 7))
		for _, step := range steps {
			for _, p := range sample(s.pointsOf(c.name, step)) {
				fmt.Fprintf(w, "| %s | %v | %s | %s | %s | %s | %s | %s | %s |\n", p.step, exact(p.x), number(p.wall),
					sum(p.clientCPU, p.serverCPU), sum(p.clientMem, p.serverMem),
					number(inMiB(p.read)), number(inMiB(p.sent)), number(inMiB(p.stored)), escapeCell(p.note))
			}
		}
	}
	if len(s.failed) > 0 {
		fmt.Fprintf(w, "\n## Failures\n\n| scenario | step | x | reason |\n|---|---|--:|---|\n")
		for _, p := range s.failed {
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", p.scenario, p.step, exact(p.x), escapeCell(strings.TrimPrefix(p.note, failed)))
		}
	}
}

// sample returns at most ten points: the first, the last, and points at even distances
// between them.
func sample(points []point) []point {
	const most = 10
	if len(points) <= most {
		return points
	}
	var chosen []point
	for i := range most {
		chosen = append(chosen, points[i*(len(points)-1)/(most-1)])
	}
	return chosen
}

// exact formats a number with three decimals, or without if it is whole.
func exact(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.3f", v), ".000") }

// A finding compares one result of a scenario with the expected value.
type finding struct {
	what     string
	value    float64
	expected string
}

// findings returns the findings of a scenario, without those that were not measured.
func (s *scaleSummary) findings(scenario string) []finding {
	var all []finding
	// report adds a finding unless value is negative, which means no value.
	report := func(value float64, expected, what string, args ...any) {
		if value >= 0 {
			all = append(all, finding{fmt.Sprintf(what, args...), value, expected})
		}
	}
	// growth returns the value at the largest x divided by the value at the smallest x.
	growth := func(step string, value func(point) float64) float64 {
		points := s.pointsOf(scenario, step)
		if len(points) < 2 {
			return -1
		}
		return ratio(value(points[len(points)-1]), value(points[0]))
	}
	// perData returns a number of bytes divided by x, which must be in MiB.
	perData := func(step string, bytes func(point) float64) float64 {
		points := s.pointsOf(scenario, step)
		if len(points) == 0 {
			return -1
		}
		last := points[len(points)-1]
		return ratio(bytes(last), last.x*mib)
	}
	switch scenario {
	case "million":
		for _, step := range []string{phaseFirst, phaseUnchanged, phaseRestore} {
			report(growth(step, func(p point) float64 { return p.clientMem }), "about 1", "peak memory of the client, %s, most files ÷ fewest", step)
			report(growth(step, func(p point) float64 { return p.serverMem }), "about 1", "peak memory of the server, %s, most files ÷ fewest", step)
			report(growth(step, func(p point) float64 { return p.wall / p.x }), "about 1", "time per file, %s, most files ÷ fewest", step)
		}
	case "sparse":
		report(perData(phaseFirst, func(p point) float64 { return p.read }), "about 1", "bytes read ÷ data, first")
		report(perData(phaseFirst, func(p point) float64 { return p.stored }), "about 1", "bytes stored ÷ data")
		report(perData(phaseRestore, func(p point) float64 { return p.read }), "about 1", "bytes received ÷ data, restore")
	case "versions":
		repeats := s.pointsOf(scenario, stepRepeat)
		if tenth := max(1, len(repeats)/10); len(repeats) > 1 {
			for _, m := range []struct {
				what  string
				value func(point) float64
			}{
				{"time", func(p point) float64 { return p.wall }},
				{"CPU of all", func(p point) float64 { return p.clientCPU + p.serverCPU }},
				{"bytes sent", func(p point) float64 { return p.sent }},
			} {
				report(ratio(medianOf(repeats[len(repeats)-tenth:], m.value), medianOf(repeats[:tenth], m.value)), "about 1",
					"%s per version, last tenth ÷ first tenth (medians)", m.what)
			}
			grown := repeats[len(repeats)-1].stored - repeats[0].stored
			sent := 0.0
			for _, p := range repeats[1:] {
				sent += p.sent
			}
			report(ratio(max(0, grown), sent), "about 1", "growth of the repository ÷ bytes sent")
		}
		report(1000*medianOf(s.pointsOf(scenario, stepList), func(p point) float64 { return p.wall }), "–", "ms to list the versions")
		report(1000*medianOf(s.pointsOf(scenario, stepFile), func(p point) float64 { return p.wall }), "below 100", "ms to restore one file of the version in the middle")
	case "crowd", "crowd-big":
		for _, step := range []string{phaseFirst, phaseRestore} {
			report(growth(step, func(p point) float64 { return 1 / p.wall }), "about 1 or more", "throughput, %s, all clients at once ÷ one client", step)
			walls := s.pointsOf(scenario, step+each)
			if len(walls) > 1 {
				report(extreme(walls, 1)/extreme(walls, -1), "about 1", "time of the slowest client ÷ fastest client, %s", step)
			}
		}
		failures := 0
		for _, p := range s.failed {
			if p.scenario == scenario && strings.HasSuffix(p.step, each) {
				failures++
			}
		}
		report(float64(failures), "0", "failed clients")
	case "nodes":
		for _, step := range []string{phaseFirst, phaseRestore} {
			points := s.pointsOf(scenario, step)
			one := slices.IndexFunc(points, func(p point) bool { return p.x == 1 })
			for i, p := range points {
				if one >= 0 && i != one {
					report(ratio(cpuOfPoint(p), cpuOfPoint(points[one])), "about 1", "CPU of all, %s, %s node processes ÷ 1", step, exact(p.x))
				}
			}
		}
	}
	return all
}

// extreme returns the longest time for sign 1, and the shortest for sign -1.
func extreme(points []point, sign float64) float64 {
	best := points[0].wall
	for _, p := range points {
		if sign*p.wall > sign*best {
			best = p.wall
		}
	}
	return best
}

// medianOf returns the median of a value of the points, or -1 if there are no points.
func medianOf(points []point, value func(point) float64) float64 {
	var values []float64
	for _, p := range points {
		values = append(values, value(p))
	}
	return median(values)
}

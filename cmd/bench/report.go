package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The peers that the goals compare.
const (
	oursName      = "backup"             // our system
	networkedName = "restic+rest-server" // the reference for a backup over the network
	storedName    = "restic"             // the reference for the size of a repository
	copyName      = "cp+sync"            // the reference for the speed of the disk
)

func reportCommand(f *pflag.FlagSet, args []string) error {
	plots := f.String("plots", "", "folder for plots in SVG, next to the report")
	args, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	rows, remarks, err := runTable.read(args[0])
	if err != nil {
		return err
	}
	s := newSummary(rows)
	writeReport(os.Stdout, s, remarks)
	if *plots == "" {
		return nil
	}
	names, err := s.plot(*plots)
	writeImages(os.Stdout, *plots, names)
	return err
}

// writeImages writes links to the plots in dir, relative to the parent folder of dir.
func writeImages(w io.Writer, dir string, names []string) {
	for _, name := range names {
		fmt.Fprintf(w, "\n![%s](%s)\n", strings.TrimSuffix(name, ".svg"), path.Join(filepath.Base(dir), name))
	}
}

// A summary holds the rows of a report.
type summary struct {
	rows        []row    // successful measurements
	failed      []row    // failed measurements
	sets, peers []string // names with successful rows, in the order of reports
}

func newSummary(rows []row) *summary {
	s := &summary{}
	for _, r := range rows {
		if r.result == resultOK {
			s.rows = append(s.rows, r)
		} else {
			s.failed = append(s.failed, r)
		}
	}
	s.sets = namesOf(s.rows, datasetNames(), func(r row) string { return r.set })
	s.peers = namesOf(s.rows, peerNames(), func(r row) string { return r.peer })
	return s
}

// namesOf returns the names in the rows: first the known names in their order, then others.
func namesOf(rows []row, known []string, name func(row) string) []string {
	var found []string
	for _, k := range known {
		if slices.ContainsFunc(rows, func(r row) bool { return name(r) == k }) {
			found = append(found, k)
		}
	}
	for _, r := range rows {
		if !slices.Contains(found, name(r)) {
			found = append(found, name(r))
		}
	}
	return found
}

// A measure returns a value of a row. It is negative if the row does not have the value.
type measure func(row) float64

func wallOf(r row) float64   { return r.wall }
func storedOf(r row) float64 { return r.stored }
func sentOf(r row) float64   { return r.sent }
func syncOf(r row) float64   { return r.syncing }
func cpuOfAll(r row) float64 { return r.clientCPU + r.serverCPU }

// values returns the values of all rows of a phase that have one.
func (s *summary) values(set, peer, phase string, value measure) []float64 {
	var all []float64
	for _, r := range s.rows {
		if r.set == set && r.peer == peer && r.phase == phase && value(r) >= 0 {
			all = append(all, value(r))
		}
	}
	return all
}

// median returns the median of the rounds, or -1 if there are no values.
func (s *summary) median(set, peer, phase string, value measure) float64 {
	return median(s.values(set, peer, phase, value))
}

// median returns the median, or -1 if there are no values. It sorts the slice.
func median(all []float64) float64 {
	if len(all) == 0 {
		return -1
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// escapeCell escapes a text for a cell of a table in Markdown.
func escapeCell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// peak returns the largest value of all phases and rounds, or -1 if there are no values.
func (s *summary) peak(set, peer string, value measure) float64 {
	high := -1.0
	for _, phase := range phases {
		for _, v := range s.values(set, peer, phase, value) {
			high = max(high, v)
		}
	}
	return high
}

// writeReport writes the whole report but the plots.
func writeReport(w io.Writer, s *summary, remarks []remark) {
	fmt.Fprintf(w, "## How it was measured\n\n")
	for _, r := range remarks {
		fmt.Fprintf(w, "- %s: %s\n", r.key, r.value)
	}
	fmt.Fprintf(w, "\n| peer | description |\n|---|---|\n")
	for _, p := range peers {
		if slices.Contains(s.peers, p.name) {
			fmt.Fprintf(w, "| %s | %s |\n", p.name, p.what)
		}
	}
	writeGoals(w, s)
	fmt.Fprintf(w, "\n## Tables\n\n"+
		"All values are medians of n rounds; a dash means that there is no value. CPU and peak memory are shown as\n"+
		"client + servers. The peak is the highest of all phases; the peaks of several servers are added up; a client's\n"+
		"peak below about 12 MiB, the memory of bench itself, cannot be measured. Stored is the disk space in use after\n"+
		"the first backup, and the growth by the mutated one. Sent is what the peer reports for these two backups. Sync\n"+
		"is the time of a sync after first and after restore: for data that the peer had not synced itself.\n")
	for _, set := range s.sets {
		s.writeSet(w, set)
	}
	if len(s.failed) > 0 {
		fmt.Fprintf(w, "\n## Failures\n\n| set | peer | phase | round | reason |\n|---|---|---|--:|---|\n")
		for _, r := range s.failed {
			fmt.Fprintf(w, "| %s | %s | %s | %d | %s |\n", r.set, r.peer, r.phase, r.round, escapeCell(r.result))
		}
	}
}

// writeSet writes the table of one set.
func (s *summary) writeSet(w io.Writer, set string) {
	description := ""
	for _, d := range datasets {
		if d.name == set {
			description = d.what
		}
	}
	source := s.rows[slices.IndexFunc(s.rows, func(r row) bool { return r.set == set })].source
	fmt.Fprintf(w, "\n### %s\n\n%s: %s MiB.\n\n", set, description, number(source/mib))
	fmt.Fprintln(w, "| peer | n | first s | unchanged s | mutated s | restore s | CPU first s | CPU restore s | peak MiB | stored MiB | + mutated | sent MiB | + mutated | sync s |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, peer := range s.peers {
		n := len(s.values(set, peer, phaseFirst, wallOf))
		if n == 0 {
			continue
		}
		get := func(phase string, value measure) float64 { return s.median(set, peer, phase, value) }
		cpu := func(phase string) string {
			return sum(get(phase, func(r row) float64 { return r.clientCPU }), get(phase, func(r row) float64 { return r.serverCPU }))
		}
		first, mutated := get(phaseFirst, storedOf), get(phaseMutated, storedOf)
		grown := "–"
		if first >= 0 && mutated >= 0 {
			grown = fmt.Sprintf("%.1f", (mutated-first)/mib)
		}
		cells := []string{peer, fmt.Sprint(n)}
		for _, phase := range phases {
			cells = append(cells, number(get(phase, wallOf)))
		}
		cells = append(cells, cpu(phaseFirst), cpu(phaseRestore),
			sum(s.peak(set, peer, func(r row) float64 { return r.clientMem }), s.peak(set, peer, func(r row) float64 { return r.serverMem })),
			number(inMiB(first)), grown, number(inMiB(get(phaseFirst, sentOf))), number(inMiB(get(phaseMutated, sentOf))),
			number(get(phaseFirst, syncOf))+" / "+number(get(phaseRestore, syncOf)))
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

// inMiB converts bytes to MiB. A negative value, which means no value, stays as it is.
func inMiB(bytes float64) float64 {
	if bytes < 0 {
		return bytes
	}
	return bytes / mib
}

// sum formats a value of the client and one of the servers, if there are servers.
func sum(client, server float64) string {
	if server <= 0 {
		return number(client)
	}
	return number(client) + " + " + number(server)
}

// number formats a value with about three digits, or as a dash if it is negative.
func number(v float64) string {
	switch {
	case v < 0:
		return "–"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

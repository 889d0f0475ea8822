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

// What the goals compare.
const (
	oursName      = "backup"             // us
	networkedName = "restic+rest-server" // what people use over a network
	storedName    = "restic"             // what a repository may weigh
	copyName      = "cp+sync"            // what the disk can do
)

func reportCommand(f *pflag.FlagSet, args []string) error {
	plots := f.String("plots", "", "folder for plots in SVG, beside where the report will be")
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

// writeImages shows the plots in dir.
func writeImages(w io.Writer, dir string, names []string) {
	for _, name := range names {
		fmt.Fprintf(w, "\n![%s](%s)\n", strings.TrimSuffix(name, ".svg"), path.Join(filepath.Base(dir), name))
	}
}

// A summary is what many rows say.
type summary struct {
	rows        []row    // that count
	failed      []row    // that do not
	sets, peers []string // that have rows, in the order of reports
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

// namesOf are the names in the rows: the known ones in their order, then others.
func namesOf(rows []row, known []string, of func(row) string) []string {
	var found []string
	for _, name := range known {
		if slices.ContainsFunc(rows, func(r row) bool { return of(r) == name }) {
			found = append(found, name)
		}
	}
	for _, r := range rows {
		if !slices.Contains(found, of(r)) {
			found = append(found, of(r))
		}
	}
	return found
}

// A measure is a number of a row; negative when the row has none.
type measure func(row) float64

func wallOf(r row) float64   { return r.wall }
func storedOf(r row) float64 { return r.stored }
func sentOf(r row) float64   { return r.sent }
func syncOf(r row) float64   { return r.syncing }
func cpuOfAll(r row) float64 { return r.clientCPU + r.serverCPU }

// values are the numbers of all rows of a phase.
func (s *summary) values(set, peer, phase string, of measure) []float64 {
	var all []float64
	for _, r := range s.rows {
		if r.set == set && r.peer == peer && r.phase == phase && of(r) >= 0 {
			all = append(all, of(r))
		}
	}
	return all
}

// median is the one in the middle of the rounds, -1 when there is none.
func (s *summary) median(set, peer, phase string, of measure) float64 {
	return median(s.values(set, peer, phase, of))
}

// median is the one in the middle, -1 when there is none. It sorts.
func median(all []float64) float64 {
	if len(all) == 0 {
		return -1
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// cell is a text in a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// peak is the largest over all phases and rounds, -1 when there is none.
func (s *summary) peak(set, peer string, of measure) float64 {
	high := -1.0
	for _, phase := range phases {
		for _, v := range s.values(set, peer, phase, of) {
			high = max(high, v)
		}
	}
	return high
}

func writeReport(w io.Writer, s *summary, remarks []remark) {
	fmt.Fprintf(w, "## How it was measured\n\n")
	for _, r := range remarks {
		fmt.Fprintf(w, "- %s: %s\n", r.key, r.value)
	}
	fmt.Fprintf(w, "\n| peer | what it is |\n|---|---|\n")
	for _, p := range peers {
		if slices.Contains(s.peers, p.name) {
			fmt.Fprintf(w, "| %s | %s |\n", p.name, p.what)
		}
	}
	writeGoals(w, s)
	fmt.Fprintf(w, "\n## Tables\n\n"+
		"Medians of n rounds; a dash where there is nothing to tell. CPU and peak memory are those of client + server;\n"+
		"the peak is the highest of all phases, that of several servers is added up, and a client's is never seen below\n"+
		"the 12 MiB or so of the bench itself. Stored is disk in use after the\n"+
		"first backup, then what the mutated one added. Sent is what the peer says that it sent for these two.\n"+
		"Sync is how long the disks needed after first and after restore for what the peer had left to the system.\n")
	for _, set := range s.sets {
		s.writeSet(w, set)
	}
	if len(s.failed) > 0 {
		fmt.Fprintf(w, "\n## What failed\n\n| set | peer | phase | round | what |\n|---|---|---|--:|---|\n")
		for _, r := range s.failed {
			fmt.Fprintf(w, "| %s | %s | %s | %d | %s |\n", r.set, r.peer, r.phase, r.round, cell(r.result))
		}
	}
}

// writeSet writes the table of one set.
func (s *summary) writeSet(w io.Writer, set string) {
	about := ""
	for _, d := range datasets {
		if d.name == set {
			about = d.what
		}
	}
	source := s.rows[slices.IndexFunc(s.rows, func(r row) bool { return r.set == set })].source
	fmt.Fprintf(w, "\n### %s\n\n%s: %s MiB.\n\n", set, about, number(source/mib))
	fmt.Fprintln(w, "| peer | n | first s | unchanged s | mutated s | restore s | CPU first s | CPU restore s | peak MiB | stored MiB | + mutated | sent MiB | + mutated | sync s |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, peer := range s.peers {
		n := len(s.values(set, peer, phaseFirst, wallOf))
		if n == 0 {
			continue
		}
		get := func(phase string, of measure) float64 { return s.median(set, peer, phase, of) }
		both := func(phase string) string {
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
		cells = append(cells, both(phaseFirst), both(phaseRestore),
			sum(s.peak(set, peer, func(r row) float64 { return r.clientMem }), s.peak(set, peer, func(r row) float64 { return r.serverMem })),
			number(inMiB(first)), grown, number(inMiB(get(phaseFirst, sentOf))), number(inMiB(get(phaseMutated, sentOf))),
			number(get(phaseFirst, syncOf))+" / "+number(get(phaseRestore, syncOf)))
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

func inMiB(bytes float64) float64 {
	if bytes < 0 {
		return bytes
	}
	return bytes / mib
}

// sum is a number of the client and one of the servers, if there are any.
func sum(client, server float64) string {
	if server <= 0 {
		return number(client)
	}
	return number(client) + " + " + number(server)
}

// number is short, and a dash when there is none.
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

package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testRow returns a row with that wall time in seconds.
func testRow(round int, set, peer, phase string, wall float64) row {
	return row{time: "2026-01-02T03:04:05Z", round: round, order: 1, set: set, peer: peer, phase: phase, result: resultOK,
		wall: wall, clientCPU: wall, serverCPU: 0.5, syncing: 0.25, clientMem: 64, serverMem: 32, stored: 3 * mib, sent: 2 * mib, source: 4 * mib}
}

func TestResultsAreReadAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.csv")
	want := []row{testRow(1, "big", "backup", phaseFirst, 1.5), newRow(measured{wall: time.Second, sent: -1}, errors.New("it\nbroke, \"badly\""))}
	want[1].round, want[1].order, want[1].set, want[1].peer, want[1].phase = 1, 2, "big", "borg", phaseFirst
	for _, r := range want { // each in a run of its own
		results, err := runTable.open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(results.remark(remark{"machine", "a, \"good\" one"}), results.add(r), results.Close()); err != nil {
			t.Fatal(err)
		}
	}
	rows, remarks, err := runTable.read(path)
	if err != nil {
		t.Fatal(err)
	}
	want[1].result = `it broke, "badly"` // on one line
	if diff := cmp.Diff(want, rows, cmp.AllowUnexported(row{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]remark{{"machine", "a, \"good\" one"}}, remarks, cmp.AllowUnexported(remark{})); diff != "" {
		t.Error(diff)
	}
	if next, err := nextRound(path); err != nil || next != 2 {
		t.Errorf("the next round is %d, %v", next, err)
	}
	if next, err := nextRound(path + ".missing"); err != nil || next != 1 {
		t.Errorf("the first round is %d, %v", next, err)
	}
}

// testRows returns three rounds of our system with 1, 2 and 9 seconds, and rows of others.
func testRows() []row {
	var rows []row
	for _, phase := range phases {
		for i, wall := range []float64{9, 1, 2} {
			rows = append(rows, testRow(i+1, "big", "backup", phase, wall))
		}
		rows = append(rows, testRow(1, "big", "restic+rest-server", phase, 4), testRow(1, "big", "restic", phase, 8), testRow(1, "big", "cp+sync", phase, 1))
		rows = append(rows, testRow(1, "logs", "backup", phase, 8), testRow(1, "logs", "restic+rest-server", phase, 1))
	}
	broken := testRow(4, "big", "backup", phaseFirst, 99)
	broken.result = "killed after 1s"
	return append(rows, broken)
}

func TestGoals(t *testing.T) {
	s := newSummary(testRows())
	for name, want := range map[string][2]float64{
		"first ÷ restic+rest-server":     {0.5, 8},
		"first ÷ cp+sync":                {2, -1},
		"restore ÷ best":                 {0.5, 8}, // cp+sync does not count
		"restore until synced ÷ best":    {2.25 / 4.25, 8.25 / 1.25},
		"CPU first ÷ restic+rest-server": {2.5 / 4.5, 8.5 / 1.5},
		"stored ÷ restic":                {1, 1}, // the networked reference for logs
	} {
		i := slices.IndexFunc(goals, func(g goal) bool { return g.name == name })
		if i < 0 {
			t.Errorf("there is no goal %s", name)
			continue
		}
		for k, set := range []string{"big", "logs"} {
			if got := goals[i].ratio(s, set); math.Abs(got-want[k]) > 1e-9 {
				t.Errorf("%s of %s: %v, want %v", goals[i].name, set, got, want[k])
			}
		}
	}
	if m := geometricMean([]float64{0.5, 8}); math.Abs(m-2) > 1e-9 {
		t.Errorf("the geometric mean is %v, want 2", m)
	}
}

func TestReport(t *testing.T) {
	var b strings.Builder
	writeReport(&b, newSummary(testRows()), []remark{{"machine", "a good one"}})
	text := b.String()
	for _, want := range []string{
		"- machine: a good one",
		"| first ÷ restic+rest-server | 0.50 | 8.00 | 2.00 |",
		"### big", "### logs",
		"| backup | 3 | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 + 0.50 | 2.00 + 0.50 | 64.0 + 32.0 | 3.00 | 0.0 | 2.00 | 2.00 | 0.25 / 0.25 |",
		"| big | backup | first | 4 | killed after 1s |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not contain %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestPlots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plots")
	names, err := newSummary(testRows()).plot(dir)
	if err != nil || len(names) != len(charts) {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		if svg, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(svg), "restic+rest-server") {
			t.Errorf("%s: the name of the peer is missing in %d bytes (%v)", name, len(svg), err)
		}
	}
	if names, err := newSummary(nil).plot(dir); err != nil || len(names) != 0 {
		t.Errorf("plots without rows: %v, %v", names, err)
	}
}

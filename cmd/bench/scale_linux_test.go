package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestScale runs every scenario at a tiny scale.
func TestScale(t *testing.T) {
	useBuiltProgram(t)
	opt := scaleOptions{data: t.TempDir(), work: t.TempDir(), csv: filepath.Join(t.TempDir(), "scale.csv"), scale: 0.0004}
	opt.limit = time.Minute
	var log bytes.Buffer
	if err := scale(t.Context(), opt, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	points, remarks, err := scaleTable.read(opt.csv)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, p := range points {
		count[p.scenario+" "+p.step]++
		isBackup := slices.Contains([]string{phaseFirst, phaseUnchanged, stepRepeat}, p.step)
		ofOneClient := strings.HasSuffix(p.step, each)
		switch {
		case strings.HasPrefix(p.note, failed), p.wall <= 0, p.clientMem <= 0, p.stored <= 0, p.x < 0, p.x == 0 && p.scenario != "nodes",
			ofOneClient != (p.serverMem < 0),
			isBackup && p.sent < 0, p.step == phaseFirst && (p.sent < p.read || p.read <= 0),
			p.step == phaseRestore && (p.read <= 0 || p.sent >= 0 || !strings.HasPrefix(p.note, "compared")):
			t.Errorf("%+v", p)
		}
	}
	for step, want := range map[string]int{
		"million first": 2, "million unchanged": 2, "million restore": 2,
		"sparse first": 1, "sparse restore": 1,
		"versions first": 1, "versions repeat": 9, "versions list": readSteps, "versions one file": readSteps,
		"crowd first": 2, "crowd first, each": 4, "crowd restore": 2, "crowd restore, each": 4,
		"crowd-big first": 2, "crowd-big first, each": 4, "crowd-big restore": 2, "crowd-big restore, each": 4,
		"nodes first": 4, "nodes unchanged": 4, "nodes restore": 4,
	} {
		if count[step] != want {
			t.Errorf("%d lines of %s, want %d", count[step], step, want)
		}
	}
	for _, dir := range []string{opt.data, opt.work} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s still contains %v (%v)", dir, left, err)
		}
	}

	var text strings.Builder
	s := newScaleSummary(points)
	s.write(&text, remarks)
	for _, want := range []string{
		"- scale: 0.0004", "### million", "### sparse", "### versions", "### crowd", "### crowd-big", "### nodes",
		"peak memory of the client, first, most files ÷ fewest", "| bytes read ÷ data, first | 1.00 |", "bytes sent per version, last tenth ÷ first tenth",
		"ms to restore one file", "throughput, restore, all clients at once ÷ one client", "| failed clients | 0.00 | 0 |", "CPU of all, first, 4 node processes ÷ 1",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not contain %s", want)
		}
	}
	if names, err := s.plot(t.TempDir()); err != nil || len(names) != len(curves) {
		t.Errorf("plots: %v, %v", names, err)
	}
	if t.Failed() {
		t.Logf("%s\n%s", log.String(), text.String())
	}
}

func TestScaleNamesFailedScenarios(t *testing.T) {
	t.Setenv("BACKUP", "/bin/false") // it exits at once
	opt := scaleOptions{data: t.TempDir(), work: t.TempDir(), csv: filepath.Join(t.TempDir(), "scale.csv"), scale: 0.0004, scenarios: []string{"sparse", "nodes"}}
	opt.limit = time.Minute
	err := scale(t.Context(), opt, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "sparse: ") || !strings.Contains(err.Error(), "nodes: ") {
		t.Error(err)
	}
	if left, err := os.ReadDir(opt.work); err != nil || len(left) > 0 {
		t.Errorf("%s still contains %v (%v)", opt.work, left, err)
	}
	opt.scale = 0.5
	if err := scale(t.Context(), opt, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "scale 0.0004") {
		t.Errorf("the CSV has another scale, but scale returned %v", err)
	}
	opt.scenarios = []string{"bogus"}
	if err := scale(t.Context(), opt, &bytes.Buffer{}); err == nil {
		t.Error("an unknown scenario was accepted")
	}
}

func TestCompareSparse(t *testing.T) {
	dir := t.TempDir()
	want := filepath.Join(dir, "want")
	if data, err := makeSparse(t.Context(), want, 2*sparseEvery); err != nil || data != 2*sparseRun {
		t.Fatalf("%d, %v", data, err)
	}
	for what, change := range map[string]func(path string) error{
		"nothing":                func(string) error { return nil },
		"content":                func(path string) error { return writeAt(path, sparseEvery+5, []byte("other")) },
		"data in a hole":         func(path string) error { return writeAt(path, 2*sparseEvery-1, []byte{1}) },
		"zeros in holes":         func(path string) error { return writeAt(path, sparseRun, make([]byte, mib)) },
		"size":                   func(path string) error { return os.Truncate(path, 2*sparseEvery-1) },
		"a hole instead of data": func(path string) error { return os.Truncate(path, 0) },
	} {
		got := filepath.Join(dir, what)
		if _, err := makeSparse(t.Context(), got, 2*sparseEvery); err != nil {
			t.Fatal(err)
		}
		if err := change(got); err != nil {
			t.Fatal(err)
		}
		if what == "a hole instead of data" {
			if err := os.Truncate(got, 2*sparseEvery); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := compareSparse(want, got); (err == nil) != (what == "nothing") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestComparisonOfASample(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		if err := makeMillion(t.Context(), dir, 250); err != nil {
			t.Fatal(err)
		}
	}
	c := comparison{every: 100}
	if err := c.compareFolders(a, b); err != nil || c.files != 250 {
		t.Errorf("%d files, %v", c.files, err)
	}
	if err := writeAt(filepath.Join(b, "d000", "e01", "f0000100"), 0, []byte("other")); err != nil {
		t.Fatal(err)
	}
	c = comparison{every: 100}
	if err := c.compareFolders(a, b); err == nil {
		t.Error("the difference in file 101 was not found")
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// binDir is the folder for our program, which is built once for all tests.
var binDir string

// TestMain also handles the command that touches memory, because bench runs its own
// executable for that.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == touchCommand {
		main()
		return
	}
	dir, err := os.MkdirTemp("", "bench-test-")
	if err != nil {
		panic(err)
	}
	binDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var build = sync.OnceValues(func() (string, error) {
	exe := filepath.Join(binDir, "backup")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, "servidor-backup/cmd/backup")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as in the Makefile
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return exe, err
})

// useBuiltProgram builds our program and sets the variable with its path.
func useBuiltProgram(t *testing.T) {
	t.Helper()
	exe, err := build()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("BACKUP", exe)
}

func TestRunAndReport(t *testing.T) {
	useBuiltProgram(t)
	data, work, csv := makeTestSets(t, 0.01, "small", "dup"), t.TempDir(), filepath.Join(t.TempDir(), "results.csv")
	opt := runOptions{data: data, work: work, csv: csv, rounds: 1, peers: []string{"cp+sync", "backup"}}
	opt.limit, opt.touch = time.Minute, 0.01
	var log bytes.Buffer
	if err := run(t.Context(), opt, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	// A second run adds a round.
	opt.peers, opt.sets = []string{"cp+sync", "backup-2nodes"}, []string{"dup"}
	if err := run(t.Context(), opt, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	rows, _, err := runTable.read(csv)
	if err != nil {
		t.Fatal(err)
	}
	const perSet = 4 + 2 // all phases of our system, two of the copy
	if len(rows) != 3*perSet {
		t.Fatalf("%d rows, want %d\n%s", len(rows), 3*perSet, log.String())
	}
	for _, r := range rows {
		ours := r.peer != "cp+sync"
		if r.result != resultOK || r.wall <= 0 || r.clientMem <= 0 || r.stored <= 0 || ours != (r.serverMem > 0) ||
			ours && r.phase == phaseFirst && (r.sent <= 0 || r.sent > 2*r.source) {
			t.Errorf("%+v", r)
		}
	}
	if a, b := rows[0], rows[2*perSet]; a.round != 1 || b.round != 2 || a.peer != "backup" || b.peer != "cp+sync" {
		t.Errorf("%s goes first in round %d, %s in round %d", a.peer, a.round, b.peer, b.round)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("%s still contains %v (%v)", work, left, err)
	}

	var text strings.Builder
	s := newSummary(rows)
	writeReport(&text, s, nil)
	for _, want := range []string{"## Goals", "| first ÷ cp+sync |", "### dup", "### small", "| backup | 1 |", "| backup-2nodes | 1 |", "| cp+sync | 2 |"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not contain %s", want)
		}
	}
	if names, err := s.plot(t.TempDir()); err != nil || len(names) != len(charts) {
		t.Errorf("plots: %v, %v", names, err)
	}
	if t.Failed() {
		t.Logf("%s\n%s", log.String(), text.String())
	}
}

func TestProfile(t *testing.T) {
	useBuiltProgram(t)
	out := t.TempDir()
	if err := profile(t.Context(), makeTestSets(t, tiny, "dup"), t.TempDir(), out, "dup", time.Minute, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, phase := range phases {
		for _, role := range []string{"client", "server"} {
			if top, err := os.ReadFile(filepath.Join(out, phase+"-"+role+".txt")); err != nil || !strings.Contains(string(top), "flat%") {
				t.Errorf("profile of phase %s, %s: %v\n%s", phase, role, err, top)
			}
		}
	}
}

// shellJob returns a job that runs a line of shell, at a new site.
func shellJob(t *testing.T, line string) (*site, job) {
	t.Helper()
	s, err := newSite(programs{}, t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s, job{argv: []string{"sh", "-c", line}, dir: s.home}
}

func TestCommandsAreKilledAtTheTimeLimit(t *testing.T) {
	s, j := shellJob(t, "sleep 600 & sleep 600")
	start := time.Now()
	_, err := conditions{limit: 100 * time.Millisecond}.measure(t.Context(), s, j, s.src)
	if err == nil || !strings.Contains(err.Error(), "killed after") || time.Since(start) > time.Minute {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestErrorsContainTheLastLineOfStderr(t *testing.T) {
	s, j := shellJob(t, "echo the reason >&2; exit 3")
	_, err := conditions{limit: time.Minute}.measure(t.Context(), s, j, s.src)
	if err == nil || !strings.Contains(err.Error(), "exit status 3: the reason") {
		t.Error(err)
	}
}

// The client needs memory, and the server uses CPU while the client runs.
func TestMeasureCoversClientAndServers(t *testing.T) {
	s, j := shellJob(t, "head -c 60000000 /dev/zero | tail -c 50000000 > /dev/null; while [ $(($(cat ../busy | wc -c))) -lt 200000 ]; do :; done; echo '{\"sent\":7}'")
	j.sent = func(stdout []byte) int64 {
		var result struct{ Sent int64 }
		if lines := jsonLines(stdout); len(lines) != 1 || json.Unmarshal(lines[0], &result) != nil {
			return -1
		}
		return result.Sent
	}
	if _, err := s.startReady(t.Context(), nil, "sh", "-c", "echo ready 1; while :; do echo 0123456789 >> busy; done"); err != nil {
		t.Fatal(err)
	}
	m, err := conditions{limit: time.Minute}.measure(t.Context(), s, j, s.src)
	if stopErr := s.stop(); err != nil || stopErr != nil {
		t.Fatal(err, stopErr)
	}
	if m.clientMem < 40*mib || m.clientMem > 100*mib || m.clientCPU <= 0 || m.serverCPU <= 0 || m.serverMem <= 0 || m.sent != 7 {
		t.Errorf("%+v", m)
	}
}

func TestErrorsOfServersThatDoNotStart(t *testing.T) {
	s, _ := shellJob(t, "")
	if _, err := s.startReady(t.Context(), nil, "sh", "-c", "echo no disk >&2"); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Error(err)
	}
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.startListening(t.Context(), addr, "sh", "-c", "echo no port >&2"); err == nil || !strings.Contains(err.Error(), "no port") {
		t.Error(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

func TestCompareTreesFindsEveryDifference(t *testing.T) {
	for what, change := range map[string]string{
		"nothing":     "true",
		"content":     "printf b > folder/file",
		"size":        "printf bb > folder/file",
		"missing":     "rm folder/file",
		"unexpected":  "touch folder/more",
		"last name":   "touch zzz",
		"type":        "rm folder/file; mkdir folder/file",
		"permissions": "chmod 600 folder/file",
		"link":        "ln -sfn nowhere link",
	} {
		a, b := t.TempDir(), t.TempDir()
		for _, dir := range []string{a, b} {
			script := "mkdir folder; printf a > folder/file; chmod 644 folder/file; ln -s folder link"
			if dir == b {
				script += "; " + change
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		if err := compareTrees(a, b); (err == nil) != (what == "nothing") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestChoosePeersAndSets(t *testing.T) {
	if _, _, err := choosePeers([]string{"bogus"}, programs{}); err == nil {
		t.Error("an unknown peer was accepted")
	}
	chosen, leftOut, err := choosePeers([]string{"backup", "borg"}, programs{"backup": "/backup"})
	if err != nil || len(chosen) != 1 || chosen[0].name != "backup" || len(leftOut) != 1 || leftOut[0] != "borg (no borg)" {
		t.Errorf("%v, %v, %v", chosen, leftOut, err)
	}
	t.Setenv("RESTIC", filepath.Join(t.TempDir(), "missing"))
	if _, err := findPrograms(); err == nil {
		t.Error("a variable with a wrong path was accepted")
	}
	for _, names := range [][]string{{"bogus"}, {"big"}, nil} {
		if _, err := chooseSets(t.TempDir(), names); err == nil {
			t.Errorf("sets %v were found in an empty folder", names)
		}
	}
}

func TestInterruptedRunsLeaveNoFiles(t *testing.T) {
	useBuiltProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	data, work, csv := makeTestSets(t, tiny, "dup"), t.TempDir(), filepath.Join(t.TempDir(), "results.csv")
	opt := runOptions{data: data, work: work, csv: csv, rounds: 1, peers: []string{"backup"}}
	opt.limit = time.Minute
	// The first line of the log means that a round has started.
	if err := run(ctx, opt, writerFunc(func([]byte) { cancel() })); err == nil {
		t.Error("run did not return an error")
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("%s still contains %v (%v)", work, left, err)
	}
	if rows, _, err := runTable.read(csv); err != nil || len(rows) > 0 {
		t.Errorf("the CSV has rows %v (%v)", rows, err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/client/treetest"
)

// System tests run the program as real processes with real files. They do not run on Windows,
// which has no signal that asks a process to end.
//
// The program is this test binary itself, started with a variable that init checks. So it is
// always the code under test, and with -race the race detector also watches the servers and
// clients: a process with a race exits with 66.
const asProgram = "SERVIDOR_TEST_AS_PROGRAM"

func init() {
	if os.Getenv(asProgram) != "" {
		slowDisk()
		main()
	}
}

// long selects the long variants of tests: more rounds, larger files.
var long = os.Getenv("BACKUP_LONG") != ""

// pick returns the size or the number of rounds of a test for the selected variant. The short
// variant logs that there is a longer one.
func pick[T any](t *testing.T, short, longer T) T {
	t.Helper()
	if long {
		return longer
	}
	t.Logf("short variant: %v; BACKUP_LONG=1 takes %v", short, longer)
	return short
}

// world is one machine of a test: home folder, settings, key. All its processes end with the
// test.
type world struct {
	*testing.T
	ctx  context.Context
	home string
	exe  string
	data string              // of commands without a server; "" for others
	env  []string            // in addition to the usual variables
	cred *syscall.Credential // user of the programs; nil: the user of the test
}

// newWorld makes the world of a test that takes at most bound. Such tests run in parallel,
// because they mostly wait for disks. bound is the time on an idle machine; newWorld doubles
// it.
func newWorld(t *testing.T, bound time.Duration) *world {
	t.Helper()
	t.Parallel()
	return beginWorld(t, bound)
}

// newNATSWorld is newWorld for tests that use an unmodified NATS server. The time to build
// that server does not count.
func newNATSWorld(t *testing.T, bound time.Duration) *world {
	t.Helper()
	t.Parallel()
	if _, err := natsBinary(); err != nil {
		t.Fatal(err)
	}
	return beginWorld(t, bound)
}

func beginWorld(t *testing.T, bound time.Duration) *world {
	t.Helper()
	bound *= 2
	if long {
		bound *= 5
	}
	// Not t.Context, which ends before cleanups, and cleanups need the processes.
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	t.Cleanup(cancel)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &world{T: t, ctx: ctx, home: treetest.TempDir(t), exe: exe}
}

// machine is another machine of the same test, with its own home folder.
func (w *world) machine() *world {
	other := *w
	other.home = treetest.TempDir(w.T)
	return &other
}

// with returns w with more environment variables.
func (w *world) with(env ...string) *world {
	other := *w
	other.env = slices.Concat(w.env, env)
	return &other
}

// local returns w with commands that use data without a server.
func (w *world) local(data string) *world {
	other := *w
	other.data = data
	return &other
}

// dir makes a folder that is removed after the test.
func (w *world) dir() string {
	w.Helper()
	return treetest.TempDir(w.T)
}

// write makes a file and its parent folders.
func (w *world) write(path string, content []byte) {
	w.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		w.Fatal(err)
	}
}

// command prepares the program with arguments.
func (w *world) command(args ...string) *exec.Cmd {
	if w.data != "" {
		args = append([]string{"--data", w.data}, args...)
	}
	return w.prepare(w.exe, args...)
}

func (w *world) prepare(exe string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.ctx, exe, args...)
	cmd.Dir = w.home
	cmd.Env = append([]string{
		asProgram + "=1", "HOME=" + w.home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR"),
		"LANG=C", "TZ=UTC", "BACKUP_NICKNAME=ana",
		// Without this the race detector delays the end of each process by a second.
		"GORACE=atexit_sleep_ms=0",
	}, w.env...)
	if w.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.cred}
	}
	// A process that ends but leaves its pipes to a child would hang Wait. On a busy machine it
	// takes a while to copy a large output.
	cmd.WaitDelay = bustest.Timeout
	return cmd
}

// outcome is the result of a program that has ended.
type outcome struct {
	code     int // -1 if a signal ended it
	out, err string
	took     time.Duration
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d after %v\nstdout: %s\nstderr: %s", o.code, o.took.Round(time.Millisecond), tail(o.out), tail(o.err))
}

// tail is the end of a long text.
func tail(s string) string { return strings.ToValidUTF8(s[max(0, len(s)-4000):], "?") }

// run runs the program to its end.
func (w *world) run(args ...string) outcome {
	w.Helper()
	return w.finish(w.command(args...))
}

func (w *world) finish(cmd *exec.Cmd) outcome {
	w.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	switch err := cmd.Run(); {
	case cmd.ProcessState == nil:
		w.Fatalf("%v: %v", cmd.Args, err)
	case errors.Is(err, exec.ErrWaitDelay):
		w.Fatalf("%v: its output is not whole, %d bytes came: %v", cmd.Args, out.Len(), err)
	}
	if w.ctx.Err() != nil {
		w.Fatalf("%v did not end in time: %s", cmd.Args, tail(errs.String()))
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String(), time.Since(start)}
}

// expect runs the program and demands an exit code and texts in its output.
func (w *world) expect(code int, texts []string, args ...string) outcome {
	w.Helper()
	o := w.run(args...)
	o.demand(w.T, code, texts...)
	return o
}

func (o outcome) demand(t *testing.T, code int, texts ...string) {
	t.Helper()
	if o.code != code {
		t.Fatalf("want exit code %d: %v", code, o)
	}
	for _, text := range texts {
		if !strings.Contains(o.out+o.err, text) {
			t.Errorf("want %q: %v", text, o)
		}
	}
}

// ok runs the program, which must succeed.
func (w *world) ok(args ...string) outcome {
	w.Helper()
	return w.expect(exitDone, nil, args...)
}

// saved is the output of "transmit --json".
type saved struct {
	ID                                                      string
	Files, Bytes, Unchanged, Read, Sent, Chunks, Unreadable int64
}

func (w *world) transmit(args ...string) saved {
	w.Helper()
	return parse[saved](w.T, w.ok(append([]string{"transmit", "--json"}, args...)...).out)
}

// restored is the output of "download --json".
type restored struct {
	ID                             string
	Files, Bytes, Received, Failed int64
	Top                            []string
}

func (w *world) download(args ...string) restored {
	w.Helper()
	return parse[restored](w.T, w.ok(append([]string{"download", "--json"}, args...)...).out)
}

// parse decodes one line of JSON.
func parse[T any](t *testing.T, line string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return v
}

// lines decodes JSON, one value per line.
func lines[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	for line := range strings.Lines(text) {
		all = append(all, parse[T](t, line))
	}
	return all
}

// same demands that the folders a and b are equal.
func (w *world) same(a, b string) {
	w.Helper()
	for i, d := range treetest.Compare(a, b, treetest.Ignore{Special: true}) {
		if i == 20 {
			w.Fatal("and more")
		}
		w.Error(d)
	}
}

// restores demands that the version id restores as the folder src.
func (w *world) restores(id, src string) {
	w.Helper()
	to := w.dir()
	res := w.download(id, "--to", to)
	if len(res.Top) != 1 || res.Failed != 0 {
		w.Fatalf("%+v", res)
	}
	w.same(src, filepath.Join(to, res.Top[0]))
}

// process is a program that runs until it is asked to end.
type process struct {
	w      *world
	cmd    *exec.Cmd
	stderr transcript
	ready  chan string   // the rest of the ready line
	ended  chan struct{} // closed when the program has ended
}

// start starts a role. It ends with the test at the latest. If the test fails, its stderr is
// logged.
func (w *world) start(args ...string) *process {
	w.Helper()
	return w.launch(w.command(args...))
}

func (w *world) launch(cmd *exec.Cmd) *process {
	w.Helper()
	p := &process{w: w, cmd: cmd, ready: make(chan string, 1), ended: make(chan struct{})}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	cmd.Stderr = &p.stderr
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			if what, ok := strings.CutPrefix(scan.Text(), "ready "); ok {
				p.ready <- what
			}
		}
		_ = cmd.Wait() // ProcessState holds the result
	}()
	w.Cleanup(func() {
		p.kill()
		if w.Failed() {
			w.Logf("%v said:\n%s", cmd.Args[1:], tail(p.stderr.String()))
		}
	})
	return p
}

// busy starts a transmit that uses the data folder until its stdin ends.
func (w *world) busy(more ...string) (p *process, in io.WriteCloser) {
	w.Helper()
	cmd := w.command(append([]string{"transmit", "-", "--name", "stream"}, more...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		w.Fatal(err)
	}
	p = w.launch(cmd)
	if _, err := in.Write(random(1, 4*mib)); err != nil { // more than a pipe holds, so the transmit reads it
		w.Fatal(err)
	}
	return p, in
}

// serves waits for the ready line and returns the text after "ready".
func (p *process) serves() string {
	p.w.Helper()
	select {
	case what := <-p.ready:
		return what
	case <-p.ended:
		p.w.Fatalf("%v ended instead of serving: %s", p.cmd.Args[1:], tail(p.stderr.String()))
	case <-p.w.ctx.Done():
		p.w.Fatalf("%v does not serve: %s", p.cmd.Args[1:], tail(p.stderr.String()))
	}
	return ""
}

// kill ends the process without warning, like a power cut.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // the process may have ended already
	<-p.ended
}

// stop asks the process to end and demands a clean end.
func (p *process) stop() {
	p.w.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.w.Fatalf("%v no longer runs: %v\n%s", p.cmd.Args[1:], err, tail(p.stderr.String()))
	}
	if code := p.wait(); code != exitDone {
		p.w.Fatalf("%v ended with %d: %s", p.cmd.Args[1:], code, tail(p.stderr.String()))
	}
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait waits for the end and returns the exit code.
func (p *process) wait() int {
	p.w.Helper()
	select {
	case <-p.ended:
	case <-p.w.ctx.Done():
		p.w.Fatalf("%v does not end: %s", p.cmd.Args[1:], tail(p.stderr.String()))
	}
	return p.cmd.ProcessState.ExitCode()
}

// up starts a whole system and returns it with its address. When the test ends, the system
// must end cleanly and its store must be intact.
func (w *world) up(data string, more ...string) (p *process, url string) {
	w.Helper()
	p, url = w.upRaw(data, more...)
	w.Cleanup(func() {
		if w.Failed() {
			return
		}
		if !p.hasEnded() { // the test may have stopped it
			p.stop()
		}
		w.intact(data)
	})
	return p, url
}

// upRaw is up without demands at the end.
func (w *world) upRaw(data string, more ...string) (p *process, url string) {
	w.Helper()
	p = w.start(append([]string{"up", "--data", data, "--listen", "127.0.0.1:0"}, more...)...)
	return p, p.serves()
}

// intact demands that a check of the whole store finds no problem.
func (w *world) intact(data string) {
	w.Helper()
	w.expect(exitDone, []string{"is intact"}, "storage", "--data", data, "--check")
}

// transcript collects the output of a process; it may be read while the process runs.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*transcript)(nil)

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// eventually waits until is returns true; it polls every few milliseconds.
func (w *world) eventually(what string, is func() bool) {
	w.Helper()
	for !is() {
		select {
		case <-w.ctx.Done():
			w.Fatalf("this never happened: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"servidor-backup/client/treetest"
)

// TestRefusedCalls refuses single system calls of transmit, download, list and the start of up
// with strace, on a small folder of backups that each run gets a copy of. Whatever is refused,
// the command ends; exit code 0 means all of it; and afterwards, with nothing refused, the versions
// saved before are listed, and the newest is restored equal.
//
// The long variant makes BACKUP_REFUSALS runs, which BACKUP_SEED draws from all places, calls,
// errors and positions: first each pair of call and error once per command. It logs the table of
// docs/reliability.md. The short variant makes a few fixed runs.
func TestRefusedCalls(t *testing.T) {
	r := newRefusals(t)
	if !long {
		for _, f := range []refusal{
			{"transmit", "source", "read", "EIO", "1+"},
			{"download", "target", "utimensat", "EPERM", "1"},
			{"list", "catalogue", "pwrite64", "EACCES", "1+"},
			{"up", "catalogue", "getdents64", "EIO", "1+"},
		} {
			r.run(f)
		}
		return
	}
	seed := numberOf(t, "BACKUP_SEED", uint64(time.Now().UnixNano()))
	t.Logf("BACKUP_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	n := int(numberOf(t, "BACKUP_REFUSALS", 400))
	var queues [][]refusal
	for _, command := range []string{"transmit", "download", "list", "up"} {
		queues = append(queues, r.draw(command, rng))
	}
	runs := make(chan refusal)
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for f := range runs {
				r.run(f)
			}
		})
	}
	for ; n > 0 && len(queues) > 0; n-- { // the commands take turns
		q := queues[0]
		queues = queues[1:]
		runs <- q[0]
		if len(q) > 1 {
			queues = append(queues, q[1:])
		}
	}
	close(runs)
	workers.Wait()
	t.Log(r.table())
}

// refusal is one run: the calls of a command that strace refuses.
type refusal struct {
	command string
	place   string // of the files whose calls are refused; "" for all calls
	call    string
	errno   string
	when    string // the number of the call in its thread; "N+": all from the Nth
}

var refusedWith = []string{"EIO", "EACCES", "ENOSPC", "EMFILE", "EPERM", "EINTR"}

// neverRefused matches calls that are left out. The Go runtime makes most of them, and they fail
// for no reason that a disk or a limit of files has; without them no program runs. close is
// refused, although the kernel then still closes the file: strace leaves it open.
var neverRefused = regexp.MustCompile(`^(` +
	// Memory, threads, signals, time, the end.
	`mmap|munmap|madvise|brk|mprotect|mincore|futex|clone3?|set_robust_list|set_tid_address|rseq|sched_.*|` +
	`rt_sig.*|sigaltstack|tgkill|nanosleep|clock_.*|timer_.*|restart_syscall|exit|exit_group|execve|arch_prctl|prctl|wait4|waitid|` +
	// The runtime's poller. A program that cannot have it does not begin.
	`epoll_.*|eventfd2|pipe2|` +
	// Questions to the kernel that cannot be refused so, and random numbers: Go ends a program
	// that gets none.
	`get.?id|gete.id|gettid|getrandom|uname|sysinfo|[gs]etpriority|prlimit64|` +
	// strace 6.1 knows no name for fchmodat2.
	`syscall_.*)$`)

// refusals holds what the runs start from and what they showed.
type refusals struct {
	*world
	strace  string
	base    string // a home folder and data with two versions of a folder
	source  string // the folder, changed since
	second  string // the folder as the second version has it
	listed  string // what list says
	scratch string // of the runs

	mu       sync.Mutex
	outcomes map[string]map[string]int // by command, call and error, how often each end
}

func newRefusals(t *testing.T) *refusals {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=read",
		"-e", "inject=read:error=EIO:when=65535", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot refuse calls here: %v: %s", err, out)
	}
	w := newWorld(t, pick(t, 3*time.Minute, time.Hour))
	r := &refusals{world: w, strace: strace, base: w.dir(), scratch: w.dir(), outcomes: map[string]map[string]int{}}
	r.source, r.second = filepath.Join(w.dir(), "source"), filepath.Join(w.dir(), "source")
	for i := range 6 {
		w.write(filepath.Join(r.source, fmt.Sprint("f", i)), random(uint64(i), 3000*(i+1)))
	}
	w.write(filepath.Join(r.source, "large"), random(9, 2*mib))
	w.write(filepath.Join(r.source, "empty"), nil)
	w.write(filepath.Join(r.source, "sub/a"), []byte("a"))
	for _, err := range []error{
		os.Symlink("a", filepath.Join(r.source, "sub/link")),
		os.Link(filepath.Join(r.source, "f0"), filepath.Join(r.source, "sub/hard")),
		os.Chmod(filepath.Join(r.source, "f1"), 0o600),
		os.Chtimes(filepath.Join(r.source, "f3"), time.Unix(1e9, 5), time.Unix(1e9, 5)),
		syscall.Mkfifo(filepath.Join(r.source, "fifo"), 0o640),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// A file system without attributes is saved without any.
	_ = syscall.Setxattr(filepath.Join(r.source, "f2"), "user.x", []byte("1"), 0)
	b := r.at(r.base)
	b.transmit(r.source, "--name", "rec")
	w.write(filepath.Join(r.source, "f5"), []byte("second"))
	b.transmit(r.source, "--name", "rec")
	r.copy(r.source, r.second)
	w.write(filepath.Join(r.source, "f4"), random(10, 20000))
	w.write(filepath.Join(r.source, "new"), random(11, mib))
	r.listed = b.ok("list", "rec", "--json").out
	return r
}

// at returns the world of a run whose home folder and data are in dir.
func (r *refusals) at(dir string) *world {
	w := *r.world
	w.home, w.data = filepath.Join(dir, "home"), filepath.Join(dir, "data")
	if err := os.MkdirAll(w.home, 0o755); err != nil {
		r.Fatal(err)
	}
	return &w
}

func (r *refusals) copy(from, to string) {
	r.Helper()
	if out, err := exec.CommandContext(r.ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		r.Fatalf("%v: %s", err, out)
	}
}

// begin makes the folder of a run.
func (r *refusals) begin() string {
	r.Helper()
	dir, err := os.MkdirTemp(r.scratch, "")
	if err != nil {
		r.Fatal(err)
	}
	r.copy(r.base+"/.", dir)
	return dir
}

// paths returns all paths of a place: strace compares single paths, not folders.
func (r *refusals) paths(place, dir string) (all []string) {
	r.Helper()
	root := map[string]string{"source": r.source, "catalogue": dir + "/data/nats", "node": dir + "/data/node",
		"home": dir + "/home", "target": r.second}[place]
	if place == "" {
		return nil
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSymlink == 0 { // strace would follow it
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	if place == "target" {
		to := filepath.Join(dir, "to")
		for i, path := range all {
			all[i] = filepath.Join(to, strings.TrimPrefix(path, filepath.Dir(r.second)))
		}
		all = append(all, to)
	}
	return all
}

// traced prepares a command under strace. A signal to its process group reaches the command
// alone: strace blocks signals.
func (r *refusals) traced(ctx context.Context, dir string, f refusal, flags ...string) *exec.Cmd {
	w := r.at(dir)
	args := []string{"-f", "-o", dir + "/trace"}
	args = append(args, flags...)
	for _, path := range r.paths(f.place, dir) {
		args = append(args, "-P", path)
	}
	args = append(args, w.exe)
	switch f.command {
	case "transmit":
		args = append(args, "--data", w.data, "transmit", r.source, "--name", "rec")
	case "list":
		args = append(args, "--data", w.data, "list", "rec", "--json")
	case "download":
		args = append(args, "--data", w.data, "download", "rec@2", "--to", dir+"/to")
	case "up":
		args = append(args, "up", "--data", w.data, "--listen", "127.0.0.1:0")
	}
	w.ctx = ctx
	cmd := w.prepare(r.strace, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// bound is how long a command may take whose calls are refused.
const bound = 3 * time.Minute

// execute runs a traced command. It asks up to end as soon as up is ready.
func (r *refusals) execute(dir string, f refusal, flags ...string) (o outcome, inTime bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, bound)
	defer cancel()
	cmd := r.traced(ctx, dir, f, flags...)
	var out, errs transcript
	cmd.Stdout, cmd.Stderr = &out, &errs
	if f.command == "up" {
		cmd.Stdout = &endWhenReady{transcript: &out, cmd: cmd}
	}
	began := time.Now()
	if err := cmd.Run(); cmd.ProcessState == nil {
		r.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String(), time.Since(began)}, ctx.Err() == nil
}

// endWhenReady asks a process to end when it has said that it is ready.
type endWhenReady struct {
	*transcript
	cmd   *exec.Cmd
	asked bool
}

func (e *endWhenReady) Write(b []byte) (int, error) {
	n, err := e.transcript.Write(b)
	if !e.asked && strings.Contains(e.String(), "ready nats://") {
		e.asked = true
		_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGTERM) // it may have ended
	}
	return n, err
}

// draw returns all refusals of a command in a random order, but first one of each call and error.
// It counts the calls of runs without refusals.
func (r *refusals) draw(command string, rng *rand.Rand) []refusal {
	r.Helper()
	places := []string{"", "catalogue", "node", "home"}
	switch command {
	case "transmit":
		places = append(places, "source")
	case "download":
		places = append(places, "target")
	}
	var all []refusal
	for _, place := range places {
		dir := r.begin()
		if o, ok := r.execute(dir, refusal{command: command, place: place}); !ok || o.code != exitDone {
			r.Fatalf("%s without refusals: %v", command, o)
		}
		trace, err := os.ReadFile(dir + "/trace")
		if err != nil {
			r.Fatal(err)
		}
		perThread, most := map[string]int{}, map[string]int{}
		for _, m := range regexp.MustCompile(`(?m)^(\d+) +(\w+)\(`).FindAllSubmatch(trace, -1) {
			call := string(m[2])
			perThread[string(m[1])+call]++
			most[call] = max(most[call], perThread[string(m[1])+call])
		}
		for call, n := range most {
			// Without a place, fcntl and write are mostly the runtime's, and those of the output.
			if neverRefused.MatchString(call) || place == "" && (call == "fcntl" || call == "write") {
				continue
			}
			middle, last := strconv.Itoa((n+1)/2), strconv.Itoa(n)
			for _, errno := range refusedWith {
				when := []string{"1", middle, last, "1+", middle + "+"}
				if errno == "EINTR" {
					when = when[:3] // a call that is interrupted forever is repeated forever
				}
				slices.Sort(when)
				for _, at := range slices.Compact(when) {
					all = append(all, refusal{command, place, call, errno, at})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b refusal) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	seen := map[[2]string]bool{}
	var first, rest []refusal
	for _, f := range all {
		if pair := [2]string{f.call, f.errno}; !seen[pair] {
			seen[pair] = true
			first = append(first, f)
		} else {
			rest = append(rest, f)
		}
	}
	return append(first, rest...)
}

// run refuses calls and demands what must hold whatever is refused.
func (r *refusals) run(f refusal) {
	r.Helper()
	dir := r.begin()
	defer os.RemoveAll(dir) // hundreds of them
	o, inTime := r.execute(dir, f, "--seccomp-bpf", "-e", "trace="+f.call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%s", f.call, f.errno, f.when))
	trace, err := os.ReadFile(dir + "/trace")
	if err != nil {
		r.Fatal(err)
	}
	wrong := func(format string, args ...any) {
		r.Helper()
		r.Errorf("%+v: %s\n%v\n%s", f, fmt.Sprintf(format, args...), o, tail(string(trace)))
	}
	refused := bytes.Count(trace, []byte("(INJECTED)"))
	class := strconv.Itoa(o.code)
	switch {
	case !inTime:
		class = "endless"
		wrong("it does not end")
	case refused == 0:
		class = "not reached"
	case strings.Contains(o.err, "\ngoroutine "):
		class = "crash"
		if in := crashedIn(o.err); in == "" {
			wrong("it crashed")
		} else {
			r.Logf("%+v: crash in %s", f, in)
		}
	case o.code != exitDone && o.code != exitFailed && o.code != exitPartial:
		wrong("no such exit code is meant for this")
	case o.code != exitDone && o.out+o.err == "" && f.call != "write":
		wrong("it says nothing")
	}
	r.Logf("%+v: %s", f, class)
	key := f.command + " " + f.call + " " + f.errno
	r.mu.Lock()
	if r.outcomes[key] == nil {
		r.outcomes[key] = map[string]int{}
	}
	r.outcomes[key][class]++
	r.mu.Unlock()

	w := r.at(dir)
	list := w.run("list", "rec", "--json")
	if list.code != exitDone || !strings.HasSuffix(list.out, r.listed) {
		wrong("versions are lost: list afterwards: %v", list)
	}
	if second := w.run("download", "rec@2", "--to", dir+"/second"); second.code != exitDone {
		wrong("download of what was saved before: %v", second)
	} else {
		r.equal(wrong, r.second, dir+"/second/source")
	}
	if inTime && o.code == exitDone {
		switch f.command {
		case "list":
			if o.out != r.listed {
				wrong("list differs")
			}
		case "download":
			r.equal(wrong, r.second, dir+"/to/source")
		case "transmit":
			if third := w.run("download", "rec@3", "--to", dir+"/third"); third.code != exitDone {
				wrong("download of what was saved: %v", third)
			} else {
				r.equal(wrong, r.source, dir+"/third/source")
			}
		}
	}
}

// crashedIn returns the library that ends the program when it cannot go on, or "" if a stack shows
// another crash. What was saved before must survive these, too.
func crashedIn(stack string) string {
	_, stack, _ = strings.Cut(stack, "\ngoroutine ")
	for line := range strings.Lines(stack) {
		switch name, _, _ := strings.Cut(line, "("); {
		case strings.HasPrefix(name, "servidor-backup/"), strings.HasPrefix(name, "main."):
			return ""
		case strings.HasPrefix(name, "github.com/nats-io/nats-server"):
			return "nats-server"
		case strings.HasPrefix(name, "github.com/cockroachdb/pebble"):
			return "Pebble"
		}
	}
	return ""
}

func (r *refusals) equal(wrong func(string, ...any), want, got string) {
	r.Helper()
	if d := treetest.Compare(want, got, treetest.Ignore{}); len(d) > 0 {
		wrong("restored with differences: %s", strings.Join(d, "; "))
	}
}

// table returns the outcomes as a table in Markdown: how often a command ended with each code.
func (r *refusals) table() string {
	rows, runs := map[string]bool{}, 0
	for key, classes := range r.outcomes {
		rows[key[:strings.LastIndexByte(key, ' ')]] = true
		for _, n := range classes {
			runs += n
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs\n| command, call | %s |\n|---|%s\n", runs, strings.Join(refusedWith, " | "), strings.Repeat("---|", len(refusedWith)))
	names := make([]string, 0, len(rows))
	for row := range rows {
		names = append(names, row)
	}
	slices.Sort(names)
	for _, row := range names {
		fmt.Fprintf(&b, "| %s |", row)
		for _, errno := range refusedWith {
			var cells []string
			for class, n := range r.outcomes[row+" "+errno] {
				cells = append(cells, fmt.Sprintf("%s ×%d", class, n))
			}
			slices.Sort(cells)
			fmt.Fprintf(&b, " %s |", strings.Join(cells, ", "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

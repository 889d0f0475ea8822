package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script run the real program as a process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"backup": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Vars = append(env.Vars, "HOME="+home, "LANG=en_US.UTF-8", "LC_ALL=", "LC_MESSAGES=",
				"XDG_CONFIG_HOME=", "XDG_STATE_HOME=")
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code,
			"up":   up,
			"down": down,
		},
	})
}

// code runs a program and checks its exit code:
//
//	code 3 backup transmit folder
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER PROGRAM ARGS…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit, ok := err.(*exec.ExitError); ok {
		got = fmt.Sprint(exit.ExitCode())
	} else {
		ts.Check(err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// upProcess is a "backup up" that a script started.
type upProcess struct {
	cmd  *exec.Cmd
	once sync.Once
	err  error
	rest chan string // its output on stdout after the ready line
}

// up starts "backup up" on a free port, with its data in the folder "data" or the folder of
// --data, and waits until it is ready. $SERVER is its address; clients discover it. The end of
// the script, or "down", ends it.
//
//	up [FLAGS…]
func up(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("up cannot be negated")
	}
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(self, append([]string{"up", "--data", "data", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Args[0] = "backup" // testscript.Main selects the program by this name
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "LANG", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s := &upProcess{cmd: cmd, rest: make(chan string, 1)}
	ts.Defer(func() {
		if err := s.stop(); err != nil {
			ts.Logf("backup up: %v\n%s", err, log.String())
		}
	})
	lines := bufio.NewReader(out)
	ready, err := lines.ReadString('\n')
	go func() {
		rest, _ := io.ReadAll(lines)
		s.rest <- string(rest)
	}()
	server, found := strings.CutPrefix(strings.TrimSpace(ready), "ready ")
	if err != nil || !found {
		ts.Fatalf("backup up is not ready: %q, %v, %v\n%s", ready, err, s.stop(), log.String())
	}
	ts.Setenv("SERVER", server)
	running.Store(ts, s)
}

// running are the systems of scripts: *testscript.TestScript → *upProcess.
var running sync.Map

// down ends what "up" started. It must end cleanly, without further output on stdout.
func down(ts *testscript.TestScript, neg bool, args []string) {
	s, ok := running.LoadAndDelete(ts)
	if !ok || neg || len(args) > 0 {
		ts.Fatalf("usage: down, after up")
	}
	ts.Check(s.(*upProcess).stop())
}

// stop asks the process to end, once, and returns the result.
func (s *upProcess) stop() error {
	s.once.Do(func() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			s.err = err
		}
		if rest := <-s.rest; rest != "" {
			s.err = fmt.Errorf("it wrote to stdout after the ready line: %q", rest)
		}
		if err := s.cmd.Wait(); err != nil {
			s.err = err
		}
	})
	return s.err
}

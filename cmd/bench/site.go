package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	startLimit = 30 * time.Second // for a server to serve
	stopLimit  = 30 * time.Second // for its orderly end
	stepLimit  = 2 * time.Minute  // for what is not measured: making a repository
)

// A site is where one peer works on one data set for one round: its folders, its
// environment, its running servers. Its peer sees nothing else of the machine.
type site struct {
	programs programs
	dir      string // all of it
	src      string // what is to be saved; the same for all peers
	repo     string // where it is saved to
	home     string // the client's home: settings, keys, caches
	env      []string
	servers  []*server
}

// newSite makes the folders in dir.
func newSite(p programs, dir, src string) (*site, error) {
	s := &site{programs: p, dir: dir, src: src, repo: filepath.Join(dir, "repo"), home: filepath.Join(dir, "home")}
	for _, d := range []string{s.repo, s.home} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	s.env = []string{"HOME=" + s.home, "USER=bench", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	return s, nil
}

// set sets a variable for whatever is started afterwards.
func (s *site) set(name, value string) { s.env = append(s.env, name+"="+value) }

// program is the path of a program that the peer needs.
func (s *site) program(name string) string { return s.programs[name] }

// step runs a command that is not measured and returns what it prints.
func (s *site) step(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = s.env, s.dir
	ownGroup(cmd)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(argv[0]), strings.Join(argv[1:], " "), err, lastLine(errs.String()))
	}
	return out.String(), nil
}

// A server is a process that a peer's client talks to.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func (v *server) pid() int { return v.cmd.Process.Pid }

// start starts a server, its stderr going to a log in the site's folder, with
// extra variables. Its stdout is the caller's, to be read to its end.
func (s *site) start(ctx context.Context, env []string, argv ...string) (*server, io.Reader, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = append(s.env[:len(s.env):len(s.env)], env...), s.dir, log
	ownGroup(cmd)
	out, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		out.Close()
		return nil, nil, err
	}
	v := &server{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how a server ended shows in what its clients say
		close(v.done)
	}()
	s.servers = append(s.servers, v)
	return v, out, nil
}

// startReady starts a server that says "ready URL" when it serves, as ours do,
// and returns the URL.
func (s *site) startReady(ctx context.Context, env []string, argv ...string) (string, error) {
	_, out, err := s.start(ctx, env, argv...)
	if err != nil {
		return "", err
	}
	said := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		lines.Scan()
		said <- lines.Text()
		_, _ = io.Copy(io.Discard, out) // so that it never blocks on us
	}()
	select {
	case line := <-said:
		if url, ready := strings.CutPrefix(line, "ready "); ready {
			return url, nil
		}
		return "", fmt.Errorf("%s: not ready: %s%s", filepath.Base(argv[0]), line, s.serverSaid())
	case <-time.After(startLimit):
		return "", fmt.Errorf("%s: not ready after %v%s", filepath.Base(argv[0]), startLimit, s.serverSaid())
	}
}

// startListening starts a server and waits until it listens on addr.
func (s *site) startListening(ctx context.Context, addr string, argv ...string) error {
	v, out, err := s.start(ctx, nil, argv...)
	if err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return eventually(ctx, func() error {
		select {
		case <-v.done:
			return final{fmt.Errorf("%s has ended%s", filepath.Base(argv[0]), s.serverSaid())}
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// final is an error after which it is no use to try again.
type final struct{ error }

// eventually tries until it works, at most for startLimit.
func eventually(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil || errors.As(err, &final{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-again.C:
		}
	}
}

// serverSaid is the end of the servers' log, for error messages.
func (s *site) serverSaid() string {
	log, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil || len(log) == 0 {
		return ""
	}
	return ": " + lastLine(string(log))
}

// stop ends all servers, the last one first. One that does not end in time is
// killed.
func (s *site) stop() error {
	var all error
	for i := len(s.servers) - 1; i >= 0; i-- {
		v := s.servers[i]
		_ = terminate(v.cmd.Process) // it may have ended by itself
		select {
		case <-v.done:
		case <-time.After(stopLimit):
			all = errors.Join(all, fmt.Errorf("%s did not end in %v and was killed", filepath.Base(v.cmd.Path), stopLimit))
			_ = v.cmd.Cancel()
			<-v.done
		}
	}
	s.servers = nil
	return all
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// lastLine is the last line that says something, shortened.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	return strings.ToValidUTF8(line[:min(len(line), 300)], "?")
}

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
	startLimit = 30 * time.Second // for a server to become ready
	stopLimit  = 30 * time.Second // for a server to exit when it is asked to
	stepLimit  = 2 * time.Minute  // for a command that is not measured, such as making a repository
)

// A site has the folders, the environment and the running servers of one peer for one data
// set in one round.
type site struct {
	programs programs
	dir      string // contains all folders but src
	src      string // the files to back up, the same for all peers
	repo     string // the repository
	home     string // the client's home folder: settings, keys, caches
	env      []string
	servers  []*server
}

// newSite makes the folders of a site in dir.
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

// set sets an environment variable for all processes that start later.
func (s *site) set(name, value string) { s.env = append(s.env, name+"="+value) }

// program returns the path of a program that the peer needs.
func (s *site) program(name string) string { return s.programs[name] }

// step runs a command that is not measured, and returns its output.
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

// A server is a server process of a peer.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

func (v *server) pid() int { return v.cmd.Process.Pid }

// start starts a server with the extra environment variables env. Its stderr goes to
// server.log in the site's folder. The caller must read its stdout to the end.
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
		_ = cmd.Wait() // if a server fails, its clients report it
		close(v.done)
	}()
	s.servers = append(s.servers, v)
	return v, out, nil
}

// startReady starts a server that prints "ready URL" when it is ready, as our servers do.
// It returns the URL.
func (s *site) startReady(ctx context.Context, env []string, argv ...string) (string, error) {
	_, out, err := s.start(ctx, env, argv...)
	if err != nil {
		return "", err
	}
	firstLine := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		lines.Scan()
		firstLine <- lines.Text()
		_, _ = io.Copy(io.Discard, out) // so that the server never blocks on a full pipe
	}()
	select {
	case line := <-firstLine:
		if url, ready := strings.CutPrefix(line, "ready "); ready {
			return url, nil
		}
		return "", fmt.Errorf("%s: not ready: %s%s", filepath.Base(argv[0]), line, s.lastLogLine())
	case <-time.After(startLimit):
		return "", fmt.Errorf("%s: not ready after %v%s", filepath.Base(argv[0]), startLimit, s.lastLogLine())
	}
}

// startListening starts a server and waits until it listens on addr.
func (s *site) startListening(ctx context.Context, addr string, argv ...string) error {
	v, out, err := s.start(ctx, nil, argv...)
	if err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return retry(ctx, func() error {
		select {
		case <-v.done:
			return permanentError{fmt.Errorf("%s has ended%s", filepath.Base(argv[0]), s.lastLogLine())}
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// A permanentError ends retry at once.
type permanentError struct{ error }

// retry calls try until it succeeds, returns a permanentError, or startLimit is over.
func retry(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil || errors.As(err, &permanentError{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// lastLogLine returns the last line of the servers' log for an error message: ": " and the
// line, or "" if there is no log.
func (s *site) lastLogLine() string {
	log, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil || len(log) == 0 {
		return ""
	}
	return ": " + lastLine(string(log))
}

// stop terminates all servers, the last one first. It kills a server that does not exit
// within stopLimit, and returns an error for it.
func (s *site) stop() error {
	var all error
	for i := len(s.servers) - 1; i >= 0; i-- {
		v := s.servers[i]
		_ = terminate(v.cmd.Process) // it may have exited already
		select {
		case <-v.done:
		case <-time.After(stopLimit):
			all = errors.Join(all, fmt.Errorf("%s did not exit within %v and was killed", filepath.Base(v.cmd.Path), stopLimit))
			_ = v.cmd.Cancel()
			<-v.done
		}
	}
	s.servers = nil
	return all
}

// freeAddress returns a loopback address that no process listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// lastLine returns the last line that is not empty, at most 300 bytes of it.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	return strings.ToValidUTF8(line[:min(len(line), 300)], "?")
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"
)

// A job is one command of a peer's client.
type job struct {
	argv []string
	dir  string                    // where it runs
	sent func(stdout []byte) int64 // bytes sent to the server, by what it printed; nil when it does not tell
	tree string                    // of a restore: where the tree comes back
}

// measured is what one timed command came to.
type measured struct {
	wall      time.Duration // from start to exit
	clientCPU time.Duration // user and system, with the processes it waited for
	serverCPU time.Duration // of all servers, until the disks were synced
	clientMem int64         // peak, bytes
	serverMem int64         // the servers' peaks added, bytes
	syncing   time.Duration // that a sync took right after
	sent      int64         // bytes, -1 when not told

	stdout, stderr []byte // the ends of what the client printed
}

// conditions are the settings of all measurements.
type conditions struct {
	touch float64       // GiB of memory to touch before each
	limit time.Duration // after which a command is killed
}

// measure runs a job of the peer at s. What is in reads is read once before. An
// error means that the measured command failed, or could not be measured; what
// was measured until then comes with it.
func (c conditions) measure(ctx context.Context, s *site, j job, reads string) (m measured, err error) {
	m.sent = -1
	err = c.observe(ctx, s, reads, &m, func() error { return c.client(ctx, s, j, &m) })
	if err == nil && j.sent != nil {
		m.sent = j.sent(m.stdout)
	}
	return m, err
}

// observe prepares, and puts into m what servers and disks do while run runs the
// clients, and until the disks are synced.
func (c conditions) observe(ctx context.Context, s *site, reads string, m *measured, run func() error) (err error) {
	if err := c.prepare(ctx, reads); err != nil {
		return err
	}
	before := make([]time.Duration, len(s.servers))
	for i, v := range s.servers {
		if before[i], err = cpuOf(v.pid()); err != nil {
			return err
		}
		if err = forgetPeak(v.pid()); err != nil {
			return err
		}
	}
	err = run()

	start := time.Now()
	syncDisks()
	m.syncing = time.Since(start)
	for i, v := range s.servers {
		cpu, cpuErr := cpuOf(v.pid())
		mem, memErr := peakOf(v.pid())
		m.serverCPU += cpu - before[i]
		m.serverMem += mem
		err = errors.Join(err, cpuErr, memErr)
	}
	return err
}

// prepare makes the machine the same for everybody. No reads are "".
func (c conditions) prepare(ctx context.Context, reads string) error {
	syncDisks()
	if c.touch > 0 {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if err := exec.CommandContext(ctx, self, touchCommand, fmt.Sprint(c.touch)).Run(); err != nil {
			return fmt.Errorf("touching %v GiB of memory: %w", c.touch, err)
		}
	}
	if reads == "" {
		return nil
	}
	return warm(reads)
}

// client runs the job and measures its process.
func (c conditions) client(ctx context.Context, s *site, j job, m *measured) error {
	limited, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	cmd := exec.CommandContext(limited, j.argv[0], j.argv[1:]...)
	cmd.Env, cmd.Dir = s.env, j.dir
	ownGroup(cmd)
	cmd.WaitDelay = 5 * time.Second // for a process that is gone to be told from its pipes
	var out, errs tail
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A child's peak begins with ours, so ours is made small.
	debug.FreeOSMemory()
	_ = forgetPeak(os.Getpid())

	start := time.Now()
	err := cmd.Run()
	m.wall = time.Since(start)
	if cmd.ProcessState == nil {
		return err // it could not be started
	}
	m.stdout, m.stderr = out.kept, errs.kept
	m.clientCPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	m.clientMem = peakMemory(cmd.ProcessState)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("killed after %v", c.limit)
	case err != nil:
		return fmt.Errorf("%w: %s", err, lastLine(string(errs.kept)))
	}
	return nil
}

// tail is a writer that keeps the end of what is written.
type tail struct{ kept []byte }

const tailSize = 64 * kib

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - tailSize; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(p), nil
}

// jsonLines are the lines of a command's output that may be JSON objects, the
// last first.
func jsonLines(stdout []byte) [][]byte {
	var found [][]byte
	for line := range strings.Lines(string(stdout)) {
		if b := bytes.TrimSpace([]byte(line)); bytes.HasPrefix(b, []byte("{")) {
			found = append([][]byte{b}, found...)
		}
	}
	return found
}

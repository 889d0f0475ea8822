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
	dir  string                    // its working directory
	sent func(stdout []byte) int64 // bytes sent according to the output, or -1; may be nil
	tree string                    // of a restore: the root of the restored tree
}

// measured is the result of one timed command.
type measured struct {
	wall      time.Duration // from start to exit
	clientCPU time.Duration // user and system time, with the child processes that it waited for
	serverCPU time.Duration // of all servers, until the disks are synced
	clientMem int64         // peak, bytes
	serverMem int64         // sum of the servers' peaks, bytes
	syncing   time.Duration // time of a sync right after the command
	sent      int64         // bytes, -1 if unknown

	stdout, stderr []byte // the last tailSize bytes that the client printed
}

// conditions are the settings that all measurements share.
type conditions struct {
	touch float64       // GiB of memory to touch before each
	limit time.Duration // time limit of a command, which is then killed
}

// measure runs a job of the peer at s. Before that it reads all files in the tree reads,
// unless that is "". An error means that the command failed or could not be measured; m
// then has the values that were measured until then.
func (c conditions) measure(ctx context.Context, s *site, j job, reads string) (m measured, err error) {
	m.sent = -1
	err = c.observe(ctx, s, reads, &m, func() error { return c.client(ctx, s, j, &m) })
	if err == nil && j.sent != nil {
		m.sent = j.sent(m.stdout)
	}
	return m, err
}

// observe prepares the machine and calls run, which runs the clients. It measures the
// servers and the disks until the disks are synced, and adds the results to m.
func (c conditions) observe(ctx context.Context, s *site, reads string, m *measured, run func() error) (err error) {
	if err := c.prepare(ctx, reads); err != nil {
		return err
	}
	before := make([]time.Duration, len(s.servers))
	for i, v := range s.servers {
		if before[i], err = cpuOf(v.pid()); err != nil {
			return err
		}
		if err = resetPeak(v.pid()); err != nil {
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

// prepare gives every measurement the same conditions. It reads all files in the tree
// reads, unless that is "".
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
	return fillCache(reads)
}

// client runs the job and measures its process. It sets the client's fields of m.
func (c conditions) client(ctx context.Context, s *site, j job, m *measured) error {
	limited, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	cmd := exec.CommandContext(limited, j.argv[0], j.argv[1:]...)
	cmd.Env, cmd.Dir = s.env, j.dir
	ownGroup(cmd)
	cmd.WaitDelay = 5 * time.Second // do not wait longer for pipes that child processes hold open
	var out, errs tail
	cmd.Stdout, cmd.Stderr = &out, &errs
	// The peak memory of a child process starts at the peak of its parent. So this process
	// frees memory and resets its own peak.
	debug.FreeOSMemory()
	_ = resetPeak(os.Getpid())

	start := time.Now()
	err := cmd.Run()
	m.wall = time.Since(start)
	if cmd.ProcessState == nil {
		return err // it could not be started
	}
	m.stdout, m.stderr = out.text, errs.text
	m.clientCPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	m.clientMem = peakMemory(cmd.ProcessState)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("killed after %v", c.limit)
	case err != nil:
		return fmt.Errorf("%w: %s", err, lastLine(string(errs.text)))
	}
	return nil
}

// tail is a writer that stores the last tailSize bytes written to it.
type tail struct{ text []byte }

const tailSize = 64 * kib

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

// jsonLines returns the lines of a command's output that may be JSON objects. The last
// line comes first.
func jsonLines(stdout []byte) [][]byte {
	var found [][]byte
	for line := range strings.Lines(string(stdout)) {
		if b := bytes.TrimSpace([]byte(line)); bytes.HasPrefix(b, []byte("{")) {
			found = append([][]byte{b}, found...)
		}
	}
	return found
}

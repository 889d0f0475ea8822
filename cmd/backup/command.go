package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// commandOutput reads what a command writes. It starts the command at the first read. At the end of
// the output it waits for the command, and its failure is then the error instead of io.EOF. So
// there is no version of the output of a command that has failed.
type commandOutput struct {
	cmd    *exec.Cmd
	line   string // the command, for messages
	stop   context.CancelFunc
	out    io.ReadCloser // nil before the first read
	failed error         // io.EOF after a success
}

// newCommandOutput is for a command and its arguments or, with one argument alone, for a line that
// the shell understands. The command is killed when ctx ends.
func newCommandOutput(ctx context.Context, args []string) *commandOutput {
	ctx, stop := context.WithCancel(ctx)
	line := strings.Join(args, " ")
	if len(args) == 1 {
		args = []string{"/bin/sh", "-c", line}
		if runtime.GOOS == "windows" {
			args = []string{"cmd", "/c", line}
		}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	return &commandOutput{cmd: cmd, line: line, stop: stop}
}

// commandError is the failure of a command whose output was to be saved.
type commandError struct {
	line string
	err  error
}

func (e *commandError) Error() string { return "the command " + e.line + ": " + e.err.Error() }

func (e *commandError) Unwrap() error { return e.err }

func (c *commandOutput) Read(b []byte) (int, error) {
	if c.failed == nil && c.out == nil {
		if c.out, c.failed = c.cmd.StdoutPipe(); c.failed == nil {
			c.failed = c.cmd.Start()
		}
		if c.failed != nil {
			c.failed = &commandError{c.line, c.failed}
		}
	}
	if c.failed != nil {
		return 0, c.failed
	}
	n, err := c.out.Read(b)
	if err != nil {
		c.failed = err
		if waited := c.cmd.Wait(); waited != nil {
			c.failed = &commandError{c.line, waited}
		}
	}
	return n, c.failed
}

// end kills the command if it still runs. No read may be under way, unless the process ends.
func (c *commandOutput) end() { c.stop() }

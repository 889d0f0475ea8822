// Command backup saves files over the network and restores them.
//
// One binary plays every role: "backup up" runs a whole system on one host, "backup
// coordinator" and "backup storage" run one part of a larger one, and the other commands
// are the client. This package holds what a user meets: commands, flags, settings, texts
// in two languages, progress and exit codes. The work on data is in the packages client,
// coordinator, storage and bus.
//
// # How a command runs
//
// main passes arguments, streams and an [environment] to run. Nothing below run touches
// os.Args, os.Stdout or the environment of the process, so tests run every command without
// a process: with buffers as streams and a fake backend in place of package client.
//
// run makes an [app], which all commands of the run share. It has the [console], which prints in
// the user's language, and the [config], which decides the settings (flags over environment over
// file over discovery). A command that talks to the system opens a [session], which has the
// client. Each command is in a file of its own, cmd_NAME.go, with its flags, its function run…
// and what it prints.
//
// Servers run as [roles]. With --data they run inside the command itself.
//
// # Output
//
// stdout carries the result, stderr everything else. With --json both carry JSON, one
// object per line.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"servidor-backup/bus/embedded"
)

func main() {
	tuneMemory()
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// The first signal asks for an orderly end. stop restores the default handling, so a
	// second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}, system()))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, std streams, env environment) int {
	a := newApp(args, std, env)
	ctx, a.abandon = context.WithCancelCause(ctx)
	defer a.abandon(nil)
	root := newRoot(a)
	root.SetArgs(append([]string{}, args...)) // with nil, cobra would read os.Args
	err := root.ExecuteContext(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, embedded.ErrFailed) {
		err = cause // it is why the command was interrupted
	}
	if profileErr := a.profiles.stop(); err == nil {
		err = profileErr
	}
	if flushErr := a.out.Flush(); err == nil && flushErr != nil {
		err = a.fail("output", flushErr, "error.output")
	}
	if endErr := a.endLocal(); err == nil {
		err = endErr
	}
	a.report(err)
	return exitCode(err)
}

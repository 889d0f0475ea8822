// Command backup saves files over the network and gets them back.
//
// One binary plays every part: "backup up" runs a whole system on one host,
// "backup coordinator" and "backup storage" run one part of a bigger one, and
// the other commands are the client. What a person meets is here (flags,
// settings, texts in two languages, progress, exit codes); what is done to data
// is in the packages client, coordinator, storage and bus.
//
// # How a command runs
//
// main hands arguments, streams and an [environment] to run. Nothing below
// run touches os.Args, os.Stdout or the process's environment, so every command
// is tested without a process: with buffers as streams, and a fake backend in
// place of package client.
//
//	main.go       main, run
//	root.go       the command tree and the global flags; help.go prints it
//	app.go        what all commands share
//	settings.go   flags over environment over file over discovery; paths.go
//	discovery.go  how clients on this host find a running "up"
//	console.go    what goes to stderr; failure.go errors and exit codes
//	progress.go   how far a transfer is; bar.go shows it on a terminal
//	texts.go      locales/*.toml, English and Portuguese; format.go, table.go
//	roles.go      starts servers, coordinators and nodes
//	profile.go    hidden flags for who works on all this
//	local.go      all of them within one command: --data
//	transfer.go   limits and compression; memory.go, nice_*.go
//
// Each other file is the command that it is named after.
//
// stdout carries what was asked for, stderr everything else. With --json both
// are JSON, one object per line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	tuneMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; the second finds the default
	// handling again and ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}, system()))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, std streams, env environment) int {
	a := newApp(args, std, env)
	root := newRoot(a)
	root.SetArgs(append([]string{}, args...)) // nil would make cobra look at the process's own
	err := root.ExecuteContext(ctx)
	if profileErr := a.profiles.stop(); err == nil {
		err = profileErr
	}
	if flushErr := a.out.Flush(); err == nil && flushErr != nil {
		err = a.fail("output", flushErr, "error.output")
	}
	if endErr := a.endLocal(); err == nil {
		err = endErr
	}
	a.console.fail(err)
	return exitCode(err)
}

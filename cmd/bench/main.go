// Command bench measures whole backup programs from outside, as a person meets
// them: processes, seconds, memory, disk. It measures this system beside others,
// on the same files, on the same machine, in the same hour.
//
//	bench data DIR [set...]             make the data sets
//	bench run DATA WORK CSV             measure; rows are appended to CSV
//	bench report CSV                    tables, goals and plots of what was measured
//	bench scale DATA WORK CSV [name...] how we behave as things grow
//	bench report-scale CSV              tables and plots of that
//	bench profile DATA WORK OUT         CPU profiles of our client and server
//	bench mutate DIR                    change about 1 % of a tree
//
// # What a round does
//
// For each data set a round makes a fresh copy of it, and lets every peer in turn
// make a new repository and save the copy twice: "first" and "unchanged". Then
// about 1 % of the copy is changed. Every peer saves it again, "mutated", and
// brings it back into an empty folder, "restore", which is then compared with the
// copy; what came back wrong is no result. The order of the peers rotates from
// round to round, so nobody always goes first.
//
// # What makes numbers comparable
//
// Before each timed command everything dirty is synced, memory is touched if the
// machine needs that (see --touch), and what the command will read is read once,
// so reads come from the page cache for everybody. The time is that of the
// command from start to exit. What it left for the disk to do afterwards is the
// time of a sync right after it, in a column of its own. CPU and memory are those
// of the client (by wait4) and of every server (by /proc). Every command has a
// time limit.
//
// # Where to read
//
//	sets.go, content.go   the data sets; mutate.go changes them
//	peers*.go             who is measured, and how each is called
//	site.go               the folders and servers of one peer
//	measure.go            one timed command; os_*.go ask the system
//	run.go                rounds; tree.go copies, reads and compares trees
//	results.go            the CSV; report.go, goals.go, plots.go read it
//	profile.go            CPU profiles
//	scale*.go             scenarios in which something grows, and their report
//
// Measuring needs Linux. The rest runs anywhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

const usage = `usage:
  bench data DIR [set...] [--scale F]
  bench run DATA WORK CSV [--rounds N] [--peers a,b] [--sets x,y] [--touch GIB]
                          [--limit DURATION] [--deadline DURATION]
  bench report CSV [--plots DIR]
  bench scale DATA WORK CSV [scenario...] [--scale F] [--touch GIB] [--limit DURATION]
  bench report-scale CSV [--plots DIR]
  bench profile DATA WORK OUT [--set NAME]
  bench mutate DIR [--seed N]
  bench peers
`

// errUsage is a command line that says too little or too much.
var errUsage = errors.New("see the usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := command(ctx, os.Args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Print(usage)
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command carries out one command line.
func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	f := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	f.Usage = func() {}
	switch args[0] {
	case "data":
		return dataCommand(f, args[1:])
	case "mutate":
		return mutateCommand(f, args[1:])
	case "run":
		return runCommand(ctx, f, args[1:])
	case "report":
		return reportCommand(f, args[1:])
	case "scale":
		return scaleCommand(ctx, f, args[1:])
	case "report-scale":
		return scaleReportCommand(f, args[1:])
	case "profile":
		return profileCommand(ctx, f, args[1:])
	case "peers":
		listPeers(os.Stdout)
		return nil
	case touchCommand:
		return touchMemory(args[1:])
	case "help", "-h", "--help":
		return pflag.ErrHelp
	}
	return errUsage
}

// parse parses flags, wherever they are, and returns the other arguments. There
// must be at least low of them, and at most high unless that is negative.
func parse(f *pflag.FlagSet, args []string, low, high int) ([]string, error) {
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() < low || high >= 0 && f.NArg() > high {
		return nil, errUsage
	}
	return f.Args(), nil
}

func dataCommand(f *pflag.FlagSet, args []string) error {
	scale := f.Float64("scale", 1, "size of the sets, 1 is the full size")
	args, err := parse(f, args, 1, -1)
	if err != nil {
		return err
	}
	return makeSets(args[0], args[1:], *scale, os.Stdout)
}

func mutateCommand(f *pflag.FlagSet, args []string) error {
	seed := f.Uint64("seed", 1, "decides what is changed")
	args, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	done, err := mutate(args[0], *seed)
	fmt.Println(done)
	return err
}

// touchCommand is the hidden command by which bench calls itself to touch
// memory: in a process of its own, so that its own peak stays low.
const touchCommand = "touch"

// touchMemory allocates and fills so many GiB, which end with the process.
func touchMemory(args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	gib, err := strconv.ParseFloat(args[0], 64)
	if err != nil || gib < 0 {
		return fmt.Errorf("not a number of GiB: %s", strings.Join(args, " "))
	}
	mem := make([]byte, int(gib*(1<<30)))
	for i := 0; i < len(mem); i += 4096 {
		mem[i] = 1
	}
	return nil
}

// Command bench measures backup programs from outside: their processes, seconds,
// memory and disk. It measures this system and others with the same files, on the
// same machine, in the same hour.
//
//	bench data DIR [set...]             make the data sets
//	bench run DATA WORK CSV             measure, and append rows to CSV
//	bench report CSV                    write tables, goals and plots of these rows
//	bench scale DATA WORK CSV [name...] measure how our system behaves as things grow
//	bench report-scale CSV              write tables and plots of these rows
//	bench profile DATA WORK OUT         take CPU profiles of our client and server
//	bench mutate DIR                    change about 1 % of a tree
//	bench peers                         list the programs that can be measured
//
// A peer is one way to back up files: our system or another program, with or without
// a server.
//
// # What a round does
//
// For each data set, a round makes a fresh copy of the set. Each peer in turn makes a
// new repository and backs up the copy twice: "first" and "unchanged". Then the round
// changes about 1 % of the copy. Each peer backs it up again, "mutated", and restores
// it into an empty folder, "restore". The restored files are compared with the copy; a
// difference makes the measurement a failure. The order of the peers rotates from
// round to round, so no peer always goes first.
//
// # What makes results comparable
//
// Before each timed command, bench syncs the disks, touches memory if the machine
// needs that (see --touch), and reads the files that the command will read. So every
// peer reads from the page cache. The time is the time of the command from its start
// to its exit. The system may still have to write data to the disks then; a sync right
// after the command measures that, in a column of its own. CPU and memory are those of
// the client (by wait4) and of all servers (by /proc). Every command has a time limit.
//
// Measuring needs Linux. Everything else runs on any system.
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

// errUsage reports a command line with an unknown command or a wrong number of arguments.
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

// command runs one command line, without the name of the program.
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

// parse parses the flags, which may be anywhere in args, and returns the other
// arguments. Their number must be low to high; a negative high means any number.
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
	scale := f.Float64("scale", 1, "size of the sets as a fraction of the full size")
	args, err := parse(f, args, 1, -1)
	if err != nil {
		return err
	}
	return makeSets(args[0], args[1:], *scale, os.Stdout)
}

func mutateCommand(f *pflag.FlagSet, args []string) error {
	seed := f.Uint64("seed", 1, "seed of the random changes")
	args, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	done, err := mutate(args[0], *seed)
	fmt.Println(done)
	return err
}

// touchCommand is a hidden command that touches memory. Bench runs it in a process of
// its own, so that the peak memory of the calling process stays low.
const touchCommand = "touch"

// touchMemory allocates args[0] GiB of memory and writes to every page of it.
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

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// topFunctions is the number of functions in the listing of a profile.
const topFunctions = 20

func profileCommand(ctx context.Context, f *pflag.FlagSet, args []string) error {
	set := f.String("set", "code", "data set to measure")
	limit := f.Duration("limit", 15*time.Minute, "time limit of a command")
	args, err := parse(f, args, 3, 3)
	if err != nil {
		return err
	}
	return profile(ctx, args[0], args[1], args[2], *set, *limit, os.Stdout)
}

// profile runs all phases of our system on one set and takes CPU profiles. For each phase
// it writes PHASE-client.pprof and PHASE-server.pprof into the folder out, and for each
// profile a text file with the functions that use the most CPU. It starts the servers
// again for each phase, so that each profile covers one phase.
func profile(ctx context.Context, data, work, out, set string, limit time.Duration, log io.Writer) error {
	if err := canMeasure(); err != nil {
		return err
	}
	found, err := findPrograms()
	if err != nil {
		return err
	}
	if found["backup"] == "" {
		return errors.New("the program backup was not found: set BACKUP to its path")
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	work, err = filepath.Abs(filepath.Join(work, "profile"))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	src := filepath.Join(work, set)
	if text, err := exec.CommandContext(ctx, "cp", "-a", filepath.Join(data, set), src).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s: %w: %s", set, err, lastLine(string(text)))
	}
	s, err := newSite(found, filepath.Join(work, "site"), src)
	if err != nil {
		return err
	}
	o := ours(1)(s).(*ourSystem)
	for _, phase := range phases {
		if phase == phaseMutated {
			if _, err := mutate(src, 1); err != nil {
				return err
			}
		}
		if err := o.profilePhase(ctx, phase, out, limit, log); err != nil {
			return fmt.Errorf("%s: %w", phase, err)
		}
	}
	return nil
}

// profilePhase runs one phase with profiles and lists the two profiles.
func (o *ourSystem) profilePhase(ctx context.Context, phase, out string, limit time.Duration, log io.Writer) error {
	o.clientProfile = filepath.Join(out, phase+"-client.pprof")
	o.serverProfile = filepath.Join(out, phase+"-server.pprof")
	err := o.serve(ctx)
	if err == nil {
		err = o.runPhase(ctx, phase, limit, log)
	}
	if err := errors.Join(err, o.stop()); err != nil { // a server writes its profile when it stops
		return err
	}
	for _, file := range []string{o.clientProfile, o.serverProfile} {
		top, err := goOutput("tool", "pprof", "-top", fmt.Sprintf("-nodecount=%d", topFunctions), file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(strings.TrimSuffix(file, ".pprof")+".txt", []byte(top+"\n"), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(log, "\n== %s\n%s\n", filepath.Base(file), top)
	}
	return nil
}

// runPhase runs the client of one phase and logs its measurements.
func (o *ourSystem) runPhase(ctx context.Context, phase string, limit time.Duration, log io.Writer) error {
	j, reads := o.backup(), o.src
	if phase == phaseRestore {
		to := filepath.Join(o.dir, "restored")
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		j, reads = o.restore(to), o.repo
	}
	m, err := conditions{limit: limit}.measure(ctx, o.site, j, reads)
	r := newRow(m, err)
	r.set, r.peer, r.phase = filepath.Base(o.src), oursName, phase
	fmt.Fprintln(log, r)
	return err
}

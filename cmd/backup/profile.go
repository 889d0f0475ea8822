package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/spf13/pflag"
)

// profiles are CPU and memory profiles of a command, servers included. Only developers of
// this program need them, so their flags are hidden. They are complete only after an orderly
// end.
type profiles struct {
	cpu, mem string   // files; "" for none
	cpuFile  *os.File // open while the CPU is profiled
}

func (p *profiles) addFlags(f *pflag.FlagSet) {
	f.StringVar(&p.cpu, "cpuprofile", "", "")
	f.StringVar(&p.mem, "memprofile", "", "")
	for _, name := range []string{"cpuprofile", "memprofile"} {
		f.Lookup(name).Hidden = true
	}
}

// start begins the CPU profile if its flag is set.
func (p *profiles) start() error {
	if p.cpu == "" {
		return nil
	}
	f, err := os.Create(p.cpu)
	if err == nil {
		if err = pprof.StartCPUProfile(f); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("profile the CPU: %w", err)
	}
	p.cpuFile = f
	return nil
}

// stop writes the profiles whose flags are set. It may be called without start, as happens
// after a usage error.
func (p *profiles) stop() error {
	var all error
	if p.cpuFile != nil {
		pprof.StopCPUProfile()
		all = p.cpuFile.Close()
		p.cpuFile = nil
	}
	if p.mem != "" {
		all = errors.Join(all, writeAllocations(p.mem))
	}
	if all != nil {
		return fmt.Errorf("write a profile: %w", all)
	}
	return nil
}

// writeAllocations writes the allocations since the process began, and those still in use.
func writeAllocations(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	runtime.GC() // the profile counts memory in use as of the last collection
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

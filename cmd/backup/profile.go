package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/spf13/pflag"
)

// profiles are for who works on this program, so their flags are hidden: every
// command, also one that serves, can write where its time and memory went. They
// are complete only after an orderly end.
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

// start begins the CPU profile if one is asked for.
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
		return fmt.Errorf("profiling the CPU: %w", err)
	}
	p.cpuFile = f
	return nil
}

// stop writes what is asked for. It may be called without start, as after a
// mistake on the command line.
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
		return fmt.Errorf("writing a profile: %w", all)
	}
	return nil
}

// writeAllocations writes what was allocated since the process began, and what
// of it is in use.
func writeAllocations(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	runtime.GC() // what is in use is counted when garbage is collected
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

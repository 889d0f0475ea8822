package main

import (
	"os"
	"runtime/debug"
)

const (
	// memoryTarget is where the garbage collector begins to work harder, in
	// bytes, unless --max-memory or GOMEMLIMIT says otherwise. What any command
	// holds stays well below it whatever it saves; without a target, garbage
	// would double that.
	memoryTarget = 100 << 20
	// leastMemory is the least that --max-memory takes.
	leastMemory = 48 << 20
	// fixedMemory is what the program needs by itself, however little is under
	// way: what is left of a limit is shared by all that holds data.
	fixedMemory = 32 << 20
)

// leastRoom is the part of the usual bounds below which nothing goes: one message
// and the next.
const leastRoom = 0.1

// gcGrowth is by how many percent the heap grows before garbage is collected,
// unless GOGC says otherwise. What a command holds is small beside the messages
// of a megabyte that it sees by the thousand, and with Go's own 100 it would
// collect after every tenth and touch the memory for the next anew.
const gcGrowth = 400

// tuneMemory sets up the garbage collector, except for what the variables of
// the Go runtime say.
func tuneMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryTarget)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcGrowth)
	}
}

// limitMemory makes bytes the collector's target, unless it is 0, and returns
// the one in force.
func limitMemory(bytes int64) int64 {
	if bytes > 0 {
		debug.SetMemoryLimit(bytes)
	}
	return debug.SetMemoryLimit(-1)
}

// setMemory carries out --max-memory.
func (a *app) setMemory() error {
	var bytes int64
	if text := a.flags.maxMemory; text != "" {
		var ok bool
		switch bytes, ok = parseSize(text); {
		case !ok:
			return a.usage("error.size", "Flag", "--max-memory", "Value", text)
		case bytes < leastMemory:
			return a.usage("error.memory-small", "Least", a.size(leastMemory), "Value", text)
		}
	}
	a.room = roomWithin(a.env.limitMemory(bytes))
	return nil
}

// roomWithin is the part of the usual bounds on what is held in memory that fits
// into a limit, in bytes. More than the usual is of no use to anybody.
func roomWithin(limit int64) float64 {
	return min(max(float64(limit-fixedMemory)/(memoryTarget-fixedMemory), leastRoom), 1)
}

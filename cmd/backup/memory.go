package main

import (
	"os"
	"runtime/debug"
)

const (
	// memoryTarget is the heap size, in bytes, at which the garbage collector works harder,
	// unless --max-memory or GOMEMLIMIT says otherwise. The live data of every command stays
	// well below it, however much is saved; without a target, garbage would double the heap.
	memoryTarget = 100 << 20
	// leastMemory is the smallest value of --max-memory, in bytes.
	leastMemory = 48 << 20
	// fixedMemory is what the program itself needs, in bytes, however little it does.
	// Everything that buffers data shares the rest of the limit.
	fixedMemory = 32 << 20
)

// leastShare is the smallest share of the usual memory bounds: enough for one message and
// the next.
const leastShare = 0.1

// gcGrowth is how far the heap grows, in percent, before garbage is collected, unless GOGC
// says otherwise. A command holds little beside the thousands of 1 MB messages that pass
// through it. With Go's default of 100 it would collect after every tenth message, and
// allocate fresh memory for the next.
const gcGrowth = 400

// tuneMemory sets up the garbage collector; the variables of the Go runtime go first.
func tuneMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryTarget)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcGrowth)
	}
}

// limitMemory sets the collector's target to bytes unless bytes is 0, and returns the target
// in force.
func limitMemory(bytes int64) int64 {
	if bytes > 0 {
		debug.SetMemoryLimit(bytes)
	}
	return debug.SetMemoryLimit(-1)
}

// setMemory carries out --max-memory.
func setMemory(a *app) error {
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
	a.memory = memoryShare(a.env.limitMemory(bytes))
	return nil
}

// memoryShare is the share of the usual memory bounds that fits into limit, in bytes. It is
// between leastShare and 1.
func memoryShare(limit int64) float64 {
	return min(max(float64(limit-fixedMemory)/(memoryTarget-fixedMemory), leastShare), 1)
}

package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// memoryTarget is where the garbage collector begins to work harder, in bytes,
// unless GOMEMLIMIT says otherwise. What any command holds stays well below it
// whatever it saves; without a target, garbage would double that.
const memoryTarget = 112 << 20

// calmStart is the percentage of growth (of 4 MiB, at the start) after which
// garbage is collected for the first time: a backup of which nothing is new is
// over before, and takes a quarter less time.
const calmStart = 600

// tuneMemory sets up the garbage collector, except for what the variables of
// the Go runtime say.
func tuneMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryTarget)
	}
	if os.Getenv("GOGC") == "" {
		usual := debug.SetGCPercent(calmStart)
		// The first collection finds that nobody has this any more.
		runtime.AddCleanup(new(*byte), func(usual int) { debug.SetGCPercent(usual) }, usual)
	}
}

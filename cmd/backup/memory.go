package main

import (
	"os"
	"runtime/debug"
)

// memoryTarget is where the garbage collector begins to work harder, in bytes,
// unless GOMEMLIMIT says otherwise. What any command holds stays well below it
// whatever it saves; without a target, garbage would double that.
const memoryTarget = 112 << 20

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

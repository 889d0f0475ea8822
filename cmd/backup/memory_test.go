package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"servidor-backup/bus/bustest"
)

// reading is a number that the runtime tells of itself.
func reading(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// The first collection of garbage comes late, the others as usual.
func TestGarbageIsCollectedAsUsualAfterTheFirstTime(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	usual, limit := debug.SetGCPercent(70), debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(usual)
	tuneMemory()
	if got := reading("/gc/gomemlimit:bytes"); got != memoryTarget {
		t.Errorf("the limit is %d bytes", got)
	}
	runtime.GC()
	bustest.Eventually(t, "the usual percentage is back", func() bool { return reading("/gc/gogc:percent") == 70 })
}

package main

import (
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// reading is a number that the runtime tells of itself.
func reading(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func TestTheRuntimesVariablesGoFirst(t *testing.T) {
	percent, limit := debug.SetGCPercent(70), debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(percent)
	t.Setenv("GOGC", "70")
	t.Setenv("GOMEMLIMIT", "1GiB")
	tuneMemory()
	if p, l := reading("/gc/gogc:percent"), reading("/gc/gomemlimit:bytes"); p != 70 || l != uint64(limit) {
		t.Errorf("the person's settings became %d %% and %d bytes", p, l)
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	tuneMemory()
	if p, l := reading("/gc/gogc:percent"), reading("/gc/gomemlimit:bytes"); p != gcGrowth || l != memoryTarget {
		t.Errorf("without any, there are %d %% and %d bytes", p, l)
	}
}

package main

import (
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// reading is the value of a runtime metric.
func reading(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// keepMemorySettings restores the collector's settings after the test.
func keepMemorySettings(t *testing.T) {
	t.Helper()
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
}

func TestRuntimeVariablesGoFirst(t *testing.T) {
	keepMemorySettings(t)
	debug.SetGCPercent(70)
	limit := debug.SetMemoryLimit(-1)
	t.Setenv("GOGC", "70")
	t.Setenv("GOMEMLIMIT", "1GiB")
	tuneMemory()
	if p, l := reading("/gc/gogc:percent"), reading("/gc/gomemlimit:bytes"); p != 70 || l != uint64(limit) {
		t.Errorf("the user's settings became %d %% and %d bytes", p, l)
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	tuneMemory()
	if p, l := reading("/gc/gogc:percent"), reading("/gc/gomemlimit:bytes"); p != gcGrowth || l != memoryTarget {
		t.Errorf("the defaults are %d %% and %d bytes", p, l)
	}
}

// The limits from the runtime's variables stay, unless the flag sets another.
func TestMemoryLimits(t *testing.T) {
	keepMemorySettings(t)
	t.Setenv("GOGC", "80")
	t.Setenv("GOMEMLIMIT", "1GiB")
	debug.SetGCPercent(80) // as the runtime does at the start
	debug.SetMemoryLimit(1 << 30)
	tuneMemory()
	if got := limitMemory(0); got != 1<<30 || reading("/gc/gogc:percent") != 80 {
		t.Errorf("the limit is %d, the percentage %d", got, reading("/gc/gogc:percent"))
	}
	if got := limitMemory(64 << 20); got != 64<<20 || reading("/gc/gomemlimit:bytes") != 64<<20 {
		t.Errorf("the limit is %d", got)
	}
}

func TestMaxMemory(t *testing.T) {
	c := filled(t)
	for _, test := range []struct {
		args    []string
		limited int64
		share   float64
	}{
		{[]string{"list"}, 0, 1},
		{[]string{"list", "--max-memory", "66M"}, 66 << 20, 0.5},
		{[]string{"--max-memory", "48m", "list"}, 48 << 20, 16.0 / 68},
		{[]string{"--max-memory", "4G", "list"}, 4 << 30, 1},
	} {
		c.limited = 0
		c.expect(t, exitDone, test.args...)
		if c.limited != test.limited || c.backend.options.Room != test.share {
			t.Errorf("%q: %d bytes, a share of %v", test.args, c.limited, c.backend.options.Room)
		}
	}
	for _, bad := range []string{"much", "47M", "0", "-1", "112"} {
		c.expect(t, exitUsage, "list", "--max-memory="+bad)
		contains(t, c.err.String(), "--max-memory", bad)
	}
	if share := memoryShare(1 << 20); share != leastShare { // GOMEMLIMIT may be set to anything
		t.Errorf("with 1 MiB the share is %v", share)
	}
}

func TestNiceFlag(t *testing.T) {
	c := filled(t)
	c.expect(t, exitDone, "list")
	if c.niced != 0 {
		t.Error("the priority was lowered without the flag")
	}
	c.expect(t, exitDone, "--nice", "list")
	if c.niced != 1 {
		t.Errorf("the priority was lowered %d times", c.niced)
	}
	c.niceFails = errNoHome
	c.expect(t, exitDone, "list", "--nice")
	contains(t, c.err.String(), "the priority could not be lowered; the command goes on: "+errNoHome.Error())
}

package upload

import (
	"math"
	"servidor-backup/client/internal/seal"
	"slices"
	"testing"
	"time"
)

// machine is what a backup meets: how long sealing a MB takes with each level
// (CPU seconds), what is left of it, and how many MB a second sealers, reading
// and network can take.
type machine struct {
	costs, left    []float64 // by place in levels
	sealers        float64
	reads, network float64 // MB/s
}

// rate is what comes through with a level, in MB/s, and the load that shows.
func (m *machine) rate(at int) (float64, load) {
	sealing, sending := m.sealers/m.costs[at], m.network/m.left[at]
	rate := min(sealing, sending, m.reads)
	l := load{sealing: rate / sealing, rate: rate, sent: true}
	if rate == sending {
		l.waiting = 1
	}
	return rate, l
}

// run lets the rule work for so many intervals, and returns its levels.
func (m *machine) run(a *adapter, intervals int) (at []int) {
	for range intervals {
		_, l := m.rate(a.at)
		a.step(l)
		at = append(at, a.at)
	}
	return at
}

// Costs and ratios of text and of a program, as measured on one machine.
var (
	ofText  = machine{costs: []float64{0.0034, 0.029, 0.050, 0.25}, left: []float64{1, 0.33, 0.30, 0.26}}
	ofCode  = machine{costs: []float64{0.0034, 0.016, 0.019, 0.077}, left: []float64{1, 0.38, 0.36, 0.33}}
	ofNoise = machine{costs: []float64{0.0034, 0.0036, 0.0036, 0.0036}, left: []float64{1, 1, 1, 1}}
)

// Whatever the network and the processors are like, what comes through is not
// far from what the best level would let through, and levels change rarely.
func TestCompressionFollowsTheBottleneck(t *testing.T) {
	for name, content := range map[string]machine{"text": ofText, "program": ofCode, "noise": ofNoise} {
		for _, sealers := range []float64{1, 2, 8, 32} {
			for _, network := range []float64{0.1, 1, 5, 20, 60, 120, 500, 3000} {
				for _, reads := range []float64{30, 400, math.Inf(1)} {
					m := content
					m.sealers, m.network, m.reads = sealers, network, reads
					best := 0.0
					for at := range levels {
						rate, _ := m.rate(at)
						best = max(best, rate)
					}
					a := newAdapter()
					at := m.run(&a, 300)[100:]
					through, changes := 0.0, 0
					for i := range at {
						rate, _ := m.rate(at[i])
						through += rate / float64(len(at))
						if i > 0 && at[i] != at[i-1] {
							changes++
						}
					}
					if through < 0.9*best || changes > 8 {
						t.Errorf("%s, %v sealers, network %v, reads %v: %.1f MB/s of %.1f, %d changes, at the end %v",
							name, sealers, network, reads, through, best, changes, levels[at[len(at)-1]])
					}
				}
			}
		}
	}
}

// The rule itself.
func TestTheRuleOfAdapting(t *testing.T) {
	best, standard, fast, off := seal.CompressBest, seal.CompressDefault, seal.CompressFast, seal.CompressOff
	for name, test := range map[string]struct {
		loads []load
		want  []seal.Compression
	}{
		"a slow network":          {[]load{{1, 0.3, 5, true}, {1, 0.1, 6, true}, {1, 0.9, 6, true}}, []seal.Compression{standard, best, best}},
		"time for one more level": {[]load{{1, 0.5, 5, true}, {1, 0.7, 5, true}}, []seal.Compression{standard, standard}},
		"time for no more":        {[]load{{1, 0.8, 5, true}}, []seal.Compression{fast}},
		"a fast network":          {[]load{{0, 1, 10, true}, {0, 1, 20, true}}, []seal.Compression{off, off}},
		"slow reading":            {[]load{{0, 0.2, 5, true}, {0.3, 0.5, 9, true}, {0.5, 0.9, 1, true}}, []seal.Compression{fast, fast, fast}},
		"too slow a level":        {[]load{{1, 0.3, 5, true}, {0, 1, 4, true}, {1, 0.3, 5, true}}, []seal.Compression{standard, fast, fast}},
		"a level with too much":   {[]load{{0, 1, 10, true}, {1, 0.1, 8, true}, {0, 1, 10, true}}, []seal.Compression{off, fast, fast}},
		"what was left is let be": {[]load{{0, 1, 10, true}, {1, 0.1, 10, true}}, []seal.Compression{off, off}},
	} {
		a := newAdapter()
		var got []seal.Compression
		for _, l := range test.loads {
			got = append(got, a.step(l))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// A level that did not pay is tried again, later each time.
func TestALevelIsTriedAgain(t *testing.T) {
	a := newAdapter()
	var tried []int
	for i := range 100 {
		if a.step(load{1, 0.3, 5, true}) == seal.CompressDefault {
			tried = append(tried, i)
			a.step(load{0, 1, 1, true})
		}
	}
	if !slices.Equal(tried, []int{0, 8, 24, 56}) {
		t.Errorf("tried after %v intervals", tried)
	}
}

// clock is a time that goes on when it is told to.
type clock struct{ at time.Time }

func (c *clock) now() time.Time            { return c.at }
func (c *clock) pass(ms time.Duration)     { c.at = c.at.Add(ms * time.Millisecond) }
func (c *clock) seal(p *pace) (end func()) { _, end = p.begin(1000); return end }

// What is measured is what is said: shares of the time in which one message or
// more had to wait, and of what all sealers had.
func TestPaceMeasures(t *testing.T) {
	c := &clock{at: time.Unix(0, 0)}
	p := newPace(2)
	p.now = c.now
	sealing := c.seal(p) // the interval begins
	c.pass(50)
	other := c.seal(p)
	c.pass(50)
	sealing() // 100
	other()   // 50
	sent, alsoSent := p.wait(), p.wait()
	c.pass(20)
	sent()
	c.pass(20)
	alsoSent()
	if p.sealed != 150*time.Millisecond || p.waited != 40*time.Millisecond || p.bytes != 2000 {
		t.Errorf("sealed for %v, waited for %v", p.sealed, p.waited)
	}
	late := p.wait()
	c.pass(400) // of 540 ms, 440 were waited, and of 1080 ms of sealers 150 used
	if level, end := p.begin(1); level != seal.CompressDefault || p.waited != 0 || p.sealed != 0 || p.bytes != 1 {
		t.Errorf("after a wait: %v", level)
	} else {
		c.pass(100)
		late()
		end()
	}
	if p.waited != 100*time.Millisecond || p.sealed != 100*time.Millisecond {
		t.Errorf("in the second interval: sealed for %v, waited for %v", p.sealed, p.waited)
	}
}

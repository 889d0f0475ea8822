package upload

import (
	"math"
	"slices"
	"testing"
	"time"

	"servidor-backup/client/internal/seal"
)

// machine is a machine and the content that it saves.
type machine struct {
	costs          []float64 // CPU seconds to seal a MB, for each of levels
	left           []float64 // the part of a MB that is left, for each of levels
	sealers        float64
	reads, network float64 // MB/s
}

// rate returns what comes through at a level, in MB/s, and the load that is then measured.
func (m *machine) rate(level int) (float64, load) {
	sealing, sending := m.sealers/m.costs[level], m.network/m.left[level]
	rate := min(sealing, sending, m.reads)
	l := load{sealing: rate / sealing, rate: rate, sent: true}
	if rate == sending {
		l.waiting = 1
	}
	return rate, l
}

// run applies the rule for some intervals, and returns the index of the level after each.
func (m *machine) run(r *levelRule, intervals int) (chosen []int) {
	for range intervals {
		_, l := m.rate(r.level)
		r.next(l)
		chosen = append(chosen, r.level)
	}
	return chosen
}

// Costs and ratios of text, of a program and of random bytes, as measured on one machine.
var (
	text    = machine{costs: []float64{0.0034, 0.029, 0.050, 0.25}, left: []float64{1, 0.33, 0.30, 0.26}}
	program = machine{costs: []float64{0.0034, 0.016, 0.019, 0.077}, left: []float64{1, 0.38, 0.36, 0.33}}
	noise   = machine{costs: []float64{0.0034, 0.0036, 0.0036, 0.0036}, left: []float64{1, 1, 1, 1}}
)

// Whatever the network and the processors are like, what comes through is at least nine tenths of
// what comes through at the best level, and the level changes rarely.
func TestCompressionFollowsTheBottleneck(t *testing.T) {
	for name, content := range map[string]machine{"text": text, "program": program, "noise": noise} {
		for _, sealers := range []float64{1, 2, 8, 32} {
			for _, network := range []float64{0.1, 1, 5, 20, 60, 120, 500, 3000} {
				for _, reads := range []float64{30, 400, math.Inf(1)} {
					m := content
					m.sealers, m.network, m.reads = sealers, network, reads
					best := 0.0
					for level := range levels {
						rate, _ := m.rate(level)
						best = max(best, rate)
					}
					r := newLevelRule()
					chosen := m.run(&r, 300)[100:]
					through, changes := 0.0, 0
					for i := range chosen {
						rate, _ := m.rate(chosen[i])
						through += rate / float64(len(chosen))
						if i > 0 && chosen[i] != chosen[i-1] {
							changes++
						}
					}
					if through < 0.9*best || changes > 8 {
						t.Errorf("%s, %v sealers, network %v, reads %v: %.1f MB/s of %.1f, %d changes, at the end %v",
							name, sealers, network, reads, through, best, changes, levels[chosen[len(chosen)-1]])
					}
				}
			}
		}
	}
}

func TestLevelFollowsLoad(t *testing.T) {
	best, standard, fast, off := seal.CompressBest, seal.CompressDefault, seal.CompressFast, seal.CompressOff
	for name, test := range map[string]struct {
		loads []load
		want  []seal.Compression
	}{
		"slow network":                  {[]load{{1, 0.3, 5, true}, {1, 0.1, 6, true}, {1, 0.9, 6, true}}, []seal.Compression{standard, best, best}},
		"time for one level more":       {[]load{{1, 0.5, 5, true}, {1, 0.7, 5, true}}, []seal.Compression{standard, standard}},
		"no time for more":              {[]load{{1, 0.8, 5, true}}, []seal.Compression{fast}},
		"fast network":                  {[]load{{0, 1, 10, true}, {0, 1, 20, true}}, []seal.Compression{off, off}},
		"slow reading":                  {[]load{{0, 0.2, 5, true}, {0.3, 0.5, 9, true}, {0.5, 0.9, 1, true}}, []seal.Compression{fast, fast, fast}},
		"level is too slow":             {[]load{{1, 0.3, 5, true}, {0, 1, 4, true}, {1, 0.3, 5, true}}, []seal.Compression{standard, fast, fast}},
		"lower level lets less through": {[]load{{0, 1, 10, true}, {1, 0.1, 8, true}, {0, 1, 10, true}}, []seal.Compression{off, fast, fast}},
		"level that was left is barred": {[]load{{0, 1, 10, true}, {1, 0.1, 10, true}}, []seal.Compression{off, off}},
	} {
		r := newLevelRule()
		var got []seal.Compression
		for _, l := range test.loads {
			got = append(got, r.next(l))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// A level that did not pay is tried again, after twice as many intervals each time.
func TestLevelIsTriedAgain(t *testing.T) {
	r := newLevelRule()
	var tried []int
	for i := range 100 {
		if r.next(load{1, 0.3, 5, true}) == seal.CompressDefault {
			tried = append(tried, i)
			r.next(load{0, 1, 1, true})
		}
	}
	if !slices.Equal(tried, []int{0, 8, 24, 56}) {
		t.Errorf("tried after %v intervals", tried)
	}
}

// clock is a clock that the test advances.
type clock struct{ time time.Time }

func (c *clock) now() time.Time                    { return c.time }
func (c *clock) pass(ms time.Duration)             { c.time = c.time.Add(ms * time.Millisecond) }
func (c *clock) seal(l *levelChooser) (end func()) { _, end = l.beginSealing(1000); return end }

// The measured shares are those of the time in which at least one batch waits, and of the time of
// all sealers.
func TestLevelChooserMeasuresLoad(t *testing.T) {
	c := &clock{time: time.Unix(0, 0)}
	chooser := newLevelChooser(2)
	chooser.now = c.now
	sealing := c.seal(chooser) // the interval begins
	c.pass(50)
	other := c.seal(chooser)
	c.pass(50)
	sealing() // 100
	other()   // 50
	sent, alsoSent := chooser.beginSending(), chooser.beginSending()
	c.pass(20)
	sent()
	c.pass(20)
	alsoSent()
	if chooser.sealed != 150*time.Millisecond || chooser.waited != 40*time.Millisecond || chooser.bytes != 2000 {
		t.Errorf("sealed for %v, waited for %v", chooser.sealed, chooser.waited)
	}
	late := chooser.beginSending()
	c.pass(400) // batches waited for 440 ms of 540, and the sealers worked for 150 ms of 1080
	if level, end := chooser.beginSealing(1); level != seal.CompressDefault || chooser.waited != 0 || chooser.sealed != 0 || chooser.bytes != 1 {
		t.Errorf("after a long wait the level is %v", level)
	} else {
		c.pass(100)
		late()
		end()
	}
	if chooser.waited != 100*time.Millisecond || chooser.sealed != 100*time.Millisecond {
		t.Errorf("in the second interval: sealed for %v, waited for %v", chooser.sealed, chooser.waited)
	}
}

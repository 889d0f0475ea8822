package upload

import (
	"servidor-backup/client/internal/seal"
	"slices"
	"sync"
	"time"
)

// The rule of CompressAuto, once in each interval:
//
//   - when sending waited for most of it (for the nodes' windows, that is for a
//     network or a disk, or for the limit of the upload), and there seems to be
//     time for it, one level up;
//   - when the sealers were busy for nearly all of it and sending hardly waited,
//     one level down;
//   - a level with which clearly less comes through is left again at once, and
//     not tried for a while, unless there is plenty of time for it by now; nor is
//     one that was left because it took too much time. That while doubles;
//   - otherwise, as when reading is what takes the time, nothing changes.
const (
	adaptEvery = 500 * time.Millisecond
	// Shares of an interval.
	mostly, hardly = 0.6, 0.1
	allBusy        = 0.8
	easily         = 0.2
	// clearlyLess is the part of what came through before.
	clearlyLess = 0.9
	// A level is barred for so many intervals, the first time and at most.
	barFirst, barMost = 8, 128
)

// levels are what CompressAuto chooses from, and what sealing costs with each,
// as a multiple of what it costs with none: measured with text and programs,
// between which it differs by a factor of two.
var (
	levels     = [...]seal.Compression{seal.CompressOff, seal.CompressFast, seal.CompressDefault, seal.CompressBest}
	levelCosts = [...]float64{1, 6, 9, 45}
)

// load is what an interval was like.
type load struct {
	waiting float64 // the share of it in which something ready to be sent had to wait
	sealing float64 // the share of all sealers' time in which they worked
	rate    float64 // what was sealed, as plain bytes per second
	sent    bool    // something was ready to be sent, so that it could have waited
}

// adapter is the rule.
type adapter struct {
	at   int // in levels
	bars [len(levels)]bar
	// While a level is on trial: the one before, and what came through with it.
	trial  bool
	from   int
	before float64
}

// bar keeps a level from being tried.
type bar struct {
	left int // for how many intervals more
	last int // and how many it was at the beginning
}

func (b *bar) set() {
	b.last = min(max(2*b.last, barFirst), barMost)
	b.left = b.last
}

// newAdapter begins with little: that the network is slower than that shows
// soon, and meanwhile it is what delays.
func newAdapter() adapter { return adapter{at: slices.Index(levels[:], seal.CompressFast)} }

// step takes what an interval was like and returns the level for the next.
func (a *adapter) step(l load) seal.Compression {
	for i := range a.bars {
		a.bars[i].left = max(a.bars[i].left-1, 0)
	}
	failed := a.trial && l.rate < clearlyLess*a.before
	a.trial = false
	up, down := a.at+1, a.at-1
	switch {
	case failed:
		a.bars[a.at].set()
		a.at = a.from
	case l.sent && l.waiting <= hardly && l.sealing >= allBusy && a.may(down):
		a.bars[a.at].set()
		a.try(down, l.rate)
	case l.waiting >= mostly && up < len(levels) && (a.expect(up, l) < easily || a.may(up) && a.expect(up, l) < 1):
		a.try(up, l.rate)
	}
	return levels[a.at]
}

// may reports whether there is such a level, and it is not barred.
func (a *adapter) may(at int) bool { return at >= 0 && at < len(levels) && a.bars[at].left == 0 }

// expect is the share of the sealers' time that a level would take.
func (a *adapter) expect(at int, l load) float64 {
	return l.sealing * levelCosts[at] / levelCosts[a.at]
}

func (a *adapter) try(at int, rate float64) {
	a.trial, a.from, a.before, a.at = true, a.at, rate, at
}

// pace says with which level to seal, and is told what takes the time. All its
// methods may be called concurrently. There is none unless it is to be found out.
type pace struct {
	sealers float64
	now     func() time.Time

	mu      sync.Mutex
	level   seal.Compression
	rule    adapter
	since   time.Time     // when the interval began
	bytes   int64         // plain, that were begun to be sealed in it
	sealed  time.Duration // what all sealers together worked in it
	waited  time.Duration // for how long of it something waited to be sent
	sent    bool          // whether anything was ready to be
	waiting int           // how many messages wait
	from    time.Time     // since when, if any does
}

// newPace is for so many sealers side by side.
func newPace(sealers int) *pace {
	p := &pace{sealers: float64(sealers), now: time.Now, rule: newAdapter()}
	p.level = levels[p.rule.at]
	return p
}

// begin is the level for a chunk of so many plain bytes that is about to be sealed; end is
// to be called when it is.
func (p *pace) begin(size int) (level seal.Compression, end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := p.now()
	p.turn(start)
	p.bytes += int64(size)
	return p.level, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sealed += p.now().Sub(start)
	}
}

// turn ends the interval if it is over. It is called when something is to be
// sealed, so an interval in which everything stood still is a long one.
func (p *pace) turn(now time.Time) {
	if p.since.IsZero() {
		p.since = now
	}
	length := now.Sub(p.since)
	if length < adaptEvery {
		return
	}
	if p.waiting > 0 {
		p.waited += now.Sub(p.from)
		p.from = now
	}
	p.level = p.rule.step(load{
		waiting: float64(p.waited) / float64(length),
		sealing: float64(p.sealed) / float64(length) / p.sealers,
		rate:    float64(p.bytes) / length.Seconds(),
		sent:    p.sent || p.waiting > 0,
	})
	p.since, p.waited, p.sealed, p.bytes, p.sent = now, 0, 0, 0, false
}

// wait notes that a message is ready to be sent; end is to be called when it has
// been handed over.
func (p *pace) wait() (end func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = true
	if p.waiting++; p.waiting == 1 {
		p.from = p.now()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.waiting--; p.waiting == 0 {
			p.waited += p.now().Sub(p.from)
		}
	}
}

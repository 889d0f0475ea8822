package upload

import (
	"slices"
	"sync"
	"time"

	"servidor-backup/client/internal/seal"
)

// The rule of CompressAuto, applied once in each interval:
//
//   - If batches waited for most of the interval (for the nodes' windows, and so for a network or
//     a disk, or for the limit of the upload), and there seems to be time for it: one level up.
//   - If the sealers worked for nearly all of the interval and batches hardly waited: one level
//     down.
//   - A level at which clearly less comes through than before is left again at once.
//   - A level that was left, for this reason or because it took too much time, is barred for some
//     intervals, the second time for twice as many, and so on. A level for which there is plenty
//     of time is tried although it is barred.
//   - Otherwise, for example if reading is what takes the time, the level stays.
const (
	interval = 500 * time.Millisecond

	// Shares of an interval.
	mostOfIt     = 0.6 // batches waited for most of it
	hardlyAny    = 0.1 // batches hardly waited
	nearlyAll    = 0.8 // the sealers worked for nearly all of it
	plentyOfTime = 0.2 // a level takes so little that there is plenty of time for it

	clearlyLess = 0.9 // a rate below this share of the one before is clearly less

	// A level is barred for so many intervals the first time, and at most.
	firstBar, longestBar = 8, 128
)

var (
	// levels are those that CompressAuto chooses from.
	levels = [...]seal.Compression{seal.CompressOff, seal.CompressFast, seal.CompressDefault, seal.CompressBest}
	// levelCosts are the times that sealing takes at each level, as multiples of that of the first.
	// They were measured with text and with programs, between which they differ by a factor of two.
	levelCosts = [...]float64{1, 6, 9, 45}
)

// load is what an interval was like.
type load struct {
	waiting float64 // share of the interval in which at least one batch waited to be sent
	sealing float64 // share of the time of all sealers in which they worked
	rate    float64 // plain bytes sealed per second
	sent    bool    // some batch was ready to be sent, so that it could have waited
}

// levelRule applies the rule. It is not safe for concurrent use.
type levelRule struct {
	level int // index in levels
	bars  [len(levels)]bar

	onTrial    bool // level was chosen for the last interval, from another one
	fromLevel  int  // the level before the trial
	rateBefore float64
}

// bar keeps a level from being tried.
type bar struct {
	left   int // for how many intervals it still does
	length int // how many they were at the beginning
}

// set begins a bar, twice as long as the one before.
func (b *bar) set() {
	b.length = min(max(2*b.length, firstBar), longestBar)
	b.left = b.length
}

// newLevelRule begins at a low level: if the network is slower than that, it soon shows, and
// meanwhile the network is what takes the time.
func newLevelRule() levelRule {
	return levelRule{level: slices.Index(levels[:], seal.CompressFast)}
}

// next takes the load of an interval and returns the level for the next one.
func (r *levelRule) next(l load) seal.Compression {
	for i := range r.bars {
		r.bars[i].left = max(r.bars[i].left-1, 0)
	}
	failed := r.onTrial && l.rate < clearlyLess*r.rateBefore
	r.onTrial = false
	up, down := r.level+1, r.level-1
	switch {
	case failed:
		r.bars[r.level].set()
		r.level = r.fromLevel
	case l.sent && l.waiting <= hardlyAny && l.sealing >= nearlyAll && r.mayTry(down):
		r.bars[r.level].set()
		r.try(down, l.rate)
	case l.waiting >= mostOfIt && up < len(levels) && (r.expectedSealing(up, l) < plentyOfTime || r.mayTry(up) && r.expectedSealing(up, l) < 1):
		r.try(up, l.rate)
	}
	return levels[r.level]
}

// mayTry reports whether there is such a level, and it is not barred.
func (r *levelRule) mayTry(level int) bool {
	return level >= 0 && level < len(levels) && r.bars[level].left == 0
}

// expectedSealing returns the share of the sealers' time that a level would take.
func (r *levelRule) expectedSealing(level int, l load) float64 {
	return l.sealing * levelCosts[level] / levelCosts[r.level]
}

func (r *levelRule) try(level int, rate float64) {
	r.onTrial, r.fromLevel, r.rateBefore, r.level = true, r.level, rate, level
}

// levelChooser chooses the level to seal at. It is told when sealing and sending begin and end,
// and applies the rule at the end of each interval. It is safe for concurrent use; beginSending
// may be called on nil, which is the chooser of an upload with a fixed level.
type levelChooser struct {
	sealers float64
	now     func() time.Time

	mu      sync.Mutex
	level   seal.Compression
	rule    levelRule
	since   time.Time     // when the interval began
	bytes   int64         // plain bytes whose sealing began in the interval
	sealed  time.Duration // how long the sealers worked in it, all together
	waited  time.Duration // how long at least one batch waited in it to be sent
	sent    bool          // some batch was ready to be sent in it
	waiting int           // how many batches wait now
	from    time.Time     // since when, if any
}

// newLevelChooser makes the chooser for that many sealers.
func newLevelChooser(sealers int) *levelChooser {
	c := &levelChooser{sealers: float64(sealers), now: time.Now, rule: newLevelRule()}
	c.level = levels[c.rule.level]
	return c
}

// beginSealing returns the level for a chunk of size plain bytes, whose sealing begins. end is to
// be called when it ends.
func (c *levelChooser) beginSealing(size int) (level seal.Compression, end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	start := c.now()
	c.endInterval(start)
	c.bytes += int64(size)
	return c.level, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sealed += c.now().Sub(start)
	}
}

// endInterval applies the rule if the interval is over. It is called when sealing begins, so an
// interval in which no sealing begins is longer.
func (c *levelChooser) endInterval(now time.Time) {
	if c.since.IsZero() {
		c.since = now
	}
	length := now.Sub(c.since)
	if length < interval {
		return
	}
	if c.waiting > 0 {
		c.waited += now.Sub(c.from)
		c.from = now
	}
	c.level = c.rule.next(load{
		waiting: float64(c.waited) / float64(length),
		sealing: float64(c.sealed) / float64(length) / c.sealers,
		rate:    float64(c.bytes) / length.Seconds(),
		sent:    c.sent || c.waiting > 0,
	})
	c.since, c.waited, c.sealed, c.bytes, c.sent = now, 0, 0, 0, false
}

// beginSending notes that a batch is ready to be sent. end is to be called when it has been handed
// over to the connection.
func (c *levelChooser) beginSending() (end func()) {
	if c == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = true
	if c.waiting++; c.waiting == 1 {
		c.from = c.now()
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.waiting--; c.waiting == 0 {
			c.waited += c.now().Sub(c.from)
		}
	}
}

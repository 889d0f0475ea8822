package main

import (
	"strings"
	"time"

	"servidor-backup/client"
)

const (
	// plainEvery is how often a transfer prints its progress if stderr is no terminal: rarely
	// enough for a log file, often enough to see that it runs.
	plainEvery = 10 * time.Second
	// rateWindow is the time over which a rate is measured: short enough to follow changes,
	// long enough not to flicker.
	rateWindow = 10 * time.Second
)

// showsProgress reports whether progress is shown.
func (c *console) showsProgress() bool { return !c.quiet && !c.json }

// showProgress shows the progress p until stop is called: as a bar on a terminal, else as a
// line every plainEvery; with --quiet or --json not at all.
func (c *console) showProgress(p *client.Progress) (stop func()) {
	switch {
	case !c.showsProgress():
		return func() {}
	case c.errTerminal:
		return c.drawBar(p)
	}
	m := newMeter(c.texts, p)
	return every(plainEvery, func() { c.line(m.line(time.Now())) })
}

// every calls f once per interval, from one goroutine, until stop is called. When stop
// returns, f no longer runs.
func every(interval time.Duration, f func()) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// meter describes the progress of a transfer. Only one goroutine may use it.
type meter struct {
	*texts
	p       *client.Progress
	samples []sample // ascending in time; the first may be older than the window
}

type sample struct {
	at    time.Time
	bytes int64
}

func newMeter(x *texts, p *client.Progress) *meter {
	return &meter{texts: x, p: p, samples: []sample{{time.Now(), p.Bytes.Load()}}}
}

// line is the progress: entries, bytes (of the total, once that is known), rate, time left.
func (m *meter) line(now time.Time) string {
	done, total := m.p.Bytes.Load(), m.p.TotalBytes.Load()
	rate := m.rate(now, done)
	parts := []string{m.n("progress.files", m.p.Files.Load())}
	if m.p.Counted.Load() {
		parts = append(parts, m.t("progress.of", "Done", m.size(done), "Total", m.size(total)))
	} else {
		parts = append(parts, m.size(done))
	}
	parts = append(parts, m.size(int64(rate))+"/s")
	if m.p.Counted.Load() && rate >= 1 && total > done {
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		parts = append(parts, m.t("progress.left", "Time", clock(left)))
	}
	return strings.Join(parts, ", ")
}

// rate records the bytes done by now and returns the recent bytes per second.
func (m *meter) rate(now time.Time, bytes int64) float64 {
	m.samples = append(m.samples, sample{now, bytes})
	// The window begins at the newest sample that is at least as old as the window.
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= rateWindow {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	seconds := now.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(bytes-first.bytes) / seconds
}

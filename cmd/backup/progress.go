package main

import (
	"strings"
	"time"

	"servidor-backup/client"
)

const (
	// plainEvery is how often a transfer says where it is when stderr is no
	// terminal: rare enough for a log file, often enough to see that it lives.
	plainEvery = 10 * time.Second
	// rateWindow is how far back a rate looks, so that it follows changes and
	// does not flicker.
	rateWindow = 10 * time.Second
)

// showProgress shows how far p is until stop is called: a bar on a terminal, a
// line now and then elsewhere, nothing with --quiet and --json.
func (a *app) showProgress(p *client.Progress) (stop func()) {
	switch {
	case a.flags.quiet || a.flags.json:
		return func() {}
	case a.console.terminal:
		return a.drawBar(p)
	}
	m := newMeter(a.texts, p)
	return every(plainEvery, func() { a.console.line(m.line(time.Now())) })
}

// every calls f in each interval, from one goroutine, until stop is called.
// stop returns when f does not run any more.
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

// meter puts a transfer's counters into words. It is used by one goroutine.
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

// line is: files, bytes of how many, rate, time left.
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

// rate notes the bytes done by now and is how many came per second lately.
func (m *meter) rate(now time.Time, bytes int64) float64 {
	m.samples = append(m.samples, sample{now, bytes})
	// The newest of the samples that are as old as the window is where it
	// begins.
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

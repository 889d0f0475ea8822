package main

import (
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"servidor-backup/client"
)

const (
	// barEvery is how often the bar is drawn: smooth for the eye, cheap for the CPU.
	barEvery = 150 * time.Millisecond
	// barWidth, in columns, leaves space for the text on a narrow terminal.
	barWidth = 20
)

// drawBar draws a progress bar on stderr until stop is called, then removes it. Meanwhile,
// lines of the console appear above the bar.
func (c *console) drawBar(p *client.Progress) (stop func()) {
	var words atomic.Pointer[string]
	container := mpb.New(mpb.WithOutput(c.stderr), mpb.WithAutoRefresh(), mpb.WithRefreshRate(barEvery))
	bar := container.New(0, mpb.BarStyle(), mpb.BarWidth(barWidth),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *words.Load() })))
	m := newMeter(c.texts, p)
	update := func() {
		text := " " + m.line(time.Now())
		if waiting := c.waitingFor(); waiting != "" {
			text += " · " + waiting
		}
		words.Store(&text)
		bar.SetTotal(p.TotalBytes.Load(), false)
		bar.SetCurrent(min(p.Bytes.Load(), p.TotalBytes.Load()))
	}
	update()
	stopUpdates := every(barEvery, update)
	restore := c.redirect(container)
	return func() {
		stopUpdates()
		restore()
		bar.Abort(true)
		container.Wait()
	}
}

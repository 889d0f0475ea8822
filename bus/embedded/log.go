package embedded

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// serverLog writes the server's log to slog: warnings and errors at their levels,
// notices at debug level. It stores the first fatal line instead of exiting.
type serverLog struct {
	log         *slog.Logger
	fatal       atomic.Pointer[string]
	said        warnings
	repeats     repeats
	errorLogged chan<- struct{} // gets a value for errors, unless it holds one already
}

// warnings are what the server says while it starts: only its log tells why it could not
// recover a stream.
type warnings struct {
	mu       sync.Mutex
	starting bool
	texts    []string
}

func (w *warnings) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.starting {
		w.texts = append(w.texts, strings.TrimSpace(text))
	}
}

// end ends the start, and returns what the server has said.
func (w *warnings) end() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starting = false
	return w.texts
}

func (l *serverLog) write(f func(string, ...any), format string, v []any) {
	if l.log == nil {
		return
	}
	if text := fmt.Sprintf(format, v...); l.repeats.isNews(text, time.Now()) {
		f("nats: " + text)
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.write(l.log.Debug, format, v) }
func (l *serverLog) Warnf(format string, v ...any) {
	l.said.add(fmt.Sprintf(format, v...))
	l.write(l.log.Warn, format, v)
}
func (l *serverLog) Errorf(format string, v ...any) {
	l.write(l.log.Error, format, v)
	select {
	case l.errorLogged <- struct{}{}:
	default:
	}
}
func (l *serverLog) Debugf(format string, v ...any) {}
func (l *serverLog) Tracef(format string, v ...any) {}

func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &text)
}

const (
	// repeatAfter is the time within which a line that differs from an earlier one in numbers
	// only is not logged again: a server that looks for one that is away says so four times a
	// second.
	repeatAfter = time.Minute
	// maxRepeats is how many lines are remembered.
	maxRepeats = 1000
)

// repeats tells lines that say the same again.
type repeats struct {
	mu     sync.Mutex
	logged map[string]time.Time // by the line without its digits
}

func (r *repeats) isNews(text string, now time.Time) bool {
	text = strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.logged[text]; ok && now.Sub(last) < repeatAfter {
		return false
	}
	if r.logged == nil || len(r.logged) >= maxRepeats {
		r.logged = map[string]time.Time{}
	}
	r.logged[text] = now
	return true
}

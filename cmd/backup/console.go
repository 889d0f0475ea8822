package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/client"
	"servidor-backup/schemas"
)

// console is everything that a command prints, in the user's language: results on stdout;
// errors, warnings, notices and the current wait on stderr. It keeps lines on stderr whole
// when several goroutines print, and lets a progress bar own the terminal meanwhile.
//
// The methods that print to stderr may be called from any goroutine, the others from the
// command's own.
type console struct {
	*texts
	json, quiet bool
	zone        *time.Location
	server      string // address of the system, for hints; "" if it is unknown or runs in here

	out         *bufio.Writer // stdout; run flushes it at the end
	outTerminal bool
	errTerminal bool // stderr is a terminal that understands escape sequences
	outColor    bool // stdout may be colored
	errColor    bool // stderr may be colored
	outColumns  func() int
	errColumns  func() int

	mu      sync.Mutex
	stderr  io.Writer
	w       io.Writer // stderr, or the progress bar that owns the terminal
	waiting string    // the current status
	said    string    // the last status that was printed
	ended   time.Time // when said was no longer the status; zero while it is
}

var _ io.Writer = (*console)(nil) // for loggers

func newConsole(x *texts, std streams, env environment) *console {
	outTerminal, errTerminal := env.terminal(std.out), env.terminal(std.err) && env.getenv("TERM") != "dumb"
	return &console{
		texts:       x,
		zone:        env.zone,
		out:         bufio.NewWriter(std.out),
		outTerminal: outTerminal,
		errTerminal: errTerminal,
		outColor:    canColor(env, outTerminal),
		errColor:    canColor(env, errTerminal),
		outColumns:  func() int { return env.columns(std.out) },
		errColumns:  func() int { return env.columns(std.err) },
		stderr:      std.err,
		w:           std.err,
	}
}

// printf writes to stdout. The writer remembers an error until Flush returns it.
func (c *console) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// println writes a sentence to stdout; on a terminal, words stay whole.
func (c *console) println(text string) {
	if c.outTerminal {
		if width := c.outColumns(); width > 0 {
			text = wrap(text, width, 0)
		}
	}
	fmt.Fprintln(c.out, text)
}

// row writes a row of a table to stdout.
func (c *console) row(text string) { fmt.Fprintln(c.out, text) }

// mark colors the last row of a table, if stdout may have colors.
func (c *console) mark(t *table, col color) {
	if c.outColor {
		t.colors[len(t.rows)-1] = col
	}
}

// alarm is text in a color, if stdout may have colors.
func (c *console) alarm(col color, text string) string {
	if !c.outColor {
		return text
	}
	return col.paint(text)
}

// printJSON writes v as one line of JSON to stdout.
func (c *console) printJSON(v any) error {
	return writeJSON(c.out, v)
}

// report prints the error that ended the command; nil prints nothing.
func (c *console) report(err error) {
	if err == nil {
		return
	}
	f := c.explain(err)
	if c.server != "" && errors.Is(err, client.ErrNoCoordinator) {
		f.hint = c.t("hint.no-coordinator", "Server", c.server)
	}
	text, hint := bus.RedactText(oneLine(f.text)), bus.RedactText(f.hint)
	if c.json {
		c.object("error", jsonError{Code: f.code, Message: text, Hint: hint})
		return
	}
	c.colored(red, "backup: "+text)
	if hint != "" {
		c.line(c.t("console.hint", "Text", hint))
	}
}

type jsonError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

type jsonWarning struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// warn reports a path that failed while the command goes on.
func (c *console) warn(path string, err error) {
	if c.json {
		c.object("warning", jsonWarning{Path: path, Message: bus.RedactText(oneLine(c.told(err)))})
		return
	}
	c.colored(yellow, c.t("console.warning", "Path", quotePath(path), "Text", bus.RedactText(oneLine(c.told(err)))))
}

// notice prints what the user must know, even with --quiet.
func (c *console) notice(text string) {
	text = bus.RedactText(text)
	if c.json {
		c.object("notice", text)
		return
	}
	c.line(text)
}

// info prints what is good to know.
func (c *console) info(text string) {
	if !c.quiet && !c.json {
		c.line(text)
	}
}

// sameWait is the time within which a status that comes back belongs to the same wait: many
// small waits for one node are told once.
const sameWait = 30 * time.Second

// status says what the command waits for; "" means that it goes on. A progress bar shows
// the status while it lasts. Without a bar, each new status is a line.
func (c *console) status(text string) {
	text = bus.RedactText(text)
	if !c.isNews(text) {
		return
	}
	if c.json {
		c.object("status", text)
	} else {
		c.line(text)
	}
}

// waits is status for what a library waits for.
func (c *console) waits(s schemas.Sentence) { c.status(c.say(s)) }

// isNews sets the status and reports whether it has to be printed.
func (c *console) isNews(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = text
	if text == "" {
		if c.ended.IsZero() {
			c.ended = time.Now()
		}
		return false
	}
	hasBar := c.w != c.stderr
	if c.quiet || hasBar {
		return false
	}
	again := text == c.said && (c.ended.IsZero() || time.Since(c.ended) < sameWait)
	c.said, c.ended = text, time.Time{}
	return !again
}

// waitingFor returns the last status.
func (c *console) waitingFor() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// redirect sends lines through w until restore is called, so that they appear above a
// progress bar.
func (c *console) redirect(w io.Writer) (restore func()) {
	c.setWriter(w)
	return func() { c.setWriter(c.stderr) }
}

func (c *console) setWriter(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = w
}

func (c *console) line(text string) { c.colored(plain, text) }

// colored writes a sentence to stderr; on a terminal in a color, and words stay whole.
func (c *console) colored(col color, text string) {
	if c.errTerminal {
		if width := c.errColumns(); width > 0 {
			text = wrap(text, width, 0)
		}
	}
	if c.errColor {
		text = col.paint(text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintln(c.w, text) // an error of stderr cannot be reported anywhere
}

// Write lets a logger write its lines to stderr.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(p)
}

// object writes {"kind": v} as a line to stderr.
func (c *console) object(kind string, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = writeJSON(c.w, map[string]any{kind: v}) // an error of stderr cannot be reported anywhere
}

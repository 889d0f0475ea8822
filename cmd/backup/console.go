package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// console is stderr: errors, warnings, notices, and what is being waited for.
// It keeps lines whole when several goroutines talk, and lets a progress bar
// own the terminal meanwhile. All its methods may be called from any goroutine.
type console struct {
	*texts
	terminal    bool
	json, quiet bool

	mu      sync.Mutex
	w       io.Writer // stderr, or the progress bar above it
	stderr  io.Writer
	waiting string
}

var _ io.Writer = (*console)(nil) // for loggers

func newConsole(x *texts, stderr io.Writer, terminal bool) *console {
	return &console{texts: x, terminal: terminal, w: stderr, stderr: stderr}
}

// fail reports what ended the command; nil is fine.
func (c *console) fail(err error) {
	if err == nil {
		return
	}
	f := c.explain(err)
	f.text = oneLine(f.text)
	if c.json {
		c.object("error", jsonError{Code: f.code, Message: f.text, Hint: f.hint})
		return
	}
	c.line("backup: " + f.text)
	if f.hint != "" {
		c.line(c.t("console.hint", "Text", f.hint))
	}
}

type jsonError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

type jsonWarning struct {
	Path    string `json:"path"`
	Exact   []byte `json:"path_bytes,omitempty"`
	Message string `json:"message"`
}

// warn reports a path with which something went wrong while the rest goes on.
func (c *console) warn(path string, err error) {
	if c.json {
		c.object("warning", jsonWarning{Path: path, Exact: exactBytes(path), Message: oneLine(err.Error())})
		return
	}
	c.line(c.t("console.warning", "Path", quotePath(path), "Text", oneLine(err.Error())))
}

// notice says something that the person must know, --quiet or not.
func (c *console) notice(text string) {
	if c.json {
		c.object("notice", text)
		return
	}
	c.line(text)
}

// info says something that is good to know.
func (c *console) info(text string) {
	if !c.quiet && !c.json {
		c.line(text)
	}
}

// status says what is being waited for, "" that it goes on. A progress bar
// shows it while it lasts; elsewhere each new one is a line.
func (c *console) status(text string) {
	c.mu.Lock()
	same := text == c.waiting
	c.waiting = text
	drawn := c.w != c.stderr
	c.mu.Unlock()
	switch {
	case same || text == "" || c.quiet || drawn:
	case c.json:
		c.object("status", text)
	default:
		c.line(text)
	}
}

// waitingFor is the last status.
func (c *console) waitingFor() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// redirect sends lines through w until the returned function is called, so
// that they appear above a progress bar.
func (c *console) redirect(w io.Writer) (restore func()) {
	c.set(w)
	return func() { c.set(c.stderr) }
}

func (c *console) set(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = w
}

func (c *console) line(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Nobody is left to be told when stderr fails.
	_, _ = fmt.Fprintln(c.w, text)
}

// Write lets a logger write its lines here.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(p)
}

// object writes {"kind": v} as a line.
func (c *console) object(kind string, v any) {
	text, err := json.Marshal(map[string]any{kind: v})
	if err != nil {
		panic(err) // strings and structs of strings can always be encoded
	}
	c.line(string(text))
}

package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"servidor-backup/bus"
)

// newLogger logs to stderr, from level on; with --quiet only errors.
func newLogger(c *console, level slog.Level) *slog.Logger {
	opt := &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}
	if c.quiet {
		opt.Level = slog.LevelError
	}
	if c.json {
		return slog.New(slog.NewJSONHandler(c, opt))
	}
	return slog.New(slog.NewTextHandler(c, opt))
}

// sentences is the log of a system that runs inside a command. Who types a command is no
// operator: of errors it prints one sentence, once for each kind, and of everything else
// nothing, because the command itself reports what changes its outcome.
type sentences struct {
	console *console
	attrs   []slog.Attr

	seen *sync.Map // messages that were printed
}

var _ slog.Handler = sentences{}

func newSentences(c *console) *slog.Logger {
	return slog.New(sentences{console: c, seen: new(sync.Map)})
}

func (s sentences) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

func (s sentences) Handle(_ context.Context, r slog.Record) error {
	if _, again := s.seen.LoadOrStore(r.Message, true); again {
		return nil
	}
	var details []string
	detail := func(a slog.Attr) bool {
		details = append(details, a.Value.String())
		return true
	}
	for _, a := range s.attrs {
		detail(a)
	}
	r.Attrs(detail)
	s.console.notice(oneLine(s.console.t("console.system", "Text", r.Message, "Details", strings.Join(details, ", "))))
	return nil
}

func (s sentences) WithAttrs(attrs []slog.Attr) slog.Handler {
	s.attrs = append(s.attrs[:len(s.attrs):len(s.attrs)], attrs...)
	return s
}

// WithGroup changes nothing: a sentence has no names of attributes.
func (s sentences) WithGroup(string) slog.Handler { return s }

// redactAttr hides the credentials of addresses in what is logged, also by the NATS server.
func redactAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny:
		if text := a.Value.String(); strings.Contains(text, "://") {
			a.Value = slog.StringValue(bus.RedactText(text))
		}
	}
	return a
}

package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// Exit codes, as the help lists them.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitPartial = 3
)

// failure is an error that has been put into the person's words.
type failure struct {
	exit int
	code string // stable, for --json
	text string // one line
	hint string // what to do now; may be ""
	err  error  // the cause; may be nil
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// exitCode maps every outcome of a command.
func exitCode(err error) int {
	var f *failure
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &f):
		return f.exit
	}
	return exitFailed
}

// usage is a mistake on the command line.
func (x *texts) usage(key string, args ...any) error {
	return &failure{exit: exitUsage, code: "usage", text: x.t(key, args...), hint: x.t("hint.help")}
}

// fail is a failure of this program's own, with its cause as {{.Detail}}.
func (x *texts) fail(code string, cause error, key string, args ...any) error {
	return x.failHint(code, cause, "", key, args...)
}

// failHint is fail with a hint.
func (x *texts) failHint(code string, cause error, hint, key string, args ...any) error {
	if cause != nil {
		args = append(args, "Detail", cause.Error())
	}
	return &failure{exit: exitFailed, code: code, text: x.t(key, args...), hint: hint, err: cause}
}

// partial says that what could be done was done, except for n paths.
func (x *texts) partial(key string, n int64) error {
	return &failure{exit: exitPartial, code: "partial", text: x.n(key, n)}
}

// explain puts any error into the person's words: what the client and the
// server report keeps its own sentence as the detail.
func (x *texts) explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	f = &failure{exit: exitFailed, code: "failed", text: err.Error(), err: err}
	if code := schemas.CodeOf(err); code != "" {
		f.code = string(code)
		f.text = x.optional("code."+f.code, "Detail", err.Error())
		f.hint = x.optional("hint." + f.code)
		if f.text == "" { // a newer server has codes that this program lacks
			f.text = err.Error()
		}
		return f
	}
	var mistake *settingsError
	switch {
	case errors.As(err, &mistake) && mistake.key != "":
		f.code = "settings"
		f.text = x.t("error.setting-unknown", "File", mistake.path, "Line", mistake.line, "Key", mistake.key)
	case errors.As(err, &mistake):
		f.code = "settings"
		f.text = x.t("error.setting-bad", "File", mistake.path, "Line", mistake.line, "Detail", mistake.detail)
	case errors.Is(err, context.Canceled):
		f.code, f.text = "interrupted", x.t("error.interrupted")
	case unreachable(err):
		f.code = "unreachable"
		f.text = x.t("error.unreachable", "Detail", err.Error())
		f.hint = x.t("hint.unreachable")
	}
	return f
}

// oneLine makes one line of an error's text that cannot command a terminal:
// parts of it come from a server or are the names of files.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ReplaceAll(text, "\n", "; "))
}

// unreachable reports whether nobody answers at the server's address.
func unreachable(err error) bool {
	return errors.Is(err, bus.ErrNoServer) || errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/schemas"
	"servidor-backup/storage/node"
)

// Exit codes, as the help lists them.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitPartial    = 3
	exitEndangered = 4
	// exitInterrupted is what shells report for Ctrl-C: 128 and the number of its signal.
	exitInterrupted = 130
)

// failure is an error in the user's language.
type failure struct {
	exit int
	code string // stable, for --json
	text string // one line
	hint string // what to do now; may be ""
	err  error  // cause; may be nil
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// exitCode is the exit code of a command that ended with err.
func exitCode(err error) int {
	var f *failure
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &f):
		return f.exit
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

// usage is a mistake on the command line.
func (x *texts) usage(key string, args ...any) error {
	return &failure{exit: exitUsage, code: "usage", text: x.t(key, args...), hint: x.t("hint.help")}
}

// fail is a failure of the command itself; {{.Detail}} in its text is the cause.
func (x *texts) fail(code string, cause error, key string, args ...any) error {
	return x.failHint(code, cause, "", key, args...)
}

// failHint is fail with a hint.
func (x *texts) failHint(code string, cause error, hint, key string, args ...any) error {
	if cause != nil {
		args = append(args, "Detail", x.told(cause))
	}
	return &failure{exit: exitFailed, code: code, text: x.t(key, args...), hint: hint, err: cause}
}

// partial is the failure of a command that did everything except for n paths.
func (x *texts) partial(key string, n int64) error {
	return &failure{exit: exitPartial, code: "partial", text: x.n(key, n)}
}

// withHint explains err and replaces the hint. Libraries know neither commands nor flags, so
// a command says what to do about their errors.
func (x *texts) withHint(err error, hint string) error {
	f := *x.explain(err)
	f.hint = hint
	return &f
}

// explain translates any error to the user's language. An error of client or server whose sentence
// this program does not know keeps it as the detail.
func (x *texts) explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	f = &failure{exit: exitFailed, code: "failed", err: err}
	var known bool
	f.text, known = x.tell(err)
	var key *client.KeyError
	switch {
	case !errors.As(err, &key):
	case key.Missing:
		f.code, f.text = "no-key", x.t("error.no-key", "Nickname", key.Nickname, "File", key.File)
		f.hint = x.t("hint.no-key")
		return f
	default:
		f.code, f.text = string(schemas.OtherKey), x.t("error.wrong-key", "Nickname", key.Nickname, "File", key.File)
		f.hint = x.t("hint.no-key")
		return f
	}
	if code := schemas.CodeOf(err); code != "" {
		f.code = string(code)
		f.hint = x.optional("hint." + f.code)
		if known {
			return f
		}
		if text := x.optional("code."+f.code, "Detail", f.text); text != "" { // else it is of a newer server
			f.text = text
		}
		return f
	}
	var running *node.RunningError
	var mistake *settingsError
	switch {
	case errors.As(err, &mistake) && mistake.key != "":
		f.code = "settings"
		f.text = x.t("error.setting-unknown", "File", mistake.path, "Line", mistake.line, "Key", mistake.key)
	case errors.As(err, &mistake):
		f.code = "settings"
		f.text = x.t("error.setting-bad", "File", mistake.path, "Line", mistake.line, "Detail", mistake.detail)
	case errors.As(err, &running):
		f.code, f.hint = "node-running", x.t("hint.node-running")
		f.text = x.t("error.node-running", "ID", string(running.Node), "Host", cmp.Or(running.Host, x.t("error.some-process")),
			"Since", running.Since.Format(time.DateTime))
	case errors.Is(err, context.Canceled):
		f.exit, f.code, f.text = exitInterrupted, "interrupted", x.t("error.interrupted")
	case errors.Is(err, client.ErrNoCoordinator):
		f.code = "no-coordinator"
		if !known {
			f.text = x.t("error.no-coordinator", "Detail", f.text)
		}
	case errors.Is(err, client.ErrNoKeyFile):
		f.text, f.hint = x.t("error.no-key-file"), x.t("hint.no-key-file")
	case errors.Is(err, errNoHome):
		f.hint = x.t("hint.no-home")
	case errors.Is(err, client.ErrSameName):
		f.hint = x.t("hint.same-name")
	case errors.Is(err, embedded.ErrClustered):
		f.hint = x.t("hint.clustered")
	case errors.Is(err, embedded.ErrFailed):
		f.code = "catalogue-not-written"
		f.text = x.t("error.catalogue-not-written", "Detail", err.Error())
		f.hint = x.t("hint.catalogue-not-written")
	case errors.Is(err, embedded.ErrUnreadable):
		f.code = "catalogue-unreadable"
		f.text = x.t("error.catalogue-unreadable", "Detail", err.Error())
		f.hint = x.t("hint.catalogue-unreadable")
	case unreachable(err):
		f.code = "unreachable"
		if !known {
			f.text = x.t("error.unreachable", "Detail", f.text)
		}
		f.hint = x.t("hint.unreachable")
	}
	return f
}

// oneLine turns the text of an error into one line that cannot control a terminal: parts of
// it may come from a server or be names of files.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ReplaceAll(text, "\n", "; "))
}

// unreachable reports whether err means that no server answers at the address.
func unreachable(err error) bool {
	return errors.Is(err, bus.ErrNoServer) || errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded)
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"runtime"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

// backend is what the commands need of [client.Client].
type backend interface {
	Close()
	KeyCreated() bool
	Backup(ctx context.Context, opt client.BackupOptions) (*client.BackupResult, error)
	Records(ctx context.Context, opt client.ListOptions) ([]schemas.Record, error)
	Versions(ctx context.Context, record string, opt client.ListOptions) ([]client.VersionInfo, error)
	Tree(ctx context.Context, id, inside string, visit func(*client.Entry) error) error
	Restore(ctx context.Context, opt client.RestoreOptions) (*client.RestoreResult, error)
	Cat(ctx context.Context, id, inside string, w io.Writer) error
	Check(ctx context.Context, opt client.CheckOptions) (*client.CheckResult, error)
	Nodes(ctx context.Context) (*schemas.NodeMap, error)

	Policy(ctx context.Context, set *schemas.Policy, nickname string) (*schemas.PolicyReply, error)
	SetNodeState(ctx context.Context, node string, state schemas.State, force bool) (*schemas.NodeMap, error)
	Forget(ctx context.Context, id string, undo bool) ([]string, error)
	Collect(ctx context.Context, req *schemas.CollectRequest) (*schemas.Collection, error)
	RebuildCatalogue(ctx context.Context) (*schemas.RebuildReply, error)
	Status(ctx context.Context) (*schemas.StatusReply, error)
	Scrub(ctx context.Context, node string) ([]string, error)
}

var _ backend = (*client.Client)(nil)

// streams are a command's standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// environment is the rest of the world as a command sees it.
type environment struct {
	getenv   func(string) string
	home     func() (string, error)
	user     func() string         // the OS user's name, "" when unknown
	terminal func(stream any) bool // whether a stream is one
	alive    func(pid int) bool    // whether such a process runs
	zone     *time.Location        // in which times are shown
	goos     string                // decides where settings are kept
	connect  func(context.Context, client.Options) (backend, error)

	limitMemory func(bytes int64) int64 // sets a limit, if it is not 0, and returns the one in force
	beNice      func() error            // leaves processor and disk to others
}

// system is the environment of a real process.
func system() environment {
	return environment{
		getenv:   os.Getenv,
		home:     os.UserHomeDir,
		user:     systemUser,
		terminal: isTerminal,
		alive:    processAlive,
		zone:     time.Local,
		goos:     runtime.GOOS,
		connect: func(ctx context.Context, opt client.Options) (backend, error) {
			c, err := client.Connect(ctx, opt)
			if err != nil {
				return nil, err // not c: a nil *Client in the interface would not be nil
			}
			return c, nil
		},
		limitMemory: limitMemory,
		beNice:      beNice,
	}
}

func systemUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// globalFlags are the flags that every command takes, and those that are settings
// too.
type globalFlags struct {
	server, data, nickname, keyFile, config, lang string
	maxMemory                                     string
	json, quiet, nice                             bool

	// Of some commands only.
	compression, limitUpload, limitDownload string
}

// app is what all commands of one run share.
type app struct {
	*texts
	env     environment
	in      io.Reader
	out     *bufio.Writer // stdout; run flushes it at the end
	outTerm bool          // stdout is a terminal
	inTerm  bool          // stdin is one
	console *console      // stderr
	flags   globalFlags

	profiles profiles

	file    fileSettings // what the settings file says
	fileErr error        // why it could not be read

	room  float64 // the part of the usual memory that there is; see memory.go
	local *roles  // the system that runs within this command; see local.go
}

// newApp gets ready what is needed before the arguments can be parsed: help
// and usage errors are already in the person's language, which a flag or the
// settings file may name.
func newApp(args []string, std streams, env environment) *app {
	early := scanEarly(args)
	a := &app{
		env:     env,
		in:      std.in,
		out:     bufio.NewWriter(std.out),
		outTerm: env.terminal(std.out),
		inTerm:  env.terminal(std.in),
	}
	a.file, a.fileErr = a.loadFile(early.config)
	a.texts = newTexts(a.language(early.lang))
	a.console = newConsole(a.texts, std.err, env.terminal(std.err) && env.getenv("TERM") != "dumb")
	a.console.json, a.console.quiet = early.json, early.quiet
	return a
}

// scanEarly finds the flags that decide how anything is said at all. It passes
// over what it does not know; the real parse reports mistakes.
func scanEarly(args []string) globalFlags {
	var g globalFlags
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.ParseErrorsAllowlist.UnknownFlags = true
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	set.StringVar(&g.lang, "lang", "", "")
	set.StringVar(&g.config, "config", "", "")
	set.BoolVar(&g.json, "json", false, "")
	set.BoolVarP(&g.quiet, "quiet", "q", false, "")
	set.BoolP("help", "h", false, "")
	// An error ends the scan early; what was found until then still counts.
	_ = set.Parse(args)
	return g
}

// dial connects to the server that the settings name, or to the one that runs
// within this command. makes says that the command saves something: without it,
// data that is not there is a mistake.
func (a *app) dial(ctx context.Context, makes bool) (backend, settings, error) {
	s, err := a.settings()
	if err != nil {
		return nil, s, err
	}
	if s.Server.Value == "" && s.Data.Value == "" {
		return nil, s, a.failHint("no-server", nil, a.t("hint.no-server"), "error.no-server")
	}
	if err := schemas.CheckNickname(s.Nickname.Value); err != nil {
		return nil, s, err
	}
	opt := client.Options{
		Server:   s.Server.Value,
		Nickname: s.Nickname.Value,
		KeyFile:  s.KeyFile.Value,
		Status:   a.console.status,
		Room:     a.room,
	}
	if err := a.limits(&s, &opt); err != nil {
		return nil, s, err
	}
	if s.Data.Value != "" {
		if err := a.useData(ctx, s.Data.Value, makes, &opt); err != nil {
			return nil, s, err
		}
	}
	b, err := a.env.connect(ctx, opt)
	return b, s, err
}

// printf writes to stdout. Errors stick to the writer and come out of Flush.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// println writes a line of text to stdout.
func (a *app) println(text string) { fmt.Fprintln(a.out, text) }

// printJSON writes v as one line of JSON to stdout.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

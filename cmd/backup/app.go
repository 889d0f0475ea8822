package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/pflag"
)

// app is what all commands of one run share. The console is embedded because every command
// needs its texts and prints through it.
type app struct {
	*console
	env        environment
	config     *config
	flags      globalFlags
	in         io.Reader // stdin
	inTerminal bool
	profiles   profiles
	memory     float64 // share of the usual memory bounds; see memory.go
	// settle is how long after its start a node inside this command surveys what it holds; 0:
	// the default. Most commands end before.
	settle time.Duration
	local  *roles // the system that runs inside this command, if any; see local.go
	// abandon ends the context of the command, with the reason as its cause.
	abandon context.CancelCauseFunc
}

// globalFlags are the flags of every command, and the flags of some commands that are
// settings too.
type globalFlags struct {
	server, data, nickname, keyFile, config, lang string
	maxMemory                                     string
	json, quiet, nice                             bool
	begin                                         bool // --new, of commands that save or serve

	// Flags of some commands only.
	compression, limitUpload, limitDownload string
	wait                                    time.Duration
}

// newApp prepares what has to exist before the arguments are parsed. Help and usage errors
// already use the user's language, which a flag or the settings file may choose.
func newApp(args []string, std streams, env environment) *app {
	early := scanEarly(args)
	a := &app{env: env, in: std.in, inTerminal: env.terminal(std.in)}
	a.config = &config{env: env, flags: &a.flags}
	a.config.file, a.config.fileErr = a.config.loadFile(early.config)
	a.config.words = newTexts(a.config.language(early.lang))
	a.console = newConsole(a.config.words, std, env)
	a.json, a.quiet = early.json, early.quiet
	return a
}

// scanEarly finds the flags that decide how everything is printed. It skips what it does
// not know; the real parse reports mistakes.
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
	_ = set.Parse(args) // an error ends the scan early; the flags before it still count
	return g
}

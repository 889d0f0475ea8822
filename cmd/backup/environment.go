package main

import (
	"context"
	"io"
	"os"
	"os/user"
	"runtime"
	"time"

	"golang.org/x/term"

	"servidor-backup/client"
)

// streams are the standard streams of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// environment is everything else that a command sees of the machine it runs on.
type environment struct {
	getenv   func(string) string
	home     func() (string, error)
	user     func() string         // name of the OS user, "" if unknown
	terminal func(stream any) bool // reports whether the stream is a terminal
	columns  func(stream any) int  // width of a terminal; 0: not known, or no terminal
	alive    func(pid int) bool    // reports whether a process with this id runs
	zone     *time.Location        // time zone of printed times
	goos     string                // decides where settings are stored
	connect  func(context.Context, client.Options) (backend, error)

	limitMemory func(bytes int64) int64 // sets a limit unless bytes is 0; returns the limit in force
	beNice      func() error            // lowers the priority for processor and disk
}

// system is the environment of a real process.
func system() environment {
	return environment{
		getenv:   os.Getenv,
		home:     os.UserHomeDir,
		user:     systemUser,
		terminal: isTerminal,
		columns:  columns,
		alive:    processAlive,
		zone:     time.Local,
		goos:     runtime.GOOS,
		connect: func(ctx context.Context, opt client.Options) (backend, error) {
			c, err := client.Connect(ctx, opt)
			if err != nil {
				return nil, err // a nil *Client in the interface would not be nil
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

func columns(stream any) int {
	f, ok := stream.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

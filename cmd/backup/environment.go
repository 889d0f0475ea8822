package main

import (
	"context"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
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
	user     func() string         // name or number of the OS user, "" if unknown
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
		home:     systemHome,
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

// systemHome is the home folder. Services and scheduled jobs may run without HOME, and then
// use the settings and keys that their user has otherwise.
func systemHome() (string, error) {
	home, err := os.UserHomeDir()
	if err == nil {
		return home, nil
	}
	if u, userErr := user.Current(); userErr == nil && filepath.IsAbs(u.HomeDir) {
		return u.HomeDir, nil
	}
	return "", err
}

// systemUser is the name of the user. A user without a name, as in containers, has a number.
func systemUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	if id := os.Getuid(); id >= 0 {
		return strconv.Itoa(id)
	}
	return ""
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

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/storage"
)

// With --data a command needs no server: it runs the system that "up" would run
// on the folder, without a listener, for as long as it takes. The locks of the
// folder see to it that nobody else does so at the same time.

const (
	// busyTime is for how long a folder that is in use is waited for: commands
	// that follow each other closely, or a system that is ending.
	busyTime = 3 * time.Second
	// busyEvery is how often it is tried.
	busyEvery = 50 * time.Millisecond
)

// useData makes opt lead to the backups in dir: to the system within this
// command, which is started unless it runs already, or to an "up" that serves
// dir. Without makes they must be there.
func (a *app) useData(ctx context.Context, dir string, makes bool, opt *client.Options) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if isStore(dir) || !makes && !isStore(nodeDir(dir)) {
		return a.fail("no-backups", nil, "error.no-backups", "Folder", dir)
	}
	for start := time.Now(); a.local == nil; {
		a.local, err = a.startLocal(ctx, dir)
		if !errors.Is(err, embedded.ErrInUse) && !errors.Is(err, storage.ErrInUse) {
			return a.lead(opt, err)
		}
		if url := a.servedAt(dir); url != "" {
			opt.Server = url
			return nil
		}
		if time.Since(start) > busyTime {
			return a.inUse(dir, err)
		}
		a.console.status(a.t("error.in-use", "Folder", dir, "Holder", a.holder(dir)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyEvery):
		}
	}
	return a.lead(opt, nil)
}

// lead makes opt lead to the system within this command, unless err says that
// there is none.
func (a *app) lead(opt *client.Options, err error) error {
	if err == nil {
		a.console.status("")
		opt.InProcess, opt.Room = a.local.server, a.local.room
	}
	return err
}

// startLocal starts the system within this command.
func (a *app) startLocal(ctx context.Context, dir string) (*roles, error) {
	r := newRoles(a, "", slog.LevelWarn) // that it starts and ends is no news
	r.room = max(r.room/2, leastRoom)    // the client has the other half
	if err := startAll(ctx, r, dir, upOptions{nodeOptions: nodeOptions{keepName: true}}); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// endLocal ends the system within this command, if one runs.
func (a *app) endLocal() error {
	if a.local == nil {
		return nil
	}
	r := a.local
	a.local = nil
	return r.stop()
}

// servedAt is the address of the "up" that serves dir, or "".
func (a *app) servedAt(dir string) string {
	d, ok := a.discover()
	if !ok {
		return ""
	}
	ours, err := os.Stat(dir)
	theirs, theirErr := os.Stat(d.Data)
	if err != nil || theirErr != nil || !os.SameFile(ours, theirs) {
		return ""
	}
	return d.URL
}

// inUse says who has dir.
func (a *app) inUse(dir string, cause error) error {
	return &failure{
		exit: exitFailed, code: "in-use", err: cause, hint: a.t("hint.in-use"),
		text: a.t("error.in-use", "Folder", dir, "Holder", a.holder(dir)),
	}
}

// holder is the process that has dir, in words.
func (a *app) holder(dir string) string {
	for _, lock := range []string{filepath.Join(natsDir(dir), "LOCK"), filepath.Join(nodeDir(dir), "LOCK")} {
		if pid := lockHolder(lock); pid > 0 {
			return a.t("error.process", "ID", strconv.Itoa(pid))
		}
	}
	return a.t("error.some-process")
}

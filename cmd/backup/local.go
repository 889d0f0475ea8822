package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/storage"
)

// With --data a command needs no server: for as long as it runs, it runs the system that
// "up" would run on the folder, without a listener. Locks in the folder ensure that only one
// process does so at a time.

const (
	// busyTime is how long a command waits for a folder that is in use: commands may follow
	// each other closely, and a system takes a moment to end.
	busyTime = 3 * time.Second
	// busyEvery is how often a waiting command tries again.
	busyEvery = 50 * time.Millisecond
)

// useData makes opt connect to the backups in dir: to the system inside this command, which
// is started if it does not run yet, or to an "up" that serves dir. Unless create is set, dir
// must hold backups already.
func (a *app) useData(ctx context.Context, data setting, create bool, opt *client.Options) error {
	dir, err := filepath.Abs(data.Value)
	if err != nil {
		return err
	}
	isNode, err := isStore(dir)
	if err != nil {
		return err
	}
	exists, err := isStore(nodeDir(dir))
	switch {
	case err != nil:
		return err
	case isNode:
		return a.fail("no-backups", nil, "error.no-backups", "Folder", dir)
	case !exists && !create && a.config.known(dir).Data != "":
		return a.fail("no-backups", nil, "error.no-disk", "Folder", dir)
	case !exists && !create:
		return a.fail("no-backups", nil, "error.no-backups", "Folder", dir)
	case !exists:
		if err := a.mayBegin(dir, data.Source); err != nil {
			return err
		}
	}
	if err := a.startOrFind(ctx, dir, exists, create, opt); err != nil {
		return err
	}
	if create {
		a.begun(dir, !exists, true)
	}
	return nil
}

// startOrFind makes opt connect to the backups in dir, which may be in use. If they exist and
// cannot be written, they can be read, unless the command saves.
func (a *app) startOrFind(ctx context.Context, dir string, exists, save bool, opt *client.Options) (err error) {
	for start := time.Now(); a.local == nil; {
		a.local, err = a.startLocal(ctx, dir)
		if isReadOnly(err) && exists {
			if save {
				if isFull(err) {
					return err
				}
				return a.readOnlyError(dir)
			}
			a.local, err = a.startReadOnly(ctx, dir)
		}
		if !errors.Is(err, embedded.ErrInUse) && !errors.Is(err, storage.ErrInUse) {
			return a.useLocal(opt, err)
		}
		if url := a.servedAt(dir); url != "" {
			opt.Server = url
			return nil
		}
		if time.Since(start) > busyTime {
			return a.inUse(dir, err)
		}
		a.status(a.t("error.in-use", "Folder", dir, "Holder", a.holder(dir)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyEvery):
		}
	}
	return a.useLocal(opt, nil)
}

// useLocal makes opt connect to the system inside this command, unless err says that it did
// not start.
func (a *app) useLocal(opt *client.Options, err error) error {
	if err == nil {
		a.status("")
		opt.InProcess, opt.MemoryBudget = a.local.server, a.local.memory
	}
	return err
}

// startLocal starts the system inside this command.
func (a *app) startLocal(ctx context.Context, dir string) (*roles, error) {
	memory := max(a.memory/2, leastShare) // the client gets the other half
	r := newRoles(a.console, "", memory, newSentences(a.console))
	r.serverLog, r.failed = nil, a.abandon
	if err := startAll(ctx, r, dir, upOptions{nodeOptions: nodeOptions{keepName: true, settle: a.settle}}); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// endLocal ends the system inside this command, if one runs.
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
	ours, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	for _, d := range a.config.running() {
		if theirs, err := os.Stat(d.Data); err == nil && os.SameFile(ours, theirs) {
			return d.URL
		}
	}
	return ""
}

// inUse is the error that says which process uses dir.
func (a *app) inUse(dir string, cause error) error {
	return &failure{
		exit: exitFailed, code: "in-use", err: cause, hint: a.t("hint.in-use"),
		text: a.t("error.in-use", "Folder", dir, "Holder", a.holder(dir)),
	}
}

// holder names the process that uses dir.
func (a *app) holder(dir string) string {
	for _, lock := range []string{filepath.Join(natsDir(dir), "LOCK"), filepath.Join(nodeDir(dir), "LOCK")} {
		if pid := lockHolder(lock); pid > 0 {
			return a.t("error.process", "ID", strconv.Itoa(pid))
		}
	}
	return a.t("error.some-process")
}

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"servidor-backup/bus/embedded"
	"servidor-backup/client"
	"servidor-backup/schemas"
)

// A folder of backups that cannot be written (a medium mounted for reading only, another
// user's folder, a disk without any space) is read all the same. The store is opened for
// reading only; the NATS server, which cannot do that, runs on a copy of its small folder.

// isReadOnly reports whether a system did not start because nothing can be written.
func isReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) || isFull(err)
}

// isFull reports whether the disk has no space, so that not even a lock can be made.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || schemas.CodeOf(err) == schemas.DiskFull
}

// startReadOnly starts the system of a folder that cannot be written, inside this command.
func (a *app) startReadOnly(ctx context.Context, dir string) (*roles, error) {
	for _, lock := range []string{filepath.Join(natsDir(dir), "LOCK"), filepath.Join(nodeDir(dir), "LOCK")} {
		if lockHolder(lock) > 0 {
			return nil, embedded.ErrInUse // by a process that may write
		}
	}
	memory := max(a.memory/2, leastShare) // the client gets the other half
	r := newRoles(a.console, "", memory, newSentences(a.console))
	r.serverLog, r.readOnly, r.failed = nil, true, a.abandon
	nats, err := copyToTemp(natsDir(dir))
	if err == nil {
		r.onStop(func() error { return embedded.RemoveAll(nats) })
		err = startOn(ctx, r, nats, nodeDir(dir), upOptions{nodeOptions: nodeOptions{data: nodeDir(dir), keepName: true, settle: a.settle}})
	}
	if err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// copyToTemp copies a folder into a new one that only this user can read. If the usual place
// for temporary files is full, memory is tried.
func copyToTemp(dir string) (temp string, err error) {
	for _, place := range []string{os.TempDir(), os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if place == "" {
			continue
		}
		made, makeErr := os.MkdirTemp(place, "backup-catalogue-")
		if makeErr == nil {
			if makeErr = copyFiles(made, dir); makeErr == nil {
				return made, nil
			}
			makeErr = errors.Join(makeErr, embedded.RemoveAll(made))
		}
		if err == nil {
			err = makeErr
		}
		if !isFull(makeErr) && !isReadOnly(makeErr) && !errors.Is(makeErr, fs.ErrNotExist) {
			break
		}
	}
	return "", err
}

// copyFiles copies the folders and regular files in from.
func copyFiles(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular() || d.Name() == "LOCK":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
}

// readOnly is the backend of a folder that cannot be written: it refuses what would change
// something.
type readOnly struct {
	backend
	refusal error
}

// readOnlyError says that nothing can be saved in dir.
func (a *app) readOnlyError(dir string) error {
	if path, err := filepath.Abs(dir); err == nil {
		dir = path
	}
	return a.fail("read-only", nil, "error.read-only", "Folder", dir)
}

func (b readOnly) Backup(context.Context, client.BackupOptions) (*client.BackupResult, error) {
	return nil, b.refusal
}

func (b readOnly) Policy(ctx context.Context, set *schemas.Policy, nickname string) (*schemas.PolicyReply, error) {
	if set != nil {
		return nil, b.refusal
	}
	return b.backend.Policy(ctx, nil, nickname)
}

func (b readOnly) SetNodeState(context.Context, string, schemas.State, bool) (*schemas.NodeMap, error) {
	return nil, b.refusal
}

func (b readOnly) Forget(context.Context, string, bool) ([]string, error) { return nil, b.refusal }

func (b readOnly) Collect(ctx context.Context, req *schemas.CollectRequest) (*schemas.Collection, error) {
	return nil, b.refusal
}

func (b readOnly) RebuildCatalogue(context.Context) (*schemas.RebuildReply, error) {
	return nil, b.refusal
}

func (b readOnly) Scrub(context.Context, string) ([]string, error) { return nil, b.refusal }

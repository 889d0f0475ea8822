package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/restore"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// RestoreOptions say what to restore, and where to.
type RestoreOptions struct {
	// ID is NAME@NUMBER for one version, or NAME for the newest version of a record.
	ID string
	// Inside are paths inside the version; none means all of it.
	Inside []string
	// To is the folder in which the restored paths appear under their own names. Default: the
	// working directory.
	To string
	// Force allows existing files to be replaced and existing folders to be filled. Files that
	// are there already with the size and the time of the version are kept, and of others only
	// the chunks that differ are fetched: so an interrupted restore is continued.
	Force bool
	// Verify compares the content of files that are kept.
	Verify bool
	// NumericOwners gives files to the users and groups with the numbers that they had. Without
	// it, those that have the same names on this machine come first.
	NumericOwners bool
	// MapNames gives entries whose names are not possible in To other ones: a byte that is not
	// possible, and a % before two hex digits, become % and two hex digits. Without it, such
	// entries are failures, which wrap [ErrName].
	MapNames bool
	// Mapped, if not nil, is called for every entry whose own name is mapped, with its path and
	// with the path under which it is made, from one goroutine.
	Mapped func(path, as string)
	// Progress, if not nil, counts along.
	Progress *Progress
	// Warn, if not nil, is called for every path that could not be restored whole, from
	// several goroutines. The error may be [ErrOwner].
	Warn func(path string, err error)
}

// ErrOwner means that a restored path does not have its owner, because this user may not give files
// away.
var ErrOwner = target.ErrOwner

// ErrName means that a path could not be restored because the system, or the file system of the
// target folder, cannot have its name.
var ErrName = target.ErrName

// RestoreResult says what a restore has done.
type RestoreResult struct {
	Version  schemas.Version
	Files    int64 // entries that are not folders
	Bytes    int64 // their content
	Same     int64 // files that were there already, and were not fetched
	Received int64 // bytes that came from nodes
	Failed   int64 // paths whose content could not be restored
	// Incomplete is how many paths were restored without something that belongs to them, such
	// as the owner, a time or an attribute, or are links or devices that cannot be made here.
	Incomplete int64
	Mapped     int64    // entries whose own names are mapped, of [RestoreOptions].MapNames
	Top        []string // the names that were made in RestoreOptions.To
}

// Restore writes a version, or parts of it, to a folder. Paths that are damaged are left out. They,
// and what could not be set of other paths, are warned of and counted. It is an error if nothing at
// all could be restored. An error that wraps fs.ErrExist means that a file or folder exists already
// and [RestoreOptions].Force is not set.
func (c *Client) Restore(ctx context.Context, opt RestoreOptions) (*RestoreResult, error) {
	if opt.Progress == nil {
		opt.Progress = &Progress{}
	}
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	var mapped int64
	tell := opt.Mapped
	opt.Mapped = func(path, as string) {
		mapped++
		if tell != nil {
			tell(path, as)
		}
	}
	if opt.To == "" {
		opt.To = "."
	}
	ctx, cancel := c.ctl.watchServer(ctx)
	defer cancel(nil)
	v, err := openVersion(ctx, c, opt.ID)
	if err != nil {
		return nil, err
	}
	var incomplete atomic.Int64
	done, err := c.restore(ctx, v, opt, func(path string, err error) {
		incomplete.Add(1)
		opt.Warn(path, err)
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return nil, explainUnresponsive(err)
	}
	if done.FirstErr != nil && done.Files == 0 {
		return nil, schemas.Explain("", "nothing-restored", "nothing could be restored to {path}", "path", opt.To).Because(done.FirstErr)
	}
	res := &RestoreResult{
		Version: v.Version, Files: done.Files, Bytes: done.Bytes, Same: done.Same, Failed: done.Failed, Incomplete: incomplete.Load(), Mapped: mapped, Top: done.Tops,
	}
	if v.chunks != nil {
		res.Received = v.chunks.Received()
	}
	return res, nil
}

// PreviewRestore finds out what [Client.Restore] would do now, and changes nothing. It compares the
// entries of the version with what is in the target folder by type, size and time. visit is called
// for each entry that would be made or replaced, with its path in the target folder.
func (c *Client) PreviewRestore(ctx context.Context, opt RestoreOptions, visit func(path string, isDir bool, d Difference)) (*RestorePreview, error) {
	if opt.To == "" {
		opt.To = "."
	}
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	v, err := openVersion(ctx, c, opt.ID)
	if err != nil {
		return nil, err
	}
	parts, err := v.parts(ctx, opt.Inside)
	if err == nil {
		err = opt.checkTops(ctx, v, parts)
	}
	if err != nil {
		return nil, err
	}
	res := &RestorePreview{Version: v.Version}
	see := func(e *tree.Entry, path string) {
		isDir := e.Type == tree.TypeDir
		size := e.Size
		if isDir || e.HardLink != "" { // content belongs to the file, not to its further names
			size = 0
		}
		if !isDir {
			res.Files++
		}
		res.Bytes += size
		res.Fetch += size
		at := filepath.Join(opt.To, filepath.FromSlash(path))
		old, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			visit(path, isDir, New)
			if !isDir {
				res.New++
			}
		case err == nil && target.IsThere(e, at, old):
			if e.Type == tree.TypeFile {
				res.Same++
			}
			res.Fetch -= size
		default:
			visit(path, isDir, Changed)
			if !isDir {
				res.Replaced++
			}
		}
	}
	if v.plain != nil {
		see(v.plainEntry(), v.Record)
		return res, nil
	}
	err = restore.Entries(ctx, v.entries, parts, see, func(path string, err error) {
		res.Failed++
		opt.Warn(path, err)
	})
	return res, err
}

// restore does the work of Restore. It calls incomplete for paths that are restored without something
// that belongs to them.
func (c *Client) restore(ctx context.Context, v *version, opt RestoreOptions, incomplete func(string, error)) (restore.Result, error) {
	opt.Progress.TotalFiles.Store(v.Files)
	opt.Progress.TotalBytes.Store(v.Bytes)
	opt.Progress.Counted.Store(len(opt.Inside) == 0)
	parts, err := v.parts(ctx, opt.Inside)
	if err != nil {
		return restore.Result{}, err
	}
	if err := opt.checkTops(ctx, v, parts); err != nil {
		return restore.Result{}, err
	}
	to, err := target.Open(opt.To, target.Options{
		Overwrite: opt.Force, Owner: runtime.GOOS != "windows", NumericOwner: opt.NumericOwners, Record: v.Record, Warn: incomplete,
	})
	if err != nil {
		return restore.Result{}, err
	}
	var names *target.Mapper
	if opt.MapNames {
		if names, err = to.Mapper(); err != nil {
			return restore.Result{}, errors.Join(err, to.Abandon())
		}
	}
	if v.plain != nil {
		return v.restorePlain(to, names, opt)
	}
	return restore.Run(ctx, restore.Source{Entries: v.entries, Chunks: v.chunks}, to, parts, restore.Options{
		Budget: transfer.Budget(c.opt.MemoryBudget), Verify: opt.Verify, Progress: opt.Progress, Names: names, Mapped: opt.Mapped, Failed: opt.Warn, Incomplete: incomplete,
	})
}

// Cat writes one file of a version to w, and returns the version. id is as in [RestoreOptions].
// inside may be "" if the version is a single file. Nothing is written unless inside, or the
// version, is exactly one regular file. After an error, w may have got the beginning of the file.
func (c *Client) Cat(ctx context.Context, id, inside string, w io.Writer) (*schemas.Version, error) {
	ctx, cancel := c.ctl.watchServer(ctx)
	defer cancel(nil)
	v, err := openVersion(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if v.plain != nil {
		if inside != "" {
			return nil, schemas.Explain("", "version-is-one-file", "{version} is one file, there is no \"{path}\" inside", "version", v.ID, "path", inside)
		}
		_, err := w.Write(*v.plain)
		return &v.Version, err
	}
	e, err := v.file(ctx, inside)
	if err == nil {
		err = v.copyTo(ctx, e, w, transfer.Budget(c.opt.MemoryBudget).Slots(catAhead))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return &v.Version, explainUnresponsive(err)
}

// parts returns the parts of the version that are at the paths inside, or all of it.
func (v *version) parts(ctx context.Context, inside []string) ([]restore.Part, error) {
	if v.plain != nil {
		if len(inside) > 0 {
			return nil, schemas.Explain("", "version-is-one-file", "{version} is one file, there is no \"{path}\" inside", "version", v.ID, "path", inside[0])
		}
		return []restore.Part{{To: v.Record}}, nil
	}
	if len(inside) == 0 {
		return []restore.Part{{From: ".", To: v.label.Top}}, nil
	}
	var parts []restore.Part
	for _, p := range inside {
		e, err := v.inside(ctx, p)
		if err != nil {
			return nil, err
		}
		to := path.Base(e.Path)
		if e.Path == "." {
			to = v.label.Top
		}
		for _, other := range parts {
			if other.To == to {
				return nil, schemas.Explain("", "same-names", "\"{path}\" and \"{other}\" would both appear as \"{name}\": restore paths of the same name one after the other, into different folders", "path", other.From, "other", e.Path, "name", to).WithKind(ErrSameName)
			}
		}
		parts = append(parts, restore.Part{From: e.Path, To: to})
	}
	return parts, nil
}

// checkTops refuses to restore over existing files or folders before anything is fetched or written:
// nobody should merge two folders by accident.
func (opt *RestoreOptions) checkTops(ctx context.Context, v *version, parts []restore.Part) error {
	if opt.Force {
		return nil
	}
	for _, p := range parts {
		names := []string{p.To}
		if p.To == "" {
			// Names behind a damaged tree node are missing. The restore says so, and makes none
			// of them where something is.
			var err error
			if names, err = v.entries.Tops(ctx); err != nil && !download.IsDamage(err) {
				return err
			}
		}
		for _, name := range names {
			top := filepath.Join(opt.To, name)
			if _, err := os.Lstat(top); err == nil {
				return schemas.Explain("", "exists", "{path} exists already", "path", top).WithKind(fs.ErrExist)
			}
		}
	}
	return nil
}

// restorePlain writes the only file of a version that is not sealed.
func (v *version) restorePlain(to *target.Target, names *target.Mapper, opt RestoreOptions) (restore.Result, error) {
	e := v.plainEntry()
	if as, mapped := names.Enter(e.Path); mapped {
		opt.Mapped(e.Path, as)
		e.Path = as
	}
	if err := to.PutFile(e, *v.plain); err != nil {
		return restore.Result{}, errors.Join(err, to.Abandon())
	}
	opt.Progress.Files.Add(1)
	opt.Progress.Bytes.Add(e.Size)
	to.Close()
	return restore.Result{Files: 1, Bytes: e.Size, Tops: []string{e.Path}}, to.Sync()
}

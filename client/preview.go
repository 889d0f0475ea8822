package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"servidor-backup/client/internal/archive"
	"servidor-backup/client/internal/restore"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// Difference is what a backup or a restore would do with a path.
type Difference = archive.Difference

// The differences: a path would be made; its content or what belongs to it would be replaced; it
// would not be in the new version.
const (
	New     = archive.New
	Changed = archive.Changed
	Gone    = archive.Gone
)

// BackupPreview is what a backup would do.
type BackupPreview struct {
	archive.Preview
	Record  string
	Parent  string // id of the version before; "" if there is none
	LeftOut LeftOut
}

// PreviewBackup finds out what [Client.Backup] would do now, and changes nothing: it makes no key and
// opens no session. It opens the files that would be read, but does not read them, so it cannot tell
// how much of them the nodes hold already. visit is called for each path that would not be as in the
// version before, in the order of the tree; of a folder only if it is new or gone. A nil client stands
// for a system that holds nothing yet.
func (c *Client) PreviewBackup(ctx context.Context, opt BackupOptions, visit func(path string, isDir bool, d Difference)) (*BackupPreview, error) {
	p, err := newPlan(opt, "")
	if err != nil {
		return nil, err
	}
	if p.roots == nil {
		return nil, errors.New("what comes on standard input cannot be looked at before it is saved")
	}
	ao := archive.Options{Roots: p.roots, Exclude: p.exclude, Reread: p.Reread, Warn: p.Warn}
	var v *version
	if c != nil {
		if v, err = c.parentOf(ctx, p); err != nil {
			return nil, err
		}
	}
	res := &BackupPreview{Record: p.Name}
	if v != nil {
		res.Parent = v.ID
		ao.Parent = &archive.Parent{ID: v.ID, Root: v.Root, NewGetter: func() tree.Getter { return v.chunks.TreeNodes }}
	}
	seen, err := archive.Compare(ctx, ao, visit)
	if err != nil {
		return nil, err
	}
	res.Preview, res.LeftOut = *seen, p.exclude.LeftOut()
	return res, nil
}

// parentOf returns the version that a backup would build on, or nil if there is none. It fails if
// the backup would be refused.
func (c *Client) parentOf(ctx context.Context, p *plan) (*version, error) {
	v, err := openVersion(ctx, c, p.Name)
	switch schemas.CodeOf(err) {
	case schemas.UnknownNickname, schemas.UnknownRecord, schemas.UnknownVersion:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case v.plain != nil:
		return nil, schemas.Explain(schemas.NameTaken, "name-is-plain", "the name \"{name}\" stands for a file that was sent unsealed: choose another name", "name", p.Name)
	case v.Source != p.sourceFor(c) && !p.Moved:
		return nil, schemas.Explain(schemas.NameTaken, "name-has-other-source", "the name \"{name}\" stands for another source, on another host or in another folder", "name", p.Name)
	}
	return v, nil
}

// RestorePreview is what a restore would do. The counts are of entries that are not folders.
type RestorePreview struct {
	Version       schemas.Version
	Files, Bytes  int64 // would be restored, with their content
	New, Replaced int64
	Same          int64 // files that are there already
	Fetch         int64 // bytes of files that would be made or replaced: at most so many are fetched
	Failed        int64 // paths that cannot be known, because the version is damaged
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
		if !isDir {
			res.Files++
			res.Bytes += e.Size
		}
		at := filepath.Join(opt.To, filepath.FromSlash(path))
		old, err := os.Lstat(at)
		if e.HardLink == "" && !isDir {
			res.Fetch += e.Size
		}
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
			if e.HardLink == "" && !isDir {
				res.Fetch -= e.Size
			}
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

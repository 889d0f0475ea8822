package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"servidor-backup/client/internal/archive"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// BackupOptions say what to save, and how.
type BackupOptions struct {
	// Paths are files and folders, or only "-" for Stdin.
	Paths []string
	Stdin io.Reader
	// Name is the name of the record. Default: the base name of the path, if there is one.
	Name string
	// Exclude are patterns of paths to leave out, as .gitignore writes them, relative to each
	// of Paths. Absolute patterns, and those with ./ at their start, are what they look like.
	// One that can never match is a [*PatternError].
	Exclude []string
	// ExcludeFiles hold more patterns. Those of Exclude outweigh them.
	ExcludeFiles []PatternFile
	// IgnoreFiles are names of files that hold patterns for the folder that they are in,
	// besides ".backupignore". Such patterns are outweighed by the ones above.
	IgnoreFiles []string
	// ExcludeCaches leaves out what is in folders with a valid CACHEDIR.TAG, OneFileSystem
	// what is in folders on other file systems than that of their path, and NoDump what has the
	// system's flag "no dump".
	ExcludeCaches, OneFileSystem, NoDump bool
	// ExcludeLargerThan leaves out files with more bytes; 0 is no limit.
	ExcludeLargerThan int64
	// Without are folders to leave out wherever they are found, such as the folder in which
	// the system itself stores backups. Folders that do not exist are ignored.
	Without []string
	// Reread reads everything again, also files that are unchanged by their times. Some writes
	// change no times: those through a memory map, or on some network file systems.
	Reread bool
	// Compression says how much time may be spent on making chunks smaller.
	Compression Compression
	// Moved allows the new version to come from another host or other paths than the
	// record's versions before.
	Moved bool
	// Recheck takes nothing of the version before to be held: the nodes are asked for every chunk
	// that is reused, and what they miss, or know to be damaged, is read and sent again.
	Recheck bool
	// Progress, if not nil, counts along.
	Progress *Progress
	// Warn, if not nil, is called for every path that could not be saved whole, from several
	// goroutines.
	Warn func(path string, err error)
	// Continuing, if not nil, is called if the backup continues an unfinished one, with the bytes
	// that were sent before and are kept.
	Continuing func(sent int64)
}

// BackupResult says what a backup has done.
type BackupResult struct {
	Version    schemas.Version
	Files      int64 // entries in the version that are not folders
	Bytes      int64 // their content
	Unchanged  int64 // files that were not read again
	Read       int64 // bytes read from files
	Sent       int64 // bytes sent to nodes; a request to several nodes counts once
	Chunks     int64 // new chunks
	Unreadable int64 // paths whose content could not be saved whole
	Incomplete int64 // paths that were saved without something that belongs to them
	LeftOut    LeftOut
	System     string // the id of the system that has the version; "" if it does not say
}

// Backup saves paths as a new version of a record. Paths that cannot be read are left out, warned
// of and counted. After any other error there is no new version. What was sent is not sent
// again by the next backup; if the error is an [Unfinished], it is kept for that for some days.
func (c *Client) Backup(ctx context.Context, opt BackupOptions) (*BackupResult, error) {
	p, err := c.plan(ctx, opt)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.ctl.watchServer(ctx)
	defer cancel(nil)
	var before int64 // sent by the passes before
	for pass := 1; ; pass++ {
		p.again = pass > 1
		res, sent, err := c.backupOnce(ctx, p)
		if err == nil {
			res.Sent += before
			return res, nil
		}
		if pass == maxPasses || !p.mayRepeat(err) || ctx.Err() != nil {
			return nil, err
		}
		before += sent
		p.Progress.Restart()
	}
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
		if v, err = parentOf(ctx, c, p); err != nil {
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

// maxPasses is how often a backup goes over its source at most. It does so again when chunks that
// it relies on are not there any more when it commits: its session had lapsed, and a collection or
// the loss of a node was faster. What is still held is not sent again.
const maxPasses = 3

// backupOnce goes over the source once. sent is how many bytes it has sent, also with an error.
func (c *Client) backupOnce(ctx context.Context, p *plan) (res *BackupResult, sent int64, err error) {
	s, err := openSession(ctx, c, p)
	if err != nil {
		return nil, 0, err
	}
	defer s.close()
	if s.previous != nil && p.Continuing != nil && !p.again {
		p.Continuing(s.previous.Bytes)
	}
	done, err := s.save(ctx, p)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, 0, s.leave(ctx, err)
	}
	s.keeper.pause() // a checkpoint that comes after the version would name what is finished
	if res, err = s.commit(ctx, p, done); err != nil {
		return nil, done.Sent, s.leave(ctx, err)
	}
	s.keeper.end()
	return res, done.Sent, nil
}

// mayRepeat reports whether another pass may help against the failure of a commit.
func (p *plan) mayRepeat(err error) bool {
	switch schemas.CodeOf(err) {
	case schemas.Incomplete, schemas.UnknownSession:
		return p.roots != nil // what came on standard input cannot be read again
	}
	return false
}

// plan is what a backup is going to do, checked before it begins.
type plan struct {
	BackupOptions
	keys    *seal.Keys
	roots   []scan.Root // none for standard input
	exclude *scan.Matcher
	label   label
	source  schemas.SourceID
	again   bool // a pass before has failed: nothing of the parent is taken to be held
}

func (c *Client) plan(ctx context.Context, opt BackupOptions) (*plan, error) {
	p, err := newPlan(opt, c.host)
	if err != nil {
		return nil, err
	}
	if p.keys, err = c.keysToSave(ctx); err != nil {
		return nil, err
	}
	p.source = p.sourceFor(c)
	return p, nil
}

// sourceFor returns the id of what is saved. The client must have loaded its key.
func (p *plan) sourceFor(c *Client) schemas.SourceID {
	return c.key.SourceID(c.host, strings.Join(p.label.Paths, "\x00"))
}

// newPlan checks the options.
func newPlan(opt BackupOptions, host string) (*plan, error) {
	if opt.Progress == nil {
		opt.Progress = &Progress{}
	}
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	p := &plan{BackupOptions: opt, label: label{Host: host}}
	var err error
	if slices.Contains(opt.Paths, "-") {
		err = p.fromStdin()
	} else {
		err = p.fromPaths()
	}
	if err != nil {
		return nil, err
	}
	if err := p.leaveOut(); err != nil {
		return nil, err
	}
	if err := schemas.CheckRecord(p.Name); err != nil {
		return nil, err
	}
	return p, nil
}

// leaveOut prepares what is left out.
func (p *plan) leaveOut() (err error) {
	rules := scan.Rules{
		IgnoreFiles: p.IgnoreFiles, Caches: p.ExcludeCaches, OneFileSystem: p.OneFileSystem,
		NoDump: p.NoDump, LargerThan: p.ExcludeLargerThan, Folders: p.Without,
	}
	for _, file := range p.ExcludeFiles {
		read, err := scan.ReadRules(file.Name, file.Text)
		if err != nil {
			return err
		}
		rules.Patterns = append(rules.Patterns, read...)
	}
	for _, text := range p.Exclude {
		rules.Patterns = append(rules.Patterns, scan.Rule{Text: text})
	}
	p.exclude, err = scan.NewMatcher(rules, p.roots)
	return err
}

// maxPaths bounds the length of all paths of one backup together, in bytes: they are part of the
// version's record in the catalogue.
const maxPaths = 128 << 10

func (p *plan) fromStdin() error {
	switch {
	case len(p.Paths) > 1:
		return errors.New("standard input (-) can only be saved alone")
	case p.Name == "":
		return errors.New("data from standard input needs a name for the record")
	case p.Stdin == nil:
		return errors.New("there is no standard input to save")
	}
	p.label.Paths = []string{"-"}
	return nil
}

func (p *plan) fromPaths() (err error) {
	if p.roots, err = scan.NewRoots(p.Paths); err != nil {
		return err
	}
	for _, r := range p.roots {
		p.label.Paths = append(p.label.Paths, r.Abs)
	}
	if len(p.roots) == 1 {
		abs, err := filepath.Abs(p.Paths[0])
		if err != nil {
			return err
		}
		base := filepath.Base(abs)
		if base == string(filepath.Separator) {
			base = "root"
		}
		if p.roots[0].Path == "." {
			p.label.Top = base
		}
		if p.Name == "" {
			p.Name = base
		}
	}
	if n := len(strings.Join(p.label.Paths, "")); n > maxPaths {
		return fmt.Errorf("the %d paths have %d bytes together, and at most %d are possible: save a folder that holds them", len(p.roots), n, maxPaths)
	}
	if p.Name == "" {
		return errors.New("several paths need a name for the record")
	}
	return nil
}

// Package target writes the entries of a version below one folder. It is the only door through
// which a restore reaches the disk, and nothing is written outside of that folder.
//
// Entries are not trusted, because a version may have been made by somebody else. Every name is
// checked and then used relative to its opened parent folder. A parent that is a symbolic link is
// refused, whether this restore or somebody else made the link.
//
// What exists is kept unless [Options].Overwrite is set: neither is a file replaced nor a folder
// filled that this restore has not made. Whether a name is taken is found out by the call that takes
// it, so that nothing is merged or replaced that appears meanwhile, or whose name the file system
// takes for the same.
//
// A file appears under its name when it is whole. In this order: it is written without a name, or
// under a temporary name in its folder, gets its metadata, and gets its name in one step, by which
// it may replace another file. A process that is killed leaves temporary names. They are recognised by
// [Options].Record, and removed by the next restore of that record into that folder. Nothing
// is durable before [Target.Sync] has returned: after a power cut, the size or content of a file
// that is there may be wrong if it was not reached.
//
// Folders are made private and writable, and get their metadata when nothing holds them any more
// (see [Dir]). So a read-only folder can be filled, and its mtime stays as it was saved. What cannot
// be set of an entry's metadata is one warning for the entry, because its content is there.
package target

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Options say what a restore may overwrite and set. The zero value overwrites nothing and gives
// no file to another owner.
type Options struct {
	// Overwrite replaces files and links that have the name of an entry, and gives folders
	// that exist already the metadata of the version. A folder is never replaced by
	// something else.
	Overwrite bool
	// Owner gives every entry its owner, which takes root's rights unless that is the user
	// who restores. Without it, entries belong to that user. A file that does not have its
	// owner has no setuid and setgid bits.
	Owner bool
	// NumericOwner takes owners by their numbers only. Without it, as in tar, a user or group
	// name that this machine knows takes precedence over the number.
	NumericOwner bool
	// Record is the name of what is restored. It marks temporary names.
	Record string
	// Warn is called with what could not be set of a written entry, at most once for each,
	// perhaps concurrently. nil drops warnings.
	Warn func(path string, err error)
}

// Target writes entries below a folder.
//
// The calls for an entry must come after those for its folder. Apart from that, all methods may be
// called concurrently, so that files are written in parallel, except for Close and Abandon.
type Target struct {
	opt  Options
	meta *metaWriter
	dirs *osfs.Dirs

	top *Dir

	leftovers string // how the temporary names of all restores of the record begin
	temporary string // how the temporary names of this restore begin
	made      atomic.Int64
	lock      *os.File // the target folder, locked; nil if another restore has locked it
	started   int64    // nanoseconds since 1970

	mu      sync.Mutex
	live    map[string]*Dir  // by path: folders that have not got their metadata yet
	writing map[string]*File // by path: files that were created and are not finished
	// restricted are folders that are complete and whose mode would deny this process access.
	// They get their metadata at the end.
	restricted []*Dir
}

// Open returns a target that writes below the folder dir, which is made if it does not exist.
// A folder that is not empty keeps its own metadata, unless opt allows overwriting.
func Open(dir string, opt Options) (*Target, error) {
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	_, err := os.Lstat(dir)
	getsMeta := opt.Overwrite || errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make the target folder %s: %w", dir, osfs.WithoutPath(err))
	}
	// Later changes of the working directory must not matter.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the target folder %s: %w", dir, err)
	}
	dirs := osfs.NewDirs()
	top, err := dirs.Top(abs)
	if err != nil {
		return nil, fmt.Errorf("open the target folder %s: %w", dir, osfs.WithoutPath(err))
	}
	leftovers := leftoverPrefix(opt.Record)
	t := &Target{
		opt: opt, dirs: dirs, meta: newMetaWriter(&opt), started: time.Now().UnixNano(),
		leftovers: leftovers, temporary: leftovers + rand.Text()[:8] + "-",
		live: map[string]*Dir{}, writing: map[string]*File{},
	}
	t.lock = lockFolder(abs)
	t.top = &Dir{t: t, disk: top, Path: ".", holds: 1}
	if err := t.top.readNames(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the target folder %s: %w", dir, err), t.unlock())
	}
	t.top.getsMeta = getsMeta || len(t.top.before) == 0
	t.live["."] = t.top
	return t, nil
}

// lockFolder opens and locks a folder. It returns nil if another process has locked it.
func lockFolder(dir string) *os.File {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	if !osfs.Lock(f) {
		f.Close()
		return nil
	}
	return f
}

func (t *Target) unlock() error {
	if t.lock == nil {
		return nil
	}
	return osfs.WithoutPath(t.lock.Close())
}

// leftoverPrefix is how the temporary names of all restores of a record begin.
func leftoverPrefix(record string) string {
	sum := sha256.Sum256([]byte(record))
	return ".restore-" + hex.EncodeToString(sum[:4]) + "-"
}

// temporaryName returns a name that nothing has.
func (t *Target) temporaryName() string { return t.temporary + strconv.FormatInt(t.made.Add(1), 36) }

// removeLeftover removes what a killed restore of the same record has left under a temporary name in
// d. Two restores into one folder must not remove each other's files: only the one that has the
// lock removes anything, and nothing that was changed since it began.
func (t *Target) removeLeftover(d *Dir, name string) (removed bool) {
	if t.lock == nil || !strings.HasPrefix(name, t.leftovers) {
		return false
	}
	info, err := d.disk.Lstat(name)
	if err != nil || info.IsDir() || osfs.MetaOf(info).Ctime >= t.started {
		return false
	}
	return d.disk.RemoveUnused(name) == nil
}

// ErrLeftOut means that an entry could not be made because this user, or this system, may not make
// such entries here.
var ErrLeftOut = errors.New("it was left out")

// Put makes a symbolic link, a fifo, a socket or a device. The error may be [ErrLeftOut].
func (t *Target) Put(e *tree.Entry) error {
	err := checkPath(e.Path)
	if err == nil {
		switch e.Type {
		case tree.TypeSymlink:
			err = t.putNode(e, func(d *osfs.Dir, name string) error {
				return osfs.WithoutPath(d.Root.Symlink(e.Target, name))
			})
		case tree.TypeFile, tree.TypeDir:
			err = fmt.Errorf("Put does not make a %v: this is a bug", e.Type)
		default:
			err = t.putNode(e, func(d *osfs.Dir, name string) error {
				return osfs.Mknod(d, name, e.Type.UnixType(), e.Rdev)
			})
		}
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w: this %v cannot be made here: %w", ErrLeftOut, e.Type, err)
	}
	return entryError(e, err)
}

// entryError adds to err the path of the entry that it is about.
func entryError(e *tree.Entry, err error) error {
	if err != nil {
		return fmt.Errorf("restore %q: %w", e.Path, err)
	}
	return nil
}

// ErrName means that the system, or the file system of the target, cannot have a name. [Mapper] finds
// another one for it.
var ErrName = errors.New("a name that is not possible here")

// checkPath returns why nothing may be written at path, or nil.
func checkPath(path string) error {
	if err := tree.CheckPath(path); err != nil {
		return err
	}
	if path == "." {
		return nil
	}
	// A name from another system can be a device, a stream or a path on Windows.
	for part := range strings.SplitSeq(path, "/") {
		if !filepath.IsLocal(part) || filepath.Separator != '/' && impossible(part) {
			return fmt.Errorf("%w: %q", ErrName, part)
		}
	}
	return nil
}

// These refusals wrap fs.ErrExist.
var (
	errExists = fmt.Errorf("%w: restore into another folder, or allow overwriting", fs.ErrExist)
	errFolder = fmt.Errorf("%w as a folder, and folders are not replaced: move it away first", fs.ErrExist)
)

// putNode makes an entry without content by make, and sets its metadata.
func (t *Target) putNode(e *tree.Entry, make func(d *osfs.Dir, name string) error) error {
	d, name, err := t.holdParent(e.Path)
	if err != nil {
		return err
	}
	defer d.Release()
	if err := d.disk.Acquire(); err != nil {
		return err
	}
	defer d.disk.Release()
	used, err := t.makeNamed(d, name, make)
	if err != nil {
		return err
	}
	t.meta.set(d.disk, used, nil, e)
	if err := d.disk.Rename(used, name); err != nil {
		return err
	}
	return d.checkMade(name)
}

// makeNamed calls make with name or, if something has that name and may be overwritten, with a
// temporary name. It returns the name that it used; the caller completes the entry and then
// renames it with [osfs.Dir.Rename]. d.disk must be acquired.
func (t *Target) makeNamed(d *Dir, name string, make func(d *osfs.Dir, name string) error) (used string, err error) {
	replaces, err := d.mayReplace(name)
	if err != nil {
		return "", err
	}
	if used = name; replaces {
		used = t.temporaryName()
	}
	err = make(d.disk, used)
	return used, d.explainName(name, err)
}

// ReadBack fills b from byte off on of a regular file that this target has written or is writing.
func (t *Target) ReadBack(path string, b []byte, off int64) error {
	t.mu.Lock()
	f := t.writing[path]
	t.mu.Unlock()
	if f != nil && f.dir.disk.ReadAt(f.used, b, off) == nil {
		return nil
	}
	return t.ReadOld(path, b, off)
}

// ReadOld is ReadBack for a file that was there before, until it is replaced.
func (t *Target) ReadOld(path string, b []byte, off int64) error {
	parents, name := tree.SplitPath(path)
	d, err := t.findDir(parents)
	if err != nil {
		return err
	}
	return d.ReadAt(name, b, off)
}

// Close sets the metadata of all folders that have not got it yet, and closes them. All files must
// have been finished or aborted before.
func (t *Target) Close() {
	t.mu.Lock()
	rest := make([]*Dir, 0, len(t.live))
	for _, d := range t.live {
		rest = append(rest, d)
	}
	t.mu.Unlock()
	slices.SortFunc(rest, func(a, b *Dir) int { return tree.ComparePath(b.Path, a.Path) })
	for _, d := range rest {
		d.settle()
	}
	// Children settle before their parents, so they also come first in this list.
	for _, d := range t.restricted {
		d.setMeta()
	}
	t.live, t.restricted = nil, nil
	t.dirs.Close()
	_ = t.unlock() // the folder was only locked, not written to
}

// Sync makes everything that was written durable. One sync for all files costs a small part of
// what one sync for each file would. It works after Close.
func (t *Target) Sync() error {
	if err := t.top.disk.Acquire(); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	defer t.top.disk.Release()
	if err := osfs.SyncFileSystem(t.top.disk.Self); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	return nil
}

// Abandon ends a restore that cannot go on, in place of Close. It removes files that are not
// finished and leaves folders as they are. No other call may be under way.
func (t *Target) Abandon() error {
	var err error
	for _, f := range t.writing {
		err = errors.Join(err, f.remove())
		f.file.Close() // the file is removed, so an error does not matter
	}
	t.dirs.Close()
	return errors.Join(err, t.unlock())
}

package archive

import (
	"context"
	"fmt"

	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/tree"
)

// Difference is how a path differs from the parent version.
type Difference int

// The differences.
const (
	New     Difference = iota + 1 // the parent does not have the path
	Changed                       // its content, or what belongs to it, is not what the parent has
	Gone                          // only the parent has the path
)

// Preview is what a backup would do. The counts are of paths that are not folders.
type Preview struct {
	Files, Bytes       int64 // in the new version, with their content
	New, Changed, Gone int64
	Read               int64 // bytes that would be read from files
	Unreadable         int64 // paths that cannot be opened, or listed
}

// Compare goes over the source as [Save] does, and opens what Save would read, but reads no content
// and saves nothing. It calls visit with each path that differs from the parent, in the order of the
// tree; of a folder only if it is new or gone, and never with the saved folder itself. Of opt it uses
// Roots, Exclude, Parent, Reread and Warn.
func Compare(ctx context.Context, opt Options, visit func(path string, isDir bool, d Difference)) (*Preview, error) {
	c := &comparison{Options: opt, visit: visit, shared: sharedFiles{}}
	if p := opt.Parent; p != nil {
		c.parent = tree.NewReader(p.NewGetter(), p.Root).Iterate(ctx, "")
		if err := c.advance(); err != nil {
			return nil, err
		}
	}
	if err := scan.Walk(ctx, opt.Roots, opt.Exclude, c.see); err != nil {
		return nil, err
	}
	for c.before != nil {
		if err := c.passGone(); err != nil {
			return nil, err
		}
	}
	return &c.Preview, ctx.Err()
}

// comparison is one run of Compare.
type comparison struct {
	Options
	Preview
	visit  func(path string, isDir bool, d Difference)
	parent *tree.Entries
	before *tree.Entry // the parent's next entry; nil at its end
	shared sharedFiles
}

// advance passes over the parent's next entry.
func (c *comparison) advance() error {
	e, ok, err := c.parent.Next()
	if err != nil {
		return fmt.Errorf("the previous version %s cannot be read: %w", c.Parent.ID, err)
	}
	if c.before = e; !ok {
		c.before = nil
	}
	return nil
}

// passGone notes that the parent's next entry is not in the source.
func (c *comparison) passGone() error {
	isDir := c.before.Type == tree.TypeDir
	if !isDir {
		c.Gone++
	}
	c.visit(c.before.Path, isDir, Gone)
	return c.advance()
}

// see compares one item of the walk.
func (c *comparison) see(it scan.Item) error {
	if it.Err != nil {
		c.fail(it.Path, it.Err)
	}
	e := it.Entry
	if e == nil {
		return nil
	}
	for c.before != nil && tree.ComparePath(c.before.Path, e.Path) < 0 {
		if err := c.passGone(); err != nil {
			return err
		}
	}
	var before *tree.Entry
	if c.before != nil && c.before.Path == e.Path {
		before = c.before
		if err := c.advance(); err != nil {
			return err
		}
	}
	isDir := e.Type == tree.TypeDir
	_, further := c.shared.find(&it)
	unchanged := !c.Reread && isUnchanged(e, before) && e.ReuseMetadata(before, false)
	if !unchanged && !further && !c.open(&it) {
		return nil
	}
	if !isDir {
		c.Files++
		if !further { // as Save counts: content belongs to the file, not to its names
			c.Bytes += it.Entry.Size
		}
	}
	switch {
	case before == nil && e.Path == ".":
	case before == nil:
		c.visit(e.Path, isDir, New)
		if !isDir {
			c.New++
		}
	case !unchanged && !isDir:
		c.visit(e.Path, false, Changed)
		c.Changed++
	}
	return nil
}

// open opens what a backup would read. It reports false if there is nothing to save.
func (c *comparison) open(it *scan.Item) bool {
	path := it.Path
	if it.Entry.Type != tree.TypeFile {
		if err := it.ReadRest(); err != nil {
			c.fail(path, err)
		}
		return it.Entry != nil
	}
	f, _, err := it.Open()
	if err != nil {
		c.fail(path, err)
		return false
	}
	f.Close()
	if it.Err != nil {
		c.fail(path, it.Err)
	}
	c.Read += it.Entry.Size
	return true
}

func (c *comparison) fail(path string, err error) {
	c.Unreadable++
	c.Warn(path, err)
}

package restore

import (
	"context"
	"fmt"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
	"strings"
)

func (r *restorer) descendAll(parts []Part) error {
	for _, p := range parts {
		if p.To != "" {
			r.tops = append(r.tops, p.To)
		}
	}
	for _, p := range parts {
		entries := r.src.Entries.Iterate(r.ctx, ".")
		if p.From != "." {
			entries = r.src.Entries.Subtree(r.ctx, p.From)
		}
		if err := r.descend(&survivor{r: r, part: p, entries: entries}, p); err != nil {
			return err
		}
		r.climb("")
	}
	return r.dispatch(true)
}

// descend places folders and small things as it meets them, and asks for the
// pieces of files.
func (r *restorer) descend(entries *survivor, p Part) error {
	for {
		e, ok, err := entries.Next()
		if err != nil || !ok {
			return err
		}
		e.Path = p.path(e.Path)
		if e.HardLink != "" {
			if err := r.linkTo(e, p); err != nil {
				return err
			}
		}
		if e.Path == "" { // the top of a version has no name of its own here
			continue
		}
		if p.To == "" && !strings.Contains(e.Path, "/") {
			r.tops = append(r.tops, e.Path)
		}
		if err := r.meet(e); err != nil {
			return err
		}
	}
}

// linkTo makes e's first name what it is in the target. If that is not part of
// what is asked for, the first of its names that is takes its place, with the
// content.
func (r *restorer) linkTo(e *tree.Entry, p Part) error {
	first := e.HardLink
	if e.HardLink = p.path(first); e.HardLink != "" {
		return nil
	}
	if stands, ok := r.heads[first]; ok {
		e.HardLink = stands
		return nil
	}
	head, err := r.src.Entries.Lookup(r.ctx, first)
	if download.IsDamage(err) {
		r.fail(e.Path, fmt.Errorf("it is another name of %q: %w", first, err))
		e.Path = "" // left out
		return nil
	}
	if err != nil {
		return fmt.Errorf("%q is another name of %q: %w", e.Path, first, err)
	}
	r.heads[first] = e.Path
	e.Content, e.Size = head.Content, head.Size
	return nil
}

// path is where the entry at a path of the version appears; "" if that is neither
// p.From nor below it.
func (p Part) path(inVersion string) string {
	switch {
	case p.From == "." && inVersion == ".":
		return p.To
	case p.From == "." && p.To == "":
		return inVersion
	case p.From == ".":
		return p.To + "/" + inVersion
	case inVersion == p.From:
		return p.To
	}
	if rest, ok := strings.CutPrefix(inVersion, p.From+"/"); ok {
		return p.To + "/" + rest
	}
	return ""
}

// meet begins the restore of one entry, whose path is where it goes.
func (r *restorer) meet(e *tree.Entry) error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	parents, _ := tree.SplitPath(e.Path)
	dir := r.climb(parents)
	if err := r.completeXattrs(e); err != nil {
		if !download.IsDamage(err) {
			return err
		}
		r.warn(e.Path, fmt.Errorf("its extended attributes are lost: %w", err))
	}
	switch {
	case e.Type == tree.TypeDir:
		r.enterDir(e)
		return nil
	case e.HardLink != "":
		r.links = append(r.links, newFileJob(e, dir))
		return nil
	case e.Type == tree.TypeFile:
		return r.pieces(newFileJob(e, dir))
	}
	if err := r.to.Put(e); err != nil {
		r.fail(e.Path, err)
		return nil
	}
	r.count(0)
	return nil
}

// completeXattrs fetches attributes that are kept in chunks.
func (r *restorer) completeXattrs(e *tree.Entry) error {
	if e.XattrContent.Bytes == 0 {
		return nil
	}
	var b []byte
	pieces := r.src.Entries.Pieces(r.ctx, e.XattrContent, tree.MaxXattrs)
	for {
		p, ok, err := pieces.Next()
		if err != nil {
			return err
		}
		if !ok {
			e.Xattrs, err = tree.DecodeXattrs(b)
			return err
		}
		if b, err = r.src.Chunks.AppendPiece(r.ctx, b, p); err != nil {
			return err
		}
	}
}

// enterDir makes a folder, which the descent is in from now on.
func (r *restorer) enterDir(e *tree.Entry) {
	d, err := r.to.Mkdir(e)
	if err != nil {
		r.fail(e.Path, err)
		return
	}
	r.stack = append(r.stack, d)
}

// climb leaves the folders that the descent has passed, up to the one at parents,
// and returns that, or the nearest one over it that is not lost; nil for the top.
func (r *restorer) climb(parents string) *target.Dir {
	for n := len(r.stack); n > 0; n-- {
		d := r.stack[n-1]
		if parents != "" && parents != "." && tree.InSubtree(parents, d.Path) {
			return d
		}
		r.stack = r.stack[:n-1]
		r.to.Leave(d)
	}
	return nil
}

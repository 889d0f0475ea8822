package client

import (
	"context"
	"fmt"
	"strings"
)

func (r *restorer) descendAll(parts []restorePart) error {
	for _, p := range parts {
		if p.To != "" {
			r.tops = append(r.tops, p.To)
		}
	}
	for _, p := range parts {
		entries := r.src.entries.iterate(r.ctx, ".")
		if p.From != "." {
			entries = r.src.entries.subtree(r.ctx, p.From)
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
func (r *restorer) descend(entries *survivor, p restorePart) error {
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
func (r *restorer) linkTo(e *Entry, p restorePart) error {
	first := e.HardLink
	if e.HardLink = p.path(first); e.HardLink != "" {
		return nil
	}
	if stands, ok := r.heads[first]; ok {
		e.HardLink = stands
		return nil
	}
	head, err := r.src.entries.lookup(r.ctx, first)
	if isDamage(err) {
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
func (p restorePart) path(inVersion string) string {
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
func (r *restorer) meet(e *Entry) error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	parents, _ := splitPath(e.Path)
	dir := r.climb(parents)
	if err := r.completeXattrs(e); err != nil {
		if !isDamage(err) {
			return err
		}
		r.warn(e.Path, fmt.Errorf("its extended attributes are lost: %w", err))
	}
	switch {
	case e.Type == TypeDir:
		r.enterDir(e)
		return nil
	case e.HardLink != "":
		r.links = append(r.links, newFileJob(e, dir))
		return nil
	case e.Type == TypeFile:
		return r.pieces(newFileJob(e, dir))
	}
	if err := r.to.put(e); err != nil {
		r.fail(e.Path, err)
		return nil
	}
	r.count(0)
	return nil
}

// completeXattrs fetches attributes that are kept in chunks.
func (r *restorer) completeXattrs(e *Entry) error {
	if e.XattrContent.Bytes == 0 {
		return nil
	}
	var b []byte
	pieces := r.src.entries.pieces(r.ctx, e.XattrContent, maxXattrs)
	for {
		p, ok, err := pieces.Next()
		if err != nil {
			return err
		}
		if !ok {
			e.Xattrs, err = decodeXattrs(b)
			return err
		}
		if b, err = r.src.chunks.appendPiece(r.ctx, b, p); err != nil {
			return err
		}
	}
}

// enterDir makes a folder, which the descent is in from now on.
func (r *restorer) enterDir(e *Entry) {
	d, err := r.to.mkdir(e)
	if err != nil {
		r.fail(e.Path, err)
		return
	}
	r.stack = append(r.stack, d)
}

// climb leaves the folders that the descent has passed, up to the one at parents,
// and returns that, or the nearest one over it that is not lost; nil for the top.
func (r *restorer) climb(parents string) *targetDir {
	for n := len(r.stack); n > 0; n-- {
		d := r.stack[n-1]
		if parents != "" && parents != "." && inSubtree(parents, d.path) {
			return d
		}
		r.stack = r.stack[:n-1]
		r.to.leave(d)
	}
	return nil
}

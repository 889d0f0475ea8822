package client

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
)

// openDir is a folder that was placed; it is left when nothing in it is open.
type openDir struct {
	entry  *Entry
	parent *openDir // nil at the top
	open   atomic.Int64
}

// part is a part of the version that is asked for: the entries at from and
// below, which appear as to.
type part struct{ from, to string }

func (r *restorer) descendAll(parts []part) error {
	if r.v.plain != nil {
		return r.placePlain()
	}
	for _, p := range parts {
		entries := r.v.tree.iterate(r.ctx, ".")
		if p.from != "." {
			entries = r.v.tree.subtree(r.ctx, p.from)
		}
		if err := r.descend(entries, p); err != nil {
			return err
		}
		r.climb("")
	}
	return r.dispatch(true)
}

// descend places folders and small things as it meets them, and asks for the
// pieces of files.
func (r *restorer) descend(entries *entryIter, p part) error {
	for {
		e, ok, err := entries.Next()
		if err != nil || !ok {
			return err
		}
		at := e.Path
		e.Path = p.place(at)
		if e.HardLink != "" {
			if err := r.linkTo(e, p); err != nil {
				return err
			}
		}
		if e.Path == "" { // the top of a version has no name of its own here
			continue
		}
		if p.to == "" && !strings.Contains(e.Path, "/") {
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
func (r *restorer) linkTo(e *Entry, p part) error {
	first := e.HardLink
	if e.HardLink = p.place(first); e.HardLink != "" {
		return nil
	}
	if stands, ok := r.heads[first]; ok {
		e.HardLink = stands
		return nil
	}
	head, err := r.v.tree.lookup(r.ctx, first)
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

// place is where the path p.from, or one below it, appears; "" if the path is
// outside.
func (p part) place(at string) string {
	switch {
	case p.from == "." && at == ".":
		return p.to
	case p.from == ".":
		return joinPath(p.to, at)
	case at == p.from:
		return p.to
	}
	if rest, ok := strings.CutPrefix(at, p.from+"/"); ok {
		return p.to + "/" + rest
	}
	return ""
}

// meet begins the restore of one entry, whose path is where it goes.
func (r *restorer) meet(e *Entry) error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	above, _ := splitPath(e.Path)
	dir := r.climb(above)
	if err := r.v.wholeXattrs(r.ctx, e); err != nil {
		if !isDamage(err) {
			return err
		}
		r.warn(e.Path, fmt.Errorf("its extended attributes are lost: %w", err))
	}
	job := &fileJob{entry: e, dir: dir}
	switch {
	case e.Type == TypeDir:
		r.enterDir(e, dir)
		return nil
	case e.HardLink != "":
		job.open()
		r.links = append(r.links, job)
		return nil
	case e.Type == TypeFile:
		job.open()
		return r.pieces(job)
	}
	if err := r.placer.place(e); err != nil {
		r.fail(e.Path, err)
		return nil
	}
	r.count(0)
	return nil
}

func (r *restorer) enterDir(e *Entry, parent *openDir) {
	if err := r.placer.place(e); err != nil {
		r.fail(e.Path, err)
	}
	d := &openDir{entry: e, parent: parent}
	d.open.Store(1)
	if parent != nil {
		parent.open.Add(1)
	}
	r.stack = append(r.stack, d)
}

// climb leaves the folders that the descent has passed, up to the one at above,
// and returns that; nil for the top.
func (r *restorer) climb(above string) *openDir {
	for n := len(r.stack); n > 0; n-- {
		d := r.stack[n-1]
		if above != "" && above != "." && d.entry.Path == above {
			return d
		}
		r.stack = r.stack[:n-1]
		r.close(d)
	}
	return nil
}

// close counts one thing in d as done.
func (r *restorer) close(d *openDir) {
	for d != nil && d.open.Add(-1) == 0 {
		r.placer.leaveDir(d.entry)
		d = d.parent
	}
}

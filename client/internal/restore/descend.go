package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
)

// descendAll descends all parts and dispatches all requests.
func (r *restorer) descendAll(parts []Part) error {
	for _, p := range parts {
		if err := r.descend(p.entries(r.ctx, r.src.Entries, r.fail), p); err != nil {
			return err
		}
		r.climb("")
		if p.To != "" {
			r.tops = append(r.tops, r.opt.Names.Path(p.To))
		}
	}
	return r.dispatch(true)
}

// descend begins the restore of all entries of a part.
func (r *restorer) descend(entries *survivor, p Part) error {
	for {
		e, ok, err := entries.next()
		if err != nil || !ok {
			return err
		}
		path := p.path(e.Path)
		var mapped bool
		e.Path, mapped = r.opt.Names.Enter(path)
		// The version's top has no name in the target, or its folder could not be made.
		if e.Path == "" || r.refused != "" && tree.InSubtree(e.Path, r.refused) {
			continue
		}
		if mapped {
			r.opt.Mapped(path, e.Path)
		}
		if p.To == "" && !strings.Contains(e.Path, "/") {
			r.tops = append(r.tops, e.Path)
		}
		first := e.HardLink
		if first != "" {
			left, err := r.mapFirstName(e)
			if err != nil {
				return err
			}
			if left {
				continue
			}
		}
		if err := r.begin(e, first); err != nil {
			return err
		}
	}
}

// mapFirstName replaces the first name of e's file by the first name's path in the target, in
// whichever part it is. If the first name is outside of all parts, the first of the other names
// that is inside takes its place. left reports that e is damaged and left out.
func (r *restorer) mapFirstName(e *tree.Entry) (left bool, err error) {
	first := e.HardLink
	for _, p := range r.parts {
		if e.HardLink = r.opt.Names.Path(p.path(first)); e.HardLink != "" {
			return false, nil
		}
	}
	if other, ok := r.firstNames[first]; ok {
		e.HardLink = other
		return false, nil
	}
	e.HardLink = first
	err = r.completeLink(e, first)
	if download.IsDamage(err) {
		r.fail(e.Path, err)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	e.HardLink = ""
	r.firstNames[first] = e.Path
	return false, nil
}

// completeLink gets what belongs to a file from the entry of its first name, if e does not have it:
// earlier programs saved it only there.
func (r *restorer) completeLink(e *tree.Entry, first string) error {
	if !e.IsBareLink() {
		return nil
	}
	file, err := r.src.Entries.Lookup(r.ctx, first)
	if err != nil {
		return fmt.Errorf("it is another name of %q: %w", first, err)
	}
	e.CompleteLink(file)
	return nil
}

// entries iterates over the entries of the part. fail is called with paths that are lost.
func (p Part) entries(ctx context.Context, r *tree.Reader, fail func(path string, err error)) *survivor {
	entries := r.Iterate(ctx, ".")
	if p.From != "." {
		entries = r.Subtree(ctx, p.From)
	}
	return &survivor{part: p, fail: fail, entries: entries}
}

// path returns the path in the target of an entry of the version, or "" if the entry is neither
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

// begin begins the restore of an entry, whose path and first name are already those in the target.
// It makes folders and entries without content, and requests the content of files. first is the
// first name in the version.
func (r *restorer) begin(e *tree.Entry, first string) error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	parents, _ := tree.SplitPath(e.Path)
	dir := r.climb(parents)
	if err := r.completeXattrs(e); err != nil {
		if !download.IsDamage(err) {
			return err
		}
		r.opt.Incomplete(e.Path, fmt.Errorf("its extended attributes are lost: %w", err))
	}
	switch {
	case e.Type == tree.TypeDir:
		r.enterDir(e)
		return nil
	case e.HardLink != "":
		r.links = append(r.links, linkJob{newFileJob(e, dir), first})
		return nil
	case e.Type == tree.TypeFile:
		return r.requestPieces(newFileJob(e, dir))
	}
	switch err := r.to.Put(e); {
	case errors.Is(err, target.ErrLeftOut):
		r.opt.Incomplete(e.Path, err)
	case err != nil:
		r.fail(e.Path, err)
	default:
		r.count(0)
	}
	return nil
}

// completeXattrs fetches attributes that are stored in chunks of their own.
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

// enterDir makes a folder and enters it. If it cannot be made, everything in it is left out.
func (r *restorer) enterDir(e *tree.Entry) {
	d, err := r.to.Mkdir(e)
	if err != nil {
		r.refused = e.Path
		r.fail(e.Path, fmt.Errorf("%w (nothing in it is restored)", err))
		return
	}
	r.stack = append(r.stack, d)
}

// climb leaves folders until the descent is in the folder at parents, or, if that folder could not
// be made, in the nearest one above it. It returns that folder, or nil for the top of the target.
func (r *restorer) climb(parents string) *target.Dir {
	for n := len(r.stack); n > 0; n-- {
		d := r.stack[n-1]
		if parents != "" && parents != "." && tree.InSubtree(parents, d.Path) {
			return d
		}
		r.stack = r.stack[:n-1]
		d.Release()
	}
	return nil
}

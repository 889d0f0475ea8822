package scan

import (
	"errors"
	"slices"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// listingItems is how many names one listing looks at. A large folder has many listings, so
// that the walk need not wait until all its names were looked at, and does not keep all
// their items in memory.
const listingItems = 256

// listing is the work of listing a folder and looking at its first names, or of looking at
// the next names of a folder that was listed before.
type listing struct {
	dir      *osfs.Dir
	path     string       // of dir's entry
	rootPath string       // the path of the only name's entry, for a root; else ""
	scope    *scope       // of the root
	rules    *folderRules // of the ignore files down to this folder; nil if there are none
	names    []string     // sorted, once they are listed
	listed   bool
	isRoot   bool // dir is a root: a person named it

	claimed    bool          // by a helper or the walk; belongs to the queue's mu
	done       chan struct{} // closed when the fields of the result are set
	prev, next *listing      // in the queue; nil once it is done

	// The result.
	items   []Item
	subdirs []*listing // of the items that are folders, in their order
	rest    *listing   // of the remaining names; nil if there are none
	err     error      // of listing the folder
}

// setDone makes the listing of a folder that the walk does not enter: it finds nothing.
func (l *listing) setDone() {
	l.listed, l.claimed, l.done = true, true, make(chan struct{})
	close(l.done)
}

// read lists the folder, if that was not done, and looks at up to listingItems names.
func (l *listing) read(q *queue) {
	err := l.dir.Acquire()
	if err == nil {
		defer l.dir.Release()
	}
	if !l.listed {
		if err == nil {
			buf := q.buffers.Get().(*[]byte)
			l.names, err = l.dir.List(*buf)
			q.buffers.Put(buf)
			slices.Sort(l.names)
		}
		l.err, err = err, nil
		if q.exclude != nil {
			l.items = l.readOwnRules(q.exclude)
		}
	}
	names := l.names[:min(len(l.names), listingItems)]
	if rest := l.names[len(names):]; len(rest) > 0 {
		l.rest = &listing{dir: l.dir, path: l.path, scope: l.scope, rules: l.rules, names: rest, listed: true}
	}
	l.names = nil
	l.items = append(make([]Item, 0, len(l.items)+len(names)), l.items...)
	entries := make([]tree.Entry, len(names))
	for i, name := range names {
		it := Item{Path: l.rootPath, Entry: &entries[i], Err: err, dir: l.dir, name: name, owners: q.names}
		if l.rootPath == "" {
			it.Path = tree.JoinPath(l.path, name)
		}
		l.lookAt(q, it)
	}
}

// lookAt looks at one name, and adds its item unless it is left out. it has the path, an
// empty entry, and the error of opening the folder, if any.
func (l *listing) lookAt(q *queue, it Item) {
	e := it.Entry
	if it.Err == nil {
		var m osfs.Meta
		m, it.identity, it.Err = l.dir.LstatMeta(it.name)
		e.Type, it.Nlink = tree.TypeOfMode(m.Mode), m.Nlink
		setMeta(e, &m)
	}
	if it.Err != nil {
		if l.rootPath == "" && q.exclude != nil {
			if why, out := l.matchesPattern(it.Path, true); out { // it need not be readable
				q.exclude.count(why, nil)
				return
			}
		}
		l.items = append(l.items, Item{Path: it.Path, Err: it.Err})
		return
	}
	switch {
	case l.rootPath != "":
		l.scope.dev = e.Dev
	case q.exclude.matchFolder(&it) || l.leavesOut(q.exclude, &it):
		return
	}
	switch e.Type {
	case tree.TypeSocket:
		return
	case 0:
		l.items = append(l.items, Item{Path: it.Path, Err: errors.New("it is of a kind that cannot be saved")})
		return
	}
	e.Path = it.Path
	e.User, e.Group = q.names.User(e.UID), q.names.Group(e.GID)
	l.items = append(l.items, it)
	if e.Type == tree.TypeDir {
		sub := &listing{dir: l.dir, path: it.Path, scope: l.scope, rules: l.rules, isRoot: l.rootPath != ""}
		if it.name != "." {
			sub.dir = l.dir.Child(it.name, it.identity)
		}
		if l.staysOut(q.exclude, e) || l.dir.IsPseudo(it.name, it.identity) {
			sub.setDone()
		}
		l.subdirs = append(l.subdirs, sub)
	}
}

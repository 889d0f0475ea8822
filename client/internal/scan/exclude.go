package scan

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"servidor-backup/client/internal/ignore"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// IgnoreFile is the name of the files in the saved folders that hold patterns.
const IgnoreFile = ".backupignore"

// Rules say what a backup leaves out.
type Rules struct {
	// Patterns are in order: a later one outweighs an earlier one, and all of them outweigh
	// those of ignore files.
	Patterns []Rule
	// IgnoreFiles are names of files that hold patterns, besides [IgnoreFile]. Such a file is
	// for the folder that it is in and the folders below. The file of the deeper folder, and
	// of one folder's files the later name, outweighs the others; [IgnoreFile] is the last.
	IgnoreFiles []string
	// Caches leaves out what is in a folder with a valid CACHEDIR.TAG, except for the tag.
	Caches bool
	// OneFileSystem leaves out what is in a folder on another file system than its root's.
	OneFileSystem bool
	// LargerThan leaves out files with more bytes; 0 is no limit.
	LargerThan int64
	// NoDump leaves out files and folders that have the system's flag "no dump", as
	// chattr +d sets it.
	NoDump bool
	// Folders are left out, whatever their names are, however the walk reaches them. Paths
	// that are not folders, or do not exist, are ignored.
	Folders []string
}

// Rule is a pattern as [ignore.Parse] takes it, but see [NewMatcher].
type Rule struct {
	Text string
	File string // where it was read, for messages; "" if a person typed it
	Line int
}

// Reason says why something was left out.
type Reason uint8

// The reasons.
const (
	ByPattern       Reason = iota // of [Rules.Patterns]
	ByIgnoreFile                  // a pattern in an ignore file
	CacheFolder                   // counts folders
	OtherFileSystem               // counts folders
	StoreFolder                   // counts folders with a [schemas.StoreMarker]
	TooLarge
	NoDump
	Reasons // how many there are
)

// LeftOut counts what was left out, by reason. A folder counts as one path, whatever is in
// it, and without bytes.
type LeftOut [Reasons]struct{ Paths, Bytes int64 }

// Matcher decides what a backup leaves out, and counts it. nil leaves out nothing.
type Matcher struct {
	rules       Rules
	lists       map[string]ignore.List // of Patterns, by the path of the root
	dropped     map[string]bool        // roots that a pattern leaves out, by path
	folders     []os.FileInfo
	ignoreFiles []string
	counts      *[Reasons]struct{ paths, bytes atomic.Int64 } // nil to count nothing
}

// NewMatcher prepares rules for a walk of roots. Patterns are those of .gitignore, relative to
// each root. What else people write means what it looks like; see [resolver.resolve]. The
// error is a *[PatternError] for a pattern that can never match.
func NewMatcher(rules Rules, roots []Root) (*Matcher, error) {
	m := &Matcher{
		rules: rules, lists: map[string]ignore.List{}, dropped: map[string]bool{},
		ignoreFiles: append(slices.Clone(rules.IgnoreFiles), IgnoreFile),
		counts:      new([Reasons]struct{ paths, bytes atomic.Int64 }),
	}
	if rules.NoDump && !osfs.HasNoDump {
		return nil, errors.New("this system has no flag that keeps files out of backups")
	}
	if err := m.resolvePatterns(roots); err != nil {
		return nil, err
	}
	for _, path := range rules.Folders {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			m.folders = append(m.folders, info)
		}
	}
	return m, nil
}

// WithoutCounts returns a matcher that leaves out the same and counts nothing.
func (m *Matcher) WithoutCounts() *Matcher {
	if m == nil {
		return nil
	}
	c := *m
	c.counts = nil
	return &c
}

// LeftOut returns what was left out so far.
func (m *Matcher) LeftOut() (l LeftOut) {
	if m == nil || m.counts == nil {
		return l
	}
	for i := range l {
		l[i].Paths, l[i].Bytes = m.counts[i].paths.Load(), m.counts[i].bytes.Load()
	}
	return l
}

func (m *Matcher) count(why Reason, e *tree.Entry) {
	if m.counts == nil {
		return
	}
	m.counts[why].paths.Add(1)
	if e != nil && e.Type == tree.TypeFile {
		m.counts[why].bytes.Add(e.Size)
	}
}

// dropsRoot reports whether a pattern leaves out a root, and counts it.
func (m *Matcher) dropsRoot(r *Root) bool {
	if m == nil || !m.dropped[r.Path] {
		return false
	}
	m.count(ByPattern, nil)
	return true
}

// newScope returns the rules for a root.
func (m *Matcher) newScope(r *Root) *scope {
	s := &scope{relStart: len(r.Path) + 1}
	if r.Path == "." {
		s.relStart = 0
	}
	if m != nil {
		s.patterns = m.lists[r.Path]
	}
	return s
}

// scope is what a root's listings know of it.
type scope struct {
	relStart int         // where, in a path, the part below the root begins
	patterns ignore.List // relative to the root
	dev      uint64      // of the root; set before anything below it is looked at
}

// folderRules are the patterns of a folder's ignore files. They are for that folder and all below it.
type folderRules struct {
	above *folderRules // of the folders above that have some; nil if there are none
	start int          // where, in a path, the part below the folder begins
	list  ignore.List
}

// matchFolder reports whether the item is one of [Rules.Folders].
func (m *Matcher) matchFolder(it *Item) bool {
	return m != nil && it.Entry.Type == tree.TypeDir && slices.ContainsFunc(m.folders, it.identity.Matches)
}

// matchesPattern reports whether the patterns leave out a path, and whose they are.
func (l *listing) matchesPattern(path string, isDir bool) (why Reason, out bool) {
	decided, out := l.scope.patterns.Match(path[l.scope.relStart:], isDir)
	for f := l.rules; f != nil && !decided; f = f.above {
		decided, out = f.list.Match(path[f.start:], isDir)
		why = ByIgnoreFile
	}
	return why, out
}

// leavesOut reports whether an item below a root is left out, and counts it.
func (l *listing) leavesOut(m *Matcher, it *Item) bool {
	if m == nil {
		return false
	}
	e := it.Entry
	isDir := e.Type == tree.TypeDir
	why, out := l.matchesPattern(it.Path, isDir)
	switch {
	case out:
	case m.rules.LargerThan > 0 && e.Type == tree.TypeFile && e.Size > m.rules.LargerThan:
		why, out = TooLarge, true
	case m.rules.NoDump && (isDir || e.Type == tree.TypeFile) && osfs.NoDump(l.dir, it.name):
		why, out = NoDump, true
	}
	if out {
		m.count(why, e)
	}
	return out
}

// staysOut reports whether the walk does not enter a folder, and counts it. Only folders are
// asked for their file system: an overlay reports the devices of its layers for files.
func (l *listing) staysOut(m *Matcher, e *tree.Entry) bool {
	if m == nil || !m.rules.OneFileSystem || l.rootPath != "" || e.Dev == l.scope.dev {
		return false
	}
	m.count(OtherFileSystem, nil)
	return true
}

// cacheTag is the name of the file that marks a folder as a cache, and cacheSignature how it
// begins; see https://bford.info/cachedir/.
const (
	cacheTag       = "CACHEDIR.TAG"
	cacheSignature = "Signature: 8a477f597d28d172789f06886806bc55"
)

// maxIgnoreFile bounds the size of an ignore file.
const maxIgnoreFile = 1 << 20

// readOwnRules reads what the folder, whose names are known, says about itself. It returns an
// item for each ignore file that cannot be read: its patterns are not followed.
func (l *listing) readOwnRules(m *Matcher) (problems []Item) {
	if !l.isRoot && l.has(schemas.StoreMarker) {
		text, err := l.dir.ReadStart(schemas.StoreMarker, int64(len(schemas.StoreSignature)))
		if err == nil && string(text) == schemas.StoreSignature {
			m.count(StoreFolder, nil)
			// The marker is not saved: a restored one would hide what is put there later.
			l.names = nil
			return nil
		}
	}
	if m.rules.Caches && l.has(cacheTag) {
		if text, err := l.dir.ReadStart(cacheTag, int64(len(cacheSignature))); err == nil && string(text) == cacheSignature {
			m.count(CacheFolder, nil)
			l.names = []string{cacheTag}
			return nil
		}
	}
	var list ignore.List
	for _, name := range m.ignoreFiles {
		if !l.has(name) {
			continue
		}
		text, err := l.dir.ReadStart(name, maxIgnoreFile+1)
		if err == nil && len(text) > maxIgnoreFile {
			err = errors.New("the file is too large")
		}
		if err == nil && slices.Contains(text, 0) {
			err = errors.New("the file is no text in UTF-8")
		}
		if err != nil {
			problems = append(problems, Item{Path: tree.JoinPath(l.path, name), Err: fmt.Errorf("its patterns are not followed: %w", err)})
			continue
		}
		list = append(list, ignore.ParseFile(text)...)
	}
	if list != nil {
		l.rules = &folderRules{above: l.rules, start: l.pathStart(), list: list}
	}
	return problems
}

// has reports whether the folder has a name. The names are sorted.
func (l *listing) has(name string) bool {
	_, found := slices.BinarySearch(l.names, name)
	return found
}

// pathStart is where, in the paths of what is in the folder, the part below it begins.
func (l *listing) pathStart() int {
	if l.path == "." {
		return 0
	}
	return len(l.path) + 1
}

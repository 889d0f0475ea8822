package tree

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// EntryType says what an entry of a tree is. The numbers are part of the
// format.
type EntryType uint8

const (
	TypeFile    EntryType = 1
	TypeDir     EntryType = 2
	TypeSymlink EntryType = 3
	TypeFifo    EntryType = 4
	TypeChar    EntryType = 5
	TypeBlock   EntryType = 6
	TypeSocket  EntryType = 7
)

var entryTypeNames = [...]string{
	TypeFile: "file", TypeDir: "dir", TypeSymlink: "symlink", TypeFifo: "fifo",
	TypeChar: "char device", TypeBlock: "block device", TypeSocket: "socket",
}

// String is the type's name in messages.
func (t EntryType) String() string {
	if int(t) < len(entryTypeNames) && entryTypeNames[t] != "" {
		return entryTypeNames[t]
	}
	return fmt.Sprintf("entry type %d", uint8(t))
}

// TypeOfMode is the type of a file of that Unix mode, or 0 if there is none.
func TypeOfMode(mode uint32) EntryType { return typesByMode[mode>>12&0o17] }

var typesByMode = [16]EntryType{
	0o10: TypeFile, 0o04: TypeDir, 0o12: TypeSymlink, 0o01: TypeFifo, 0o02: TypeChar, 0o06: TypeBlock, 0o14: TypeSocket,
}

// UnixType returns the type's bits of st_mode, or 0 for an unknown type.
func (t EntryType) UnixType() uint32 {
	if int(t) < len(unixTypes) {
		return unixTypes[t]
	}
	return 0
}

var unixTypes = [...]uint32{
	TypeFile: 0o100000, TypeDir: 0o040000, TypeSymlink: 0o120000, TypeFifo: 0o010000,
	TypeChar: 0o020000, TypeBlock: 0o060000, TypeSocket: 0o140000,
}

// Entry is one file, folder or link of a version, with all that a restore
// needs to make it anew and all that a backup needs to see that it has not
// changed. Fields that do not apply to the type are zero.
type Entry struct {
	// Path is relative to the record's top: components of any bytes except
	// NUL and '/', separated by '/'; not necessarily UTF-8. The top folder
	// itself is ".", and no other path has a component "." or "..".
	Path string
	Type EntryType
	// Mode holds the twelve bits of chmod in the Unix layout: permissions
	// and 07000 for setuid, setgid and sticky.
	Mode        uint32
	UID, GID    uint32
	User, Group string // the names that went with UID and GID; may be ""
	// Mtime and Ctime are nanoseconds since 1970 UTC; negative before.
	Mtime, Ctime int64
	// Size is the file's length in bytes, holes included.
	Size int64
	// Dev and Ino, with Ctime, tell a later backup that this is still the
	// same file; a restore makes no use of them.
	Dev, Ino uint64
	// HardLink is the path of the entry, earlier in the order, that this one
	// is another name of; the content is there. "" for a file with one name
	// and for the first of several.
	HardLink string
	// Target is what a symlink says, as it says it.
	Target string
	// Rdev is the number of a device, as the kernel of the backed-up machine
	// packs it.
	Rdev uint64
	// Xattrs are the extended attributes, ascending by name, ACLs among
	// them. Where they need more than MaxInlineXattrs bytes they are in
	// XattrContent and Xattrs is nil.
	Xattrs []Xattr
	// XattrContent finds what EncodeXattrs made of large attributes.
	XattrContent Content
	// Content finds a file's bytes.
	Content Content
}

// Xattr is one extended attribute. The name has its namespace ("user.x").
type Xattr struct {
	Name  string
	Value []byte
}

// AddXattr adds an attribute, whose name comes after those of the others.
func (e *Entry) AddXattr(name string, value []byte) {
	e.Xattrs = append(e.Xattrs, Xattr{Name: name, Value: value})
}

// JoinPath is the path of a name in the folder at path.
func JoinPath(path, name string) string {
	if path == "." || path == "" {
		return name
	}
	return path + "/" + name
}

// Content says which chunks hold a file's bytes. Few are listed in the entry
// itself, many in a file tree of their own; a [FileWriter] decides. A gap
// between two pieces, or after the last one, is a hole: it reads as zeros and
// is kept nowhere.
type Content struct {
	// Pieces are ascending by offset and do not overlap.
	Pieces []Piece
	// Tree is the root of the file tree, or zero. With it, Pieces is nil.
	Tree schemas.ChunkID
	// Bytes is the sum of the pieces' lengths: what a restore has to fetch,
	// unsealed.
	Bytes int64
}

// Piece is a run of a file's bytes that a data chunk holds.
type Piece struct {
	Off, Len int64
	ID       schemas.ChunkID
	// Skip is where in the chunk the run begins: small files share chunks. It
	// is 0 wherever a content has several pieces.
	Skip int64
}

// Cut is the part of an opened chunk that is the piece.
func (p Piece) Cut(plain []byte) ([]byte, error) {
	if int64(len(plain))-p.Skip < p.Len {
		return nil, fmt.Errorf("chunk %s has %d bytes, its file says %d from %d on: %w", p.ID.Short(), len(plain), p.Len, p.Skip, seal.ErrDamaged)
	}
	return plain[p.Skip:][:p.Len], nil
}

// Reuse sets, from the entry that a file which has not changed had before,
// what looking at the file did not tell, except for its content. It reports
// false, and sets nothing, if some of that is in chunks that may be lost.
func (e *Entry) ReuseMetadata(before *Entry, mayBeLost bool) bool {
	if mayBeLost && before.XattrContent.Bytes > 0 {
		return false
	}
	e.Target, e.Xattrs, e.XattrContent = before.Target, before.Xattrs, before.XattrContent
	return true
}

// Equal reports whether two entries are the same in all that is encoded; o may
// be nil.
func (e *Entry) Equal(o *Entry) bool {
	return o != nil && e.Path == o.Path && e.Type == o.Type && e.Mode == o.Mode &&
		e.UID == o.UID && e.GID == o.GID && e.User == o.User && e.Group == o.Group &&
		e.Mtime == o.Mtime && e.Ctime == o.Ctime && e.Size == o.Size &&
		e.Dev == o.Dev && e.Ino == o.Ino && e.Rdev == o.Rdev &&
		e.HardLink == o.HardLink && e.Target == o.Target &&
		e.Content.equal(&o.Content) && e.XattrContent.equal(&o.XattrContent) &&
		slices.EqualFunc(e.Xattrs, o.Xattrs, func(a, b Xattr) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) })
}

func (c *Content) equal(o *Content) bool {
	return c.Bytes == o.Bytes && c.Tree == o.Tree && slices.Equal(c.Pieces, o.Pieces)
}

// Limits of one entry. Together they keep the largest entry well below
// maxNode, so that every entry fits a leaf. The path's bound is far above
// PATH_MAX because deep folders can be made and read step by step.
const (
	MaxPath         = 128 << 10
	maxTarget       = 64 << 10
	maxName         = 1 << 10 // of a user or group
	MaxInlineXattrs = 64 << 10
	MaxXattrs       = 16 << 20 // encoded, wherever they are kept
	maxInlinePieces = 32
)

// ComparePath orders paths as a depth-first walk with sorted names meets them:
// component by component, bytewise, a folder before what is in it. So "a" <
// "a/x" < "a.b", although '.' < '/'. "." stands before everything.
func ComparePath(a, b string) int {
	if a == "." || b == "." {
		return boolInt(a != ".") - boolInt(b != ".")
	}
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return int(pathByte(a[i])) - int(pathByte(b[i]))
		}
	}
	return len(a) - len(b)
}

// pathByte is a byte's rank in a path: the separator ends a component, so it
// comes before any byte that would make the component longer. NUL, which would
// tie with it, is in no path.
func pathByte(c byte) byte {
	if c == '/' {
		return 0
	}
	return c
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// SplitPath is the folder and the name of an entry's path.
func SplitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}

// InSubtree reports whether path is top or lies below it.
func InSubtree(path, top string) bool {
	return top == "." || path == top ||
		len(path) > len(top) && path[len(top)] == '/' && strings.HasPrefix(path, top)
}

// CheckPath says why path cannot be an entry's, or nil. Restores rely on it:
// a path that passes leads nowhere but below the record's top.
func CheckPath(path string) error {
	switch {
	case path == ".":
		return nil
	case path == "":
		return fmt.Errorf("an empty path")
	case len(path) > MaxPath:
		return fmt.Errorf("a path of %d bytes, at most %d are allowed", len(path), MaxPath)
	case strings.IndexByte(path, 0) >= 0:
		return fmt.Errorf("the path %q has a NUL byte", path)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the path %q has the component %q", path, part)
		}
	}
	return nil
}

// Check says what is wrong with the entry's fields, or nil. It is applied to
// what is written and to what is read.
func (e *Entry) Check() error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	switch {
	case e.Type < TypeFile || e.Type > TypeSocket:
		return schemas.Errorf(schemas.TooNew, "%q is of the unknown %v: it was saved by a newer program", e.Path, e.Type)
	case e.Mode&^0o7777 != 0:
		return fmt.Errorf("%q has the mode %#o", e.Path, e.Mode)
	case e.Size < 0:
		return fmt.Errorf("%q has the size %d", e.Path, e.Size)
	case len(e.User) > maxName || len(e.Group) > maxName:
		return fmt.Errorf("%q has an owner's name of more than %d bytes", e.Path, maxName)
	case len(e.Target) > maxTarget:
		return fmt.Errorf("%q has a link target of %d bytes, at most %d are allowed", e.Path, len(e.Target), maxTarget)
	case XattrSize(e.Xattrs) > MaxInlineXattrs:
		return fmt.Errorf("%q has %d bytes of attributes in the entry, at most %d are allowed there", e.Path, XattrSize(e.Xattrs), MaxInlineXattrs)
	case e.HardLink != "" && CheckPath(e.HardLink) != nil:
		return fmt.Errorf("%q is another name of %q, which no path can be", e.Path, e.HardLink)
	}
	if err := checkXattrOrder(e.Xattrs); err != nil {
		return fmt.Errorf("%q: %w", e.Path, err)
	}
	if err := e.Content.check(e.Size); err != nil {
		return fmt.Errorf("content of %q: %w", e.Path, err)
	}
	if err := e.XattrContent.check(MaxXattrs); err != nil {
		return fmt.Errorf("attributes of %q: %w", e.Path, err)
	}
	return nil
}

// check says what is wrong with a content that has to lie within size bytes.
func (c *Content) check(size int64) error {
	if c.Bytes < 0 || c.Bytes > size {
		return fmt.Errorf("%d bytes of content in a file of %d", c.Bytes, size)
	}
	if !c.Tree.IsZero() {
		if len(c.Pieces) > 0 {
			return fmt.Errorf("both a list of chunks and a tree of them")
		}
		return nil
	}
	if len(c.Pieces) > maxInlinePieces {
		return fmt.Errorf("%d chunks in the entry, at most %d are allowed there", len(c.Pieces), maxInlinePieces)
	}
	var end, sum int64
	for _, p := range c.Pieces {
		if p.Skip != 0 && len(c.Pieces) > 1 {
			return fmt.Errorf("%d pieces, of which one begins within a chunk", len(c.Pieces))
		}
		if err := p.check(end, size); err != nil {
			return err
		}
		end, sum = p.Off+p.Len, sum+p.Len
	}
	if sum != c.Bytes {
		return fmt.Errorf("chunks of %d bytes together, and %d are named", sum, c.Bytes)
	}
	return nil
}

// check says what is wrong with a piece that has to lie within [from, to).
func (p *Piece) check(from, to int64) error {
	if p.Len <= 0 || p.Len > seal.MaxPlain || p.Off < from || p.Off > to-p.Len {
		return fmt.Errorf("a chunk for the bytes [%d, %d+%d) where only [%d, %d) are left", p.Off, p.Off, p.Len, from, to)
	}
	if p.Skip < 0 || p.Skip > seal.MaxPlain-p.Len {
		return fmt.Errorf("%d bytes from %d on in a chunk, which has %d at most", p.Len, p.Skip, seal.MaxPlain)
	}
	return nil
}

// checkXattrOrder says whether attributes are strictly ascending by name, so
// that equal sets of them are equal bytes.
func checkXattrOrder(xs []Xattr) error {
	for i := 1; i < len(xs); i++ {
		if xs[i].Name <= xs[i-1].Name {
			return fmt.Errorf("the extended attribute %q comes after %q", xs[i].Name, xs[i-1].Name)
		}
	}
	return nil
}

// XattrSize is about how many bytes attributes need in an entry.
func XattrSize(xs []Xattr) int {
	n := 0
	for i := range xs {
		n += len(xs[i].Name) + len(xs[i].Value) + 8
	}
	return n
}

package tree

import (
	"bytes"
	"fmt"
	"slices"

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

// String returns the type's name in messages.
func (t EntryType) String() string {
	if int(t) < len(entryTypeNames) && entryTypeNames[t] != "" {
		return entryTypeNames[t]
	}
	return fmt.Sprintf("entry type %d", uint8(t))
}

// TypeOfMode returns the type of a file with the st_mode mode, or 0 if no entry can have it.
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

// Entry is one file, folder or link of a version. It has all that a restore needs to
// make it again and all that a later backup needs to see that it has not changed.
// Fields that do not apply to the type are zero.
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
	User, Group string // the names of UID and GID on the machine of the backup; may be ""
	// Mtime and Ctime are nanoseconds since 1970 UTC; negative before.
	Mtime, Ctime int64
	// Size is the file's length in bytes, holes included.
	Size int64
	// Dev and Ino, with Ctime, tell a later backup that this is still the
	// same file; a restore does not use them.
	Dev, Ino uint64
	// HardLink is set for every name of a file but the first: it is the path of
	// the first, which comes earlier in the order. Everything that belongs to the
	// file, its content too, is in the entries of all its names (but see IsBareLink).
	HardLink string
	// Target is the target of a symlink, unchanged.
	Target string
	// Rdev is the number of a device, in the encoding of the backed-up machine's
	// kernel.
	Rdev uint64
	// Xattrs are the extended attributes, ACLs among them, ascending by name. If
	// they need more than MaxInlineXattrs bytes, they are in XattrContent, and
	// Xattrs is nil.
	Xattrs []Xattr
	// XattrContent says where the result of EncodeXattrs for large attributes is.
	XattrContent Content
	// Content says where a file's bytes are.
	Content Content
}

// AddXattr adds an attribute. Its name must come after those of the others. The entry
// keeps value.
func (e *Entry) AddXattr(name string, value []byte) {
	e.Xattrs = append(e.Xattrs, Xattr{Name: name, Value: value})
}

// BecomeNameOf makes the entry, of which only the path is kept, a further name of the file
// that first is the first name of.
func (e *Entry) BecomeNameOf(first *Entry) {
	path := e.Path
	*e = *first
	e.Path, e.HardLink = path, first.Path
}

// IsBareLink reports whether only the entry of the first name can tell what belongs to the
// file. Earlier programs wrote all further names so. (The name of a file that has neither
// content nor attributes looks the same; asking the first name then adds nothing.)
func (e *Entry) IsBareLink() bool {
	return e.HardLink != "" && e.Content.isEmpty() && e.XattrContent.isEmpty() && len(e.Xattrs) == 0
}

// CompleteLink adds to a bare link what only the entry of the first name has.
func (e *Entry) CompleteLink(first *Entry) {
	e.Size, e.Content, e.Xattrs, e.XattrContent = first.Size, first.Content, first.Xattrs, first.XattrContent
}

// ReuseMetadata copies from before, the entry of the same unchanged file in the parent
// version, what lstat does not tell: the link target and the extended attributes. If
// mayBeLost is set and attributes are in chunks of their own, it copies nothing and
// reports false, because the chunks may be lost.
func (e *Entry) ReuseMetadata(before *Entry, mayBeLost bool) bool {
	if mayBeLost && before.XattrContent.Bytes > 0 {
		return false
	}
	e.Target, e.Xattrs, e.XattrContent = before.Target, before.Xattrs, before.XattrContent
	return true
}

// Equal reports whether two entries have the same encoding. o may be nil.
func (e *Entry) Equal(o *Entry) bool {
	return o != nil && e.Path == o.Path && e.Type == o.Type && e.Mode == o.Mode &&
		e.UID == o.UID && e.GID == o.GID && e.User == o.User && e.Group == o.Group &&
		e.Mtime == o.Mtime && e.Ctime == o.Ctime && e.Size == o.Size &&
		e.Dev == o.Dev && e.Ino == o.Ino && e.Rdev == o.Rdev &&
		e.HardLink == o.HardLink && e.Target == o.Target &&
		e.Content.equal(&o.Content) && e.XattrContent.equal(&o.XattrContent) &&
		slices.EqualFunc(e.Xattrs, o.Xattrs, func(a, b Xattr) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) })
}

// These are the limits of one entry, in bytes but for the last. Together they keep the
// largest entry well below maxNode, so that every entry fits a leaf.
const (
	// MaxPath is the longest path. It is far above PATH_MAX because deep folders can
	// be made and read step by step.
	MaxPath   = 128 << 10
	maxTarget = 64 << 10
	maxName   = 1 << 10 // of a user or group
	// MaxInlineXattrs is the most that attributes may need in the entry itself, by
	// XattrSize.
	MaxInlineXattrs = 64 << 10
	// MaxXattrs is the most that attributes may need anywhere.
	MaxXattrs       = 16 << 20
	maxInlinePieces = 32 // pieces that a content lists in the entry
)

// Check says what is wrong with the entry's fields, or returns nil. Both writing and
// reading an entry check it.
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
		return fmt.Errorf("%q is another name of %q, which cannot be a path", e.Path, e.HardLink)
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

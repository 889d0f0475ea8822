//go:build !windows

package osfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/pkg/xattr"
)

// readXattrs is [Dir.ReadXattrs].
func readXattrs(d *Dir, name string, visit func(name string, value []byte)) error {
	path := d.Path(name)
	names, err := xattr.LList(path)
	return visitXattrs(names, err, visit, func(name string) ([]byte, error) { return xattr.LGet(path, name) })
}

// ReadFileXattrs is [Dir.ReadXattrs] for an open file.
func ReadFileXattrs(f *os.File, visit func(name string, value []byte)) error {
	if hasNoXattrs(f) {
		return nil
	}
	names, err := xattr.FList(f)
	return visitXattrs(names, err, visit, func(name string) ([]byte, error) { return xattr.FGet(f, name) })
}

// visitXattrs visits the attributes with these names. err is the error of listing them.
func visitXattrs(names []string, err error, visit func(name string, value []byte), get func(name string) ([]byte, error)) error {
	if err != nil {
		return xattrError("list extended attributes", err)
	}
	slices.Sort(names)
	var failed error
	for _, name := range names {
		value, err := get(name)
		if errors.Is(err, xattr.ENOATTR) {
			continue // removed after the listing
		}
		if err != nil { // also one that is not supported: it was listed, so it is there
			failed = errors.Join(failed, fmt.Errorf("%s: %w", "read extended attribute "+strconv.Quote(name), xattrCause(err)))
			continue
		}
		// The value is in a buffer that may be many times its size.
		visit(name, bytes.Clone(value))
	}
	return failed
}

// xattrError says what failed. It returns nil where the file system has no such attributes.
func xattrError(what string, err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, xattrCause(err))
}

// xattrCause takes the path and the call off an error of package xattr, as [WithoutPath] does
// for errors of package os.
func xattrCause(err error) error {
	if e, ok := err.(*xattr.Error); ok {
		return e.Err
	}
	return err
}

// CanHaveXattrs reports whether its extended attributes can be reached on this system.
func (r Ref) CanHaveXattrs() bool { return r.File != nil || fdPath(r.Dir.Self) != "" }

// SetXattr sets an extended attribute.
func (r Ref) SetXattr(name string, value []byte) error {
	if r.File != nil {
		return xattrCause(xattr.FSet(r.File, name, value))
	}
	return xattrCause(xattr.LSet(r.Dir.Path(r.Name), name, value))
}

// RemoveXattr removes an extended attribute.
func (r Ref) RemoveXattr(name string) error {
	if r.File != nil {
		return xattrCause(xattr.FRemove(r.File, name))
	}
	return xattrCause(xattr.LRemove(r.Dir.Path(r.Name), name))
}

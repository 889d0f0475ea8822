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

// ReadXattrs reads the extended attributes of the file at path, which is not
// followed if it is a symbolic link: ascending by name, all that this process
// may read. A file system without them has none. An error comes after those that could be
// read. The values are visit's to keep.
func ReadXattrs(path string, visit func(name string, value []byte)) error {
	names, err := xattr.LList(path)
	return visitXattrs(names, err, visit, func(name string) ([]byte, error) { return xattr.LGet(path, name) })
}

// FileXattrs is ReadXattrs of an open file.
func FileXattrs(f *os.File, visit func(name string, value []byte)) error {
	if hasNoXattrs(f) {
		return nil
	}
	names, err := xattr.FList(f)
	return visitXattrs(names, err, visit, func(name string) ([]byte, error) { return xattr.FGet(f, name) })
}

// visitXattrs visits the attributes of these names, or says why they could not be listed.
func visitXattrs(names []string, err error, visit func(name string, value []byte), get func(name string) ([]byte, error)) error {
	if err != nil {
		return xattrError("list extended attributes", err)
	}
	slices.Sort(names)
	var failed error
	for _, name := range names {
		value, err := get(name)
		if errors.Is(err, xattr.ENOATTR) {
			continue // removed since it was listed
		}
		if err != nil {
			failed = errors.Join(failed, xattrError("read extended attribute "+strconv.Quote(name), err))
			continue
		}
		// The value came in a buffer that may be many times its size.
		visit(name, bytes.Clone(value))
	}
	return failed
}

// xattrError says what failed; nil where the file system just has no such
// attributes.
func xattrError(what string, err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, xattrCause(err))
}

// xattrCause takes the path and the call off an error of package xattr, as
// [bare] does for those of package os.
func xattrCause(err error) error {
	if e, ok := err.(*xattr.Error); ok {
		return e.Err
	}
	return err
}

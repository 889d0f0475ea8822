package tree

import (
	"fmt"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// Xattr is one extended attribute. The name includes the namespace ("user.x").
type Xattr struct {
	Name  string
	Value []byte
}

// XattrSize returns about how many bytes attributes need in an entry.
func XattrSize(xs []Xattr) int {
	n := 0
	for i := range xs {
		n += len(xs[i].Name) + len(xs[i].Value) + 8
	}
	return n
}

// checkXattrOrder returns an error unless attributes are strictly ascending by name, so
// that equal sets of attributes have equal encodings.
func checkXattrOrder(xs []Xattr) error {
	for i := 1; i < len(xs); i++ {
		if xs[i].Name <= xs[i-1].Name {
			return fmt.Errorf("the extended attribute %q comes after %q", xs[i].Name, xs[i-1].Name)
		}
	}
	return nil
}

// EncodeXattrs encodes attributes, ascending by name, for an entry whose XattrSize is
// above MaxInlineXattrs. The result is stored as Entry.XattrContent.
func EncodeXattrs(xs []Xattr) ([]byte, error) {
	if n := XattrSize(xs); n > MaxXattrs {
		return nil, fmt.Errorf("%d bytes of extended attributes, at most %d can be saved", n, MaxXattrs)
	}
	if err := checkXattrOrder(xs); err != nil {
		return nil, err
	}
	var p packer
	p.xattrList(xs)
	return p.buf, nil
}

// DecodeXattrs decodes what EncodeXattrs made. Its errors are [seal.ErrDamaged].
func DecodeXattrs(b []byte) ([]Xattr, error) {
	if len(b) > MaxXattrs {
		return nil, fmt.Errorf("%d bytes of extended attributes, at most %d are allowed: %w", len(b), MaxXattrs, seal.ErrDamaged)
	}
	r := newNodeReader(Node{Payload: b})
	xs := r.xattrs(MaxXattrs)
	r.end()
	if r.err != nil {
		return nil, damaged("extended attributes", schemas.ChunkID{}, r.err)
	}
	return xs, nil
}

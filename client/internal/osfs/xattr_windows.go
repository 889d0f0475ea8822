package osfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Windows has no extended attributes as Unix has them. Its own attributes are shown as the extended
// attribute that Samba and Wine keep them in, so that they survive on every system: a number in
// hexadecimal.
const (
	dosAttributes  = "user.DOSATTRIB"
	keptAttributes = windows.FILE_ATTRIBUTE_HIDDEN | windows.FILE_ATTRIBUTE_SYSTEM
)

// readXattrs is [Dir.ReadXattrs]: it finds hidden and system, if a file is that.
func readXattrs(d *Dir, name string, visit func(name string, value []byte)) error {
	h, err := openAt(d.Self, name, windows.FILE_READ_ATTRIBUTES, shareAll, windows.FILE_OPEN, 0)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return readAttributes(h, visit)
}

// ReadFileXattrs is [Dir.ReadXattrs] for an open file.
func ReadFileXattrs(f *os.File, visit func(name string, value []byte)) error {
	return readAttributes(windows.Handle(f.Fd()), visit)
}

func readAttributes(h windows.Handle, visit func(name string, value []byte)) error {
	var b basicInfo
	if err := getInfo(h, windows.FileBasicInfo, &b); err != nil {
		return fmt.Errorf("read its attributes: %w", err)
	}
	if kept := b.attributes & keptAttributes; kept != 0 {
		visit(dosAttributes, []byte("0x"+strconv.FormatUint(uint64(kept), 16)))
	}
	return nil
}

// MayHaveXattrs reports whether an open file has attributes of those that are restored.
func MayHaveXattrs(f *os.File) bool {
	var b basicInfo
	return getInfo(windows.Handle(f.Fd()), windows.FileBasicInfo, &b) != nil || b.attributes&keptAttributes != 0
}

// CanHaveXattrs reports true: here attributes are reached by name.
func (r Ref) CanHaveXattrs() bool { return true }

// SetXattr sets the attributes that are kept. No other extended attribute can be set here.
func (r Ref) SetXattr(name string, value []byte) error {
	if name != dosAttributes {
		return errors.ErrUnsupported
	}
	n, err := strconv.ParseUint(string(value), 0, 32)
	if err != nil {
		return fmt.Errorf("%q are no attributes of Windows", value)
	}
	return r.setAttributes(uint32(n) & keptAttributes)
}

// RemoveXattr removes the attributes that are kept.
func (r Ref) RemoveXattr(name string) error {
	if name != dosAttributes {
		return errors.ErrUnsupported
	}
	return r.setAttributes(0)
}

func (r Ref) setAttributes(kept uint32) error {
	h, err := openAt(r.Dir.Self, r.Name, windows.FILE_READ_ATTRIBUTES|windows.FILE_WRITE_ATTRIBUTES, shareAll, windows.FILE_OPEN, 0)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	var b basicInfo
	if err := getInfo(h, windows.FileBasicInfo, &b); err != nil {
		return err
	}
	// Times of 0 stay as they are. Attributes of 0 would, too.
	set := basicInfo{attributes: b.attributes&^keptAttributes | kept}
	if set.attributes == 0 {
		set.attributes = windows.FILE_ATTRIBUTE_NORMAL
	}
	return windows.SetFileInformationByHandle(h, windows.FileBasicInfo, (*byte)(unsafe.Pointer(&set)), uint32(unsafe.Sizeof(set)))
}

package osfs

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

const openFlags, noAtime = os.O_RDONLY, 0

// fileInfo is what Windows tells of an open file: more than package os.
type fileInfo struct {
	os.FileInfo // of package os
	changed     int64
	volume, id  uint64
	names       uint64
}

// Stat looks at an open file. The result is for [MetaOf], [IdentityOf] and [ChangedBetween].
func Stat(f *os.File) (os.FileInfo, error) {
	plain, err := f.Stat()
	if err != nil {
		return nil, WithoutPath(err)
	}
	info := &fileInfo{FileInfo: plain, names: 1}
	if plain.Mode()&(os.ModeNamedPipe|os.ModeDevice) == 0 {
		err = info.ask(windows.Handle(f.Fd()))
	}
	return info, err
}

// lstat looks at a name in the acquired folder.
func lstat(d *Dir, name string) (os.FileInfo, error) {
	h, err := openAt(d.Self, name, windows.FILE_READ_ATTRIBUTES, shareAll, windows.FILE_OPEN, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(h), name)
	defer f.Close()
	return Stat(f)
}

// remove removes a name in the acquired folder. If unused, it refuses what any program has open.
func remove(d *Dir, name string, unused bool) error {
	if !unused {
		// Wine, before version 9, answers like this: it lacks the call that package os makes.
		if err := d.Root.Remove(name); !errors.Is(err, windows.ERROR_INVALID_FUNCTION) {
			return err
		}
	}
	share := uint32(shareAll)
	if unused {
		share = 0
	}
	h, err := openAt(d.Self, name, windows.DELETE, share, windows.FILE_OPEN, windows.FILE_DELETE_ON_CLOSE)
	if err != nil {
		return err
	}
	return windows.CloseHandle(h)
}

const shareAll = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE

// openAt opens a name in a folder or, with ":NAME", a stream of a file; at is open. It follows no
// link. share tells for what others may have the file open, disposition what to do if there is no
// such file, such as windows.FILE_OPEN.
func openAt(at *os.File, name string, access, share, disposition, options uint32) (windows.Handle, error) {
	if name == "." {
		name = "" // the folder itself
	}
	object, err := windows.NewNTUnicodeString(name)
	if err != nil {
		return 0, err
	}
	attributes := &windows.OBJECT_ATTRIBUTES{
		RootDirectory: windows.Handle(at.Fd()), ObjectName: object, Attributes: windows.OBJ_CASE_INSENSITIVE,
	}
	attributes.Length = uint32(unsafe.Sizeof(*attributes))
	const usual = windows.FILE_OPEN_REPARSE_POINT | windows.FILE_OPEN_FOR_BACKUP_INTENT | windows.FILE_SYNCHRONOUS_IO_NONALERT
	var h windows.Handle
	err = windows.NtCreateFile(&h, access|windows.SYNCHRONIZE, attributes, &windows.IO_STATUS_BLOCK{}, nil,
		windows.FILE_ATTRIBUTE_NORMAL, share, disposition, usual|options, 0, 0)
	if status, ok := err.(windows.NTStatus); ok {
		return 0, status.Errno()
	}
	return h, err
}

// ask sets what package os does not tell.
//
// A change time is what makes files be taken for unchanged, and an id what makes two names be
// taken for one file. A file system that has no ids, or none that fit, gets neither.
func (i *fileInfo) ask(h windows.Handle) error {
	var basic windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &basic); err != nil {
		return err
	}
	i.volume, i.names = uint64(basic.VolumeSerialNumber), uint64(basic.NumberOfLinks)
	i.id = uint64(basic.FileIndexHigh)<<32 | uint64(basic.FileIndexLow)
	// ReFS has ids of 128 bits, of which the index is only a part.
	var long struct {
		_      uint64
		lo, hi uint64
	}
	if getInfo(h, windows.FileIdInfo, &long) == nil {
		i.id = long.lo + long.hi*0x9e3779b97f4a7c15
	}
	// FAT has no change times, and says 0.
	var b basicInfo
	if getInfo(h, windows.FileBasicInfo, &b) == nil && b.changed != 0 {
		i.changed = (b.changed - epoch) * 100
	}
	if i.id == 0 || i.id == 1<<64-1 {
		i.id, i.changed, i.names = 0, 0, 1
	}
	return nil
}

// basicInfo is FILE_BASIC_INFO. Times are in units of 100 ns since 1601.
type basicInfo struct {
	_, _, _, changed int64
	attributes       uint32
}

// epoch is the year 1970 as a time of Windows.
const epoch = 116_444_736_000_000_000

// getInfo fills to, which is as Windows lays it out for this class of information.
func getInfo[T any](h windows.Handle, class uint32, to *T) error {
	return windows.GetFileInformationByHandleEx(h, class, (*byte)(unsafe.Pointer(to)), uint32(unsafe.Sizeof(*to)))
}

// setSys sets what [Stat] has found. Files have no numeric owner here.
func (m *Meta) setSys(info os.FileInfo) {
	if i, ok := info.(*fileInfo); ok {
		m.Ctime, m.Dev, m.Ino, m.Nlink = i.changed, i.volume, i.id, i.names
	}
}

// ofPackageOS returns what package os tells of a file.
func ofPackageOS(info os.FileInfo) os.FileInfo {
	if i, ok := info.(*fileInfo); ok {
		return i.FileInfo
	}
	return info
}

// fdPath returns "": open folders have no path of their own here.
func fdPath(*os.File) string { return "" }

// nextData takes the whole file for one run of data: holes are not looked for here.
func nextData(_ *os.File, off, size int64) (from, to int64, err error) { return off, size, nil }

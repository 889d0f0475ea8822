package osfs

import "golang.org/x/sys/windows"

// kindOf returns the kind of the file system of an open file.
func kindOf(fd int) Kind {
	h := windows.Handle(fd)
	var remote [64]uint64 // longer than FILE_REMOTE_PROTOCOL_INFO
	if getInfo(h, windows.FileRemoteProtocolInfo, &remote) == nil {
		return Foreign
	}
	var name [windows.MAX_PATH + 1]uint16
	if err := windows.GetVolumeInformationByHandle(h, nil, 0, nil, nil, nil, &name[0], uint32(len(name))); err != nil {
		return Foreign
	}
	switch windows.UTF16ToString(name[:]) {
	case "NTFS", "ReFS", "FAT", "FAT32", "exFAT", "CDFS", "UDF":
		return Ordinary
	}
	return Foreign
}

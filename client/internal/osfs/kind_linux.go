package osfs

import "golang.org/x/sys/unix"

// kindsByMagic are the kinds of file systems by the number that statfs tells. Those that are not
// in it are foreign: FUSE, 9p, NFS, SMB and other network file systems.
var kindsByMagic = map[uint32]Kind{
	unix.EXT4_SUPER_MAGIC: Ordinary, unix.XFS_SUPER_MAGIC: Ordinary, unix.BTRFS_SUPER_MAGIC: Ordinary,
	unix.TMPFS_MAGIC: Ordinary, unix.RAMFS_MAGIC: Ordinary, unix.F2FS_SUPER_MAGIC: Ordinary,
	unix.OVERLAYFS_SUPER_MAGIC: Ordinary, unix.MSDOS_SUPER_MAGIC: Ordinary, unix.EXFAT_SUPER_MAGIC: Ordinary,
	unix.ISOFS_SUPER_MAGIC: Ordinary, unix.UDF_SUPER_MAGIC: Ordinary, unix.SQUASHFS_MAGIC: Ordinary,
	unix.EROFS_SUPER_MAGIC_V1: Ordinary, unix.REISERFS_SUPER_MAGIC: Ordinary, unix.NILFS_SUPER_MAGIC: Ordinary,
	unix.HUGETLBFS_MAGIC: Ordinary, unix.JFFS2_SUPER_MAGIC: Ordinary, unix.ECRYPTFS_SUPER_MAGIC: Ordinary,
	0x2fc12fc1: Ordinary, // ZFS
	0xca451a4e: Ordinary, // bcachefs
	0x7366746e: Ordinary, // NTFS
	0x3153464a: Ordinary, // JFS
	0x482b:     Ordinary, // HFS+
	0x24051905: Ordinary, // UBIFS

	unix.PROC_SUPER_MAGIC: Pseudo, unix.SYSFS_MAGIC: Pseudo, unix.DEBUGFS_MAGIC: Pseudo, unix.TRACEFS_MAGIC: Pseudo,
	unix.SECURITYFS_MAGIC: Pseudo, unix.CGROUP_SUPER_MAGIC: Pseudo, unix.CGROUP2_SUPER_MAGIC: Pseudo,
	unix.BPF_FS_MAGIC: Pseudo, unix.PSTOREFS_MAGIC: Pseudo, unix.EFIVARFS_MAGIC: Pseudo, unix.SELINUX_MAGIC: Pseudo,
	unix.SMACK_MAGIC: Pseudo, unix.BINFMTFS_MAGIC: Pseudo, unix.DEVPTS_SUPER_MAGIC: Pseudo, unix.NSFS_MAGIC: Pseudo,
	0x62656570: Pseudo, // configfs
	0x65735543: Pseudo, // fusectl
}

func kindOf(fd int) Kind {
	var st unix.Statfs_t
	if err := retryInterrupted(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return Foreign
	}
	if kind := kindsByMagic[uint32(st.Type)]; kind != 0 {
		return kind
	}
	return Foreign
}

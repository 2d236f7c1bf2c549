package state

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fsTypes are the file systems that are unsafe or volatile, by magic number (statfs(2)).
// FUSE may be anything, and often is a network.
var fsTypes = map[uint32]fsType{ //nolint:gochecknoglobals // a table that never changes
	unix.NFS_SUPER_MAGIC:       {name: "a network file system (NFS)", unsafe: true},
	unix.SMB_SUPER_MAGIC:       {name: "a network file system (SMB)", unsafe: true},
	unix.SMB2_SUPER_MAGIC:      {name: "a network file system (SMB)", unsafe: true},
	unix.CIFS_SUPER_MAGIC:      {name: "a network file system (CIFS)", unsafe: true},
	unix.AFS_SUPER_MAGIC:       {name: "a network file system (AFS)", unsafe: true},
	unix.AFS_FS_MAGIC:          {name: "a network file system (AFS)", unsafe: true},
	unix.CODA_SUPER_MAGIC:      {name: "a network file system (Coda)", unsafe: true},
	unix.CEPH_SUPER_MAGIC:      {name: "a network file system (CephFS)", unsafe: true},
	unix.V9FS_MAGIC:            {name: "a network file system (9P)", unsafe: true},
	0x0bd00bd0:                 {name: "a network file system (Lustre)", unsafe: true},
	unix.FUSE_SUPER_MAGIC:      {name: "a FUSE file system, which may be a network file system", unsafe: true},
	unix.TMPFS_MAGIC:           {name: "tmpfs", volatile: "it is in memory and its content is lost when the machine restarts"},
	unix.RAMFS_MAGIC:           {name: "ramfs", volatile: "it is in memory and its content is lost when the machine restarts"},
	unix.OVERLAYFS_SUPER_MAGIC: {name: "a container's writable layer", volatile: "its content is lost with the container; mount a volume there"},
}

func fsTypeOf(path string) (fsType, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return fsType{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return fsTypes[uint32(stat.Type)], nil //nolint:gosec // the type has 32 bits on every platform
}

// fileIDOf returns the inode number and its creation time: a copy has another inode, and a
// file that reuses an inode has another creation time.
func fileIDOf(f *os.File) (string, error) {
	var stat unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &stat); err != nil {
		return "", &os.PathError{Op: "statx", Path: f.Name(), Err: err}
	}
	return fmt.Sprintf("%d:%d.%09d", stat.Ino, stat.Btime.Sec, stat.Btime.Nsec), nil
}

package state

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The file systems that need a word, by their magic number (statfs(2)). FUSE may be
// anything, and is a network more often than not.
var grounds = map[uint32]ground{ //nolint:gochecknoglobals // a table that never changes
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
	unix.FUSE_SUPER_MAGIC:      {name: "a FUSE file system, which may be a network", unsafe: true},
	unix.TMPFS_MAGIC:           {name: "tmpfs", passing: "it is kept in memory and lost when the machine restarts"},
	unix.RAMFS_MAGIC:           {name: "ramfs", passing: "it is kept in memory and lost when the machine restarts"},
	unix.OVERLAYFS_SUPER_MAGIC: {name: "a container's own layer", passing: "it is lost with the container; mount a volume there"},
}

func fileSystem(path string) (ground, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return ground{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return grounds[uint32(stat.Type)], nil //nolint:gosec // the type has 32 bits on every platform
}

// identityOf is the inode and when it was made: a copy has another inode, and a copy
// that overwrites has another birth.
func identityOf(f *os.File) (string, error) {
	var stat unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &stat); err != nil {
		return "", &os.PathError{Op: "statx", Path: f.Name(), Err: err}
	}
	return fmt.Sprintf("%d:%d.%09d", stat.Ino, stat.Btime.Sec, stat.Btime.Nsec), nil
}

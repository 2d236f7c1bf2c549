package state

import "os"

// Windows has neither flag.
const (
	noFollow = 0
	noWait   = 0
)

// fsTypeOf declares every directory unsafe: the exporter has no lock for Windows, and its file
// modes do not protect a token there. Event counters do not need either.
func fsTypeOf(string) (fsType, error) {
	return fsType{
		name:   "Windows, where the exporter has no lock for it",
		unsafe: true,
		remedy: "rotate with an exporter on Linux or macOS",
	}, nil
}

// fileIDOf is unknown: a restored copy is not recognised.
func fileIDOf(*os.File) (string, error) { return "", nil }

// syncDirectory does nothing: Windows cannot sync a directory.
func syncDirectory(string) error { return nil }

// tryLock does nothing: only event counters are kept here.
func tryLock(*os.File) (bool, error) { return true, nil }

// chownToParent does nothing: files inherit the access rules of their directory.
func chownToParent(string) error { return nil }

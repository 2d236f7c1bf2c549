package app

import (
	"crypto/rand"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// holder names this process in leases: where it runs, its process id and a nonce.
func holder() string {
	return strings.Join([]string{place(), strconv.Itoa(os.Getpid()), rand.Text()[:8]}, " ")
}

// gone reports whether a holder is certainly no longer there, so that its lease need
// not be waited out: it ran where process ids mean the same as here, and its own
// belongs to nobody now, or to us.
func gone(name string) bool {
	parts := strings.Fields(name)
	if len(parts) != 3 || parts[0] != place() {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	return pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// place is the host and the process namespace: two containers may share a host's name,
// and both be process 1.
func place() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		namespace = "pid:unknown"
	}
	return strings.ReplaceAll(host, " ", "_") + "/" + namespace
}

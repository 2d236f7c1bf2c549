package app

import (
	"crypto/rand"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// newHolderID names this process in leases: its host and namespace, its process id and
// a nonce.
func newHolderID() string {
	return strings.Join([]string{hostNamespace(), strconv.Itoa(os.Getpid()), rand.Text()[:8]}, " ")
}

// holderIsDead reports whether the holder of a lease has certainly ended, so that the
// lease need not run out first. Only a holder in our own process namespace can be
// judged: there its process id is free, or it is ours.
func holderIsDead(holderID string) bool {
	parts := strings.Fields(holderID)
	if len(parts) != 3 || parts[0] != hostNamespace() {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	process, err := os.FindProcess(pid)
	return pid == os.Getpid() || err == nil && errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// hostNamespace is the host's name, its boot and the process namespace. Two containers may
// share a host's name, and both may be process 1. Two hosts may have one name, and each has
// the same first namespace: only the boot tells them apart.
func hostNamespace() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // only Linux has it
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		namespace = "pid:unknown"
	}
	return strings.ReplaceAll(host, " ", "_") + "/" + strings.TrimSpace(string(boot)) + "/" + namespace
}

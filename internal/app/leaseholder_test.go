package app

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// A lease is free as soon as its holder has ended; a holder elsewhere is never judged.
func TestHolderIsDead(t *testing.T) {
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	here := hostNamespace()
	host, rest, _ := strings.Cut(here, "/")
	boot, namespace, _ := strings.Cut(rest, "/")
	if runtime.GOOS == "linux" && len(boot) != 36 {
		t.Errorf("%s does not name the boot", here)
	}
	sameName := host + "/01234567-89ab-cdef-0123-456789abcdef/" + namespace // each host begins with the same namespace
	for holder, want := range map[string]bool{
		here + " " + strconv.Itoa(ended.Process.Pid) + " NONCE": true,
		newHolderID(): true, // an earlier process with our own id
		here + " " + strconv.Itoa(os.Getppid()) + " NONCE":        false,
		"elsewhere " + strconv.Itoa(ended.Process.Pid) + " NONCE": false,
		here + " x NONCE": false,
		sameName + " " + strconv.Itoa(os.Getpid()) + " NONCE":       false,
		sameName + " " + strconv.Itoa(ended.Process.Pid) + " NONCE": false,
	} {
		if got := holderIsDead(holder); got != want {
			t.Errorf("holderIsDead(%q) = %t, want %t", holder, got, want)
		}
	}
}

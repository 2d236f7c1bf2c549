package app

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// A lease is free as soon as its holder has ended; a holder elsewhere is never judged.
func TestHolderIsDead(t *testing.T) {
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	here := hostNamespace()
	for holder, want := range map[string]bool{
		here + " " + strconv.Itoa(ended.Process.Pid) + " NONCE": true,
		newHolderID(): true, // an earlier process with our own id
		here + " " + strconv.Itoa(os.Getppid()) + " NONCE":        false,
		"elsewhere " + strconv.Itoa(ended.Process.Pid) + " NONCE": false,
		here + " x NONCE": false,
	} {
		if got := holderIsDead(holder); got != want {
			t.Errorf("holderIsDead(%q) = %t, want %t", holder, got, want)
		}
	}
}

package deploy

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// laterThanBash32 are features that the bash of macOS, 3.2, lacks, or that its successors
// understand in another way.
var laterThanBash32 = regexp.MustCompile(strings.Join([]string{
	`wait -n`, `\b(mapfile|readarray|coproc)\b`, `(declare|local|typeset) -[A-Za-z]*[Anglu]`, `shopt -s (globstar|lastpipe)`,
	`printf [^|;]*%\([^)]*\)T`, `\$\{!?[a-zA-Z_]\w*(\^|,|@[A-Za-z])`, `\$\{[a-zA-Z_]\w*/`, `\$\{\w+: -\d|\[-\d+\]`,
	`&>>`, `\|&`, `;;?&`, `\{\d+\.\.\d+\.\.\d+\}`, `\$\{?(EPOCH\w+|BASHPID|SRANDOM)`, `\[\[? -v `,
}, "|"))

// TestDemoRunsInOldBash: make demo, demo-alert and demo-stack work with the bash of macOS.
func TestDemoRunsInOldBash(t *testing.T) {
	scripts, err := filepath.Glob("demo/*.sh")
	if err != nil || len(scripts) < 5 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, script := range scripts {
		number := 0
		for line := range strings.Lines(read(t, script)) {
			number++
			code, _, _ := strings.Cut(line, "# ")
			if found := laterThanBash32.FindString(code); found != "" {
				t.Errorf("%s:%d: bash 3.2 does not know %s", script, number, found)
			}
		}
	}
	for _, line := range []string{`wait -n`, `x=${x//a/b}`, `echo "${x^^}"`, `printf '%(%T)T' -1`, `declare -A names`, `make |& cat`, `echo ${list[-1]}`} {
		if !laterThanBash32.MatchString(line) {
			t.Errorf("%s is not noticed", line)
		}
	}
}

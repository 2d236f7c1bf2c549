package state

import (
	"regexp"
	"testing"
	"time"

	"entra-aws-exporter/test/mutant"
)

// mutants are the bugs that a power cut must show. A missing rename of a token entry is
// none of them: the entry is found under the name of its reservation.
var mutants = []mutant.Mutant{
	{Name: "fsync of a file left out", Edits: []mutant.Edit{
		{Place: "writeSynced", Pattern: "f.Sync()", Replacement: "nil"},
	}},
	{Name: "fsync of the directory left out after a rename", Edits: []mutant.Edit{
		{Place: "Directory.commit", Pattern: "d.fs.SyncDirectory(filepath.Dir(to))", Replacement: "nil"},
	}},
	{Name: "fsync of the directory left out after a removal", Edits: []mutant.Edit{
		{Place: "Directory.remove", Pattern: "d.fs.SyncDirectory(filepath.Dir(path))", Replacement: "nil"},
	}},
	{Name: "fsync of the directory left out after its creation", Edits: []mutant.Edit{
		{Place: "Directory.makeDirectories", Pattern: "d.fs.SyncDirectory(parent)", Replacement: "nil"},
	}},
	{Name: "rename left out: a record is written in its place", Edits: []mutant.Edit{
		{Place: "Directory.writeAtomic", Pattern: `path + ".new"`, Replacement: "path"},
	}},
}

// TestMutants applies one mutant at a time and runs the power cut test.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package once for each mutant")
	}
	mutant.Runner{
		Tests:   "^TestPowerCutLeavesOldOrNew$",
		Caught:  regexp.MustCompile(`(cut at change .*)`),
		Timeout: 2 * time.Minute,
	}.Run(t, mutants)
}

package state

import (
	"regexp"
	"testing"
	"time"

	"entra-aws-exporter/test/mutant"
)

// mutants are the mistakes that a power cut must show. A missing rename of a token
// entry is none of them: the entry is found under the name of its reservation.
var mutants = []mutant.Mutant{
	{Name: "fsync of a file left out", Patches: []mutant.Patch{
		{File: "directory.go", Old: "	return f.Sync()\n", New: "	return nil\n"},
	}},
	{Name: "fsync of the directory left out after a rename", Patches: []mutant.Patch{
		{File: "directory.go", Old: "	return d.fs.SyncDirectory(filepath.Dir(to))\n", New: "	return nil\n"},
	}},
	{Name: "fsync of the directory left out after a removal", Patches: []mutant.Patch{
		{File: "directory.go", Old: "		return err\n	}\n	return d.fs.SyncDirectory(filepath.Dir(path))\n", New: "		return err\n	}\n	return nil\n"},
	}},
	{Name: "fsync of the directory left out after it was made", Patches: []mutant.Patch{
		{File: "directory.go", Old: "	return d.fs.SyncDirectory(parent)\n", New: "	return nil\n"},
	}},
	{Name: "rename left out: a record is written in its place", Patches: []mutant.Patch{
		{File: "directory.go", Old: "	temporary := path + \".new\"\n", New: "	temporary := path\n"},
	}},
}

// TestMutants applies one mutant at a time and runs the power cut test.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package once for each mutant")
	}
	mutant.Trial{
		Tests:  "^TestPowerCutLeavesOldOrNew$",
		Notice: regexp.MustCompile(`(cut at change .*)`),
		Limit:  2 * time.Minute,
	}.All(t, mutants)
}

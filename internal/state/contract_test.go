package state_test

import (
	"testing"

	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/internal/state/statetest"
)

func TestDirectoryContract(t *testing.T) {
	statetest.Contract(t, statetest.RealTime, func(t *testing.T) func() statetest.Store {
		root := t.TempDir()
		return func() statetest.Store {
			directory, err := state.Open(root, state.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return statetest.Store{Journal: directory.Journal(), Events: directory.Events(), Tokens: directory.Tokens(), Check: directory.Check}
		}
	})
}

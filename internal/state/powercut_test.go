package state

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"entra-aws-exporter/internal/model"
)

// powerCutCase is an operation that a power cut interrupts at each of its changes, and a
// check of what is left. done: the operation had returned without an error.
type powerCutCase struct {
	prepare, operation func(*Directory) error
	check              func(d *Directory, done bool) error
}

var background = context.Background()

func saveRecord(content string) func(*Directory) error {
	return func(d *Directory) error {
		_, revision, err := d.Journal().Load(background, "a")
		if err == nil {
			_, err = d.Journal().Save(background, "a", []byte(content), revision)
		}
		return err
	}
}

func expectRecord(old, fresh string) func(*Directory, bool) error {
	return func(d *Directory, done bool) error {
		content, _, err := d.Journal().Load(background, "a")
		if err != nil {
			return err
		}
		if string(content) != fresh && (done || string(content) != old) {
			return fmt.Errorf("the record is %q after the save of %q over %q (done: %v)", content, fresh, old, done)
		}
		if restored, err := d.Journal().Restored(background, "a"); restored || err != nil {
			return fmt.Errorf("the power cut looks like a restored backup: %w", err)
		}
		if err := saveRecord("after")(d); err != nil {
			return fmt.Errorf("the next save: %w", err)
		}
		return nil
	}
}

func writeToken(value string) func(*Directory) error {
	return func(d *Directory) error { return d.Tokens().Write(background, "b/new", model.NewSecret(value)) }
}

func reserveToken(d *Directory) error { return d.Tokens().Reserve(background, "b/new") }
func destroyToken(d *Directory) error { return d.Tokens().Destroy(background, "b/new") }

// expectValue: the value is there; or, unless done, it is missing and can be written.
func expectValue(value string) func(*Directory, bool) error {
	return func(d *Directory, done bool) error {
		found, err := d.Tokens().Read(background, "b/new")
		switch {
		case err != nil:
			return err
		case found.Reveal() == value:
			return nil
		case done || !found.IsZero():
			return fmt.Errorf("the token store holds %q instead of %q", found.Reveal(), value)
		}
		return errors.Join(reserveToken(d), writeToken(value)(d))
	}
}

// expectGone: the value is missing; or, unless done, it is there and complete.
func expectGone(value string) func(*Directory, bool) error {
	return func(d *Directory, done bool) error {
		if !done {
			return expectValue(value)(d, false)
		}
		keys, err := d.Tokens().List(background, "b")
		if err == nil && len(keys) > 0 {
			err = fmt.Errorf("still there: %v", keys)
		}
		return err
	}
}

var powerCutCases = map[string]powerCutCase{
	"first save":  {nothing, saveRecord("one"), expectRecord("", "one")},
	"second save": {saveRecord("one"), saveRecord("two"), expectRecord("one", "two")},
	"a save after an interrupted save": {func(d *Directory) error {
		d.fs.(*faultyFS).killAt(4, true)
		_ = saveRecord("one")(d)
		d.fs.(*faultyFS).cut(powerCut{true, 1})
		return saveRecord("one")(d)
	}, saveRecord("two"), expectRecord("one", "two")},
	"reserve": {nothing, reserveToken, func(d *Directory, _ bool) error { return expectValue("value")(d, false) }},
	"write":   {reserveToken, writeToken("value"), expectValue("value")},
	"destroy": {func(d *Directory) error { return errors.Join(reserveToken(d), writeToken("value")(d)) }, destroyToken, expectGone("value")},
}

func nothing(*Directory) error { return nil }

// runPowerCutCase runs a case once per change and powerCut, on a disk with a fault.
func runPowerCutCase(c powerCutCase, inject func(*faultyFS)) (cuts int, err error) {
	for n := 0; ; n++ {
		over := false
		for _, afterEffect := range []bool{false, true} {
			for _, how := range powerCuts {
				fsys := newFaultyFS()
				directory, err := openOn(fsys, "/state", Options{})
				if err != nil {
					return cuts, err
				}
				if err := c.prepare(directory); err != nil {
					return cuts, fmt.Errorf("preparing: %w", err)
				}
				inject(fsys)
				killed := fsys.killAt(n, afterEffect)
				done := c.operation(directory) == nil
				over = !killed()
				fsys.cut(how)
				fsys.noSync = ""
				if directory, err = openOn(fsys, "/state", Options{}); err != nil {
					return cuts, err
				}
				if err := c.check(directory, done); err != nil {
					return cuts, fmt.Errorf("cut at change %d (after its effect: %v) leaving %+v: %w", n, afterEffect, how, err)
				}
				cuts++
			}
		}
		if over {
			return cuts, nil
		}
	}
}

func TestPowerCutLeavesOldOrNew(t *testing.T) {
	for name, c := range powerCutCases {
		t.Run(name, func(t *testing.T) {
			cuts, err := runPowerCutCase(c, func(*faultyFS) {})
			if err != nil {
				t.Error(err)
			}
			if cuts < 3*2*len(powerCuts) {
				t.Errorf("only %d power cuts", cuts)
			}
		})
	}
}

// The test above fails without a sync. (The entry of a Write needs no synced name: it is
// found under the name of its reservation.)
func TestPowerCutDetectsAMissingSync(t *testing.T) {
	for _, without := range [][2]string{
		{"first save", "Sync"}, {"first save", "SyncDirectory"}, {"second save", "Sync"}, {"second save", "SyncDirectory"},
		{"write", "Sync"}, {"destroy", "SyncDirectory"},
	} {
		if _, err := runPowerCutCase(powerCutCases[without[0]], func(d *faultyFS) { d.noSync = without[1] }); err == nil {
			t.Errorf("%s without %s passes", without[0], without[1])
		}
	}
}

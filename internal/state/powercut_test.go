package state

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"entra-aws-exporter/internal/model"
)

// story is what a power cut may interrupt: prepare runs undisturbed, act is cut at each
// of its changes, and check judges what is left. done tells whether act had returned
// without an error.
type story struct {
	prepare, act func(*Directory) error
	check        func(d *Directory, done bool) error
}

var ctx = context.Background()

func save(content string) func(*Directory) error {
	return func(d *Directory) error {
		_, revision, err := d.Journal().Load(ctx, "a")
		if err == nil {
			_, err = d.Journal().Save(ctx, "a", []byte(content), revision)
		}
		return err
	}
}

func holds(old, fresh string) func(*Directory, bool) error {
	return func(d *Directory, done bool) error {
		content, _, err := d.Journal().Load(ctx, "a")
		if err != nil {
			return err
		}
		if string(content) != fresh && (done || string(content) != old) {
			return fmt.Errorf("the record is %q after the save of %q over %q (done: %v)", content, fresh, old, done)
		}
		if restored, err := d.Journal().Restored(ctx, "a"); restored || err != nil {
			return fmt.Errorf("a power cut looks like a restored backup: %w", err)
		}
		if err := save("after")(d); err != nil {
			return fmt.Errorf("the next save: %w", err)
		}
		return nil
	}
}

func write(value string) func(*Directory) error {
	return func(d *Directory) error { return d.Vault().Write(ctx, "b/new", model.NewSecret(value)) }
}

func reserve(d *Directory) error { return d.Vault().Reserve(ctx, "b/new") }
func destroy(d *Directory) error { return d.Vault().Destroy(ctx, "b/new") }

// keeps: the value is there, or (unless done) it is not, and then it can be written.
func keeps(value string) func(*Directory, bool) error {
	return func(d *Directory, done bool) error {
		found, err := d.Vault().Read(ctx, "b/new")
		switch {
		case err != nil:
			return err
		case found.Reveal() == value:
			return nil
		case done || !found.IsZero():
			return fmt.Errorf("the vault holds %q instead of %q", found.Reveal(), value)
		}
		return errors.Join(reserve(d), write(value)(d))
	}
}

// gone: the value is not there, or (unless done) it is there whole.
func gone(value string) func(*Directory, bool) error {
	return func(d *Directory, done bool) error {
		if !done {
			return keeps(value)(d, false)
		}
		keys, err := d.Vault().List(ctx, "b")
		if err == nil && len(keys) > 0 {
			err = fmt.Errorf("still there: %v", keys)
		}
		return err
	}
}

var stories = map[string]story{
	"first save":  {nothing, save("one"), holds("", "one")},
	"second save": {save("one"), save("two"), holds("one", "two")},
	"a save after a save that died": {func(d *Directory) error {
		d.disk.(*faultyDisk).killAt(4, true)
		_ = save("one")(d)
		d.disk.(*faultyDisk).cut(powerCut{true, 1})
		return save("one")(d)
	}, save("two"), holds("one", "two")},
	"reserve": {nothing, reserve, func(d *Directory, _ bool) error { return keeps("value")(d, false) }},
	"write":   {reserve, write("value"), keeps("value")},
	"destroy": {func(d *Directory) error { return errors.Join(reserve(d), write("value")(d)) }, destroy, gone("value")},
}

func nothing(*Directory) error { return nil }

// tell runs a story to its end for every change at which the power may fail and every
// way in which it may leave the disk.
func tell(s story, prepare func(*faultyDisk)) (cuts int, err error) {
	for n := 0; ; n++ {
		over := false
		for _, afterEffect := range []bool{false, true} {
			for _, how := range powerCuts {
				disk := newFaultyDisk()
				directory, err := open("/state", Options{}, disk)
				if err != nil {
					return cuts, err
				}
				if err := s.prepare(directory); err != nil {
					return cuts, fmt.Errorf("preparing: %w", err)
				}
				prepare(disk)
				died := disk.killAt(n, afterEffect)
				done := s.act(directory) == nil
				over = !died()
				disk.cut(how)
				disk.lies = ""
				if directory, err = open("/state", Options{}, disk); err != nil {
					return cuts, err
				}
				if err := s.check(directory, done); err != nil {
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
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			cuts, err := tell(s, func(*faultyDisk) {})
			if err != nil {
				t.Error(err)
			}
			if cuts < 3*2*len(powerCuts) {
				t.Errorf("only %d power cuts", cuts)
			}
		})
	}
}

// The test above would notice a sync that was left out. (The entry of a Write needs no
// synced name: it is found under that of its reservation.)
func TestPowerCutNoticesAMissingSync(t *testing.T) {
	for _, without := range [][2]string{
		{"first save", "Sync"}, {"first save", "SyncDirectory"}, {"second save", "Sync"}, {"second save", "SyncDirectory"},
		{"write", "Sync"}, {"destroy", "SyncDirectory"},
	} {
		if _, err := tell(stories[without[0]], func(d *faultyDisk) { d.lies = without[1] }); err == nil {
			t.Errorf("%s without %s passes", without[0], without[1])
		}
	}
}

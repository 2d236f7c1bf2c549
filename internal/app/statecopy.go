package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
)

// StateCopy copies the state that one configuration file names to that of another. It may
// be repeated: what is there already is left as it is. It refuses while a rotation runs.
func StateCopy(ctx context.Context, options Options, from, to string) error {
	c := stateCopy{out: options.Stdout}
	var err error
	if c.from, err = options.openCopySide(ctx, from); err != nil {
		return err
	}
	if c.to, err = options.openCopySide(ctx, to); err != nil {
		return err
	}
	if c.from.place == c.to.place {
		return &UsageError{"--from and --to must name configurations whose states are in different places"}
	}
	if err := c.to.check(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.to.place, err)
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "copied %d, already there %d\n%s keeps what it has: delete it once the exporter runs with %s\n", c.copied, c.present, c.from.place, c.to.place)
	return nil
}

// copySide is one of the two states.
type copySide struct {
	*stateStore
	place string
}

// openCopySide opens the state of a configuration and makes sure that no rotation runs in it.
func (o Options) openCopySide(ctx context.Context, file string) (copySide, error) {
	o.ConfigFile = file
	c, err := config.Load(file)
	if err != nil {
		return copySide{}, err
	}
	store, err := o.openState(c, collector.NewRequests().Observe)
	switch {
	case err != nil:
		return copySide{}, err
	case store == nil:
		return copySide{}, fmt.Errorf("%s: it keeps no state: set state.directory or state.aws", file)
	}
	side := copySide{store, c.State.Place()}
	service := o.newRotationService(store, 1, nil, nil)
	side.tokens = service.tokens // shows its values to the redactor
	if err := service.engine.Refresh(ctx); err != nil {
		return side, err
	}
	for _, rotation := range service.engine.Records() {
		if rotation.Outcome == "" {
			return side, fmt.Errorf("%s: the rotation %s of connection %s runs: wait for its end, or abort it", side.place, rotation.ID, rotation.Connection)
		}
	}
	return side, nil
}

// stateCopy copies one state to another.
type stateCopy struct {
	from, to        copySide
	out             io.Writer
	copied, present int
}

// run copies the token values before the journals that name them.
func (c *stateCopy) run(ctx context.Context) error {
	bindings, err := c.from.journal.Keys(ctx)
	if err != nil {
		return err
	}
	for _, binding := range bindings { // before anything is copied
		if _, err := c.checkJournal(ctx, binding); err != nil {
			return err
		}
	}
	for _, binding := range bindings {
		keys, err := c.from.tokens.List(ctx, binding)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := c.copyToken(ctx, key); err != nil {
				return err
			}
		}
	}
	for _, binding := range bindings {
		r, err := c.checkJournal(ctx, binding)
		if err == nil {
			err = c.copyRecord(ctx, "journal", c.to.journal, r)
		}
		if err != nil {
			return err
		}
	}
	counters, err := c.from.events.Keys(ctx)
	if err != nil {
		return err
	}
	for _, key := range counters {
		r, err := readBoth(ctx, c.from.events, c.to.events, key)
		switch {
		case err != nil:
			return err
		case r.there.newerThan(r.here):
			c.say("counters", key, "kept: they are newer there")
		default:
			err = c.copyRecord(ctx, "counters", c.to.events, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkJournal reads a journal on both sides. An older one never replaces a newer one.
func (c *stateCopy) checkJournal(ctx context.Context, binding string) (bothRecords, error) {
	restored, err := c.from.journal.Restored(ctx, binding)
	if err != nil {
		return bothRecords{}, err
	}
	r, err := readBoth(ctx, c.from.journal, c.to.journal, binding)
	switch {
	case err != nil:
		return r, err
	case restored:
		return r, fmt.Errorf("journal %s of connection %s is a restored copy: run rotation adopt %s with %s first", binding, r.here.Connection, r.here.Connection, c.from.place)
	case r.there.newerThan(r.here) || r.there.Sequence == r.here.Sequence && !bytes.Equal(r.there.content, r.here.content):
		return r, fmt.Errorf("journal %s of connection %s: %s has another one (write %d), which is not older than that of %s (write %d): copy in the other direction, or delete the one that is wrong",
			binding, r.here.Connection, c.to.place, r.there.Sequence, c.from.place, r.here.Sequence)
	}
	return r, nil
}

// copyToken copies one value and reads it back.
func (c *stateCopy) copyToken(ctx context.Context, key string) error {
	value, err := c.from.tokens.Read(ctx, key)
	if err != nil || value.IsZero() { // reserved, never written
		return err
	}
	there, err := c.to.tokens.Read(ctx, key)
	switch {
	case err != nil:
		return err
	case there.Equal(value):
		c.present++
		c.say("token", key, "already there")
		return nil
	case !there.IsZero():
		return fmt.Errorf("token %s: %s has another value for it", key, c.to.place)
	}
	if err := errors.Join(c.to.tokens.Reserve(ctx, key), c.to.tokens.Write(ctx, key, value)); err != nil {
		return fmt.Errorf("token %s: %w", key, err)
	}
	if there, err = c.to.tokens.Read(ctx, key); err != nil || !there.Equal(value) {
		return fmt.Errorf("token %s: %s does not return what was written: %w", key, c.to.place, err)
	}
	c.copied++
	c.say("token", key, "copied")
	return nil
}

// copyRecord copies one record, unless it is there.
func (c *stateCopy) copyRecord(ctx context.Context, what string, to records, r bothRecords) error {
	if bytes.Equal(r.here.content, r.there.content) {
		c.present++
		c.say(what, r.key, "already there")
		return nil
	}
	if _, err := to.Save(ctx, r.key, r.here.content, r.revision); err != nil {
		return fmt.Errorf("%s %s: %w", what, r.key, err)
	}
	c.copied++
	c.say(what, r.key, "copied")
	return nil
}

func (c *stateCopy) say(what, key, outcome string) {
	fmt.Fprintf(c.out, "%-8s %s: %s\n", what, key, outcome)
}

// bothRecords is a record on both sides.
type bothRecords struct {
	key         string
	here, there storedRecord
	revision    string // there
}

// storedRecord is what tells which of two copies is the newer one: the number of a
// journal's writes, or when counters were read.
type storedRecord struct {
	content    []byte
	Connection string
	Sequence   uint64
	Reader     struct{ Read time.Time }
}

func (r storedRecord) newerThan(other storedRecord) bool {
	return r.Sequence > other.Sequence || r.Reader.Read.After(other.Reader.Read)
}

func readBoth(ctx context.Context, from, to records, key string) (bothRecords, error) {
	both := bothRecords{key: key}
	var err error
	if both.here.content, _, err = from.Load(ctx, key); err != nil {
		return both, err
	}
	if both.there.content, both.revision, err = to.Load(ctx, key); err != nil {
		return both, err
	}
	for _, r := range []*storedRecord{&both.here, &both.there} {
		if err := json.Unmarshal(r.content, r); r.content != nil && err != nil {
			return both, fmt.Errorf("record %s: %w: %w", key, model.ErrUnreadable, err)
		}
	}
	return both, nil
}

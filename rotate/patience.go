package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// How long the engine doubts before it gives in. One bad answer never blocks: an
// impasse must be found three times in a row, an error of a kind that may pass (Graph
// answers 403 and 409 in passing) must last an hour.
const (
	impasseTries = 3
	errorTries   = 5
	errorLasts   = time.Hour
	giveUpAfter  = 2 * time.Hour // of a plan that gets no answers
)

// doubt counts how often the same trouble was met in a row.
type doubt struct {
	trouble string
	tries   int
	since   time.Time
	streak  streak
	told    map[string]bool // what was said of the streak
}

// streak is what has failed, whatever it was, since a phase last went well. It stands in
// the record, so that every process can tell what a rotation really waits for.
type streak struct {
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"`
	Text    string    `json:"text"`            // the last error
	Store   bool      `json:"store,omitempty"` // it is the state directory's, not a cloud's
	Alarmed time.Time `json:"alarmed,omitzero"`
}

const (
	streakGap = 30 * time.Minute // without an error: the next one begins another streak
	kindsTold = 20               // of errors, in one streak
)

// cope decides what an error means for the rotation: waiting, blocking, giving up, or
// (an error is returned) leaving it to somebody else.
func (r *run) cope(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errHeld):
		return nil
	case errors.Is(err, errGivenUp):
		return r.giveUp(ctx, err.Error())
	case lasting(err):
		return err
	}
	stuck := impasseOf(err)
	quick := stuck != nil && !stuck.slow
	trouble := "passing"
	if stuck != nil {
		trouble = string(stuck.reason)
	}
	r.suffer(err)
	if r.doubt.trouble != trouble {
		r.doubt = doubt{trouble: trouble, since: time.Now(), streak: r.doubt.streak, told: r.doubt.told}
	}
	r.doubt.tries++
	lasted := r.passed(r.doubt.since)
	rot := r.rotation()
	switch {
	case stuck != nil && stuck.sure,
		quick && r.doubt.tries >= impasseTries,
		stuck != nil && r.doubt.tries >= errorTries && lasted >= errorLasts:
		return r.block(ctx, stuck)
	case stuck == nil && rot.Phase == model.PhasePlan && lasted >= giveUpAfter:
		return r.giveUp(ctx, fmt.Sprintf("no answer for %s: %s", giveUpAfter, err))
	}
	r.alarm()
	backoff := time.Minute << min(r.doubt.tries-1, 3)
	if quick {
		backoff = time.Minute * time.Duration(r.doubt.tries*r.doubt.tries)
	}
	if err := r.pause(ctx, backoff, rot.Waiting); err != nil {
		return err
	}
	return nil
}

// suffer adds an error to the streak, and says each kind of them once.
func (r *run) suffer(err error) {
	now, d := time.Now().UTC(), &r.doubt
	if d.streak.Since.IsZero() || r.passed(d.streak.Last) > streakGap {
		d.streak, d.told = streak{Since: now}, nil
	}
	d.streak.Last, d.streak.Text, d.streak.Store = now, err.Error(), ofStore(err)
	kind := kindOf(err)
	if d.told[kind] || len(d.told) >= kindsTold {
		return
	}
	if d.told == nil {
		d.told = map[string]bool{}
	}
	d.told[kind] = true
	r.say("%s; trying again", err)
}

// kindOf tells errors apart that are worth a line each.
func kindOf(err error) string {
	var stuck *impasse
	var failed *model.Error
	switch {
	case errors.As(err, &stuck):
		return string(stuck.reason)
	case errors.As(err, &failed):
		return fmt.Sprint(failed.Op, " ", failed.Reason, " ", failed.Status, " ", failed.Code)
	default:
		return err.Error()
	}
}

// ofStore tells whether an error is the journal's or the vault's: the clouds' are classified.
func ofStore(err error) bool {
	var stuck *impasse
	var failed *model.Error
	return !errors.As(err, &stuck) && !errors.As(err, &failed)
}

// alarm tells of a streak that has lasted an hour, and again every hour. Trying goes on,
// but somebody should know.
func (r *run) alarm() {
	s, now := &r.doubt.streak, time.Now().UTC()
	if r.passed(s.Since) < errorLasts || r.passed(s.Alarmed) < errorLasts {
		return
	}
	s.Alarmed = now
	phase := r.rotation().Phase
	r.log.Error("rotation does not get on", "connection", r.connection.Name, "phase", phase, "since", s.Since, "err", s.Text,
		"sentence", s.sentence(r.connection.Name, phase))
}

// stands tells whether the streak goes on: a process that was killed does not end it.
func (s streak) stands(now time.Time) bool { return !s.Since.IsZero() && now.Sub(s.Last) <= streakGap }

// sentence is what a person reads while it lasts.
func (s streak) sentence(connection string, phase model.Phase) string {
	look := "doctor " + connection
	if s.Store {
		look = "make the state directory, and the age identity if there is one, readable and writable"
	}
	return fmt.Sprintf("%s does not get on in phase %s since %s: %s; it goes on by itself as soon as this works; next: %s.",
		connection, phase, day(s.Since), s.Text, look)
}

// waiting is the reason that fits. There is none for a cloud that does not answer.
func (s streak) waiting() Waiting {
	if s.Store {
		return StoreUnavailable
	}
	return notWaiting
}

// giveUp ends a rotation by which nothing was saved to Entra.
func (r *run) giveUp(ctx context.Context, why string) error {
	rot := r.rotation()
	switch {
	case rot.outOfHand():
		return nil // past the point of no undo there is only forward
	case rot.NewToken != nil:
		return r.enter(ctx, model.PhaseUndo)
	default:
		_, err := r.end(ctx, model.OutcomeAborted, why, func(rec *record) { rec.Attempts++ })
		return err
	}
}

// tokens are those that AWS listed last, or that the journal knows of, and the new one.
func (r *run) tokens() []model.Token {
	tokens := slices.Clone(r.listed)
	if tokens == nil {
		tokens = known(r.book.last())
	}
	if token := r.rotation().NewToken; token != nil && !slices.ContainsFunc(tokens, func(t model.Token) bool { return t.ID == token.ID }) {
		tokens = append(tokens, *token)
	}
	slices.SortFunc(tokens, func(a, b model.Token) int { return a.Created.Compare(b.Created) })
	return tokens
}

// block stops the rotation until a person acts. What it holds, it keeps.
func (r *run) block(ctx context.Context, stuck *impasse) error {
	if rec, err := r.book.load(ctx); err == nil && rec != nil && rec.Rotation != nil && errors.Is(rec.mayAct(), errGivenUp) {
		return nil // a person was quicker
	}
	rot := r.rotation()
	text := sentenceWith(r.connection.Name, rot.Phase, stuck.reason, stuck.detail, r.tokens(), cmp.Or(stuck.next, next[stuck.reason]))
	r.say("blocked: %s: %s", stuck.reason, stuck.detail)
	r.log.Error("rotation blocked", "connection", r.connection.Name, "phase", rot.Phase, "reason", string(stuck.reason), "sentence", text)
	at := time.Now().UTC()
	r.doubt = doubt{}
	return r.write(ctx, func(rec *record) {
		rec.Rotation.Waiting = notWaiting
		rec.Rotation.Blocked = &block{Reason: stuck.reason, Sentence: text, At: at}
		rec.Attempts++
		rec.LastEnd = at
		rec.count(model.OutcomeBlocked)
	})
}

package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/bridge"
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
}

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
	if r.doubt.trouble != trouble {
		r.doubt = doubt{trouble: trouble, since: time.Now()}
		r.say("%s; trying again", err)
	}
	r.doubt.tries++
	lasted := r.passed(r.doubt.since)
	rot := r.rotation()
	switch {
	case stuck != nil && stuck.sure,
		quick && r.doubt.tries >= impasseTries,
		stuck != nil && r.doubt.tries >= errorTries && lasted >= errorLasts:
		return r.block(ctx, stuck)
	case stuck == nil && rot.Phase == bridge.PhasePlan && lasted >= giveUpAfter:
		return r.giveUp(ctx, fmt.Sprintf("no answer for %s: %s", giveUpAfter, err))
	}
	backoff := time.Minute << min(r.doubt.tries-1, 3)
	if quick {
		backoff = time.Minute * time.Duration(r.doubt.tries*r.doubt.tries)
	}
	if err := r.pause(ctx, backoff, rot.Waiting); err != nil {
		return err
	}
	return nil
}

// giveUp ends a rotation by which nothing was saved to Entra.
func (r *run) giveUp(ctx context.Context, why string) error {
	rot := r.rotation()
	switch {
	case rot.outOfHand():
		return nil // past the point of no undo there is only forward
	case rot.NewToken != nil:
		return r.enter(ctx, bridge.PhaseUndo)
	default:
		_, err := r.end(ctx, bridge.EndingAborted, why, func(rec *record) { rec.Attempts++ })
		return err
	}
}

// tokens are those that AWS listed last, or that the journal knows of, and the new one.
func (r *run) tokens() []bridge.Token {
	tokens := slices.Clone(r.listed)
	if tokens == nil {
		tokens = known(r.book.last())
	}
	if token := r.rotation().NewToken; token != nil && !slices.ContainsFunc(tokens, func(t bridge.Token) bool { return t.ID == token.ID }) {
		tokens = append(tokens, *token)
	}
	slices.SortFunc(tokens, func(a, b bridge.Token) int { return a.Created.Compare(b.Created) })
	return tokens
}

// block stops the rotation until a person acts. What it holds, it keeps.
func (r *run) block(ctx context.Context, stuck *impasse) error {
	if rec, err := r.book.load(ctx); err == nil && rec != nil && rec.Rotation != nil && errors.Is(rec.mayAct(), errGivenUp) {
		return nil // a person was quicker
	}
	rot := r.rotation()
	text := sentence(r.connection.Name, rot.Phase, stuck.reason, stuck.detail, r.tokens())
	r.say("blocked: %s: %s", stuck.reason, stuck.detail)
	r.log.Error("rotation blocked", "connection", r.connection.Name, "phase", rot.Phase, "reason", string(stuck.reason), "sentence", text)
	at := time.Now().UTC()
	return r.write(ctx, func(rec *record) {
		rec.Rotation.Waiting = notWaiting
		rec.Rotation.Blocked = &block{Reason: stuck.reason, Sentence: text, At: at}
		rec.Attempts++
		rec.LastEnd = at
		rec.count(bridge.EndingBlocked)
	})
}

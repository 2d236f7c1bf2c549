package clouds

import (
	"fmt"
	"time"
)

// HeldToken is a token that Entra holds, and whether AWS would take it.
type HeldToken struct {
	TokenID  string // "": nothing is held, or a value that no token has
	Accepted Acceptance
	Cause    Cause // why it is not accepted by all; "": it is
	CausedBy Actor // who made it so
}

// EntraState is what an application's provisioning holds from now on: the saved token, and
// the one that its engine still uses (empty if it reads the saved one).
// One is recorded at every transition.
type EntraState struct {
	Stamp
	ServicePrincipalID string
	Saved              HeldToken
	Cached             HeldToken
}

// Cause is why a held token is not accepted.
type Cause string

// The causes of an outage.
const (
	CauseDeleted     Cause = "deleted"       // the token that was held was deleted
	CauseExpired     Cause = "expired"       // it expired
	CauseSaved       Cause = "saved"         // what was saved was never, or no longer, good
	CausePropagating Cause = "propagating"   // it was saved before AWS's nodes all knew it
	CauseTenant      Cause = "tenant"        // its provisioning tenant was recreated
	CauseSources     Cause = "source_filter" // AWS keeps Entra's addresses out

	CauseActivated Cause = "activated" // Entra signs with a certificate that AWS does not trust
	CauseSwitched  Cause = "switched"  // Entra does so by itself: the active one has expired, or none is set
	CauseMode      Cause = "mode"      // the application signs users in another way
	CauseOther     Cause = "other"     // one user's own failure
)

// Outage is a time in which AWS would refuse what Entra has saved or cached.
type Outage struct {
	ServicePrincipalID string
	TokenID            string
	Cached             bool // it is the cached token that was refused, the saved one was good
	Cause              Cause
	CausedBy           Actor
	Began, Ended       time.Time // Ended is zero while it lasts
	Partial            bool      // some of AWS's nodes accepted all along
}

// Seconds returns how long the outage lasted, or has lasted at now.
func (g Outage) Seconds(now time.Time) float64 {
	if g.Ended.IsZero() {
		return now.Sub(g.Began).Seconds()
	}
	return g.Ended.Sub(g.Began).Seconds()
}

func (g Outage) String() string {
	which, until := "saved", "is open"
	if g.Cached {
		which = "cached"
	}
	if !g.Ended.IsZero() {
		until = fmt.Sprintf("lasted %s", g.Ended.Sub(g.Began))
	}
	return fmt.Sprintf("%s: %s token %s not accepted (%s by %s), %s", g.ServicePrincipalID, which, orNone(g.TokenID), g.Cause, g.CausedBy, until)
}

func (h EntraState) String() string {
	text := fmt.Sprintf("%s holds %s (accepted by %s", h.ServicePrincipalID, orNone(h.Saved.TokenID), h.Saved.Accepted)
	if h.Saved.Cause != "" {
		text += fmt.Sprintf(": %s by %s", h.Saved.Cause, h.Saved.CausedBy)
	}
	text += ")"
	if h.Cached != (HeldToken{}) {
		text += fmt.Sprintf(", engine uses %s (accepted by %s)", orNone(h.Cached.TokenID), h.Cached.Accepted)
	}
	return text
}

// Outages returns every outage so far, in the order of their beginnings.
func (engine *Engine) Outages() []Outage {
	engine.Advance()
	list := make([]Outage, 0, len(engine.outages))
	for _, outage := range engine.outages {
		list = append(list, *outage)
	}
	return list
}

func (engine *Engine) jobOf(objectID string) *job {
	engine.Advance()
	for _, j := range engine.jobs {
		if j.application.ObjectID == objectID {
			return j
		}
	}
	return nil
}

// EntraState returns what an application holds now.
func (engine *Engine) EntraState(objectID string) (EntraState, bool) {
	if j := engine.jobOf(objectID); j != nil {
		return j.state, true
	}
	return EntraState{}, false
}

// CycleSince returns when the cycle began that an application's engine is in the middle
// of; zero: it is between two.
func (engine *Engine) CycleSince(objectID string) time.Time {
	if j := engine.jobOf(objectID); j != nil && j.running != nil {
		return j.running.began
	}
	return time.Time{}
}

func (engine *Engine) recordState(j *job) {
	now := EntraState{Stamp: Stamp{At: engine.at}, ServicePrincipalID: j.application.ObjectID}
	now.Saved = engine.aws.held(&j.application.saved)
	if cached := j.cachedAt(engine.at); cached != nil && (cached.value != j.application.saved.value || cached.address != j.application.saved.address) {
		now.Cached = engine.aws.held(cached)
	}
	if now.Saved == j.state.Saved && now.Cached == j.state.Cached && j.state.ServicePrincipalID != "" {
		return
	}
	j.state = now
	engine.record(now)

	worse, cached := now.Saved, false
	if now.Cached.Cause != "" && (worse.Cause == "" || now.Cached.Accepted == AcceptedByNone && worse.Accepted == AcceptedBySome) {
		worse, cached = now.Cached, true
	}
	next := Outage{
		ServicePrincipalID: j.application.ObjectID, TokenID: worse.TokenID, Cached: cached,
		Cause: worse.Cause, CausedBy: worse.CausedBy, Partial: worse.Accepted == AcceptedBySome, Began: engine.at,
	}
	if j.outage != nil {
		same := *j.outage
		same.Began = engine.at
		if same == next {
			return
		}
		j.outage.Ended = engine.at
		j.outage = nil
	}
	if worse.Cause != "" {
		j.outage = &next
		engine.outages = append(engine.outages, j.outage)
	}
}

func (engine *Engine) recordStates() {
	for _, j := range engine.jobs {
		engine.recordState(j)
	}
}

func (engine *Engine) holders(t *scimToken) (saved, cached []string) {
	for _, j := range engine.jobs {
		if j.application.saved.token == t {
			saved = append(saved, j.application.ObjectID)
		}
		if c := j.cachedAt(engine.at); c != nil && c.token == t {
			cached = append(cached, j.application.ObjectID)
		}
	}
	return saved, cached
}

// cachedAt returns what the engine of a job still uses; nil: it would read.
func (j *job) cachedAt(now time.Time) *credential {
	if j.cached == nil || !j.cachedUntil.IsZero() && !now.Before(j.cachedUntil) {
		return nil
	}
	return j.cached
}

// held tells whether AWS would accept a credential from Entra, and if not, why.
func (aws *AWS) held(c *credential) HeldToken {
	if c.address == "" && c.value == "" {
		return HeldToken{} // never configured
	}
	held := HeldToken{TokenID: c.tokenID(), Accepted: AcceptedByNone}
	t := c.token
	lost := func(cause Cause, beforeSaved bool, by Actor) HeldToken {
		if beforeSaved { // the save is to blame: the token was dead already
			cause, by = CauseSaved, c.by
		}
		held.Cause, held.CausedBy = cause, by
		return held
	}
	switch {
	case t == nil || c.tenant == nil || t.of != c.tenant:
		return lost(CauseSaved, true, c.by)
	case !t.of.deleted.IsZero():
		return lost(CauseTenant, t.of.deletion < c.order, t.of.deletedBy)
	case !aws.allowsSource(t.of.of, EntraAddress):
		held.Cause, held.CausedBy = CauseSources, t.of.of.allowedBy // whatever is saved
		return held
	}
	held.Accepted = aws.acceptance(t)
	switch {
	case held.Accepted == AcceptedByAll:
		return held
	case !t.deleted.IsZero() && t.deleted.Before(t.Expires): // deleting an expired token changes nothing
		return lost(CauseDeleted, t.deletion < c.order, t.deletedBy)
	case !aws.at.Before(t.Expires):
		if t.expiredBy != "" {
			return lost(CauseExpired, t.Expires.Before(c.since), t.expiredBy)
		}
		return lost(CauseExpired, !t.Expires.After(c.since), ActorTime)
	default:
		held.Cause, held.CausedBy = CausePropagating, c.by
		return held
	}
}

// nextChange returns when the acceptance of a credential changes by itself.
func (aws *AWS) nextChange(c *credential) (next time.Time) {
	if c == nil || c.token == nil {
		return next
	}
	times := []time.Time{c.token.Created.Add(aws.lag(aws.quirks.NewLag)), c.token.Expires}
	if !c.token.deleted.IsZero() {
		times = append(times, c.token.deleted.Add(aws.lag(aws.quirks.DeletedLag)))
	}
	for _, t := range times {
		if t.After(aws.at) {
			next = sooner(next, t)
		}
	}
	return next
}

// SavedToken returns the id of the token that an application has saved; "" when it is
// a value that no token has.
func (engine *Engine) SavedToken(objectID string) string {
	if j := engine.jobOf(objectID); j != nil {
		return j.application.saved.tokenID()
	}
	return ""
}

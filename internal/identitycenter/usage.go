package identitycenter

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const (
	usageLookback = 24 * time.Hour   // of the first poll
	usageOverlap  = 30 * time.Minute // of later ones, twice CloudTrail's delay of delivery
	usagePages    = 400              // of one poll; the newest come first, so that the rest may be left out
	probeWindow   = 5 * time.Second  // between a probe's response and its time in CloudTrail
	maxProbes     = 64
	maxKeyIDs     = 64 // more access key ids than that cannot stand for two tokens
)

// usageTracker learns which access key id in CloudTrail belongs to which token: by our
// own probes with a known token. AWS does not say that there is one id per token, so a
// contradiction is no evidence.
type usageTracker struct {
	mu       sync.Mutex
	read     time.Time // up to where CloudTrail was read, by AWS's clock
	backlog  span      // an older part that is still to be read
	skipped  bool      // a part was left out, and the log says so
	probes   []ownProbe
	lastSeen map[string]time.Time // by access key id: the last call that was not our own
}

// ownProbe is an accepted probe of ours and what CloudTrail says of it.
type ownProbe struct {
	tokenID string
	at      time.Time // by AWS's clock
	keyID   string    // "": not found yet
	unclear bool      // CloudTrail has several ids in its window
}

// recordProbe remembers an accepted probe of a known token.
func (u *usageTracker) recordProbe(tokenID string, probe model.Probe, now time.Time) {
	if tokenID == "" {
		return
	}
	at := probe.Date
	if at.IsZero() {
		at = now
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.probes = append(u.probes, ownProbe{tokenID: tokenID, at: at})
	if len(u.probes) > maxProbes {
		u.probes = slices.Delete(u.probes, 0, len(u.probes)-maxProbes)
	}
}

// Usage tells when each token was last used by anything but an exporter, as far as
// CloudTrail can tell. A token that cannot be told apart from another is absent.
func (i *Instance) Usage(ctx context.Context) (model.Usage, error) {
	tokens, err := i.usageTokens(ctx)
	if err != nil {
		return model.Usage{}, err
	}
	now := i.http.now()
	from, backlog := i.usage.position(now)
	rest, err := i.readUsage(ctx, from, time.Time{})
	switch {
	case err != nil:
		return model.Usage{}, err
	case rest.isEmpty() && !backlog.isEmpty():
		if older, err := i.readUsage(ctx, backlog.From, backlog.To); err == nil {
			backlog = older
		}
	case !rest.isEmpty():
		if !backlog.isEmpty() && i.usage.skip() {
			i.http.Logger.Warn("skipping older SCIM calls", "connection", i.options.Connection, "from", backlog.From, "to", backlog.To,
				"cause", "CloudTrail has more calls than two look-ups a second can read", "advice", "poll more often: intervals.usage")
		}
		backlog = rest
	}
	i.usage.advance(now, backlog)
	return model.Usage{LastUsed: i.usage.lastUsed(tokens, now)}, nil
}

// KnownUsage is Usage without a look at CloudTrail.
func (i *Instance) KnownUsage(ctx context.Context) (model.Usage, error) {
	tokens, err := i.usageTokens(ctx)
	if err != nil {
		return model.Usage{}, err
	}
	return model.Usage{LastUsed: i.usage.lastUsed(tokens, i.http.now())}, nil
}

// usageTokens are the tokens that were listed last.
func (i *Instance) usageTokens(ctx context.Context) ([]model.Token, error) {
	if tokens := i.lastListed(); tokens != nil {
		return tokens, nil
	}
	list, err := i.ListTokens(ctx)
	return list.Tokens, err
}

// span is a part of CloudTrail that is still to be read.
type span struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

func (s span) isEmpty() bool { return s.To.IsZero() }

// readUsage takes in CloudTrail's calls, the newest first, as far as the time suffices. It
// returns the older rest.
func (i *Instance) readUsage(ctx context.Context, from, until time.Time) (rest span, err error) {
	var calls []trailCall
	complete, err := i.forEachCall(ctx, from, until, usagePages, func(call trailCall) { calls = append(calls, call) })
	i.usage.update(calls, i.http.UserAgent())
	reason := model.ReasonOf(err)
	switch {
	case complete:
		return span{}, nil
	case len(calls) > 0 && (err == nil || reason == model.ReasonTimeout || reason == model.ReasonThrottled):
		return span{from, calls[len(calls)-1].At}, nil
	default:
		return span{}, err
	}
}

// position is from where CloudTrail is to be read now, and what older part is left.
func (u *usageTracker) position(now time.Time) (from time.Time, backlog span) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.read.IsZero() {
		return now.Add(-usageLookback), span{}
	}
	return u.read.Add(-usageOverlap), u.backlog
}

// skip reports whether it is the first time that a part is skipped.
func (u *usageTracker) skip() (first bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	first, u.skipped = !u.skipped, true
	return first
}

func (u *usageTracker) advance(now time.Time, backlog span) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.read, u.backlog = now, backlog
}

// update takes in calls.
func (u *usageTracker) update(calls []trailCall, ownUserAgent string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lastSeen == nil {
		u.lastSeen = make(map[string]time.Time)
	}
	for _, call := range calls {
		seen, known := u.lastSeen[call.AccessKeyID]
		isRoom := known || len(u.lastSeen) <= maxKeyIDs
		switch {
		case call.AccessKeyID == "":
		case strings.HasPrefix(call.UserAgent, cloudhttp.Application+"/"):
			if !known && isRoom {
				u.lastSeen[call.AccessKeyID] = time.Time{} // the id exists
			}
			if call.UserAgent == ownUserAgent {
				u.matchProbe(call.SCIMCall)
			}
		case call.refused: // the token was tried, not used
		case isRoom && call.At.After(seen):
			u.lastSeen[call.AccessKeyID] = call.At
		}
	}
}

// matchProbe finds the probe of ours that a call is.
func (u *usageTracker) matchProbe(call model.SCIMCall) {
	for n := range u.probes {
		probe := &u.probes[n]
		if call.At.Sub(probe.at).Abs() > probeWindow {
			continue
		}
		if probe.keyID != "" && probe.keyID != call.AccessKeyID {
			probe.unclear = true // another exporter's probe at the same moment
		}
		probe.keyID = call.AccessKeyID
	}
}

// lastUsed returns the last use of each token, where the evidence is clear.
func (u *usageTracker) lastUsed(tokens []model.Token, now time.Time) map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	used := make(map[string]time.Time)
	keyIDs, consistent := u.keyIDs()
	if !consistent || len(u.lastSeen) > maxKeyIDs {
		return used
	}
	for _, token := range tokens {
		at, since := u.lastSeen[keyIDs[token.ID]], token.Created
		if len(u.lastSeen) < 2 { // the id may be constant: what another token could do is no use of this one
			since = laterOf(since, lastValid(tokens, token.ID, now))
		}
		if !at.IsZero() && !at.Before(since) {
			used[token.ID] = at
		}
	}
	return used
}

// lastValid returns the last moment at which another token was valid; zero: there is none.
func lastValid(tokens []model.Token, except string, now time.Time) (last time.Time) {
	for _, token := range tokens {
		switch {
		case token.ID == except:
		case token.Expired(now):
			last = laterOf(last, token.Expires)
		default:
			return now
		}
	}
	return last
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// keyIDs returns the access key id of each token that we probed. It is inconsistent if a
// token showed up with two ids, or two tokens with one.
func (u *usageTracker) keyIDs() (byToken map[string]string, consistent bool) {
	byToken, byKeyID := make(map[string]string), make(map[string]string)
	for _, probe := range u.probes {
		if probe.keyID == "" || probe.unclear {
			continue
		}
		if other, known := byToken[probe.tokenID]; known && other != probe.keyID {
			return nil, false
		}
		if other, known := byKeyID[probe.keyID]; known && other != probe.tokenID {
			return nil, false
		}
		byToken[probe.tokenID], byKeyID[probe.keyID] = probe.keyID, probe.tokenID
	}
	return byToken, true
}

// usageSchema is the version of usageRecord.
const usageSchema = 1

// usageRecord is a usageTracker as it is stored: ids of tokens and access keys, and times.
type usageRecord struct {
	Schema   int                  `json:"schema"`
	Read     time.Time            `json:"read"`
	Backlog  span                 `json:"backlog"`
	LastSeen map[string]time.Time `json:"last_seen"` // by access key id
	Probes   []probeRecord        `json:"probes"`
}

type probeRecord struct {
	TokenID string    `json:"token_id"`
	At      time.Time `json:"at"`
	KeyID   string    `json:"key_id,omitempty"`
	Unclear bool      `json:"unclear,omitempty"`
}

// UsageState returns what RestoreUsage continues from.
func (i *Instance) UsageState() []byte {
	u := &i.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	record := usageRecord{Schema: usageSchema, Read: u.read, Backlog: u.backlog, LastSeen: u.lastSeen}
	for _, probe := range u.probes {
		record.Probes = append(record.Probes, probeRecord{probe.tokenID, probe.at, probe.keyID, probe.unclear})
	}
	content, err := json.Marshal(record)
	if err != nil {
		panic(err) // strings and times that were read from JSON
	}
	return content
}

// RestoreUsage continues from the state of another process, or from before a reload.
func (i *Instance) RestoreUsage(content []byte) error {
	var record usageRecord
	if err := json.Unmarshal(content, &record); err != nil || record.Schema != usageSchema {
		return fmt.Errorf("not a record of the tokens' usage of schema %d", usageSchema)
	}
	now, u := i.http.now(), &i.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	if record.Read.After(now) || now.Sub(record.Read) > usageLookback {
		record.Read, record.Backlog = time.Time{}, span{} // as at the first poll
	}
	u.read, u.backlog, u.lastSeen = record.Read, record.Backlog, record.LastSeen
	var probes []ownProbe
	for _, probe := range record.Probes {
		probes = append(probes, ownProbe{probe.TokenID, probe.At, probe.KeyID, probe.Unclear})
	}
	for _, known := range u.probes { // those of this process that are not stored follow
		same := func(stored ownProbe) bool { return stored.tokenID == known.tokenID && stored.at.Equal(known.at) }
		if !slices.ContainsFunc(probes, same) {
			probes = append(probes, known)
		}
	}
	u.probes = probes[max(0, len(probes)-maxProbes):]
	return nil
}

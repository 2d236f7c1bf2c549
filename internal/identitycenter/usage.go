package identitycenter

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	usageLookback = 24 * time.Hour   // of the first reading
	usageOverlap  = 30 * time.Minute // of later ones, twice CloudTrail's delay of delivery
	usagePages    = 400              // of one reading; the newest come first, so that the rest may go
	probeWindow   = 5 * time.Second  // between a probe's answer and its time in the log
	probesKept    = 64
	keysKept      = 64 // more access key ids than that do not stand for two tokens
)

// usage learns which access key id in CloudTrail belongs to which token: by our own
// probes with a token that we know. AWS does not say that there is one id per token;
// what does not hold up is no evidence.
type usage struct {
	mu       sync.Mutex
	read     time.Time // up to where the log was read, by AWS's clock
	probes   []ownProbe
	lastSeen map[string]time.Time // by access key id: the last call that was not our own
}

// ownProbe is an accepted probe of ours and what the log says of it.
type ownProbe struct {
	tokenID string
	at      time.Time // by AWS's clock
	key     string    // "": not found yet
	unclear bool      // the log has several ids in its window
}

// probed remembers an accepted probe of a known token.
func (u *usage) probed(tokenID string, probe model.Probe, now time.Time) {
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
	if len(u.probes) > probesKept {
		u.probes = slices.Delete(u.probes, 0, len(u.probes)-probesKept)
	}
}

// Usage tells when each token was last used by anyone but exporters, as far as
// CloudTrail can tell; a token that cannot be told apart from another is absent.
func (i *Instance) Usage(ctx context.Context) (model.Usage, error) {
	tokens := i.lastListed()
	if tokens == nil {
		list, err := i.ListTokens(ctx)
		if err != nil {
			return model.Usage{}, err
		}
		tokens = list.Tokens
	}
	now := i.web.now()
	var calls []trailCall
	if _, err := i.visitCalls(ctx, i.usage.since(now), usagePages, func(call trailCall) { calls = append(calls, call) }); err != nil {
		return model.Usage{}, err
	}
	i.usage.learn(calls, i.web.userAgent, now)
	return model.Usage{LastUsed: i.usage.lastUsed(tokens, now)}, nil
}

func (u *usage) since(now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.read.IsZero() {
		return now.Add(-usageLookback)
	}
	return u.read.Add(-usageOverlap)
}

// learn takes in what the log has since the last reading.
func (u *usage) learn(calls []trailCall, ownUserAgent string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.read = now
	if u.lastSeen == nil {
		u.lastSeen = make(map[string]time.Time)
	}
	for _, call := range calls {
		switch {
		case call.AccessKeyID == "":
		case strings.HasPrefix(call.UserAgent, userAgentName):
			if _, seen := u.lastSeen[call.AccessKeyID]; !seen && len(u.lastSeen) <= keysKept {
				u.lastSeen[call.AccessKeyID] = time.Time{} // there is such an id
			}
			if call.UserAgent == ownUserAgent {
				u.match(call.SCIMCall)
			}
		case call.refused: // somebody tried, and did not use the token
		default:
			if seen, known := u.lastSeen[call.AccessKeyID]; (known || len(u.lastSeen) <= keysKept) && call.At.After(seen) {
				u.lastSeen[call.AccessKeyID] = call.At
			}
		}
	}
}

// match finds the probe of ours that a logged call is.
func (u *usage) match(call model.SCIMCall) {
	for n := range u.probes {
		probe := &u.probes[n]
		if call.At.Sub(probe.at).Abs() > probeWindow {
			continue
		}
		if probe.key != "" && probe.key != call.AccessKeyID {
			probe.unclear = true // another exporter's probe at the same moment
		}
		probe.key = call.AccessKeyID
	}
}

// lastUsed draws the conclusion, or none.
func (u *usage) lastUsed(tokens []model.Token, now time.Time) map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	used := make(map[string]time.Time)
	keys, consistent := u.keys()
	if !consistent || len(u.lastSeen) > keysKept {
		return used
	}
	// Two valid tokens and one id: either it is constant, or only one of them is in use.
	valid := 0
	for _, token := range tokens {
		if !token.Expired(now) {
			valid++
		}
	}
	if valid > 1 && len(u.lastSeen) < 2 {
		return used
	}
	for _, token := range tokens {
		at := u.lastSeen[keys[token.ID]]
		if at.IsZero() || at.Before(token.Created) {
			continue
		}
		used[token.ID] = at
	}
	return used
}

// keys returns the access key id of each token that we probed. It is inconsistent if a
// token showed up with two ids, or two tokens with one.
func (u *usage) keys() (keys map[string]string, consistent bool) {
	keys = make(map[string]string)
	for _, probe := range u.probes {
		if probe.key == "" || probe.unclear {
			continue
		}
		if other, known := keys[probe.tokenID]; known && other != probe.key {
			return nil, false
		}
		keys[probe.tokenID] = probe.key
	}
	distinct := make(map[string]bool)
	for key := range maps.Values(keys) {
		if distinct[key] {
			return nil, false
		}
		distinct[key] = true
	}
	return keys, true
}

package policy

import (
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	ownUserAgent = "entra-aws-exporter/" // of our own calls in CloudTrail

	// ProbeTolerance is how far CloudTrail's time of a call may be from our note of it.
	// CloudTrail has whole seconds and AWS's creation times have fractions, so a call right
	// after a creation can seem to come before it.
	ProbeTolerance = 3 * time.Second
)

// Attribution is what CloudTrail, or the circumstances, say about which token Entra uses.
type Attribution int

// The results of an attribution.
const (
	Unattributed Attribution = iota // nothing can be said
	Undecided                       // nothing can be said yet
	Attributed                      // Entra uses the new token and no other
	Contradicted                    // Entra still uses another token
)

// CallLog is what CloudTrail shows about the use of a new token.
type CallLog struct {
	Calls   []model.SCIMCall
	Probes  []time.Time // our own calls with the new token, by AWS's clock
	Created time.Time   // when the new token was created
}

// AccessKeyID returns the id by which CloudTrail knows the new token; "" as long as it
// does not show our probes. usable is false if it cannot tell tokens apart: the id was
// seen before the token existed, or changes with every call.
func (l CallLog) AccessKeyID() (id string, usable bool) {
	shown := 0
	for _, probe := range l.Probes {
		for _, call := range l.Calls {
			if !isOwnCall(call) || call.At.Sub(probe).Abs() > ProbeTolerance {
				continue
			}
			if id != "" && call.AccessKeyID != id {
				return "", false
			}
			id = call.AccessKeyID
			shown++
		}
	}
	before := 0
	for _, call := range l.Calls {
		if call.At.Before(l.Created.Add(-ProbeTolerance)) {
			before++
			if call.AccessKeyID == id {
				return "", false
			}
		}
	}
	if shown < len(l.Probes) {
		return "", true
	}
	return id, before > 0
}

// UsesBetween counts the calls of others than this exporter in a span of time: with the
// access key id, and with another one.
func (l CallLog) UsesBetween(from, until time.Time, id string) (withID, withOther int) {
	for _, call := range l.Calls {
		switch {
		case isOwnCall(call) || call.At.Before(from) || call.At.After(until):
		case call.AccessKeyID == id:
			withID++
		default:
			withOther++
		}
	}
	return withID, withOther
}

func isOwnCall(call model.SCIMCall) bool { return strings.HasPrefix(call.UserAgent, ownUserAgent) }

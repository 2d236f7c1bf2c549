package rotate

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// testTimeout leaves Entra the time to call AWS.
const testTimeout = time.Minute

// clock is how far another clock is from ours.
type clock struct {
	offset time.Duration
	known  bool
}

func (c *clock) set(date time.Time) {
	if !date.IsZero() {
		c.offset, c.known = time.Until(date), true
	}
}

func (c *clock) now() time.Time {
	if !c.known {
		return time.Time{}
	}
	return time.Now().Add(c.offset).UTC()
}

// moment is now, on all clocks that are known.
func (r *run) moment() moment {
	return moment{Local: time.Now().UTC(), AWS: r.aws.now(), Graph: r.graph.now()}
}

// read makes one reading call.
func read[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	return within(ctx, callTimeout, call)
}

// within makes one reading call that may take longer than others.
func within[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return call(ctx)
}

// The life that a token can plausibly have; other dates are taken as unknown.
const (
	shortestLife = 24 * time.Hour
	longestLife  = 400 * 24 * time.Hour
)

// listTokens reads the tokens once, and AWS's clock with them. A list from the config
// comes without a clock, so then the SCIM endpoint is asked for it.
func (r *run) listTokens(ctx context.Context) (model.TokenList, error) {
	list, err := read(ctx, r.connection.Clouds.Tokens.ListTokens)
	if err == nil && list.Origin == model.OriginDeclared {
		var probe model.Probe
		probe, err = r.knock(ctx)
		list.Date = probe.Date
	}
	if err != nil {
		return list, err
	}
	r.aws.set(list.Date)
	list.Tokens = slices.Clone(list.Tokens)
	for i := range list.Tokens {
		list.Tokens[i] = plausible(list.Tokens[i])
	}
	slices.SortFunc(list.Tokens, func(a, b model.Token) int { return strings.Compare(a.ID, b.ID) })
	r.listed = list.Tokens
	return list, nil
}

func plausible(token model.Token) model.Token {
	if life := token.Expires.Sub(token.Created); token.Created.IsZero() || life < shortestLife || life > longestLife {
		token.Expires = time.Time{}
	}
	return token
}

// listApart is how far apart two lists must be to count as two.
const listApart = 10 * time.Second

// agreedTokens reads the tokens until two lists in a row, some seconds apart, are equal.
func (r *run) agreedTokens(ctx context.Context) (model.TokenList, error) {
	first, err := r.listTokens(ctx)
	if err != nil {
		return first, err
	}
	for range 6 {
		if err := r.wait(ctx, listApart, r.rotation().Waiting); err != nil {
			return first, err
		}
		second, err := r.listTokens(ctx)
		if err != nil {
			return second, err
		}
		if sameTokens(first.Tokens, second.Tokens) {
			return second, nil
		}
		first = second
	}
	return first, &model.Error{Reason: model.ReasonOther, Op: "listing SCIM tokens", Detail: "no two lists in a row agree"}
}

func sameTokens(a, b []model.Token) bool {
	return slices.EqualFunc(a, b, func(x, y model.Token) bool {
		return x.ID == y.ID && x.Created.Equal(y.Created) && x.Expires.Equal(y.Expires)
	})
}

func find(tokens []model.Token, id string) (model.Token, bool) {
	for _, token := range tokens {
		if token.ID == id {
			return token, true
		}
	}
	return model.Token{}, false
}

// expiryGrace is how long after its expiry a token is still taken for valid.
const expiryGrace = time.Hour

// expired judges by AWS's clock, generously.
func (r *run) expired(token model.Token) bool {
	return r.aws.known && token.Expired(r.aws.now().Add(-expiryGrace))
}

// clockLimit is how far our clock may be from AWS's.
const clockLimit = 5 * time.Minute

// checkClock is G6: without a common notion of time no window and no expiry means anything.
func (r *run) checkClock() error {
	if !r.aws.known {
		return &model.Error{Reason: model.ReasonInvalidResponse, Op: "reading AWS's clock", Detail: "AWS's answer carried no date"}
	}
	if r.aws.offset.Abs() > clockLimit {
		return blocked(Clock, "this machine's clock is %s away from AWS's", r.aws.offset.Abs().Round(time.Second))
	}
	return nil
}

// checkBinding asks both clouds whether the connection is still what the record is about.
func (r *run) checkBinding(ctx context.Context) error {
	now, err := read(ctx, r.connection.Clouds.Resolve)
	if err != nil {
		return err
	}
	if bound := r.book.last().Binding; now.Key() != bound.Key() || !sameEndpoint(now.SCIMEndpoint, bound.SCIMEndpoint) {
		return blocked(BindingChanged, "the connection now resolves to job %s and provisioning tenant %s, the rotation began with job %s and provisioning tenant %s",
			now.JobID, now.ProvisioningTenantID, bound.JobID, bound.ProvisioningTenantID)
	}
	return nil
}

// job reads the provisioning job, and Graph's clock with it.
func (r *run) job(ctx context.Context) (model.Job, error) {
	job, err := read(ctx, r.connection.Clouds.Provisioning.Job)
	if err == nil {
		r.graph.set(job.Date)
	}
	return job, err
}

// defaultInterval is Entra's usual time between two cycles.
const defaultInterval = 40 * time.Minute

func (r *run) interval(job model.Job) time.Duration {
	if job.Interval > 0 {
		return job.Interval
	}
	return defaultInterval / r.pace
}

// cycleRunning tells whether the job may be in the middle of a cycle now. Entra shows a cycle only when it is over, so the next one counts as
// running from when it is expected until it shows, for as long as a cycle may take.
func (r *run) cycleRunning(job model.Job) bool {
	if job.LastCycle == nil || !runs(job) || job.Quarantine != nil {
		return false
	}
	now, expected := r.graphMoment(), job.LastCycle.Began.Add(r.interval(job))
	return now.After(expected.Add(-cycleMargin/r.pace)) && now.Before(expected.Add(r.interval(job)))
}

// cycleMargin is how much sooner than expected a cycle may begin.
const cycleMargin = time.Minute

// saved asks Entra to test what it has saved.
func (r *run) saved(ctx context.Context) (model.TestResult, error) {
	return r.verdict(ctx, nil)
}

// verdict makes Entra test these credentials, or the saved ones (nil). An error means
// that the test itself did not take place.
func (r *run) verdict(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	verdict, err := r.connection.Clouds.Provisioning.TestConnection(ctx, inline)
	switch {
	case verdict == model.TestPassed && err == nil:
		return verdict, nil
	case verdict == model.TestFailed:
		return verdict, nil
	case err == nil:
		err = &model.Error{Reason: model.ReasonInvalidResponse, Op: "testing the connection", Detail: "no verdict"}
	}
	return model.TestUnavailable, err
}

// answer is what AWS says to a token's value.
type answer string

const (
	accepted  answer = "accepted"
	rejected  answer = "rejected"   // 401: this value is not a valid token
	noVerdict answer = "no verdict" // our address may be refused
	silent    answer = "silent"     // the endpoint is ill or out of reach
)

// knock calls the SCIM endpoint with what is no token: that it answers, and its clock, is
// all that is wanted.
func (r *run) knock(ctx context.Context) (model.Probe, error) {
	return read(ctx, func(ctx context.Context) (model.Probe, error) {
		return r.connection.Clouds.SCIM.ProbeToken(ctx, model.NewSecret("is-anybody-there"))
	})
}

// probe asks AWS itself whether it takes a value.
func (r *run) probe(ctx context.Context, value model.Secret) (answer, string) {
	probe, err := read(ctx, func(ctx context.Context) (model.Probe, error) {
		return r.connection.Clouds.SCIM.ProbeToken(ctx, value)
	})
	switch {
	case err != nil:
		return silent, err.Error()
	case probe.Accepted():
		return accepted, ""
	case probe.StatusCode == http.StatusUnauthorized:
		return rejected, "AWS answers 401"
	case probe.StatusCode == http.StatusTooManyRequests || probe.StatusCode >= http.StatusInternalServerError:
		return silent, fmt.Sprintf("AWS answers %d", probe.StatusCode)
	default:
		return noVerdict, fmt.Sprintf("AWS answers %d", probe.StatusCode)
	}
}

package token

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

const (
	testTimeout    = time.Minute      // of Test connection: Entra needs time to call AWS
	testGap        = time.Minute      // between two tests that count as two
	testFailureGap = 5 * time.Minute  // between two failures of Entra's test that count
	listGap        = 10 * time.Second // between two lists that count as two
	listReads      = 6                // that may differ from the one before

	// maxClockSkew is how far our clock may be from AWS's.
	maxClockSkew = 5 * time.Minute

	// defaultInterval is Entra's usual time between two cycles.
	defaultInterval = 40 * time.Minute
	// cycleMargin is how much sooner than expected a cycle may begin.
	cycleMargin = time.Minute
)

// observer reads AWS and Entra for one rotation. Nothing here changes them.
type observer struct{ *session }

// listTokens reads the tokens once, and AWS's clock with them. A list from the
// configuration has no clock, so the SCIM endpoint is asked for it.
func (o observer) listTokens(ctx context.Context) (model.TokenList, error) {
	list, err := rotate.Read(ctx, o.options.Tokens.ListTokens)
	if err == nil && list.Origin == model.OriginDeclared {
		var probe model.Probe
		probe, err = o.ping(ctx)
		list.Date = probe.Date
	}
	if err != nil {
		return list, err
	}
	o.AWS.Set(list.Date)
	list.Tokens = slices.Clone(list.Tokens)
	for i := range list.Tokens {
		list.Tokens[i] = policy.Sanitize(list.Tokens[i])
	}
	slices.SortFunc(list.Tokens, func(a, b model.Token) int { return strings.Compare(a.ID, b.ID) })
	o.listed = list.Tokens
	return list, nil
}

// stableTokens reads the tokens until two lists in a row, some seconds apart, are equal.
func (o observer) stableTokens(ctx context.Context) (model.TokenList, error) {
	first, err := o.listTokens(ctx)
	if err != nil {
		return first, err
	}
	for range listReads {
		if err := o.WaitGap(ctx, listGap); err != nil {
			return first, err
		}
		second, err := o.listTokens(ctx)
		if err != nil {
			return second, err
		}
		if equalTokens(first.Tokens, second.Tokens) {
			return second, nil
		}
		first = second
	}
	return first, &model.Error{Reason: model.ReasonOther, Op: "listing SCIM tokens", Detail: "no two lists in a row are equal"}
}

// areGone returns true when these tokens are missing in two lists.
func (o observer) areGone(ctx context.Context, ids ...string) (bool, model.TokenList, error) {
	list, err := o.stableTokens(ctx)
	if err != nil {
		return false, list, err
	}
	for _, id := range ids {
		if _, listed := policy.FindToken(list.Tokens, id); listed {
			return false, list, nil
		}
	}
	return true, list, nil
}

func equalTokens(a, b []model.Token) bool {
	return slices.EqualFunc(a, b, func(x, y model.Token) bool {
		return x.ID == y.ID && x.Created.Equal(y.Created) && x.Expires.Equal(y.Expires)
	})
}

// slotsOf is how many tokens AWS allows.
func slotsOf(list model.TokenList) int {
	if list.Slots > 0 {
		return list.Slots
	}
	return model.TokenSlots
}

// checkCreatable refuses a creation whose outcome no list would show.
func checkCreatable(list model.TokenList) error {
	if list.Origin == model.OriginDeclared {
		return rotate.Blocked(model.BlockedAPIChanged, "the tokens are declared in the config, so none is created: create one at AWS and give it with --token-stdin --token-id")
	}
	return nil
}

// expired judges by AWS's clock, with a grace. By an unknown clock nothing has expired.
func (o observer) expired(token model.Token) bool {
	return token.Expired(o.AWS.Now().Add(-policy.ExpiryGrace))
}

// onlyValid tells whether every other listed token has expired.
func (o observer) onlyValid(list model.TokenList, token model.Token) bool {
	return !slices.ContainsFunc(list.Tokens, func(t model.Token) bool { return t.ID != token.ID && !o.expired(t) })
}

// orphan finds the one unknown token that can only come from a creation of ours whose
// answer was lost.
func (o observer) orphan(tokens []model.Token) (model.Token, bool) {
	known := o.record()
	unknown := known.unknownTokens(tokens)
	if len(unknown) != 1 || unknown[0].Created.IsZero() {
		return model.Token{}, false
	}
	for _, creation := range known.RateLimit.Creations {
		if unresolved(creation) && creation.Contains(unknown[0].Created) {
			return unknown[0], true
		}
	}
	return model.Token{}, false
}

// checkClock is G6: without a common time no window and no expiry means anything.
func (o observer) checkClock() error {
	if !o.AWS.Known {
		return &model.Error{Reason: model.ReasonInvalidResponse, Op: "reading AWS's clock", Detail: "AWS's answer had no date"}
	}
	if o.AWS.Offset.Abs() > maxClockSkew {
		return rotate.Blocked(model.BlockedClock, "this machine's clock is %s away from AWS's", o.AWS.Offset.Abs().Round(time.Second))
	}
	return nil
}

// checkBinding is G2: the connection still resolves to what the record is about.
func (o observer) checkBinding(ctx context.Context) error {
	now, err := rotate.Read(ctx, o.options.Resolve)
	if err != nil {
		return err
	}
	if bound := o.record().Binding; now.Key() != bound.Key() || !sameEndpoint(now.SCIMEndpoint, bound.SCIMEndpoint) {
		return rotate.Blocked(model.BlockedBindingChanged, "the connection now resolves to job %s and provisioning tenant %s, the rotation began with job %s and provisioning tenant %s",
			now.JobID, now.ProvisioningTenantID, bound.JobID, bound.ProvisioningTenantID)
	}
	return nil
}

// job reads the provisioning job, and Graph's clock with it.
func (o observer) job(ctx context.Context) (model.Job, error) {
	job, err := rotate.Read(ctx, o.options.Provisioning.Job)
	if err == nil {
		o.Graph.Set(job.Date)
	}
	return job, err
}

// graphNow is now on Graph's clock, or on ours while Graph's is unknown.
func (o observer) graphNow() time.Time {
	if now := o.Graph.Now(); !now.IsZero() {
		return now
	}
	return time.Now().UTC()
}

// interval is the time between two cycles.
func (o observer) interval(job model.Job) time.Duration {
	if job.Interval > 0 {
		return job.Interval
	}
	return o.Shortened(defaultInterval)
}

// cycleRunning tells whether the job may be in the middle of a cycle. Entra shows a cycle
// only when it is over, so the next one counts as running from when it is expected until
// it shows, for as long as a cycle may take.
func (o observer) cycleRunning(job model.Job) bool {
	if job.LastCycle == nil || !isRunning(job) || job.Quarantine != nil {
		return false
	}
	now, expected := o.graphNow(), job.LastCycle.Began.Add(o.interval(job))
	return now.After(expected.Add(-o.Shortened(cycleMargin))) && now.Before(expected.Add(o.interval(job)))
}

// isRunning tells whether Entra runs the job by itself.
func isRunning(job model.Job) bool {
	return job.Status != model.JobPaused && job.Status != model.JobNotConfigured &&
		job.Schedule != model.SchedulePaused && job.Schedule != model.ScheduleDisabled
}

// credentials reads Entra's provisioning credentials and blocks on any that a save could
// destroy: a masked key whose value is not known.
func (o observer) credentials(ctx context.Context) ([]model.Credential, error) {
	current, err := rotate.Read(ctx, o.options.Provisioning.Credentials)
	if err != nil {
		return nil, err
	}
	for _, c := range current {
		if c.Masked() && c.Key != model.CredentialKeySecretToken && c.Key != model.CredentialKeyBaseAddress {
			return nil, rotate.Blocked(model.BlockedUnknownSecretKeys, "the application's credentials hold the secret key %q, which a save could erase", c.Key)
		}
		if c.Key == model.CredentialKeyBaseAddress && !c.Masked() && !o.isBound(c.Value.Reveal()) {
			return nil, rotate.Blocked(model.BlockedWrongTarget, "the application provisions to another Tenant URL than the connection's SCIM endpoint %s", o.record().Binding.SCIMEndpoint)
		}
	}
	return current, nil
}

// tenantURL is the Tenant URL to save when Entra does not show its own.
func (o observer) tenantURL() string {
	if o.options.TenantURL != "" {
		return o.options.TenantURL
	}
	return o.record().Binding.SCIMEndpoint
}

// isBound tells whether a Tenant URL leads to the bound provisioning tenant.
func (o observer) isBound(address string) bool {
	return sameEndpoint(address, o.record().Binding.SCIMEndpoint) ||
		(o.options.TenantURL != "" && sameEndpoint(address, o.options.TenantURL))
}

// sameEndpoint compares two addresses without their query and final slash.
func sameEndpoint(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && strings.EqualFold(x.Host, y.Host) &&
		strings.TrimRight(x.Path, "/") == strings.TrimRight(y.Path, "/")
}

// testSaved makes Entra test the credentials that it has saved ("Test connection").
func (o observer) testSaved(ctx context.Context) (model.TestResult, error) {
	return o.testConnection(ctx, nil)
}

// testConnection makes Entra test these credentials, or the saved ones (nil). An error
// means that the test itself did not take place.
func (o observer) testConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	bounded, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	result, err := o.options.Provisioning.TestConnection(bounded, inline)
	switch {
	case result == model.TestPassed && err == nil:
		return result, nil
	case result == model.TestFailed:
		return result, nil
	case err == nil:
		err = &model.Error{Reason: model.ReasonInvalidResponse, Op: "testing the connection", Detail: "no result"}
	}
	return model.TestUnavailable, err
}

// testValue makes Entra test a value without saving it. An error means that the test did
// not take place. Inconclusive: an inline test is no evidence here.
func (o observer) testValue(ctx context.Context, value model.Secret) (probeResult, error) {
	if !o.rotation().Plan.ControlFailed {
		return inconclusive, nil
	}
	current, err := o.credentials(ctx)
	if err != nil {
		return inconclusive, err
	}
	return o.testInline(ctx, current, value)
}

// checkEndpoint blocks if AWS accepts a stored value from here, and Entra's test with the
// same value fails: then AWS refuses Entra's address, and no other token would help.
func (o observer) checkEndpoint(ctx context.Context, tokenID string, controlFailed bool) error {
	value, err := o.tokens.find(ctx, tokenID)
	if value.IsZero() || !controlFailed {
		return err
	}
	if result, _ := o.probe(ctx, value); result != accepted {
		return nil
	}
	current, err := o.credentials(ctx)
	if err != nil {
		return err
	}
	if inline, err := o.testInline(ctx, current, value); inline != unauthorized {
		return err
	}
	return rotate.Blocked(model.BlockedEndpointRefusesEntra, "AWS accepts token %s from here, but Entra's test of the endpoint with it fails", tokenID)
}

// testInline makes Entra test a value beside the credentials that were just read.
func (o observer) testInline(ctx context.Context, current []model.Credential, value model.Secret) (probeResult, error) {
	result, err := o.testConnection(ctx, o.inlineCredentials(current, value))
	switch {
	case err != nil:
		return inconclusive, err
	case result == model.TestPassed:
		return accepted, nil
	default:
		return unauthorized, nil
	}
}

// inlineCredentials are what a test needs: where, and with what.
func (o observer) inlineCredentials(current []model.Credential, value model.Secret) []model.Credential {
	address := model.NewSecret(o.tenantURL())
	for _, c := range current {
		if c.Key == model.CredentialKeyBaseAddress && !c.Masked() {
			address = c.Value
		}
	}
	return []model.Credential{
		{Key: model.CredentialKeyBaseAddress, Value: address},
		{Key: model.CredentialKeySecretToken, Value: value},
	}
}

// probeResult is what AWS answers to a token's value.
type probeResult string

const (
	accepted     probeResult = "accepted"
	unauthorized probeResult = "unauthorized" // 401: the value is not a valid token
	inconclusive probeResult = "inconclusive" // our address may be refused
	unreachable  probeResult = "unreachable"  // the endpoint fails or is out of reach
)

// ping calls the SCIM endpoint without a token, for its clock and to see that it answers.
func (o observer) ping(ctx context.Context) (model.Probe, error) {
	return rotate.Read(ctx, func(ctx context.Context) (model.Probe, error) {
		return o.options.SCIM.ProbeToken(ctx, model.NewSecret("ping"))
	})
}

// probe asks AWS itself whether it accepts a value.
func (o observer) probe(ctx context.Context, value model.Secret) (probeResult, string) {
	probe, err := rotate.Read(ctx, func(ctx context.Context) (model.Probe, error) {
		return o.options.SCIM.ProbeToken(ctx, value)
	})
	answer := fmt.Sprintf("AWS answers %d", probe.StatusCode)
	switch {
	case err != nil:
		return unreachable, err.Error()
	case probe.Accepted():
		return accepted, ""
	case probe.StatusCode == http.StatusUnauthorized:
		return unauthorized, answer
	case probe.StatusCode == http.StatusTooManyRequests || probe.StatusCode >= http.StatusInternalServerError:
		return unreachable, answer
	default:
		return inconclusive, answer
	}
}

// probeOrTest asks AWS whether it accepts a value and, if AWS gives no clear answer, Entra.
func (o observer) probeOrTest(ctx context.Context, value model.Secret) (probeResult, string, error) {
	result, detail := o.probe(ctx, value)
	if result == inconclusive || result == unreachable {
		var err error
		if result, err = o.testValue(ctx, value); err != nil {
			return inconclusive, detail, err
		}
	}
	return result, detail, nil
}

// probeTwice probes twice, since AWS's nodes learn one after the other: accepted if one
// accepts it.
func (o observer) probeTwice(ctx context.Context, value model.Secret) probeResult {
	first, _ := o.probe(ctx, value)
	second, _ := o.probe(ctx, value)
	switch {
	case first == accepted || second == accepted:
		return accepted
	case first == second:
		return first
	default:
		return inconclusive
	}
}

// findUsable returns a listed, unexpired token whose value is stored and accepted by AWS.
func (o observer) findUsable(ctx context.Context, list model.TokenList) (*model.Token, error) {
	for _, token := range list.Tokens {
		value, err := o.tokens.find(ctx, token.ID)
		if err != nil {
			return nil, err
		}
		if value.IsZero() || o.expired(token) {
			continue
		}
		result, detail := o.probe(ctx, value)
		if result == unreachable { // an endpoint that fails proves nothing against a token
			return nil, &model.Error{Reason: model.ReasonOther, Op: "probing the SCIM endpoint with token " + token.ID, Detail: detail}
		}
		if result == inconclusive {
			if result, err = o.testValue(ctx, value); err != nil {
				return nil, err
			}
		}
		if result == accepted {
			return &token, nil
		}
	}
	return nil, nil
}

// newValue reads the new token's value from the token store, never from memory: what
// counts is what would be there after a crash.
func (o observer) newValue(ctx context.Context) (model.Secret, error) {
	value, err := o.tokens.find(ctx, o.rotation().newID())
	if err == nil && value.IsZero() {
		err = errValueLost
	}
	return value, err
}

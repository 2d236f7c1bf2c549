package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

// findings are what the plan rests on.
type findings struct {
	list          model.TokenList // twice the same
	job           model.Job
	application   model.Application
	keys          []string // of Entra's provisioning credentials
	saved         model.TestResult
	controlFailed bool // an inline test with garbage fails, so inline tests are evidence
	inUse         string
	evidence      string
	relevant      model.Token // whose dates decide
	dueAt         time.Time   // zero: unknown
}

// preflight reads everything that a rotation depends on. It changes nothing at AWS or in Entra.
func (p planPhase) preflight(ctx context.Context) (*findings, error) {
	if err := p.checkBinding(ctx); err != nil {
		return nil, err
	}
	var found findings
	var err error
	if found.job, err = p.job(ctx); err != nil {
		return nil, err
	}
	if found.application, err = rotate.Read(ctx, p.options.Provisioning.Application); err != nil {
		return nil, err
	}
	if err := p.checkApplication(found.application); err != nil {
		return nil, err
	}
	if err := p.testCredentials(ctx, &found); err != nil {
		return nil, err
	}
	if found.list, err = p.stableTokens(ctx); err != nil {
		return nil, err
	}
	if err := p.checkClock(); err != nil {
		return nil, err
	}
	before := slices.DeleteFunc(slices.Clone(found.list.Tokens), func(t model.Token) bool { return t.ID == p.rotation().OperatorToken })
	found.inUse, found.evidence = p.record().Memory.evidence().TokenInUse(before, p.expired, found.saved == model.TestPassed)
	if token, ok := policy.ActiveToken(model.TokenList{Tokens: before}, found.inUse, p.AWS.Now()); ok {
		found.relevant, found.dueAt = token, p.options.Policy.DueAt(token)
	}
	return &found, nil
}

// testCredentials reads Entra's credentials and makes Entra test what it has saved, and
// garbage: if that passes, inline tests are no evidence.
func (p planPhase) testCredentials(ctx context.Context, found *findings) error {
	current, err := p.credentials(ctx)
	if err != nil {
		return err
	}
	found.keys = keysOf(current)
	if found.saved, err = p.testSaved(ctx); err != nil {
		return err
	}
	garbage, err := p.testConnection(ctx, p.inlineCredentials(current, model.NewSecret("control-"+rand.Text())))
	if err != nil {
		return err
	}
	found.controlFailed = garbage == model.TestFailed
	if hidesAddress(current) && !found.controlFailed && p.options.TenantURL == "" {
		return rotate.Blocked(model.BlockedUnknownSecretKeys, "Entra hides its Tenant URL, and its inline test passes with anything, so no other URL can be tested; set tenant_url")
	}
	return nil
}

func keysOf(credentials []model.Credential) []string {
	keys := make([]string, len(credentials))
	for i, c := range credentials {
		keys[i] = c.Key
	}
	slices.Sort(keys)
	return keys
}

// hidesAddress tells whether Entra shows a mask in place of its Tenant URL.
func hidesAddress(current []model.Credential) bool {
	return slices.ContainsFunc(current, func(c model.Credential) bool { return c.Key == model.CredentialKeyBaseAddress && c.Masked() })
}

// checkApplication refuses an application that provisions another identity store, and one
// for which our own sign-in will not live long enough to finish.
func (p planPhase) checkApplication(application model.Application) error {
	var wrong *model.Error
	if errors.As(model.CheckTarget(application.EntityIDs, p.record().Binding.IdentityStoreID), &wrong) {
		return rotate.Blocked(model.BlockedWrongTarget, "%s", wrong.Detail)
	}
	needed := p.Shortened(p.options.Policy.VerifyTimeout + p.options.Policy.RetentionTime() + 24*time.Hour)
	if !application.CredentialExpires.IsZero() && application.CredentialExpires.Sub(p.graphNow()) < needed {
		return rotate.Blocked(model.BlockedOwnCredentialExpiring, "the exporter's own Entra credential expires %s, the rotation may need until %s",
			rotate.FormatTime(application.CredentialExpires), rotate.FormatTime(p.graphNow().Add(needed)))
	}
	return nil
}

// isRepair tells whether Entra's saved token does not work.
func (f *findings) isRepair() bool {
	return f.saved == model.TestFailed || (f.job.Quarantine != nil && f.job.Quarantine.Credentials())
}

// dueReason says why a rotation is due by the findings; "" if it is not.
func (f *findings) dueReason(now time.Time) string {
	switch {
	case f.saved == model.TestFailed:
		return "repair: Entra's test of the saved credentials fails"
	case f.job.Quarantine != nil && f.job.Quarantine.Credentials():
		return "repair: the provisioning job is in quarantine for its credentials"
	case !f.dueAt.IsZero() && !now.Before(f.dueAt):
		return fmt.Sprintf("token %s, due since %s", formatToken(f.relevant), rotate.FormatTime(f.dueAt))
	default:
		return ""
	}
}

// summary tells an operator what was found.
func (f *findings) summary() []string {
	origin := "at AWS"
	if f.list.Origin == model.OriginDeclared {
		origin = "declared in the config"
	}
	lines := []string{
		"tokens " + origin + ": " + formatTokens(f.list.Tokens),
		fmt.Sprintf("provisioning job: %s, schedule %s", f.job.Status, f.job.Schedule),
		"Entra's test of the saved credentials: " + string(f.saved),
	}
	if f.inUse != "" {
		lines = append(lines, fmt.Sprintf("in use: %s: %s", f.inUse, f.evidence))
	} else {
		lines = append(lines, "in use: unknown: "+f.evidence)
	}
	if !f.controlFailed {
		lines = append(lines, "Entra's inline test accepts garbage, so it is no evidence; AWS will be probed instead")
	}
	return lines
}

// describe logs what the findings would lead to.
func (p planPhase) describe(found *findings, options StartOptions) {
	for _, line := range found.summary() {
		p.LogStep("dry run: %s", line)
	}
	due := found.dueReason(p.AWS.Now())
	if due == "" && p.rotation().Forced {
		due = "an operator forced it"
	}
	if due == "" {
		p.LogStep("dry run: nothing to do: due %s", rotate.FormatTime(found.dueAt))
		return
	}
	p.LogStep("dry run: a rotation would start: %s", due)
	if !p.describeToken(found, options) {
		return
	}
	settings := p.options.Policy
	p.LogStep("dry run: then test it at AWS and from Entra, save it to Entra (keys %v, all others unchanged), and wait up to %s for a cycle that uses it", found.keys, settings.VerifyTimeout)
	remove := "delete it"
	if found.list.Origin == model.OriginDeclared {
		remove = "have an operator delete it"
	}
	p.LogStep("dry run: then keep the old token for %s, %s (approval: %s) and verify that provisioning continues", settings.RetentionTime(), remove, settings.Approval)
}

// describeToken logs where the new token would come from; false: from nowhere.
func (p planPhase) describeToken(found *findings, options StartOptions) bool {
	var err error
	if options.TokenID != "" {
		_, err = findOperatorToken(found.list, options.TokenID)
	} else {
		err = p.checkCreate(found)
	}
	if err != nil {
		p.LogStep("dry run: it would be blocked: %s", err)
		return false
	}
	switch id, why := p.deletableToken(found); {
	case options.TokenID != "":
		p.LogStep("dry run: it would test token %s, which an operator created", options.TokenID)
	case len(found.list.Tokens) < slotsOf(found.list):
		p.LogStep("dry run: it would create a token")
	case id != "":
		p.LogStep("dry run: it would delete token %s (%s), then create one", id, why)
	default:
		p.LogStep("dry run: it would be blocked: both slots are taken, by %s, and nothing proves which one Entra uses", formatTokens(found.list.Tokens))
		return false
	}
	return true
}

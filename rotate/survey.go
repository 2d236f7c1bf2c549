package rotate

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// findings are what the plan rests on. Reading them changes nothing in either cloud.
type findings struct {
	list     model.TokenList // twice the same
	job      model.Job
	app      model.Application
	keys     []string // of Entra's provisioning credentials
	saved    model.TestResult
	control  bool // an inline test with garbage fails, so inline tests tell something
	inUse    string
	evidence string
	judged   model.Token // whose dates decide
	dueAt    time.Time   // zero: unknown
}

// survey reads everything a rotation depends on.
func (r *run) survey(ctx context.Context) (*findings, error) {
	if err := r.checkBinding(ctx); err != nil {
		return nil, err
	}
	var f findings
	var err error
	if f.job, err = r.job(ctx); err != nil {
		return nil, err
	}
	if f.app, err = read(ctx, r.connection.Clouds.Provisioning.Application); err != nil {
		return nil, err
	}
	if err := r.checkApplication(f.app); err != nil {
		return nil, err
	}
	current, err := r.credentials(ctx)
	if err != nil {
		return nil, err
	}
	f.keys = keysOf(current)
	if f.saved, err = r.saved(ctx); err != nil {
		return nil, err
	}
	garbage, err := r.verdict(ctx, r.inline(current, model.NewSecret("control-"+rand.Text())))
	if err != nil {
		return nil, err
	}
	f.control = garbage == model.TestFailed
	if hidesAddress(current) && !f.control && r.connection.TenantURL == "" {
		return nil, blocked(UnknownSecretKeys, "Entra hides its Tenant URL, and its inline test passes with anything, so no other one can be tried; set tenant_url")
	}
	if f.list, err = r.agreedTokens(ctx); err != nil {
		return nil, err
	}
	if err := r.checkClock(); err != nil {
		return nil, err
	}
	before := slices.DeleteFunc(slices.Clone(f.list.Tokens), func(t model.Token) bool { return t.ID == r.rotation().Offered })
	f.inUse, f.evidence = r.book.last().inUse(before, r.expired, f.saved == model.TestPassed)
	if token, ok := (model.TokenList{Tokens: before}).Active(f.inUse, r.aws.now()); ok {
		f.judged, f.dueAt = token, r.connection.Policy.dueAt(token)
	} else if token, ok := find(before, f.inUse); ok {
		f.judged, f.dueAt = token, r.connection.Policy.dueAt(token)
	}
	return &f, nil
}

// checkApplication refuses an application that provisions another identity store, and
// one for which our own sign-in will not live long enough to finish.
func (r *run) checkApplication(app model.Application) error {
	store := r.book.last().Binding.IdentityStoreID
	for _, id := range app.EntityIDs {
		if end := id[strings.LastIndexByte(id, '/')+1:]; strings.HasPrefix(end, "d-") && end != store {
			return blocked(WrongTarget, "the application's SAML entity id ends in %s, the connection's identity store is %s", end, store)
		}
	}
	policy := r.connection.Policy
	needed := policy.VerifyTimeout + max(policy.RetireAfter, retireFloor) + 24*time.Hour
	if !app.CredentialExpires.IsZero() && time.Until(app.CredentialExpires) < needed {
		return blocked(OwnCredentialExpiring, "the exporter's own Entra credential expires %s, the rotation may need until %s",
			day(app.CredentialExpires), day(time.Now().Add(needed)))
	}
	return nil
}

// why tells why a rotation is due by the findings; "" if it is not.
func (f *findings) why(now time.Time) string {
	switch {
	case f.saved == model.TestFailed:
		return "repair: Entra's own test of the saved credentials fails"
	case f.job.Quarantine != nil && f.job.Quarantine.Credentials():
		return "repair: the provisioning job is in quarantine for its credentials"
	case !f.dueAt.IsZero() && !now.Before(f.dueAt):
		return fmt.Sprintf("token %s, due since %s", dated(f.judged), day(f.dueAt))
	default:
		return ""
	}
}

// lines tell a person what was found.
func (f *findings) lines() []string {
	place := "at AWS"
	if f.list.Origin == model.OriginDeclared {
		place = "declared in the config"
	}
	lines := []string{
		"tokens " + place + ": " + datedAll(f.list.Tokens),
		fmt.Sprintf("provisioning job: %s, schedule %s", f.job.Status, f.job.Schedule),
		"Entra's test of the saved credentials: " + string(f.saved),
	}
	if f.inUse != "" {
		lines = append(lines, fmt.Sprintf("in use: %s: %s", f.inUse, f.evidence))
	} else {
		lines = append(lines, "in use: not known: "+f.evidence)
	}
	if !f.control {
		lines = append(lines, "Entra's inline test accepts garbage, so it is no evidence; AWS itself will be asked")
	}
	return lines
}

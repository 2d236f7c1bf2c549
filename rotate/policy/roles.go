package policy

import (
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	// ownChangeTolerance is how far the audit log's time of a change may be from our own
	// save to be that save.
	ownChangeTolerance = 2 * time.Minute

	// ClockSlack is how far the clocks of AWS, Graph and this host may be apart when a time
	// of one is compared with a time of another.
	ClockSlack = 5 * time.Minute
)

// Evidence is what the journal knows about the tokens of a binding.
type Evidence struct {
	Known            map[string]model.Token // the tokens whose purpose was known, by id
	InUse            string                 // the id of the token that Entra was switched to
	ThirdPartyChange time.Time              // when somebody else changed Entra's credentials; zero: nobody did

	NewToken     string           // the id of the open rotation's new token; "": none
	PutAttempted bool             // whether the open rotation has tried to save it
	Proof        model.ProofLevel // of the open rotation
}

// UnknownTokens lists the tokens whose purpose the journal does not know.
func (e Evidence) UnknownTokens(tokens []model.Token) []model.Token {
	return slices.DeleteFunc(slices.Clone(tokens), func(token model.Token) bool {
		_, known := e.Known[token.ID]
		return known
	})
}

// TokenInUse determines which of the listed tokens Entra holds, and why; "" when that is
// not known. expired tells which tokens AWS certainly refuses, testPasses whether Entra's
// own test of the saved credentials passes.
func (e Evidence) TokenInUse(tokens []model.Token, expired func(model.Token) bool, testPasses bool) (id, reason string) {
	if !testPasses {
		return "", "Entra's test of the saved credentials fails"
	}
	valid := slices.DeleteFunc(slices.Clone(tokens), expired)
	if _, listed := FindToken(valid, e.InUse); listed && len(e.UnknownTokens(tokens)) == 0 && e.ThirdPartyChange.IsZero() {
		return e.InUse, "the journal switched to it, and nothing has changed since"
	}
	if len(valid) == 1 {
		return valid[0].ID, "it is the only valid token, and Entra's own test passes"
	}
	return "", "several tokens are valid"
}

// Roles says what each listed token is for, as far as that is known without a call. The
// job's last cycle stands for Entra's test of the saved credentials, which costs a call.
func (e Evidence) Roles(tokens []model.Token, expired func(model.Token) bool, job *model.Job) map[string]model.TokenRole {
	roles := map[string]model.TokenRole{}
	current := e.current(tokens, expired, job)
	for _, token := range tokens {
		switch {
		case token.ID == current:
			roles[token.ID] = model.RoleInUse
		case e.NewToken != "" && token.ID == e.NewToken:
			roles[token.ID] = model.RoleNew
		case current != "" && e.Known[token.ID].ID != "":
			roles[token.ID] = model.RolePrevious
		default:
			roles[token.ID] = model.RoleUnknown
		}
	}
	return roles
}

// current is the token in use while a rotation may be open: until the new one is proven
// to be used, nobody can tell.
func (e Evidence) current(tokens []model.Token, expired func(model.Token) bool, job *model.Job) string {
	if e.PutAttempted {
		if e.Proof.AtLeast(model.ProofAttributed) {
			return e.NewToken
		}
		return ""
	}
	before := slices.DeleteFunc(slices.Clone(tokens), func(t model.Token) bool { return e.NewToken != "" && t.ID == e.NewToken })
	// A cycle tells nothing about a token that was created after it began: perhaps nobody
	// has saved it in Entra.
	createdLater := func(t model.Token) bool {
		return !expired(t) && t.Created.After(job.LastCycle.Began.Add(-ClockSlack))
	}
	works := provisioningWorks(job) && !slices.ContainsFunc(before, createdLater)
	current, _ := e.TokenInUse(before, expired, works)
	return current
}

// ThirdPartyChange returns when somebody else changed Entra's credentials since we saved
// them last; zero when no such change was seen.
func ThirdPartyChange(app model.Application, ownSaves []time.Time) time.Time {
	if !app.CredentialsReadable || app.CredentialsChanged.IsZero() || len(ownSaves) == 0 {
		return time.Time{}
	}
	for _, saved := range ownSaves {
		if app.CredentialsChanged.Sub(saved).Abs() <= ownChangeTolerance {
			return time.Time{}
		}
	}
	if app.CredentialsChanged.Before(ownSaves[len(ownSaves)-1]) {
		return time.Time{}
	}
	return app.CredentialsChanged
}

// provisioningWorks tells whether the last cycle reached AWS.
func provisioningWorks(job *model.Job) bool {
	return job != nil && job.Quarantine == nil && job.LastCycle != nil &&
		(job.LastCycle.State == model.CycleSucceeded || job.LastCycle.State == model.CycleEntryLevelErrors)
}

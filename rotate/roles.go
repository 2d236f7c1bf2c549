package rotate

import (
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// ownChange is how far the audit's time of a change may be from our own PUT to be that PUT.
const ownChange = 2 * time.Minute

// inUse determines which of the listed tokens Entra holds, and why we think so; "" when
// that is not known. expired tells which tokens are certainly refused, working whether
// Entra's own test of what it has saved passes.
func (r *record) inUse(tokens []model.Token, expired func(model.Token) bool, working bool) (id, evidence string) {
	if !working {
		return "", "Entra's own test of the saved credentials fails"
	}
	valid := slices.DeleteFunc(slices.Clone(tokens), expired)
	if _, listed := find(valid, r.InUse); listed && len(r.unaccounted(tokens)) == 0 && r.ForeignChange.IsZero() {
		return r.InUse, "the journal switched to it, and nothing has changed since"
	}
	if len(valid) == 1 {
		return valid[0].ID, "it is the only valid token, and Entra's own test passes"
	}
	return "", "several tokens are valid"
}

// foreignChange returns when somebody else changed Entra's credentials since we saved
// them last; zero when nobody was seen doing so.
func (r *record) foreignChange(app model.Application) time.Time {
	if !app.CredentialsReadable || app.CredentialsChanged.IsZero() || len(r.SavedAt) == 0 {
		return time.Time{}
	}
	for _, saved := range r.SavedAt {
		if app.CredentialsChanged.Sub(saved).Abs() <= ownChange {
			return time.Time{}
		}
	}
	if app.CredentialsChanged.Before(r.SavedAt[len(r.SavedAt)-1]) {
		return time.Time{}
	}
	return app.CredentialsChanged
}

// savedAt notes that a change of Entra's credentials at this time is ours.
func (r *record) savedAt(at time.Time) {
	r.SavedAt = append(r.SavedAt, at)
	r.SavedAt = r.SavedAt[max(0, len(r.SavedAt)-savesKept):]
}

// savesKept bounds how many of our own changes are remembered.
const savesKept = 20

// roles says what each listed token is for, as far as it is known without asking anybody.
func (r *record) roles(tokens []model.Token, expired func(model.Token) bool, working bool) map[string]model.TokenRole {
	roles := map[string]model.TokenRole{}
	current := ""
	if r.Rotation == nil || !r.Rotation.putAttempted() {
		before := tokens
		if r.Rotation != nil && r.Rotation.NewToken != nil {
			before = slices.DeleteFunc(slices.Clone(tokens), func(t model.Token) bool { return t.ID == r.Rotation.NewToken.ID })
		}
		current, _ = r.inUse(before, expired, working)
	} else if r.Rotation.Proof.Level == model.ProofAttributed || r.Rotation.Proof.Level == model.ProofExclusive {
		current = r.Rotation.newID()
	}
	for _, token := range tokens {
		switch {
		case token.ID == current:
			roles[token.ID] = model.RoleInUse
		case r.Rotation != nil && token.ID == r.Rotation.newID():
			roles[token.ID] = model.RoleNew
		case current != "" && r.Tokens[token.ID].ID != "":
			roles[token.ID] = model.RolePrevious
		default:
			roles[token.ID] = model.RoleUnknown
		}
	}
	return roles
}

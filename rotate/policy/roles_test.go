package policy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/policy"
)

func expired(token model.Token) bool { return now.After(token.Expires) }

var (
	oldToken     = tokenFor("old", 300*day, 65*day)
	newToken     = tokenFor("new", time.Hour, 365*day)
	expiredToken = tokenFor("expired", 400*day, -35*day)
)

func known(tokens ...model.Token) map[string]model.Token {
	list := map[string]model.Token{}
	for _, token := range tokens {
		list[token.ID] = token
	}
	return list
}

func TestTokenInUse(t *testing.T) {
	const (
		byJournal = "the journal switched to it, and nothing has changed since"
		onlyValid = "it is the only valid token, and Entra's own test passes"
		several   = "several tokens are valid"
		fails     = "Entra's test of the saved credentials fails"
	)
	both := []model.Token{oldToken, newToken}
	for _, test := range []struct {
		name       string
		evidence   policy.Evidence
		tokens     []model.Token
		testPasses bool
		id, reason string
	}{
		{"the only one", policy.Evidence{}, []model.Token{oldToken}, true, "old", onlyValid},
		{"the only valid one", policy.Evidence{}, []model.Token{expiredToken, oldToken}, true, "old", onlyValid},
		{"the test fails", policy.Evidence{}, []model.Token{oldToken}, false, "", fails},
		{"none", policy.Evidence{}, nil, true, "", several},
		{"several", policy.Evidence{}, both, true, "", several},
		{"the journal knows", policy.Evidence{Known: known(both...), InUse: "new"}, both, true, "new", byJournal},
		{"beside an unknown token", policy.Evidence{Known: known(newToken), InUse: "new"}, both, true, "", several},
		{"after a third-party change", policy.Evidence{Known: known(both...), InUse: "new", ThirdPartyChange: now}, both, true, "", several},
		{"the journal's token has expired", policy.Evidence{Known: known(oldToken, expiredToken), InUse: "expired"}, []model.Token{oldToken, expiredToken}, true, "old", onlyValid},
		{"the journal's token is gone", policy.Evidence{Known: known(both...), InUse: "gone"}, both, true, "", several},
	} {
		id, reason := test.evidence.TokenInUse(test.tokens, expired, test.testPasses)
		if id != test.id || reason != test.reason {
			t.Errorf("%s: got %q (%s), want %q (%s)", test.name, id, reason, test.id, test.reason)
		}
	}
}

func TestRoles(t *testing.T) {
	job := &model.Job{LastCycle: &model.Cycle{Began: now, State: model.CycleSucceeded}}
	both := []model.Token{oldToken, newToken}
	for _, test := range []struct {
		name     string
		evidence policy.Evidence
		tokens   []model.Token
		want     map[string]model.TokenRole
	}{
		{"after a rotation", policy.Evidence{Known: known(both...), InUse: "new"}, both,
			map[string]model.TokenRole{"old": model.RolePrevious, "new": model.RoleInUse}},
		{"before the save", policy.Evidence{Known: known(both...), NewToken: "new"}, both,
			map[string]model.TokenRole{"old": model.RoleInUse, "new": model.RoleNew}},
		{"after the save", policy.Evidence{Known: known(both...), NewToken: "new", PutAttempted: true, Proof: model.ProofUsed}, both,
			map[string]model.TokenRole{"old": model.RoleUnknown, "new": model.RoleNew}},
		{"attributed", policy.Evidence{Known: known(both...), NewToken: "new", PutAttempted: true, Proof: model.ProofAttributed}, both,
			map[string]model.TokenRole{"old": model.RolePrevious, "new": model.RoleInUse}},
		{"an unknown token", policy.Evidence{}, both,
			map[string]model.TokenRole{"old": model.RoleUnknown, "new": model.RoleUnknown}},
		{"an unknown expired token", policy.Evidence{}, []model.Token{oldToken, expiredToken},
			map[string]model.TokenRole{"old": model.RoleInUse, "expired": model.RoleUnknown}},
		{"an unknown token that expired after the last cycle began", policy.Evidence{}, []model.Token{oldToken, tokenFor("expired", -time.Hour, -time.Minute)},
			map[string]model.TokenRole{"old": model.RoleInUse, "expired": model.RoleUnknown}},
	} {
		if diff := cmp.Diff(test.want, test.evidence.Roles(test.tokens, expired, job)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestRoleOfTheOnlyToken checks that a token is not in use merely because it is the only one.
func TestRoleOfTheOnlyToken(t *testing.T) {
	cycle := func(state model.CycleState) *model.Job {
		return &model.Job{LastCycle: &model.Cycle{Began: now.Add(-2 * time.Hour), State: state}}
	}
	quarantined := cycle(model.CycleSucceeded)
	quarantined.Quarantine = &model.Quarantine{}
	for _, test := range []struct {
		name  string
		token model.Token
		job   *model.Job
		want  model.TokenRole
	}{
		{"no job", oldToken, nil, model.RoleUnknown},
		{"no cycle", oldToken, &model.Job{}, model.RoleUnknown},
		{"succeeded", oldToken, cycle(model.CycleSucceeded), model.RoleInUse},
		{"entry-level errors", oldToken, cycle(model.CycleEntryLevelErrors), model.RoleInUse},
		{"failed", oldToken, cycle(model.CycleFailed), model.RoleUnknown},
		{"created just before the cycle, by another clock", model.Token{ID: "old", Created: now.Add(-2*time.Hour - 3*time.Minute), Expires: now.Add(time.Hour)}, cycle(model.CycleSucceeded), model.RoleUnknown},
		{"quarantine", oldToken, quarantined, model.RoleUnknown},
		{"succeeded, and began well after the token was created", tokenFor("new", 2*time.Hour+policy.ClockSlack, 365*day), cycle(model.CycleSucceeded), model.RoleInUse},
		{"succeeded before the token was created", newToken, cycle(model.CycleSucceeded), model.RoleUnknown},
	} {
		roles := policy.Evidence{}.Roles([]model.Token{test.token}, expired, test.job)
		if got := roles[test.token.ID]; got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestUnknownTokens(t *testing.T) {
	tokens := []model.Token{oldToken, newToken, expiredToken}
	got := idsOf(policy.Evidence{Known: known(newToken)}.UnknownTokens(tokens))
	if want := []string{"expired", "old"}; !slices.Equal(got, want) || len(tokens) != 3 || tokens[0].ID != "old" {
		t.Errorf("got %v of %v, want %v", got, idsOf(tokens), want)
	}
}

func TestThirdPartyChange(t *testing.T) {
	saves := []time.Time{now.Add(-10 * day), now.Add(-day)}
	for _, test := range []struct {
		name     string
		readable bool
		changed  time.Time
		saves    []time.Time
		want     time.Time
	}{
		{"unreadable", false, now, saves, time.Time{}},
		{"never changed", true, time.Time{}, saves, time.Time{}},
		{"never saved by the exporter", true, now, nil, time.Time{}},
		{"the exporter's last save", true, saves[1].Add(2 * time.Minute), saves, time.Time{}},
		{"the exporter's earlier save", true, saves[0].Add(-2 * time.Minute), saves, time.Time{}},
		{"before the last save", true, now.Add(-5 * day), saves, time.Time{}},
		{"after the last save", true, now, saves, now},
		{"just after the last save", true, saves[1].Add(2*time.Minute + time.Second), saves, saves[1].Add(2*time.Minute + time.Second)},
	} {
		got := policy.ThirdPartyChange(model.Application{CredentialsReadable: test.readable, CredentialsChanged: test.changed}, test.saves)
		if !got.Equal(test.want) {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

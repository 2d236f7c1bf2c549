package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/policy"
)

const day = 24 * time.Hour

// now is the present of these tests.
var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func tokenFor(id string, age, left time.Duration) model.Token {
	return model.Token{ID: id, Created: now.Add(-age), Expires: now.Add(left)}
}

func TestDueAt(t *testing.T) {
	for _, test := range []struct {
		name           string
		before, maxAge time.Duration
		token          model.Token
		want           time.Time
	}{
		{"before the expiry", 60 * day, 0, tokenFor("t", 100*day, 265*day), now.Add(205 * day)},
		{"at most a third of the lifetime before", 60 * day, 0, tokenFor("t", 10*day, 80*day), now.Add(50 * day)},
		{"max_age is earlier", 60 * day, 200 * day, tokenFor("t", 100*day, 265*day), now.Add(100 * day)},
		{"max_age is later", 60 * day, 340 * day, tokenFor("t", 100*day, 265*day), now.Add(205 * day)},
		{"creation unknown", 60 * day, 200 * day, model.Token{Expires: now.Add(265 * day)}, now.Add(205 * day)},
		{"expiry unknown", 60 * day, 200 * day, model.Token{Created: now.Add(-100 * day)}, now.Add(100 * day)},
		{"expiry unknown, without max_age", 60 * day, 0, model.Token{Created: now}, time.Time{}},
		{"no date", 60 * day, 200 * day, model.Token{}, time.Time{}},
	} {
		p := policy.Token{Before: test.before, MaxAge: test.maxAge}
		if got := p.DueAt(test.token); !got.Equal(test.want) {
			t.Errorf("%s: due at %s, want %s", test.name, got, test.want)
		}
	}
}

func TestLifetimes(t *testing.T) {
	for _, test := range []struct{ verify, retireAfter, retention, minLifetime time.Duration }{
		{0, 0, 75 * time.Minute, 7*day + 75*time.Minute},
		{day, time.Hour, 75 * time.Minute, 8*day + 75*time.Minute},
		{day, 2 * day, 2 * day, 10 * day},
	} {
		p := policy.Token{VerifyTimeout: test.verify, RetireAfter: test.retireAfter}
		if got := p.RetentionTime(); got != test.retention {
			t.Errorf("retire_after %s: retention %s, want %s", test.retireAfter, got, test.retention)
		}
		if got := p.MinLifetime(); got != test.minLifetime {
			t.Errorf("verify_timeout %s, retire_after %s: at least %s, want %s", test.verify, test.retireAfter, got, test.minLifetime)
		}
	}
}

func TestSanitize(t *testing.T) {
	for _, test := range []struct {
		name  string
		token model.Token
		kept  bool
	}{
		{"a year", tokenFor("t", 0, 365*day), true},
		{"a day", tokenFor("t", 0, day), true},
		{"less than a day", tokenFor("t", 0, day-time.Second), false},
		{"400 days", tokenFor("t", 0, 400*day), true},
		{"more than 400 days", tokenFor("t", 0, 400*day+time.Second), false},
		{"expiry before creation", tokenFor("t", 0, -day), false},
		{"creation unknown", model.Token{ID: "t", Expires: now}, false},
	} {
		got := policy.Sanitize(test.token)
		if kept := !got.Expires.IsZero(); kept != test.kept || got.ID != "t" || !got.Created.Equal(test.token.Created) {
			t.Errorf("%s: got %+v, want the expiry kept: %t", test.name, got, test.kept)
		}
		if _, known := policy.Lifetime(got); known != test.kept {
			t.Errorf("%s: lifetime known: %t, want %t", test.name, known, test.kept)
		}
	}
}

func TestLifetimeNeedsBothDates(t *testing.T) {
	for _, token := range []model.Token{{Expires: now}, {Created: now}, {}} {
		if lifetime, known := policy.Lifetime(token); known {
			t.Errorf("%+v: %s", token, lifetime)
		}
	}
}

func TestActiveToken(t *testing.T) {
	list := model.TokenList{Tokens: []model.Token{tokenFor("late", day, 300*day), tokenFor("soon", 300*day, day), {ID: "undated"}}}
	for _, test := range []struct {
		inUse, want string
		ok          bool
	}{
		{"late", "late", true},
		{"", "soon", true},
		{"gone", "soon", true},
	} {
		if got, ok := policy.ActiveToken(list, test.inUse, now); got.ID != test.want || ok != test.ok {
			t.Errorf("in use %q: got %q, %t, want %q", test.inUse, got.ID, ok, test.want)
		}
	}
	undated := model.TokenList{Tokens: []model.Token{{ID: "undated"}}}
	if got, ok := policy.ActiveToken(undated, "undated", now); got.ID != "undated" || !ok {
		t.Errorf("the undated token in use: got %q, %t", got.ID, ok)
	}
	if _, ok := policy.ActiveToken(undated, "", now); ok {
		t.Error("an undated token that may not be in use decides")
	}
}

func TestApproved(t *testing.T) {
	for _, test := range []struct {
		approval            model.Approval
		byOperator, trusted bool
		level               model.ProofLevel
		want                bool
	}{
		{model.ApprovalAlways, false, true, model.ProofExclusive, false},
		{model.ApprovalAlways, true, false, model.ProofNone, true},
		{model.ApprovalFirst, false, false, model.ProofUsed, false},
		{model.ApprovalFirst, false, false, model.ProofAttributed, true},
		{model.ApprovalFirst, false, true, model.ProofUsed, true},
		{model.ApprovalFirst, true, false, model.ProofUsed, true},
		{model.ApprovalNever, false, false, model.ProofNone, true},
	} {
		if got := (policy.Policy{Approval: test.approval}).Approved(test.byOperator, test.level, test.trusted); got != test.want {
			t.Errorf("%+v: approved: %t", test, got)
		}
	}
}

func TestHalted(t *testing.T) {
	for _, test := range []struct {
		maxAttempts, attempts int
		lastReason            string
		blocked               []string
		reason                model.BlockedReason
		detail                string
	}{
		{3, 2, "", nil, "", ""},
		{3, 3, "", nil, model.BlockedAttemptsExhausted, "unsuccessful rotations in a row: 3"},
		{3, 4, "aborted", nil, model.BlockedAttemptsExhausted, "unsuccessful rotations in a row: 4; the last one ended: aborted"},
		{0, 0, "", nil, "", ""},
		{0, 1, "", nil, model.BlockedAttemptsExhausted, "unsuccessful rotations in a row: 1"},
		{3, 0, "", []string{"a"}, "", ""},
		{3, 0, "", []string{"a", "b"}, model.BlockedFleetHalt, "the rotations of a and b are blocked, so no other rotation starts"},
	} {
		reason, detail := policy.Policy{MaxAttempts: test.maxAttempts}.Halted(test.attempts, test.lastReason, test.blocked)
		if reason != test.reason || detail != test.detail {
			t.Errorf("%+v: got %q %q", test, reason, detail)
		}
	}
}

func TestInCooldown(t *testing.T) {
	for _, test := range []struct {
		name    string
		lastEnd time.Time
		speedup time.Duration
		want    bool
	}{
		{"never rotated", time.Time{}, 1, false},
		{"within", now.Add(-day + time.Second), 1, true},
		{"at the end", now.Add(-day), 1, false},
		{"sped up", now.Add(-time.Hour), 24, false},
		{"sped up, within", now.Add(-time.Hour + time.Second), 24, true},
	} {
		if got := (policy.Policy{Cooldown: day}).InCooldown(test.lastEnd, now, test.speedup); got != test.want {
			t.Errorf("%s: in cooldown: %t", test.name, got)
		}
	}
}

func TestRemediation(t *testing.T) {
	for _, kind := range []model.Procedure{model.ProcedureToken, model.ProcedureCertificate} {
		for _, reason := range model.BlockedReasonsOf(kind) {
			got := policy.Remediation(kind, reason, "corp")
			if got == "" || strings.Contains(got, "CONNECTION") {
				t.Errorf("%s: remediation %q", reason, got)
			}
		}
	}
	for kind, want := range map[model.Procedure]string{
		model.ProcedureToken:       "delete the old token at AWS by hand, then rotation reset corp",
		model.ProcedureCertificate: "delete the old certificate at AWS by hand, then rotation reset corp",
	} {
		if got := policy.Remediation(kind, model.BlockedDeleteRefused, "corp"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func idsOf(tokens []model.Token) []string {
	var ids []string
	for _, token := range tokens {
		ids = append(ids, token.ID)
	}
	slices.Sort(ids)
	return ids
}

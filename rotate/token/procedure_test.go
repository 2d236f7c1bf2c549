package token

import (
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// A quarantine is repaired if Entra says that AWS refuses its credentials, in any of the
// ways that were seen, or if it only says that AWS cannot be reached while our own
// evidence says that the token is refused.
func TestRepairs(t *testing.T) {
	const prefix = "SystemForCrossDomainIdentityManagement"
	now := time.Now()
	expired := &model.TokenList{Tokens: []model.Token{{ID: "t", Expires: now.Add(-2 * time.Hour)}}}
	valid := &model.TokenList{Tokens: []model.Token{{ID: "t", Expires: now.Add(240 * time.Hour)}}}
	refused := &model.Probe{StatusCode: http.StatusUnauthorized}
	for _, test := range []struct {
		name, reason, code string
		tokens             *model.TokenList
		probe              *model.Probe
		want               bool
	}{
		{"the usual code", model.QuarantineReasonException, prefix + "CredentialValidationFailure", valid, nil, true},
		{"the code of Microsoft's sample", model.QuarantineReasonException, prefix + "InvalidCredentials", valid, nil, true},
		{"the code without a prefix", model.QuarantineReasonException, "InvalidCredentials", valid, nil, true},
		{"no code", model.QuarantineReasonException, "", valid, nil, true},
		{"unreachable, and the token is valid", model.QuarantineReasonException, prefix + "CredentialValidationUnavailable", valid, nil, false},
		{"unreachable, and the token has expired", model.QuarantineReasonException, prefix + "CredentialValidationUnavailable", expired, nil, true},
		{"unreachable, and AWS answers 401", model.QuarantineReasonException, prefix + "CredentialValidationUnavailable", valid, refused, true},
		{"an unknown code", model.QuarantineReasonException, "Other", expired, refused, false},
		{"too many deletes, with an expired token", model.QuarantineReasonDeletes, "", expired, refused, false},
		{"on demand, with a credential code", "QuarantinedOnDemand", prefix + "InvalidCredentials", expired, nil, false},
	} {
		snapshot := model.Snapshot{
			Tokens: test.tokens, Probe: test.probe,
			Job: &model.Job{Quarantine: &model.Quarantine{Reason: test.reason, ErrorCode: test.code, CurrentBegan: now}},
		}
		if got := New(Options{}).Repairs(snapshot, nil); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// Graph's clock may be ahead of ours: a quarantine that the last rotation ended is still its
// own, and one that seems to begin in a minute is due now.
func TestQuarantineByAnotherClock(t *testing.T) {
	now := time.Now()
	quarantined := func(began time.Time) model.Snapshot {
		return model.Snapshot{Job: &model.Job{Quarantine: &model.Quarantine{Reason: model.QuarantineReasonException, CurrentBegan: began}}}
	}
	r := &journal.Record{Procedures: map[model.Procedure]*journal.Procedure{model.ProcedureToken: {LastSuccess: now.Add(-time.Hour), Memory: &Memory{}}}}
	if New(Options{}).Repairs(quarantined(now.Add(-57*time.Minute)), r) {
		t.Error("a quarantine that began three minutes after the last success is repaired")
	}
	if !New(Options{}).Repairs(quarantined(now.Add(-30*time.Minute)), r) {
		t.Error("a later quarantine is not repaired")
	}
	if due := New(Options{}).Due(quarantined(now.Add(time.Minute)), r, now); !due.Equal(now) {
		t.Errorf("due %s, want now", due.Sub(now))
	}
}

package token

import (
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
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

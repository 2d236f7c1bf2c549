package policy_test

import (
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/policy"
)

func ownCall(after time.Duration, id string) model.SCIMCall {
	return model.SCIMCall{At: now.Add(after), UserAgent: "entra-aws-exporter/1.0", AccessKeyID: id}
}

func entraCall(after time.Duration, id string) model.SCIMCall {
	return model.SCIMCall{At: now.Add(after), UserAgent: "AAD SCIM", AccessKeyID: id}
}

func TestAccessKeyID(t *testing.T) {
	probes := []time.Time{now.Add(time.Minute), now.Add(2 * time.Minute)}
	before := entraCall(-time.Hour, "OLD")
	first, second := ownCall(time.Minute, "NEW"), ownCall(2*time.Minute+policy.ProbeTolerance, "NEW")
	for _, test := range []struct {
		name   string
		calls  []model.SCIMCall
		id     string
		usable bool
	}{
		{"both probes and a call before", []model.SCIMCall{before, first, second}, "NEW", true},
		{"no call yet", nil, "", true},
		{"one probe only", []model.SCIMCall{before, first}, "", true},
		{"a probe too late", []model.SCIMCall{before, first, ownCall(2*time.Minute+policy.ProbeTolerance+time.Second, "NEW")}, "", true},
		{"another caller at the time of a probe", []model.SCIMCall{before, first, entraCall(2*time.Minute, "NEW")}, "", true},
		{"no call before the creation", []model.SCIMCall{first, second}, "NEW", false},
		{"an ID for each call", []model.SCIMCall{before, first, ownCall(2*time.Minute, "OTHER")}, "", false},
		{"the ID is older than the token", []model.SCIMCall{entraCall(-time.Hour, "NEW"), first, second}, "", false},
		{"right before the creation, within the tolerance", []model.SCIMCall{before, entraCall(-policy.ProbeTolerance, "NEW"), first, second}, "NEW", true},
	} {
		id, usable := policy.CallLog{Calls: test.calls, Probes: probes, Created: now}.AccessKeyID()
		if id != test.id || usable != test.usable {
			t.Errorf("%s: got %q, usable: %t, want %q, %t", test.name, id, usable, test.id, test.usable)
		}
	}
}

func TestUsesBetween(t *testing.T) {
	log := policy.CallLog{Calls: []model.SCIMCall{
		entraCall(-time.Second, "NEW"), entraCall(0, "NEW"), entraCall(time.Minute, "OLD"), ownCall(time.Minute, "NEW"),
		entraCall(time.Hour, "NEW"), entraCall(time.Hour+time.Second, "OLD"),
	}}
	if withID, withOther := log.UsesBetween(now, now.Add(time.Hour), "NEW"); withID != 2 || withOther != 1 {
		t.Errorf("%d uses of the ID and %d of others, want 2 and 1", withID, withOther)
	}
}

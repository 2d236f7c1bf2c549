package policy_test

import (
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/policy"
)

func TestCertificateDue(t *testing.T) {
	p := policy.Certificate{Before: 60 * day}
	if got, want := p.DueAt(model.Certificate{NotAfter: now.Add(90 * day)}), now.Add(30*day); !got.Equal(want) {
		t.Errorf("due %s, want %s", got, want)
	}
	if got := p.DueAt(model.Certificate{}); !got.IsZero() {
		t.Errorf("without an expiry it is due %s", got)
	}
}

func TestCertificatesExceeded(t *testing.T) {
	ago := func(days ...float64) (times []time.Time) {
		for _, d := range days {
			times = append(times, now.Add(-time.Duration(d*float64(day))))
		}
		return times
	}
	for _, test := range []struct {
		name    string
		created []time.Time
		want    string
	}{
		{"none", nil, ""},
		{"one within the week", ago(6.9), "a certificate was requested within the last week"},
		{"one a week ago", ago(7), ""},
		{"two within the month", ago(29.9, 8), "2 certificates were requested within the last month"},
		{"one of them a month ago", ago(30, 8), ""},
	} {
		if got := policy.CertificatesExceeded(test.created, now); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSignInBaseline(t *testing.T) {
	quiet := policy.SignInBaseline{Successes: 100, Users: 20, Available: true}
	noisy := policy.SignInBaseline{Successes: 100, Users: 20, Failures: 100, Available: true}
	for _, test := range []struct {
		name            string
		baseline        policy.SignInBaseline
		now             model.SignIns
		failing, proves bool
	}{
		{"nobody", quiet, model.SignIns{Available: true}, false, false},
		{"two sign-ins", quiet, model.SignIns{Successes: 2, Users: 2, Available: true}, false, false},
		{"three by two", quiet, model.SignIns{Successes: 3, Users: 2, Available: true}, false, true},
		{"three by one", quiet, model.SignIns{Successes: 3, Users: 1, Available: true}, false, false},
		{"three by the only one", policy.SignInBaseline{Successes: 9, Users: 1, Available: true}, model.SignIns{Successes: 3, Users: 1, Available: true}, false, true},
		{"an unreadable log", quiet, model.SignIns{Successes: 3, Users: 2}, false, false},
		{"two failures", quiet, model.SignIns{Successes: 3, Users: 2, Failures: 2, Available: true}, false, true},
		{"three failures", quiet, model.SignIns{Successes: 3, Users: 2, Failures: 3, Available: true}, true, false},
		{"three failures and no baseline", policy.SignInBaseline{}, model.SignIns{Failures: 3, Available: true}, true, false},
		{"as noisy as before", noisy, model.SignIns{Successes: 8, Users: 5, Failures: 8, Available: true}, false, true},
		{"noisier than before", noisy, model.SignIns{Failures: 16, Available: true}, true, false},
	} {
		if got := test.baseline.Failing(test.now); got != test.failing {
			t.Errorf("%s: failing %t", test.name, got)
		}
		if got := test.baseline.Proves(test.now); got != test.proves {
			t.Errorf("%s: proves %t", test.name, got)
		}
	}
	counts := model.SignIns{Successes: 1, Users: 2, Failures: 3, Available: true}
	if got, want := policy.BaselineOf(counts), (policy.SignInBaseline{Successes: 1, Users: 2, Failures: 3, Available: true}); got != want {
		t.Errorf("baseline %+v, want %+v", got, want)
	}
}

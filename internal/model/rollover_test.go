package model

import (
	"testing"
	"time"
)

func TestLeavesValid(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	certificate := func(id string, from, until time.Duration) TrustedCertificate {
		return TrustedCertificate{ID: id, Certificate: Certificate{NotBefore: now.Add(from), NotAfter: now.Add(until)}}
	}
	trust := TrustConfiguration{Certificates: []TrustedCertificate{
		certificate("valid", -time.Hour, time.Hour), certificate("expired", -2*time.Hour, 0), certificate("future", time.Second, time.Hour),
	}}
	for id, want := range map[string]bool{"valid": false, "expired": true, "future": true, "unknown": true} {
		if got := trust.LeavesValid(id, now); got != want {
			t.Errorf("without %s: %t", id, got)
		}
	}
	if (TrustConfiguration{}).LeavesValid("any", now) {
		t.Error("nothing is trusted, and a valid one stays")
	}
	if found, ok := trust.Find("future"); !ok || found.ID != "future" {
		t.Errorf("found %+v", found)
	}
	if _, ok := trust.Find("unknown"); ok {
		t.Error("an unknown one is found")
	}
}

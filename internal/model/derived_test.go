package model

import (
	"testing"
	"time"
)

var now = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func days(n int) time.Time { return now.AddDate(0, 0, n) }

func TestActiveToken(t *testing.T) {
	for _, test := range []struct {
		name   string
		tokens []Token
		inUse  string
		want   string
	}{
		{"known to be in use", []Token{{ID: "old", Expires: days(3)}, {ID: "new", Expires: days(300)}}, "new", "new"},
		{"in use though expired", []Token{{ID: "old", Expires: days(-3)}, {ID: "new", Expires: days(300)}}, "old", "old"},
		{"unknown: the earliest unexpired", []Token{{ID: "dead", Expires: days(-3)}, {ID: "b", Expires: days(30)}, {ID: "a", Expires: days(20)}}, "", "a"},
		{"no longer listed: the earliest unexpired", []Token{{ID: "a", Expires: days(20)}, {ID: "b", Expires: days(30)}}, "gone", "a"},
		{"all expired: the latest", []Token{{ID: "a", Expires: days(-20)}, {ID: "b", Expires: days(-10)}}, "", "b"},
		{"expires this instant", []Token{{ID: "a", Expires: now}, {ID: "b", Expires: days(1)}}, "", "b"},
		{"unknown dates are no dates", []Token{{ID: "a"}}, "a", ""},
		{"none", nil, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := TokenList{Tokens: test.tokens}.Active(test.inUse, now)
			if got.ID != test.want || ok != (test.want != "") {
				t.Errorf("Active = %q, %v, want %q", got.ID, ok, test.want)
			}
		})
	}
}

func TestSigningCertificates(t *testing.T) {
	old := Certificate{Thumbprint: "OLD", NotBefore: days(-1000), NotAfter: days(-1)}
	next := Certificate{Thumbprint: "NEXT", NotBefore: days(-10), NotAfter: days(1000)}
	future := Certificate{Thumbprint: "FUTURE", NotBefore: days(10), NotAfter: days(1000)}
	for _, test := range []struct {
		name                        string
		certificates                SigningCertificates
		effective, unexpectedSigner string
	}{
		{"active is valid", SigningCertificates{Certificates: []Certificate{old, next}, ActiveThumbprint: "NEXT", ActiveKnown: true}, "NEXT", ""},
		{"active has expired, another is valid", SigningCertificates{Certificates: []Certificate{old, next}, ActiveThumbprint: "OLD", ActiveKnown: true}, "OLD", "NEXT"},
		{"active has expired, another is not valid yet", SigningCertificates{Certificates: []Certificate{old, future}, ActiveThumbprint: "OLD", ActiveKnown: true}, "OLD", ""},
		{"active never set", SigningCertificates{Certificates: []Certificate{next}, ActiveKnown: true}, "NEXT", ""},
		{"active matches nothing listed", SigningCertificates{Certificates: []Certificate{old, next}, ActiveThumbprint: "GONE", ActiveKnown: true}, "NEXT", ""},
		{"federation metadata with an expired leftover", SigningCertificates{Certificates: []Certificate{next, old}}, "NEXT", ""},
		{"federation metadata, all expired", SigningCertificates{Certificates: []Certificate{old, {Thumbprint: "OLDER", NotAfter: days(-9)}}}, "OLD", ""},
		{"none", SigningCertificates{}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, _ := test.certificates.Effective(now); got.Thumbprint != test.effective {
				t.Errorf("Effective = %q, want %q", got.Thumbprint, test.effective)
			}
			if got, _ := test.certificates.UnexpectedSigner(now); got.Thumbprint != test.unexpectedSigner {
				t.Errorf("UnexpectedSigner = %q, want %q", got.Thumbprint, test.unexpectedSigner)
			}
		})
	}
}

func TestTrustedByAWS(t *testing.T) {
	held := []Certificate{{Thumbprint: "A"}}
	if trusted, known := (Snapshot{Trusted: &held}).TrustedByAWS("A"); !trusted || !known {
		t.Error("a held certificate is not trusted")
	}
	if trusted, known := (Snapshot{Trusted: &held}).TrustedByAWS("B"); trusted || !known {
		t.Error("a missing certificate is trusted")
	}
	if _, known := (Snapshot{}).TrustedByAWS("A"); known {
		t.Error("trust is known without a read")
	}
}

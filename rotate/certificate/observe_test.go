package certificate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
)

// Two readings are equal only if every part is.
func TestEqualSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := func(change func(*scene)) sides {
			s := imported()
			change(s)
			return sides{signing: s.signing, trust: s.trust}
		}
		if !of(unspoiled).equals(of(unspoiled)) {
			t.Error("the same reading differs")
		}
		reversed := func(s *scene) {
			s.signing.Certificates[0], s.signing.Certificates[1] = s.signing.Certificates[1], s.signing.Certificates[0]
			s.trust.Certificates[0], s.trust.Certificates[1] = s.trust.Certificates[1], s.trust.Certificates[0]
		}
		if !of(unspoiled).equals(of(reversed)) {
			t.Error("the order makes a difference")
		}
		for name, change := range map[string]func(*scene){
			"active":             func(s *scene) { s.signing.ActiveThumbprint = s.certificates[1].Thumbprint },
			"active is unknown":  func(s *scene) { s.signing.ActiveKnown = false },
			"mode":               func(s *scene) { s.signing.SSOMode = "password" },
			"Entra's":            func(s *scene) { s.signing.Certificates = s.signing.Certificates[:1] },
			"identity providers": func(s *scene) { s.trust.IDPConfigurations = 2 },
			"primary region":     func(s *scene) { s.trust.PrimaryRegion = "us-east-1" },
			"AWS's":              func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] },
			"AWS's ids":          func(s *scene) { s.trust.Certificates[0].ID = "another" },
			"AWS's bytes":        func(s *scene) { s.trust.Certificates[0].DER = []byte("forged") },
		} {
			if of(unspoiled).equals(of(change)) {
				t.Errorf("%s: no difference", name)
			}
		}
	})
}

func TestInventory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := imported()
		other := s.certificate("other", day, year)
		other.Subject = ""
		s.trust.Certificates = append(s.trust.Certificates, listed(other), listed(other))
		unknown := s.certificate("unknown", day, year)
		unknown.DER = nil
		s.add(unknown)
		const want = "certificates: old (CN=old, valid from 1997-02-10 00:01 UTC to 2000-02-10 00:01 UTC), active in Entra, trusted by AWS; " +
			"new (CN=new, valid from 1999-12-31 23:01 UTC to 2002-12-31 00:01 UTC), inactive in Entra, trusted by AWS; " +
			"UNKNOWN (CN=unknown, valid from 1999-12-31 00:01 UTC to 2000-12-31 00:01 UTC), inactive in Entra; " +
			"other (valid from 1999-12-31 00:01 UTC to 2000-12-31 00:01 UTC), trusted by AWS only"
		if got := s.renamed((sides{signing: s.signing, trust: s.trust}).inventory()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := (sides{}).inventory(); got != "certificates: none" {
			t.Errorf("nothing is shown as %q", got)
		}
		var empty Memory
		if got := empty.Inventory(); got != "certificates: not read" {
			t.Errorf("nothing is shown as %q", got)
		}
	})
}

// The clocks may be five minutes apart.
func TestClock(t *testing.T) {
	for away, want := range map[time.Duration]string{
		5 * time.Minute:              "",
		-5 * time.Minute:             "",
		5*time.Minute + time.Second:  "clock: this machine's clock is 5m1s away from AWS's",
		-5*time.Minute - time.Second: "clock: this machine's clock is 5m1s away from AWS's",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene()
			s.skew = away
			s.play(t, func(ctx context.Context, r runner) {
				if _, err := r.readSides(ctx); err != nil {
					t.Fatal(err)
				}
				if got := errorText(r.checkClock()); got != want {
					t.Errorf("%s away: %q, want %q", away, got, want)
				}
			})
		})
	}
}

// A certificate whose bytes are not its own is none.
func TestCertificateOf(t *testing.T) {
	whole := model.Certificate{Thumbprint: model.Thumbprint([]byte("x")), DER: []byte("x")}
	for name, test := range map[string]struct {
		change func(*model.Certificate)
		want   bool
	}{
		"whole":              {func(*model.Certificate) {}, true},
		"no bytes":           {func(c *model.Certificate) { c.DER = nil }, false},
		"no bytes, hashed":   {func(c *model.Certificate) { c.DER, c.Thumbprint = nil, model.Thumbprint(nil) }, false},
		"another thumbprint": {func(c *model.Certificate) { c.Thumbprint = "0123" }, false},
	} {
		c := whole
		test.change(&c)
		if _, known := certificateOf(c); known != test.want {
			t.Errorf("%s: known: %t", name, known)
		}
	}
	if _, found := find([]model.Certificate{{}}, ""); found {
		t.Error("a certificate without bytes has an empty fingerprint")
	}
	if sameBytes(nil, nil) || !sameBytes([]byte("x"), []byte("x")) || sameBytes([]byte("x"), []byte("y")) {
		t.Error("bytes are compared wrongly")
	}
}

// A permit is good for a minute and the time of a call.
func TestStalePermit(t *testing.T) {
	for waited, want := range map[time.Duration]string{
		maxReadAge + rotate.CallTimeout():     "done",
		maxReadAge + rotate.CallTimeout() + 1: "refused",
	} {
		for name, call := range map[string]func(guard, context.Context, operationPermit) error{
			"import": guard.importCertificate, "activate": guard.activate, "delete": guard.delete,
		} {
			synctest.Test(t, func(t *testing.T) {
				s := imported()
				s.play(t, func(ctx context.Context, r runner) {
					p := operationPermit{known(s.certificates[1]), "test", "entry-new", time.Now()}
					time.Sleep(waited)
					err := call(guard(r), ctx, p)
					if made := len(s.made) > 0; made != (want == "done") || (err == nil) != made {
						t.Errorf("%s after %s: %v, %v", name, waited, s.made, err)
					}
				})
			})
		}
	}
}

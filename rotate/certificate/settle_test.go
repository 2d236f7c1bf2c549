package certificate

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

func TestSettle(t *testing.T) {
	testStep(t, imported, func(ctx context.Context, r runner) (model.Phase, error) { return settlePhase(r).run(ctx) }, []outcome{
		{"settled", unspoiled, "activate after 30s"},
		{"a quarter of an hour since the import", func(s *scene) { s.record.Rotation.New.Imported = s.timestamps(15*time.Minute + readGap) }, "activate after 30s"},
		{"less", func(s *scene) { s.record.Rotation.New.Imported = s.timestamps(15*time.Minute + readGap - time.Second) }, "settle after 1s; waiting=settling"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no reading once", func(s *scene) { s.failOnce("trust", 1) }, "no answer"},
		{"no third reading", func(s *scene) { s.failOnce("trust", 3) }, "no answer after 30s"},
		{"no two equal readings", func(s *scene) { s.unstable = true }, "reading the SAML certificates: other: no two readings in a row are equal after 3m0s"},
		{"another application", func(s *scene) { s.binding.ServicePrincipalID = "another" }, "binding_changed: since the rollover began the connection resolves to application another instead of principal after 30s"},
		{"AWS does not list the new one", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }, "foreign_certificate: AWS does not list the new certificate new any more after 30s"},
		{"the new one is active already", func(s *scene) { s.signing.ActiveThumbprint = s.certificates[1].Thumbprint }, "activate after 30s"},
		{"it is active, and AWS does not trust the old one", func(s *scene) {
			s.signing.ActiveThumbprint, s.trust.Certificates = s.certificates[1].Thumbprint, s.trust.Certificates[1:]
		}, "activate after 30s"},
		{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate old after 30s"},
		{"AWS does not trust the old one", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:] }, "active_not_trusted: AWS does not trust the active certificate old any more, so nobody can sign in after 30s"},
		{"somebody else made one", func(s *scene) { s.add(s.certificate("other", day, year)) }, "foreign_certificate: since the plan somebody else made certificate other in Entra after 30s"},
		{"somebody else made one that expires first", func(s *scene) { s.add(s.certificate("other", day, 40*day)) }, "activate after 30s"},
		{"a known one", func(s *scene) { s.add(s.certificate("other", day, year)); s.record.know(known(s.certificates[2])) }, "activate after 30s"},
		{"one of the plan", func(s *scene) {
			s.add(s.certificate("other", day, year))
			s.record.Rotation.Plan.Signing = append(s.record.Rotation.Plan.Signing, s.certificates[2].Thumbprint)
		}, "activate after 30s"},
		{"somebody else made AWS trust one", func(s *scene) {
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificate("other", day, year)))
		}, "foreign_certificate: since the plan somebody else made AWS trust certificate other after 30s"},
		{"AWS trusted it at the plan", func(s *scene) {
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificate("other", day, year)))
			s.record.Rotation.Plan.Trusted = append(s.record.Rotation.Plan.Trusted, Fingerprint([]byte("other")))
		}, "activate after 30s"},
	})
}

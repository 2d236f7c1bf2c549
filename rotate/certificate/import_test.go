package certificate

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

func TestImport(t *testing.T) {
	testStep(t, withNew, func(ctx context.Context, r runner) (model.Phase, error) { return importPhase(r).run(ctx) }, []outcome{
		{"imported", unspoiled, `import; operations.import.1=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"refused", func(s *scene) {
			s.failing["import new for SIGNING"] = &model.Error{Reason: model.ReasonOther, Op: "importing", Status: 400}
		}, `import; operations.import.1=new created refused importing: other; "importing certificate new at AWS: refused: importing: other"; import new for SIGNING`},
		{"not sent for an unreadable list", func(s *scene) {
			s.failing["import new for SIGNING"] = &model.Error{Reason: model.ReasonPermission, Op: "reading", Status: 403, Unsent: true, Unread: true}
		}, "importing certificate new at AWS: permission: reading: permission; operations.import.1=new created refused reading: permission; import new for SIGNING"},
		{"no answer", func(s *scene) { s.failing["import new for SIGNING"] = errNoAnswer }, `import; operations.import.1=new created unknown no answer; "importing certificate new at AWS: unknown: no answer"; import new for SIGNING`},
		{"no reading", func(s *scene) { s.failing["trust"] = errNoAnswer }, "no answer"},
		{"no reading once", func(s *scene) { s.failOnce("trust", 1) }, "no answer"},
		{"the lease is lost", func(s *scene) { s.loseLease("binding") }, leaseLost},
		{"not permitted by the guard", func(s *scene) { s.record.Own = nil }, "foreign_certificate: certificate new was neither created by this exporter nor named by an operator at once"},
		{"not listed yet in Entra", func(s *scene) { s.signing.Certificates = s.signing.Certificates[:1] }, "import after 34s; waiting=settling"},
		{"listed in Entra by the third reading", func(s *scene) {
			fresh := s.signing.Certificates[1]
			s.signing.Certificates = s.signing.Certificates[:1]
			s.then["entra 4"] = func() { s.add(fresh) }
		}, `import after 2s; operations.import.1=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},

		{"refused for good before", func(s *scene) {
			s.did(OperationImport, time.Minute, refusedFor(model.ReasonOther, s.record.Rotation.newName()))
		}, "import_refused: AWS did not take certificate new: denied; it stays in Entra, inactive at once"},
		{"the repair was refused before", func(s *scene) {
			s.record.Rotation.Plan.ImportOnly = true
			s.did(OperationImport, time.Minute, refusedFor(model.ReasonOther, s.record.Rotation.newName()))
		}, "import_refused: AWS did not take certificate new: denied; Entra signs with it, so nobody can sign in at once"},
		{"forbidden before", func(s *scene) {
			s.did(OperationImport, time.Minute, refusedFor(model.ReasonPermission, s.record.Rotation.newName()))
		}, "permission: certificate new was not imported: denied; it stays in Entra, inactive at once"},
		{"refused before the reset", func(s *scene) {
			s.did(OperationImport, time.Minute, refusedFor(model.ReasonOther, s.record.Rotation.newName()))
			s.record.Rotation.ResetCount = 1
		}, `import; operations.import.2=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"another was refused", func(s *scene) {
			s.did(OperationImport, time.Minute, refusedFor(model.ReasonOther, s.record.Rotation.Plan.Old.SHA256))
		}, `import; operations.import.2=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"throttled before", func(s *scene) {
			s.did(OperationImport, time.Minute, refusedFor(model.ReasonThrottled, s.record.Rotation.newName()))
		}, `import; operations.import.2=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"throttled three times", func(s *scene) {
			for range 3 {
				s.did(OperationImport, time.Minute, refusedFor(model.ReasonThrottled, s.record.Rotation.newName()))
			}
		}, `import; operations.import.4=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"not sent for an unreadable list, three times", func(s *scene) {
			for range 3 {
				o := refusedFor(model.ReasonPermission, s.record.Rotation.newName())
				o.Unread = true
				s.did(OperationImport, time.Minute, o)
			}
		}, `import; operations.import.4=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"never sent, three times", func(s *scene) {
			for range 3 {
				o := refusedFor(model.ReasonTimeout, s.record.Rotation.newName())
				o.Unsent = true
				s.did(OperationImport, time.Minute, o)
			}
		}, `import; operations.import.4=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"done a quarter of an hour before", func(s *scene) { s.importedBefore(15*time.Minute+readGap, model.CallDone) }, `import; operations.import.2=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"done later", func(s *scene) { s.importedBefore(15*time.Minute+readGap-1, model.CallDone) }, "import after 30s; waiting=settling"},
		{"no answer a quarter of an hour before", func(s *scene) { s.importedBefore(15*time.Minute+readGap, model.CallUnknown) }, `import; operations.import.2=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
		{"no answer later", func(s *scene) { s.importedBefore(time.Minute, model.CallUnknown) }, "import after 30s; waiting=settling"},
		{"three times without a trace", func(s *scene) {
			for range 3 {
				s.importedBefore(time.Hour, model.CallUnknown)
			}
		}, "import_refused: AWS did not take certificate new: it does not list it after 3 attempts, the last one unknown; it stays in Entra, inactive at once"},
	})
}

// importedBefore journals an import of the new certificate.
func (s *scene) importedBefore(ago time.Duration, outcome model.CallOutcome) {
	s.did(OperationImport, ago, journal.Operation{Target: s.record.Rotation.newName(), Why: string(importCreated), Outcome: outcome})
}

func TestImported(t *testing.T) {
	scenes := func() *scene {
		s := withNew()
		s.trust.Certificates = append(s.trust.Certificates, listed(s.signing.Certificates[1]))
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) { return importPhase(r).run(ctx) }, []outcome{
		{"listed twice", unspoiled, "settle after 30s; new.imported=now~"},
		{"listed twice before", func(s *scene) { s.record.Rotation.New.Imported = s.timestamps(time.Hour) }, "settle after 30s"},
		{"listed once", func(s *scene) {
			s.then["trust 2"] = func() { s.trust.Certificates = s.trust.Certificates[:1] }
			s.then["trust 3"] = func() { s.trust.Certificates = s.trust.Certificates[:1] }
		}, "import after 30s"},
		{"no second reading", func(s *scene) { s.unstable = true }, "reading the SAML certificates: other: no two readings in a row are equal after 3m0s"},
		{"the repair is done", func(s *scene) {
			s.record.Rotation.Plan.ImportOnly = true
			s.record.Procedures[model.ProcedureCertificate].Attempts = 2
		}, `idle after 30s; ended=done; last_end=now; no attempts; outcomes.done=1; "AWS trusts certificate new, with which Entra signs"; "outcome: done"`},
		{"AWS lists other bytes of the same thumbprint", func(s *scene) { s.trust.Certificates[1].DER = []byte("forged") }, `import; operations.import.1=new created done; "importing certificate new at AWS: done"; import new for SIGNING`},
	})
}

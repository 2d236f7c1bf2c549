package rotate_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/test/harness"
)

// The matrix of the certificate's rollover: see docs/rotation-proof.md.

// rolloverScenario is the scenario of the rollover's matrix: with the shortest waits that
// the configuration allows.
func rolloverScenario() harness.Scenario {
	s := harness.RolloverScenario()
	s.Rolls.RetireAfter = time.Hour
	s.Quiet = true
	return s
}

// importScenario is the repair: Entra signs with a certificate that AWS does not trust, and
// an operator names it.
func importScenario() harness.Scenario {
	s := rolloverScenario()
	s.Spec.Certificates = []clouds.CertificateSpec{{Age: 10 * day, Left: 1085 * day, Active: true}, {Age: 900 * day, Left: 195 * day, Trusted: true}}
	s.Limit = 2 * day
	s.BeginsAgain = true
	s.Begin = func(h *harness.Harness, p *harness.Process) {
		h.RepairOnly = true
		for _, c := range h.Certificates() {
			for c.Thumbprint == h.OldCertificate() && !h.IsDead(p) && len(p.Engine.Records()) == 0 {
				startWithCertificate(h, p, c)
				time.Sleep(time.Minute) // the operator repeats a command that failed
			}
		}
	}
	return s
}

// TestRolloverMatrix is TestCrashMatrix for the certificate's rollover, and for the repair
// that imports what Entra signs with.
func TestRolloverMatrix(t *testing.T) {
	c := coverageOf(model.ProcedureCertificate)
	if *only != "" && strings.Contains(*only, "+") {
		c.run(t, []matrixCase{parsePair(*only)})
		return
	}
	calls := recordRollovers(t)
	all := calls.singles()
	if !fullMatrix() { // the pairs of MATRIX=full/N follow from all single faults
		all = sampled(everyNth(16, all))
	}
	singles := c.run(t, all)
	allPairs := faultPairs(singles)
	pairs := sampled(samplePairs(120, allPairs))
	c.run(t, pairs)
	c.run(t, sampled(calls.replicas()))
	c.run(t, sampled(calls.actions()))
	c.run(t, slices.Concat(particularRollovers(), sampled(calls.lasting())))
	if *only == "" && share() == 1 {
		c.requireCoverage(t)
	}
	t.Logf("%d single faults; %d of %d pairs", len(singles), len(pairs), len(allPairs))
	c.report(t)
}

// rolloverTraces are the calls of a rollover and of a repair, to which faults and actions
// are bound.
type rolloverTraces struct{ rollover, repair []string }

func recordRollovers(t *testing.T) rolloverTraces {
	return rolloverTraces{callsOf(t, rolloverScenario), callsOf(t, importScenario)}
}

// cases are those with one fault or action at one call.
func (calls rolloverTraces) cases() []matrixCase {
	return slices.Concat(calls.singles(), calls.replicas(), calls.actions(), calls.lasting())
}

func (calls rolloverTraces) singles() []matrixCase {
	return slices.Concat(singleFaults("rollover ", calls.rollover, rolloverScenario), singleFaults("import ", calls.repair, importScenario))
}

func (calls rolloverTraces) replicas() []matrixCase {
	return everyNth(16, replicas("rollover ", calls.rollover, rolloverScenario, []string{"done", "aborted"}))
}

func (calls rolloverTraces) actions() []matrixCase {
	return externalActionsAt("rollover ", calls.rollover, rolloverActions(), rolloverScenario, 4)
}

func (calls rolloverTraces) lasting() []matrixCase {
	return lastingFaults("rollover ", calls.rollover, rolloverScenario, []model.Phase{
		model.PhasePlan, model.PhaseCreate, model.PhaseImport, model.PhaseSettle, model.PhaseActivate, model.PhaseVerify, model.PhaseRetire, model.PhaseConfirm,
	})
}

// particularRollovers are the cases that each have a course of their own.
func particularRollovers() []matrixCase {
	whole := matrixCase{Scenario: rolloverScenario(), name: "rollover whole", allowed: []string{"done"}}
	imported := matrixCase{Scenario: importScenario(), name: "import whole", allowed: []string{"done"}}
	return slices.Concat([]matrixCase{whole, imported}, rolloverSituations(), trickCases(), rolloverBlockedCases())
}

func rolloverBlockedCases() []matrixCase {
	return blockedCases("rollover ", rolloverScenario, blockedRollovers)
}

func trickCases() []matrixCase {
	var cases []matrixCase
	for _, trick := range importTricks() {
		cases = append(cases, trick.matrixCase)
	}
	return cases
}

// rolloverSituations are scenarios with a course that no single fault causes.
func rolloverSituations() []matrixCase {
	with := func(name string, allowed []string, change func(*harness.Scenario)) matrixCase {
		s := rolloverScenario()
		change(&s)
		return matrixCase{Scenario: s, name: "rollover situation:" + name, allowed: allowed}
	}
	atDeletion := func(do func(*harness.Harness)) func(*harness.Scenario) {
		return func(s *harness.Scenario) {
			s.Spec.SignInEvery = 30 * time.Second
			s.Actions = map[string]func(*harness.Harness){"aws.delete_certificate#1": do}
		}
	}
	never := func(s *harness.Scenario) {
		s.Approves, s.Limit = false, 3*day
	}
	return []matrixCase{
		with("two hours pass until the deletion", []string{"done"}, func(s *harness.Scenario) { s.Rolls.RetireAfter = 2 * time.Hour }),
		with("AWS learns of the new certificate too late", []string{"blocked sign_in_failing"}, func(s *harness.Scenario) {
			s.Spec.SignInEvery = 2 * time.Minute
			_ = s.Quirks.Set("trust_lag", "5h")
			s.Prepare = func(h *harness.Harness) { h.TrustsLate = true }
		}),
		with("more sign-ins fail in retire", []string{"blocked sign_in_failing"}, func(s *harness.Scenario) {
			s.Spec.SignInEvery = 2 * time.Minute
			s.BeforeCall = inPhase(model.PhaseRetire, "", signInsFail)
		}),
		with("more sign-ins fail after the deletion", []string{"blocked sign_in_failing"}, atDeletion(signInsFail)),
		with("more sign-ins fail after the deletion, and an operator resets it", []string{"blocked sign_in_failing", "done"}, func(s *harness.Scenario) {
			atDeletion(signInsFail)(s)
			s.Until = continueAfter(nil, func(h *harness.Harness, current *harness.Process) {
				h.Note("operator resets it: %v", current.Engine.Reset(h.Ctx, h.Connection.Name))
			})
		}),
		with("the old certificate is made active during the deletion", []string{"blocked activation_reverted"}, atDeletion(func(h *harness.Harness) {
			h.ActivateCertificate(clouds.ActorOperator, h.OldCertificate())
		})),
		with("the new certificate is removed in Entra", []string{"blocked foreign_certificate"}, func(s *harness.Scenario) {
			s.BeforeCall = inPhase(model.PhaseVerify, "", removeNewInEntra())
		}),
		with("the new certificate is removed in Entra during the deletion", []string{"blocked foreign_certificate"}, atDeletion(removeNewInEntra())),
		with("held when it asks for approval", []string{"done"}, func(s *harness.Scenario) { s.BeforeCall = heldWhenAsked() }),
		with("no approval", []string{"waiting approval"}, never),
		with("no approval needed", []string{"done"}, func(s *harness.Scenario) {
			never(s)
			s.Rolls.Approval = model.ApprovalNever
		}),
		with("a binding that is trusted", []string{"done"}, func(s *harness.Scenario) {
			never(s)
			s.Prepare = trustBinding
		}),
		with("a binding that is trusted, approval always", []string{"waiting approval"}, func(s *harness.Scenario) {
			never(s)
			s.Rolls.Approval = model.ApprovalAlways
			s.Prepare = trustBinding
		}),
		with("nobody signs in", []string{"waiting proof_pending"}, func(s *harness.Scenario) {
			s.Spec.SignInEvery, s.Limit = 0, 3*day
		}),
		with("nobody signs in, and an operator approves", []string{"waiting proof_pending"}, func(s *harness.Scenario) {
			s.Spec.SignInEvery, s.Limit = 0, 3*day
			s.BeforeCall = inPhase(model.PhaseVerify, "trail.sign_ins", approveNow)
			s.Prepare = func(h *harness.Harness) { h.ApprovedBlindly = true }
		}),
		with("no log can be read", []string{"done"}, func(s *harness.Scenario) {
			s.Prepare = func(h *harness.Harness) {
				h.ApprovedBlindly = true
				deny(clouds.LookupEventsAction, clouds.ReadSignInLog)(h)
			}
		}),
		with("only Entra's log can be read", []string{"done"}, func(s *harness.Scenario) {
			s.Prepare = deny(clouds.LookupEventsAction)
		}),
		with("aborted after the import, and alerted again", []string{"aborted"}, func(s *harness.Scenario) {
			s.BeforeCall = inPhase(model.PhaseSettle, "", abortNow)
			s.AlertInterval, s.Rolls.Cooldown = 2*time.Hour, time.Hour
			s.Until = func(h *harness.Harness, p *harness.Process) bool {
				records := p.Engine.Records()
				return len(records) > 1 && records[0].Outcome != ""
			}
		}),
		with("an operator names an inactive certificate", []string{"done"}, func(s *harness.Scenario) {
			s.Begin = func(h *harness.Harness, p *harness.Process) {
				h.MakeCertificate(clouds.ActorOperator, "CN=by hand")
				startWithCertificate(h, p, h.Certificates()[1])
			}
		}),
		with("AWS is full, and an operator names an expired one", []string{"done"}, func(s *harness.Scenario) {
			s.Spec = spareExpired()
			s.Begin = func(h *harness.Harness, p *harness.Process) {
				h.NamedUnused = h.Certificates()[1].Thumbprint
				unused := certificate.Fingerprint(h.Certificates()[1].DER)
				must(h.Clouds.ChangeApplication(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) { sp.Certificates = sp.Certificates[:1] }))
				h.Note("operator starts a rollover: %v", p.Engine.StartRollover(h.Ctx, h.Connection.Name, false, certificate.StartOptions{Unused: unused}))
			}
		}),
		with("the old certificate expires while the deletion waits", []string{"done"}, func(s *harness.Scenario) {
			s.Spec.Certificates[0].Left = 15 * day
			s.Limit = 40 * day
			s.Approves = false
			s.BeforeCall = afterExpiry(approveNow)
		}),
	}
}

// spareExpired is a connection for which AWS trusts an expired certificate too.
func spareExpired() clouds.ConnectionSpec {
	spec := clouds.ExpiringCertificate("corp")
	spec.Certificates = append(spec.Certificates, clouds.CertificateSpec{Age: 1200 * day, Left: -100 * day, Trusted: true})
	return spec
}

// trustBinding writes the record of a binding with an earlier rollover.
func trustBinding(h *harness.Harness) {
	record := harness.RolloverCodec.NewRecord(h.Connection.Binding, h.Connection.Name)
	record.Procedures[model.ProcedureCertificate].Memory.(*certificate.Memory).Trust = time.Now().Add(-300 * day)
	content, err := harness.RolloverCodec.Encode(record)
	must(err)
	_, err = h.Store.Save(h.Connection.Key(), content, "")
	must(err)
	h.Trusted = true
}

// approveNow and abortNow are commands of an operator.
func approveNow(h *harness.Harness) { go h.Approve(h.Ctx, h.Current.Load()) }

func abortNow(h *harness.Harness) {
	go func() { h.Note("operator aborts it: %v", h.Current.Load().Engine.Abort(h.Ctx, h.Connection.Name)) }()
}

// afterExpiry runs an action once the certificate that was active at first has expired.
func afterExpiry(do func(*harness.Harness)) func(*harness.Harness, string) {
	var done atomic.Bool
	return func(h *harness.Harness, _ string) {
		for _, c := range h.Certificates() {
			if c.Thumbprint == h.OldCertificate() && time.Now().After(c.NotAfter.Add(day)) && done.CompareAndSwap(false, true) {
				do(h)
			}
		}
	}
}

package rotate_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/test/harness"
)

// The matrix of the certificate's rollover: see docs/rotation-proof.md. Whoever holds the
// private key of a certificate that AWS trusts signs in as anybody. These are the ways to
// make the exporter import such a one.

// importTrick is a case in which somebody tries to have another certificate imported.
type importTrick struct {
	matrixCase
	ownImported bool // the rollover's own is imported nevertheless, or the one that was named
}

// duringRollover runs an action before the first call at which the condition holds.
func duringRollover(condition func(name string, rotation *journal.Rotation, progress *certificate.Progress) bool, action func(*harness.Harness)) func(*harness.Harness, string) {
	var done atomic.Bool
	return func(h *harness.Harness, name string) {
		rotation, progress := h.Current.Load().Engine.Rollover(h.Connection.Name)
		if rotation != nil && condition(name, rotation, progress) && done.CompareAndSwap(false, true) {
			action(h)
		}
	}
}

// beforeImport is the first reading of Entra after the creation, which the import rests on.
func beforeImport(name string, _ *journal.Rotation, progress *certificate.Progress) bool {
	return progress.New != nil && name == "graph.certificates"
}

// exchange puts another certificate into the place of those that the condition chooses.
func exchange(chosen func(model.Certificate) bool, other model.Certificate, keepThumbprint bool) func(model.SigningCertificates) model.SigningCertificates {
	return func(signing model.SigningCertificates) model.SigningCertificates {
		signing.Certificates = slices.Clone(signing.Certificates)
		for i, c := range signing.Certificates {
			if chosen(c) {
				if signing.Certificates[i] = other; keepThumbprint {
					signing.Certificates[i].Thumbprint = c.Thumbprint
				}
			}
		}
		return signing
	}
}

// startWithCertificate starts a rollover with a certificate that an operator named.
func startWithCertificate(h *harness.Harness, p *harness.Process, c model.Certificate) {
	h.NamedThumbprints = append(h.NamedThumbprints, c.Thumbprint)
	err := p.Engine.StartRollover(context.Background(), h.Connection.Name, false, certificate.StartOptions{Certificate: certificate.Fingerprint(c.DER)})
	h.Note("operator starts a rollover with certificate %s: %v", c.Thumbprint, err)
}

// importTricks are all of them.
func importTricks() []importTrick {
	const theirs = "CN=theirs"
	trick := func(name string, allowed []string, ownImported bool, change func(*harness.Scenario)) importTrick {
		s := rolloverScenario()
		s.Limit = 2 * day
		change(&s)
		return importTrick{matrixCase{Scenario: s, name: "trick:" + name, allowed: allowed}, ownImported}
	}
	atImport := func(action func(*harness.Harness)) func(*harness.Scenario) {
		return func(s *harness.Scenario) { s.BeforeCall = duringRollover(beforeImport, action) }
	}
	subjectOf := func(h *harness.Harness) string {
		_, progress := h.Current.Load().Engine.Rollover(h.Connection.Name)
		return progress.Subject
	}
	isNew := func(c model.Certificate) bool { return strings.HasPrefix(c.Subject, "CN=entra-aws-exporter ") }
	return []importTrick{
		trick("a newer certificate appears", []string{"blocked foreign_certificate"}, true, atImport(func(h *harness.Harness) {
			h.MakeCertificate(clouds.ActorOperator, theirs)
		})),
		trick("a newer certificate appears and is made active", []string{"blocked activation_reverted"}, true, atImport(func(h *harness.Harness) {
			h.ActivateCertificate(clouds.ActorOperator, h.MakeCertificate(clouds.ActorOperator, theirs))
		})),
		trick("a newer certificate appears and AWS trusts it", []string{"blocked import_refused"}, false, atImport(func(h *harness.Harness) {
			made := h.MakeCertificate(clouds.ActorOperator, theirs)
			for _, c := range h.Certificates() {
				if c.Thumbprint == made {
					h.TrustCertificate(clouds.ActorOperator, c)
				}
			}
		})),
		trick("another certificate with the same subject appears", []string{"blocked foreign_certificate"}, true, atImport(func(h *harness.Harness) {
			h.MakeCertificate(clouds.ActorOperator, subjectOf(h))
		})),
		trick("another certificate with the same subject appears, and the answer is lost", []string{"blocked create_ambiguous"}, false, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"graph.create_certificate#1": harness.ResponseLost}
			s.BeforeCall = duringRollover(func(name string, _ *journal.Rotation, progress *certificate.Progress) bool {
				return progress.Subject != "" && name == "graph.certificates"
			}, func(h *harness.Harness) { h.MakeCertificate(clouds.ActorOperator, subjectOf(h)) })
		}),
		trick("nothing was created, and somebody guesses the subject", []string{"aborted"}, false, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"graph.create_certificate#1": harness.KilledBefore}
			s.BeforeCall = duringRollover(func(name string, rotation *journal.Rotation, _ *certificate.Progress) bool {
				return len(rotation.Operations[certificate.OperationCreate]) > 0 && name == "graph.certificates"
			}, func(h *harness.Harness) {
				rotation, _ := h.Current.Load().Engine.Rollover(h.Connection.Name) // its id is on the status page
				h.MakeCertificate(clouds.ActorOperator, "CN=entra-aws-exporter "+rotation.ID)
				h.MakeCertificate(clouds.ActorOperator, "CN=entra-aws-exporter "+rotation.ID+"-1")
			})
		}),
		trick("the answer to the creation is edited", []string{"blocked foreign_certificate"}, false, func(s *harness.Scenario) {
			s.Prepare = func(h *harness.Harness) {
				h.Edits.Issued = func(issued model.IssuedCertificate) model.IssuedCertificate {
					issued.Certificate = h.ForeignCertificate(strings.TrimPrefix(issued.Subject, "CN="))
					return issued
				}
			}
		}),
		trick("the answer to the creation is about another subject", []string{"done"}, true, func(s *harness.Scenario) {
			s.Prepare = func(h *harness.Harness) {
				h.Edits.Issued = func(issued model.IssuedCertificate) model.IssuedCertificate {
					issued.Certificate = h.ForeignCertificate("theirs")
					return issued
				}
			}
		}),
		trick("Entra's answer is edited after the creation", []string{"blocked foreign_certificate"}, false, atImport(func(h *harness.Harness) {
			h.Edits.Signing = exchange(isNew, h.ForeignCertificate(strings.TrimPrefix(subjectOf(h), "CN=")), false)
		})),
		trick("Entra's answer is edited after the creation, under our thumbprint", []string{"blocked foreign_certificate"}, false, atImport(func(h *harness.Harness) {
			h.Edits.Signing = exchange(isNew, h.ForeignCertificate(strings.TrimPrefix(subjectOf(h), "CN=")), true)
		})),
		trick("the answer is lost, and Entra's next answer is edited", []string{"blocked foreign_certificate"}, false, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"graph.create_certificate#1": harness.ResponseLost}
			s.Prepare = func(h *harness.Harness) {
				edited := false
				h.Edits.Signing = func(signing model.SigningCertificates) model.SigningCertificates {
					if edited || !slices.ContainsFunc(signing.Certificates, isNew) {
						return signing
					}
					edited = true
					return exchange(isNew, h.ForeignCertificate(strings.TrimPrefix(subjectOf(h), "CN=")), false)(signing)
				}
			}
		}),
		trick("a newer certificate appears, and the readings are from before it", []string{"blocked foreign_certificate"}, true, func(s *harness.Scenario) {
			s.Quirks.DirectoryLag, s.Quirks.TrustListLag = 5*time.Minute, 10*time.Minute
			s.BeforeCall = duringRollover(beforeImport, func(h *harness.Harness) { h.MakeCertificate(clouds.ActorOperator, theirs) })
			s.FaultsByName = map[string]harness.Fault{"graph.certificates#5": harness.StaleRead, "aws.trust#5": harness.StaleRead}
		}),
		trick("the journal names another certificate", []string{"blocked foreign_certificate"}, false, func(s *harness.Scenario) {
			s.BeforeCall = duringRollover(func(name string, _ *journal.Rotation, progress *certificate.Progress) bool {
				return progress.New != nil && name == "journal.save"
			}, func(h *harness.Harness) {
				h.MakeCertificate(clouds.ActorOperator, theirs)
				list := h.Certificates()
				other := list[len(list)-1]
				h.EditRollover(func(progress *certificate.Progress) {
					progress.New.Certificate = certificate.Certificate{
						SHA256: certificate.Fingerprint(other.DER), Thumbprint: other.Thumbprint, Subject: other.Subject,
						NotBefore: other.NotBefore, NotAfter: other.NotAfter, DER: other.DER,
					}
				})
			})
		}),
		trick("another certificate has the subject of the one that was named", []string{"done"}, true, func(s *harness.Scenario) {
			s.Begin = func(h *harness.Harness, p *harness.Process) {
				named := h.MakeCertificate(clouds.ActorOperator, theirs)
				h.MakeCertificate(clouds.ActorOperator, theirs)
				for _, c := range h.Certificates() {
					if c.Thumbprint == named {
						startWithCertificate(h, p, c)
					}
				}
			}
		}),
		trick("the certificate that was named is exchanged on the way", []string{"blocked foreign_certificate", "aborted"}, false, func(s *harness.Scenario) {
			s.Begin = func(h *harness.Harness, p *harness.Process) {
				h.MakeCertificate(clouds.ActorOperator, theirs)
				list := h.Certificates()
				startWithCertificate(h, p, list[len(list)-1])
			}
			s.BeforeCall = duringRollover(beforeImport, func(h *harness.Harness) {
				h.Edits.Signing = exchange(func(c model.Certificate) bool { return c.Subject == theirs }, h.ForeignCertificate("theirs"), true)
			})
		}),
	}
}

// TestImportCannotBeTricked tries each way: nothing is imported but what our own call
// returned, or what an operator named.
func TestImportCannotBeTricked(t *testing.T) {
	for _, trick := range importTricks() {
		t.Run(strings.TrimPrefix(trick.name, "trick:"), func(t *testing.T) {
			harness.Run(t, trick.Scenario, func(t *testing.T, r harness.Result) {
				if !allows(trick.allowed, r.Outcome) {
					t.Errorf("outcome %s", r.Outcome)
				}
				for _, violation := range harness.Check(r) {
					t.Error(violation)
				}
				permitted := slices.Concat(r.Harness.NamedThumbprints, []string{r.Harness.NewestCertificate().Thumbprint})
				imported := r.Harness.Imported()
				if slices.ContainsFunc(imported, func(thumbprint string) bool { return !slices.Contains(permitted, thumbprint) }) {
					t.Errorf("imported %s, and only %s may be", imported, permitted)
				}
				if len(imported) > 0 != trick.ownImported {
					t.Errorf("imported %s", imported)
				}
				if t.Failed() {
					t.Log(r.Harness.Timeline())
				}
			})
		})
	}
}

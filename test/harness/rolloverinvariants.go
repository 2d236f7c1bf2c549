package harness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The documented limits of certificates, spelled out once more: a check that used the
// program's own numbers would follow its mistakes.
const (
	certificatesPerWeek  = 1
	certificatesPerMonth = 2
)

// CheckRollover returns what was violated of the invariants C1 to C7 (see
// docs/rotation-proof.md). It reads what the model recorded, never what the engine reports.
func CheckRollover(r Result) []string {
	h := r.Harness
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &rolloverCheck{result: r, clouds: h.Clouds}
	c.outages()
	c.replay()
	c.rateLimit()
	c.outcome()
	if h.maxInFlight > 1 && len(h.ExtraProcesses) == 0 {
		c.add("C6: %d operations were in flight at once", h.maxInFlight)
	}
	if h.rateExceeded != "" {
		c.add("more than %d calls within a minute, the last of them %s", callsPerMinute, h.rateExceeded)
	}
	return c.violations
}

type rolloverCheck struct {
	result     Result
	clouds     *clouds.Model
	violations []string
}

func (c *rolloverCheck) add(format string, args ...any) {
	c.violations = append(c.violations, fmt.Sprintf(format, args...))
}

// outages is C1: at every moment AWS trusted what Entra signed with, or somebody else made
// it not so.
func (c *rolloverCheck) outages() {
	for _, outage := range c.clouds.SignInOutages() {
		late := c.result.Harness.TrustsLate && outage.Cause == clouds.CausePropagating
		if outage.CausedBy == clouds.ActorExporter && !late && !c.raced(outage.Began) {
			c.add("C1: %s", outage)
		}
	}
}

// raced reports whether somebody else changed a certificate, or what shows one, right before
// this time: no reading that an operation rests on can show it.
func (c *rolloverCheck) raced(at time.Time) bool {
	within := listFresh + callTimeout + c.clouds.Quirks().TrustListLag + c.clouds.Quirks().DirectoryLag
	for _, entry := range c.clouds.Timeline() {
		if stamp := entry.Stamped(); stamp.Actor == clouds.ActorExporter || stamp.At.After(at) || at.Sub(stamp.At) > within {
			continue
		}
		switch e := entry.(type) {
		case clouds.CertificateActivation, clouds.CertificateDeletion, clouds.CertificateImport:
			return true
		case clouds.Annotation:
			for _, change := range []string{"replaced", "removed", "activated", "set single sign-on"} {
				if strings.HasPrefix(e.Text, change) {
					return true
				}
			}
		}
	}
	return false
}

// replay is C2 to C5 and C7: it follows what was trusted and active, and compares each
// operation of the exporter with it.
func (c *rolloverCheck) replay() {
	trusted := map[string]int{} // how many entries of AWS, by thumbprint
	for thumbprint := range c.result.Harness.initialTrust {
		trusted[thumbprint]++
	}
	deleted := map[string]bool{} // by the exporter
	active := c.result.Harness.initialActive
	for _, entry := range c.clouds.Timeline() {
		own := entry.Stamped().Actor == clouds.ActorExporter
		switch e := entry.(type) {
		case clouds.CertificateImport:
			named := slices.Contains(c.result.Harness.NamedThumbprints, e.Thumbprint)
			if own && e.CreatedBy != clouds.ActorExporter && !named && !deleted[e.Thumbprint] {
				c.add("C2: certificate %s, made by %q, was imported", e.Thumbprint, e.CreatedBy)
			}
			trusted[e.Thumbprint]++
		case clouds.CertificateDeletion:
			if trusted[e.Thumbprint]--; own {
				c.deletion(e, active)
				deleted[e.Thumbprint] = true
			}
		case clouds.CertificateActivation:
			if own {
				c.activation(e, trusted)
			}
			active = e.After
		case clouds.Annotation:
			if rest, ok := strings.CutPrefix(e.Text, "activated certificate "); ok {
				active, _, _ = strings.Cut(rest, " ")
			}
			if strings.HasPrefix(e.Text, "replaced identity provider") {
				clear(trusted)
			}
		}
	}
}

func (c *rolloverCheck) deletion(e clouds.CertificateDeletion, active string) {
	if e.Thumbprint == active && !c.raced(e.At) {
		c.add("C3: the active certificate %s was deleted at AWS", e.Thumbprint)
	}
	if e.Remaining == 0 && !c.raced(e.At) {
		c.add("C3: certificate %s was the last valid one at AWS", e.Thumbprint)
	}
	if h := c.result.Harness; e.Thumbprint != h.initialActive && e.Thumbprint != h.NamedUnused {
		c.add("C3: certificate %s was deleted at AWS, which was not the active one at the start, nor named", e.Thumbprint)
	}
}

// activation is C4 and C7.
func (c *rolloverCheck) activation(e clouds.CertificateActivation, trusted map[string]int) {
	sp := c.result.Harness.signing()
	at := slices.IndexFunc(sp.Certificates, func(s clouds.SigningCertificate) bool { return s.Thumbprint() == e.After })
	made := e.After == c.result.Harness.initialActive
	for creation := range clouds.EntriesOf[clouds.CertificateCreation](c.clouds) {
		made = made || creation.Thumbprint == e.After
	}
	switch {
	case e.After == "":
		c.add("C4: no certificate was made active")
	case trusted[e.After] < 1 && !c.raced(e.At):
		c.add("C4: certificate %s was made active, which AWS did not trust", e.After)
	case at < 0 && !made:
		c.add("C4: certificate %s was made active, which Entra does not have", e.After)
	case at >= 0 && !e.At.Before(sp.Certificates[at].NotAfter):
		c.add("C7: the expired certificate %s was made active", e.After)
	}
}

// rateLimit is C6, and C5: what Entra had, or what was created, nobody but others removed.
func (c *rolloverCheck) rateLimit() {
	var at []time.Time
	for creation := range clouds.EntriesOf[clouds.CertificateCreation](c.clouds) {
		if creation.Actor == clouds.ActorExporter {
			at = append(at, creation.At)
		}
	}
	for i, first := range at {
		week, month := 0, 0
		for _, other := range at[i:] {
			if other.Sub(first) < 7*24*time.Hour {
				week++
			}
			if other.Sub(first) < 30*24*time.Hour {
				month++
			}
		}
		if week > certificatesPerWeek || month > certificatesPerMonth {
			c.add("C6: %d certificates were created within a week, %d within a month", week, month)
		}
	}
}

// outcome is what must be true at each end.
func (c *rolloverCheck) outcome() {
	h := c.result.Harness
	signer, accepted, _ := c.clouds.Signer(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
	switch outcome := c.result.Outcome; {
	case outcome == "done" && h.RepairOnly:
		if !accepted {
			c.add("done, and AWS does not accept what certificate %s signs", signer)
		}
	case outcome == "done":
		if c.changedTooLate() {
			return
		}
		if !accepted || signer == h.initialActive {
			c.add("done, and Entra signs with certificate %s (accepted: %t), the old one is %s", signer, accepted, h.initialActive)
		}
		for _, t := range c.clouds.Trusted(h.Connection.IdentityStoreID) {
			if t.Thumbprint() == h.initialActive {
				c.add("done, and AWS trusts the old certificate %s", t.Thumbprint())
			}
		}
		c.exclusive()
	case outcome == "aborted", strings.HasPrefix(outcome, "blocked"), strings.HasPrefix(outcome, "waiting"), outcome == "none":
		if !accepted && !c.causedByOther() {
			c.add("%s, and AWS does not accept what certificate %s signs", outcome, signer)
		}
	case h.FaultLasts && strings.HasPrefix(outcome, "running"):
	default:
		c.add("no outcome in time: %s", outcome)
	}
}

// exclusive demands sign-ins after the last deletion, which AWS accepted.
func (c *rolloverCheck) exclusive() {
	h := c.result.Harness
	var last time.Time
	for d := range clouds.EntriesOf[clouds.CertificateDeletion](c.clouds) {
		last = d.At
	}
	signIns, err := c.clouds.SignIns(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
	ended := c.result.Rotation.Ended
	if err == nil && !slices.ContainsFunc(signIns, func(s clouds.SignIn) bool { return s.Accepted && s.At.After(last) && s.At.Before(ended) }) && h.expectsSignIns() {
		c.add("done at %s, and nobody signed in after the last deletion at %s", ended.Format(time.TimeOnly), last.Format(time.TimeOnly))
	}
}

// expectsSignIns reports whether a log can show sign-ins; else an operator says so.
func (h *Harness) expectsSignIns() bool { return !h.ApprovedBlindly }

// causedByOther reports whether the outage that lasts is not the exporter's doing.
func (c *rolloverCheck) causedByOther() bool {
	list := c.clouds.SignInOutages()
	if len(list) == 0 {
		return false
	}
	last := list[len(list)-1]
	return last.Ended.IsZero() && (last.CausedBy != clouds.ActorExporter || c.raced(last.Began))
}

// changedTooLate reports whether somebody else changed a certificate after the rollover's
// last readings, or AWS's clock, by which its log is read.
func (c *rolloverCheck) changedTooLate() bool {
	lastRead := c.result.Rotation.Ended.Add(-2*time.Minute - c.clouds.Quirks().TrustListLag - c.clouds.Quirks().DirectoryLag)
	return slices.ContainsFunc(c.clouds.Timeline(), func(entry clouds.Entry) bool {
		stamp := entry.Stamped()
		if stamp.Actor == clouds.ActorExporter || stamp.At.Before(lastRead) {
			return false
		}
		switch e := entry.(type) {
		case clouds.CertificateActivation, clouds.CertificateDeletion, clouds.CertificateImport:
			return true
		case clouds.Annotation:
			return strings.HasPrefix(e.Text, "replaced") || strings.HasPrefix(e.Text, "set single sign-on") || strings.HasPrefix(e.Text, clockNote)
		default:
			return false
		}
	})
}

// signing is the connection's application as it is. The harness is locked.
func (h *Harness) signing() clouds.ServicePrincipal {
	return h.Clouds.Signing(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
}

// noteCertificates remembers what was trusted and active at the start.
func (h *Harness) noteCertificates() {
	sp := h.signing()
	h.initialActive, h.initialTrust = sp.ActiveThumbprint(), map[string]bool{}
	for _, t := range h.Clouds.Trusted(h.Connection.IdentityStoreID) {
		h.initialTrust[t.Thumbprint()] = true
	}
}

// CertificateState is which certificate is active, which ones Entra has and which ones AWS
// trusts: the old one, the exporter's or another.
func (h *Harness) CertificateState() (active string, listed, trusted []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	whose := map[string]string{h.initialActive: "old"}
	for creation := range clouds.EntriesOf[clouds.CertificateCreation](h.Clouds) {
		whose[creation.Thumbprint] = string(creation.Actor)
	}
	sp := h.signing()
	for _, c := range sp.Certificates {
		listed = append(listed, whose[c.Thumbprint()])
	}
	for _, t := range h.Clouds.Trusted(h.Connection.IdentityStoreID) {
		trusted = append(trusted, whose[t.Thumbprint()])
	}
	return whose[sp.ActiveThumbprint()], listed, trusted
}

// Certificates are the certificates of the connection in Entra, oldest first.
func (h *Harness) Certificates() (list []model.Certificate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.signing().Certificates {
		list = append(list, describe(c.Certificate))
	}
	return list
}

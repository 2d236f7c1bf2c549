package harness

import (
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// expiryNote is followed by a token's ID, when the model lets the token expire early.
const expiryNote = "let token "

// groundTruth is what the model knows, without any lag and whatever the engine believes.
type groundTruth struct {
	now       time.Time
	tenant    string
	job       string
	skew      time.Duration
	rebound   time.Time // when the tenant or job was replaced
	tokens    map[string]tokenTruth
	saves     []clouds.Save // the exporter's
	cycles    []model.Cycle
	running   bool      // a cycle runs that the engine could expect
	approvals approvals // of deletions, by token
	trusted   bool      // an earlier rotation of this binding was done
	perToken  bool      // CloudTrail tells tokens apart
}

// cycleAfter reports whether a good cycle began after this time.
func (t groundTruth) cycleAfter(after time.Time) bool {
	return slices.ContainsFunc(t.cycles, func(c model.Cycle) bool {
		return c.Began.After(after) && (c.State == model.CycleSucceeded || c.State == model.CycleEntryLevelErrors)
	})
}

type tokenTruth struct {
	created, expires time.Time
	createdBy        clouds.Actor
	deleted          bool
	deletedByOther   time.Time // zero: not deleted, or by the exporter
}

// listed reports whether a list that is fresh enough may show the token.
func (t tokenTruth) listed(now time.Time) bool {
	return !t.deleted || now.Sub(t.deletedByOther) <= listFresh
}

// groundTruthOf reads the model. The harness is locked.
func groundTruthOf(h *Harness) groundTruth {
	m := h.Clouds
	t := groundTruth{now: m.Now(), tokens: map[string]tokenTruth{}, approvals: approvals{}, skew: m.AWSNow().Sub(m.Now()).Abs(), trusted: h.Trusted}
	t.perToken = m.Quirks().CloudTrail == clouds.TrailPerToken
	if tenants, err := m.ListProvisioningTenants(clouds.CallerFor("oracle"), h.Connection.IdentityStoreID); err == nil && len(tenants) > 0 {
		t.tenant = tenants[0].TenantID
	}
	if jobs, err := m.Jobs(clouds.CallerFor("oracle"), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID); err == nil && len(jobs) > 0 {
		t.job = jobs[0].ID
	}
	for id, dates := range h.InitialDates {
		t.tokens[id] = tokenTruth{created: dates.Created, expires: dates.Expires, createdBy: clouds.ActorSetup}
	}
	since := m.CycleSince(h.Connection.ServicePrincipalID)
	t.running = !since.IsZero()
	for _, record := range m.Timeline() {
		switch r := record.(type) {
		case clouds.Creation:
			t.tokens[r.TokenID] = tokenTruth{created: r.At, expires: r.At.Add(clouds.TokenLifetime), createdBy: r.Actor}
		case clouds.Deletion:
			token := t.tokens[r.TokenID]
			token.deleted = true
			if r.Actor != clouds.ActorExporter {
				token.deletedByOther = r.At
			}
			t.tokens[r.TokenID] = token
		case clouds.Save:
			if r.Actor == clouds.ActorExporter {
				t.saves = append(t.saves, r)
			}
		case clouds.TenantRecreated:
			t.rebound = r.At
		case clouds.JobReplaced:
			t.rebound = r.At
		case clouds.Start:
			t.running = t.running && r.At.Add(clouds.CyclePeriod).Before(since)
		case clouds.CycleEnded:
			t.cycles = append(t.cycles, r.Cycle)
		case clouds.Annotation:
			t.approvals.read(r.Text)
			if strings.HasPrefix(r.Text, clockNote) && t.now.Sub(r.At) <= listFresh { // no response may show it yet
				t.skew = 0
			}
			if rest, ok := strings.CutPrefix(r.Text, expiryNote); ok && t.now.Sub(r.At) > listFresh { // no list may show it yet
				id := strings.TrimSuffix(rest, " expire")
				token := t.tokens[id]
				token.expires = r.At
				t.tokens[id] = token
			}
		}
	}
	return t
}

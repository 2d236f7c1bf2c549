package harness

import (
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// groundTruth is what the world knows of its tokens.
type groundTruth struct {
	now      time.Time
	tenant   string
	job      string
	skew     time.Duration
	rebound  time.Time // when tenant or job became another one
	tokens   map[string]tokenTruth
	saves    []clouds.Save // the exporter's
	cycles   []model.Cycle
	running  bool // a cycle is under way that was to be expected
	approved map[string]bool
	trusted  bool // an earlier rotation of this binding was done
	tells    bool // AWS's log tells tokens apart
}

// cycled tells whether a good cycle began after this time.
func (t groundTruth) cycled(after time.Time) bool {
	return slices.ContainsFunc(t.cycles, func(c model.Cycle) bool {
		return c.Began.After(after) && (c.State == model.CycleSucceeded || c.State == model.CycleEntryLevelErrors)
	})
}

type tokenTruth struct {
	created, expires time.Time
	by               clouds.Actor
	deleted          bool
	taken            time.Time // when somebody else deleted it
}

// listed tells whether a list that is not too old may show the token.
func (t tokenTruth) listed(now time.Time) bool {
	return !t.deleted || now.Sub(t.taken) <= listFresh
}

// groundTruthOf reads the world without any lag. The lab is locked.
func groundTruthOf(l *Harness) groundTruth {
	w := l.Clouds
	t := groundTruth{now: w.Now(), tokens: map[string]tokenTruth{}, approved: map[string]bool{}, skew: w.AWSNow().Sub(w.Now()).Abs(), trusted: l.Trusted}
	t.tells = w.Quirks().CloudTrail == clouds.TrailPerToken
	if tenants, err := w.ListProvisioningTenants(clouds.CallerFor("oracle"), l.Connection.IdentityStoreID); err == nil && len(tenants) > 0 {
		t.tenant = tenants[0].TenantID
	}
	if jobs, err := w.Jobs(clouds.CallerFor("oracle"), l.Connection.EntraTenantID, l.Connection.ServicePrincipalID); err == nil && len(jobs) > 0 {
		t.job = jobs[0].ID
	}
	for id, dates := range l.InitialDates {
		t.tokens[id] = tokenTruth{created: dates.Created, expires: dates.Expires, by: clouds.ActorSetup}
	}
	since := w.CycleSince(l.Connection.ServicePrincipalID)
	t.running = !since.IsZero()
	for _, record := range w.Timeline() {
		switch r := record.(type) {
		case clouds.Creation:
			t.tokens[r.TokenID] = tokenTruth{created: r.At, expires: r.At.Add(clouds.TokenLifetime), by: r.Actor}
		case clouds.Deletion:
			token := t.tokens[r.TokenID]
			token.deleted = true
			if r.Actor != clouds.ActorExporter {
				token.taken = r.At
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
			if rest, ok := strings.CutPrefix(r.Text, "a person approves the deletion of "); ok && strings.HasSuffix(rest, ": <nil>") {
				t.approved[strings.TrimSuffix(rest, ": <nil>")] = true
			}
			if strings.HasPrefix(r.Text, "AWS's clock is ") && t.now.Sub(r.At) <= listFresh { // no answer may show it yet
				t.skew = 0
			}
			if rest, ok := strings.CutPrefix(r.Text, "let token "); ok && t.now.Sub(r.At) > listFresh { // no list may show it yet
				id := strings.TrimSuffix(rest, " expire")
				token := t.tokens[id]
				token.expires = r.At
				t.tokens[id] = token
			}
		}
	}
	return t
}

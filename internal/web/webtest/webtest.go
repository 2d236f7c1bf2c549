// Package webtest has example connections in every state that the pages know, for
// tests and for looking at the pages without any cloud.
package webtest

import (
	"net/http"
	"time"

	"entra-aws-exporter/internal/model"
)

const day = 24 * time.Hour

// Clouds are example readings as of one moment.
type Clouds struct{ now time.Time }

// New returns examples as of now.
func New(now time.Time) Clouds { return Clouds{now.UTC().Truncate(time.Second)} }

func (c Clouds) in(d time.Duration) time.Time { return c.now.Add(d) }

// Snapshots returns one connection for each state.
func (c Clouds) Snapshots() []model.Snapshot {
	return []model.Snapshot{c.healthy("corp"), c.expiring("emea"), c.quarantined("labs"), c.rotating("apac"), c.blocked("retail"), c.waiting("iberia"), c.unread("new")}
}

func (c Clouds) healthy(name string) model.Snapshot {
	active := model.Certificate{Thumbprint: "5D8A1F0C3B7E92446A1D0F5C8E27B9034D61AA10", NotBefore: c.in(-300 * day), NotAfter: c.in(795 * day)}
	trusted := []model.Certificate{active}
	failures, notified := int64(0), true
	return model.Snapshot{
		Connection:  name,
		EntraTenant: "contoso",
		Binding: model.Binding{
			AWSAccount: "111122223333", Region: "eu-central-1", IdentityStoreID: "d-9967750000", ProvisioningTenantID: "abc1e370acb0-97b3-4383-8d96-example",
			SCIMEndpoint: "https://scim.eu-central-1.amazonaws.com/abc1e370acb0/scim/v2", EntraTenantID: "11111111-1111-1111-1111-111111111111",
			ServicePrincipalID: "33333333-3333-3333-3333-333333333333", JobID: "aWSSingleSignon.example.44444444",
		},
		Sources: c.sources(nil),
		Tokens: &model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Tokens: []model.Token{
			{ID: "9067a1c0-0001-4000-8000-00000000000a", Created: c.in(-100 * day), Expires: c.in(265 * day)},
		}},
		Probe: &model.Probe{StatusCode: http.StatusOK, Duration: 120 * time.Millisecond},
		Usage: &model.Usage{LastUsed: map[string]time.Time{"9067a1c0-0001-4000-8000-00000000000a": c.in(-12 * time.Minute)}},
		Job: &model.Job{
			ID: "aWSSingleSignon.example.44444444", Status: model.JobActive, Schedule: model.ScheduleActive, Interval: 40 * time.Minute,
			LastCycle:   &model.Cycle{Began: c.in(-13 * time.Minute), Ended: c.in(-12 * time.Minute), State: model.CycleSucceeded, Entries: map[model.EntryKind]int64{model.EntriesImported: 12, model.EntriesExported: 3}},
			LastSuccess: &model.Cycle{Began: c.in(-13 * time.Minute), Ended: c.in(-12 * time.Minute), State: model.CycleSucceeded, Entries: map[model.EntryKind]int64{model.EntriesImported: 12, model.EntriesExported: 3}},
			LastExport:  &model.Cycle{Began: c.in(-13 * time.Minute), Ended: c.in(-12 * time.Minute), State: model.CycleSucceeded, Entries: map[model.EntryKind]int64{model.EntriesImported: 12, model.EntriesExported: 3}},

			ConsecutiveFailures: &failures, Synchronized: map[string]int64{"User": 1204, "Group": 86}, NotificationEnabled: &notified,
		},
		Events: &model.EventCounts{
			Events: map[model.EventKey]uint64{{Action: "create", Status: "success"}: 41, {Action: "update", Status: "failure"}: 2},
			Errors: map[model.EventErrorKey]uint64{{Category: "Failure", Code: "DuplicateTargetEntries"}: 2},
			Last:   map[string]time.Time{"success": c.in(-12 * time.Minute), "failure": c.in(-3 * day)},
		},
		Signing: &model.SigningCertificates{Certificates: []model.Certificate{active}, ActiveThumbprint: active.Thumbprint, ActiveKnown: true, NotificationAddresses: 2},
		Trusted: &trusted,
		AppCredentials: []model.AppCredential{
			{Kind: model.CredentialSecret, KeyID: "77777777-0000-4000-8000-000000000001", Expires: c.in(140 * day)},
		},
	}
}

// sources all succeeded a minute ago, but for those in failing.
func (c Clouds) sources(failing map[model.Source]error) []model.SourceStatus {
	all := make([]model.SourceStatus, 0, len(model.Sources()))
	for _, source := range model.Sources() {
		status := model.SourceStatus{Source: source, Interval: 15 * time.Minute, LastAttempt: c.in(-time.Minute), LastSuccess: c.in(-time.Minute)}
		if err := failing[source]; err != nil {
			status.Err, status.LastSuccess = err, c.in(-5*time.Hour)
			status.Errors = map[model.Reason]uint64{model.ReasonOf(err): 20}
		}
		all = append(all, status)
	}
	return all
}

// expiring has an expired token in its second slot, and nobody is told of its certificate.
func (c Clouds) expiring(name string) model.Snapshot {
	s := c.healthy(name)
	s.Tokens = &model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Tokens: []model.Token{
		{ID: "9067a1c0-0002-4000-8000-00000000000a", Created: c.in(-380 * day), Expires: c.in(-15 * day)},
		{ID: "9067a1c0-0002-4000-8000-00000000000b", Created: c.in(-345 * day), Expires: c.in(20*day + time.Hour)},
	}}
	s.Usage = nil
	s.Signing.NotificationAddresses = 0
	s.Job.LastCycle.State = model.CycleEntryLevelErrors
	return s
}

// quarantined has a dead token, and Entra signs with a certificate that AWS does not hold.
func (c Clouds) quarantined(name string) model.Snapshot {
	s := c.healthy(name)
	s.Sources = c.sources(map[model.Source]error{model.SourceEvents: &model.Error{
		Reason: model.ReasonLicence, Op: "reading the provisioning log", Detail: "the tenant has no Entra ID P1 licence", Advice: "buy it, or set intervals.events to 0",
	}})
	s.Tokens = &model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Tokens: []model.Token{
		{ID: "9067a1c0-0003-4000-8000-00000000000a", Created: c.in(-368 * day), Expires: c.in(-3*day - time.Hour)},
	}}
	s.Probe = &model.Probe{StatusCode: http.StatusUnauthorized, Duration: 90 * time.Millisecond}
	failures := int64(9)
	s.Job.Status, s.Job.ConsecutiveFailures = model.JobQuarantine, &failures
	s.Job.Quarantine = &model.Quarantine{
		Reason: model.QuarantineReasonException, ErrorCode: model.QuarantineCodeBadCredentials,
		CurrentBegan: c.in(-2 * day), SeriesBegan: c.in(-23*day + time.Hour), NextAttempt: c.in(5 * time.Hour),
	}
	s.Job.LastCycle = &model.Cycle{Began: c.in(-7 * time.Hour), Ended: c.in(-7 * time.Hour), State: model.CycleFailed, ErrorCode: model.QuarantineCodeBadCredentials}
	old := model.Certificate{Thumbprint: "0A1B2C3D4E5F60718293A4B5C6D7E8F901234567", NotBefore: c.in(-1096 * day), NotAfter: c.in(-day - time.Hour)}
	next := model.Certificate{Thumbprint: "FEDCBA98765432100123456789ABCDEF01234567", NotBefore: c.in(-20 * day), NotAfter: c.in(1075 * day)}
	s.Signing = &model.SigningCertificates{Certificates: []model.Certificate{old, next}, ActiveThumbprint: old.Thumbprint, ActiveKnown: true, NotificationAddresses: 1}
	s.Trusted = &[]model.Certificate{old}
	s.AppCredentials = []model.AppCredential{{Kind: model.CredentialSecret, KeyID: "77777777-0000-4000-8000-000000000001", Expires: c.in(5*day + time.Hour)}}
	return s
}

func (c Clouds) rotating(name string) model.Snapshot {
	s := c.healthy(name)
	s.Tokens.Tokens = []model.Token{
		{ID: "9067a1c0-0004-4000-8000-00000000000a", Created: c.in(-306 * day), Expires: c.in(59*day + time.Hour)},
		{ID: "9067a1c0-0004-4000-8000-00000000000b", Created: c.in(-3 * time.Hour), Expires: c.in(365 * day)},
	}
	s.Usage = nil
	return s
}

func (c Clouds) blocked(name string) model.Snapshot {
	s := c.healthy(name)
	s.Tokens.Tokens = []model.Token{
		{ID: "9067a1c0-0005-4000-8000-00000000000a", Created: c.in(-320 * day), Expires: c.in(45*day + time.Hour)},
		{ID: "9067a1c0-0005-4000-8000-00000000000b", Created: c.in(-30 * day), Expires: c.in(335 * day)},
	}
	s.Usage = nil
	s.Ambiguous = ""
	return s
}

// waiting has both tokens, and asks whether the old one may be deleted.
func (c Clouds) waiting(name string) model.Snapshot {
	s := c.healthy(name)
	s.Tokens.Tokens = []model.Token{
		{ID: "9067a1c0-0006-4000-8000-00000000000a", Created: c.in(-307 * day), Expires: c.in(58*day + time.Hour)},
		{ID: "9067a1c0-0006-4000-8000-00000000000b", Created: c.in(-30 * time.Hour), Expires: c.in(364 * day)},
	}
	s.Usage = nil
	return s
}

func (c Clouds) unread(name string) model.Snapshot {
	s := model.Snapshot{Connection: name, EntraTenant: "contoso"}
	for _, source := range model.Sources() {
		s.Sources = append(s.Sources, model.SourceStatus{Source: source, Interval: 15 * time.Minute})
	}
	return s
}

// dates words a token's dates as the rotation does.
func (c Clouds) dates(created, expires time.Duration) string {
	const layout = "2006-01-02 15:04 UTC"
	return "created " + c.in(created).Format(layout) + ", expires " + c.in(expires).Format(layout)
}

// Rotation returns where the connection's rotation stands.
func (c Clouds) Rotation(connection string) model.RotationStatus {
	idle := model.RotationStatus{Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseIdle, Due: c.in(205 * day), LastSuccess: c.in(-100 * day)}
	switch connection {
	case "corp":
		idle.Roles = map[string]model.TokenRole{"9067a1c0-0001-4000-8000-00000000000a": model.RoleInUse}
		idle.Outcomes = map[model.Outcome]uint64{model.OutcomeDone: 3}
		return idle
	case "apac":
		return model.RotationStatus{
			Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseVerify, Proof: model.ProofStored,
			Due: c.in(-3 * time.Hour), Started: c.in(-3 * time.Hour), Waiting: "proof_pending", TokensCreated: 1,
			Message: "Entra has stored the new token; a provisioning cycle that uses it has not ended yet. Nothing to do.",
			Roles: map[string]model.TokenRole{
				"9067a1c0-0004-4000-8000-00000000000a": model.RolePrevious, "9067a1c0-0004-4000-8000-00000000000b": model.RoleNew,
			},
		}
	case "retail":
		return model.RotationStatus{
			Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseBlocked, Due: c.in(-15 * day), Started: c.in(-15 * day), Blocked: "two_tokens",
			Message: "retail is blocked in phase plan (two_tokens): both slots are taken, and nothing proves which token Entra uses; tokens: 9067a1c0-0005-4000-8000-00000000000a (" +
				c.dates(-320*day, 45*day) + ") and 9067a1c0-0005-4000-8000-00000000000b (" + c.dates(-30*day, 335*day) +
				"); next: rotation start retail --retire-token ID, naming the token that Entra does not use, or rotation adopt retail.",
		}
	case "iberia":
		return model.RotationStatus{
			Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseRetire, Proof: model.ProofUsed,
			Due: c.in(-30 * time.Hour), Started: c.in(-30 * time.Hour), Waiting: "approval", TokensCreated: 1,
			Message: "iberia waits in phase retire for a person's leave to delete token 9067a1c0-0006-4000-8000-00000000000a (" + c.dates(-307*day, 58*day) +
				"); the new token is 9067a1c0-0006-4000-8000-00000000000b (" + c.dates(-30*time.Hour, 364*day) +
				"), and users were provisioned with what is saved now; next: rotation approve iberia 9067a1c0-0006-4000-8000-00000000000a.",
			Roles: map[string]model.TokenRole{
				"9067a1c0-0006-4000-8000-00000000000a": model.RolePrevious, "9067a1c0-0006-4000-8000-00000000000b": model.RoleNew,
			},
		}
	default:
		return model.RotationStatus{Mode: model.RotationDisabled, Phase: model.PhaseIdle}
	}
}

// Records returns the rotations of the past and the one under way, newest first.
//
//nolint:gosec // ids of tokens, not their values
func (c Clouds) Records() []model.RotationRecord {
	return []model.RotationRecord{
		{
			Connection: "apac", ID: "r-0004", Trigger: "alert", Started: c.in(-3 * time.Hour), Phase: model.PhaseVerify, Proof: model.ProofStored,
			OldTokenID: "9067a1c0-0004-4000-8000-00000000000a", NewTokenID: "9067a1c0-0004-4000-8000-00000000000b",
			Steps: []model.RotationStep{
				{At: c.in(-3 * time.Hour), Phase: model.PhasePlan, Text: "The token in use expires in 59 days; one slot is free."},
				{At: c.in(-179 * time.Minute), Phase: model.PhaseCreate, Text: "Created token 9067a1c0-0004-4000-8000-00000000000b and kept its value in the vault."},
				{At: c.in(-178 * time.Minute), Phase: model.PhaseTest, Text: "AWS accepts the new token; Entra's inline test passed twice."},
				{At: c.in(-175 * time.Minute), Phase: model.PhaseSwitch, Text: "Entra stored the new token; its saved-credentials test passed twice."},
			},
		},
		{
			Connection: "iberia", ID: "r-0005", Trigger: "alert", Started: c.in(-30 * time.Hour), Phase: model.PhaseRetire, Proof: model.ProofUsed,
			OldTokenID: "9067a1c0-0006-4000-8000-00000000000a", NewTokenID: "9067a1c0-0006-4000-8000-00000000000b",
			Steps: []model.RotationStep{
				{At: c.in(-30 * time.Hour), Phase: model.PhasePlan, Text: "The token in use expires in 59 days; one slot is free."},
				{At: c.in(-29 * time.Hour), Phase: model.PhaseVerify, Text: "A cycle that began after the switch has provisioned two users."},
			},
		},
		{
			Connection: "retail", ID: "r-0003", Trigger: "alert", Started: c.in(-15 * day), Ended: c.in(-15 * day).Add(time.Minute), Phase: model.PhaseBlocked, Outcome: model.OutcomeBlocked, Reason: "two_tokens",
			OldTokenID: "9067a1c0-0005-4000-8000-00000000000a",
			Steps:      []model.RotationStep{{At: c.in(-15 * day), Phase: model.PhasePlan, Text: "Two tokens are listed and one is not provably unused."}},
		},
		{
			Connection: "corp", ID: "r-0002", Trigger: "alert", Started: c.in(-102 * day), Ended: c.in(-100 * day), Phase: model.PhaseConfirm, Outcome: model.OutcomeDone, Proof: model.ProofExclusive,
			OldTokenID: "9067a1c0-0001-4000-8000-000000000009", NewTokenID: "9067a1c0-0001-4000-8000-00000000000a",
			Steps: []model.RotationStep{{At: c.in(-100 * day), Phase: model.PhaseConfirm, Text: "Entra provisions with the new token alone."}},
		},
	}
}

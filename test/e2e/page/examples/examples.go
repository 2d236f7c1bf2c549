// Package examples has one example connection for each state that the status page can
// show. The tests of internal/web compare them with golden files, and the command page
// serves them.
package examples

import (
	"fmt"
	"net/http"
	"time"

	"entra-aws-exporter/internal/model"
)

const day = 24 * time.Hour

// Data is the example data as of one time.
type Data struct{ now time.Time }

// New returns the example data as of now.
func New(now time.Time) Data { return Data{now.UTC().Truncate(time.Second)} }

func (d Data) in(offset time.Duration) time.Time { return d.now.Add(offset) }

// Snapshots returns one connection for each state.
func (d Data) Snapshots() []model.Snapshot {
	return []model.Snapshot{d.healthy("corp"), d.expiring("emea"), d.quarantined("labs"), d.rotating("apac"), d.blocked("retail"), d.waiting("iberia"), d.unpolled("new")}
}

// Fleet returns n connections. Of fifty, one is in quarantine and one has a token that
// expires soon; the others are healthy.
func (d Data) Fleet(n int) []model.Snapshot {
	var fleet []model.Snapshot
	for i := range n {
		name := fmt.Sprintf("customer-%04d", i+1)
		switch i % 50 {
		case 7:
			fleet = append(fleet, d.quarantined(name))
		case 23:
			fleet = append(fleet, d.expiring(name))
		default:
			fleet = append(fleet, d.healthy(name))
		}
	}
	return fleet
}

func (d Data) healthy(name string) model.Snapshot {
	active := model.Certificate{Thumbprint: "5D8A1F0C3B7E92446A1D0F5C8E27B9034D61AA10", NotBefore: d.in(-300 * day), NotAfter: d.in(795 * day)}
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
		Sources: d.sources(nil),
		Tokens: &model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Tokens: []model.Token{
			{ID: "9067a1c0-0001-4000-8000-00000000000a", Created: d.in(-100 * day), Expires: d.in(265 * day)},
		}},
		Probe: &model.Probe{StatusCode: http.StatusOK, Duration: 120 * time.Millisecond},
		Usage: &model.Usage{LastUsed: map[string]time.Time{"9067a1c0-0001-4000-8000-00000000000a": d.in(-12 * time.Minute)}},
		Job: &model.Job{
			ID: "aWSSingleSignon.example.44444444", Status: model.JobActive, Schedule: model.ScheduleActive, Interval: 40 * time.Minute,
			LastCycle:   &model.Cycle{Began: d.in(-13 * time.Minute), Ended: d.in(-12 * time.Minute), State: model.CycleSucceeded, Entries: map[model.EntryKind]int64{model.EntriesImported: 12, model.EntriesExported: 3}},
			LastSuccess: &model.Cycle{Began: d.in(-13 * time.Minute), Ended: d.in(-12 * time.Minute), State: model.CycleSucceeded, Entries: map[model.EntryKind]int64{model.EntriesImported: 12, model.EntriesExported: 3}},
			LastExport:  &model.Cycle{Began: d.in(-13 * time.Minute), Ended: d.in(-12 * time.Minute), State: model.CycleSucceeded, Entries: map[model.EntryKind]int64{model.EntriesImported: 12, model.EntriesExported: 3}},

			ConsecutiveFailures: &failures, Synchronized: map[string]int64{"User": 1204, "Group": 86}, NotificationEnabled: &notified,
		},
		Events: &model.EventCounts{
			Events: map[model.EventKey]uint64{{Action: "create", Status: "success"}: 41, {Action: "update", Status: "failure"}: 2},
			Errors: map[model.EventErrorKey]uint64{{Category: "Failure", Code: "DuplicateTargetEntries"}: 2},
			Last:   map[string]time.Time{"success": d.in(-12 * time.Minute), "failure": d.in(-3 * day)},
		},
		Signing: &model.SigningCertificates{Certificates: []model.Certificate{active}, ActiveThumbprint: active.Thumbprint, ActiveKnown: true, NotificationAddresses: 2},
		Trusted: &trusted,
		AppCredentials: []model.AppCredential{
			{Kind: model.CredentialSecret, KeyID: "77777777-0000-4000-8000-000000000001", Expires: d.in(140 * day)},
		},
	}
}

// sources returns sources that succeeded one minute ago, except those in failing.
func (d Data) sources(failing map[model.Source]error) []model.SourceStatus {
	all := make([]model.SourceStatus, 0, len(model.Sources()))
	for _, source := range model.Sources() {
		status := model.SourceStatus{Source: source, Interval: 15 * time.Minute, LastAttempt: d.in(-time.Minute), LastSuccess: d.in(-time.Minute)}
		if err := failing[source]; err != nil {
			status.Err, status.LastSuccess = err, d.in(-5*time.Hour)
			status.Errors = map[model.Reason]uint64{model.ReasonOf(err): 20}
		}
		all = append(all, status)
	}
	return all
}

// expiring has an expired token in its second slot, a new certificate that is active already,
// and no address that is notified about its certificates.
func (d Data) expiring(name string) model.Snapshot {
	s := d.healthy(name)
	s.Tokens = &model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Tokens: []model.Token{
		{ID: "9067a1c0-0002-4000-8000-00000000000a", Created: d.in(-380 * day), Expires: d.in(-15 * day)},
		{ID: "9067a1c0-0002-4000-8000-00000000000b", Created: d.in(-345 * day), Expires: d.in(20*day + time.Hour)},
	}}
	s.Usage = nil
	old := model.Certificate{Thumbprint: "2C7F90E1A4B35D6688F01C2D3E4F5A6B7C8D9E0F", NotBefore: d.in(-1045 * day), NotAfter: d.in(50 * day)}
	next := model.Certificate{Thumbprint: "93E0B1C2D3A4F5968778695A4B3C2D1E0F112233", NotBefore: d.in(-2 * time.Hour), NotAfter: d.in(1095 * day)}
	s.Signing = &model.SigningCertificates{Certificates: []model.Certificate{old, next}, ActiveThumbprint: next.Thumbprint, ActiveKnown: true}
	s.Trusted = &[]model.Certificate{old, next}
	s.Job.LastCycle.State = model.CycleEntryLevelErrors
	return s
}

// quarantined has an expired token, and Entra signs with a certificate that AWS does not trust.
func (d Data) quarantined(name string) model.Snapshot {
	s := d.healthy(name)
	s.Sources = d.sources(map[model.Source]error{model.SourceEvents: &model.Error{
		Reason: model.ReasonLicence, Op: "reading the provisioning log", Detail: "the tenant has no Entra ID P1 licence", Advice: "get the licence, or set intervals.events to 0",
	}})
	s.Tokens = &model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Tokens: []model.Token{
		{ID: "9067a1c0-0003-4000-8000-00000000000a", Created: d.in(-368 * day), Expires: d.in(-3*day - time.Hour)},
	}}
	s.Probe = &model.Probe{StatusCode: http.StatusUnauthorized, Duration: 90 * time.Millisecond}
	failures := int64(9)
	s.Job.Status, s.Job.ConsecutiveFailures = model.JobQuarantine, &failures
	s.Job.Quarantine = &model.Quarantine{
		Reason: model.QuarantineReasonException, ErrorCode: model.QuarantineCodeBadCredentials,
		CurrentBegan: d.in(-2 * day), SeriesBegan: d.in(-23*day + time.Hour), NextAttempt: d.in(5 * time.Hour),
	}
	s.Job.LastCycle = &model.Cycle{Began: d.in(-7 * time.Hour), Ended: d.in(-7 * time.Hour), State: model.CycleFailed, ErrorCode: model.QuarantineCodeBadCredentials}
	old := model.Certificate{Thumbprint: "0A1B2C3D4E5F60718293A4B5C6D7E8F901234567", NotBefore: d.in(-1096 * day), NotAfter: d.in(-day - time.Hour)}
	next := model.Certificate{Thumbprint: "FEDCBA98765432100123456789ABCDEF01234567", NotBefore: d.in(-20 * day), NotAfter: d.in(1075 * day)}
	s.Signing = &model.SigningCertificates{Certificates: []model.Certificate{old, next}, ActiveThumbprint: old.Thumbprint, ActiveKnown: true, NotificationAddresses: 1}
	s.Trusted = &[]model.Certificate{old}
	s.AppCredentials = []model.AppCredential{{Kind: model.CredentialSecret, KeyID: "77777777-0000-4000-8000-000000000001", Expires: d.in(5*day + time.Hour)}}
	return s
}

func (d Data) rotating(name string) model.Snapshot {
	s := d.healthy(name)
	s.Tokens.Tokens = []model.Token{
		{ID: "9067a1c0-0004-4000-8000-00000000000a", Created: d.in(-306 * day), Expires: d.in(59*day + time.Hour)},
		{ID: "9067a1c0-0004-4000-8000-00000000000b", Created: d.in(-3 * time.Hour), Expires: d.in(365 * day)},
	}
	s.Usage = nil
	return s
}

func (d Data) blocked(name string) model.Snapshot {
	s := d.healthy(name)
	s.Tokens.Tokens = []model.Token{
		{ID: "9067a1c0-0005-4000-8000-00000000000a", Created: d.in(-320 * day), Expires: d.in(45*day + time.Hour)},
		{ID: "9067a1c0-0005-4000-8000-00000000000b", Created: d.in(-30 * day), Expires: d.in(335 * day)},
	}
	s.Usage = nil
	s.Ambiguous = ""
	return s
}

// waiting has both tokens and waits for approval to delete the old one.
func (d Data) waiting(name string) model.Snapshot {
	s := d.healthy(name)
	s.Tokens.Tokens = []model.Token{
		{ID: "9067a1c0-0006-4000-8000-00000000000a", Created: d.in(-307 * day), Expires: d.in(58*day + time.Hour)},
		{ID: "9067a1c0-0006-4000-8000-00000000000b", Created: d.in(-30 * time.Hour), Expires: d.in(364 * day)},
	}
	s.Usage = nil
	return s
}

func (d Data) unpolled(name string) model.Snapshot {
	s := model.Snapshot{Connection: name, EntraTenant: "contoso"}
	for _, source := range model.Sources() {
		s.Sources = append(s.Sources, model.SourceStatus{Source: source, Interval: 15 * time.Minute})
	}
	return s
}

// dates formats the dates of a token as the rotation does.
func (d Data) dates(created, expires time.Duration) string {
	const layout = "2006-01-02 15:04 UTC"
	return "created " + d.in(created).Format(layout) + ", expires " + d.in(expires).Format(layout)
}

// Rotation returns the status of one kind of rotation of a connection.
func (d Data) Rotation(connection string, kind model.Procedure) model.RotationStatus {
	if kind == model.ProcedureCertificate {
		return d.rollover(connection)
	}
	idle := model.RotationStatus{Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseIdle, Due: d.in(205 * day), LastSuccess: d.in(-100 * day)}
	switch connection {
	case "corp":
		idle.Roles = map[string]model.TokenRole{"9067a1c0-0001-4000-8000-00000000000a": model.RoleInUse}
		idle.Outcomes = map[model.Outcome]uint64{model.OutcomeDone: 3}
		return idle
	case "apac":
		return model.RotationStatus{
			Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseVerify, Proof: model.ProofStored,
			Due: d.in(-3 * time.Hour), Started: d.in(-3 * time.Hour), Waiting: "proof_pending", TokensCreated: 1,
			Message: "Entra has saved the new token. No provisioning cycle that uses it has ended yet. No action is needed.",
			Roles: map[string]model.TokenRole{
				"9067a1c0-0004-4000-8000-00000000000a": model.RolePrevious, "9067a1c0-0004-4000-8000-00000000000b": model.RoleNew,
			},
		}
	case "retail":
		return model.RotationStatus{
			Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseBlocked, Due: d.in(-15 * day), Started: d.in(-15 * day), Blocked: "two_tokens",
			Message: "retail is blocked in phase plan (two_tokens): both slots are taken, and nothing proves which token Entra uses; tokens: 9067a1c0-0005-4000-8000-00000000000a (" +
				d.dates(-320*day, 45*day) + ") and 9067a1c0-0005-4000-8000-00000000000b (" + d.dates(-30*day, 335*day) +
				"); next: rotation start retail --retire-token ID, naming the token that Entra does not use, or rotation adopt retail.",
		}
	case "iberia":
		return model.RotationStatus{
			Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseRetire, Proof: model.ProofUsed,
			Due: d.in(-30 * time.Hour), Started: d.in(-30 * time.Hour), Waiting: "approval", TokensCreated: 1,
			Message: "iberia is waiting in phase retire for approval to delete token 9067a1c0-0006-4000-8000-00000000000a (" + d.dates(-307*day, 58*day) +
				"). The new token is 9067a1c0-0006-4000-8000-00000000000b (" + d.dates(-30*time.Hour, 364*day) +
				"). Users were provisioned after the switch. Next: rotation approve iberia 9067a1c0-0006-4000-8000-00000000000a.",
			Roles: map[string]model.TokenRole{
				"9067a1c0-0006-4000-8000-00000000000a": model.RolePrevious, "9067a1c0-0006-4000-8000-00000000000b": model.RoleNew,
			},
		}
	default:
		return model.RotationStatus{Mode: model.RotationDisabled, Phase: model.PhaseIdle, Roles: map[string]model.TokenRole{
			"9067a1c0-0001-4000-8000-00000000000a": model.RoleInUse, "9067a1c0-0002-4000-8000-00000000000b": model.RoleInUse,
		}}
	}
}

func (d Data) rollover(connection string) model.RotationStatus {
	switch connection {
	case "corp":
		return model.RotationStatus{Mode: model.RotationEnabled, Phase: model.PhaseIdle, Due: d.in(735 * day), LastSuccess: d.in(-290 * day)}
	case "emea":
		return model.RotationStatus{
			Mode: model.RotationEnabled, Phase: model.PhaseVerify, Proof: model.ProofStored, Due: d.in(1035 * day), Started: d.in(-2 * time.Hour), Waiting: model.WaitingProofPending,
		}
	case "labs":
		const signer = "8f14e45fceea167a5a36dedd4bea2543c0ffee00112233445566778899aabbcc"
		return model.RotationStatus{
			Mode: model.RotationEnabled, Phase: model.PhaseBlocked, Due: d.now, Started: d.in(-time.Hour), Blocked: model.BlockedSignerNotTrusted,
			Message: "labs is blocked in phase plan (signer_not_trusted): Entra signs with certificate " + signer + ", which AWS does not trust, so nobody can sign in; next: rotation start labs --certificate " + signer + ".",
		}
	default:
		return model.RotationStatus{Mode: model.RotationDisabled, Phase: model.PhaseIdle}
	}
}

// Records returns the finished and running rotations, newest first.
//
//nolint:gosec // ids of tokens, not their values
func (d Data) Records() []model.RotationRecord {
	return []model.RotationRecord{
		{
			Connection: "emea", ID: "r-0006", Kind: model.ProcedureCertificate, Trigger: "alert", Started: d.in(-2 * time.Hour), Phase: model.PhaseVerify, Proof: model.ProofStored,
			OldCertificate: "1b6453892473a467d07372d45eb05abc2031647a5a36dedd4bea2543aabbccdd", NewCertificate: "3c59dc048e8850243be8079a5c74d079c81e728d9d4c2f636f067f89cc14862c",
			Steps: []model.RotationStep{
				{At: d.in(-2 * time.Hour), Phase: model.PhasePlan, Text: "due: the active certificate expires in 50 days"},
				{At: d.in(-100 * time.Minute), Phase: model.PhaseActivate, Text: "the new certificate is active by five readings"},
			},
		},
		{
			Connection: "apac", ID: "r-0004", Trigger: "alert", Started: d.in(-3 * time.Hour), Phase: model.PhaseVerify, Proof: model.ProofStored,
			OldTokenID: "9067a1c0-0004-4000-8000-00000000000a", NewTokenID: "9067a1c0-0004-4000-8000-00000000000b",
			Steps: []model.RotationStep{
				{At: d.in(-3 * time.Hour), Phase: model.PhasePlan, Text: "The token in use expires in 59 days; one slot is free."},
				{At: d.in(-179 * time.Minute), Phase: model.PhaseCreate, Text: "Created token 9067a1c0-0004-4000-8000-00000000000b and stored its value."},
				{At: d.in(-178 * time.Minute), Phase: model.PhaseTest, Text: "AWS accepts the new token. Test connection with the new token passed twice."},
				{At: d.in(-175 * time.Minute), Phase: model.PhaseSwitch, Text: "Entra saved the new token. Test connection with the saved credentials passed twice."},
			},
		},
		{
			Connection: "iberia", ID: "r-0005", Trigger: "alert", Started: d.in(-30 * time.Hour), Phase: model.PhaseRetire, Proof: model.ProofUsed,
			OldTokenID: "9067a1c0-0006-4000-8000-00000000000a", NewTokenID: "9067a1c0-0006-4000-8000-00000000000b",
			Steps: []model.RotationStep{
				{At: d.in(-30 * time.Hour), Phase: model.PhasePlan, Text: "The token in use expires in 59 days; one slot is free."},
				{At: d.in(-29 * time.Hour), Phase: model.PhaseVerify, Text: "A cycle that started after the switch provisioned two users."},
			},
		},
		{
			Connection: "retail", ID: "r-0003", Trigger: "alert", Started: d.in(-15 * day), Ended: d.in(-15 * day).Add(time.Minute), Phase: model.PhaseBlocked, Outcome: model.OutcomeBlocked, Reason: "two_tokens",
			OldTokenID: "9067a1c0-0005-4000-8000-00000000000a",
			Steps:      []model.RotationStep{{At: d.in(-15 * day), Phase: model.PhasePlan, Text: "AWS lists two tokens, and nothing proves that one of them is unused."}},
		},
		{
			Connection: "corp", ID: "r-0002", Trigger: "alert", Started: d.in(-102 * day), Ended: d.in(-100 * day), Phase: model.PhaseConfirm, Outcome: model.OutcomeDone, Proof: model.ProofExclusive,
			OldTokenID: "9067a1c0-0001-4000-8000-000000000009", NewTokenID: "9067a1c0-0001-4000-8000-00000000000a",
			Steps: []model.RotationStep{{At: d.in(-100 * day), Phase: model.PhaseConfirm, Text: "Entra provisions with the new token alone."}},
		},
	}
}

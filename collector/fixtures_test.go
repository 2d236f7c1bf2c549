package collector_test

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
)

const day = 24 * time.Hour

// statuses are those of a connection's rotations.
type statuses struct{ token, rollover model.RotationStatus }

func (s statuses) of(_ string, kind model.Procedure) model.RotationStatus {
	if kind == model.ProcedureCertificate {
		return s.rollover
	}
	return s.token
}

// healthy is a connection with every source on and no fault.
func healthy(name string, now time.Time) (model.Snapshot, statuses) {
	failures, mails := int64(0), true
	certificate := model.Certificate{Thumbprint: "A1B2", NotBefore: now.Add(-100 * day), NotAfter: now.Add(995 * day)}
	cycle := model.Cycle{
		Began: now.Add(-22 * time.Minute), Ended: now.Add(-20 * time.Minute), State: model.CycleSucceeded,
		Entries: map[model.EntryKind]int64{model.EntriesImported: 12, model.EntriesExported: 3, model.EntriesEscrowed: 0, model.EntriesEntitled: 250},
	}
	snapshot := model.Snapshot{
		Connection: name, EntraTenant: "contoso",
		Binding: model.Binding{
			EntraTenantID: "11111111-1111-1111-1111-111111111111", ServicePrincipalID: "sp-" + name, JobID: "aWSSingleSignon." + name,
			Region: "eu-central-1", IdentityStoreID: "d-" + name, ProvisioningTenantID: "abc" + name,
		},
		Tokens: &model.TokenList{
			Tokens: []model.Token{{ID: "token-" + name, Created: now.Add(-65 * day), Expires: now.Add(300 * day)}},
			Origin: model.OriginConsoleAPI, Slots: model.TokenSlots,
		},
		Probe: &model.Probe{StatusCode: 200, Duration: 120 * time.Millisecond},
		Usage: &model.Usage{LastUsed: map[string]time.Time{"token-" + name: now.Add(-20 * time.Minute)}},
		Job: &model.Job{
			Status: model.JobActive, Schedule: model.ScheduleActive, Interval: 40 * time.Minute,
			LastCycle: &cycle, LastSuccess: &cycle, LastExport: &cycle, ConsecutiveFailures: &failures,
			Synchronized: map[string]int64{"User": 240, "Group": 10}, NotificationEnabled: &mails,
		},
		Events: &model.EventCounts{
			Events: map[model.EventKey]uint64{
				{Action: "create", Status: "success"}: 250, {Action: "update", Status: "success"}: 31, {Action: "update", Status: "skipped"}: 7,
			},
			Last: map[string]time.Time{"success": now.Add(-21 * time.Minute), "skipped": now.Add(-time.Hour)},
		},
		Signing: &model.SigningCertificates{
			Certificates: []model.Certificate{certificate}, ActiveThumbprint: "A1B2", ActiveKnown: true, NotificationAddresses: 1,
		},
		Trusted:        &[]model.Certificate{certificate},
		AppCredentials: []model.AppCredential{{Kind: model.CredentialSecret, KeyID: "key-1", Expires: now.Add(90 * day)}},
	}
	for _, source := range model.Sources() {
		snapshot.Sources = append(snapshot.Sources, model.SourceStatus{
			Source: source, Interval: 5 * time.Minute, LastAttempt: now.Add(-time.Minute), LastSuccess: now.Add(-time.Minute),
		})
	}
	return snapshot, statuses{
		token: model.RotationStatus{
			Mode: model.RotationEnabled, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseIdle,
			Due: now.Add(240 * day), LastSuccess: now.Add(-65 * day), Outcomes: map[model.Outcome]uint64{model.OutcomeDone: 1}, TokensCreated: 1,
			Roles: map[string]model.TokenRole{"token-" + name: model.RoleInUse},
		},
		rollover: model.RotationStatus{
			Mode: model.RotationEnabled, Phase: model.PhaseIdle, Due: now.Add(935 * day), LastSuccess: now.Add(-100 * day),
			Outcomes: map[model.Outcome]uint64{model.OutcomeDone: 1},
		},
	}
}

// broken is a connection with every fault: both tokens expired, the job in quarantine, an
// unexpected signer that AWS does not trust, a rotation that needs an operator, a rollover
// that could not be resumed.
func broken(name string, now time.Time) (model.Snapshot, statuses) {
	snapshot, status := healthy(name, now)
	failures, mails := int64(17), false
	old := model.Certificate{Thumbprint: "0LD", NotBefore: now.Add(-1100 * day), NotAfter: now.Add(-5 * day)}
	next := model.Certificate{Thumbprint: "NEXT", NotBefore: now.Add(-5 * day), NotAfter: now.Add(1090 * day)}
	snapshot.Tokens.Tokens = []model.Token{
		{ID: "older", Created: now.Add(-400 * day), Expires: now.Add(-35 * day)},
		{ID: "newer", Created: now.Add(-370 * day), Expires: now.Add(-5 * day)},
	}
	snapshot.Probe = &model.Probe{StatusCode: 401, Duration: 80 * time.Millisecond}
	snapshot.Usage = &model.Usage{LastUsed: map[string]time.Time{"deleted long ago": now.Add(-400 * day)}}
	snapshot.Job = &model.Job{
		Status: model.JobQuarantine, Schedule: model.ScheduleActive, Interval: 40 * time.Minute,
		Quarantine: &model.Quarantine{
			Reason: model.QuarantineReasonException, ErrorCode: model.QuarantineCodeBadCredentials,
			CurrentBegan: now.Add(-4 * day), SeriesBegan: now.Add(-5 * day),
		},
		LastCycle:           &model.Cycle{Began: now.Add(-8 * time.Hour), Ended: now.Add(-8 * time.Hour), State: model.CycleFailed, Entries: map[model.EntryKind]int64{model.EntriesEscrowed: 4}},
		LastSuccess:         &model.Cycle{Began: now.Add(-5 * day)},
		ConsecutiveFailures: &failures, NotificationEnabled: &mails,
	}
	snapshot.Events = &model.EventCounts{
		Events: map[model.EventKey]uint64{{Action: "create", Status: "failure"}: 40, {Action: "other", Status: "unknown"}: 1},
		Errors: map[model.EventErrorKey]uint64{{Category: "failure", Code: "SystemError"}: 40},
		Last:   map[string]time.Time{"failure": now.Add(-8 * time.Hour)},
	}
	snapshot.Signing = &model.SigningCertificates{
		Certificates: []model.Certificate{old, next}, ActiveThumbprint: "0LD", ActiveKnown: true, NotificationAddresses: 0,
	}
	snapshot.Trusted = &[]model.Certificate{old}
	status.token.Phase, status.token.Blocked, status.token.Waiting, status.token.Proof = model.PhaseBlocked, "two_tokens", "", model.ProofNone
	status.token.Due, status.token.Started = now.Add(-65*day), now.Add(-time.Hour)
	status.token.Outcomes[model.OutcomeBlocked] = 1
	status.token.Roles = nil
	status.rollover.Phase, status.rollover.Blocked, status.rollover.Started = model.PhaseBlocked, "signer_not_trusted", now.Add(-time.Hour)
	status.rollover.Due = now
	return snapshot, status
}

// failing is a connection whose polls have failed for d.
func failing(name string, now time.Time, d time.Duration) (model.Snapshot, statuses) {
	snapshot, status := healthy(name, now.Add(-d))
	for i := range snapshot.Sources {
		source := &snapshot.Sources[i]
		reason := model.Reasons()[i]
		source.LastAttempt, source.Err = now, &model.Error{Reason: reason, Op: "polling"}
		source.Errors = map[model.Reason]uint64{reason: uint64(d / source.Interval)}
	}
	return snapshot, status
}

// malformed is a connection whose services send invalid responses.
func malformed(name string, now time.Time) (model.Snapshot, statuses) {
	snapshot, _ := healthy(name, now)
	snapshot.Binding.JobID = "not\xffutf-8"
	twice := model.Token{ID: "twice", Created: now.Add(48 * time.Hour)} // created in the future, without an expiry
	snapshot.Tokens = &model.TokenList{Tokens: []model.Token{twice, twice, {ID: ""}}, Origin: model.OriginConsoleAPI}
	snapshot.Job = &model.Job{
		Status: "Hibernating", Schedule: "", Interval: -time.Nanosecond,
		Quarantine: &model.Quarantine{}, LastCycle: &model.Cycle{State: "Exploded"}, LastSuccess: &model.Cycle{},
	}
	certificate := model.Certificate{Thumbprint: "SAME", NotAfter: now.Add(day)}
	snapshot.Signing = &model.SigningCertificates{
		Certificates: []model.Certificate{certificate, certificate}, NotificationAddresses: -1,
	}
	snapshot.Trusted = &[]model.Certificate{}
	snapshot.AppCredentials = []model.AppCredential{{Kind: "secret", KeyID: "same", Expires: now}, {Kind: "secret", KeyID: "same", Expires: now}, {KeyID: "none"}}
	return snapshot, statuses{
		token:    model.RotationStatus{Mode: model.RotationDisabled, Issuer: model.IssuerOperator, Due: now},
		rollover: model.RotationStatus{Mode: model.RotationDisabled, Due: now},
	}
}

// fleet is n healthy connections.
func fleet(n int, now time.Time) ([]model.Snapshot, map[string]statuses) {
	snapshots, rotations := make([]model.Snapshot, 0, n), make(map[string]statuses, n)
	for i := range n {
		name := fmt.Sprintf("connection-%04d", i)
		snapshot, status := healthy(name, now)
		snapshots = append(snapshots, snapshot)
		rotations[name] = status
	}
	return snapshots, rotations
}

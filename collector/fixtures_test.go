package collector_test

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/bridge"
)

const day = 24 * time.Hour

// healthy is a connection with everything switched on and nothing wrong.
func healthy(name string, now time.Time) (bridge.Snapshot, bridge.RotationStatus) {
	failures, mails := int64(0), true
	certificate := bridge.Certificate{Thumbprint: "A1B2", NotBefore: now.Add(-100 * day), NotAfter: now.Add(995 * day)}
	cycle := bridge.Cycle{
		Began: now.Add(-22 * time.Minute), Ended: now.Add(-20 * time.Minute), State: bridge.CycleSucceeded,
		Entries: map[bridge.EntryKind]int64{bridge.EntriesImported: 12, bridge.EntriesExported: 3, bridge.EntriesEscrowed: 0, bridge.EntriesEntitled: 250},
	}
	snapshot := bridge.Snapshot{
		Connection: name, EntraTenant: "contoso",
		Binding: bridge.Binding{
			EntraTenantID: "11111111-1111-1111-1111-111111111111", ServicePrincipalID: "sp-" + name, JobID: "aWSSingleSignon." + name,
			Region: "eu-central-1", IdentityStoreID: "d-" + name, ProvisioningTenantID: "abc" + name,
		},
		Tokens: &bridge.TokenList{
			Tokens: []bridge.Token{{ID: "token-" + name, Created: now.Add(-65 * day), Expires: now.Add(300 * day)}},
			Origin: bridge.OriginConsoleAPI, Slots: bridge.TokenSlots,
		},
		Probe: &bridge.Probe{StatusCode: 200, Duration: 120 * time.Millisecond},
		Usage: &bridge.Usage{LastUsed: map[string]time.Time{"token-" + name: now.Add(-20 * time.Minute)}},
		Job: &bridge.Job{
			Status: bridge.JobActive, Schedule: bridge.ScheduleActive, Interval: 40 * time.Minute,
			LastCycle: &cycle, LastSuccess: &cycle, LastExport: &cycle, ConsecutiveFailures: &failures,
			Synchronized: map[string]int64{"User": 240, "Group": 10}, NotificationEnabled: &mails,
		},
		Events: &bridge.EventCounts{
			Events: map[bridge.EventKey]uint64{
				{Action: "create", Status: "success"}: 250, {Action: "update", Status: "success"}: 31, {Action: "update", Status: "skipped"}: 7,
			},
			Last: map[string]time.Time{"success": now.Add(-21 * time.Minute), "skipped": now.Add(-time.Hour)},
		},
		Signing: &bridge.SigningCertificates{
			Certificates: []bridge.Certificate{certificate}, ActiveThumbprint: "A1B2", ActiveKnown: true, NotificationAddresses: 1,
		},
		Trusted:        &[]bridge.Certificate{certificate},
		AppCredentials: []bridge.AppCredential{{Kind: bridge.CredentialSecret, KeyID: "key-1", Expires: now.Add(90 * day)}},
	}
	for _, source := range bridge.Sources() {
		snapshot.Sources = append(snapshot.Sources, bridge.SourceStatus{
			Source: source, Interval: 5 * time.Minute, LastAttempt: now.Add(-time.Minute), LastSuccess: now.Add(-time.Minute),
		})
	}
	return snapshot, bridge.RotationStatus{
		Mode: bridge.RotationEnabled, Issuer: bridge.IssuerConsoleAPI, Phase: bridge.PhaseIdle,
		Due: now.Add(240 * day), LastSuccess: now.Add(-65 * day), Endings: map[bridge.Ending]uint64{bridge.EndingDone: 1}, TokensCreated: 1,
		Roles: map[string]bridge.TokenRole{"token-" + name: bridge.RoleInUse},
	}
}

// broken is a connection on its worst day: both tokens expired, the job in quarantine,
// an unexpected signer that AWS does not trust, a rotation that needs a person.
func broken(name string, now time.Time) (bridge.Snapshot, bridge.RotationStatus) {
	snapshot, status := healthy(name, now)
	failures, mails := int64(17), false
	old := bridge.Certificate{Thumbprint: "0LD", NotBefore: now.Add(-1100 * day), NotAfter: now.Add(-5 * day)}
	next := bridge.Certificate{Thumbprint: "NEXT", NotBefore: now.Add(-5 * day), NotAfter: now.Add(1090 * day)}
	snapshot.Tokens.Tokens = []bridge.Token{
		{ID: "older", Created: now.Add(-400 * day), Expires: now.Add(-35 * day)},
		{ID: "newer", Created: now.Add(-370 * day), Expires: now.Add(-5 * day)},
	}
	snapshot.Probe = &bridge.Probe{StatusCode: 401, Duration: 80 * time.Millisecond}
	snapshot.Usage = &bridge.Usage{LastUsed: map[string]time.Time{"deleted long ago": now.Add(-400 * day)}}
	snapshot.Job = &bridge.Job{
		Status: bridge.JobQuarantine, Schedule: bridge.ScheduleActive, Interval: 40 * time.Minute,
		Quarantine: &bridge.Quarantine{
			Reason: bridge.QuarantineReasonException, ErrorCode: bridge.QuarantineCodeBadCredentials,
			CurrentBegan: now.Add(-4 * day), SeriesBegan: now.Add(-5 * day),
		},
		LastCycle:           &bridge.Cycle{Began: now.Add(-8 * time.Hour), Ended: now.Add(-8 * time.Hour), State: bridge.CycleFailed, Entries: map[bridge.EntryKind]int64{bridge.EntriesEscrowed: 4}},
		LastSuccess:         &bridge.Cycle{Began: now.Add(-5 * day)},
		ConsecutiveFailures: &failures, NotificationEnabled: &mails,
	}
	snapshot.Events = &bridge.EventCounts{
		Events: map[bridge.EventKey]uint64{{Action: "create", Status: "failure"}: 40, {Action: "other", Status: "unknown"}: 1},
		Errors: map[bridge.EventErrorKey]uint64{{Category: "failure", Code: "SystemError"}: 40},
		Last:   map[string]time.Time{"failure": now.Add(-8 * time.Hour)},
	}
	snapshot.Signing = &bridge.SigningCertificates{
		Certificates: []bridge.Certificate{old, next}, ActiveThumbprint: "0LD", ActiveKnown: true, NotificationAddresses: 0,
	}
	snapshot.Trusted = &[]bridge.Certificate{old}
	status.Phase, status.Blocked, status.Waiting, status.Proof = bridge.PhaseBlocked, "two_tokens", "", bridge.ProofNone
	status.Due, status.Started = now.Add(-65*day), now.Add(-time.Hour)
	status.Endings[bridge.EndingBlocked] = 1
	status.Roles = nil
	return snapshot, status
}

// dark is a connection of which nothing can be read any more since d.
func dark(name string, now time.Time, d time.Duration) (bridge.Snapshot, bridge.RotationStatus) {
	snapshot, status := healthy(name, now.Add(-d))
	for i := range snapshot.Sources {
		source := &snapshot.Sources[i]
		reason := bridge.Reasons()[i]
		source.LastAttempt, source.Err = now, &bridge.Error{Reason: reason, Op: "reading"}
		source.Errors = map[bridge.Reason]uint64{reason: uint64(d / source.Interval)}
	}
	return snapshot, status
}

// strange is a connection whose services answer what they should not.
func strange(name string, now time.Time) (bridge.Snapshot, bridge.RotationStatus) {
	snapshot, _ := healthy(name, now)
	snapshot.Binding.JobID = "not\xffutf-8"
	twice := bridge.Token{ID: "twice", Created: now.Add(48 * time.Hour)} // by a clock that is ahead, and without an expiry
	snapshot.Tokens = &bridge.TokenList{Tokens: []bridge.Token{twice, twice, {ID: ""}}, Origin: bridge.OriginConsoleAPI}
	snapshot.Job = &bridge.Job{
		Status: "Hibernating", Schedule: "", Interval: -time.Nanosecond,
		Quarantine: &bridge.Quarantine{}, LastCycle: &bridge.Cycle{State: "Exploded"}, LastSuccess: &bridge.Cycle{},
	}
	certificate := bridge.Certificate{Thumbprint: "SAME", NotAfter: now.Add(day)}
	snapshot.Signing = &bridge.SigningCertificates{
		Certificates: []bridge.Certificate{certificate, certificate}, NotificationAddresses: -1,
	}
	snapshot.Trusted = &[]bridge.Certificate{}
	snapshot.AppCredentials = []bridge.AppCredential{{Kind: "secret", KeyID: "same", Expires: now}, {Kind: "secret", KeyID: "same", Expires: now}, {KeyID: "none"}}
	return snapshot, bridge.RotationStatus{Mode: bridge.RotationDisabled, Issuer: bridge.IssuerOperator, Due: now}
}

// fleet is n healthy connections.
func fleet(n int, now time.Time) ([]bridge.Snapshot, map[string]bridge.RotationStatus) {
	snapshots, statuses := make([]bridge.Snapshot, 0, n), make(map[string]bridge.RotationStatus, n)
	for i := range n {
		name := fmt.Sprintf("connection-%04d", i)
		snapshot, status := healthy(name, now)
		snapshots = append(snapshots, snapshot)
		statuses[name] = status
	}
	return snapshots, statuses
}

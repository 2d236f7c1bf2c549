package web

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// describe turns what is known now into the answer of the API; the status page
// shows the same.
func (s *site) describe(now time.Time) Connections {
	answer := Connections{Connections: []Connection{}}
	for _, snapshot := range s.Snapshots() {
		answer.Connections = append(answer.Connections, describeConnection(snapshot, s.Rotation(snapshot.Connection), now))
	}
	return answer
}

func describeConnection(snapshot model.Snapshot, status model.RotationStatus, now time.Time) Connection {
	connection := Connection{
		Name:         snapshot.Connection,
		EntraTenant:  snapshot.EntraTenant,
		Binding:      snapshot.Binding,
		Ambiguous:    snapshot.Ambiguous,
		Tokens:       describeTokens(snapshot, status, now),
		Events:       describeEvents(snapshot.Events),
		Certificates: describeCertificates(snapshot, now),
		Sources:      describeSources(snapshot, now),
		Rotation:     describeRotation(status),
	}
	// What misleads when it is old is not shown when it is old, as in the metrics.
	if job, _ := snapshot.Status(model.SourceJob); job.Fresh(now) {
		connection.Job = describeJob(snapshot.Job)
	}
	// A probe that had no answer says nothing of the token, nor does the one before it.
	if scim, _ := snapshot.Status(model.SourceSCIM); snapshot.Probe != nil && scim.Up() && scim.Fresh(now) {
		probe := snapshot.Probe
		connection.Probe = &Probe{Accepted: probe.Accepted(), StatusCode: probe.StatusCode, DurationSeconds: probe.Duration.Seconds()}
	}
	for _, credential := range snapshot.AppCredentials {
		connection.AppCredentials = append(connection.AppCredentials,
			AppCredential{EntraTenant: cmp.Or(credential.Tenant, snapshot.EntraTenant), Kind: credential.Kind, KeyID: credential.KeyID, Expires: credential.Expires.UTC()})
	}
	connection.Advice = advise(connection, now)
	return connection
}

func describeTokens(snapshot model.Snapshot, status model.RotationStatus, now time.Time) *Tokens {
	list := snapshot.Tokens
	if list == nil {
		return nil
	}
	tokens := &Tokens{Origin: list.Origin, Slots: list.Slots, Tokens: []Token{}}
	inUse, _ := status.InUse()
	if active, ok := list.Active(inUse, now); ok {
		tokens.ActiveTokenID, tokens.ActiveExpires = active.ID, active.Expires.UTC()
	}
	for _, token := range list.Tokens {
		token.Created, token.Expires = token.Created.UTC(), token.Expires.UTC()
		described := Token{Token: token, Role: cmp.Or(status.Roles[token.ID], model.RoleUnknown)}
		if snapshot.Usage != nil {
			described.LastUsed = snapshot.Usage.LastUsed[token.ID].UTC()
		}
		tokens.Tokens = append(tokens.Tokens, described)
	}
	return tokens
}

func describeJob(job *model.Job) *Job {
	if job == nil {
		return nil
	}
	described := &Job{
		ID:                  job.ID,
		Status:              job.Status,
		Schedule:            job.Schedule,
		IntervalSeconds:     job.Interval.Seconds(),
		LastCycle:           describeCycle(job.LastCycle),
		LastSuccess:         describeCycle(job.LastSuccess),
		LastExport:          describeCycle(job.LastExport),
		ConsecutiveFailures: job.ConsecutiveFailures,
		Synchronized:        job.Synchronized,
		NotificationEnabled: job.NotificationEnabled,
	}
	if q := job.Quarantine; q != nil {
		described.Quarantine = &Quarantine{
			Reason: q.Reason, ErrorCode: q.ErrorCode,
			Began: q.CurrentBegan.UTC(), SeriesBegan: q.SeriesBegan.UTC(), NextAttempt: q.NextAttempt.UTC(),
		}
		if !q.SeriesBegan.IsZero() {
			described.Quarantine.DisablesAt = q.SeriesBegan.Add(model.QuarantineDisableAfter).UTC()
		}
	}
	return described
}

func describeCycle(cycle *model.Cycle) *Cycle {
	if cycle == nil {
		return nil
	}
	return &Cycle{
		Began: cycle.Began.UTC(), Ended: cycle.Ended.UTC(), State: cycle.State, ErrorCode: cycle.ErrorCode,
		Entries: cycle.Entries,
	}
}

func describeEvents(counts *model.EventCounts) *Events {
	if counts == nil {
		return nil
	}
	events := &Events{Counts: []EventCount{}, Errors: []EventError{}, Last: map[string]time.Time{}}
	for key, count := range counts.Events {
		events.Counts = append(events.Counts, EventCount{Action: key.Action, Status: key.Status, Count: count})
	}
	for key, count := range counts.Errors {
		events.Errors = append(events.Errors, EventError{Category: key.Category, Code: key.Code, Count: count})
	}
	slices.SortFunc(events.Counts, func(a, b EventCount) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Status, b.Status))
	})
	slices.SortFunc(events.Errors, func(a, b EventError) int {
		return cmp.Or(cmp.Compare(a.Category, b.Category), cmp.Compare(a.Code, b.Code))
	})
	for status, at := range counts.Last {
		if !at.IsZero() {
			events.Last[status] = at.UTC()
		}
	}
	return events
}

func describeCertificates(snapshot model.Snapshot, now time.Time) *Certificates {
	if snapshot.Signing == nil {
		return nil
	}
	signing := *snapshot.Signing
	described := &Certificates{Entra: []Certificate{}}
	if decisive, ok := signing.Effective(); ok {
		described.ActiveExpires = decisive.NotAfter.UTC()
	}
	if signing.ActiveKnown {
		described.ActiveThumbprint = signing.ActiveThumbprint
	}
	if signer, unexpected := signing.UnexpectedSigner(now); unexpected {
		described.UnexpectedSigner = signer.Thumbprint
	}
	if signing.NotificationAddresses >= 0 {
		described.NotificationAddresses = &signing.NotificationAddresses
	}
	for _, certificate := range signing.Certificates {
		entry := describeCertificate(certificate)
		entry.Active = certificate.Thumbprint == described.ActiveThumbprint
		if trusted, known := snapshot.TrustedByAWS(certificate.Thumbprint); known {
			entry.Trusted = &trusted
		}
		described.Entra = append(described.Entra, entry)
	}
	if snapshot.Trusted != nil {
		for _, certificate := range *snapshot.Trusted {
			described.AWS = append(described.AWS, describeCertificate(certificate))
		}
	}
	return described
}

func describeCertificate(certificate model.Certificate) Certificate {
	return Certificate{
		Thumbprint: certificate.Thumbprint, NotBefore: certificate.NotBefore.UTC(), NotAfter: certificate.NotAfter.UTC(),
	}
}

func describeSources(snapshot model.Snapshot, now time.Time) []Source {
	sources := make([]Source, 0, len(snapshot.Sources))
	for _, status := range snapshot.Sources {
		source := Source{
			Source: status.Source, Off: status.Off, Fresh: status.Fresh(now), IntervalSeconds: status.Interval.Seconds(),
			LastAttempt: status.LastAttempt.UTC(), LastSuccess: status.LastSuccess.UTC(),
			Reason: model.ReasonOf(status.Err), Errors: maps.Clone(status.Errors),
		}
		if !status.LastAttempt.IsZero() {
			up := status.Up()
			source.Up = &up
		}
		if status.Err != nil {
			source.Error = status.Err.Error()
		}
		sources = append(sources, source)
	}
	return sources
}

func describeRotation(status model.RotationStatus) Rotation {
	return Rotation{
		Mode: cmp.Or(status.Mode, model.RotationDisabled), Issuer: status.Issuer, Phase: cmp.Or(status.Phase, model.PhaseIdle),
		Due: status.Due.UTC(), Started: status.Started.UTC(), LastSuccess: status.LastSuccess.UTC(),
		Proof: status.Proof, Blocked: status.Blocked, Waiting: status.Waiting, Message: status.Message,
		Outcomes: maps.Clone(status.Outcomes), TokensCreated: status.TokensCreated,
	}
}

// describeRecords leaves no list null, for the sake of whoever reads the JSON.
func describeRecords(records []model.RotationRecord) []model.RotationRecord {
	described := make([]model.RotationRecord, 0, len(records))
	for _, record := range records {
		if record.Steps == nil {
			record.Steps = []model.RotationStep{}
		}
		described = append(described, record)
	}
	return described
}

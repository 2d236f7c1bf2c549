package web

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// toConnection returns the current state of a connection. The API and the status page show
// the same.
func (s *site) toConnection(snapshot model.Snapshot, now time.Time) Connection {
	status := s.Rotation(snapshot.Connection, model.ProcedureToken)
	rollover := s.Rotation(snapshot.Connection, model.ProcedureCertificate)
	connection := Connection{
		Name:         snapshot.Connection,
		EntraTenant:  snapshot.EntraTenant,
		Binding:      snapshot.Binding,
		Ambiguous:    snapshot.Ambiguous,
		Tokens:       toTokens(snapshot, status, now),
		Events:       toEvents(snapshot.Events),
		Certificates: toCertificates(snapshot, now),
		Sources:      toSources(snapshot, now),
		Rotation:     toRotation(status),
	}
	if !rollover.Off() {
		connection.Rollover = new(toRotation(rollover))
	}
	// A stale job or probe would mislead, so it is left out, as in the metrics.
	if job, _ := snapshot.Status(model.SourceJob); job.Fresh(now) {
		connection.Job = toJob(snapshot.Job)
	}
	// A probe without an answer tells nothing about the token, nor does the one before it.
	if scim, _ := snapshot.Status(model.SourceSCIM); snapshot.Probe != nil && scim.Up() && scim.Fresh(now) {
		probe := snapshot.Probe
		connection.Probe = &Probe{Accepted: probe.Accepted(), StatusCode: probe.StatusCode, DurationSeconds: probe.Duration.Seconds()}
	}
	for _, c := range snapshot.AppCredentials {
		connection.AppCredentials = append(connection.AppCredentials,
			AppCredential{EntraTenant: cmp.Or(c.Tenant, snapshot.EntraTenant), Kind: c.Kind, KeyID: c.KeyID, Expires: c.Expires.UTC()})
	}
	connection.Advice = adviceFor(connection, now)
	return connection
}

func toTokens(snapshot model.Snapshot, status model.RotationStatus, now time.Time) *Tokens {
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
		entry := Token{Token: token, Role: cmp.Or(status.Roles[token.ID], model.RoleUnknown)}
		if snapshot.Usage != nil {
			entry.LastUsed = snapshot.Usage.LastUsed[token.ID].UTC()
		}
		tokens.Tokens = append(tokens.Tokens, entry)
	}
	return tokens
}

func toJob(job *model.Job) *Job {
	if job == nil {
		return nil
	}
	converted := &Job{
		ID:                  job.ID,
		Status:              job.Status,
		Schedule:            job.Schedule,
		IntervalSeconds:     job.Interval.Seconds(),
		LastCycle:           toCycle(job.LastCycle),
		LastSuccess:         toCycle(job.LastSuccess),
		LastExport:          toCycle(job.LastExport),
		ConsecutiveFailures: job.ConsecutiveFailures,
		Synchronized:        job.Synchronized,
		NotificationEnabled: job.NotificationEnabled,
	}
	if q := job.Quarantine; q != nil {
		converted.Quarantine = &Quarantine{
			Reason: q.Reason, ErrorCode: q.ErrorCode,
			Began: q.CurrentBegan.UTC(), SeriesBegan: q.SeriesBegan.UTC(), NextAttempt: q.NextAttempt.UTC(),
		}
		if !q.SeriesBegan.IsZero() {
			converted.Quarantine.DisablesAt = q.SeriesBegan.Add(model.QuarantineDisableAfter).UTC()
		}
	}
	return converted
}

func toCycle(cycle *model.Cycle) *Cycle {
	if cycle == nil {
		return nil
	}
	return &Cycle{
		Began: cycle.Began.UTC(), Ended: cycle.Ended.UTC(), State: cycle.State, ErrorCode: cycle.ErrorCode,
		Entries: cycle.Entries,
	}
}

func toEvents(counts *model.EventCounts) *Events {
	if counts == nil {
		return nil
	}
	events := &Events{Counts: []EventCount{}, Errors: []EventError{}, Last: map[string]time.Time{}}
	for key, n := range counts.Events {
		events.Counts = append(events.Counts, EventCount{Action: key.Action, Status: key.Status, Count: n})
	}
	for key, n := range counts.Errors {
		events.Errors = append(events.Errors, EventError{Category: key.Category, Code: key.Code, Count: n})
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

func toCertificates(snapshot model.Snapshot, now time.Time) *Certificates {
	if snapshot.Signing == nil {
		return nil
	}
	signing := *snapshot.Signing
	converted := &Certificates{Entra: []Certificate{}}
	if effective, ok := signing.Effective(now); ok {
		converted.ActiveExpires = effective.NotAfter.UTC()
	}
	if signing.ActiveKnown {
		converted.ActiveThumbprint = signing.ActiveThumbprint
		_, known := signing.Active()
		converted.ActiveKnown = &known
	}
	if signer, unexpected := signing.UnexpectedSigner(now); unexpected {
		converted.UnexpectedSigner = signer.Thumbprint
	}
	if signing.NotificationAddresses >= 0 {
		converted.NotificationAddresses = &signing.NotificationAddresses
	}
	for _, certificate := range signing.Certificates {
		entry := toCertificate(certificate)
		entry.Active = certificate.Thumbprint == converted.ActiveThumbprint
		if trusted, known := snapshot.TrustedByAWS(certificate.Thumbprint); known {
			entry.Trusted = &trusted
		}
		converted.Entra = append(converted.Entra, entry)
	}
	if snapshot.Trusted != nil {
		for _, certificate := range *snapshot.Trusted {
			converted.AWS = append(converted.AWS, toCertificate(certificate))
		}
	}
	return converted
}

func toCertificate(c model.Certificate) Certificate {
	return Certificate{Thumbprint: c.Thumbprint, NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC()}
}

func toSources(snapshot model.Snapshot, now time.Time) []Source {
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

func toRotation(status model.RotationStatus) Rotation {
	return Rotation{
		Mode: cmp.Or(status.Mode, model.RotationDisabled), Issuer: status.Issuer, Phase: cmp.Or(status.Phase, model.PhaseIdle),
		Due: status.Due.UTC(), Started: status.Started.UTC(), LastSuccess: status.LastSuccess.UTC(),
		Proof: status.Proof, Blocked: status.Blocked, Waiting: status.Waiting, Message: status.Message,
		Outcomes: maps.Clone(status.Outcomes), TokensCreated: status.TokensCreated,
	}
}

// toRecords leaves no list null, so that scripts can iterate over each.
func toRecords(records []model.RotationRecord) []model.RotationRecord {
	converted := make([]model.RotationRecord, 0, len(records))
	for _, record := range records {
		if record.Steps == nil {
			record.Steps = []model.RotationStep{}
		}
		converted = append(converted, record)
	}
	return converted
}

package watch

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/bridge"
)

// Reading is what one look at a source brought.
type Reading struct {
	// Put stores it in the snapshot of a connection; nil: there is nothing to store.
	// It only assigns fields and never changes what they pointed to, because older
	// snapshots are still being read. It is called after a failed look as well.
	Put func(*bridge.Snapshot)
	// Date is the service's clock when it answered; zero: unknown.
	Date time.Time
}

// Source is one thing that is read again and again.
type Source struct {
	Name     bridge.Source
	Interval time.Duration
	Deadline time.Duration // of one look
	// Read looks once; bridge.ErrOff: there is nothing to read at the moment. It is given
	// the latest snapshots of the connections that the source is read for: one, or for a
	// source of a tenant those of the tenant's that want it.
	Read func(ctx context.Context, of []bridge.Snapshot) (Reading, error)

	log *eventLog // of the source events: what a reload takes over
}

// The deadline of a look is its interval within these bounds: long enough to wait
// for a Retry-After of half a minute, short enough to notice a hanging service.
const (
	shortestDeadline = 10 * time.Second
	longestDeadline  = time.Minute
)

func deadline(interval, shortest, longest time.Duration) time.Duration {
	return min(max(interval, shortest), longest)
}

// source builds a Source from a client's method and the place of its result.
func source[T any](name bridge.Source, interval time.Duration, read func(context.Context) (T, error),
	put func(*bridge.Snapshot, T), date func(T) time.Time,
) Source {
	return Source{
		Name: name, Interval: interval, Deadline: deadline(interval, shortestDeadline, longestDeadline),
		Read: func(ctx context.Context, _ []bridge.Snapshot) (Reading, error) {
			result, err := read(ctx)
			if err != nil {
				return Reading{}, err
			}
			return Reading{Put: func(s *bridge.Snapshot) { put(s, result) }, Date: date(result)}, nil
		},
	}
}

func undated[T any](T) time.Time { return time.Time{} }

// Tokens reads the list of SCIM access tokens.
func Tokens(interval time.Duration, read func(context.Context) (bridge.TokenList, error)) Source {
	return source(bridge.SourceTokens, interval, read,
		func(s *bridge.Snapshot, list bridge.TokenList) { s.Tokens = &list },
		func(list bridge.TokenList) time.Time { return list.Date })
}

// SCIM probes the SCIM endpoint. A refusal is an answer; an error means that there was none.
func SCIM(interval time.Duration, read func(context.Context) (bridge.Probe, error)) Source {
	return source(bridge.SourceSCIM, interval, read,
		func(s *bridge.Snapshot, probe bridge.Probe) { s.Probe = &probe },
		func(probe bridge.Probe) time.Time { return probe.Date })
}

// Usage reads when each token was last used.
func Usage(interval time.Duration, read func(context.Context) (bridge.Usage, error)) Source {
	return source(bridge.SourceUsage, interval, read,
		func(s *bridge.Snapshot, usage bridge.Usage) { s.Usage = &usage }, undated)
}

// Job reads the provisioning job.
func Job(interval time.Duration, read func(context.Context) (bridge.Job, error)) Source {
	return source(bridge.SourceJob, interval, read,
		func(s *bridge.Snapshot, job bridge.Job) { s.Job = &job },
		func(job bridge.Job) time.Time { return job.Date })
}

// AppCredentials reads the exporter's own credentials at Entra, for a whole tenant.
func AppCredentials(interval time.Duration, read func(context.Context) ([]bridge.AppCredential, error)) Source {
	return source(bridge.SourceAppCredentials, interval, read,
		func(s *bridge.Snapshot, credentials []bridge.AppCredential) { s.AppCredentials = credentials }, undated)
}

// Certificates reads the SAML certificates that Entra signs with and, unless
// trusted is nil, those that AWS trusts. One side is kept when the other fails.
func Certificates(interval time.Duration,
	signing func(context.Context) (bridge.SigningCertificates, error),
	trusted func(context.Context) ([]bridge.Certificate, error),
) Source {
	limit := deadline(interval, shortestDeadline, longestDeadline)
	entra := source(bridge.SourceCertificates, interval, signing,
		func(s *bridge.Snapshot, signing bridge.SigningCertificates) { s.Signing = &signing }, undated)
	if trusted == nil {
		return entra
	}
	aws := source(bridge.SourceCertificates, interval, trusted,
		func(s *bridge.Snapshot, trusted []bridge.Certificate) { s.Trusted = &trusted }, undated)
	both := entra
	both.Read = func(ctx context.Context, of []bridge.Snapshot) (Reading, error) {
		first, cancel := context.WithTimeout(ctx, limit/2) // a hanging Entra leaves time for AWS
		defer cancel()
		signing, signingErr := entra.Read(first, of)
		trusted, trustedErr := aws.Read(ctx, of)
		return Reading{Put: func(s *bridge.Snapshot) {
			for _, side := range []Reading{signing, trusted} {
				if side.Put != nil {
					side.Put(s)
				}
			}
		}}, errors.Join(signingErr, trustedErr)
	}
	return both
}

// Resolving makes a source find out first what its side of the connection resolves
// to. A failure to do so is the source's failure. The clients remember what they
// found, so that this costs calls only at first and after something has vanished.
func Resolving(resolve func(context.Context) (bridge.Binding, error), source Source) Source {
	read := source.Read
	source.Read = func(ctx context.Context, of []bridge.Snapshot) (Reading, error) {
		binding, err := resolve(ctx)
		if err != nil {
			return Reading{}, err
		}
		return bound(ctx, read, of, binding)
	}
	return source
}

// MayResolve does the same for a source that does not need it: it is read all the same.
func MayResolve(resolve func(context.Context) (bridge.Binding, error), source Source) Source {
	read, limit := source.Read, source.Deadline/2
	source.Read = func(ctx context.Context, of []bridge.Snapshot) (Reading, error) {
		first, cancel := context.WithTimeout(ctx, limit) // a service that hangs leaves time for the reading
		defer cancel()
		binding, err := resolve(first)
		if err != nil {
			binding = bridge.Binding{}
		}
		return bound(ctx, read, of, binding)
	}
	return source
}

// bound reads, and puts the binding beside what was read.
func bound(ctx context.Context, read func(context.Context, []bridge.Snapshot) (Reading, error), of []bridge.Snapshot, binding bridge.Binding) (Reading, error) {
	reading, err := read(ctx, of)
	put := reading.Put
	reading.Put = func(s *bridge.Snapshot) {
		s.Binding = merge(s.Binding, binding)
		if put != nil {
			put(s)
		}
	}
	return reading, err
}

// merge returns known with what found says; each side of the bridge finds its half.
func merge(known, found bridge.Binding) bridge.Binding {
	for _, field := range []struct {
		known *string
		found string
	}{
		{&known.AWSAccount, found.AWSAccount},
		{&known.Region, found.Region},
		{&known.IdentityStoreID, found.IdentityStoreID},
		{&known.ProvisioningTenantID, found.ProvisioningTenantID},
		{&known.SCIMEndpoint, found.SCIMEndpoint},
		{&known.EntraTenantID, found.EntraTenantID},
		{&known.ServicePrincipalID, found.ServicePrincipalID},
		{&known.JobID, found.JobID},
	} {
		if field.found != "" {
			*field.known = field.found
		}
	}
	return known
}

// move copies what a source put into one snapshot to another; from an empty
// snapshot, it forgets.
func move(name bridge.Source, to *bridge.Snapshot, from bridge.Snapshot) {
	switch name {
	case bridge.SourceTokens:
		to.Tokens = from.Tokens
	case bridge.SourceSCIM:
		to.Probe = from.Probe
	case bridge.SourceUsage:
		to.Usage = from.Usage
	case bridge.SourceJob:
		to.Job = from.Job
	case bridge.SourceEvents:
		to.Events = from.Events
	case bridge.SourceCertificates:
		to.Signing, to.Trusted = from.Signing, from.Trusted
	case bridge.SourceAppCredentials:
		to.AppCredentials = from.AppCredentials
	}
}

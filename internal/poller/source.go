package poller

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
)

// Result is what one look at a source brought.
type Result struct {
	// Put stores it in the snapshot of a connection; nil: there is nothing to store.
	// It only assigns fields and never changes what they pointed to, because older
	// snapshots are still being read. It is called after a failed look as well.
	Put func(*model.Snapshot)
	// Date is the service's clock when it answered; zero: unknown.
	Date time.Time
}

// Source is one thing that is read again and again.
type Source struct {
	Name     model.Source
	Interval time.Duration
	Deadline time.Duration // of one look
	// Read looks once; model.ErrOff: there is nothing to read at the moment. It is given
	// the latest snapshots of the connections that the source is read for: one, or for a
	// source of a tenant those of the tenant's that want it.
	Read func(ctx context.Context, of []model.Snapshot) (Result, error)

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
func source[T any](name model.Source, interval time.Duration, read func(context.Context) (T, error),
	put func(*model.Snapshot, T), date func(T) time.Time,
) Source {
	return Source{
		Name: name, Interval: interval, Deadline: deadline(interval, shortestDeadline, longestDeadline),
		Read: func(ctx context.Context, _ []model.Snapshot) (Result, error) {
			result, err := read(ctx)
			if err != nil {
				return Result{}, err
			}
			return Result{Put: func(s *model.Snapshot) { put(s, result) }, Date: date(result)}, nil
		},
	}
}

func undated[T any](T) time.Time { return time.Time{} }

// Tokens reads the list of SCIM access tokens.
func Tokens(interval time.Duration, read func(context.Context) (model.TokenList, error)) Source {
	return source(model.SourceTokens, interval, read,
		func(s *model.Snapshot, list model.TokenList) { s.Tokens = &list },
		func(list model.TokenList) time.Time { return list.Date })
}

// SCIM probes the SCIM endpoint. A refusal is an answer; an error means that there was none.
func SCIM(interval time.Duration, read func(context.Context) (model.Probe, error)) Source {
	return source(model.SourceSCIM, interval, read,
		func(s *model.Snapshot, probe model.Probe) { s.Probe = &probe },
		func(probe model.Probe) time.Time { return probe.Date })
}

// Usage reads when each token was last used.
func Usage(interval time.Duration, read func(context.Context) (model.Usage, error)) Source {
	return source(model.SourceUsage, interval, read,
		func(s *model.Snapshot, usage model.Usage) { s.Usage = &usage }, undated)
}

// Job reads the provisioning job.
func Job(interval time.Duration, read func(context.Context) (model.Job, error)) Source {
	return source(model.SourceJob, interval, read,
		func(s *model.Snapshot, job model.Job) { s.Job = &job },
		func(job model.Job) time.Time { return job.Date })
}

// AppCredentials reads the exporter's own credentials at Entra, for a whole tenant.
func AppCredentials(interval time.Duration, read func(context.Context) ([]model.AppCredential, error)) Source {
	return source(model.SourceAppCredentials, interval, read,
		func(s *model.Snapshot, credentials []model.AppCredential) { s.AppCredentials = credentials }, undated)
}

// Certificates reads the SAML certificates that Entra signs with and, unless
// trusted is nil, those that AWS trusts. One side is kept when the other fails.
func Certificates(interval time.Duration,
	signing func(context.Context) (model.SigningCertificates, error),
	trusted func(context.Context) ([]model.Certificate, error),
) Source {
	limit := deadline(interval, shortestDeadline, longestDeadline)
	entra := source(model.SourceCertificates, interval, signing,
		func(s *model.Snapshot, signing model.SigningCertificates) { s.Signing = &signing }, undated)
	if trusted == nil {
		return entra
	}
	aws := source(model.SourceCertificates, interval, trusted,
		func(s *model.Snapshot, trusted []model.Certificate) { s.Trusted = &trusted }, undated)
	both := entra
	both.Read = func(ctx context.Context, of []model.Snapshot) (Result, error) {
		first, cancel := context.WithTimeout(ctx, limit/2) // a hanging Entra leaves time for AWS
		defer cancel()
		signing, signingErr := entra.Read(first, of)
		trusted, trustedErr := aws.Read(ctx, of)
		return Result{Put: func(s *model.Snapshot) {
			for _, side := range []Result{signing, trusted} {
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
func Resolving(resolve func(context.Context) (model.Binding, error), source Source) Source {
	read := source.Read
	source.Read = func(ctx context.Context, of []model.Snapshot) (Result, error) {
		binding, err := resolve(ctx)
		if err != nil {
			return Result{}, err
		}
		return bound(ctx, read, of, binding)
	}
	return source
}

// MayResolve does the same for a source that does not need it: it is read all the same.
func MayResolve(resolve func(context.Context) (model.Binding, error), source Source) Source {
	read, limit := source.Read, source.Deadline/2
	source.Read = func(ctx context.Context, of []model.Snapshot) (Result, error) {
		first, cancel := context.WithTimeout(ctx, limit) // a service that hangs leaves time for the reading
		defer cancel()
		binding, err := resolve(first)
		if err != nil {
			binding = model.Binding{}
		}
		return bound(ctx, read, of, binding)
	}
	return source
}

// bound reads, and puts the binding beside what was read.
func bound(ctx context.Context, read func(context.Context, []model.Snapshot) (Result, error), of []model.Snapshot, binding model.Binding) (Result, error) {
	reading, err := read(ctx, of)
	put := reading.Put
	reading.Put = func(s *model.Snapshot) {
		s.Binding = merge(s.Binding, binding)
		if put != nil {
			put(s)
		}
	}
	return reading, err
}

// merge returns known with what found says; each side of the bridge finds its half.
func merge(known, found model.Binding) model.Binding {
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
func move(name model.Source, to *model.Snapshot, from model.Snapshot) {
	switch name {
	case model.SourceTokens:
		to.Tokens = from.Tokens
	case model.SourceSCIM:
		to.Probe = from.Probe
	case model.SourceUsage:
		to.Usage = from.Usage
	case model.SourceJob:
		to.Job = from.Job
	case model.SourceEvents:
		to.Events = from.Events
	case model.SourceCertificates:
		to.Signing, to.Trusted = from.Signing, from.Trusted
	case model.SourceAppCredentials:
		to.AppCredentials = from.AppCredentials
	}
}

package poller

import (
	"cmp"
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
)

// Source is one thing that is polled.
type Source struct {
	Name     model.Source
	Interval time.Duration
	Timeout  time.Duration // of one read

	// Read reads the source once; model.ErrSourceOff: there is nothing to read at the
	// moment. It gets the latest snapshots of its targets: of one connection or, for a
	// source of a tenant, of the tenant's connections that do not exclude it.
	Read func(ctx context.Context, targets []model.Snapshot) (Result, error)

	state   sourceState               // nil: it has none
	release func(ctx context.Context) // lets other replicas go on; nil: nothing to release
}

// sourceState is what a source remembers between reads, besides its result.
type sourceState interface {
	// inheritState continues from the state of the same source before a reload.
	inheritState(old sourceState)
}

// sourceKey names a source among all that are polled. It is the same after a reload if the
// source is still read for the same connection or tenant in the same way.
type sourceKey struct {
	connection, tenant string // one of them
	identity           string // of that connection or tenant
	source             model.Source
}

// Result is what one read of a source gave.
type Result struct {
	// Apply stores it in the snapshot of a connection; nil: there is nothing to store.
	// It only assigns fields and never changes what they pointed to, because older
	// snapshots are still being read. It is called after a failed read as well.
	Apply func(*model.Snapshot)
	// Date is the service's clock when it responded; zero: unknown.
	Date time.Time
	// ReadAt is when another replica read what this one shows; zero: it was read now.
	ReadAt time.Time
}

// The timeout of a read is its interval within these bounds: long enough to wait for a
// Retry-After of half a minute, short enough to notice a hanging service.
const (
	minTimeout = 10 * time.Second
	maxTimeout = time.Minute
)

// newSource builds a Source from a client's method and the field for its result.
func newSource[T any](name model.Source, interval time.Duration, read func(context.Context) (T, error),
	apply func(*model.Snapshot, T), date func(T) time.Time,
) Source {
	return Source{
		Name: name, Interval: interval, Timeout: min(max(interval, minTimeout), maxTimeout),
		Read: func(ctx context.Context, _ []model.Snapshot) (Result, error) {
			result, err := read(ctx)
			if err != nil {
				return Result{}, err
			}
			return Result{Apply: func(s *model.Snapshot) { apply(s, result) }, Date: date(result)}, nil
		},
	}
}

func undated[T any](T) time.Time { return time.Time{} }

// Tokens reads the list of SCIM access tokens.
func Tokens(interval time.Duration, read func(context.Context) (model.TokenList, error)) Source {
	return newSource(model.SourceTokens, interval, read,
		func(s *model.Snapshot, list model.TokenList) { s.Tokens = &list },
		func(list model.TokenList) time.Time { return list.Date })
}

// SCIM probes the SCIM endpoint. A refusal is a result; an error means that there was no
// response.
func SCIM(interval time.Duration, read func(context.Context) (model.Probe, error)) Source {
	return newSource(model.SourceSCIM, interval, read,
		func(s *model.Snapshot, probe model.Probe) { s.Probe = &probe },
		func(probe model.Probe) time.Time { return probe.Date })
}

// Job reads the provisioning job.
func Job(interval time.Duration, read func(context.Context) (model.Job, error)) Source {
	return newSource(model.SourceJob, interval, read,
		func(s *model.Snapshot, job model.Job) { s.Job = &job },
		func(job model.Job) time.Time { return job.Date })
}

// AppCredentials reads the exporter's own credentials at Entra, for a whole tenant.
func AppCredentials(interval time.Duration, read func(context.Context) ([]model.AppCredential, error)) Source {
	return newSource(model.SourceAppCredentials, interval, read,
		func(s *model.Snapshot, credentials []model.AppCredential) { s.AppCredentials = credentials }, undated)
}

// Certificates reads the SAML certificates that Entra signs with and, unless trusted is
// nil, those that AWS trusts. A failure of one side does not discard the other side's result.
func Certificates(interval time.Duration,
	signing func(context.Context) (model.SigningCertificates, error),
	trusted func(context.Context) ([]model.Certificate, error),
) Source {
	entra := newSource(model.SourceCertificates, interval, signing,
		func(s *model.Snapshot, signing model.SigningCertificates) { s.Signing = &signing }, undated)
	if trusted == nil {
		return entra
	}
	aws := newSource(model.SourceCertificates, interval, trusted,
		func(s *model.Snapshot, trusted []model.Certificate) { s.Trusted = &trusted }, undated)
	both := entra
	both.Read = func(ctx context.Context, targets []model.Snapshot) (Result, error) {
		half, cancel := context.WithTimeout(ctx, both.Timeout/2) // a hanging Entra leaves time for AWS
		defer cancel()
		signing, signingErr := entra.Read(half, targets)
		trusted, trustedErr := aws.Read(ctx, targets)
		return Result{Apply: func(s *model.Snapshot) {
			for _, side := range []Result{signing, trusted} {
				if side.Apply != nil {
					side.Apply(s)
				}
			}
		}}, errors.Join(signingErr, trustedErr)
	}
	return both
}

// WithBinding makes a source resolve its side of the connection's binding before each
// read. If the binding is required, a failure to resolve it is the source's failure;
// otherwise the source is read all the same. The clients cache what they resolved, so it
// costs calls only at first and after something has vanished.
func WithBinding(source Source, resolve func(context.Context) (model.Binding, error), required bool) Source {
	read, limit := source.Read, source.Timeout
	if !required {
		limit /= 2 // a hanging service leaves time for the read
	}
	source.Read = func(ctx context.Context, targets []model.Snapshot) (Result, error) {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		binding, err := resolve(limited)
		switch {
		case err != nil && required:
			return Result{}, err
		case err != nil:
			binding = model.Binding{}
		}
		result, err := read(ctx, targets)
		apply := result.Apply
		result.Apply = func(s *model.Snapshot) {
			s.Binding = mergeBinding(s.Binding, binding)
			if apply != nil {
				apply(s)
			}
		}
		return result, err
	}
	return source
}

// mergeBinding returns known with the fields that are set in found: AWS and Entra resolve
// one half of a binding each.
func mergeBinding(known, found model.Binding) model.Binding {
	return model.Binding{
		AWSAccount:           cmp.Or(found.AWSAccount, known.AWSAccount),
		Region:               cmp.Or(found.Region, known.Region),
		IdentityStoreID:      cmp.Or(found.IdentityStoreID, known.IdentityStoreID),
		ProvisioningTenantID: cmp.Or(found.ProvisioningTenantID, known.ProvisioningTenantID),
		SCIMEndpoint:         cmp.Or(found.SCIMEndpoint, known.SCIMEndpoint),
		EntraTenantID:        cmp.Or(found.EntraTenantID, known.EntraTenantID),
		ServicePrincipalID:   cmp.Or(found.ServicePrincipalID, known.ServicePrincipalID),
		JobID:                cmp.Or(found.JobID, known.JobID),
	}
}

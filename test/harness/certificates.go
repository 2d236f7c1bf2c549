package harness

import (
	"context"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// Application is a process's client of the Entra application's certificates.
type Application struct{ *Process }

// Instance is a process's client of the certificates that AWS trusts.
type Instance struct{ *Process }

// SigningCertificates reads the application's certificates.
func (a Application) SigningCertificates(ctx context.Context) (model.SigningCertificates, error) {
	h := a.Harness
	signing, err := read(ctx, a.Process, "graph.certificates", func() (model.SigningCertificates, error) {
		sp, err := h.Clouds.ServicePrincipal(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
		if err != nil {
			return model.SigningCertificates{}, classify("reading the signing certificates", err)
		}
		return signingOf(sp), nil
	})
	if err == nil && h.Edits.Signing != nil {
		signing = h.Edits.Signing(signing)
	}
	return signing, err
}

func signingOf(sp clouds.ServicePrincipal) model.SigningCertificates {
	signing := model.SigningCertificates{ActiveKnown: true, ActiveThumbprint: sp.ActiveThumbprint(), SSOMode: sp.SSOMode, NotificationAddresses: len(sp.Notified)}
	for _, certificate := range sp.Certificates {
		if certificate.NoSign {
			signing.Keyless = append(signing.Keyless, describe(certificate.Certificate))
		} else {
			signing.Certificates = append(signing.Certificates, describe(certificate.Certificate))
		}
	}
	signing.Certificates = model.SortCertificates(signing.Certificates)
	return signing
}

func describe(c *clouds.Certificate) model.Certificate {
	return model.Certificate{Thumbprint: c.Thumbprint(), Subject: c.Subject(), NotBefore: c.NotBefore, NotAfter: c.NotAfter, DER: c.DER()}
}

// CreateCertificate makes a certificate in Entra.
func (a Application) CreateCertificate(ctx context.Context, subject string, notAfter time.Time) (issued model.IssuedCertificate, err error) {
	h := a.Harness
	err = mutate(ctx, a.Process, "graph.create_certificate", func() error {
		added, err := h.Clouds.AddTokenSigningCertificate(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, subject, notAfter)
		if err != nil {
			return refusedByPolicy(classify("making a signing certificate", err))
		}
		issued = model.IssuedCertificate{Certificate: describe(added.Certificate), KeyID: added.SignKeyID}
		return nil
	})
	if err != nil {
		return model.IssuedCertificate{}, err
	}
	if h.Edits.Issued != nil {
		issued = h.Edits.Issued(issued)
	}
	return issued, nil
}

func refusedByPolicy(err error) error {
	var failed *model.Error
	if errors.As(err, &failed) && strings.HasSuffix(failed.Code, "AsPerAppPolicy") {
		failed.Err = model.ErrAppPolicy
	}
	return err
}

// ActivateCertificate makes Entra sign with a certificate.
func (a Application) ActivateCertificate(ctx context.Context, thumbprint string) error {
	h := a.Harness
	return mutate(ctx, a.Process, "graph.activate_certificate", func() error {
		return classify("activating a signing certificate", h.Clouds.PreferSigningCertificate(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, thumbprint))
	})
}

// SignIns counts what Entra issued.
func (a Application) SignIns(ctx context.Context, since time.Time) (model.SignIns, error) {
	h := a.Harness
	return read(ctx, a.Process, "graph.sign_ins", func() (model.SignIns, error) {
		list, err := h.Clouds.SignInLog(Exporter, h.Connection.EntraTenantID, h.Connection.AppID, since)
		if err != nil {
			return unavailable(classify("reading the sign-in log", err))
		}
		counts, users := model.SignIns{Since: since, Until: h.Clouds.EntraNow(), Available: true}, map[string]bool{}
		for _, signIn := range list {
			if signIn.Signer == "" {
				counts.Failures++
				continue
			}
			counts.Successes++
			users[signIn.ObjectID] = true
		}
		counts.Users = len(users)
		return counts, nil
	})
}

// unavailable is a log that may not be read, or another error.
func unavailable(err error) (model.SignIns, error) {
	if reason := model.ReasonOf(err); reason == model.ReasonPermission || reason == model.ReasonLicence {
		return model.SignIns{}, nil
	}
	return model.SignIns{}, err
}

// TrustConfiguration reads what AWS trusts.
func (i Instance) TrustConfiguration(ctx context.Context) (model.TrustConfiguration, error) {
	h := i.Harness
	trust, err := read(ctx, i.Process, "aws.trust", func() (model.TrustConfiguration, error) { return h.trustConfiguration() })
	if err == nil {
		h.WithClouds(func(m *clouds.Model) { trust.Date = m.AWSNow() })
	}
	return trust, err
}

// trustConfiguration reads what AWS trusts. The harness is locked.
func (h *Harness) trustConfiguration() (model.TrustConfiguration, error) {
	configurations, err := h.Clouds.IdPConfigurations(Exporter, h.Connection.IdentityStoreID)
	if err != nil {
		return model.TrustConfiguration{}, classify("listing the identity providers", err)
	}
	trust := model.TrustConfiguration{IDPConfigurations: len(configurations), PrimaryRegion: h.Connection.Region, Date: h.Clouds.AWSNow()}
	for _, configuration := range configurations {
		certificates, err := h.Clouds.IdPCertificates(Exporter, configuration.IdPID, h.Connection.IdentityStoreID)
		if err != nil {
			return model.TrustConfiguration{}, classify("listing the trusted certificates", err)
		}
		for _, certificate := range certificates {
			trust.Certificates = append(trust.Certificates, model.TrustedCertificate{Certificate: describe(certificate.Certificate), ID: certificate.CertificateID, Status: "ACTIVE"})
		}
	}
	return trust, nil
}

// onlyProvider is the id of the only identity provider. The harness is locked.
func (h *Harness) onlyProvider() (string, error) {
	configurations, err := h.Clouds.IdPConfigurations(Exporter, h.Connection.IdentityStoreID)
	if err != nil {
		return "", classify("listing the identity providers", err)
	}
	if len(configurations) != 1 {
		return "", &model.Error{Reason: model.ReasonAmbiguous, Op: "finding the identity provider", Unsent: true, Detail: "several"}
	}
	return configurations[0].IdPID, nil
}

// ImportCertificate makes AWS trust a certificate.
func (i Instance) ImportCertificate(ctx context.Context, der []byte, use string) (id string, err error) {
	h := i.Harness
	err = mutate(ctx, i.Process, "aws.import_certificate", func() error {
		provider, err := h.onlyProvider()
		if err != nil {
			return err
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		id, err = h.Clouds.ImportIdPCertificate(Exporter, provider, h.Connection.IdentityStoreID, string(block), use)
		return classify("importing a certificate", err)
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// DeleteCertificate ends AWS's trust in a certificate.
func (i Instance) DeleteCertificate(ctx context.Context, certificateID string) error {
	h := i.Harness
	return mutate(ctx, i.Process, "aws.delete_certificate", func() error {
		provider, err := h.onlyProvider()
		if err != nil {
			return err
		}
		trust, err := h.trustConfiguration()
		if err != nil {
			return err
		}
		if !trust.LeavesValid(certificateID, trust.Date) {
			return &model.Error{Reason: model.ReasonOther, Op: "deleting a certificate", Unsent: true, Detail: "no valid one would stay"}
		}
		return classify("deleting a certificate", h.Clouds.DeleteIdPCertificate(Exporter, provider, h.Connection.IdentityStoreID, certificateID))
	})
}

// SignIns counts what AWS accepted and refused.
func (i Instance) SignIns(ctx context.Context, since time.Time) (model.SignIns, error) {
	h := i.Harness
	return read(ctx, i.Process, "trail.sign_ins", func() (model.SignIns, error) {
		accepted, err := h.Clouds.SignInEvents(Exporter, clouds.EventSignedIn, since, time.Time{})
		if err != nil {
			return unavailable(classify("looking sign-ins up", err))
		}
		refused, err := h.Clouds.SignInEvents(Exporter, clouds.EventSignInRefused, since, time.Time{})
		if err != nil {
			return unavailable(classify("looking sign-ins up", err))
		}
		users := map[string]bool{}
		for _, event := range accepted {
			users[event.UserID] = true
		}
		return model.SignIns{Successes: len(accepted), Users: len(users), Failures: len(refused), Since: since, Until: h.Clouds.AWSNow(), Available: true}, nil
	})
}

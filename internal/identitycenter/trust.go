package identitycenter

import (
	"cmp"
	"context"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// idpTarget belongs to the undocumented API behind the console's page "Identity source".
// Everything that is known of it is in this file. Its shapes are those of the console's
// own client model appsauth-control-2018-10-25, published at
// https://github.com/Frichetten/aws-api-models
const idpTarget = "AppsAuthControlPlaneService"

type idpRequest struct {
	Directory     string `json:"directoryId"`
	Provider      string `json:"idpId,omitempty"`
	NextToken     string `json:"nextToken,omitempty"`
	PEM           string `json:"x509CertificateInPEM,omitempty"`
	Use           string `json:"certificateUse,omitempty"`
	CertificateID string `json:"certificateId,omitempty"`
}

// trustReading is what AWS trusts, with the ids that a change of it needs.
type trustReading struct {
	model.TrustConfiguration
	directory string
	providers []samlProvider // enabled
}

// samlProvider is an identity provider, with the status of each of its certificates.
type samlProvider struct {
	id       string
	statuses map[string]string
}

// TrustConfiguration reads the identity providers and certificates that AWS trusts.
func (i *Instance) TrustConfiguration(ctx context.Context) (model.TrustConfiguration, error) {
	trust, err := i.readTrust(ctx)
	return trust.TrustConfiguration, err
}

// ImportCertificate makes AWS trust a certificate, with exactly one request, without any
// retry. AWS trusts it at once. It returns the certificate's id.
func (i *Instance) ImportCertificate(ctx context.Context, der []byte, use string) (string, error) {
	call := i.trustCall("importing a SAML certificate for ", "sso-directory:ImportExternalIdPCertificate")
	trust, err := i.readProviders(ctx)
	if err != nil {
		return "", cloudhttp.NotRead(err)
	}
	err = trust.requireOne(call)
	if err == nil && (len(der) == 0 || use == "") {
		err = call.unsent(model.ReasonOther, "without a certificate or its use", "set saml.rollover.certificate_use")
	}
	if err != nil {
		return "", cloudhttp.NotSent(err)
	}
	request := idpRequest{
		Directory: trust.directory, Provider: trust.providers[0].id, Use: use,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}
	var response struct {
		ID string `json:"certificateId"`
	}
	_, err = i.idp.write(ctx, "ImportExternalIdPCertificate", request, &response)
	if err == nil && response.ID == "" {
		err = apiChanged("an imported certificate without certificateId") // AWS may trust it
	}
	return response.ID, i.failed(call, err)
}

// DeleteCertificate ends AWS's trust in the certificate with this id, with exactly one
// request, without any retry. The last valid certificate is never deleted.
func (i *Instance) DeleteCertificate(ctx context.Context, certificateID string) error {
	call := i.trustCall("deleting a SAML certificate of ", "sso-directory:DeleteExternalIdPCertificate")
	trust, err := i.readTrust(ctx)
	if err != nil {
		return cloudhttp.NotRead(err)
	}
	err = trust.requireOne(call)
	if err == nil {
		if _, found := trust.Find(certificateID); !found {
			err = call.unsent(model.ReasonNotFound, "AWS lists no certificate "+truncate(certificateID), "")
		} else if now := cmp.Or(trust.Date, i.http.now()); !trust.LeavesValid(certificateID, now) {
			err = call.unsent(model.ReasonOther, "no other valid certificate would stay, and nobody could sign in", "import another one first")
		}
	}
	if err != nil {
		return cloudhttp.NotSent(err)
	}
	request := idpRequest{Directory: trust.directory, Provider: trust.providers[0].id, CertificateID: certificateID}
	_, err = i.idp.write(ctx, "DeleteExternalIdPCertificate", request, &struct{}{})
	return i.failed(call, err)
}

// trustCall describes a change of what AWS trusts.
func (i *Instance) trustCall(op, action string) apiCall {
	call := i.certificateCall(action)
	call.op = op + i.options.Connection
	call.alternative = "AWS does not document this API and may have changed it: change the certificate in the console of IAM Identity Center, " +
		"under Settings, Identity source, and update the exporter"
	return call
}

// unsent is the error of a call that is not made.
func (c apiCall) unsent(reason model.Reason, detail, advice string) error {
	return &model.Error{Reason: reason, Op: c.op, Detail: detail, Advice: advice, Unsent: true}
}

// requireOne returns an error unless it is clear which identity provider is meant.
func (t trustReading) requireOne(call apiCall) error {
	if len(t.providers) == 1 {
		return nil
	}
	reason := model.ReasonAmbiguous
	if len(t.providers) == 0 {
		reason = model.ReasonNotFound
	}
	return call.unsent(reason, fmt.Sprintf("identity store %s has %d enabled SAML identity providers, not one", t.directory, len(t.providers)),
		"check the identity source in the console of IAM Identity Center")
}

// readProviders reads the identity providers of the identity store.
func (i *Instance) readProviders(ctx context.Context) (trust trustReading, err error) {
	if trust.directory, err = i.identityStore(ctx); err != nil {
		return trustReading{}, err
	}
	err = forEachPage("identity providers", func(next string) (string, error) {
		var page providerList
		var err error
		request := idpRequest{Directory: trust.directory, NextToken: next}
		if trust.Date, err = i.idp.read(ctx, "ListExternalIdPConfigurationsForDirectory", request, &page); err != nil {
			return "", err
		}
		found, err := page.saml()
		trust.providers = append(trust.providers, found...)
		return page.NextToken, err
	})
	if err != nil {
		return trustReading{}, i.failed(i.certificateCall("sso-directory:ListExternalIdPConfigurationsForDirectory"), err)
	}
	trust.IDPConfigurations, trust.PrimaryRegion = len(trust.providers), i.knownPrimaryRegion()
	return trust, nil
}

// readTrust reads the identity providers, then the certificates of each one that is
// enabled for SAML.
func (i *Instance) readTrust(ctx context.Context) (trustReading, error) {
	trust, err := i.readProviders(ctx)
	if err != nil {
		return trustReading{}, err
	}
	for _, provider := range trust.providers {
		err := forEachPage("certificates", func(next string) (string, error) {
			var page certificateList
			var err error
			request := idpRequest{Directory: trust.directory, Provider: provider.id, NextToken: next}
			if trust.Date, err = i.idp.read(ctx, "ListExternalIdPCertificates", request, &page); err != nil {
				return "", err
			}
			found, err := page.certificates(func(id string, err error) { i.logOnce("identity provider", id, err) })
			for n := range found {
				found[n].Status = truncate(provider.statuses[found[n].ID])
			}
			trust.Certificates = append(trust.Certificates, found...)
			return page.NextToken, err
		})
		if err != nil {
			return trustReading{}, i.failed(i.certificateCall("sso-directory:ListExternalIdPCertificates"), err)
		}
	}
	return trust, nil
}

// associatedCertificate is a certificate of an identity provider.
type associatedCertificate struct {
	ID     string `json:"certificateId"`
	Status string `json:"status"`
}

// providerList has the certificates of a provider in either of two places.
type providerList struct {
	Associations *[]*struct {
		ID           string                   `json:"idpId"`
		Enabled      bool                     `json:"isEnabled"`
		OIDC         *struct{}                `json:"idpOIDCAssociationValue"`
		Certificates []*associatedCertificate `json:"idpCertificateIds"`
		SAML         *struct {
			Certificates []*associatedCertificate `json:"idpCertificateIds"`
		} `json:"idpSAMLAssociationValue"`
	} `json:"associations"`
	NextToken string `json:"nextToken"` // the model has none; should one come, it is followed
}

// saml returns the providers that are enabled and use SAML.
func (l providerList) saml() ([]samlProvider, error) {
	if l.Associations == nil {
		return nil, apiChanged("no associations")
	}
	var providers []samlProvider
	for _, association := range *l.Associations {
		switch {
		case association == nil, association.OIDC != nil:
			continue
		case association.ID == "":
			return nil, apiChanged("an identity provider without idpId")
		case !association.Enabled:
			continue
		}
		provider, listed := samlProvider{association.ID, map[string]string{}}, association.Certificates
		if association.SAML != nil {
			listed = append(listed, association.SAML.Certificates...)
		}
		for _, certificate := range listed {
			if certificate != nil {
				provider.statuses[certificate.ID] = certificate.Status
			}
		}
		providers = append(providers, provider)
	}
	return providers, nil
}

// listedCertificate omits the serial number, which no integer type can hold. Its dates
// count only where the certificate's own cannot be read.
type listedCertificate struct {
	ID        string          `json:"certificateId"`
	PEM       string          `json:"x509CertificateInPEM"`
	Subject   string          `json:"subjectName"`
	NotBefore json.RawMessage `json:"notBefore"`
	NotAfter  json.RawMessage `json:"notAfter"`
}

type certificateList struct {
	Certificates *[]*listedCertificate `json:"idPCertificates"`
	NextToken    string                `json:"nextToken"`
}

// certificates returns each listed certificate once: whatever it is, it occupies a slot. An
// unreadable one has no dates.
func (l certificateList) certificates(skip func(id string, err error)) ([]model.TrustedCertificate, error) {
	if l.Certificates == nil {
		return nil, apiChanged("no idPCertificates")
	}
	var certificates []model.TrustedCertificate
	for _, listed := range *l.Certificates {
		if listed == nil {
			continue
		}
		if listed.PEM == "" {
			return nil, apiChanged("a certificate without x509CertificateInPEM")
		}
		trusted := model.TrustedCertificate{ID: listed.ID}
		found := parseCertificates([]byte(listed.PEM), func(_ int, err error) {
			if trusted.Certificate = listed.unparsed(); trusted.NotAfter.IsZero() {
				skip(truncate(listed.ID), err)
			}
		})
		if len(found) > 0 {
			trusted.Certificate = found[0]
		}
		certificates = append(certificates, trusted)
	}
	return certificates, nil
}

// unparsed describes a certificate that Go refuses to parse, such as one with a negative
// serial number: AWS trusts it nevertheless.
func (l listedCertificate) unparsed() model.Certificate {
	der := decodeBareBase64([]byte(l.PEM))
	if block, _ := pem.Decode([]byte(l.PEM)); block != nil {
		der = block.Bytes
	}
	var sequence asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 || !sequence.IsCompound || sequence.Tag != asn1.TagSequence {
		return model.Certificate{}
	}
	dates := func(raw json.RawMessage) time.Time {
		at, _ := parseTimestamp(raw) // zero: unknown
		return at
	}
	return model.Certificate{
		Thumbprint: model.Thumbprint(der), Subject: truncate(l.Subject), NotBefore: dates(l.NotBefore), NotAfter: dates(l.NotAfter), DER: der,
	}
}

package entra

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

var (
	// A common name without anything that separates the parts of a distinguished name.
	subjectPattern    = regexp.MustCompile(`^CN=[A-Za-z0-9][A-Za-z0-9 ._:()/-]{0,62}[A-Za-z0-9]$`)
	thumbprintPattern = regexp.MustCompile(`^[0-9A-F]{40}$`)
)

// CreateCertificate makes a signing certificate that is not active, exactly once, without
// any retry: every request makes another one. Entra makes the private key and keeps it.
// https://learn.microsoft.com/graph/api/serviceprincipal-addtokensigningcertificate
func (a *Application) CreateCertificate(ctx context.Context, subject string, notAfter time.Time) (model.IssuedCertificate, error) {
	call := apiCall{
		op: "making a signing certificate", permission: createCertificate, timeout: writeTimeout,
		notFound: "check service_principal_id and saml.service_principal_id",
	}
	switch {
	case a.tenant.cloud != model.CloudPublic:
		return model.IssuedCertificate{}, &model.Error{
			Reason: model.ReasonOther, Op: call.op, Unsent: true, Err: model.ErrNationalCloud, Detail: model.ErrNationalCloud.Error(),
			Advice: "make the certificate in Entra by hand, then name it: rotation start CONNECTION --certificate SHA256",
		}
	case !subjectPattern.MatchString(subject):
		return model.IssuedCertificate{}, &model.Error{
			Reason: model.ReasonOther, Op: call.op, Unsent: true,
			Detail: fmt.Sprintf("%q is not CN= with at most 64 letters, digits, spaces and . _ : ( ) / -", subject), Advice: "check saml.rollover.subject",
		}
	}
	id, err := a.discovery.samlPrincipalID(ctx)
	if err != nil {
		return model.IssuedCertificate{}, cloudhttp.NotRead(err)
	}
	body := map[string]string{"displayName": subject, "endDateTime": odataTime(notAfter)}
	var response struct {
		keyCredential
		Thumbprint string
	}
	x, err := a.tenant.graph.post(ctx, call, "/servicePrincipals/{id}/addTokenSigningCertificate", parameters{"id": id}, body, &response)
	var failed *model.Error
	if errors.As(err, &failed) && strings.Contains(failed.Code, "AppPolicy") {
		failed.Err, failed.Advice = model.ErrAppPolicy, "exempt the application from the tenant's app management policy"
	}
	if err != nil {
		return model.IssuedCertificate{}, err
	}
	certificate, known := response.certificate()
	if !known || len(certificate.DER) == 0 || response.KeyID == "" || certificate.Subject != subject || !strings.EqualFold(response.Thumbprint, certificate.Thumbprint) {
		return model.IssuedCertificate{}, call.invalid(x, "a new certificate whose parts do not belong together")
	}
	return model.IssuedCertificate{Certificate: certificate, KeyID: response.KeyID}, nil
}

// ActivateCertificate makes Entra sign with the certificate of this thumbprint, exactly
// once, without any retry. Graph does not check that there is one.
// https://learn.microsoft.com/graph/api/serviceprincipal-update
func (a *Application) ActivateCertificate(ctx context.Context, thumbprint string) error {
	call := apiCall{
		op: "activating a signing certificate", permission: writeApplication, timeout: writeTimeout,
		notFound: "check service_principal_id and saml.service_principal_id",
	}
	thumbprint = strings.ToUpper(thumbprint)
	if !thumbprintPattern.MatchString(thumbprint) { // null or "" would let Entra choose
		return &model.Error{
			Reason: model.ReasonOther, Op: call.op, Unsent: true, Detail: fmt.Sprintf("%q is not a thumbprint of 40 hex digits", cloudhttp.Truncate(thumbprint, maxMessage)),
		}
	}
	id, err := a.discovery.samlPrincipalID(ctx)
	if err != nil {
		return cloudhttp.NotRead(err)
	}
	a.takeRecent()
	_, err = a.tenant.graph.patch(ctx, call, "/servicePrincipals/{id}", parameters{"id": id}, map[string]string{"preferredTokenSigningKeyThumbprint": thumbprint})
	return err
}

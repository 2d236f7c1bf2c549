package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/entra"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/certificate"
)

// signInCheckTime is how far back doctor looks for sign-ins.
const signInCheckTime = 24 * time.Hour

// The checks that read a side, on which others depend.
const (
	signingCheck = "single sign-on"
	trustCheck   = "identity provider at AWS"
)

// rolloverChecker reads both sides once for the checks of a rollover. A check that depends
// on what another one reads fails by the same cause.
type rolloverChecker struct {
	connection config.Connection
	cloud      model.Cloud
	clients    connectionClients

	signing *model.SigningCertificates
	trust   *model.TrustConfiguration
	access  *entra.WriteAccess
}

// once reads what no earlier check has read.
func once[T any](ctx context.Context, known **T, read func(context.Context) (T, error)) (T, error) {
	if *known != nil {
		return **known, nil
	}
	value, err := read(ctx)
	if err == nil {
		*known = &value
	}
	return value, err
}

func (r *rolloverChecker) readSigning(ctx context.Context) (model.SigningCertificates, error) {
	return once(ctx, &r.signing, r.clients.application.SigningCertificates)
}

func (r *rolloverChecker) readTrust(ctx context.Context) (model.TrustConfiguration, error) {
	return once(ctx, &r.trust, r.clients.instance.TrustConfiguration)
}

func (r *rolloverChecker) readAccess(ctx context.Context) (entra.WriteAccess, error) {
	return once(ctx, &r.access, r.clients.application.WriteAccess)
}

// rolloverChecks try what a rollover of the certificate needs, without a change.
func rolloverChecks(c *config.Config, connection config.Connection, clients connectionClients) []check {
	rollover, tenant := connection.SAML.Rollover, *c.Tenant(connection.SAML.Rollover.Tenant)
	r := &rolloverChecker{connection: connection, cloud: tenant.Cloud, clients: clients}
	entraSide, aws := entraIdentity(tenant), awsIdentity(connection.Name, rollover.RoleARN)
	application := cmp.Or(connection.SAML.ServicePrincipalID, connection.ServicePrincipalID, anyApplication)
	lists := []string{
		"sso:ListInstances", "sso-directory:ListExternalIdPConfigurationsForDirectory", "sso-directory:ListExternalIdPCertificates",
		"sso-directory:ImportExternalIdPCertificate", "sso-directory:DeleteExternalIdPCertificate",
	}
	var binds []string
	if connection.JobID == "" {
		binds = append(binds, "Synchronization.Read.All")
	}
	if connection.Tokens.ReadFrom != model.OriginDeclared {
		lists = append(lists, "sso-directory:ListProvisioningTenants")
	}
	return []check{
		check{name: "application and job", run: r.binding}.by(entraSide, append(binds, "Application.Read.All")...),
		check{name: signingCheck, run: r.singleSignOn}.by(entraSide, "Application.Read.All"),
		check{name: trustCheck, run: r.identityProvider}.by(aws, lists...),
		check{name: "room at AWS", run: r.room}.by(aws),
		{name: "active certificate", run: r.active},
		check{name: "write permission", run: r.writePermission}.by(entraSide, "Application.ReadWrite.OwnedBy"),
		check{name: "owner of the application", run: r.ownsApplication}.by(entraSide, ownerOf+application),
		check{name: "owner of the app registration", run: r.ownsRegistration}.by(entraSide, ownerOfRegistration+application),
		check{name: "sign-ins", run: r.signIns}.by(aws, "cloudtrail:LookupEvents"),
	}
}

func (r *rolloverChecker) binding(ctx context.Context) (string, error) {
	binding, err := r.clients.application.Binding(ctx)
	return binding.ServicePrincipalID + ", " + binding.JobID, err
}

func (r *rolloverChecker) singleSignOn(ctx context.Context) (string, error) {
	signing, err := r.readSigning(ctx)
	if err == nil && signing.SSOMode != model.SingleSignOnSAML {
		err = &model.Error{
			Reason: model.ReasonOther, Op: "checking the single sign-on mode", Detail: fmt.Sprintf("the application's mode is %q, not %q, so no certificate signs", signing.SSOMode, model.SingleSignOnSAML),
			Advice: "set saml.service_principal_id to the application that signs users in to AWS",
		}
	}
	return "SAML, " + count(len(signing.Certificates), "certificate"), err
}

func (r *rolloverChecker) identityProvider(ctx context.Context) (string, error) {
	trust, err := r.readTrust(ctx)
	switch {
	case err != nil:
	case trust.IDPConfigurations != 1:
		err = &model.Error{
			Reason: model.ReasonAmbiguous, Op: "checking the identity provider at AWS", Detail: fmt.Sprintf("AWS has %d enabled SAML identity providers, and a rollover needs exactly one", trust.IDPConfigurations),
			Advice: "check the identity source in the console of IAM Identity Center",
		}
	case trust.PrimaryRegion != "" && trust.PrimaryRegion != r.connection.AWS.Region:
		err = &model.Error{
			Reason: model.ReasonWrongTarget, Op: "checking the region", Detail: "the instance's primary region is " + trust.PrimaryRegion + ", and certificates are changed only there",
			Advice: "set aws.region: " + trust.PrimaryRegion,
		}
	}
	return "in " + cmp.Or(trust.PrimaryRegion, r.connection.AWS.Region) + "; import and delete permissions cannot be tested without using them", err
}

func (r *rolloverChecker) room(ctx context.Context) (string, error) {
	trust, err := r.readTrust(ctx)
	trusted, slots := len(trust.Certificates), r.connection.SAML.Rollover.AWSSlots
	if err == nil && trusted >= slots {
		err = &model.Error{
			Reason: model.ReasonOther, Op: "checking the room at AWS", Detail: fmt.Sprintf("AWS trusts %d certificates, and takes no more than %d (saml.rollover.aws_slots)", trusted, slots),
			Advice: fmt.Sprintf("remove one that Entra does not sign with, or let a rollover delete an expired one: rotation start %s --kind certificate --retire-certificate SHA256", r.connection.Name),
		}
	}
	return fmt.Sprintf("%d of %d places taken (saml.rollover.aws_slots)", trusted, slots), err
}

func (r *rolloverChecker) active(ctx context.Context) (string, error) {
	signing, err := r.readSigning(ctx)
	if err != nil {
		return "", blockedBy(signingCheck)
	}
	trust, err := r.readTrust(ctx)
	if err != nil {
		return "", blockedBy(trustCheck)
	}
	signer, err := certificate.CheckSigner(signing, trust, time.Now())
	var blocked *rotate.BlockedError
	if errors.As(err, &blocked) {
		advice := fmt.Sprintf("docs/rotation-reasons.md#%s says what is safe", blocked.Reason)
		if blocked.Reason == model.BlockedSignerNotTrusted {
			advice = fmt.Sprintf("if you know it: rotation start %s --certificate %s", r.connection.Name, signer.SHA256)
		}
		err = &model.Error{Reason: model.ReasonOther, Op: "checking the active certificate", Detail: blocked.Detail, Advice: advice}
	}
	return fmt.Sprintf("%s, valid until %s, trusted by AWS", signer.Thumbprint, rotate.FormatTime(signer.NotAfter)), err
}

const identityUnknown = "cannot be told for a managed identity of the system"

func (r *rolloverChecker) writePermission(ctx context.Context) (string, error) {
	access, err := r.readAccess(ctx)
	switch {
	case err != nil || !access.Known:
		return identityUnknown, err
	case access.All:
		return "Application.ReadWrite.All, for every application; ownership would be enough", nil
	case access.Owned:
		return "Application.ReadWrite.OwnedBy", nil
	}
	return "", lackingInEntra("the exporter may not write applications", "grant the application permission Application.ReadWrite.OwnedBy with admin consent")
}

func (r *rolloverChecker) ownsApplication(ctx context.Context) (string, error) {
	access, err := r.readAccess(ctx)
	return owned(access, access.OwnsApplication, err, "the exporter is no owner of the AWS enterprise application, so it cannot make a certificate active")
}

func (r *rolloverChecker) ownsRegistration(ctx context.Context) (string, error) {
	if r.cloud != model.CloudPublic {
		return "Graph makes no certificates in cloud " + string(r.cloud) + ": name one with rotation start --certificate", model.ErrSourceOff
	}
	access, err := r.readAccess(ctx)
	return owned(access, access.OwnsRegistration, err, "the exporter is no owner of the app registration of the AWS application, so it cannot make a certificate")
}

func owned(access entra.WriteAccess, owns bool, err error, lacking string) (string, error) {
	switch {
	case err != nil || !access.Known:
		return identityUnknown, err
	case access.All:
		return "not needed", nil
	case owns:
		return "yes", nil
	}
	return "", lackingInEntra(lacking, "make it an owner")
}

func lackingInEntra(detail, advice string) error {
	return &model.Error{Reason: model.ReasonPermission, Op: "checking what the exporter may write", Detail: detail, Advice: advice}
}

// signIns looks for the logs by which a rollover sees that users sign in. One is enough.
func (r *rolloverChecker) signIns(ctx context.Context) (string, error) {
	since := time.Now().Add(-signInCheckTime)
	accepted, err := r.clients.instance.SignIns(ctx, since)
	if err != nil {
		return "", err
	}
	shown := func(log string, counts model.SignIns) string {
		return fmt.Sprintf("%s: %s by %s in the last day, %s", log, count(counts.Successes, "sign-in"), count(counts.Users, "user"), count(counts.Failures, "failure"))
	}
	if accepted.Available && accepted.Successes > 0 {
		return shown("CloudTrail", accepted), nil
	}
	issued, err := r.clients.application.SignIns(ctx, since)
	switch {
	case err != nil:
		return "", err
	case accepted.Available && !issued.Available:
		return shown("CloudTrail", accepted) + "; Entra's sign-in log cannot be read (AuditLog.Read.All, Entra ID P1)", nil
	case accepted.Available:
		return shown("CloudTrail", accepted) + "; " + shown("Entra's sign-in log", issued), nil
	case issued.Available:
		return shown("Entra's sign-in log", issued) + "; CloudTrail, which is stronger, cannot be read (cloudtrail:LookupEvents)", nil
	}
	return "", &model.Error{
		Reason: model.ReasonPermission, Op: "looking for sign-ins", Detail: "neither CloudTrail nor Entra's sign-in log can be read, so an operator must tell that users sign in",
		Advice: "allow cloudtrail:LookupEvents, or grant AuditLog.Read.All",
	}
}

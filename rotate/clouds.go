// Package rotate replaces the SCIM access token of a connection without an outage.
package rotate

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
)

// The interfaces below are all that a rotation needs of the two clouds. Every
// method makes its calls under ctx and returns errors classified as *model.Error;
// model.OutcomeOf tells from the error of an act whether it may have taken effect.

// TokenService is AWS's side: the SCIM access tokens of one provisioning tenant.
type TokenService interface {
	// ListTokens returns the tokens and AWS's clock.
	ListTokens(ctx context.Context) (model.TokenList, error)
	// CreateToken asks for a new token exactly once, without any retry.
	CreateToken(ctx context.Context) (model.IssuedToken, error)
	// DeleteToken deletes the token with this id, exactly once, without any retry.
	DeleteToken(ctx context.Context, tokenID string) error
}

// SCIM is AWS's SCIM endpoint, called with a token's value.
type SCIM interface {
	// ProbeToken makes one cheap authenticated call. A status other than 2xx is an
	// answer, not an error; an error means that there was none.
	ProbeToken(ctx context.Context, value model.Secret) (model.Probe, error)
	// HasUser reports whether a user with this userName is there.
	HasUser(ctx context.Context, value model.Secret, userName string) (bool, error)
}

// SCIMCalls is AWS's log of the calls to the SCIM endpoint.
type SCIMCalls interface {
	// CallsSince lists the logged calls to the bound provisioning tenant, oldest first.
	CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error)
}

// Provisioning is Entra's side: one application's provisioning job and credentials.
type Provisioning interface {
	// Job reads the job and Graph's clock.
	Job(ctx context.Context) (model.Job, error)
	// Credentials reads the provisioning credentials; secret values come masked.
	Credentials(ctx context.Context) ([]model.Credential, error)
	// SaveCredentials replaces the provisioning credentials, exactly once, without any retry.
	SaveCredentials(ctx context.Context, credentials []model.Credential) error
	// TestConnection makes Entra call the SCIM endpoint: with these credentials, or
	// with the saved ones if inline is nil. The error says why a verdict is not good.
	TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error)
	// StartJob starts the job, exactly once, without any retry.
	StartJob(ctx context.Context) error
	// Exports counts the successful entries of the provisioning log for this job since then.
	Exports(ctx context.Context, since time.Time) (int, error)
	// ProvisionUser provisions one user on demand and returns its userName at AWS.
	ProvisionUser(ctx context.Context, userObjectID string) (userName string, err error)
	// Application reads what the plan checks of the application itself.
	Application(ctx context.Context) (model.Application, error)
}

// Clouds are the two sides of one connection.
type Clouds struct {
	Tokens       TokenService
	SCIM         SCIM
	Calls        SCIMCalls // nil: AWS's log is not read
	Provisioning Provisioning
	// Resolve asks both clouds anew what the connection resolves to.
	Resolve func(ctx context.Context) (model.Binding, error)
}

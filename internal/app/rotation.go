package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
)

// rotations joins the rotation's engine with the configuration, the clients, the state
// and the readings.
type rotations struct {
	engine *rotate.Engine
	hook   *rotate.Webhook
	alerts *collector.Webhook
	config atomic.Pointer[config.Config]
	log    *slog.Logger

	// authenticated reports whether something in front of the webhook makes its callers
	// prove who they are; nil: nothing does.
	authenticated func() bool
}

// newRotations builds the engine. snapshot is the last reading of a connection, changed
// is told when a rotation has changed something.
func (o Options) newRotations(directory *state.Directory, pace int,
	snapshot func(string) (model.Snapshot, bool), changed func(string), log *slog.Logger,
) *rotations {
	options := rotate.Options{
		Journal: noState{}, Vault: noState{},
		Holder: holder(), Gone: gone, Pace: pace,
		Snapshot: snapshot, Changed: changed, Logger: log,
	}
	if o.Gone != nil {
		options.Gone = o.Gone
	}
	if directory != nil {
		options.Journal, options.Vault = directory.Journal(), directory.Tokens()
	}
	r := &rotations{engine: rotate.New(options, nil), alerts: collector.NewWebhook(), log: log}
	r.hook = rotate.NewWebhook(r.engine, r.alerts, rotate.WebhookOptions{Bearer: r.bearer, MatchLabels: r.matchLabels, Logger: log})
	return r
}

// configure puts a configuration into force. What runs ends as it began.
func (r *rotations) configure(c *config.Config, clouds *clientSet) {
	connections := make([]rotate.Connection, 0, len(c.Connections))
	for _, connection := range c.Connections {
		connections = append(connections, rotated(connection, clouds.rotators[connection.Name]))
	}
	r.config.Store(c)
	r.engine.Configure(connections)
}

// rotated is a connection as the rotation sees it.
func rotated(connection config.Connection, ends clients) rotate.Connection {
	policy := connection.Rotation
	c := rotate.Connection{
		Name:      connection.Name,
		TenantURL: connection.TenantURL,
		Policy: rotate.Policy{
			Mode:               policy.Mode,
			Issuer:             policy.Issuer,
			Before:             time.Duration(policy.Before),
			MaxAge:             time.Duration(policy.MaxAge),
			Approval:           rotate.Approval(policy.Approval),
			DeleteExpiredToken: policy.DeleteExpiredToken,
			VerifyTimeout:      time.Duration(policy.VerifyTimeout),
			CanaryUserObjectID: policy.CanaryUserObjectID,
			RetireAfter:        time.Duration(policy.RetireAfter),
			Cooldown:           time.Duration(policy.Cooldown),
			MaxAttempts:        policy.MaxAttempts,
		},
		Clouds: rotate.Clouds{
			Tokens:       ends.instance,
			SCIM:         ends.instance,
			Provisioning: ends.application,
			Resolve: func(ctx context.Context) (model.Binding, error) {
				ends.instance.Forget()
				aws, err := ends.instance.Binding(ctx)
				if err != nil {
					return model.Binding{}, err
				}
				binding, err := ends.application.Rediscover(ctx)
				binding.AWSAccount, binding.Region, binding.IdentityStoreID = aws.AWSAccount, aws.Region, aws.IdentityStoreID
				binding.ProvisioningTenantID, binding.SCIMEndpoint = aws.ProvisioningTenantID, aws.SCIMEndpoint
				return binding, err
			},
		},
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		c.Clouds.Calls = ends.instance
	}
	return c
}

// tokenValue is what a probe may be made with: the value of the token in use, if a
// rotation has put it into the vault.
func (r *rotations) tokenValue(ctx context.Context, connection string) (string, model.Secret, error) {
	return r.engine.InUse(ctx, connection)
}

// webhook is the endpoint that Alertmanager calls; it exists while it is configured.
func (r *rotations) webhook() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if c := r.config.Load(); c == nil || c.Webhook == nil {
			http.Error(w, "the configuration has no webhook section", http.StatusNotFound)
			return
		}
		r.hook.ServeHTTP(w, request)
	})
}

// errNoWebhook: a reload took the section away while a request was on its way.
var errNoWebhook = errors.New("the configuration has no webhook section any more")

// bearer is the token that callers of the webhook must show; required is false as long as
// the web config authenticates them.
func (r *rotations) bearer() (value model.Secret, required bool, err error) {
	webhook := r.config.Load().Webhook
	if webhook == nil {
		return model.Secret{}, true, errNoWebhook
	}
	if webhook.BearerTokenFile == "" { // then nobody has one to show
		return model.Secret{}, r.authenticated == nil || !r.authenticated(), nil
	}
	value, err = webhook.BearerTokenFile.Read()
	return value, true, err
}

func (r *rotations) matchLabels() map[string]string {
	if webhook := r.config.Load().Webhook; webhook != nil {
		return webhook.MatchLabels
	}
	return nil
}

// noState is the journal and vault of an exporter without a state directory: nothing
// was ever rotated, and nothing can be.
type noState struct{}

var errNoState error = &noStateError{}

// noStateError is what an act gets where nothing is kept.
type noStateError struct{}

func (*noStateError) Error() string {
	return "a rotation needs a place for its journal and the new token: set state.directory"
}

// Is implements errors.Is: nothing is as unsafe as no place at all.
func (*noStateError) Is(target error) bool { return target == model.ErrUnsafe }

func (noState) Load(context.Context, string) ([]byte, string, error) { return nil, "", nil }
func (noState) Save(context.Context, string, []byte, string) (string, error) {
	return "", errNoState
}
func (noState) Keys(context.Context) ([]string, error)             { return nil, nil }
func (noState) Reserve(context.Context, string) error              { return errNoState }
func (noState) Write(context.Context, string, model.Secret) error  { return errNoState }
func (noState) Read(context.Context, string) (model.Secret, error) { return model.Secret{}, nil }
func (noState) List(context.Context, string) ([]string, error)     { return nil, nil }
func (noState) Destroy(context.Context, string) error              { return nil }

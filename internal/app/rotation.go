package app

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
)

// rotationService connects the rotation engine and its webhook with the configuration,
// the clients, the state directory and the snapshots.
type rotationService struct {
	engine         *rotate.Engine
	webhook        *rotate.Webhook
	webhookMetrics *collector.Webhook
	config         atomic.Pointer[config.Config]

	// authenticated reports whether the web config authenticates the webhook's callers;
	// nil: it does not.
	authenticated func() bool
}

// newRotationService builds the engine. snapshot returns a connection's last snapshot;
// changed is called when a rotation has changed something.
func (o Options) newRotationService(directory *state.Directory, pace int,
	snapshot func(string) (model.Snapshot, bool), changed func(string),
) *rotationService {
	options := rotate.Options{
		Journal: state.None{}, Vault: state.None{},
		Holder: newHolderID(), Gone: holderIsDead, Pace: pace,
		Snapshot: snapshot, Changed: changed, Logger: o.Logger,
	}
	if o.HolderIsDead != nil {
		options.Gone = o.HolderIsDead
	}
	if directory != nil {
		options.Journal, options.Vault = directory.Journal(), directory.Tokens()
	}
	r := &rotationService{engine: rotate.New(options, nil), webhookMetrics: collector.NewWebhook()}
	r.webhook = rotate.NewWebhook(r.engine, r.webhookMetrics,
		rotate.WebhookOptions{Bearer: r.webhookBearer, MatchLabels: r.matchLabels, Logger: o.Logger})
	return r
}

// configure applies a configuration. Rotations that run keep the one they began with.
func (r *rotationService) configure(c *config.Config, clients *clientSet) {
	connections := make([]rotate.Connection, 0, len(c.Connections))
	for _, connection := range c.Connections {
		connections = append(connections, rotationConnection(connection, clients.rotators[connection.Name]))
	}
	r.config.Store(c)
	r.engine.Configure(connections)
}

// rotationConnection translates a connection of the configuration for the engine.
func rotationConnection(connection config.Connection, clients connectionClients) rotate.Connection {
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
			Tokens:       clients.instance,
			SCIM:         clients.instance,
			Provisioning: clients.application,
			Resolve:      clients.resolve,
		},
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		c.Clouds.Calls = clients.instance
	}
	return c
}

// tokenValue returns the value of the token in use, if the token store has it. The SCIM
// probe uses it.
func (r *rotationService) tokenValue(ctx context.Context, connection string) (string, model.Secret, error) {
	return r.engine.InUse(ctx, connection)
}

// webhookHandler serves the webhook as long as the configuration has one.
func (r *rotationService) webhookHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if c := r.config.Load(); c == nil || c.Webhook == nil {
			http.Error(w, "the configuration has no webhook section", http.StatusNotFound)
			return
		}
		r.webhook.ServeHTTP(w, request)
	})
}

// errNoWebhook: a reload removed the section during a request.
var errNoWebhook = errors.New("the configuration has no webhook section any more")

// webhookBearer is the bearer token that the webhook requires. None is required as long
// as the web config authenticates callers.
func (r *rotationService) webhookBearer() (value model.Secret, required bool, err error) {
	webhook := r.config.Load().Webhook
	if webhook == nil {
		return model.Secret{}, true, errNoWebhook
	}
	if webhook.BearerTokenFile == "" { // an empty token that is required matches no caller
		return model.Secret{}, r.authenticated == nil || !r.authenticated(), nil
	}
	value, err = webhook.BearerTokenFile.Read()
	return value, true, err
}

func (r *rotationService) matchLabels() map[string]string {
	if webhook := r.config.Load().Webhook; webhook != nil {
		return webhook.MatchLabels
	}
	return nil
}

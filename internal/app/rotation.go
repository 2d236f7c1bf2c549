package app

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/rotate/webhook"
)

// rotationService connects the rotation engine and its webhook with the configuration,
// the clients, the state and the snapshots.
type rotationService struct {
	engine         *rotate.Engine
	replica        poller.Replica
	tokens         token.Store
	webhook        *webhook.Handler
	webhookMetrics *collector.Webhook
	config         atomic.Pointer[config.Config]

	// authenticated reports whether the web config authenticates the webhook's callers;
	// nil: it does not.
	authenticated func() bool
}

// newRotationService builds the engine. snapshot returns a connection's last snapshot;
// changed is called when a rotation has changed something.
func (o Options) newRotationService(store *stateStore, pace int,
	snapshot func(string) (model.Snapshot, bool), changed func(string),
) *rotationService {
	r := &rotationService{tokens: state.None{}, webhookMetrics: collector.NewWebhook()}
	options := rotate.Options{
		Store: state.None{}, NewDryRunStore: func() journal.Store { return &state.Memory{} },
		Codec:  journal.Codec{model.ProcedureToken: token.Types(), model.ProcedureCertificate: certificate.Types()},
		Holder: newHolderID(), HolderIsDead: holderIsDead, Speedup: pace,
		Snapshot: snapshot, Changed: changed, Logger: o.Logger,
	}
	if o.HolderIsDead != nil {
		options.HolderIsDead = o.HolderIsDead
	}
	r.replica = poller.Replica{ID: options.Holder, IsDead: options.HolderIsDead}
	if store != nil {
		options.Store = redactedRecords{store.journal, o.redactor}
		r.tokens = token.Observed(store.tokens, o.redactor.Add)
		addStored(store.journal, r.tokens)
	}
	r.engine = rotate.New(options, nil)
	r.webhook = webhook.New(r.engine, r.webhookMetrics,
		webhook.Options{Bearer: r.webhookBearer, Wanted: r.wantedLabels, Logger: o.Logger})
	return r
}

// newClientsAndRotation builds what a command works with: clients that know the token
// values in a state (nil: none), and the rotations that it records.
func (o Options) newClientsAndRotation(c *config.Config, observe func(service, code string), store *stateStore,
	pace int, snapshot func(string) (model.Snapshot, bool),
) (*clientSet, *rotationService, error) {
	rotation := o.newRotationService(store, pace, snapshot, nil)
	clients, err := o.newClients(c, observe, rotation.tokenValue)
	if err != nil {
		return nil, nil, err
	}
	rotation.configure(c, clients)
	return clients, rotation, nil
}

// configure applies a configuration. Rotations that run keep the one they began with.
func (r *rotationService) configure(c *config.Config, clients *clientSet) {
	connections := make([]rotate.Connection, 0, len(c.Connections))
	for _, connection := range c.Connections {
		connections = append(connections, r.rotationConnection(connection, clients))
	}
	r.config.Store(c)
	r.engine.Configure(connections)
}

// rotationConnection translates a connection of the configuration for the engine.
func (r *rotationService) rotationConnection(connection config.Connection, set *clientSet) rotate.Connection {
	rotation, clients := connection.Rotation, set.rotators[connection.Name]
	options := token.Options{
		Connection: connection.Name,
		Policy: policy.Token{
			Policy: policy.Policy{
				Section:     "rotation",
				Mode:        rotation.Mode,
				Trigger:     rotation.Trigger,
				Approval:    rotation.Approval,
				Cooldown:    time.Duration(rotation.Cooldown),
				MaxAttempts: rotation.MaxAttempts,
			},
			Issuer:             rotation.Issuer,
			Before:             time.Duration(rotation.Before),
			MaxAge:             time.Duration(rotation.MaxAge),
			DeleteExpiredToken: rotation.DeleteExpiredToken,
			VerifyTimeout:      time.Duration(rotation.VerifyTimeout),
			CanaryUserObjectID: rotation.CanaryUserObjectID,
			RetireAfter:        time.Duration(rotation.RetireAfter),
		},
		Tokens:       clients.instance,
		SCIM:         clients.instance,
		Provisioning: clients.application,
		Resolve:      clients.resolve,
		TenantURL:    connection.TenantURL,
		Store:        r.tokens,
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		options.CloudTrail = clients.instance
	}
	return rotate.Connection{
		Name: connection.Name, Resolve: clients.resolve,
		Procedures: []rotate.Procedure{token.New(options), newRollover(connection, set.rollovers[connection.Name])},
	}
}

// rolloverCooldown and rolloverAttempts are not configurable: no more than one certificate
// is created in a week.
const (
	rolloverCooldown = 24 * time.Hour
	rolloverAttempts = 3
)

// newRollover translates saml.rollover for the engine.
func newRollover(connection config.Connection, clients connectionClients) *certificate.Procedure {
	rollover := connection.SAML.Rollover
	return certificate.New(certificate.Options{
		Connection: connection.Name,
		Policy: policy.Certificate{
			Policy: policy.Policy{
				Section:     "saml.rollover",
				Mode:        rollover.Mode,
				Trigger:     connection.Rotation.Trigger,
				Approval:    rollover.Approval,
				Cooldown:    rolloverCooldown,
				MaxAttempts: rolloverAttempts,
				MaxChanging: 1,
			},
			Before:      time.Duration(rollover.Before),
			RetireAfter: time.Duration(rollover.RetireAfter),
			Validity:    time.Duration(rollover.Validity),
			Slots:       rollover.AWSSlots,
			Use:         rollover.CertificateUse,
			Subject:     rollover.Subject,
		},
		Application: clients.application,
		Instance:    clients.instance,
		Resolve:     clients.resolve,
	})
}

// statuses are those of both kinds of rotation.
func (r *rotationService) statuses(connection string) []model.RotationStatus {
	return []model.RotationStatus{r.statusOf(connection, model.ProcedureToken), r.statusOf(connection, model.ProcedureCertificate)}
}

// statusOf is the status of one kind of rotation.
func (r *rotationService) statusOf(connection string, kind model.Procedure) model.RotationStatus {
	return r.engine.Status(connection, kind)
}

// tokenValue returns the value of the token in use, if the token store has it. The SCIM
// probe uses it.
func (r *rotationService) tokenValue(ctx context.Context, connection string) (string, model.Secret, error) {
	return token.InUse(ctx, r.engine, r.tokens, connection)
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
	section := r.config.Load().Webhook
	if section == nil {
		return model.Secret{}, true, errNoWebhook
	}
	if section.BearerTokenFile == "" { // an empty token that is required matches no caller
		return model.Secret{}, r.authenticated == nil || !r.authenticated(), nil
	}
	value, err = section.BearerTokenFile.Read()
	return value, true, err
}

// wantedLabels are the labels of the alerts that ask for each kind of rotation.
func (r *rotationService) wantedLabels() []webhook.Wanted {
	section := r.config.Load().Webhook
	if section == nil {
		return nil
	}
	return []webhook.Wanted{
		{Kind: model.ProcedureToken, Labels: section.MatchLabels},
		{Kind: model.ProcedureCertificate, Labels: section.RolloverLabels()},
	}
}

// newHolderID names this process in leases: its host and namespace, its process id and
// a nonce.
func newHolderID() string {
	return strings.Join([]string{hostNamespace(), strconv.Itoa(os.Getpid()), rand.Text()[:8]}, " ")
}

// holderIsDead reports whether the holder of a lease has certainly ended, so that the
// lease need not run out first. Only a holder in our own process namespace can be
// judged: there its process id is free, or it is ours.
func holderIsDead(holderID string) bool {
	parts := strings.Fields(holderID)
	if len(parts) != 3 || parts[0] != hostNamespace() {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	process, err := os.FindProcess(pid)
	return pid == os.Getpid() || err == nil && errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// hostNamespace is the host's name, its boot and the process namespace. Two containers may
// share a host's name, and both may be process 1. Two hosts may have one name, and each has
// the same first namespace: only the boot tells them apart.
func hostNamespace() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // only Linux has it
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		namespace = "pid:unknown"
	}
	return strings.ReplaceAll(host, " ", "_") + "/" + strings.TrimSpace(string(boot)) + "/" + namespace
}

package harness

import (
	"context"
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
)

// RolloverCodec encodes and decodes records of rollovers.
var RolloverCodec = journal.Codec{model.ProcedureCertificate: certificate.Types()}

// DefaultRollover is a policy with short waits.
func DefaultRollover() *policy.Certificate {
	return &policy.Certificate{
		Policy: policy.Policy{Section: "saml.rollover", Mode: model.RotationEnabled, Approval: model.ApprovalFirst, Cooldown: 24 * time.Hour, MaxAttempts: 3, MaxChanging: 1},
		Before: 60 * 24 * time.Hour, RetireAfter: 2 * time.Hour, Validity: 3 * 365 * 24 * time.Hour,
		Slots: 2, Use: clouds.CertificateUse, Subject: "entra-aws-exporter",
	}
}

// RolloverScenario is the scenario that the others vary: a rollover that an alert starts
// and an operator approves.
func RolloverScenario() Scenario {
	return Scenario{
		Quirks: clouds.DefaultQuirks(), Spec: clouds.ExpiringCertificate("corp"), Policy: DefaultPolicy(), Rolls: DefaultRollover(),
		Approves: true, Limit: 12 * 24 * time.Hour,
	}
}

// newRolloverEngine builds an engine whose only procedure is the certificate's.
func (h *Harness) newRolloverEngine(options rotate.Options, store token.Store, connections []token.Options) Engine {
	options.Codec = RolloverCodec
	options.NewDryRunStore = func() journal.Store { return &state.Memory{} }
	p := options.Store.(*Process)
	var list []rotate.Connection
	for _, c := range connections {
		list = append(list, h.RolloverConnection(p, c.Connection))
	}
	return Engine{Engine: rotate.New(options, list), store: store, holder: options.Holder, kind: model.ProcedureCertificate}
}

// RolloverConnection is the connection as the configuration has it, with the process as
// every client.
func (h *Harness) RolloverConnection(p *Process, name string) rotate.Connection {
	options := certificate.Options{Connection: name, Policy: *h.Rolls, Application: Application{p}, Instance: Instance{p}, Resolve: p.Resolve}
	if h.ConfigureRollover != nil {
		h.ConfigureRollover(&options)
	}
	return rotate.Connection{Name: options.Connection, Resolve: options.Resolve, Procedures: []rotate.Procedure{certificate.New(options)}}
}

// ReloadRollover lets the running process read the configuration again.
func (h *Harness) ReloadRollover() {
	p := h.Current.Load()
	p.Engine.Engine.Configure([]rotate.Connection{h.RolloverConnection(p, h.Connection.Name)})
}

// Rollover is the journal's part about the open rollover; nil: none is open.
func (e Engine) Rollover(connection string) (*journal.Rotation, *certificate.Progress) {
	entry := e.Lookup(connection)
	if entry == nil || entry.Record() == nil || entry.Record().Rotation == nil {
		return nil, nil
	}
	rotation := entry.Record().Rotation
	progress, _ := rotation.Progress.(*certificate.Progress)
	return rotation, progress
}

// EditRollover changes the stored journal's part about the open rollover, as only somebody
// with access to the store can.
func (h *Harness) EditRollover(edit func(*certificate.Progress)) {
	record, err := RolloverCodec.Decode(h.storedContent(), h.Connection.Key())
	if err != nil || record.Rotation == nil {
		panic(fmt.Sprint("no rollover is open: ", err))
	}
	edit(record.Rotation.Progress.(*certificate.Progress))
	content, err := RolloverCodec.Encode(record)
	if err != nil {
		panic(err)
	}
	h.Store.Replace(h.Connection.Key(), content)
}

// StartRollover starts a rollover as an operator.
func (e Engine) StartRollover(ctx context.Context, connection string, force bool, options certificate.StartOptions) error {
	return e.Engine.Start(ctx, connection, model.ProcedureCertificate, rotate.StartOptions{Force: force, Procedure: options})
}

// approveDeletion approves the deletion of the old certificate.
func (h *Harness) approveDeletion(ctx context.Context, p *Process) {
	if _, progress := p.Engine.Rollover(h.Connection.Name); progress != nil && progress.Plan.Old != nil {
		h.approve(ctx, p, progress.Plan.Old.SHA256, progress.Plan.Old.Thumbprint)
	}
}

// rolloverSnapshot is the connection's snapshot as the poller would have it. The harness is
// locked.
func (h *Harness) rolloverSnapshot() model.Snapshot {
	snapshot := model.Snapshot{Connection: h.Connection.Name, Binding: h.Connection.Binding}
	if sp, err := h.Clouds.ServicePrincipal(clouds.CallerFor("poller"), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID); err == nil {
		signing := signingOf(sp)
		snapshot.Signing = &signing
	}
	if trust, err := h.trustConfiguration(); err == nil {
		var trusted []model.Certificate
		for _, t := range trust.Certificates {
			trusted = append(trusted, t.Certificate)
		}
		snapshot.Trusted = &trusted
	}
	return snapshot
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/common/version"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/redact"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/internal/state/awsstate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// checkStateTimeout bounds the check of the state at the start.
const checkStateTimeout = 10 * time.Second

// stateStore is where state is kept: a directory, or AWS.
type stateStore struct {
	journal records
	events  records
	tokens  token.Store
	check   func(context.Context) error // proves that state can be kept
	warning string                      // what is questionable about the place; "": nothing
	remote  bool                        // it may be unavailable now and available later
}

// records are the records of rotations or of event counters.
type records interface {
	journal.Store
	journal.RestoreDetector
}

// openState opens the configured state; nil: none is configured. It makes no call to AWS.
func (o Options) openState(c *config.Config, observe func(service, code string)) (*stateStore, error) {
	switch {
	case o.state != nil:
		return o.state, nil
	case c.State.AWS != nil:
		return o.openStateInAWS(c, observe)
	case c.State.Directory != "":
		directory, err := state.Open(string(c.State.Directory), state.Options{AgeIdentityFile: string(c.State.AgeIdentityFile)})
		if err != nil {
			return nil, err
		}
		return directoryStore(directory), nil
	default:
		return nil, nil //nolint:nilnil // an exporter may run without state
	}
}

func directoryStore(d *state.Directory) *stateStore {
	return &stateStore{journal: d.Journal(), events: d.Events(), tokens: d.Tokens(), check: d.Check, warning: d.Warning()}
}

func (o Options) openStateInAWS(c *config.Config, observe func(service, code string)) (*stateStore, error) {
	_, toAWS, err := o.newTransports(c.HTTPClient)
	if err != nil {
		return nil, fmt.Errorf("%s: http_client: %w", o.ConfigFile, err)
	}
	aws := c.State.AWS
	store := awsstate.Open(awsstate.Options{
		Table: aws.Table, SecretPrefix: aws.SecretPrefix, KMSKeyID: aws.KMSKeyID, RecoveryWindow: time.Duration(aws.RecoveryWindow),
		DynamoDBEndpoint: aws.Endpoints.DynamoDB, SecretsManagerEndpoint: aws.Endpoints.SecretsManager,
		SignIn: identitycenter.SignInOptions{
			Region: aws.Region, Profile: aws.Profile, RoleARN: aws.RoleARN, ExternalID: aws.ExternalID, STSEndpoint: aws.Endpoints.STS,
			Options: cloudhttp.Options{Version: version.Version, Transport: sentValues{o.redactor, toAWS}, Observe: observe, Logger: o.Logger},
		},
	})
	return &stateStore{journal: store.Journal(), events: store.Events(), tokens: store.Tokens(), check: store.Check, remote: true}, nil
}

// exporterState is the state of a running exporter.
type exporterState struct {
	config   config.State // where it was opened
	events   *stateStore  // for the event counters; nil: they are not persisted
	rotation *stateStore  // for journal and token store; nil: none is safe enough
}

// openExporterState opens and checks the state. Without rotation it is optional: if it
// cannot be written, a warning is logged. Rotations wait for a remote one.
func (o Options) openExporterState(c *config.Config, observe func(service, code string), log *slog.Logger) (exporterState, error) {
	s := exporterState{config: c.State}
	ctx, cancel := context.WithTimeout(context.Background(), checkStateTimeout)
	defer cancel()
	store, err := o.openState(c, observe)
	if store != nil {
		err = store.check(ctx)
	}
	switch {
	case store == nil && err == nil:
		return s, nil
	case err != nil && store != nil && store.remote:
		log.Error("state unavailable", "place", c.State.Place(), "err", err)
	case err != nil && rotationEnabled(c):
		return s, fmt.Errorf("rotation needs a durable state: %w", err)
	case errors.Is(err, model.ErrUnsafe): // a lost lock costs no more than a miscount
		log.Warn("state directory unsafe for rotation", "err", err)
		s.events = store
		return s, nil
	case err != nil:
		log.Warn("event counters not persisted", "err", err)
		return s, nil
	}
	if store.warning != "" {
		log.Warn("state directory warning", "warning", store.warning)
	}
	s.events, s.rotation = store, store
	return s, nil
}

// checkReload refuses a reload that would move the state of a running exporter.
func (s exporterState) checkReload(next *config.Config) error {
	if !reflect.DeepEqual(next.State, s.config) {
		return fmt.Errorf("a reload cannot change state: restart the exporter to move it from %q to %q",
			s.config.Place(), next.State.Place())
	}
	if rotationEnabled(next) && s.rotation == nil {
		return errors.New("rotation needs a durable state: restart the exporter with one")
	}
	return nil
}

func (s exporterState) eventStore(redactor *redact.Redactor) poller.EventStore {
	if s.events == nil {
		return nil
	}
	return redactedRecords{s.events.events, redactor}
}

// rotationEnabled reports whether any connection may be rotated; a dry run writes nothing.
func rotationEnabled(c *config.Config) bool {
	return slices.ContainsFunc(c.Connections, func(c config.Connection) bool {
		return c.Rotation.Mode == model.RotationEnabled || c.SAML.Rollover.Mode == model.RotationEnabled
	})
}

package app

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state"
)

// Metrics polls AWS and Entra once and prints what /metrics would show. It writes no
// state, so the event counters cover only the last minutes. That no source could be read is
// an error.
func Metrics(ctx context.Context, options Options) error {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return err
	}
	requests := collector.NewRequests()
	store, err := options.openState(c, requests.Observe)
	if err != nil {
		options.Logger.Warn("cannot read rotation state", "err", err)
	}
	var p *poller.Poller
	snapshot := func(connection string) (model.Snapshot, bool) { return p.Snapshot(connection) }
	clients, rotation, err := options.newClientsAndRotation(c, requests.Observe, store, 1, snapshot)
	if err != nil {
		return err
	}
	p = poller.New(pollerOptions(c, clients, &state.Memory{}, rotation.replica, options.Logger), nil)
	if err := pollOnce(ctx, p); err != nil {
		return err
	}
	if err := rotation.engine.Refresh(ctx); err != nil {
		options.Logger.Warn("cannot read rotation state", "err", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector.New(collector.Options{Snapshots: p.Snapshots, Rotation: rotation.statusOf, Redactor: options.redactor}), requests)
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("gathering the metrics: %w", err)
	}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(options.Stdout, family); err != nil {
			return fmt.Errorf("printing the metrics: %w", err)
		}
	}
	return noneRead(p.Snapshots())
}

// noneRead returns an error if every source that needs a call failed.
func noneRead(snapshots []model.Snapshot) error {
	var first error
	for _, snapshot := range snapshots {
		for _, source := range snapshot.Sources {
			declared := source.Source == model.SourceTokens && snapshot.Tokens != nil && snapshot.Tokens.Origin == model.OriginDeclared
			switch {
			case source.Up() && !source.Off && !declared:
				return nil
			case first == nil && source.Err != nil:
				first = source.Err
			}
		}
	}
	if first == nil {
		return nil
	}
	return fmt.Errorf("no source could be read; the first error: %w", first)
}

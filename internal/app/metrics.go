package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// metricsTimeout bounds the one round of readings that the metrics command makes.
const metricsTimeout = 90 * time.Second

// Metrics reads both clouds once and prints what /metrics would show. It writes no
// state, so event counters are those of the last minutes.
func Metrics(ctx context.Context, options Options) error {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return err
	}
	directory, err := openState(c.State)
	if err != nil {
		options.Logger.Warn("what rotations have kept is not seen", "err", err)
	}
	var w *poller.Poller
	requests := collector.NewRequests()
	snapshot := func(connection string) (model.Snapshot, bool) { return w.Snapshot(connection) }
	built, engine, err := options.connectWithVault(c, requests.Observe, directory, snapshot)
	if err != nil {
		return err
	}
	w = poller.New(readings(c, built, forgetful{}, options.Logger), nil)
	if err := once(ctx, w); err != nil {
		return err
	}
	if err := engine.Look(ctx); err != nil {
		options.Logger.Warn("what rotations have kept is not seen", "err", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector.New(collector.Inputs{Snapshots: w.Snapshots, Rotation: engine.Status}), requests)
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("gathering the metrics: %w", err)
	}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(options.Stdout, family); err != nil {
			return fmt.Errorf("printing the metrics: %w", err)
		}
	}
	return nil
}

// once lets a watch run until every source was tried.
func once(ctx context.Context, w *poller.Poller) error {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	done := make(chan struct{})
	running, stop := context.WithCancel(ctx)
	go func() {
		defer close(done)
		w.Run(running)
	}()
	defer func() {
		stop()
		<-done
	}()
	for !w.Ready() {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil // what has come is printed; what has not is not there
			}
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// forgetful keeps nothing: what a command counts is over when it ends.
type forgetful struct{}

func (forgetful) Load(context.Context, string) ([]byte, string, error) { return nil, "", nil }
func (forgetful) Save(context.Context, string, []byte, string) (string, error) {
	return "", nil
}

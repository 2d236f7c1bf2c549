package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"

	"entra-aws-exporter/collector"
)

// register says what /metrics shows.
func (e *Exporter) register() error {
	for _, each := range []prometheus.Collector{
		collector.New(collector.Inputs{Snapshots: e.snapshots, Rotation: e.rotation.engine.Status, Reload: e.reloads.last}),
		e.requests,
		e.rotation.alerts,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("entra_aws_exporter"),
	} {
		if err := e.registry.Register(each); err != nil {
			return err
		}
	}
	return nil
}

package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entra-aws-exporter/internal/model"
)

// Inputs is where the collector takes from what it shows. The functions are called
// at every scrape and answer from memory.
type Inputs struct {
	// Snapshots returns the latest snapshot of every connection; names are unique.
	Snapshots func() []model.Snapshot
	// Rotation returns the status of a connection's rotation; nil: nothing rotates.
	Rotation func(connection string) model.RotationStatus
	// Reload returns how the last loading of the config went; nil: not shown.
	Reload func() Reload
}

// Reload is the outcome of the last attempt to load the config.
type Reload struct {
	Successful  bool
	LastSuccess time.Time
}

// subject is one connection as it is known at the moment of a scrape.
type subject struct {
	model.Snapshot
	rotation *model.RotationStatus // nil: nothing rotates
}

// family shows one side of a connection.
type family interface {
	collect(out *output, s *subject)
}

// Collector is a prometheus.Collector over the latest snapshots.
type Collector struct {
	inputs         Inputs
	metrics        []*metric
	families       []family
	appCredentials appCredentials
	config         config
}

// New builds a Collector.
func New(inputs Inputs) *Collector {
	declared := &catalogue{}
	c := &Collector{inputs: inputs}
	c.families = []family{
		newConnection(declared),
		newTokens(declared),
		newProbe(declared),
		newJob(declared),
		newEvents(declared),
		newSAML(declared),
		newSources(declared),
		newRotation(declared),
	}
	c.appCredentials = newAppCredentials(declared)
	c.config = newConfig(declared)
	c.metrics = declared.metrics
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		descriptions <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(samples chan<- prometheus.Metric) {
	out := newOutput(samples)
	snapshots := c.inputs.Snapshots()
	for i := range snapshots {
		s := &subject{Snapshot: snapshots[i]}
		if c.inputs.Rotation != nil {
			status := c.inputs.Rotation(s.Connection)
			s.rotation = &status
		}
		connection := out.of(s.Connection)
		for _, family := range c.families {
			family.collect(connection, s)
		}
	}
	c.appCredentials.collect(out, snapshots)
	if c.inputs.Reload != nil {
		c.config.collect(out, c.inputs.Reload())
	}
}

package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entra-aws-exporter/internal/model"
)

// Options says where the collector gets its data. It calls the functions at every
// scrape, so they must answer from memory.
type Options struct {
	// Snapshots returns the latest snapshot of every connection; names are unique.
	Snapshots func() []model.Snapshot
	// Rotation returns the rotation status of a connection; nil: no rotation metrics.
	Rotation func(connection string) model.RotationStatus
	// Reload returns the result of the last config reload; nil: no reload metrics.
	Reload func() Reload
}

// Reload is the result of the last attempt to load the config.
type Reload struct {
	Err         error // nil: successful
	LastSuccess time.Time
}

// Collector is a prometheus.Collector over the latest snapshots.
type Collector struct {
	options        Options
	descriptions   descriptions
	perConnection  []connectionCollector
	appCredentials appCredentialMetrics
	config         configMetrics
}

// connectionCollector collects one group of metrics of a connection.
type connectionCollector interface {
	collect(w *sampleWriter, t *target)
}

// target is one connection at the time of a scrape.
type target struct {
	model.Snapshot
	rotation *model.RotationStatus // nil: no rotation metrics
}

// New returns a Collector.
func New(options Options) *Collector {
	c := &Collector{options: options}
	d := &c.descriptions
	c.perConnection = []connectionCollector{
		newConnectionMetrics(d),
		newTokenMetrics(d),
		newProbeMetrics(d),
		newJobMetrics(d),
		newEventMetrics(d),
		newSAMLMetrics(d),
		newSourceMetrics(d),
		newRotationMetrics(d),
	}
	c.appCredentials = newAppCredentialMetrics(d)
	c.config = newConfigMetrics(d)
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, described := range c.descriptions {
		descs <- described.Desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(samples chan<- prometheus.Metric) {
	global := newSampleWriter(samples)
	snapshots := c.options.Snapshots()
	for i := range snapshots {
		t := &target{Snapshot: snapshots[i]}
		if c.options.Rotation != nil {
			status := c.options.Rotation(t.Connection)
			t.rotation = &status
		}
		w := global.withConnection(t.Connection)
		for _, metrics := range c.perConnection {
			metrics.collect(w, t)
		}
	}
	c.appCredentials.collect(global, snapshots)
	if c.options.Reload != nil {
		c.config.collect(global, c.options.Reload())
	}
}

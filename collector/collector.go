package collector

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entra-aws-exporter/internal/model"
)

// Options says where the collector gets its data. It calls the functions at every
// scrape, so they must answer from memory.
type Options struct {
	// Snapshots returns the latest snapshot of every connection; names are unique.
	Snapshots func() []model.Snapshot
	// Rotation returns the status of a connection's rotations of a kind; nil: no rotation metrics.
	Rotation func(connection string, kind model.Procedure) model.RotationStatus
	// Reload returns the result of the last config reload; nil: no reload metrics.
	Reload func() Reload
	// Redactor hides live values in labels.
	Redactor Redactor
}

// Redactor hides live values in a text.
type Redactor interface {
	Text(text string) string
	// Known counts the values that were ever known. While it stays, Text hides no more.
	Known() uint64
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
	last           atomic.Pointer[scrape]
}

// scrape is what one scrape prepared for the next one.
type scrape struct {
	known   uint64              // Redactor.Known
	samples map[string][]sample // by connection
}

// connectionCollector collects one group of metrics of a connection.
type connectionCollector interface {
	collect(w *sampleWriter, t *target)
}

// target is one connection at the time of a scrape.
type target struct {
	model.Snapshot
	token    *model.RotationStatus // nil: no rotation metrics
	rollover *model.RotationStatus // of the certificate; nil: not configured
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
	snapshots, last := c.options.Snapshots(), c.last.Load()
	current := &scrape{c.options.Redactor.Known(), make(map[string][]sample, len(snapshots))}
	if last == nil || last.known != current.known {
		last = &scrape{}
	}
	global := newSampleWriter(samples, c.options.Redactor.Text)
	for i := range snapshots {
		t := &target{Snapshot: snapshots[i]}
		if c.options.Rotation != nil {
			token := c.options.Rotation(t.Connection, model.ProcedureToken)
			t.token = &token
			if rollover := c.options.Rotation(t.Connection, model.ProcedureCertificate); !rollover.Off() {
				t.rollover = &rollover
			}
		}
		w := global.withConnection(t.Connection, last.samples[t.Connection])
		for _, metrics := range c.perConnection {
			metrics.collect(w, t)
		}
		current.samples[t.Connection] = w.sent
	}
	c.appCredentials.collect(global, snapshots)
	if c.options.Reload != nil {
		c.config.collect(global, c.options.Reload())
	}
	c.last.Store(current)
}

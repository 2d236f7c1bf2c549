package collector

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const (
	namespace       = "entra_aws_"
	connectionLabel = "connection"
)

// metric is one metric: its description, made once, and where a sample's labels go.
type metric struct {
	desc   *prometheus.Desc
	name   string
	help   string
	kind   prometheus.ValueType
	labels []string // sorted by name, as in the exposition
	places []int    // of the labels as they were declared
}

// catalogue holds all metrics in the order of their declaration.
type catalogue struct{ metrics []*metric }

func (c *catalogue) add(kind prometheus.ValueType, name, help string, labels []string) *metric {
	sorted := slices.Sorted(slices.Values(labels))
	m := &metric{
		desc: prometheus.NewDesc(namespace+name, help, labels, nil),
		name: namespace + name, help: help, kind: kind, labels: sorted,
	}
	for _, label := range labels {
		m.places = append(m.places, slices.Index(sorted, label))
	}
	c.metrics = append(c.metrics, m)
	return m
}

// gauge declares a gauge of a connection.
func (c *catalogue) gauge(name, help string, labels ...string) *metric {
	return c.add(prometheus.GaugeValue, name, help, append([]string{connectionLabel}, labels...))
}

// counter declares a counter of a connection.
func (c *catalogue) counter(name, help string, labels ...string) *metric {
	return c.add(prometheus.CounterValue, name, help, append([]string{connectionLabel}, labels...))
}

// global declares a gauge that belongs to no connection.
func (c *catalogue) global(name, help string, labels ...string) *metric {
	return c.add(prometheus.GaugeValue, name, help, labels)
}

// sample is one const metric. It does what prometheus.NewConstMetric does, with a
// third of its allocations: label names and the connection are shared. That keeps a
// scrape of many connections as cheap as one of counters that are merely kept.
type sample struct {
	*metric
	value float64
	pairs []*dto.LabelPair
	few   [3]*dto.LabelPair // room for the pairs of nearly every metric
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.pairs
	if s.kind == prometheus.CounterValue {
		out.Counter = &dto.Counter{Value: &s.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// pair is a label pair whose value lies beside it.
type pair struct {
	dto.LabelPair
	text string
}

// newPair makes a label pair; what is no UTF-8 would fail the whole scrape.
func newPair(name *string, value string) *dto.LabelPair {
	p := &pair{text: strings.ToValidUTF8(value, "�")}
	p.Name, p.Value = name, &p.text
	return &p.LabelPair
}

// output is where the samples of one scrape go.
type output struct {
	samples    chan<- prometheus.Metric
	now        time.Time
	connection *dto.LabelPair // of every sample; nil: they belong to no connection
	known      map[knownPair]*dto.LabelPair
}

// knownPair is a label pair that many samples of a scrape share, such as the values
// of a state set.
type knownPair struct{ name, value string }

// mostKnown bounds them: the values of the closed sets are all known after the first
// connection, those of its tokens and certificates need no sharing.
const mostKnown = 256

func newOutput(samples chan<- prometheus.Metric) *output {
	return &output{samples: samples, now: time.Now(), known: make(map[knownPair]*dto.LabelPair, mostKnown)}
}

// of returns an output for the samples of one connection.
func (o *output) of(connection string) *output {
	name, one := connectionLabel, *o
	one.connection = newPair(&name, connection)
	return &one
}

func (o *output) pair(name *string, value string) *dto.LabelPair {
	key := knownPair{*name, value}
	pair, found := o.known[key]
	if !found {
		pair = newPair(name, value)
		if len(o.known) < mostKnown {
			o.known[key] = pair
		}
	}
	return pair
}

// value adds a sample. The labels are in the order of the declaration, without connection.
func (o *output) value(m *metric, value float64, labels ...string) {
	s := &sample{metric: m, value: value}
	s.pairs = slices.Grow(s.few[:0], len(m.labels))[:len(m.labels)]
	places := m.places
	if o.connection != nil {
		s.pairs[places[0]] = o.connection
		places = places[1:]
	}
	for i, label := range labels {
		s.pairs[places[i]] = o.pair(&m.labels[places[i]], label)
	}
	o.samples <- s
}

// time adds a time in seconds since 1970; a zero time is no sample.
func (o *output) time(m *metric, t time.Time, labels ...string) {
	if !t.IsZero() {
		o.value(m, float64(t.Unix())+float64(t.Nanosecond())/float64(time.Second), labels...)
	}
}

// flag adds 1 or 0.
func (o *output) flag(m *metric, set bool, labels ...string) {
	value := 0.0
	if set {
		value = 1
	}
	o.value(m, value, labels...)
}

// states adds a sample for every state there is, 1 for the current one; a current
// state that is not among them counts as the fallback.
func states[S ~string](o *output, m *metric, all []S, current, fallback S) {
	if !slices.Contains(all, current) {
		current = fallback
	}
	for _, state := range all {
		o.flag(m, state == current, string(state))
	}
}

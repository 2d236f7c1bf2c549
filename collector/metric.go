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

// typedDesc is the description of a metric with the type of its values.
type typedDesc struct {
	*prometheus.Desc
	valueType prometheus.ValueType
	labels    []string // as declared
	places    []int    // of the declared labels among those sorted by name
}

// descriptions lists all metrics in the order of their declaration.
type descriptions []*typedDesc

// gauge declares a gauge with the label connection.
func (d *descriptions) gauge(name, help string, labels ...string) *typedDesc {
	return d.add(prometheus.GaugeValue, name, help, append([]string{connectionLabel}, labels...))
}

// counter declares a counter with the label connection.
func (d *descriptions) counter(name, help string, labels ...string) *typedDesc {
	return d.add(prometheus.CounterValue, name, help, append([]string{connectionLabel}, labels...))
}

// globalGauge declares a gauge without the label connection.
func (d *descriptions) globalGauge(name, help string, labels ...string) *typedDesc {
	return d.add(prometheus.GaugeValue, name, help, labels)
}

func (d *descriptions) add(valueType prometheus.ValueType, name, help string, labels []string) *typedDesc {
	added := &typedDesc{prometheus.NewDesc(namespace+name, help, labels, nil), valueType, labels, make([]int, len(labels))}
	sorted := slices.Sorted(slices.Values(labels))
	for i, label := range labels {
		added.places[i] = slices.Index(sorted, label)
	}
	*d = append(*d, added)
	return added
}

// sample is one value of a metric. prometheus.NewConstMetric does the same, but makes its
// labels anew at every scrape, which is most of its work.
type sample struct {
	*typedDesc
	value float64
	pairs []*dto.LabelPair // sorted by name
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.typedDesc.Desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.pairs
	if s.valueType == prometheus.CounterValue {
		out.Counter = &dto.Counter{Value: &s.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// has reports whether a sample of a connection is of this metric with these label values.
func (s *sample) has(desc *typedDesc, labelValues []string) bool {
	if s.typedDesc != desc {
		return false
	}
	for i, value := range labelValues {
		if *s.pairs[desc.places[len(desc.places)-len(labelValues)+i]].Value != value {
			return false
		}
	}
	return true
}

// labelPairs makes the label pairs of one scrape. Samples with the same label share it.
type labelPairs struct {
	hide func(string) string
	made map[[2]string]*dto.LabelPair
}

// get returns a label pair, without live values. It replaces invalid UTF-8, which would
// fail the whole scrape.
func (p *labelPairs) get(name *string, value string) *dto.LabelPair {
	key := [2]string{*name, value}
	pair, found := p.made[key]
	if !found {
		shown := strings.ToValidUTF8(p.hide(value), "\uFFFD")
		pair = &dto.LabelPair{Name: name, Value: &shown}
		p.made[key] = pair
	}
	return pair
}

// sampleWriter sends the samples of one connection, or those that belong to none, to a scrape.
type sampleWriter struct {
	samples    chan<- prometheus.Metric
	now        time.Time
	pairs      *labelPairs
	connection *dto.LabelPair // nil: the samples belong to no connection
	sent       []sample
	previous   []sample // what the last scrape sent; most of it comes again, in the same order
}

// newSampleWriter returns a writer of samples without the label connection.
func newSampleWriter(samples chan<- prometheus.Metric, hide func(string) string) *sampleWriter {
	return &sampleWriter{samples: samples, now: time.Now(), pairs: &labelPairs{hide, make(map[[2]string]*dto.LabelPair)}}
}

// withConnection returns a writer of the samples of one connection.
func (w *sampleWriter) withConnection(name string, previous []sample) *sampleWriter {
	label := connectionLabel
	return &sampleWriter{
		samples: w.samples, now: w.now, pairs: w.pairs, connection: w.pairs.get(&label, name),
		sent: make([]sample, 0, len(previous)), previous: previous,
	}
}

// write sends a sample. The label values follow the declared labels, without connection.
func (w *sampleWriter) write(desc *typedDesc, value float64, labelValues ...string) {
	at, s := len(w.sent), sample{typedDesc: desc, value: value}
	if at < len(w.previous) && w.previous[at].has(desc, labelValues) {
		s.pairs = w.previous[at].pairs
	} else {
		s.pairs = w.labels(desc, labelValues)
	}
	w.sent = append(w.sent, s)
	w.samples <- &w.sent[at]
}

func (w *sampleWriter) labels(desc *typedDesc, labelValues []string) []*dto.LabelPair {
	pairs, first := make([]*dto.LabelPair, len(desc.labels)), 0
	if w.connection != nil {
		pairs[desc.places[0]], first = w.connection, 1
	}
	for i, value := range labelValues {
		pairs[desc.places[first+i]] = w.pairs.get(&desc.labels[first+i], value)
	}
	return pairs
}

// writeTime sends a time in seconds since 1970, or nothing if the time is zero.
func (w *sampleWriter) writeTime(desc *typedDesc, t time.Time, labelValues ...string) {
	if !t.IsZero() {
		w.write(desc, float64(t.Unix())+float64(t.Nanosecond())/float64(time.Second), labelValues...)
	}
}

// writeBool sends 1 for true and 0 for false.
func (w *sampleWriter) writeBool(desc *typedDesc, condition bool, labelValues ...string) {
	value := 0.0
	if condition {
		value = 1
	}
	w.write(desc, value, labelValues...)
}

// writeStateSet sends 1 for the current state and 0 for every other one. The fallback
// replaces a current state that is not in the list. The label of the state is the last one.
func writeStateSet[S ~string](w *sampleWriter, desc *typedDesc, states []S, current, fallback S, labelValues ...string) {
	if !slices.Contains(states, current) {
		current = fallback
	}
	for _, state := range states {
		w.writeBool(desc, state == current, append(labelValues, string(state))...)
	}
}

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
	labels    []string
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
	added := &typedDesc{prometheus.NewDesc(namespace+name, help, labels, nil), valueType, labels}
	*d = append(*d, added)
	return added
}

// sample is one value of a metric. prometheus.NewConstMetric does the same, but makes
// every label pair anew: a scrape of 100 connections then takes 40 % longer (make bench).
type sample struct {
	*typedDesc
	value  float64
	labels []*dto.LabelPair // sorted by name
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.typedDesc.Desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.labels
	if s.valueType == prometheus.CounterValue {
		out.Counter = &dto.Counter{Value: &s.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// labelPairs holds the label pairs of one scrape by name and value. Its samples share them.
type labelPairs map[[2]string]*dto.LabelPair

// get returns a label pair. It replaces invalid UTF-8, which would fail the whole scrape.
func (p labelPairs) get(name *string, value string) *dto.LabelPair {
	key := [2]string{*name, value}
	pair, found := p[key]
	if !found {
		valid := strings.ToValidUTF8(value, "\uFFFD")
		pair = &dto.LabelPair{Name: name, Value: &valid}
		p[key] = pair
	}
	return pair
}

// sampleWriter sends the samples of one connection, or those that belong to none, to a scrape.
type sampleWriter struct {
	samples    chan<- prometheus.Metric
	now        time.Time
	pairs      labelPairs
	connection *dto.LabelPair // nil: the samples belong to no connection
}

// newSampleWriter returns a writer of samples without the label connection.
func newSampleWriter(samples chan<- prometheus.Metric) *sampleWriter {
	const expectedPairs = 256 // of a few connections; more pairs let the map grow
	return &sampleWriter{samples: samples, now: time.Now(), pairs: make(labelPairs, expectedPairs)}
}

// withConnection returns a writer of the samples of one connection.
func (w *sampleWriter) withConnection(name string) *sampleWriter {
	label := connectionLabel
	return &sampleWriter{w.samples, w.now, w.pairs, w.pairs.get(&label, name)}
}

// write sends a sample. The label values follow the declared labels, without connection.
func (w *sampleWriter) write(desc *typedDesc, value float64, labelValues ...string) {
	labels, names := make([]*dto.LabelPair, 0, len(desc.labels)), desc.labels
	if w.connection != nil {
		labels, names = append(labels, w.connection), names[1:]
	}
	for i, labelValue := range labelValues {
		labels = append(labels, w.pairs.get(&names[i], labelValue))
	}
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(*a.Name, *b.Name) })
	w.samples <- &sample{desc, value, labels}
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
// replaces a current state that is not in the list.
func writeStateSet[S ~string](w *sampleWriter, desc *typedDesc, states []S, current, fallback S) {
	if !slices.Contains(states, current) {
		current = fallback
	}
	for _, state := range states {
		w.writeBool(desc, state == current, string(state))
	}
}

//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prometheusmodel "github.com/prometheus/common/model"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/test/harness/wire"
)

// TestBench measures the real binary against the simulator, and prints a table of each
// figure beside its floor or peer, measured in the same run.
func TestBench(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("make bench runs it")
	}
	t.Logf("load average %s", loadAverage())
	b := newBenchTable(t)
	defer b.print()
	// The processes of each part end with it.
	t.Run("start", func(t *testing.T) { benchStart(t, b) })
	t.Run("fleet-1", func(t *testing.T) { benchFleet(t, b, 1, 1, 35) })
	t.Run("fleet-1000", func(t *testing.T) { benchFleet(t, b, 1000, 10, 130) })
	t.Run("scrape", func(t *testing.T) { benchScrape(t, b) })
	t.Run("log", func(t *testing.T) { benchLog(t, b) })
}

const sources = 7 // of each connection

// benchedExporter starts the exporter with the default intervals and pace.
func benchedExporter(c *simulatorProcess) *exporter {
	c.t.Helper()
	if err := os.RemoveAll(filepath.Join(c.directory, "state")); err != nil {
		c.t.Fatal(err)
	}
	address := freeAddress(c.t)
	e := &exporter{url: "http://" + address}
	e.process = start(c.t, filepath.Join(c.directory, "exporter-"+strings.ReplaceAll(address, ":", "-")+".log"), c.environment,
		exporterBinary(c.t), "--config.file="+filepath.Join(c.directory, "config.yaml"), "--web.listen-address="+address)
	return e
}

// benchStart measures how long a start with one connection takes: with answers at once,
// with answers that come later by as much as those of the real clouds, and with the state
// in AWS.
func benchStart(t *testing.T, b *benchTable) {
	c := startSimulatorAt(t, "fleet-1", 1, "intervals: {}")
	b.absolute("ready, 1 connection", "s", c.readyAfter(), 1, "")
	const delay = 100 * time.Millisecond
	// Sign-in, which has two, the application, its jobs, its settings, and then the log.
	const chain = 6
	c.fault(simulator.Fault{Operation: "*", Effect: simulator.EffectDelay, Delay: simulator.Duration(delay)})
	b.absolute("ready, 1 connection, each answer 100 ms later", "s", c.readyAfter(), 1+chain*delay.Seconds(),
		fmt.Sprintf("%.1f s: %d answers, each after the one before", chain*delay.Seconds(), chain))
	t.Run("state in AWS", func(t *testing.T) {
		c := startSimulatorAt(t, "fleet-1", 1, "intervals: {}")
		c.stateInAWS()
		b.absolute("ready, 1 connection, state in AWS", "s", c.readyAfter(), 1, "")
	})
}

// readyAfter is the median of the seconds that ten exporters need until they are ready.
func (c *simulatorProcess) readyAfter() float64 {
	c.t.Helper()
	var took []float64
	for range 10 {
		began := time.Now()
		e := benchedExporter(c)
		for ok := answersOK(e.url + "/-/ready"); !ok(); time.Sleep(2 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				c.t.Fatal(e.output())
			}
		}
		took = append(took, time.Since(began).Seconds())
		e.stop()
		time.Sleep(time.Second) // CloudTrail answers two requests a second of an account
	}
	return median(took)
}

// ofConnections ends the name of a figure.
func ofConnections(n int) string {
	if n == 1 {
		return ", 1 connection"
	}
	return fmt.Sprintf(", %d connections", n)
}

// benchFleet measures one start: its requests, memory, log and pages.
func benchFleet(t *testing.T, b *benchTable, connections, tenants int, mebibytes float64) {
	c := startSimulatorAt(t, fmt.Sprintf("fleet-%d", connections), 1, "intervals: {}")
	of := ofConnections(connections)
	e := benchedExporter(c)
	began := time.Now()
	page := ""
	for strings.Count(page, "\nentra_aws_source_up{") < sources*connections || strings.Contains(page, "\nentra_aws_source_up{") && len(down(page)) > 0 {
		if time.Since(began) > 10*time.Minute {
			t.Fatalf("%v\n%s", down(page), e.output())
		}
		time.Sleep(time.Duration(min(connections*10, 5000)) * time.Millisecond)
		page = e.get("/metrics")
	}
	benchRequests(t, b, c, connections, tenants, of)
	if connections > 1 {
		last := slices.Max(samples(t, page, "entra_aws_source_last_success_timestamp_seconds"))
		b.absolute("all readings known"+of, "s", time.Unix(0, int64(last*1e9)).Sub(began).Seconds(), 300, "300 s: the shortest interval")
		b.none("failed readings"+of, int(sum(samples(t, page, "entra_aws_source_errors_total"))))
		b.none("answers 429"+of, len(e.metric("entra_aws_api_requests_total", `code="429"`)))
		b.none("log lines above info"+of, len(regexp.MustCompile("level=(WARN|ERROR)").FindAllString(e.output(), -1)))
	}

	same := startSameSeries(t, c.directory, page)
	series := strings.Count(page, "\n") - strings.Count(page, "\n#")
	for range 5 { // as Prometheus scrapes
		time.Sleep(10 * time.Second)
		e.get("/metrics")
		same.get("/metrics")
	}
	began = time.Now()
	e.get("/metrics")
	scraped := time.Since(began)
	probed, blackbox := probeWithBlackbox(t, c, series)
	b.absolute("resident memory"+of, "MiB", memory(t, e.process, "VmRSS"), mebibytes,
		fmt.Sprintf("%.0f MiB client_golang with the same series, %.0f MiB blackbox_exporter", memory(t, same.process, "VmRSS"), memory(t, blackbox, "VmRSS")))
	b.absolute("peak of resident memory"+of, "MiB", memory(t, e.process, "VmHWM"), 0,
		fmt.Sprintf("%.0f MiB client_golang with the same series, %.0f MiB blackbox_exporter", memory(t, same.process, "VmHWM"), memory(t, blackbox, "VmHWM")))
	b.relative(fmt.Sprintf("%d series over HTTP", series), "ms", scraped.Seconds()*1000, probed.Seconds()*1000, scraped.Seconds()/probed.Seconds(), 0, "blackbox_exporter, which probes meanwhile")
	if connections > 1 {
		b.absolute("status page"+of, "kB", float64(len(e.get("/")))/1000, 100, "")
	}
	e.stop()
}

// benchRequests compares the requests of each source with its floor.
func benchRequests(t *testing.T, b *benchTable, c *simulatorProcess, connections, tenants int, of string) {
	var calls map[string]int
	c.control(http.MethodGet, "calls", nil, &calls)
	all, floors := 0, 0
	for _, source := range wire.FirstRound(connections, tenants) {
		own := 0
		for _, operation := range source.Operations {
			own += calls[operation]
			delete(calls, operation)
		}
		all, floors = all+own, floors+source.Floor
		if connections > 1 {
			b.relative("requests of the first round: "+source.Source, "", float64(own), float64(source.Floor), float64(own)/float64(source.Floor), 0, source.Why)
		}
	}
	if len(calls) > 0 {
		t.Errorf("requests of no source: %v", calls)
	}
	if connections > 1 { // a single one finds its application by name, which is one request more
		b.relative("requests of the first round"+of, "", float64(all), float64(floors), float64(all)/float64(floors), 1.1, "")
	}
}

// down are the sources that are not up.
func down(page string) []string {
	return regexp.MustCompile(`(?m)^entra_aws_source_up\{.*\} 0$`).FindAllString(page, -1)
}

// samples are the values of a family.
func samples(t *testing.T, page, family string) (values []float64) {
	t.Helper()
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, family+"{") {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
	}
	return values
}

func sum(values []float64) (total float64) {
	for _, value := range values {
		total += value
	}
	return total
}

// memory is a figure of /proc in MiB.
func memory(t *testing.T, p *process, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindStringSubmatch(read(t, fmt.Sprintf("/proc/%d/status", p.command.Process.Pid)))
	if found == nil {
		t.Fatalf("the process has no %s", name)
	}
	kibibytes, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return float64(kibibytes) / 1024
}

// probeWithBlackbox lets a blackbox_exporter probe the simulator until it has given as
// many series. Each of its targets is a scrape of its own.
func probeWithBlackbox(t *testing.T, c *simulatorProcess, series int) (time.Duration, *process) {
	t.Helper()
	config, address := filepath.Join(c.directory, "blackbox.yml"), freeAddress(t)
	write(t, config, fmt.Sprintf("modules: {api: {prober: http, http: {tls_config: {ca_file: %q}}}}\n", filepath.Join(c.directory, "ca.pem")))
	p := start(t, filepath.Join(c.directory, "blackbox.log"), nil, binary(t, "blackbox_exporter"), "--config.file="+config, "--web.listen-address="+address)
	peer := &exporter{process: p, url: "http://" + address}
	eventually(t, 10*time.Second, "blackbox_exporter is healthy", answersOK(peer.url+"/-/healthy"), p.output)
	probe := "/probe?module=api&target=" + url.QueryEscape(c.url+"/control/quirks")
	began := time.Now()
	for given := 0; given < series; {
		page := peer.get(probe)
		if !strings.Contains(page, "\nprobe_success 1\n") {
			t.Fatal(page)
		}
		given += strings.Count(page, "\n") - strings.Count(page, "# ")
	}
	return time.Since(began), p
}

// startSameSeries runs a process that has nothing but the same series, as an ordinary
// exporter keeps them: the floor of the memory.
func startSameSeries(t *testing.T, directory, page string) *exporter {
	t.Helper()
	file, address := filepath.Join(directory, "metrics"), freeAddress(t)
	write(t, file, page)
	e := &exporter{url: "http://" + address}
	e.process = start(t, filepath.Join(directory, "same-series.log"), []string{"BENCH_SERIES=" + file, "BENCH_ADDRESS=" + address, "GOGC=50"},
		os.Args[0], "-test.run=^TestSameSeries$", "-test.timeout=30m")
	eventually(t, time.Minute, "the same series are served", answersOK(e.url+"/metrics"), e.output)
	return e
}

// TestSameSeries is the process that startSameSeries runs.
func TestSameSeries(t *testing.T) {
	file := os.Getenv("BENCH_SERIES")
	if file == "" {
		t.Skip("make bench runs it")
	}
	content, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(prometheusmodel.UTF8Validation)
	families, err := parser.TextToMetricFamilies(content)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	for _, family := range families {
		if family.GetType() == dto.MetricType_GAUGE || family.GetType() == dto.MetricType_COUNTER {
			registry.MustRegister(gaugesOf(family))
		}
	}
	clear(families)
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Fatal(http.ListenAndServe(os.Getenv("BENCH_ADDRESS"), nil))
}

func gaugesOf(family *dto.MetricFamily) *prometheus.GaugeVec {
	var names []string
	for _, label := range family.GetMetric()[0].GetLabel() {
		names = append(names, label.GetName())
	}
	vector := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: family.GetName(), Help: family.GetHelp()}, names)
	for _, metric := range family.GetMetric() {
		var values []string
		for _, label := range metric.GetLabel() {
			values = append(values, strings.Clone(label.GetValue()))
		}
		vector.WithLabelValues(values...).Set(metric.GetGauge().GetValue() + metric.GetCounter().GetValue())
	}
	return vector
}

// benchScrape runs the benchmark of the scrape five times: medians, pair by pair.
func benchScrape(t *testing.T, b *benchTable) {
	for _, size := range []struct {
		connections int
		pairs       string
	}{{1, "301x"}, {100, "31x"}, {1000, "9x"}} {
		name := fmt.Sprintf("Scrape/connections=%d", size.connections)
		result := goBench(t, "./collector", name, "-benchtime="+size.pairs, "-count=5")["Benchmark"+name]
		b.relative("scrape"+ofConnections(size.connections), "ms", median(result["exporter-ms"]), median(result["floor-ms"]), median(result["ratio"]), 1.1, "client_golang")
	}
}

// benchLog runs the benchmark of a million entries of the provisioning log.
func benchLog(t *testing.T, b *benchTable) {
	result := goBench(t, "./internal/entra", "ProvisioningLog", "-benchtime=1x")["BenchmarkProvisioningLog"]
	b.relative("1,000,000 log entries", "s", median(result["exporter-s"]), median(result["floor-s"]), median(result["ratio"]), 1.5, "encoding/json")
	b.absolute("memory that they leave in use", "KiB", max(0, median(result["grown-KiB"])), 1024, "")
}

// goBench runs benchmarks, and returns their figures by benchmark and unit.
func goBench(t *testing.T, pkg, name string, flags ...string) map[string]map[string][]float64 {
	t.Helper()
	command := exec.Command("go", append([]string{"test", pkg, "-run=^$", "-bench=^Benchmark" + strings.ReplaceAll(name, "/", "$/^") + "$"}, flags...)...)
	command.Dir = "../.."
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	results := map[string]map[string][]float64{}
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		benchmark := regexp.MustCompile(`-\d+$`).ReplaceAllString(fields[0], "")
		if results[benchmark] == nil {
			results[benchmark] = map[string][]float64{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				t.Fatal(line)
			}
			results[benchmark][fields[i+1]] = append(results[benchmark][fields[i+1]], value)
		}
	}
	return results
}

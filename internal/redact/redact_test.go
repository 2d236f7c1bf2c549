package redact

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"entra-aws-exporter/internal/model"
)

const (
	special = `aZ3+kP9/qL7=xW2&tB5<vN8>mC4"hJ6'rD1\yE0_uF` // #nosec G101 -- of this test only
	issued  = "4ed1e5f4-1f0c-4f3a-9a57-0d1e2f3a4b5c:81c9f2a4-2d1b-4c3d-8e4f-5a6b7c8d9e0f:6f1d0b8a7c9e2f3b4d5a6c7e8f9a0b1c"
	tenant  = "4ed1e5f4-1f0c-4f3a-9a57-0d1e2f3a4b5c"
)

func newRedactor() *Redactor {
	r := &Redactor{}
	r.Add(model.NewSecret(special))
	r.Add(model.NewSecret(issued))
	return r
}

func TestText(t *testing.T) {
	r := newRedactor()
	for name, test := range map[string]struct{ text, want string }{
		"verbatim":                 {special, "(value)"},
		"escaped for JSON":         {inJSON(special), "(value)"},
		"JSON in a quoted line":    {strings.Trim(strconv.Quote(inJSON(special)), `"`), "(value)"},
		"escaped for HTML":         {html.EscapeString(special), "(value)"},
		"escaped by html/template": {template.HTMLEscapeString(special), "(value)"},
		"escaped for a query":      {url.QueryEscape(special), "(value)"},
		"lower-case percent":       {strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(url.QueryEscape("aZ3+kP9/qL7=xW2")), "(value)"},
		"HTML in JSON":             {inJSON(html.EscapeString(special)), "(value)"},
		"base64":                   {base64.StdEncoding.EncodeToString([]byte(special)), "(value)"},
		"prefix":                   {special[:16], "(value)"},
		"suffix":                   {special[len(special)-16:], "(value)"},
		"middle":                   {special[9:25], "(value)"},
		"too short":                {special[9:24], special[9:24]},
		"two":                      {special + issued, "(value)(value)"},
		"ID in a value":            {"tenant " + tenant + ":", "tenant " + tenant + ":"},
		"ID and more":              {issued[:60], "(value)"},
		"nothing":                  {"short", "short"},
	} {
		for _, around := range []string{"", "x", "xyz ", "it is broken: "} {
			if got := r.Text(around + test.text + around); got != around+test.want+around {
				t.Errorf("%s after %q: %s, want %s", name, around, got, test.want)
			}
		}
	}
	for shift := range 4 {
		text := base64.URLEncoding.EncodeToString([]byte(strings.Repeat("u", shift) + special + ":"))
		if got := r.Text(text); strings.Contains(got, text[8:len(text)-8]) || len(got) > len(placeholder)+8 {
			t.Errorf("base64 after %d bytes: %s", shift, got)
		}
	}
	var none *Redactor
	if none.Add(model.NewSecret(special)); none.Text(special) != special {
		t.Error("no redactor hides something")
	}
}

// Every part that is long enough is found, wherever it is in a text.
func TestEveryPartIsFound(t *testing.T) {
	r := newRedactor()
	for start := range special {
		for end := start + minimum; end <= len(special); end++ {
			for pad := range step {
				around := strings.Repeat(".", pad)
				if got := r.Text(around + special[start:end] + around); got != around+placeholder+around {
					t.Fatalf("%d to %d after %d bytes: %s", start, end, pad, got)
				}
			}
		}
	}
}

// Only the values used last are kept of those that were sent; the others stay.
func TestPassingValuesAreForgotten(t *testing.T) {
	r := newRedactor()
	passing := func(n int) string { return fmt.Sprintf("%x", sha256.Sum256([]byte{byte(n), byte(n >> 8)})) }
	r.AddPassing(model.NewSecret(special))
	for n := range 2*maxPassing + 1 {
		r.AddPassing(model.NewSecret(passing(n)))
		r.AddPassing(model.NewSecret(passing(0)))
	}
	for value, want := range map[string]bool{special: true, passing(0): true, passing(1): false, passing(maxPassing + 1): true, passing(2 * maxPassing): true} {
		if hidden := r.Text(value) == placeholder; hidden != want {
			t.Errorf("%s is hidden: %t, want %t", value, hidden, want)
		}
	}
}

func TestJSONStaysValid(t *testing.T) {
	r := newRedactor()
	document := map[string]any{"a\\": special + `\`, "b": []string{`"` + inJSON(special) + `"`, "kept <&> \\"}, "n": 1e9}
	content, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	hidden := string(r.JSON(content))
	if want := `{"a\\":"(value)\\","b":["\"(value)\"","kept \u003c\u0026\u003e \\"],"n":1000000000}`; hidden != want {
		t.Errorf("got  %s\nwant %s", hidden, want)
	}
}

// A response is changed only where it shows a value, whether it has a length or streams.
// Metrics stay as they are.
func TestHandler(t *testing.T) {
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "g", Help: "h"}, []string{"l"})
	gauge.WithLabelValues("is hidden by the collector").Set(1)
	registry.MustRegister(gauge)
	r := newRedactor()
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(special)))
		_, _ = io.WriteString(w, special)
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, special[:20])
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, special[20:])
	})
	mux.Handle("/plain", promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}))
	server := httptest.NewServer(r.Handler(mux))
	defer server.Close()
	for path, want := range map[string]string{
		"/metrics": "# HELP g h\n# TYPE g gauge\ng{l=\"is hidden by the collector\"} 1\n",
		"/plain":   "# HELP g h\n# TYPE g gauge\ng{l=\"is hidden by the collector\"} 1\n",
		"/page":    "(value)", "/stream": "(value)(value)",
	} {
		response, err := http.Get(server.URL + path) // it is compressed where the server can
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if _ = response.Body.Close(); err != nil || string(body) != want {
			t.Errorf("%s: %q %v", path, body, err)
		}
		if path == "/metrics" && !response.Uncompressed {
			t.Error("the metrics were not compressed")
		}
	}
}

func BenchmarkText(b *testing.B) {
	r := newRedactor()
	for i := range 100 {
		value := sha512.Sum512([]byte{byte(i)})
		r.Add(model.NewSecret(base64.StdEncoding.EncodeToString(value[:])))
		r.AddPassing(model.NewSecret(strings.Repeat(base64.StdEncoding.EncodeToString(value[1:]), 10)))
	}
	page := strings.Repeat("<td>The token of expiring expires on 2026-12-24, and Entra holds it.</td>\n", 1000)
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		_ = r.Text(page)
	}
}

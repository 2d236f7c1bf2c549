package app

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// hookToken needs escaping in HTML, in JSON and in a URL.
const hookToken = `aZ3+kP9/qL7=xW2&tB5<vN8>mC4"hJ6'rD1\yE0_uF` // #nosec G101 -- of this test only

// echoTest knows what AWS and Entra echo, and searches it in what leaves the exporter.
type echoTest struct {
	*harness
	unknown string // a token's value that the exporter has never held

	mu      sync.Mutex
	values  map[string]string // that the exporter holds
	planted int
	edits   bool              // responses without an error are planted, too
	edited  map[string]bool   // their paths
	shown   map[string]string // by where it was shown: what was planted around
	leaks   map[string]string // by where and what: the text
}

// echoes are what a service makes of a value that it repeats.
func echoes() map[string]func(string) string {
	return map[string]func(string) string{
		"verbatim":           func(value string) string { return value },
		"escaped for HTML":   html.EscapeString,
		"escaped for JSON":   func(value string) string { text, _ := json.Marshal(value); return strings.Trim(string(text), `"`) },
		"escaped for a URL":  url.QueryEscape,
		"cut at its end":     func(value string) string { return value[:24] },
		"cut in the middle":  func(value string) string { return value[len(value)-36 : len(value)-12] },
		"cut at the start":   func(value string) string { return value[len(value)-24:] },
		"longer, in the end": func(value string) string { return value[len(value)/3:] },
	}
}

// plants are all the texts to plant, each with one value.
func (e *echoTest) plants() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []string
	for _, value := range e.values {
		for _, echo := range echoes() {
			list = append(list, "is "+echo(value)+", echoed")
		}
	}
	slices.Sort(list)
	return list
}

// echo adds a fault for each text to each operation.
func (e *echoTest) echo(operations []string, plants []string) {
	for _, operation := range operations {
		for i, text := range append(plants, `unknown "`+e.unknown+`", echoed`, "unknown "+url.QueryEscape(e.unknown)+", echoed") {
			status := []int{http.StatusInternalServerError, http.StatusBadRequest, http.StatusForbidden}[i%3]
			e.InjectFault(simulator.Fault{Operation: operation, Status: status, Code: "EchoException", Message: text, Times: 1})
		}
	}
}

// foreignText are the fields whose text the services write for people.
var foreignText = regexp.MustCompile(`^(message|reason|displayName|description|additionalDetails|errorCode|code|Name)$`)

// RoundTrip plants a text into every field for people in the response.
func (e *echoTest) RoundTrip(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	response, err := next.RoundTrip(r)
	e.mu.Lock()
	edits := e.edits
	e.mu.Unlock()
	if err != nil || !edits || response.StatusCode != http.StatusOK || !strings.Contains(response.Header.Get("Content-Type"), "json") {
		return response, err
	}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	var document any
	if decoder.Decode(&document) == nil {
		if plants := e.plants(); e.plant(document, plants) {
			e.mu.Lock()
			e.edited[r.URL.Path] = true
			e.mu.Unlock()
		}
		content, _ = json.Marshal(document)
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	response.Header.Set("Content-Length", strconv.Itoa(len(content)))
	return response, nil
}

func (e *echoTest) plant(node any, plants []string) (planted bool) {
	switch node := node.(type) {
	case []any:
		for _, element := range node {
			planted = e.plant(element, plants) || planted
		}
	case map[string]any:
		for key, value := range node {
			text, isText := value.(string)
			if isText && foreignText.MatchString(key) {
				e.mu.Lock()
				node[key], planted = text+" "+plants[e.planted%len(plants)], true
				e.planted++
				e.mu.Unlock()
			} else if e.plant(value, plants) {
				planted = true
			}
		}
	}
	return planted
}

type echoTransport struct {
	test *echoTest
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (e echoTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return e.test.RoundTrip(r, e.next)
}

// unescaped is a text without the escapes of HTML, JSON, logfmt and URLs.
func unescaped(text string) string {
	codes := regexp.MustCompile(`\\u00[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}`)
	for range 2 {
		text = html.UnescapeString(strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\/`, `/`).Replace(text))
		text = codes.ReplaceAllStringFunc(text, func(code string) string {
			b, _ := strconv.ParseUint(code[len(code)-2:], 16, 8)
			return string(rune(b))
		})
	}
	return strings.ReplaceAll(text, `\`, "")
}

// idPart matches a part of an ID.
var idPart = regexp.MustCompile(`^[0-9a-f:]*-[0-9a-f:-]*$`)

// search looks for every part of the values in what was shown.
func (e *echoTest) search(where, output string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := strings.Index(output, ", echoed"); at >= 0 {
		e.shown[where] = output[max(0, at-60):at]
	}
	plain := unescaped(output)
	look := func(what, value string, length int) {
		value = strings.ReplaceAll(value, `\`, "")
		for at := 0; at+length <= len(value); at++ {
			part := value[at : at+length]
			if idPart.MatchString(part) {
				continue // the ID of a tenant or token is no secret
			}
			for _, text := range []string{output, plain} {
				if found := strings.Index(text, part); found >= 0 {
					e.leaks[where+": "+what] = text[max(0, found-80):min(len(text), found+80)]
					return
				}
			}
		}
	}
	for what, value := range e.values {
		look(what, value, 16)
	}
	look("an unknown token", e.unknown, 40)
}

// searchPages searches all that the running exporter shows.
func (e *echoTest) searchPages() {
	for _, path := range []string{"/", "/metrics", "/config", "/api/v1/connections", "/api/v1/rotations"} {
		e.search(path, e.get(path))
	}
}

// Whatever AWS and Entra echo, in an error or elsewhere, verbatim, escaped or in part: no
// live value leaves the exporter.
func TestEchoedValuesAreNotShown(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring"), clouds.Quarantined("quarantined")})
		h.edit(fastIntervals, everyMinuteIntervals)
		h.edit("state: {directory: state}", "state: {directory: state, age_identity_file: age.txt}")
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		h.write("age.txt", "# a comment\n"+identity.String()+"\n")
		h.write("webhook-token", hookToken)
		e := &echoTest{harness: h, edited: map[string]bool{}, shown: map[string]string{}, leaks: map[string]string{}, values: map[string]string{
			"SCIM token":    strings.TrimSpace(h.read("scim-token-expiring")),
			"client secret": strings.TrimSpace(h.read("client-secret-tenant-1")),
			"webhook token": hookToken,
			"age key":       identity.String()[len("AGE-SECRET-KEY-"):],
		}}
		h.With(func(w *clouds.Model) { e.unknown = w.TokenValue(h.Connection.TokenIDs[1]) })
		h.wrapTransport = func(next http.RoundTripper) http.RoundTripper { return echoTransport{e, next} }
		h.start()

		time.Sleep(15 * time.Minute) // two polls that find it due
		polled := slices.Collect(maps.Keys(h.Calls()))
		e.echo(polled, e.plants())
		e.watch(time.Minute, 45)
		e.reload(everyMinuteIntervals, slowIntervals) // it discovers the bindings again
		e.reload(slowIntervals, everyMinuteIntervals)
		e.watch(time.Minute, 75)
		if left := h.Faults(); len(left) > 0 {
			t.Errorf("%d texts were not echoed, such as by %s", len(left), left[0].Operation)
		}
		e.setEdits(true)
		e.watch(time.Minute, len(e.plants()))
		e.setEdits(false)

		e.reload(everyMinuteIntervals, slowIntervals)
		time.Sleep(time.Hour)
		for i, operation := range h.Operations() {
			if plants := e.plants(); !slices.Contains(polled, operation) {
				e.InjectFault(simulator.Fault{Operation: operation, Status: http.StatusServiceUnavailable, Code: "EchoException", Message: plants[i%len(plants)], Times: 1})
			}
		}
		for range 48 {
			h.alert()
			e.watch(time.Hour, 1)
		}
		h.With(func(w *clouds.Model) {
			holding, _ := w.EntraState(h.Connection.ServicePrincipalID)
			e.values["new SCIM token"] = w.TokenValue(holding.Saved.TokenID)
		})
		for _, operation := range []string{"CreateBearerToken", "PUT secrets", "POST validateCredentials", "DeleteBearerToken"} {
			if h.Calls()[operation] < 2 || e.values["new SCIM token"] == e.values["SCIM token"] {
				t.Errorf("the rotation did not succeed in %s after it had failed: %s", operation, h.get("/api/v1/rotations"))
			}
		}
		e.echo(polled, e.plants())
		e.watch(30*time.Minute, 10)
		h.stop()
		e.echo(h.Operations(), e.plants())
		e.search("log", h.logs.String())
		for name, run := range map[string]func(context.Context, Options) error{
			"doctor":        func(ctx context.Context, o Options) error { return Doctor(ctx, o, "") },
			"metrics":       Metrics,
			"check-config":  func(_ context.Context, o Options) error { return CheckConfig(o, "") },
			"rotation list": RotationList,
			"rotation show": func(ctx context.Context, o Options) error { return RotationShow(ctx, o, "expiring") },
			"rotation start": func(ctx context.Context, o Options) error {
				return RotationStart(ctx, o, StartOptions{Connection: "expiring", Force: true, Pace: 1})
			},
		} {
			e.search(name, h.command(run))
		}
		e.searchState()
		for where, text := range e.leaks {
			t.Errorf("%s is shown: …%s…", where, text)
		}
		for _, where := range []string{"/", "/api/v1/connections", "/api/v1/rotations", "log", "doctor", "rotation show", "journal"} {
			if e.shown[where] == "" {
				t.Errorf("%s shows nothing of what was echoed", where)
			}
		}
		if len(e.edited) < 5 {
			t.Errorf("texts were put into the responses of %v only", e.edited)
		}
	})
}

// watch searches the pages so many times.
func (e *echoTest) watch(interval time.Duration, times int) {
	for range times {
		time.Sleep(interval)
		e.searchPages()
	}
	var dump bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&dump, 2)
	e.search("goroutines", dump.String())
}

func (e *echoTest) reload(before, after string) {
	e.edit(before, after)
	if status, answer := e.request(http.MethodPost, "/-/reload", ""); status != http.StatusOK {
		e.t.Fatalf("%d %s", status, answer)
	}
}

func (e *echoTest) setEdits(edits bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.edits = edits
}

// searchState searches the files of the state directory, but the encrypted entries.
func (e *echoTest) searchState() {
	err := filepath.WalkDir(e.path("state"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		e.search(filepath.Base(filepath.Dir(path)), string(content))
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

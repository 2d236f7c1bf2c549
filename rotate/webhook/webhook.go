// Package webhook turns the payload that Alertmanager posts into one decision per alert.
// Mimir's Alertmanager and Grafana-managed alerting send the same fields.
// It keeps no memory of alerts: whether a rotation is due is decided anew each time, so a
// repeated, late or forged alert can only choose the moment at which a rotation starts
// that is due anyway.
package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"entra-aws-exporter/internal/model"
)

// payloadLimit is the largest payload that is read.
const payloadLimit = 1 << 20

// sizeAdvice keeps payloads small and complete: one group per connection needs no
// max_alerts, whose default 0 leaves out no alert.
// https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
const sizeAdvice = "set group_by: [connection] on its route and max_alerts: 0 on its receiver"

// payload is what matters of Alertmanager's message. Its version does not: Grafana counts
// its own.
type payload struct {
	Receiver  string  `json:"receiver"`
	Truncated int     `json:"truncatedAlerts"`
	Alerts    []alert `json:"alerts"`
}

type alert struct {
	Status string            `json:"status"`
	Labels map[string]string `json:"labels"`
}

// Starter starts the rotation that an alert asks for, or decides why not. An error means
// that the decision could not be written down.
type Starter interface {
	Alert(ctx context.Context, connection string, kind model.Procedure) (decision model.Decision, why string, err error)
}

// Options are what the webhook demands of its callers. The functions are called at every
// request, so that a reload needs no other handler.
type Options struct {
	// Bearer returns the token that callers must send; required is false if something
	// in front authenticates them. Optional.
	Bearer func() (value model.Secret, required bool, err error)
	// Wanted returns, for each kind of rotation, the labels that an alert must all have to
	// ask for it. What matches none is told what the first demands.
	Wanted func() []Wanted
	Logger *slog.Logger
}

// Wanted are the labels of the alerts that ask for one kind of rotation.
type Wanted struct {
	Kind   model.Procedure
	Labels map[string]string
}

// Counters count every request, and the decisions about its alerts.
type Counters interface {
	Request(code int)
	Alerts(decision string, count int)
}

// Handler answers Alertmanager.
type Handler struct {
	starter  Starter
	counters Counters
	options  Options
}

// New makes the handler.
func New(starter Starter, counters Counters, options Options) *Handler {
	return &Handler{starter: starter, counters: counters, options: options}
}

// rejection is a request that is not decided about.
type rejection struct {
	code int
	text string
}

func (e *rejection) Error() string { return e.text }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	counts, err := h.serve(response, request)
	code, body := http.StatusOK, ""
	var rejected *rejection
	switch {
	case errors.As(err, &rejected):
		code, body = rejected.code, rejected.text
		h.options.Logger.Warn("webhook request rejected", "code", code, "reason", rejected.text, "remote", request.RemoteAddr)
	case err != nil:
		code, body = http.StatusServiceUnavailable, retryMessage(err)
		h.options.Logger.Error("webhook request failed, Alertmanager should retry", "code", code, "reason", body, "err", err)
	case counts[model.DecisionStarted]+counts[model.DecisionAlreadyRunning] > 0:
		code = http.StatusAccepted
	}
	h.counters.Request(code)
	if body == "" {
		response.Header().Set("Content-Type", "application/json")
		response.WriteHeader(code)
		_ = json.NewEncoder(response).Encode(map[string]any{"decisions": counts}) // the caller may be gone
		return
	}
	http.Error(response, body, code)
}

// serve reads a request and decides about its alerts.
func (h *Handler) serve(response http.ResponseWriter, request *http.Request) (map[model.Decision]int, error) {
	if request.Method != http.MethodPost && request.Method != http.MethodPut { // Grafana may be told to PUT
		response.Header().Set("Allow", "POST, PUT")
		return nil, &rejection{http.StatusMethodNotAllowed, "POST or PUT only"}
	}
	if err := h.authenticate(response, request); err != nil {
		return nil, err
	}
	if kind, _, err := mime.ParseMediaType(request.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &rejection{http.StatusUnsupportedMediaType, "Content-Type must be application/json"}
	}
	content, err := io.ReadAll(http.MaxBytesReader(response, request.Body, payloadLimit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &rejection{http.StatusRequestEntityTooLarge, "the payload is larger than 1 MiB; " + sizeAdvice}
	case err != nil:
		return nil, &rejection{http.StatusBadRequest, "the request could not be read"}
	}
	p, err := decodePayload(content)
	if err != nil {
		return nil, err
	}
	if p.Truncated > 0 {
		h.options.Logger.Warn("Alertmanager truncated its payload; "+sizeAdvice, "truncated", p.Truncated, "receiver", shorten(p.Receiver))
	}
	return h.decideAll(request.Context(), p.Alerts)
}

// authenticate compares the bearer token in constant time.
func (h *Handler) authenticate(response http.ResponseWriter, request *http.Request) error {
	if h.options.Bearer == nil {
		return nil
	}
	expected, required, err := h.options.Bearer()
	if err == nil && !required {
		return nil
	}
	if err != nil {
		h.options.Logger.Error("reading bearer token failed", "err", err)
		return &rejection{http.StatusInternalServerError, "the bearer token cannot be read; retry later"}
	}
	scheme, sent, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	given := model.NewSecret(strings.TrimSpace(sent))
	if equal := given.Equal(expected); !equal || expected.IsZero() || !strings.EqualFold(scheme, "Bearer") {
		response.Header().Set("WWW-Authenticate", "Bearer")
		return &rejection{http.StatusUnauthorized, "a bearer token is required"}
	}
	return nil
}

// decodePayload accepts Alertmanager's payload and nothing else.
func decodePayload(content []byte) (payload, error) {
	var p payload
	if err := json.Unmarshal(content, &p); err != nil {
		return p, &rejection{http.StatusBadRequest, "not Alertmanager's JSON: " + describeJSONError(err)}
	}
	if p.Alerts == nil {
		return p, &rejection{http.StatusBadRequest, "the payload has no list alerts; a custom payload is not understood"}
	}
	return p, nil
}

// describeJSONError says what is wrong without repeating the content.
func describeJSONError(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("syntax error at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("wrong type at byte %d", kind.Offset)
	default:
		return "malformed"
	}
}

// textLimit is how many bytes of a foreign text are repeated.
const textLimit = 128

// shorten cuts a text of the caller before it is logged or sent back: a payload may
// consist of one label's value.
func shorten(s string) string {
	if len(s) <= textLimit {
		return s
	}
	end := textLimit
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// decideTimeout bounds the journal entry that a decision may need.
const decideTimeout = 10 * time.Second

// decideAll makes one decision per alert and counts them. Alerts for the same connection
// are decided about once: the first may start a rotation, the others find it running.
func (h *Handler) decideAll(ctx context.Context, alerts []alert) (map[model.Decision]int, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), decideTimeout)
	defer cancel()
	counts := map[model.Decision]int{}
	pending := map[target]int{}
	decided := map[match]int{}
	for _, a := range alerts {
		if m := h.match(a); m.decision == "" {
			pending[m.target]++
		} else {
			decided[m]++
		}
	}
	for m, count := range decided {
		h.record(m.decision, m.connection, m.why, count)
		counts[m.decision] += count
	}
	var failed error
	for _, t := range slices.SortedFunc(maps.Keys(pending), target.compare) {
		connection, count := t.connection, pending[t]
		decision, why, err := h.starter.Alert(ctx, connection, t.kind)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("connection %s: %w", shorten(connection), err))
			continue
		}
		if decision == model.DecisionStarted && count > 1 {
			h.record(model.DecisionAlreadyRunning, connection, "started by the same payload", count-1)
			counts[model.DecisionAlreadyRunning] += count - 1
			count = 1
		}
		h.record(decision, connection, why, count)
		counts[decision] += count
	}
	return counts, failed
}

// retryMessage says why Alertmanager should retry; the log says more.
func retryMessage(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no decision within " + decideTimeout.String() + "; retry later"
	}
	return "the journal cannot be read or written; retry later"
}

// target is what an alert asks to rotate.
type target struct {
	connection string
	kind       model.Procedure
}

func (t target) compare(other target) int {
	return cmp.Or(cmp.Compare(t.connection, other.connection), cmp.Compare(t.kind, other.kind))
}

// match is what an alert asks for and, if the alert alone decides, what the decision is
// and why.
type match struct {
	target
	decision model.Decision
	why      string
}

// match tells what an alert asks for. Alertmanager knows two statuses, firing and resolved:
// https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
func (h *Handler) match(a alert) match {
	t := target{connection: a.Labels["connection"]}
	unmatched := ""
	for _, wanted := range h.options.Wanted() {
		differs := difference(a.Labels, wanted.Labels)
		if differs == "" {
			t.kind = wanted.Kind
			break
		}
		unmatched = cmp.Or(unmatched, differs)
	}
	switch {
	case t.kind == "":
		return match{t, model.DecisionUnmatched, unmatched}
	case t.connection == "":
		return match{t, model.DecisionUnmatched, "it has no label connection"}
	case a.Status == "resolved":
		return match{t, model.DecisionResolved, "alert is resolved"}
	case a.Status != "firing":
		return match{t, model.DecisionUnmatched, fmt.Sprintf("its status is %q, not \"firing\"", shorten(a.Status))}
	default:
		return match{target: t}
	}
}

// difference names the first label that is not as wanted; "": all are.
func difference(labels, wanted map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if labels[name] != wanted[name] {
			return fmt.Sprintf("its label %s is %q, not %q as webhook.match_labels demands", name, shorten(labels[name]), wanted[name])
		}
	}
	return ""
}

func (h *Handler) record(decision model.Decision, connection, why string, count int) {
	h.counters.Alerts(string(decision), count)
	h.options.Logger.Info("alert decided", "decision", string(decision), "connection", shorten(connection), "reason", why, "alerts", count)
}

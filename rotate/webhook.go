package rotate

import (
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

	"entra-aws-exporter/internal/model"
)

// payloadLimit is the largest payload that is read.
const payloadLimit = 1 << 20

// payloadVersion is the version of Alertmanager's webhook payload.
// https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
const payloadVersion = "4"

// payload is what matters of Alertmanager's message.
type payload struct {
	Version   string  `json:"version"`
	Receiver  string  `json:"receiver"`
	Truncated int     `json:"truncatedAlerts"`
	Alerts    []alert `json:"alerts"`
}

type alert struct {
	Status string            `json:"status"`
	Labels map[string]string `json:"labels"`
}

// Decider decides about an alert for a connection; an error means that the decision
// could not be written down.
type Decider interface {
	Alert(ctx context.Context, connection string) (Decision, string, error)
}

// WebhookOptions are what the webhook demands of its callers. The functions are asked
// at every request, so that a reload needs no other webhook.
type WebhookOptions struct {
	// Bearer returns the token that callers must show; required is false if something
	// in front authenticates them. Optional.
	Bearer func() (value model.Secret, required bool, err error)
	// MatchLabels returns what must all be on an alert for it to mean us. Optional.
	MatchLabels func() map[string]string
	Logger      *slog.Logger
}

// Counters hear of every request and of what was decided about its alerts.
type Counters interface {
	Request(code int)
	Alerts(decision string, count int)
}

// Webhook answers Alertmanager. It keeps no memory of alerts: that a rotation is due is
// decided anew each time, so a repeated, late or forged alert can do no more than
// choose the moment at which a rotation begins that is due anyway.
type Webhook struct {
	decider  Decider
	counters Counters
	options  WebhookOptions
}

// NewWebhook makes the handler.
func NewWebhook(decider Decider, counters Counters, options WebhookOptions) *Webhook {
	if options.MatchLabels == nil {
		options.MatchLabels = func() map[string]string { return nil }
	}
	return &Webhook{decider: decider, counters: counters, options: options}
}

// rejection is a request that is not decided about.
type rejection struct {
	code int
	text string
}

func (e *rejection) Error() string { return e.text }

// ServeHTTP implements http.Handler.
func (w *Webhook) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	counts, err := w.serve(answer, request)
	code, body := http.StatusOK, ""
	var rejected *rejection
	switch {
	case errors.As(err, &rejected):
		code, body = rejected.code, rejected.text
		w.options.Logger.Warn("webhook request rejected", "code", code, "reason", rejected.text, "remote", request.RemoteAddr)
	case err != nil:
		code, body = http.StatusServiceUnavailable, comeAgain(err)
		w.options.Logger.Error("webhook request put off", "code", code, "reason", body, "err", err)
	case counts[DecisionStarted]+counts[DecisionAlreadyRunning] > 0:
		code = http.StatusAccepted
	}
	w.counters.Request(code)
	if body == "" {
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(code)
		_ = json.NewEncoder(answer).Encode(map[string]any{"decisions": counts}) // the caller may be gone
		return
	}
	http.Error(answer, body, code)
}

// serve reads a request and decides about its alerts.
func (w *Webhook) serve(answer http.ResponseWriter, request *http.Request) (map[Decision]int, error) {
	if request.Method != http.MethodPost {
		answer.Header().Set("Allow", http.MethodPost)
		return nil, &rejection{http.StatusMethodNotAllowed, "POST only"}
	}
	if err := w.authenticate(answer, request); err != nil {
		return nil, err
	}
	if kind, _, err := mime.ParseMediaType(request.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &rejection{http.StatusUnsupportedMediaType, "Content-Type must be application/json"}
	}
	content, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, payloadLimit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &rejection{http.StatusRequestEntityTooLarge, "the payload is larger than 1 MiB; use max_alerts or a narrower route"}
	case err != nil:
		return nil, &rejection{http.StatusBadRequest, "the request could not be read"}
	}
	p, err := decodePayload(content)
	if err != nil {
		return nil, err
	}
	if p.Truncated > 0 {
		w.options.Logger.Warn("Alertmanager truncated its payload, so not all alerts were seen; set max_alerts: 0 for this receiver", "truncated", p.Truncated, "receiver", p.Receiver)
	}
	return w.decideAll(request.Context(), p.Alerts)
}

// authenticate compares the bearer token in constant time.
func (w *Webhook) authenticate(answer http.ResponseWriter, request *http.Request) error {
	if w.options.Bearer == nil {
		return nil
	}
	wanted, required, err := w.options.Bearer()
	if err == nil && !required {
		return nil
	}
	if err != nil {
		w.options.Logger.Error("the webhook's bearer token cannot be read", "err", err)
		return &rejection{http.StatusServiceUnavailable, "the bearer token cannot be read, come again"}
	}
	scheme, shown, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	given := model.NewSecret(strings.TrimSpace(shown))
	if equal := given.Equal(wanted); !equal || wanted.IsZero() || !strings.EqualFold(scheme, "Bearer") {
		answer.Header().Set("WWW-Authenticate", "Bearer")
		return &rejection{http.StatusUnauthorized, "a bearer token is required"}
	}
	return nil
}

// decodePayload accepts Alertmanager's payload and nothing else.
func decodePayload(content []byte) (payload, error) {
	var p payload
	if err := json.Unmarshal(content, &p); err != nil {
		return p, &rejection{http.StatusBadRequest, "not Alertmanager's JSON: " + jsonProblem(err)}
	}
	if p.Version != payloadVersion {
		return p, &rejection{http.StatusBadRequest, fmt.Sprintf("payload version %q, want %q (a custom payload is not understood)", clip(p.Version), payloadVersion)}
	}
	return p, nil
}

// jsonProblem says what is wrong without repeating the content.
func jsonProblem(err error) string {
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

func clip(s string) string { return s[:min(len(s), 20)] }

// decideTimeout bounds the journal entry that a decision may need.
const decideTimeout = 10 * time.Second

// decideAll makes one decision per alert and counts them. Alerts for the same connection
// are decided about once: the first may start a rotation, the others find it running.
func (w *Webhook) decideAll(ctx context.Context, alerts []alert) (map[Decision]int, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), decideTimeout)
	defer cancel()
	counts := map[Decision]int{}
	wanted := map[string]int{}
	settled := map[meaning]int{}
	for _, a := range alerts {
		if m := w.read(a); m.decision == "" {
			wanted[m.connection]++
		} else {
			settled[m]++
		}
	}
	for m, count := range settled {
		w.note(m.decision, m.connection, m.why, count)
		counts[m.decision] += count
	}
	var failed error
	for _, connection := range slices.Sorted(maps.Keys(wanted)) {
		decision, why, err := w.decider.Alert(ctx, connection)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("connection %s: %w", connection, err))
			continue
		}
		count := wanted[connection]
		if decision == DecisionStarted && count > 1 {
			w.note(DecisionAlreadyRunning, connection, "the same payload began it", count-1)
			counts[DecisionAlreadyRunning] += count - 1
			count = 1
		}
		w.note(decision, connection, why, count)
		counts[decision] += count
	}
	return counts, failed
}

// comeAgain says why Alertmanager is to come again; the log says more.
func comeAgain(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no decision within " + decideTimeout.String() + ", come again"
	}
	return "the journal cannot be read or written, come again"
}

// meaning is which connection an alert means and, if that needs no engine, what is
// decided about it and why.
type meaning struct {
	connection string
	decision   Decision
	why        string
}

// read tells what an alert means.
func (w *Webhook) read(a alert) meaning {
	connection := a.Labels["connection"]
	wanted := w.options.MatchLabels()
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if a.Labels[name] != wanted[name] {
			return meaning{connection, DecisionUnmatched,
				fmt.Sprintf("its label %s is %q, not %q as webhook.match_labels wants", name, clip(a.Labels[name]), wanted[name])}
		}
	}
	switch {
	case connection == "":
		return meaning{"", DecisionUnmatched, "it has no label connection"}
	case a.Status == "resolved":
		return meaning{connection, DecisionResolved, "there is nothing to begin"}
	default:
		return meaning{connection: connection}
	}
}

func (w *Webhook) note(decision Decision, connection, why string, count int) {
	w.counters.Alerts(string(decision), count)
	w.options.Logger.Info("alert decided", "decision", string(decision), "connection", connection, "reason", why, "alerts", count)
}

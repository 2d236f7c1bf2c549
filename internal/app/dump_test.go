package app

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	azlog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// panickingTransport has a bug: once armed, it panics with every value it can reach.
type panickingTransport struct {
	next   http.RoundTripper
	armed  atomic.Bool
	values func() []any
}

// RoundTrip implements http.RoundTripper.
func (b *panickingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.armed.Load() && strings.HasSuffix(r.URL.Path, "/ServiceProviderConfig") {
		var text strings.Builder
		for _, held := range b.values() {
			fmt.Fprintf(&text, "%v %+v %#v %s %q\n", held, held, held, held, held)
		}
		panic(text.String())
	}
	return b.next.RoundTrip(r)
}

// A panic over live values, a dump of all goroutines during a rotation, and the full log
// of Azure's SDK: none of them shows a secret. (AWS's SDK logs only what its caller asks
// for, and the program asks for nothing.)
func TestDumpsShowNoSecret(t *testing.T) {
	var sdk logBuffer
	azlog.SetListener(func(event azlog.Event, message string) { _, _ = fmt.Fprintf(&sdk, "%s %s\n", event, message) })
	t.Cleanup(func() { azlog.SetListener(nil) })
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit(fastIntervals, slowIntervals)
		b := &panickingTransport{}
		h.wrapTransport = func(next http.RoundTripper) http.RoundTripper { b.next = next; return b }
		h.start()
		time.Sleep(15 * time.Minute)
		secrets := map[string]string{
			"client secret": strings.TrimSpace(h.read("client-secret-tenant-1")),
			"webhook token": strings.TrimSpace(h.read("webhook-token")),
			"SCIM token":    strings.TrimSpace(h.read("scim-token-expiring")),
		}
		if status, answer := h.alert(); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, answer)
		}
		dumps := map[string]string{}
		h.waitUntil("the save", func() bool {
			var dump bytes.Buffer
			if err := pprof.Lookup("goroutine").WriteTo(&dump, 2); err != nil {
				t.Fatal(err)
			}
			dumps[fmt.Sprint("goroutines ", len(dumps))] = dump.String()
			return h.Calls()["PUT secrets"] > 0
		})
		record := h.waitForOutcome("expiring")
		h.With(func(now *clouds.Model) { secrets["new SCIM token"] = now.TokenValue(record.NewTokenID) })

		e := h.exporter
		b.values = func() []any {
			snapshot, _ := e.poller().Snapshot("expiring")
			id, value, err := e.tokenValue(t.Context(), "expiring")
			if value.Reveal() != secrets["new SCIM token"] {
				t.Errorf("the live value of token %s is not the new one: %v", id, err)
			}
			return []any{
				e.current.Load().config, snapshot, snapshot.Binding, value, &value, []model.Secret{value}, map[string]model.Secret{id: value},
				model.IssuedToken{Value: value}, model.Credential{Key: model.CredentialKeySecretToken, Value: value},
				fmt.Errorf("saving %v: %w", model.Credential{Value: value}, model.ErrUnreadable),
			}
		}
		b.armed.Store(true)
		time.Sleep(2 * time.Hour)
		if !strings.Contains(h.logs.String(), "panic while reading") {
			t.Fatal("there was no panic")
		}
		h.series().expect(t, `entra_aws_source_up{connection="expiring",source="scim"} 0`, `entra_aws_source_up{connection="expiring",source="job"} 1`)
		maps.Copy(dumps, map[string]string{"the log": h.logs.String(), "the page": h.get("/"), "metrics": h.get("/metrics"), "Azure's SDK": sdk.String()})
		if len(sdk.String()) < 1000 || len(dumps["goroutines 0"]) < 1000 {
			t.Fatalf("hardly anything was dumped: %d bytes of the SDK's, %d of goroutines", len(sdk.String()), len(dumps["goroutines 0"]))
		}
		for where, dump := range dumps {
			for what, value := range secrets {
				if len(value) < 8 {
					t.Fatalf("the %s is %q", what, value)
				}
				if strings.Contains(dump, value) {
					t.Errorf("%s shows the %s", where, what)
				}
			}
		}
		t.Logf("%d dumps, %d KiB of them Azure's SDK's log", len(dumps), len(sdk.String())>>10)
	})
}

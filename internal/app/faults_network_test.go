package app

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
)

// operationOf is one call that each source needs.
func operationOf() map[model.Source]string {
	return map[model.Source]string{
		model.SourceTokens:         "ListBearerTokens",
		model.SourceSCIM:           "SCIM GET ServiceProviderConfig",
		model.SourceUsage:          "LookupEvents",
		model.SourceJob:            "GET job",
		model.SourceEvents:         "GET provisioning",
		model.SourceCertificates:   "GET servicePrincipal",
		model.SourceAppCredentials: "GET applications",
	}
}

// Each call of each source fails on its own, in every way in which a network can fail.
func TestNetworkFaults(t *testing.T) {
	rows := map[string]faultCase{
		"DNS": {
			inject:   func(w *isolationTest) { w.transport.failWith(errDNS()) },
			wantDown: failing(model.ReasonNetwork, model.Sources()...), wantLog: []string{"affected.example"},
		},
		"TLS": {
			inject:   func(w *isolationTest) { w.transport.failWith(errTLS()) },
			wantDown: failing(model.ReasonNetwork, model.Sources()...), wantLog: []string{"http_client.tls_config.ca_file"},
		},
	}
	for source, operation := range operationOf() {
		for name, row := range map[string]struct {
			fault  simulator.Fault
			reason model.Reason
			says   string
		}{
			"reset":       {simulator.Fault{Effect: simulator.EffectReset}, model.ReasonNetwork, "connection reset"},
			"lost answer": {simulator.Fault{Effect: simulator.EffectLost}, model.ReasonNetwork, "connection reset"},
			"hang":        {simulator.Fault{Effect: simulator.EffectHang}, model.ReasonTimeout, "no "},
			"trickle":     {simulator.Fault{Effect: simulator.EffectTrickle, Delay: simulator.Duration(5 * time.Second)}, model.ReasonTimeout, "no "},
		} {
			row.fault.Operation = operation
			rows[name+"/"+string(source)] = faultCase{
				faults: []simulator.Fault{row.fault}, wantDown: failing(row.reason, source), wantLog: []string{row.says}, duration: 7 * time.Minute,
			}
		}
	}
	runFaultCases(t, rows)
}

// A response of 100 MB is read no further than the largest legitimate one. One attempt
// allocates a few times that, far less than an endless response would need.
func TestHugeResponse(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory")
	}
	const bound = 100 << 20
	rows := map[string]faultCase{}
	for source, operation := range operationOf() {
		var began runtime.MemStats
		calls := 0
		rows[string(source)] = faultCase{
			inject: func(w *isolationTest) {
				w.injectFault(simulator.Fault{Operation: operation, Effect: simulator.EffectHuge})
				calls = w.Calls()[operation]
				runtime.ReadMemStats(&began)
			},
			wantDown: failing(model.ReasonInvalidResponse, source), wantLog: []string{"the response is larger than"},
			check: func(t *testing.T, w *isolationTest, _, _ seriesList) {
				var ended runtime.MemStats
				runtime.ReadMemStats(&ended)
				each := (ended.TotalAlloc - began.TotalAlloc) / uint64(w.Calls()[operation]-calls)
				t.Logf("%d MB were allocated for each answer", each>>20)
				if each > bound {
					t.Errorf("more than %d MB", bound>>20)
				}
			},
		}
	}
	newHarnessFor(t, affectedAndUnaffected())
	for name, row := range rows { // one after the other, since they share memory
		t.Run(name, func(t *testing.T) { synctest.Test(t, row.run) })
	}
}

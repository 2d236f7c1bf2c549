package app

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness/wire"
)

// fleetSize is the number of connections: FLEET, or fewer.
func fleetSize(t *testing.T, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("FLEET"))
	if err != nil || n < 1 {
		return otherwise
	}
	return n
}

// newFleetHarness is an exporter with its default intervals.
func newFleetHarness(t *testing.T, connections, tenants int) *harness {
	t.Helper()
	h := newHarness(t, clouds.Fleet(connections, tenants))
	h.edit("    "+fastIntervals+"\n", "")
	return h
}

// A start with many connections: no more requests than 1.1 times the fewest that the
// clouds allow, nothing throttled, no warning, and every reading within its interval.
func TestFleetStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tenants = 10
		connections := fleetSize(t, 100)
		h := newFleetHarness(t, connections, tenants)
		h.InjectFault(simulator.Fault{Operation: "*", Effect: simulator.EffectDelay, Delay: simulator.Duration(200 * time.Millisecond)})
		began := time.Now()
		h.start()
		time.Sleep(5*time.Minute - time.Second) // before any source is due again
		page := h.series()

		calls := h.Calls()
		all, floors := 0, 0
		for _, source := range wire.FirstRound(connections, tenants) {
			own := 0
			for _, operation := range source.Operations {
				own += calls[operation]
				delete(calls, operation)
			}
			t.Logf("%-16s%6d requests, floor %6d: %s", source.Source, own, source.Floor, source.Why)
			if own > source.Floor*3/2 {
				t.Errorf("%s: %d requests, the floor is %d", source.Source, own, source.Floor)
			}
			all, floors = all+own, floors+source.Floor
		}
		t.Logf("%-16s%6d requests, floor %6d", "all", all, floors)
		if all*10 > floors*11 || len(calls) > 0 {
			t.Errorf("%d requests, the floor is %d; of no source: %v", all, floors, calls)
		}

		if up := len(page.matching("entra_aws_source_up{", "} 1")); up != connections*len(model.Sources()) {
			t.Errorf("%d sources are up", up)
		}
		last := 0.0
		for _, line := range page.matching("entra_aws_source_last_success_timestamp_seconds{") {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			last = max(last, value)
		}
		t.Logf("everything is known after %.1f s", last-float64(began.UnixNano())/1e9)
		if failed := page.matching("source_errors_total"); len(failed) > 0 {
			t.Errorf("failures: %v", failed)
		}
		if throttled := page.matching("api_requests_total", `code="429"`); len(throttled) > 0 {
			t.Errorf("throttled: %v", throttled)
		}
		for line := range strings.Lines(h.logs.String()) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				t.Error(line)
			}
		}
	})
}

// One tenant hangs, one is throttled and one has a flood of log entries: all sources of the
// fourth are read on their intervals.
func TestTenantsDoNotDelayEachOther(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		const connections, tenants, flood = 60, 4, 5000
		h := newFleetHarness(t, connections, tenants)
		h.start()
		time.Sleep(10 * time.Minute)

		ids := map[string]string{} // of tenants and accounts, by connection
		customers := func(tenant int, fault simulator.Fault) {
			for _, c := range h.Credentials.Connections {
				if strings.HasPrefix(c.EntraTenantID, fmt.Sprintf("%08d-", tenant)) {
					ids[c.Name] = c.EntraTenantID
					for _, customer := range []string{c.EntraTenantID, c.Account} {
						fault.Customer = customer
						h.InjectFault(fault)
					}
				}
			}
		}
		customers(1, simulator.Fault{Operation: "*", Effect: simulator.EffectHang})
		customers(2, simulator.Fault{Operation: "*", Status: 429, Code: "TooManyRequests", RetryAfter: "120"})
		flooded := h.Credentials.Connections[2]
		if err := h.AddBulkEvents(simulator.BulkEvents{
			TenantID: flooded.EntraTenantID, JobID: flooded.JobID, ServicePrincipalID: flooded.ServicePrincipalID,
			Count: flood, From: time.Now(), Every: simulator.Duration(100 * time.Millisecond),
		}); err != nil {
			t.Fatal(err)
		}
		late := map[string]bool{} // sources of the other tenants
		for range 60 {
			time.Sleep(time.Minute)
			page := h.series().values(t)
			now := float64(time.Now().UnixNano()) / 1e9
			for _, c := range h.Credentials.Connections {
				for _, source := range model.Sources() {
					labels := fmt.Sprintf(`{connection=%q,source=%q}`, c.Name, source)
					age := now - page["entra_aws_source_last_success_timestamp_seconds"+labels]
					// An interval with its jitter, and the wait for Graph's limit of the log.
					if _, affected := ids[c.Name]; !affected && age > 1.1*page["entra_aws_source_interval_seconds"+labels]+15 {
						late[labels] = true
					}
				}
			}
		}
		if len(late) > 0 {
			t.Errorf("%d sources of other tenants were late: %v", len(late), slices.Sorted(maps.Keys(late)))
		}

		page := h.series()
		for _, c := range h.Credentials.Connections {
			failures := page.matching("source_errors_total", fmt.Sprintf("connection=%q", c.Name)).sum(t)
			down := len(page.matching("entra_aws_source_up{", fmt.Sprintf("connection=%q", c.Name), "} 0"))
			if _, affected := ids[c.Name]; affected && (failures < 15 || down < 5) || !affected && (failures > 0 || down > 0) {
				t.Errorf("%s: affected %v, %v failures, %d sources are down", c.Name, affected, failures, down)
			}
		}
		counted := page.matching("provisioning_events_total", fmt.Sprintf("connection=%q", flooded.Name)).sum(t)
		if counted < flood {
			t.Errorf("%.0f entries counted of the flood of %d", counted, flood)
		}
	})
}

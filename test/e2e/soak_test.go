//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator"
)

const hangup = syscall.SIGHUP

// perRound is how many connections rotate at once; each round has clouds and a state
// directory of its own, since no connection rotates twice a day.
const perRound = 5

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSoak kills the exporter SOAK times (kill -9) in the middle of rotations: all end
// done, each with one token and without a gap. SOAK_SEED repeats a run.
func TestSoak(t *testing.T) {
	kills := number(t, "SOAK", 3)
	seed := number(t, "SOAK_SEED", int(time.Now().Unix()))
	t.Logf("SOAK=%d SOAK_SEED=%d", kills, seed)
	chance := rand.New(rand.NewPCG(uint64(seed), 0))
	rotations := 0
	for round := 0; kills > 0; round++ {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			struck, done := soakRound(t, chance, min(kills, perRound))
			kills -= struck
			rotations += done
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rotations, all done, one token each, no gap", rotations)
}

// soakRound returns how often it killed while a rotation was under way, and how many
// rotations it saw end.
func soakRound(t *testing.T, chance *rand.Rand, kills int) (int, int) {
	c := startClouds(t, "fleet-"+strconv.Itoa(perRound))
	c.age("250d")
	address := freeAddress(t)
	e := c.startExporter(address)
	var names []string
	before := map[string]simulator.ConnectionState{}
	for i := range perRound {
		name := fmt.Sprintf("connection-%03d", i+1)
		names = append(names, name)
		before[name] = c.connection(name)
	}
	told := func() string {
		if code, err := e.post(c.bearer(), alert(names...)); err != nil || code != 202 {
			return fmt.Sprintf("webhook: %d %v", code, err)
		}
		for _, name := range names {
			if len(e.rotations(name)) == 0 {
				return name + " has not begun"
			}
		}
		return ""
	}
	eventually(t, time.Minute, "all have begun", told)
	missing := func() string {
		for _, name := range names {
			if lack := e.notDone(name); lack != "" {
				return lack
			}
		}
		return ""
	}
	struck := 0
	for struck < kills {
		time.Sleep(time.Duration(chance.Int64N(int64(8 * time.Second))))
		phase := missing()
		if phase == "" {
			break
		}
		e.kill()
		struck++
		t.Logf("kill %d: %s", struck, phase)
		e = c.startExporter(address)
	}
	eventually(t, patience, "all are done", missing)
	for _, name := range names {
		c.assertRotated(before[name])
		if n := len(e.rotations(name)); n != 1 {
			t.Errorf("%s: %d rotations", name, n)
		}
	}
	return struck, len(names)
}

// TestTold has two servers and a command line on one state directory, told at once, and
// one of them 500 times: one rotation.
func TestToldAtOnce(t *testing.T) {
	c := startClouds(t, "fleet-1")
	c.age("250d")
	servers := []*exporter{c.startExporter(freeAddress(t)), c.startExporter(freeAddress(t))}
	const connection = "connection-001"
	before := c.connection(connection)

	var all sync.WaitGroup
	var mu sync.Mutex
	codes, slowest := map[string]int{}, time.Duration(0)
	for i := range 502 {
		e := servers[0]
		if i > 500 {
			e = servers[1]
		}
		all.Go(func() {
			began := time.Now()
			code, err := e.post(c.bearer(), alert(connection))
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, took)
			codes[fmt.Sprint(code, err)]++
		})
	}
	line := start(t, filepath.Join(c.directory, "command.log"), c.environment, binary(t, "entra-aws-exporter"),
		"--config.file="+filepath.Join(c.directory, "config.yaml"), "rotation", "start", connection, "--rotation.pace="+strconv.Itoa(pace))
	all.Wait()
	t.Logf("502 webhooks at once: %v, the slowest answer took %s", codes, slowest.Round(time.Millisecond))
	if codes["202 <nil>"]+codes["200 <nil>"] != 502 {
		t.Errorf("answers: %v", codes)
	}
	if slowest > 10*time.Second {
		t.Errorf("the slowest answer took %s: Alertmanager would have given up", slowest)
	}
	eventually(t, patience, "the rotation is done", func() string { return servers[0].notDone(connection) })
	select {
	case <-line.gone:
	case <-time.After(time.Minute):
		t.Error("the command line still runs")
	}
	t.Logf("the command line said:\n%s", line.output())
	c.assertRotated(before)
	for _, e := range servers {
		if n := len(e.rotations(connection)); n != 1 {
			t.Errorf("%d rotations", n)
		}
	}
	var calls map[string]int
	c.control("calls", nil, &calls)
	if calls["CreateBearerToken"] != 1 {
		t.Errorf("CreateBearerToken was called %d times", calls["CreateBearerToken"])
	}
}

//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

const hangup = syscall.SIGHUP

// killsPerRotation is how often the exporter is killed during one rotation.
const killsPerRotation = 4

func envNumber(t *testing.T, name string, otherwise int) int {
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
// done, each with one token and without an outage. SOAK_SEED repeats the times of a run.
func TestSoak(t *testing.T) {
	t.Parallel()
	kills := envNumber(t, "SOAK", 20)
	seed := envNumber(t, "SOAK_SEED", int(time.Now().Unix()))
	t.Logf("SOAK=%d SOAK_SEED=%d", kills, seed)
	killedIn, rotations, made := map[string]int{}, 0, 0
	for made < kills && !t.Failed() {
		// The next round makes up for rotations that ended before their last kill.
		for _, phases := range rotateConcurrently(t, uint64(seed), rotations, kills-made) {
			rotations++
			made += len(phases)
			for _, phase := range phases {
				killedIn[phase]++
			}
		}
	}
	t.Logf("%d kills, %d rotations, all done, one token each, no outage; killed in %v", made, rotations, killedIn)
}

// rotateConcurrently runs as many rotations as the kills need, each with its own simulator.
func rotateConcurrently(t *testing.T, seed uint64, first, kills int) [][]string {
	phases := make([][]string, (kills+killsPerRotation-1)/killsPerRotation)
	t.Run("rotations", func(t *testing.T) {
		for i := range phases {
			t.Run(strconv.Itoa(first+i), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, uint64(first+i)))
				from := []model.Phase{"", "", model.PhaseRetire, model.PhaseConfirm}[(first+i)%4]
				phases[i] = rotateThroughKills(t, random, from, min(killsPerRotation, kills-i*killsPerRotation))
			})
		}
	})
	return phases
}

// rotateThroughKills runs one rotation to its end and kills the exporter meanwhile, from
// a phase on ("": at once). It returns the phase of each kill.
func rotateThroughKills(t *testing.T, random *rand.Rand, from model.Phase, kills int) []string {
	const connection = "connection-001"
	c := startSimulator(t, "fleet-1")
	c.age("250d")
	before := c.connection(connection)
	address := freeAddress(t)
	e := c.startExporter(address)
	eventually(t, time.Minute, "the rotation has started", e.startedByAlert(c.bearer(), connection))

	// Half of the kills come quickly, since the first phases are short.
	longest := 8 * time.Second
	if from != "" {
		longest = 3 * time.Second
		eventually(t, rotationTimeout, "it is in phase "+string(from), func() bool {
			list := e.rotations(connection)
			return len(list) > 0 && list[0].Phase == from
		})
	}
	var killedIn []string
	for len(killedIn) < kills {
		wait := longest
		if random.IntN(2) == 0 {
			wait = 1500 * time.Millisecond
		}
		time.Sleep(time.Duration(random.Int64N(int64(wait))))
		phase := "start"
		if own := e.rotations(connection); len(own) > 0 {
			if own[0].Outcome != "" {
				break
			}
			phase = string(own[0].Phase)
		}
		e.kill()
		killedIn = append(killedIn, phase)
		e = c.launchExporter(address)
	}
	t.Logf("killed in %v", killedIn)
	e.waitForRotation("the rotation is done", connection)
	c.assertRotated(before)
	if n := len(e.rotations(connection)); n != 1 {
		t.Errorf("%d rotations", n)
	}
	return killedIn
}

// TestConcurrentStarts starts a rotation at once in two servers and with a command, on one
// state directory, and in one of the servers 500 times: there is one rotation.
func TestConcurrentStarts(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "fleet-1")
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
			code, err := e.post(c.bearer(), alertPayload(connection))
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
	servers[0].waitForRotation("the rotation is done", connection)
	select {
	case <-line.exited:
	case <-time.After(time.Minute):
		t.Fatal("the command still runs")
	}
	t.Logf("the command printed:\n%s", line.output())
	if own := servers[0].rotations(connection); line.command.ProcessState.ExitCode() != 0 && (len(own) == 0 || !strings.Contains(line.output(), own[0].ID)) {
		t.Errorf("the command neither ran the rotation nor names it: %v", own)
	}
	c.assertRotated(before)
	for _, e := range servers {
		if n := len(e.rotations(connection)); n != 1 {
			t.Errorf("%d rotations", n)
		}
	}
	var calls map[string]int
	c.control(http.MethodGet, "calls", nil, &calls)
	if calls["CreateBearerToken"] != 1 {
		t.Errorf("CreateBearerToken was called %d times", calls["CreateBearerToken"])
	}
}

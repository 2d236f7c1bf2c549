//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
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

// soak is what TestSoak does with one kind of rotation.
type soak struct {
	scenario, connection string
	prepare              func(*simulatorProcess)
	started              func(e *exporter, bearer, connection string) func() bool
	from                 []model.Phase // from where on the exporter is killed; "": at once
	assert               func(c *simulatorProcess, before simulator.ConnectionState)
	replicas             int // more than 1: with one state, in AWS
}

func soakToken() soak {
	return soak{
		"fleet-1", fleetConnection, func(c *simulatorProcess) { c.age("250d") }, (*exporter).startedByAlert,
		[]model.Phase{"", "", model.PhaseRetire, model.PhaseConfirm}, (*simulatorProcess).assertRotated, 1,
	}
}

func soakCertificate() soak {
	return soak{
		"demo", certificateConnection, func(*simulatorProcess) {}, (*exporter).rolloverStarted,
		[]model.Phase{"", model.PhaseVerify, "", model.PhaseConfirm}, (*simulatorProcess).assertRolledOver, 1,
	}
}

// TestSoak kills the exporter SOAK times (kill -9) in the middle of rotations: all end
// done, each with one token and without an outage. SOAK_SEED repeats the times of a run.
func TestSoak(t *testing.T) {
	t.Parallel()
	soakToken().run(t, envNumber(t, "SOAK", 20))
}

// TestSoakCertificate does the same in the middle of rollovers: all end done, each with one
// new certificate, and no sign-in fails.
func TestSoakCertificate(t *testing.T) {
	t.Parallel()
	soakCertificate().run(t, envNumber(t, "SOAK", 4))
}

// TestSoakReplicas kills replicas, too: any of three, or the holder of the lease at its next
// operation. Another one goes on.
func TestSoakReplicas(t *testing.T) {
	t.Parallel()
	s := soakToken()
	s.replicas, s.from = 3, []model.Phase{model.PhaseTest, model.PhaseRetire, "", model.PhaseConfirm}
	s.run(t, envNumber(t, "SOAK", 6))
}

func (s soak) run(t *testing.T, kills int) {
	seed := envNumber(t, "SOAK_SEED", int(time.Now().Unix()))
	t.Logf("SOAK=%d SOAK_SEED=%d", kills, seed)
	killedIn, rotations, made := map[string]int{}, 0, 0
	for made < kills && !t.Failed() {
		// The next round makes up for rotations that ended before their last kill.
		for _, phases := range s.rotateConcurrently(t, uint64(seed), rotations, kills-made) {
			rotations++
			made += len(phases)
			for _, phase := range phases {
				killedIn[phase]++
			}
		}
	}
	if !t.Failed() {
		t.Logf("%d kills, %d rotations, all done, no outage; killed in %v", made, rotations, killedIn)
	}
}

// rotateConcurrently runs as many rotations as the kills need, each with its own simulator.
func (s soak) rotateConcurrently(t *testing.T, seed uint64, first, kills int) [][]string {
	phases := make([][]string, (kills+killsPerRotation-1)/killsPerRotation)
	t.Run("rotations", func(t *testing.T) {
		for i := range phases {
			t.Run(strconv.Itoa(first+i), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, uint64(first+i)))
				phases[i] = s.rotateThroughKills(t, random, s.from[(first+i)%len(s.from)], min(killsPerRotation, kills-i*killsPerRotation))
			})
		}
	})
	return phases
}

// rotateThroughKills runs one rotation to its end and kills exporters meanwhile, from
// a phase on ("": at once). It returns the phase of each kill.
func (s soak) rotateThroughKills(t *testing.T, random *rand.Rand, from model.Phase, kills int) []string {
	c := startSimulator(t, s.scenario)
	s.prepare(c)
	if s.replicas > 1 {
		c.stateInAWS()
	}
	before := c.connection(s.connection)
	replicas := c.startReplicas(s.replicas)
	eventually(t, time.Minute, "the rotation has started", s.started(replicas[0], c.bearer(), s.connection))

	// Half of the kills come quickly, since the first phases are short.
	longest := 8 * time.Second
	if from != "" {
		longest = 3 * time.Second
		eventually(t, rotationTimeout, "it is in phase "+string(from), func() bool {
			return newest(replicas, s.connection).Phase == from
		})
	}
	var killedIn []string
	for len(killedIn) < kills {
		wait := longest
		if random.IntN(2) == 0 {
			wait = 1500 * time.Millisecond
		}
		victim, who := random.IntN(len(replicas)), ""
		if len(replicas) > 1 && random.IntN(2) == 0 {
			victim, who = c.holderAtOperation(replicas, random, func() bool {
				record := newest(replicas, s.connection)
				return record.Phase == model.PhaseConfirm || record.Outcome != ""
			})
		} else {
			time.Sleep(time.Duration(random.Int64N(int64(wait))))
		}
		record := newest(replicas, s.connection)
		if record.Outcome != "" {
			break
		}
		replicas[victim].kill()
		killedIn = append(killedIn, strings.TrimSpace(cmp.Or(string(record.Phase), "start")+" "+who))
		replicas[victim] = c.launchExporter(replicas[victim].address())
	}
	t.Logf("killed in %v", killedIn)
	for _, e := range replicas {
		repeatAlert := s.started(e, c.bearer(), s.connection) // a rotation that had created nothing was aborted
		eventually(t, 2*rotationTimeout, "the rotation is done", func() bool {
			_ = repeatAlert() // it may not be due any more
			list := e.rotations(s.connection)
			return len(list) > 0 && list[0].Outcome == model.OutcomeDone
		}, func() string { return fmt.Sprintf("%+v", e.rotations(s.connection)) })
	}
	s.assert(c, before)
	for _, e := range replicas {
		list := e.rotations(s.connection)
		if again := slices.DeleteFunc(list, func(r model.RotationRecord) bool { return r.Outcome == model.OutcomeAborted }); len(again) != 1 {
			t.Errorf("%d rotations: %+v", len(again), again)
		}
	}
	return killedIn
}

// newest is the last rotation, as the replica shows it that has read the journal last.
func newest(replicas []*exporter, connection string) (record model.RotationRecord) {
	for _, e := range replicas {
		if list := e.rotations(connection); len(list) > 0 && (record.ID == "" || len(list[0].Steps) > len(record.Steps)) {
			record = list[0]
		}
	}
	return record
}

// holderAtOperation waits for the next operation that changes something, unless there will
// be none, and returns the replica that has the lease.
func (c *simulatorProcess) holderAtOperation(replicas []*exporter, random *rand.Rand, isLast func() bool) (index int, who string) {
	calls := func() (made map[string]int) {
		c.control(http.MethodGet, "calls", nil, &made)
		return made
	}
	before := calls()
	// The holder is killed before the operation takes effect, or before it has the answer.
	effect := []simulator.Effect{simulator.EffectDelay, simulator.EffectTrickle}[random.IntN(2)]
	operations := []string{"PUT secrets", "DeleteBearerToken"}
	if before["CreateBearerToken"] == 0 { // of one that may create no more, an operator must decide
		operations = append(operations, "CreateBearerToken")
	}
	for _, operation := range operations {
		c.fault(simulator.Fault{Operation: operation, Effect: effect, Delay: simulator.Duration(5 * time.Second)})
	}
	defer c.clearFaults()
	who = "holder"
	for began := time.Now(); who == "holder" && time.Since(began) < rotationTimeout && !isLast(); time.Sleep(20 * time.Millisecond) {
		now := calls()
		for _, operation := range operations {
			if now[operation] > before[operation] {
				who = "holder at " + operation
			}
		}
	}
	holder := c.holder()
	index = slices.IndexFunc(replicas, func(e *exporter) bool { return e.command.Process.Pid == holder })
	if index < 0 {
		return 0, "without a holder"
	}
	return index, who
}

// TestConcurrentStarts starts a rotation 500 times at once in two servers, and with a
// command, on one state directory: there is one rotation. So it is with three replicas
// whose state is in AWS.
func TestConcurrentStarts(t *testing.T) {
	t.Parallel()
	t.Run("state directory", func(t *testing.T) {
		t.Parallel()
		startConcurrently(t, startSimulator(t, "fleet-1"), 2)
	})
	t.Run("state in AWS", func(t *testing.T) {
		t.Parallel()
		c := startSimulator(t, "fleet-1")
		c.stateInAWS()
		startConcurrently(t, c, 3)
	})
}

func startConcurrently(t *testing.T, c *simulatorProcess, replicas int) {
	c.age("250d")
	servers := c.startReplicas(replicas)
	const connection = fleetConnection
	before := c.connection(connection)

	var all sync.WaitGroup
	var mu sync.Mutex
	codes, slowest := map[string]int{}, time.Duration(0)
	for i := range 500 {
		e := servers[i%replicas]
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
	t.Logf("500 webhooks at once: %v, the slowest answer took %s", codes, slowest.Round(time.Millisecond))
	if codes["202 <nil>"]+codes["200 <nil>"] != 500 {
		t.Errorf("answers: %v", codes)
	}
	if slowest > 10*time.Second {
		t.Errorf("the slowest answer took %s: Alertmanager would have given up", slowest)
	}
	for _, e := range servers {
		e.waitForRotation("the rotation is done", connection)
	}
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
	started := 0
	if !strings.Contains(line.output(), "is in phase") && !strings.Contains(line.output(), "another process works on it") {
		started++ // by the command
	}
	for _, e := range servers {
		if n := len(e.rotations(connection)); n != 1 {
			t.Errorf("%d rotations", n)
		}
		started += strings.Count(e.output(), "decision=started")
	}
	if started != 1 {
		t.Errorf("started %d times", started)
	}
	var calls map[string]int
	c.control(http.MethodGet, "calls", nil, &calls)
	if calls["CreateBearerToken"] != 1 {
		t.Errorf("CreateBearerToken was called %d times", calls["CreateBearerToken"])
	}
}

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

// killsPerLife is how many kills one rotation has to survive.
const killsPerLife = 4

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
// done, each with one token and without a gap. SOAK_SEED repeats a run's moments.
func TestSoak(t *testing.T) {
	t.Parallel()
	kills := number(t, "SOAK", 20)
	seed := number(t, "SOAK_SEED", int(time.Now().Unix()))
	t.Logf("SOAK=%d SOAK_SEED=%d", kills, seed)
	struck, rotations, made := map[string]int{}, 0, 0
	for made < kills && !t.Failed() {
		// A rotation that ends before its last kill leaves it to another one.
		for _, phases := range liveAtOnce(t, uint64(seed), rotations, kills-made) {
			rotations++
			made += len(phases)
			for _, phase := range phases {
				struck[phase]++
			}
		}
	}
	t.Logf("%d kills, %d rotations, all done, one token each, no gap; killed in %v", made, rotations, struck)
}

// liveAtOnce takes as many rotations as there are kills for, each in clouds of its own.
func liveAtOnce(t *testing.T, seed uint64, first, kills int) [][]string {
	lives := make([][]string, (kills+killsPerLife-1)/killsPerLife)
	t.Run("lives", func(t *testing.T) {
		for i := range lives {
			t.Run(strconv.Itoa(first+i), func(t *testing.T) {
				t.Parallel()
				chance := rand.New(rand.NewPCG(seed, uint64(first+i)))
				from := []model.Phase{"", "", model.PhaseRetire, model.PhaseConfirm}[(first+i)%4]
				lives[i] = liveThrough(t, chance, from, min(killsPerLife, kills-i*killsPerLife))
			})
		}
	})
	return lives
}

// liveThrough takes one rotation to its end through kills, which begin with a phase ("":
// at once); it returns what each struck.
func liveThrough(t *testing.T, chance *rand.Rand, from model.Phase, kills int) []string {
	const connection = "connection-001"
	c := startClouds(t, "fleet-1")
	c.age("250d")
	before := c.connection(connection)
	address := freeAddress(t)
	e := c.startExporter(address)
	eventually(t, time.Minute, "the rotation has begun", e.told(c.bearer(), connection))

	// Half of the kills follow one another closely, for the first phases are short.
	longest := 8 * time.Second
	if from != "" {
		longest = 3 * time.Second
		eventually(t, patience, "it is in phase "+string(from), func() string {
			if own := e.rotations(connection); len(own) == 0 || own[0].Phase != from {
				return "not yet"
			}
			return ""
		})
	}
	var struck []string
	for len(struck) < kills {
		wait := longest
		if chance.IntN(2) == 0 {
			wait = 1500 * time.Millisecond
		}
		time.Sleep(time.Duration(chance.Int64N(int64(wait))))
		phase := "a start"
		if own := e.rotations(connection); len(own) > 0 {
			if own[0].Outcome != "" {
				break
			}
			phase = string(own[0].Phase)
		}
		e.kill()
		struck = append(struck, phase)
		e = c.launchExporter(address)
	}
	t.Logf("killed in %v", struck)
	eventually(t, patience, "the rotation is done", func() string { return e.notDone(connection) })
	c.assertRotated(before)
	if n := len(e.rotations(connection)); n != 1 {
		t.Errorf("%d rotations", n)
	}
	return struck
}

// TestToldAtOnce has two servers and a command line on one state directory, told at once, and
// one of them 500 times: one rotation.
func TestToldAtOnce(t *testing.T) {
	t.Parallel()
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
		t.Fatal("the command line still runs")
	}
	t.Logf("the command line said:\n%s", line.output())
	if own := servers[0].rotations(connection); line.command.ProcessState.ExitCode() != 0 && (len(own) == 0 || !strings.Contains(line.output(), own[0].ID)) {
		t.Errorf("the command line neither carried the rotation nor names it: %v", own)
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

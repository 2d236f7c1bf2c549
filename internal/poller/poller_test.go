package poller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

func TestFirstRoundIsSpreadOverAFewSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var options poller.Options
		clients := make([]*stubClient, 1000)
		for i := range clients {
			clients[i] = &stubClient{}
			options.Connections = append(options.Connections, poller.Connection{
				Name: fmt.Sprint("c", i), Sources: []poller.Source{poller.Job(5*time.Minute, clients[i].read)},
			})
		}
		begin := time.Now()
		p, stop := start(t, options, nil)
		defer stop()
		if p.Ready() {
			t.Error("ready before anything was read")
		}
		advance(3 * time.Second)
		if !p.Ready() {
			t.Error("not ready after three seconds")
		}
		perTenth := make(map[time.Duration]int)
		for i, client := range clients {
			if reads := client.readTimes(); len(reads) != 1 {
				t.Fatalf("connection %d was read %d times", i, len(reads))
			} else {
				perTenth[reads[0].Sub(begin)/(100*time.Millisecond)]++
			}
		}
		for tenth, reads := range perTenth {
			if reads > 100 {
				t.Errorf("%d of 1000 reads in one tenth of a second (the %dth)", reads, tenth)
			}
		}
	})
}

func TestPollsFollowTheIntervalWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &stubClient{}
		_, stop := start(t, oneConnection(poller.Job(5*time.Minute, client.read)), nil)
		defer stop()
		advance(24 * time.Hour)
		reads := client.readTimes()
		if len(reads) < 262 || len(reads) > 289 {
			t.Errorf("%d reads in a day, want about 275", len(reads))
		}
		for i := 1; i < len(reads); i++ {
			if gap := reads[i].Sub(reads[i-1]); gap < 5*time.Minute || gap > 5*time.Minute+30*time.Second {
				t.Errorf("gap %d is %s", i, gap)
			}
		}
	})
}

func TestFailureKeepsTheLastGoodResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &stubClient{}, &logBuffer{}
		options := oneConnection(poller.Job(5*time.Minute, client.read))
		options.Logger = log.logger(slog.LevelInfo)
		p, stop := start(t, options, nil)
		defer stop()
		advance(time.Minute)
		good := status(t, p, 0, model.SourceJob)
		if !good.Up() || p.Snapshots()[0].Job.ID != "1" {
			t.Fatalf("first poll: %+v", p.Snapshots()[0])
		}

		client.set(func(j *stubClient) {
			j.err = &model.Error{Reason: model.ReasonPermission, Op: "reading the job", Detail: "Forbidden", Advice: "grant Application.Read.All"}
		})
		advance(time.Hour)
		bad := status(t, p, 0, model.SourceJob)
		attempts := uint64(len(client.readTimes()) - 1)
		if bad.Up() || !bad.LastSuccess.Equal(good.LastSuccess) || bad.Errors[model.ReasonPermission] != attempts {
			t.Errorf("after %d failures: %+v", attempts, bad)
		}
		if p.Snapshots()[0].Job.ID != "1" {
			t.Errorf("the result became %+v", p.Snapshots()[0].Job)
		}

		client.set(func(j *stubClient) { j.err = nil })
		advance(6 * time.Minute)
		if again := status(t, p, 0, model.SourceJob); !again.Up() || again.Errors[model.ReasonPermission] != attempts {
			t.Errorf("after recovery: %+v", again)
		}
		want := `level=WARN msg="source read failed" connection=corp source_name=job reason=permission err="reading the job: permission: Forbidden (grant Application.Read.All)"
level=INFO msg="source recovered" connection=corp source_name=job`
		got := log.String()
		if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 2 {
			t.Errorf("one line at the beginning and one at the end are wanted, got\n%s", got)
		}
	})
}

func TestFailureStreakLogsEachFailureOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &stubClient{}, &logBuffer{}
		options := oneConnection(poller.Job(time.Minute, client.read))
		options.Logger = log.logger(slog.LevelInfo)
		_, stop := start(t, options, nil)
		defer stop()
		failures := []model.Error{
			{Reason: model.ReasonThrottled, Op: "reading"},
			{Reason: model.ReasonAuth, Op: "reading", Detail: "the client secret is wrong"},
			{Reason: model.ReasonAuth, Op: "reading", Detail: "the client secret has expired"},
		}
		for i := range 60 {
			failure := failures[i%len(failures)]
			failure.Detail += fmt.Sprintf(" (request id %d)", i)
			client.set(func(j *stubClient) { j.err = &failure })
			advance(time.Minute)
		}
		if lines := strings.Count(log.String(), "\n"); lines != len(failures) {
			t.Errorf("%d lines for %d failures:\n%s", lines, len(failures), log)
		}
	})
}

func TestHangingServiceTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &stubClient{hang: true}
		p, stop := start(t, oneConnection(poller.Job(5*time.Minute, client.read)), nil)
		defer stop()
		advance(59 * time.Second)
		if p.Ready() {
			t.Error("ready while the first read hangs")
		}
		advance(2 * time.Second)
		if s := status(t, p, 0, model.SourceJob); s.Errors[model.ReasonTimeout] != 1 || !p.Ready() {
			t.Errorf("after the deadline: %+v, ready %t", s, p.Ready())
		}
	})
}

func TestStoppingIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &stubClient{}, &logBuffer{}
		options := oneConnection(poller.Job(5*time.Minute, client.read))
		options.Logger = log.logger(slog.LevelDebug)
		p, stop := start(t, options, nil)
		advance(time.Minute)
		client.set(func(j *stubClient) { j.hang = true })
		p.Refresh("corp")
		advance(time.Second)
		stop()
		if s := status(t, p, 0, model.SourceJob); len(client.readTimes()) != 2 || !s.Up() || log.String() != "" {
			t.Errorf("after %d reads: %+v\n%s", len(client.readTimes()), s, log)
		}
	})
}

func TestNetworkFailuresAreRetriedSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			reason model.Reason
			gaps   []time.Duration
		}{
			{model.ReasonNetwork, []time.Duration{1, 2, 4, 8, 16, 32, 60, 60}},
			{model.ReasonTimeout, []time.Duration{1, 2, 4, 8, 16, 32, 60, 60}},
			{model.ReasonThrottled, []time.Duration{60, 60}},
			{model.ReasonAuth, []time.Duration{60, 60}},
		} {
			client := &stubClient{err: &model.Error{Reason: test.reason, Op: "reading"}}
			_, stop := start(t, oneConnection(poller.Job(time.Hour, client.read)), nil)
			advance(5 * time.Hour)
			stop()
			reads := client.readTimes()
			for i, want := range test.gaps {
				want *= time.Minute
				if gap := reads[i+1].Sub(reads[i]); gap < want || gap > want+want/10 {
					t.Errorf("%s: gap %d is %s, want %s", test.reason, i, gap, want)
				}
			}
		}
	})
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine, other, tenants := &stubClient{}, &stubClient{}, &stubClient{}
		p, stop := start(t, poller.Options{
			Connections: []poller.Connection{
				{Name: "corp", Tenant: "t", Sources: []poller.Source{poller.Job(time.Hour, mine.read)}},
				{Name: "lab", Tenant: "t", Sources: []poller.Source{poller.Job(time.Hour, other.read)}},
			},
			Tenants: []poller.Tenant{{Name: "t", Sources: []poller.Source{credentials(tenants)}}},
		}, nil)
		defer stop()
		advance(time.Minute)
		p.Refresh("corp")
		advance(0)
		if mine, other, tenants := len(mine.readTimes()), len(other.readTimes()), len(tenants.readTimes()); mine != 2 || other != 1 || tenants != 1 {
			t.Errorf("reads after Refresh: mine %d, the other's %d, the tenant's %d", mine, other, tenants)
		}

		mine.set(func(j *stubClient) { j.hang = true })
		for range 10 { // one that begins now, and one for all that came meanwhile
			p.Refresh("corp")
			advance(time.Second)
		}
		mine.set(func(j *stubClient) { j.hang, j.err = false, &model.Error{Reason: model.ReasonThrottled, Op: "reading"} })
		advance(2 * time.Minute)
		if reads := len(mine.readTimes()); reads != 4 {
			t.Errorf("%d reads, want 4", reads)
		}

		p.Refresh("corp")
		advance(time.Minute)
		if reads := len(mine.readTimes()); reads != 4 {
			t.Error("a throttled source was read out of turn")
		}
		p.Refresh("unknown")
	})
}

// A source that a connection excludes is neither shown nor read for it.
func TestTenantSourceSkipsConnectionsThatExcludeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &stubClient{}
		with := func(corp, lab []model.Source) poller.Options {
			return poller.Options{
				Connections: []poller.Connection{{Name: "corp", Tenant: "t", ExcludedSources: corp}, {Name: "lab", Tenant: "t", ExcludedSources: lab}},
				Tenants:     []poller.Tenant{{Name: "t", Sources: []poller.Source{credentials(client)}}},
			}
		}
		expect := func(p *poller.Poller, want ...string) {
			t.Helper()
			var got []string
			for _, snapshot := range p.Snapshots() {
				if status, found := snapshot.Status(model.SourceAppCredentials); found && status.Up() && len(snapshot.AppCredentials) == 1 {
					got = append(got, snapshot.Connection)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("read for %q, want %q", got, want)
			}
		}
		off := []model.Source{model.SourceAppCredentials}
		p, stop := start(t, with(nil, off), nil)
		advance(time.Minute)
		expect(p, "corp")
		stop()
		p, stop = start(t, with(off, nil), p) // a reload: the other one wants it
		advance(time.Minute)
		expect(p, "lab")
		stop()
		reads := len(client.readTimes())
		p, stop = start(t, with(off, off), p)
		defer stop()
		advance(3 * time.Hour)
		expect(p)
		if now := len(client.readTimes()); reads != 2 || now != reads || !p.Ready() {
			t.Errorf("%d reads and %d for no connection, ready: %v", reads, now-reads, p.Ready())
		}
	})
}

// credentials makes a source of a tenant of a stub.
func credentials(client *stubClient) poller.Source {
	return poller.AppCredentials(time.Hour, func(ctx context.Context) ([]model.AppCredential, error) {
		job, err := client.read(ctx)
		return []model.AppCredential{{KeyID: job.ID}}, err
	})
}

func TestPanicFailsOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, log := &stubClient{panic: "index out of range"}, &logBuffer{}
		options := oneConnection(poller.Job(time.Minute, broken.read),
			poller.Tokens(time.Minute, func(context.Context) (model.TokenList, error) { return model.TokenList{Slots: 2}, nil }))
		options.Logger = log.logger(slog.LevelDebug)
		p, stop := start(t, options, nil)
		defer stop()
		advance(time.Second)
		s := status(t, p, 0, model.SourceJob)
		want := "reading job: other: panic: index out of range (this is a bug of the exporter, --log.level=debug logs the stack)"
		if s.Err == nil || s.Err.Error() != want || s.Errors[model.ReasonOther] != 1 {
			t.Errorf("got %v, %v", s.Err, s.Errors)
		}
		if p.Snapshots()[0].Tokens == nil {
			t.Error("the other source was not read")
		}
		if !strings.Contains(log.String(), "level=DEBUG") || !strings.Contains(log.String(), "main_test.go") {
			t.Errorf("no stack in the debug log:\n%s", log)
		}
	})
}

func TestSnapshotsNeverChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &stubClient{}
		p, stop := start(t, oneConnection(poller.Job(time.Minute, client.read)), nil)
		defer stop()
		advance(time.Second)
		client.set(func(j *stubClient) { j.err = errors.New("down") })
		advance(2 * time.Minute)
		held := p.Snapshots()[0]
		shown := fmt.Sprintf("%+v %+v", held, *held.Job)
		advance(time.Hour)
		client.set(func(j *stubClient) { j.err = nil })
		advance(time.Hour)
		if now := fmt.Sprintf("%+v %+v", held, *held.Job); now != shown {
			t.Errorf("a snapshot became\n%s\nfrom\n%s", now, shown)
		}
		if p.Snapshots()[0].Job.ID == held.Job.ID {
			t.Error("nothing new was published")
		}
	})
}

func TestNothingToReadIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var err variable[error]
		p, stop := start(t, oneConnection(poller.SCIM(time.Minute, func(context.Context) (model.Probe, error) {
			return model.Probe{StatusCode: 200}, err.get()
		})), nil)
		defer stop()
		advance(time.Second)
		if p.Snapshots()[0].Probe == nil {
			t.Fatal("not probed")
		}
		err.set(fmt.Errorf("no value: %w", model.ErrSourceOff))
		advance(2 * time.Minute)
		s := status(t, p, 0, model.SourceSCIM)
		if p.Snapshots()[0].Probe != nil || !s.LastAttempt.IsZero() || s.Err != nil || len(s.Errors) != 0 || !s.Off {
			t.Errorf("switched off: %+v, %+v", p.Snapshots()[0].Probe, s)
		}
		err.set(nil)
		advance(2 * time.Minute)
		if s := status(t, p, 0, model.SourceSCIM); s.Off || !s.Up() {
			t.Errorf("on again: %+v", s)
		}
	})
}

func TestOneSideOfCertificatesIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := &model.Error{Reason: model.ReasonPermission, Op: "listing what AWS trusts", Detail: "explicit deny"}
		var hanging variable[bool]
		p, stop := start(t, oneConnection(poller.Certificates(time.Hour,
			func(ctx context.Context) (model.SigningCertificates, error) {
				if hanging.get() {
					<-ctx.Done()
					return model.SigningCertificates{}, ctx.Err()
				}
				return model.SigningCertificates{ActiveThumbprint: "AA"}, nil
			},
			func(ctx context.Context) ([]model.Certificate, error) {
				if hanging.get() {
					return []model.Certificate{{Thumbprint: "AA"}}, ctx.Err()
				}
				return nil, denied
			})), nil)
		defer stop()
		advance(time.Minute)
		s := p.Snapshots()[0]
		if s.Signing == nil || s.Trusted != nil || status(t, p, 0, model.SourceCertificates).Errors[model.ReasonPermission] != 1 {
			t.Errorf("AWS refused: %+v", s)
		}
		hanging.set(true)
		p.Refresh("corp")
		advance(2 * time.Minute)
		s = p.Snapshots()[0]
		if s.Signing == nil || s.Trusted == nil || status(t, p, 0, model.SourceCertificates).Errors[model.ReasonTimeout] != 1 {
			t.Errorf("Entra hung: %+v", s)
		}
	})
}

// All sources of a cloud share one clock, whatever the connection.
func TestClockSkewIsLoggedOncePerCloud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead variable[time.Duration]
		date := func() time.Time { return time.Now().Add(ahead.get()) }
		tokens := poller.Tokens(time.Minute, func(context.Context) (model.TokenList, error) { return model.TokenList{Date: date()}, nil })
		scim := poller.SCIM(time.Minute, func(context.Context) (model.Probe, error) { return model.Probe{Date: date()}, nil })
		job := poller.Job(time.Minute, func(context.Context) (model.Job, error) { return model.Job{Date: date()}, nil })
		log := &logBuffer{}
		options := poller.Options{Logger: log.logger(slog.LevelInfo)}
		for _, name := range []string{"corp", "ops", "lab"} {
			options.Connections = append(options.Connections, poller.Connection{Name: name, Identity: name, Sources: []poller.Source{tokens, scim, job}})
		}
		ahead.set(time.Hour)
		p, stop := start(t, options, nil)
		advance(5 * time.Minute)
		stop()
		_, stop = start(t, options, p) // reloaded
		defer stop()
		advance(5 * time.Minute)
		ahead.set(0)
		advance(5 * time.Minute)
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		slices.Sort(lines)
		want := []string{
			`level=INFO msg="clock skew resolved" cloud=AWS`,
			`level=INFO msg="clock skew resolved" cloud=Entra`,
			`level=WARN msg="clock skew detected" cloud=AWS service_ahead=1h0m0s advice="check this host's time synchronization"`,
			`level=WARN msg="clock skew detected" cloud=Entra service_ahead=1h0m0s advice="check this host's time synchronization"`,
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestClockSkewIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &stubClient{}, &logBuffer{}
		options := oneConnection(poller.Job(time.Minute, client.read))
		options.Logger = log.logger(slog.LevelInfo)
		_, stop := start(t, options, nil)
		defer stop()
		for _, ahead := range []time.Duration{time.Minute, 5 * time.Minute, 5 * time.Minute, -48 * time.Hour, 0} {
			for range 30 {
				client.set(func(j *stubClient) { j.date = time.Now().Add(ahead) })
				advance(5 * time.Second)
			}
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "clock skew detected") || !strings.Contains(lines[1], "clock skew resolved") {
			t.Errorf("got %d lines:\n%s", len(lines), log)
		}
	})
}

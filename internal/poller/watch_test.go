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
		clients := make([]*jobs, 1000)
		for i := range clients {
			clients[i] = &jobs{}
			options.Connections = append(options.Connections, poller.Connection{
				Name: fmt.Sprint("c", i), Sources: []poller.Source{poller.Job(5*time.Minute, clients[i].read)},
			})
		}
		begin := time.Now()
		w, stop := start(t, options, nil)
		defer stop()
		if w.Ready() {
			t.Error("ready before anything was read")
		}
		after(3 * time.Second)
		if !w.Ready() {
			t.Error("not ready after three seconds")
		}
		perTenth := make(map[time.Duration]int)
		for i, client := range clients {
			if looks := client.times(); len(looks) != 1 {
				t.Fatalf("connection %d was read %d times", i, len(looks))
			} else {
				perTenth[looks[0].Sub(begin)/(100*time.Millisecond)]++
			}
		}
		for tenth, looks := range perTenth {
			if looks > 100 {
				t.Errorf("%d of 1000 reads in one tenth of a second (the %dth)", looks, tenth)
			}
		}
	})
}

func TestGapsAreTheIntervalAndALittleJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &jobs{}
		_, stop := start(t, one(poller.Job(5*time.Minute, client.read)), nil)
		defer stop()
		after(24 * time.Hour)
		looks := client.times()
		if len(looks) < 262 || len(looks) > 289 {
			t.Errorf("%d looks in a day, want about 275", len(looks))
		}
		for i := 1; i < len(looks); i++ {
			if gap := looks[i].Sub(looks[i-1]); gap < 5*time.Minute || gap > 5*time.Minute+30*time.Second {
				t.Errorf("gap %d is %s", i, gap)
			}
		}
	})
}

func TestWhatFailsKeepsTheLastGoodReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &jobs{}, &logbook{}
		options := one(poller.Job(5*time.Minute, client.read))
		options.Logger = log.logger(slog.LevelInfo)
		w, stop := start(t, options, nil)
		defer stop()
		after(time.Minute)
		good := status(t, w, 0, model.SourceJob)
		if !good.Up() || w.Snapshots()[0].Job.ID != "1" {
			t.Fatalf("first look: %+v", w.Snapshots()[0])
		}

		client.set(func(j *jobs) {
			j.err = &model.Error{Reason: model.ReasonPermission, Op: "reading the job", Detail: "Forbidden", Advice: "grant Application.Read.All"}
		})
		after(time.Hour)
		bad := status(t, w, 0, model.SourceJob)
		attempts := uint64(len(client.times()) - 1)
		if bad.Up() || !bad.LastSuccess.Equal(good.LastSuccess) || bad.Errors[model.ReasonPermission] != attempts {
			t.Errorf("after %d failures: %+v", attempts, bad)
		}
		if w.Snapshots()[0].Job.ID != "1" {
			t.Errorf("the reading became %+v", w.Snapshots()[0].Job)
		}

		client.set(func(j *jobs) { j.err = nil })
		after(6 * time.Minute)
		if again := status(t, w, 0, model.SourceJob); !again.Up() || again.Errors[model.ReasonPermission] != attempts {
			t.Errorf("after recovery: %+v", again)
		}
		want := `level=WARN msg="reading failed, the last good values stay" connection=corp reading=job reason=permission err="reading the job: permission: Forbidden (grant Application.Read.All)"
level=INFO msg="reading works again" connection=corp reading=job`
		got := log.String()
		if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 2 {
			t.Errorf("one line at the beginning and one at the end are wanted, got\n%s", got)
		}
	})
}

func TestAnEpisodeLogsEachReasonOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &jobs{}, &logbook{}
		options := one(poller.Job(time.Minute, client.read))
		options.Logger = log.logger(slog.LevelInfo)
		_, stop := start(t, options, nil)
		defer stop()
		for i := range 60 {
			reason := model.ReasonAuth
			if i%2 == 0 {
				reason = model.ReasonThrottled
			}
			client.set(func(j *jobs) { j.err = &model.Error{Reason: reason, Op: "reading"} })
			after(time.Minute)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 2 {
			t.Errorf("%d lines for two reasons:\n%s", lines, log)
		}
	})
}

func TestAHangingServiceIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &jobs{hang: true}
		w, stop := start(t, one(poller.Job(5*time.Minute, client.read)), nil)
		defer stop()
		after(59 * time.Second)
		if w.Ready() {
			t.Error("ready while the first look hangs")
		}
		after(2 * time.Second)
		if s := status(t, w, 0, model.SourceJob); s.Errors[model.ReasonTimeout] != 1 || !w.Ready() {
			t.Errorf("after the deadline: %+v, ready %t", s, w.Ready())
		}
	})
}

func TestStoppingIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &jobs{}, &logbook{}
		options := one(poller.Job(5*time.Minute, client.read))
		options.Logger = log.logger(slog.LevelDebug)
		w, stop := start(t, options, nil)
		after(time.Minute)
		client.set(func(j *jobs) { j.hang = true })
		w.Refresh("corp")
		after(time.Second)
		stop()
		if s := status(t, w, 0, model.SourceJob); len(client.times()) != 2 || !s.Up() || log.String() != "" {
			t.Errorf("after %d looks: %+v\n%s", len(client.times()), s, log)
		}
	})
}

func TestAfterTheNetworkFailedItLooksSooner(t *testing.T) {
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
			client := &jobs{err: &model.Error{Reason: test.reason, Op: "reading"}}
			_, stop := start(t, one(poller.Job(time.Hour, client.read)), nil)
			after(5 * time.Hour)
			stop()
			looks := client.times()
			for i, want := range test.gaps {
				want *= time.Minute
				if gap := looks[i+1].Sub(looks[i]); gap < want || gap > want+want/10 {
					t.Errorf("%s: gap %d is %s, want %s", test.reason, i, gap, want)
				}
			}
		}
	})
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine, other, tenants := &jobs{}, &jobs{}, &jobs{}
		w, stop := start(t, poller.Options{
			Connections: []poller.Connection{
				{Name: "corp", Tenant: "t", Sources: []poller.Source{poller.Job(time.Hour, mine.read)}},
				{Name: "lab", Tenant: "t", Sources: []poller.Source{poller.Job(time.Hour, other.read)}},
			},
			Tenants: []poller.Tenant{{Name: "t", Sources: []poller.Source{credentials(tenants)}}},
		}, nil)
		defer stop()
		after(time.Minute)
		w.Refresh("corp")
		after(0)
		if mine, other, tenants := len(mine.times()), len(other.times()), len(tenants.times()); mine != 2 || other != 1 || tenants != 1 {
			t.Errorf("looks after Refresh: mine %d, the other's %d, the tenant's %d", mine, other, tenants)
		}

		mine.set(func(j *jobs) { j.hang = true })
		for range 10 { // one that begins now, and one for all that came meanwhile
			w.Refresh("corp")
			after(time.Second)
		}
		mine.set(func(j *jobs) { j.hang, j.err = false, &model.Error{Reason: model.ReasonThrottled, Op: "reading"} })
		after(2 * time.Minute)
		if looks := len(mine.times()); looks != 4 {
			t.Errorf("%d looks, want 4", looks)
		}

		w.Refresh("corp")
		after(time.Minute)
		if looks := len(mine.times()); looks != 4 {
			t.Error("a throttled source was read out of turn")
		}
		w.Refresh("nobody")
	})
}

// What a connection does not want of its tenant's is neither shown nor read for it.
func TestATenantsSourceIsForThoseThatWantIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &jobs{}
		with := func(corp, lab []model.Source) poller.Options {
			return poller.Options{
				Connections: []poller.Connection{{Name: "corp", Tenant: "t", Without: corp}, {Name: "lab", Tenant: "t", Without: lab}},
				Tenants:     []poller.Tenant{{Name: "t", Sources: []poller.Source{credentials(client)}}},
			}
		}
		expect := func(w *poller.Poller, want ...string) {
			t.Helper()
			var got []string
			for _, snapshot := range w.Snapshots() {
				if status, watched := snapshot.Status(model.SourceAppCredentials); watched && status.Up() && len(snapshot.AppCredentials) == 1 {
					got = append(got, snapshot.Connection)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("read for %q, want %q", got, want)
			}
		}
		off := []model.Source{model.SourceAppCredentials}
		w, stop := start(t, with(nil, off), nil)
		after(time.Minute)
		expect(w, "corp")
		stop()
		w, stop = start(t, with(off, nil), w) // a reload: the other one wants it
		after(time.Minute)
		expect(w, "lab")
		stop()
		looks := len(client.times())
		w, stop = start(t, with(off, off), w)
		defer stop()
		after(3 * time.Hour)
		expect(w)
		if now := len(client.times()); looks != 2 || now != looks || !w.Ready() {
			t.Errorf("%d looks and %d for nobody, ready: %v", looks, now-looks, w.Ready())
		}
	})
}

// credentials makes a source of a tenant of a stub.
func credentials(client *jobs) poller.Source {
	return poller.AppCredentials(time.Hour, func(ctx context.Context) ([]model.AppCredential, error) {
		job, err := client.read(ctx)
		return []model.AppCredential{{KeyID: job.ID}}, err
	})
}

func TestAPanicIsAFailureOfOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, log := &jobs{panic: "index out of range"}, &logbook{}
		options := one(poller.Job(time.Minute, broken.read),
			poller.Tokens(time.Minute, func(context.Context) (model.TokenList, error) { return model.TokenList{Slots: 2}, nil }))
		options.Logger = log.logger(slog.LevelDebug)
		w, stop := start(t, options, nil)
		defer stop()
		after(time.Second)
		s := status(t, w, 0, model.SourceJob)
		want := "reading job: other: panic: index out of range (this is a bug of the exporter, --log.level=debug logs the stack)"
		if s.Err == nil || s.Err.Error() != want || s.Errors[model.ReasonOther] != 1 {
			t.Errorf("got %v, %v", s.Err, s.Errors)
		}
		if w.Snapshots()[0].Tokens == nil {
			t.Error("the other source was not read")
		}
		if !strings.Contains(log.String(), "level=DEBUG") || !strings.Contains(log.String(), "main_test.go") {
			t.Errorf("no stack in the debug log:\n%s", log)
		}
	})
}

func TestSnapshotsNeverChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &jobs{}
		w, stop := start(t, one(poller.Job(time.Minute, client.read)), nil)
		defer stop()
		after(time.Second)
		client.set(func(j *jobs) { j.err = errors.New("down") })
		after(2 * time.Minute)
		held := w.Snapshots()[0]
		shown := fmt.Sprintf("%+v %+v", held, *held.Job)
		after(time.Hour)
		client.set(func(j *jobs) { j.err = nil })
		after(time.Hour)
		if now := fmt.Sprintf("%+v %+v", held, *held.Job); now != shown {
			t.Errorf("a snapshot became\n%s\nfrom\n%s", now, shown)
		}
		if w.Snapshots()[0].Job.ID == held.Job.ID {
			t.Error("nothing new was published")
		}
	})
}

func TestNothingToReadIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var err variable[error]
		w, stop := start(t, one(poller.SCIM(time.Minute, func(context.Context) (model.Probe, error) {
			return model.Probe{StatusCode: 200}, err.get()
		})), nil)
		defer stop()
		after(time.Second)
		if w.Snapshots()[0].Probe == nil {
			t.Fatal("not probed")
		}
		err.set(fmt.Errorf("no value: %w", model.ErrSourceOff))
		after(2 * time.Minute)
		s := status(t, w, 0, model.SourceSCIM)
		if w.Snapshots()[0].Probe != nil || !s.LastAttempt.IsZero() || s.Err != nil || len(s.Errors) != 0 || !s.Off {
			t.Errorf("switched off: %+v, %+v", w.Snapshots()[0].Probe, s)
		}
		err.set(nil)
		after(2 * time.Minute)
		if s := status(t, w, 0, model.SourceSCIM); s.Off || !s.Up() {
			t.Errorf("on again: %+v", s)
		}
	})
}

func TestOneSideOfTheCertificatesIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := &model.Error{Reason: model.ReasonPermission, Op: "listing what AWS trusts", Detail: "explicit deny"}
		var hanging variable[bool]
		w, stop := start(t, one(poller.Certificates(time.Hour,
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
		after(time.Minute)
		s := w.Snapshots()[0]
		if s.Signing == nil || s.Trusted != nil || status(t, w, 0, model.SourceCertificates).Errors[model.ReasonPermission] != 1 {
			t.Errorf("AWS refused: %+v", s)
		}
		hanging.set(true)
		w.Refresh("corp")
		after(2 * time.Minute)
		s = w.Snapshots()[0]
		if s.Signing == nil || s.Trusted == nil || status(t, w, 0, model.SourceCertificates).Errors[model.ReasonTimeout] != 1 {
			t.Errorf("Entra hung: %+v", s)
		}
	})
}

// Whatever is read of a cloud, for whichever connection: its clock is one.
func TestAClockThatIsOffIsSaidOncePerCloud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead variable[time.Duration]
		date := func() time.Time { return time.Now().Add(ahead.get()) }
		tokens := poller.Tokens(time.Minute, func(context.Context) (model.TokenList, error) { return model.TokenList{Date: date()}, nil })
		scim := poller.SCIM(time.Minute, func(context.Context) (model.Probe, error) { return model.Probe{Date: date()}, nil })
		job := poller.Job(time.Minute, func(context.Context) (model.Job, error) { return model.Job{Date: date()}, nil })
		log := &logbook{}
		options := poller.Options{Logger: log.logger(slog.LevelInfo)}
		for _, name := range []string{"corp", "ops", "lab"} {
			options.Connections = append(options.Connections, poller.Connection{Name: name, Identity: name, Sources: []poller.Source{tokens, scim, job}})
		}
		ahead.set(time.Hour)
		w, stop := start(t, options, nil)
		after(5 * time.Minute)
		stop()
		_, stop = start(t, options, w) // reloaded
		defer stop()
		after(5 * time.Minute)
		ahead.set(0)
		after(5 * time.Minute)
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		slices.Sort(lines)
		want := []string{
			`level=INFO msg="clocks agree again" cloud=AWS`,
			`level=INFO msg="clocks agree again" cloud=Entra`,
			`level=WARN msg="clocks differ, check this host's time synchronisation" cloud=AWS service_ahead=1h0m0s`,
			`level=WARN msg="clocks differ, check this host's time synchronisation" cloud=Entra service_ahead=1h0m0s`,
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestAClockThatIsOffIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, log := &jobs{}, &logbook{}
		options := one(poller.Job(time.Minute, client.read))
		options.Logger = log.logger(slog.LevelInfo)
		_, stop := start(t, options, nil)
		defer stop()
		for _, ahead := range []time.Duration{time.Minute, 5 * time.Minute, 5 * time.Minute, -48 * time.Hour, 0} {
			for range 30 {
				client.set(func(j *jobs) { j.date = time.Now().Add(ahead) })
				after(5 * time.Second)
			}
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "clocks differ") || !strings.Contains(lines[1], "clocks agree again") {
			t.Errorf("got %d lines:\n%s", len(lines), log)
		}
	})
}

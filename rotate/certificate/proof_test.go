package certificate

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// Which log counts, and which baseline its counts are compared with.
func TestSignIns(t *testing.T) {
	read := func(ctx context.Context, r runner) (model.Phase, error) {
		counts, baseline, by, err := prover(r).signIns(ctx, time.Now().Add(-time.Hour))
		return model.Phase(fmt.Sprintf("%d of %d by %s", counts.Successes, baseline.Successes, by)), err
	}
	scenes := func() *scene {
		s := active()
		s.record.Rotation.Plan.Accepted = policy.SignInBaseline{Successes: 700, Available: true}
		s.record.Rotation.Plan.Issued = policy.SignInBaseline{Successes: 900, Available: true}
		s.aws, s.entra = signIns(3, 2, 0), signIns(5, 2, 0)
		return s
	}
	nothingBefore := func(s *scene) { s.record.Rotation.Plan.Accepted = policy.SignInBaseline{Available: true} }
	testStep(t, scenes, read, []outcome{
		{"both", unspoiled, "3 of 700 by CloudTrail"},
		{"nobody in AWS's, as before", func(s *scene) { nothingBefore(s); s.aws = signIns(0, 0, 0) }, "5 of 900 by Entra's sign-in log"},
		{"nobody in AWS's, unlike before", func(s *scene) { s.aws = signIns(0, 0, 0) }, "0 of 700 by CloudTrail"},
		{"one in AWS's, unlike before", func(s *scene) { nothingBefore(s); s.aws = signIns(1, 1, 0) }, "1 of 0 by CloudTrail"},
		{"one failure in AWS's, unlike before", func(s *scene) { nothingBefore(s); s.aws = signIns(0, 0, 1) }, "0 of 0 by CloudTrail"},
		{"AWS's may not be read, and has counts", func(s *scene) { nothingBefore(s); s.aws.Available = false }, "5 of 900 by Entra's sign-in log"},
		{"neither", func(s *scene) { nothingBefore(s); s.aws, s.entra = signIns(0, 0, 0), model.SignIns{} }, "0 of 0 by CloudTrail"},
		{"AWS's has no answer", func(s *scene) { s.failing["log"] = errNoAnswer }, "no answer"},
		{"AWS's has no answer, and had none before", func(s *scene) { nothingBefore(s); s.failing["log"], s.aws = errNoAnswer, signIns(0, 0, 0) }, "no answer"},
		{"Entra's has no answer", func(s *scene) { nothingBefore(s); s.aws = signIns(0, 0, 0); s.failing["entra's log"] = errNoAnswer }, "no answer"},
		{"Entra's has no answer, and is none", func(s *scene) {
			nothingBefore(s)
			s.aws, s.entra, s.failing["entra's log"] = signIns(0, 0, 0), model.SignIns{}, errNoAnswer
		}, "no answer"},
	})
}

// Since when failures are counted: since the last change, and of late.
func TestFailingSince(t *testing.T) {
	for name, test := range map[string]struct {
		scenes func() *scene
		change func(*scene)
		want   []time.Duration // before the check
	}{
		"stored an hour ago":        {active, func(s *scene) { s.record.Rotation.Proof.Stored = s.timestamps(time.Hour + readGap) }, []time.Duration{time.Hour, time.Hour}},
		"stored later":              {active, func(s *scene) { s.record.Rotation.Proof.Stored = s.timestamps(30*time.Minute + readGap) }, []time.Duration{30 * time.Minute}},
		"stored long ago":           {active, unspoiled, []time.Duration{9*day - readGap, time.Hour}},
		"not stored, but attempted": {active, func(s *scene) { s.record.Rotation.Proof = Proof{} }, []time.Duration{10*day - readGap, time.Hour}},
		"the old one is gone":       {gone, unspoiled, []time.Duration{50*time.Minute - readGap}},
		"written by another clock": {active, func(s *scene) {
			s.record.Rotation.Proof.Stored = journal.Timestamps{Local: s.ago(day - 5*time.Minute), AWS: s.ago(day - s.skew)}
		}, []time.Duration{day - readGap, time.Hour}},
		"written by our clock alone": {active, func(s *scene) { s.record.Rotation.Proof.Stored = journal.Timestamps{Local: s.ago(day)} }, []time.Duration{day - readGap, time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := test.scenes()
				test.change(s)
				s.play(t, func(ctx context.Context, r runner) {
					if _, err := r.readSides(ctx); err != nil {
						t.Fatal(err)
					}
					if _, err := prover(r).failing(ctx); err != nil {
						t.Fatal(err)
					}
				})
				var got []time.Duration
				for _, since := range s.sinceAWS {
					got = append(got, time.Until(since.Add(-s.skew))*-1)
				}
				if fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("counted since %v, want %v", got, test.want)
				}
			})
		})
	}
}

// The clock that says less counts, whoever wrote the time down.
func TestSince(t *testing.T) {
	for name, test := range map[string]struct {
		local, aws time.Duration // how long ago, by each clock; zero: not written down
		noDate     bool          // AWS's clock is unknown now
		want       time.Duration
	}{
		"both agree":             {time.Hour, time.Hour, false, time.Hour},
		"a clock that is behind": {time.Hour + 5*time.Minute, time.Hour, false, time.Hour},
		"a clock that is ahead":  {time.Hour - 5*time.Minute, time.Hour, false, time.Hour - 5*time.Minute},
		"without AWS's clock":    {time.Hour, 0, false, time.Hour},
		"AWS's clock is unknown": {time.Hour + 5*time.Minute, time.Hour, true, time.Hour + 5*time.Minute},
	} {
		for _, speedup := range []int{1, 60} {
			synctest.Test(t, func(t *testing.T) {
				s := active()
				s.speedup, s.noDate = speedup, test.noDate
				at := journal.Timestamps{Local: time.Now().Add(-test.local)}
				if test.aws > 0 {
					at.AWS = time.Now().Add(s.skew - test.aws)
				}
				s.play(t, func(ctx context.Context, r runner) {
					if _, err := r.readSides(ctx); err != nil {
						t.Fatal(err)
					}
					if got, want := r.since(at), test.want*time.Duration(speedup); got != want {
						t.Errorf("%s, %d times as fast: %s, want %s", name, speedup, got, want)
					}
				})
			})
		}
	}
}

// A log that may not be read says nothing about failures.
func TestUnreadableLogOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := active()
		s.aws = model.SignIns{Failures: 9}
		s.play(t, func(ctx context.Context, r runner) {
			if failing, err := prover(r).failing(ctx); failing || err != nil {
				t.Errorf("failing: %t, %v", failing, err)
			}
		})
	})
}

// A log may take two minutes to be read.
func TestReadLogEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := readLog(t.Context(), func(ctx context.Context, _ time.Time) (model.SignIns, error) {
			<-ctx.Done()
			return model.SignIns{}, ctx.Err()
		}, began)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 2*time.Minute {
			t.Errorf("%v after %s", err, took)
		}
	})
}

package clouds

import "testing"

func TestReplaceJob(t *testing.T) {
	s := newHarness(t, Quarantined("corp"))
	id, err := s.ReplaceJob(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, s.JobID)
	s.must(err)
	if _, err := s.Job(CallerFor(ActorOperator), s.EntraTenantID, s.ServicePrincipalID, s.JobID); err == nil {
		t.Error("the job that was replaced is still there")
	}
	job, err := s.Job(CallerFor(ActorOperator), s.EntraTenantID, s.ServicePrincipalID, id)
	s.must(err)
	if job.ID != id || job.Quarantine != nil && job.Quarantine.SeriesBegan.Before(s.Now()) || job.LastSuccess != nil {
		t.Errorf("the new job remembers: %+v", job.Job)
	}
}

func TestRetryNow(t *testing.T) {
	s := newHarness(t, Quarantined("corp"))
	failures := *s.job().ConsecutiveFailures
	s.must(s.RetryNow(CallerFor(ActorEngine), s.EntraTenantID, s.ServicePrincipalID, s.JobID))
	s.advance(cycleLength)
	if now := *s.job().ConsecutiveFailures; now != failures+1 {
		t.Errorf("%d failures, before the attempt %d", now, failures)
	}
	s.must(s.SaveToken(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, s.create(ActorOperator).ID))
	s.must(s.RetryNow(CallerFor(ActorEngine), s.EntraTenantID, s.ServicePrincipalID, s.JobID))
	s.advance(cycleLength)
	if job := s.job(); job.Quarantine != nil {
		t.Errorf("after a good attempt: %+v", job.Quarantine)
	}
}

func TestCycleSince(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.start()
	began := s.Now()
	s.advance(cycleLength / 2)
	if since := s.CycleSince(s.ServicePrincipalID); !since.Equal(began) {
		t.Errorf("in a cycle since %s, want %s", since, began)
	}
	s.advance(cycleLength)
	if since := s.CycleSince(s.ServicePrincipalID); !since.IsZero() {
		t.Errorf("between two cycles, but since %s", since)
	}
}

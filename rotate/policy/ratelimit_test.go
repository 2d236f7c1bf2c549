package policy_test

import (
	"testing"
	"time"

	"entra-aws-exporter/rotate/policy"
)

// requestedBefore is a rate limit with creations requested so long ago.
func requestedBefore(ages ...time.Duration) policy.RateLimit {
	var limit policy.RateLimit
	for _, age := range ages {
		limit.Creations = append(limit.Creations, policy.CallWindow{From: now.Add(-age), To: now.Add(-age + time.Minute)})
	}
	return limit
}

func TestCreationsExceeded(t *testing.T) {
	const aDay, aWeek = "2 tokens were requested within a day", "4 tokens were requested within a week"
	for _, test := range []struct {
		name string
		ages []time.Duration
		want string
	}{
		{"none", nil, ""},
		{"one", []time.Duration{time.Hour}, ""},
		{"two within a day", []time.Duration{day - time.Second, time.Hour}, aDay},
		{"the first one a day ago", []time.Duration{day, time.Hour}, ""},
		{"three within a week", []time.Duration{6 * day, 4 * day, 2 * day}, ""},
		{"four within a week", []time.Duration{7*day - time.Second, 5 * day, 3 * day, time.Hour}, aWeek},
		{"the first one a week ago", []time.Duration{7 * day, 5 * day, 3 * day, time.Hour}, ""},
	} {
		if got := requestedBefore(test.ages...).CreationsExceeded(now); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestRecoveriesExceeded(t *testing.T) {
	for _, test := range []struct {
		name string
		ages []time.Duration
		want bool
	}{
		{"none", nil, false},
		{"one", []time.Duration{time.Hour}, false},
		{"two within a day", []time.Duration{day - time.Second, time.Hour}, true},
		{"the first one a day ago", []time.Duration{day, time.Hour}, false},
	} {
		var limit policy.RateLimit
		for _, age := range test.ages {
			limit.Recoveries = append(limit.Recoveries, now.Add(-age))
		}
		if got := limit.RecoveriesExceeded(now); got != test.want {
			t.Errorf("%s: exceeded: %t", test.name, got)
		}
	}
}

func TestPrune(t *testing.T) {
	limit := requestedBefore(31*day, 30*day, 29*day, time.Hour)
	limit.Recoveries = []time.Time{now.Add(-8 * day), now.Add(-7 * day), now}
	limit.Prune(now)
	if len(limit.Creations) != 2 || !limit.Creations[0].From.Equal(now.Add(-29*day)) {
		t.Errorf("creations %v, want those of the last 30 days", limit.Creations)
	}
	if len(limit.Recoveries) != 2 || !limit.Recoveries[0].Equal(now.Add(-7*day)) {
		t.Errorf("recoveries %v, want those of the last 7 days", limit.Recoveries)
	}
	limit.Prune(now.Add(365 * day))
	if len(limit.Creations)+len(limit.Recoveries) != 0 {
		t.Errorf("after a year: %+v", limit)
	}
}

func TestCallWindowContains(t *testing.T) {
	window := policy.CallWindow{From: now, To: now.Add(time.Minute)}
	for _, test := range []struct {
		at   time.Duration
		want bool
	}{
		{-policy.WindowSlack - time.Nanosecond, false},
		{-policy.WindowSlack, true},
		{30 * time.Second, true},
		{time.Minute + policy.WindowSlack, true},
		{time.Minute + policy.WindowSlack + time.Nanosecond, false},
	} {
		if got := window.Contains(now.Add(test.at)); got != test.want {
			t.Errorf("%s after the beginning: contained: %t", test.at, got)
		}
	}
}

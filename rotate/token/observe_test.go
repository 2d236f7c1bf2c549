package token

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

func TestExpiredAfterAnHourOfGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observer{&session{Session: &rotate.Session{AWS: rotate.Clock{Offset: time.Minute, Known: true}}}}
		for ago, expired := range map[time.Duration]bool{time.Hour - time.Second: false, time.Hour + time.Second: true, 2 * time.Hour: true} {
			if o.expired(model.Token{Expires: time.Now().Add(time.Minute - ago)}) != expired {
				t.Errorf("%s after the expiry by AWS's clock: want expired %v", ago, expired)
			}
		}
		o.AWS.Known = false
		if o.expired(model.Token{Expires: time.Now().Add(-24 * time.Hour)}) {
			t.Error("expired by an unknown clock")
		}
	})
}

func observed(step func(context.Context, runner, *scene) (any, error)) func(context.Context, runner) (model.Phase, error) {
	return func(ctx context.Context, r runner) (model.Phase, error) {
		r.AWS.Set(time.Now().Add(skew))
		result, err := step(ctx, r, r.options.Provisioning.(*scene))
		return said(result), err
	}
}

func retireScene() *scene { return newScene(deleteRetire) }

// A list from the configuration has no clock: AWS is asked for it.
func TestListTokens(t *testing.T) {
	testStep(t, retireScene, func(ctx context.Context, r runner) (model.Phase, error) {
		_, err := r.listTokens(ctx)
		return said(r.AWS.Known, r.AWS.Offset, r.options.Provisioning.(*scene).made), err
	}, []outcome{
		{"AWS's", func(*scene) {}, "true 1m0s [list]"},
		{"AWS does not answer", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"declared", func(s *scene) { s.list.Origin = model.OriginDeclared }, "true 1m0s [list probe ping]"},
		{"declared, and AWS does not answer", func(s *scene) { s.list.Origin, s.failing["probe ping"] = model.OriginDeclared, errNoAnswer }, "no answer"},
		{"not declared", func(s *scene) { s.list.Origin, s.failing["list"] = model.OriginDeclared, errNoAnswer }, "no answer"},
	})
}

// Two lists in a row are equal if they have the same tokens with the same dates.
func TestStableTokens(t *testing.T) {
	changed := func(change func(*scene)) func(*scene) {
		return func(s *scene) { s.then["list 2"] = func() { change(s) } }
	}
	testStep(t, retireScene, observed(func(ctx context.Context, r runner, s *scene) (any, error) {
		_, err := r.stableTokens(ctx)
		return s.lists, err
	}), []outcome{
		{"stable", func(*scene) {}, "2 after 10s"},
		{"unstable", func(s *scene) { s.unstable = true }, "listing SCIM tokens: other: no two lists in a row are equal after 1m0s"},
		{"one is gone", changed(func(s *scene) { s.list.Tokens = s.list.Tokens[1:] }), "3 after 20s"},
		{"one is another", changed(func(s *scene) { s.list.Tokens[0].ID = "older" }), "3 after 20s"},
		{"one was created later", changed(func(s *scene) { s.list.Tokens[0].Created = s.list.Tokens[0].Created.Add(1) }), "3 after 20s"},
		{"one expires later", changed(func(s *scene) { s.list.Tokens[0].Expires = s.list.Tokens[0].Expires.Add(1) }), "3 after 20s"},
		{"the second fails", changed(func(s *scene) { s.failing["list"] = errNoAnswer }), "no answer after 10s"},
		{"the process stops", func(s *scene) { s.stopped = 5 * time.Second }, "context canceled after 5s"},
	})
}

// A token is the only valid one when every other has expired.
func TestOnlyValid(t *testing.T) {
	testStep(t, retireScene, observed(func(_ context.Context, r runner, s *scene) (any, error) {
		return r.onlyValid(s.list, s.list.Tokens[0]), nil
	}), []outcome{
		{"another is valid", func(*scene) {}, "false"},
		{"another has expired", func(s *scene) { s.list.Tokens[1] = s.created("new", year+2*time.Hour) }, "true"},
		{"it has expired itself", func(s *scene) { s.list.Tokens[0] = s.created("old", year+2*time.Hour) }, "false"},
		{"alone", func(s *scene) { s.list.Tokens = s.list.Tokens[:1] }, "true"},
	})
}

// An orphan is the one unknown token that was created while a call of ours was in flight
// whose outcome is unknown.
func TestOrphan(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteOrphan) }, observed(func(_ context.Context, r runner, s *scene) (any, error) {
		orphan, found := r.orphan(s.list.Tokens)
		return []any{found, orphan.ID}, nil
	}), []outcome{
		{"one", func(*scene) {}, "[true new]"},
		{"none is unknown", func(s *scene) { s.list.Tokens = s.list.Tokens[:1] }, "[false ]"},
		{"two are unknown", func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.created("third", day)) }, "[false ]"},
		{"the outcome is known", func(s *scene) { s.record.RateLimit.Creations[0].Resolved = true }, "[false ]"},
		{"created at another time", func(s *scene) { s.list.Tokens[1] = s.created("new", 5*time.Hour) }, "[false ]"},
		{"its creation time is unknown", func(s *scene) {
			s.list.Tokens[1].Created = time.Time{}
			s.record.RateLimit.Creations = []policy.CallWindow{{}}
		}, "[false ]"},
	})
}

func TestBindingIsTheSame(t *testing.T) {
	testStep(t, retireScene, observed(func(ctx context.Context, r runner, _ *scene) (any, error) {
		return "", r.checkBinding(ctx)
	}), []outcome{
		{"the same", func(s *scene) { s.binding.SCIMEndpoint += "/" }, "-"},
		{"another endpoint", func(s *scene) { s.binding.SCIMEndpoint = "https://else.example.com" }, "binding_changed: the connection now resolves to job job and provisioning tenant tenant, the rotation began with job job and provisioning tenant tenant"},
	})
}

// Two addresses are one if host and path are the same.
func TestSameEndpoint(t *testing.T) {
	const endpoint = "https://scim.example.com/t/scim/v2"
	for other, same := range map[string]bool{
		endpoint:                             true,
		endpoint + "/?aadOptscim062020":      true,
		"https://SCIM.example.com/t/scim/v2": true,
		"https://else.example.com/t/scim/v2": false,
		"https://scim.example.com/u/scim/v2": false,
		"https://scim.example.com/T/scim/v2": false,
	} {
		if sameEndpoint(endpoint, other) != same || sameEndpoint(other, endpoint) != same {
			t.Errorf("%s: want %v", other, same)
		}
	}
	if sameEndpoint("%", "") || sameEndpoint("", "%") {
		t.Error("what is no address is the same as none")
	}
}

// The Tenant URL leads to AWS's endpoint, or is the one that was given.
func TestIsBound(t *testing.T) {
	testStep(t, retireScene, observed(func(_ context.Context, r runner, _ *scene) (any, error) {
		return said(r.isBound("https://scim.example.com/tenant/scim/v2"), r.isBound("https://proxy.example.com"), r.isBound("https://else.example.com"), r.isBound("")), nil
	}), []outcome{
		{"none was given", func(*scene) {}, "true false false false"},
		{"one was given", func(s *scene) { s.options.TenantURL = "https://proxy.example.com" }, "true true false false"},
	})
}

// The times of cycles are on Graph's clock.
func TestGraphNow(t *testing.T) {
	testStep(t, retireScene, observed(func(_ context.Context, r runner, s *scene) (any, error) {
		before := time.Until(r.graphNow())
		r.Graph.Set(time.Now().Add(time.Hour))
		return said(before, " ", time.Until(r.graphNow())), nil
	}), []outcome{
		{"unknown, then an hour ahead", func(*scene) {}, "0s 1h0m0s"},
	})
}

// A cycle counts as running from a minute before it is expected until the one after it.
func TestCycleRunning(t *testing.T) {
	began := func(ago, interval time.Duration) func(*scene) {
		return func(s *scene) { s.job.LastCycle.Began, s.job.Interval = s.aged(ago).Graph, interval }
	}
	expected := began(40*time.Minute, 40*time.Minute)
	testStep(t, retireScene, observed(func(_ context.Context, r runner, s *scene) (any, error) {
		return r.cycleRunning(s.job), nil
	}), []outcome{
		{"it is expected", expected, "true"},
		{"it is expected in a minute", began(39*time.Minute, 40*time.Minute), "false"},
		{"it is expected sooner", began(39*time.Minute+1, 40*time.Minute), "true"},
		{"it is overdue", began(80*time.Minute-1, 40*time.Minute), "true"},
		{"it is overdue by a cycle", began(80*time.Minute, 40*time.Minute), "false"},
		{"it is expected every twenty minutes", began(30*time.Minute, 20*time.Minute), "true"},
		{"it is overdue by twenty minutes", began(40*time.Minute, 20*time.Minute), "false"},
		{"its interval is unknown, and it is expected in a minute", began(39*time.Minute, 0), "false"},
		{"its interval is unknown, and it is expected sooner", began(39*time.Minute+1, 0), "true"},
		{"its interval is unknown, and it is overdue by a cycle", began(80*time.Minute, 0), "false"},
		{"there was none", func(s *scene) { s.job.LastCycle = nil }, "false"},
		{"quarantine", func(s *scene) { expected(s); s.job.Quarantine = &model.Quarantine{} }, "false"},
		{"paused", func(s *scene) { expected(s); s.job.Status = model.JobPaused }, "false"},
		{"not configured", func(s *scene) { expected(s); s.job.Status = model.JobNotConfigured }, "false"},
		{"its schedule is paused", func(s *scene) { expected(s); s.job.Schedule = model.SchedulePaused }, "false"},
		{"its schedule is disabled", func(s *scene) { expected(s); s.job.Schedule = model.ScheduleDisabled }, "false"},
	})
}

// Entra's test has a minute, and its result must be clear.
func TestTestOfSaved(t *testing.T) {
	slow := func(d time.Duration) func(*scene) {
		return func(s *scene) { s.then["test 1"] = func() { time.Sleep(d) } }
	}
	testStep(t, retireScene, observed(func(ctx context.Context, r runner, _ *scene) (any, error) {
		return r.testSaved(ctx)
	}), []outcome{
		{"passed", func(*scene) {}, "passed"},
		{"failed", func(s *scene) { s.test, s.failing["test"] = model.TestFailed, errNoAnswer }, "failed"},
		{"passed with an error", func(s *scene) { s.failing["test"] = errNoAnswer }, "no answer"},
		{"nothing, and no error", func(s *scene) { s.test = "" }, "testing the connection: invalid_response: no result"},
		{"it takes a minute", slow(time.Minute - 1), "passed after 59.999999999s"},
		{"it takes longer", slow(time.Minute + 1), "context deadline exceeded after 1m0.000000001s"},
	})
}

// AWS refuses Entra's address if it accepts the value from here, and Entra's test with it
// fails.
func TestCheckEndpoint(t *testing.T) {
	scenes := func() *scene {
		s := retireScene()
		s.tests = map[string]model.TestResult{"new-value": model.TestFailed}
		return s
	}
	testStep(t, scenes, observed(func(ctx context.Context, r runner, s *scene) (any, error) {
		return "", r.checkEndpoint(ctx, "new", s.id != "no control")
	}), []outcome{
		{"AWS refuses it", func(*scene) {}, "endpoint_refuses_entra: AWS accepts token new from here, but Entra's test of the endpoint with it fails"},
		{"inline tests say nothing", func(s *scene) { s.id = "no control" }, "-"},
		{"the value is unknown", func(s *scene) { s.values = nil }, "-"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
		{"AWS refuses the value", func(s *scene) { s.probe = http.StatusUnauthorized }, "-"},
		{"Entra's test passes", func(s *scene) { s.tests["new-value"] = model.TestPassed }, "-"},
		{"Entra does not test", func(s *scene) { s.tests, s.failing["test new-value"] = nil, errNoAnswer }, "no answer"},
		{"the credentials cannot be read", func(s *scene) { s.failing["credentials"] = errNoAnswer }, "no answer"},
	})
}

// An inline test goes to the address that Entra has, if it shows it.
func TestInlineCredentials(t *testing.T) {
	testStep(t, retireScene, observed(func(_ context.Context, r runner, s *scene) (any, error) {
		var sent []string
		for _, c := range r.inlineCredentials(s.credentials, model.NewSecret("value")) {
			sent = append(sent, c.Key+"="+c.Value.Reveal())
		}
		return sent, nil
	}), []outcome{
		{"hidden", func(s *scene) {
			s.credentials = []model.Credential{{Key: "BaseAddress", Value: model.NewSecret("*")}, {Key: "SyncAll", Value: model.NewSecret("false")}}
		}, "[BaseAddress=https://scim.example.com/tenant/scim/v2 SecretToken=value]"},
		{"shown", func(s *scene) {
			s.credentials = []model.Credential{{Key: "BaseAddress", Value: model.NewSecret("https://shown.example.com")}, {Key: "SyncAll", Value: model.NewSecret("false")}}
		}, "[BaseAddress=https://shown.example.com SecretToken=value]"},
	})
}

func TestProbe(t *testing.T) {
	status := func(status int) func(*scene) { return func(s *scene) { s.probe = status } }
	testStep(t, retireScene, observed(func(ctx context.Context, r runner, _ *scene) (any, error) {
		result, detail := r.probe(ctx, model.NewSecret("value"))
		return said(result, " ", detail), nil
	}), []outcome{
		{"200", status(200), "accepted "},
		{"401", status(401), "unauthorized AWS answers 401"},
		{"403", status(403), "inconclusive AWS answers 403"},
		{"429", status(429), "unreachable AWS answers 429"},
		{"499", status(499), "inconclusive AWS answers 499"},
		{"500", status(500), "unreachable AWS answers 500"},
		{"no answer", func(s *scene) { s.failing["probe value"] = errNoAnswer }, "unreachable no answer"},
	})
}

// If AWS gives no clear answer, Entra's test decides.
func TestProbeOrTest(t *testing.T) {
	scenes := func() *scene {
		s := retireScene()
		s.record.Rotation.Plan.ControlFailed = true
		s.tests = map[string]model.TestResult{"value": model.TestPassed}
		return s
	}
	testStep(t, scenes, observed(func(ctx context.Context, r runner, _ *scene) (any, error) {
		result, detail, err := r.probeOrTest(ctx, model.NewSecret("value"))
		return said(result, " ", detail), err
	}), []outcome{
		{"AWS refuses it", func(s *scene) { s.probe = 401 }, "unauthorized AWS answers 401"},
		{"AWS refuses our address", func(s *scene) { s.probe = 403 }, "accepted AWS answers 403"},
		{"the endpoint fails", func(s *scene) { s.probe = 502 }, "accepted AWS answers 502"},
		{"the endpoint fails, and Entra does not test", func(s *scene) { s.probe, s.tests, s.failing["test value"] = 502, nil, errNoAnswer }, "no answer"},
	})
}

// AWS accepts a value if one of two nodes does.
func TestProbeTwice(t *testing.T) {
	statuses := func(first, second int) func(*scene) {
		return func(s *scene) {
			s.probe = first
			s.then["probe value 2"] = func() { s.probe = second }
		}
	}
	testStep(t, retireScene, observed(func(ctx context.Context, r runner, _ *scene) (any, error) {
		return r.probeTwice(ctx, model.NewSecret("value")), nil
	}), []outcome{
		{"both accept it", statuses(200, 200), "accepted"},
		{"the first accepts it", statuses(200, 401), "accepted"},
		{"the second accepts it", statuses(401, 200), "accepted"},
		{"both refuse it", statuses(401, 401), "unauthorized"},
		{"one refuses it", statuses(401, 403), "inconclusive"},
	})
}

// A usable token is listed, not expired, and accepted.
func TestFindUsable(t *testing.T) {
	scenes := func() *scene {
		s := retireScene()
		s.record.Rotation.Plan.ControlFailed = true
		s.list.Tokens = s.list.Tokens[1:]
		return s
	}
	testStep(t, scenes, observed(func(ctx context.Context, r runner, s *scene) (any, error) {
		usable, err := r.findUsable(ctx, s.list)
		return usable != nil && usable.ID == "new", err
	}), []outcome{
		{"accepted", func(*scene) {}, "true"},
		{"expired", func(s *scene) { s.list.Tokens[0] = s.created("new", year+2*time.Hour) }, "false"},
		{"refused", func(s *scene) { s.probe = 401 }, "false"},
		{"our address is refused, Entra's test passes", func(s *scene) {
			s.probe, s.tests = 403, map[string]model.TestResult{"new-value": model.TestPassed}
		}, "true"},
		{"our address is refused, Entra does not test", func(s *scene) { s.probe, s.failing["test new-value"] = 403, errNoAnswer }, "no answer"},
	})
}

func TestNewValue(t *testing.T) {
	testStep(t, retireScene, observed(func(ctx context.Context, r runner, _ *scene) (any, error) {
		value, err := r.newValue(ctx)
		return value.Reveal(), err
	}), []outcome{
		{"stored", func(*scene) {}, "new-value"},
		{"lost", func(s *scene) { s.values = nil }, "the token store holds no readable value"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
	})
}

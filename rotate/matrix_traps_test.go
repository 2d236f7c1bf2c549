package rotate_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// edgeCases are scenarios in which a particular mistake would do harm.
func edgeCases() []matrixCase {
	with := func(name string, allowed []string, change func(*harness.Scenario)) matrixCase {
		s := shortScenario()
		change(&s)
		return matrixCase{Scenario: s, name: "trap:" + name, allowed: allowed}
	}
	blind := func(s *harness.Scenario) { s.Quirks.CloudTrail = clouds.TrailAbsent }
	return []matrixCase{
		with("dropped once", []string{"done"}, func(s *harness.Scenario) {
			blind(s)
			s.Quirks.PutSecrets = clouds.PutKeepsToken
			s.Actions = map[string]func(*harness.Harness){"aws.delete#1": func(l *harness.Harness) {
				l.WithClouds(func(w *clouds.Model) { _ = w.SetQuirk("put_secrets", clouds.PutMerges) })
			}}
		}),
		with("nobody approves", []string{"waiting approval"}, func(s *harness.Scenario) {
			blind(s)
			s.Approves = false
			s.Limit = 3 * 24 * time.Hour
		}),
		with("nobody approves, one id for all", []string{"waiting approval"}, func(s *harness.Scenario) {
			s.Quirks.CloudTrail = clouds.TrailConstant
			s.Prepare = withHistory
			s.Approves = false
			s.Limit = 3 * 24 * time.Hour
		}),
		with("nobody approves, the log is blind", []string{"waiting approval"}, func(s *harness.Scenario) {
			s.Quirks.CloudTrail = clouds.TrailBlind
			s.Prepare = withHistory
			s.Approves = false
			s.Limit = 3 * 24 * time.Hour
		}),
		with("repaired, killed before the start", []string{"done"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.FaultsByName = map[string]harness.Fault{"graph.start#1": harness.KilledBefore}
		}),
		with("every start is refused", []string{"done"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.FaultsByName = map[string]harness.Fault{"graph.start": harness.Refused}
		}),
		with("a person resets it after the PUT", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets = clouds.PutKeepsToken
			s.Actions = map[string]func(*harness.Harness){"graph.app#4": func(l *harness.Harness) { l.SaveToken(clouds.ActorTerraform, l.Connection.TokenIDs[0]) }}
			s.Until = andThen(nil, func(l *harness.Harness, current *harness.Process) {
				l.WithClouds(func(w *clouds.Model) { _ = w.SetQuirk("put_secrets", clouds.PutMerges) })
				l.Note("a person resets it: %v", current.Engine.Reset(l.Ctx, l.Connection.Name))
			})
		}),
		with("a person resets it after the PUT, and the test fails", []string{"blocked endpoint_refuses_entra"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(harness.PauseJob)}
			s.Until = andThen(nil, func(l *harness.Harness, current *harness.Process) {
				harness.ActionOn(harness.StartJob)(l)
				l.AllowOnlyFrom(clouds.ExporterAddress)
				l.Note("a person resets it: %v", current.Engine.Reset(l.Ctx, l.Connection.Name))
			})
		}),
		with("the old token shows another creation", []string{"blocked foreign_token"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.SkewClocks(3*time.Minute, 0)} // within what clocks may differ
		}),
		with("the new token is deleted before it is saved", []string{"blocked new_token_rejected"}, func(s *harness.Scenario) {
			s.BeforeCall = once(func(l *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "resolve"
			}, func(l *harness.Harness) {
				harness.DeleteToken(l, harness.NewestToken(l))
				time.Sleep(2 * time.Minute)
			})
		}),
		with("the new token is deleted right after it was saved, and the old value is unknown", []string{"done"}, func(s *harness.Scenario) {
			s.Prepare = nil
			s.BeforeCall = once(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "graph.test" && len(rot.Operations[token.OperationPut]) > 0
			}, func(l *harness.Harness) { harness.DeleteToken(l, harness.NewestToken(l)) })
		}),
		with("the new token is deleted right after it was saved, and no token can be created", []string{"blocked entra_holds_dead_token"}, func(s *harness.Scenario) {
			s.Prepare = nil
			s.BeforeCall = once(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "graph.test" && len(rot.Operations[token.OperationPut]) > 0
			}, func(l *harness.Harness) {
				harness.DeleteToken(l, harness.NewestToken(l))
				l.WithClouds(func(*clouds.Model) { l.FaultsByName = map[string]harness.Fault{"aws.create": harness.Refused} })
			})
		}),
		with("the only valid token is of no use", []string{"blocked *"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.Prepare = func(l *harness.Harness) { storeOldValue(l); l.ValueLost = true }
			s.BeforeCall = tokenStoreFillsUp()
		}),
		with("lists that flicker", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.Nodes = clouds.NodesApart
			_ = s.Quirks.Set("list_lag", "1m30s")
		}),
		with("deleted tokens live on", []string{"done"}, func(s *harness.Scenario) { _ = s.Quirks.Set("deleted_lag", "1h0m0s") }),
		with("one user fails", []string{"done"}, func(s *harness.Scenario) { s.Quirks.FailingUser = clouds.OneUserFails }),
		with("replaces", []string{"done"}, func(s *harness.Scenario) { s.Quirks.PutSecrets = clouds.PutReplaces }),
		with("replaces, masked", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets, s.Quirks.BaseAddress = clouds.PutReplaces, clouds.AddressMasked
		}),
		with("replaces, a flag", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets, s.Quirks.BaseAddress = clouds.PutReplaces, clouds.AddressQuery
		}),
		with("replaces, an extra key", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets, s.Quirks.ExtraKeys = clouds.PutReplaces, clouds.ExtraClear
		}),
		with("a masked key", []string{"blocked unknown_secret_keys"}, func(s *harness.Scenario) { s.Quirks.ExtraKeys = clouds.ExtraMasked }),
		with("keys absent", []string{"done"}, func(s *harness.Scenario) { s.Quirks.SettingsKeys = clouds.KeysAbsent }),
		with("engine caches", []string{"done"}, func(s *harness.Scenario) { s.Quirks.EngineReads = clouds.ReadsHourly }),
		with("engine caches, the save comes right after a cycle", []string{"done"}, func(s *harness.Scenario) {
			blind(s)
			s.Quirks.EngineReads = clouds.ReadsHourly
			s.Policy.Approval = model.ApprovalNever
			s.Prepare = func(l *harness.Harness) {
				storeOldValue(l)
				time.Sleep(6 * time.Minute)
			}
		}),
		with("a stranger's token and a lost answer", []string{"blocked orphan_token", "aborted"}, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.KilledBefore}
			came := false
			s.BeforeCall = func(l *harness.Harness, name string) {
				if !came && name == "aws.list" && l.CallCounts["aws.create"] > 0 {
					came = true
					time.Sleep(time.Minute) // well outside of the window
					l.CreateToken()
				}
			}
		}),
		with("a list that lags behind a lost answer", []string{"done", "aborted"}, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.ResponseLost}
			_ = s.Quirks.Set("list_lag", "1m30s")
		}),
		with("paused", []string{"blocked job_stopped"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(harness.PauseJob)}
		}),
		with("too many deletes", []string{"blocked quarantine_other"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(func(l *harness.Harness, w *clouds.Model) error {
				return w.QuarantineForDeletes(l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
			})}
		}),
		with("again and again", []string{"aborted", "blocked budget_exhausted"}, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"aws.create": harness.Throttled}
			s.Policy.Cooldown, s.Policy.MaxAttempts = time.Minute, 100
			s.AlertInterval = 20 * time.Minute
			s.Limit = 20 * time.Hour
			s.Until = func(*harness.Harness, *harness.Process) bool { return false }
		}),
		with("the journal is put back to before the PUT", []string{"blocked state_restored", "done"}, func(s *harness.Scenario) {
			prepare := s.Prepare
			s.Prepare = func(l *harness.Harness) { prepare(l); l.Store.KeepHistory, l.ValueLost = true, true }
			s.Actions = map[string]func(*harness.Harness){"graph.test#6": func(l *harness.Harness) { l.Store.Restore(len(l.Store.History) * 2 / 3) }}
		}),
		with("both tokens are gone at once", []string{"done"}, func(s *harness.Scenario) {
			s.BeforeCall = once(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseRetire && len(rot.Operations[token.OperationDelete]) > 0 && name == "graph.test"
			}, func(l *harness.Harness) { harness.DeleteToken(l, harness.NewestToken(l)) })
		}),
		with("a copy from before the PUT is put back and adopted, and the test fails", []string{"blocked endpoint_refuses_entra"}, func(s *harness.Scenario) {
			prepare := s.Prepare
			s.Prepare = func(l *harness.Harness) { prepare(l); l.Store.KeepHistory, l.ValueLost = true, true }
			s.BeforeCall = once(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseVerify }, func(l *harness.Harness) {
				l.Store.RestoreToPhase(l.Connection.Key(), model.PhaseTest)
			})
			s.Until = andThen(nil, func(l *harness.Harness, current *harness.Process) {
				l.AllowOnlyFrom(clouds.ExporterAddress)
				l.Note("a person adopts it: %v", current.Engine.Adopt(l.Ctx, l.Connection.Name, ""))
			})
		}),
		with("shown to a person who saves it, and given up", []string{"done"}, func(s *harness.Scenario) {
			s.BeforeCall = once(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseTest && name == "graph.inline"
			}, func(l *harness.Harness) {
				e := l.Current.Load().Engine
				shown, _, err := e.ShowToken(l.Ctx, l.Connection.Name)
				l.Note("a person is shown token %s: %v", shown, err)
				l.SaveToken(clouds.ActorOperator, shown)
				l.Note("a person aborts it: %v", e.Abort(l.Ctx, l.Connection.Name))
			})
		}),
		with("given up after the PUT", []string{"done"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.test#5": func(l *harness.Harness) {
				current := l.Current.Load()
				go func() { _ = current.Engine.Abort(l.Ctx, l.Connection.Name) }()
			}}
		}),
		with("a canary", []string{"done"}, func(s *harness.Scenario) { s.Prepare = withCanary }),
		with("a stranger's token beside a journal that knows better", []string{"blocked two_tokens"}, func(s *harness.Scenario) {
			s.Prepare = func(l *harness.Harness) {
				storeOldValue(l)
				rotatedBefore(l, nil)
				l.SaveToken(clouds.ActorOperator, l.CreateToken())
			}
		}),
		with("trusted by an earlier rotation", []string{"done"}, func(s *harness.Scenario) {
			blind(s)
			s.Approves = false
			s.Prepare = func(l *harness.Harness) {
				storeOldValue(l)
				rotatedBefore(l, secretKeys(l))
				l.Trusted = true
			}
		}),
		with("trusted with other keys", []string{"waiting approval"}, func(s *harness.Scenario) {
			blind(s)
			s.Approves, s.Limit = false, 3*24*time.Hour
			s.Prepare = func(l *harness.Harness) {
				storeOldValue(l)
				rotatedBefore(l, []string{model.CredentialKeySecretToken})
			}
		}),
		with("the given token is the older one", []string{"done"}, func(s *harness.Scenario) {
			s.Spec.Tokens = append(s.Spec.Tokens, clouds.TokenSpec{Age: 350 * 24 * time.Hour, Left: 15 * 24 * time.Hour})
			s.Begin = func(l *harness.Harness, current *harness.Process) {
				given := l.Connection.TokenIDs[1]
				var value string
				l.WithClouds(func(w *clouds.Model) { value = w.TokenValue(given) })
				err := current.Engine.Start(l.Ctx, l.Connection.Name, harness.StartOptions{TokenID: given, Value: model.NewSecret(value)})
				l.Note("a person starts a rotation with token %s: %v", given, err)
			}
		}),
		with("expired by our clock, not yet by AWS's", []string{"done"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.Spec.Tokens[1].Left = -policy.ExpiryGrace + 9*time.Minute
			prepare := s.Prepare
			s.Prepare = func(l *harness.Harness) {
				prepare(l)
				harness.SkewClocks(-harness.MaxClockSkew+30*time.Second, 0)(l)
			}
		}),
		with("the vault loses the new value before it is tried", []string{"aborted"}, func(s *harness.Scenario) {
			s.BeforeCall = once(func(l *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseTest && name == "journal.save"
			}, func(l *harness.Harness) { loseValue(l, harness.NewestToken(l)) })
		}),
		with("the vault loses the new value before the old token goes", []string{"blocked token_value_lost"}, func(s *harness.Scenario) {
			s.BeforeCall = once(func(l *harness.Harness, name string, rot *harness.Rotation) bool {
				last, _ := rot.LastOperation(token.OperationPut)
				return rot.Phase == model.PhaseRetire && last.Why == token.PutBeforeDelete && rot.Proof.Put == last.Number && name == "aws.list"
			}, func(l *harness.Harness) { loseValue(l, harness.NewestToken(l)) })
		}),
		with("another job while the new token is taken back", []string{"blocked binding_changed"}, func(s *harness.Scenario) {
			_ = s.Quirks.Set("new_lag", "240h")
			s.BeforeCall = once(func(l *harness.Harness, name string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseUndo }, func(l *harness.Harness) {
				harness.ActionOn(harness.ReplaceJob)(l)
				time.Sleep(2 * time.Minute)
			})
		}),
		with("a stranger's token at the end, deleted, and a reset", []string{"done"}, func(s *harness.Scenario) {
			strange := ""
			s.BeforeCall = once(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseConfirm }, func(l *harness.Harness) {
				strange = l.CreateToken()
			})
			s.Until = andThen(nil, func(l *harness.Harness, current *harness.Process) {
				harness.DeleteToken(l, strange)
				l.Note("a person resets it: %v", current.Engine.Reset(l.Ctx, l.Connection.Name))
			})
		}),
		with("AWS lists the deleted token again", []string{"done"}, func(s *harness.Scenario) {
			s.BeforeCall = once(func(l *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseConfirm && !rot.Proof.Propagated.Local.IsZero()
			}, func(l *harness.Harness) {
				l.WithClouds(func(w *clouds.Model) { _ = w.SetQuirk("list_lag", "10m") })
			})
		}),
	}
}

// once lets somebody interfere at the first call before which the rotation stands so.
func once(stands func(l *harness.Harness, name string, rot *harness.Rotation) bool, hand func(*harness.Harness)) func(*harness.Harness, string) {
	var over atomic.Bool
	return func(l *harness.Harness, name string) {
		rec := l.Current.Load().Engine.Record(l.Connection.Name)
		if rec == nil || rec.Rotation == nil || !stands(l, name, rec.Rotation) || !over.CompareAndSwap(false, true) {
			return
		}
		hand(l)
	}
}

// tokenStoreFillsUp lets the vault refuse every write from the creation on.
func tokenStoreFillsUp() func(*harness.Harness, string) {
	return once(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseCreate }, func(l *harness.Harness) {
		l.WithClouds(func(*clouds.Model) { l.FaultsByName = map[string]harness.Fault{"vault.write": harness.Refused} })
	})
}

// rotatedBefore writes the record of a binding whose rotation was done ten months ago,
// with these keys in Entra; nil: it is not trusted.
func rotatedBefore(l *harness.Harness, keys []string) {
	ended := time.Now().Add(-300 * 24 * time.Hour)
	old := l.InitialDates[l.Connection.TokenIDs[0]]
	rec := harness.NewRecord(l.Connection.Binding, l.Connection.Name)
	rec.InUse, rec.OwnSaves = old.ID, []time.Time{ended}
	procedure := rec.Procedures[model.ProcedureToken]
	procedure.LastEnd, procedure.LastSuccess = ended, ended
	rec.KnownTokens[old.ID] = old
	if keys != nil {
		rec.Trust = &token.Trust{At: ended, Keys: keys}
	}
	saveRecord(l, rec)
}

// secretKeys are those of Entra's provisioning credentials.
func secretKeys(l *harness.Harness) []string {
	var keys []string
	l.WithClouds(func(w *clouds.Model) {
		secrets, err := w.Secrets(clouds.CallerFor("oracle"), l.Connection.EntraTenantID, l.Connection.ServicePrincipalID)
		if err != nil {
			panic(err)
		}
		for _, secret := range secrets {
			keys = append(keys, secret.Key)
		}
	})
	slices.Sort(keys)
	return keys
}

// loseValue takes a token's value out of the vault.
func loseValue(l *harness.Harness, id string) {
	value := ""
	l.WithClouds(func(w *clouds.Model) { value = w.TokenValue(id) })
	l.Note("the vault loses the value of token %s", id)
	l.ValueLost = true
	for _, key := range l.Store.List(l.Connection.Key()) {
		if entry, err := l.Store.Read(key); err == nil && strings.Contains(entry.Reveal(), value) {
			l.Store.Destroy(key)
		}
	}
}

// withCanary names one of the users in scope as the canary.
func withCanary(l *harness.Harness) {
	storeOldValue(l)
	l.WithClouds(func(w *clouds.Model) {
		id, err := w.AddUser(clouds.ActorOperator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, "canary@corp.example.com")
		if err != nil {
			panic(err)
		}
		l.Policy.CanaryUserObjectID = id
	})
}

package rotate_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// traps are scenarios in which a particular mistake would do harm.
func traps() []trial {
	with := func(name string, allowed []string, change func(*scenario)) trial {
		s := short()
		change(&s)
		return trial{scenario: s, name: "trap:" + name, allowed: allowed}
	}
	blind := func(s *scenario) { s.quirks.CloudTrail = clouds.TrailAbsent }
	return []trial{
		with("dropped once", []string{"done"}, func(s *scenario) {
			blind(s)
			s.quirks.PutSecrets = clouds.PutKeepsToken
			s.hands = map[string]func(*lab){"aws.delete#1": func(l *lab) {
				l.locked(func(w *clouds.Model) { _ = w.SetQuirk("put_secrets", clouds.PutMerges) })
			}}
		}),
		with("nobody approves", []string{"waiting approval"}, func(s *scenario) {
			blind(s)
			s.approves = false
			s.limit = 3 * 24 * time.Hour
		}),
		with("nobody approves, one id for all", []string{"waiting approval"}, func(s *scenario) {
			s.quirks.CloudTrail = clouds.TrailConstant
			s.prepare = withHistory
			s.approves = false
			s.limit = 3 * 24 * time.Hour
		}),
		with("nobody approves, the log is blind", []string{"waiting approval"}, func(s *scenario) {
			s.quirks.CloudTrail = clouds.TrailBlind
			s.prepare = withHistory
			s.approves = false
			s.limit = 3 * 24 * time.Hour
		}),
		with("repaired, killed before the start", []string{"done"}, func(s *scenario) {
			*s = repair()
			s.named = map[string]fault{"graph.start#1": killedBefore}
		}),
		with("every start is refused", []string{"done"}, func(s *scenario) {
			*s = repair()
			s.named = map[string]fault{"graph.start": refused}
		}),
		with("a person resets it after the PUT", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets = clouds.PutKeepsToken
			s.hands = map[string]func(*lab){"graph.app#4": func(l *lab) { l.saveByHand(clouds.ActorTerraform, l.at.TokenIDs[0]) }}
			s.until = andThen(nil, func(l *lab, current *session) {
				l.locked(func(w *clouds.Model) { _ = w.SetQuirk("put_secrets", clouds.PutMerges) })
				l.note("a person resets it: %v", current.engine.Reset(l.ctx, l.at.Name))
			})
		}),
		with("a person resets it after the PUT, and the test fails", []string{"blocked endpoint_refuses_entra"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.put#1": byHand(pauseJob)}
			s.until = andThen(nil, func(l *lab, current *session) {
				byHand(startJob)(l)
				l.onlyFrom(clouds.ExporterAddress)
				l.note("a person resets it: %v", current.engine.Reset(l.ctx, l.at.Name))
			})
		}),
		with("the old token shows another creation", []string{"blocked foreign_token"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.put#1": skewed(3*time.Minute, 0)} // within what clocks may differ
		}),
		with("the new token is deleted before it is saved", []string{"blocked new_token_rejected"}, func(s *scenario) {
			s.every = once(func(l *lab, name string, rot *rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "resolve"
			}, func(l *lab) {
				deleteByHand(l, newest(l))
				time.Sleep(2 * time.Minute)
			})
		}),
		with("the only valid token is of no use", []string{"blocked *"}, func(s *scenario) {
			*s = repair()
			s.prepare = func(l *lab) { rememberOld(l); l.valueLost = true }
			s.every = vaultFillsUp()
		}),
		with("lists that flicker", []string{"done"}, func(s *scenario) {
			s.quirks.Nodes = clouds.NodesApart
			_ = s.quirks.Set("list_lag", "1m30s")
		}),
		with("deleted tokens live on", []string{"done"}, func(s *scenario) { _ = s.quirks.Set("deleted_lag", "1h0m0s") }),
		with("one user fails", []string{"done"}, func(s *scenario) { s.quirks.FailingUser = clouds.OneUserFails }),
		with("replaces", []string{"done"}, func(s *scenario) { s.quirks.PutSecrets = clouds.PutReplaces }),
		with("replaces, masked", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets, s.quirks.BaseAddress = clouds.PutReplaces, clouds.AddressMasked
		}),
		with("replaces, a flag", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets, s.quirks.BaseAddress = clouds.PutReplaces, clouds.AddressQuery
		}),
		with("replaces, an extra key", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets, s.quirks.ExtraKeys = clouds.PutReplaces, clouds.ExtraClear
		}),
		with("a masked key", []string{"blocked unknown_secret_keys"}, func(s *scenario) { s.quirks.ExtraKeys = clouds.ExtraMasked }),
		with("keys absent", []string{"done"}, func(s *scenario) { s.quirks.SettingsKeys = clouds.KeysAbsent }),
		with("engine caches", []string{"done"}, func(s *scenario) { s.quirks.EngineReads = clouds.ReadsHourly }),
		with("engine caches, the save comes right after a cycle", []string{"done"}, func(s *scenario) {
			blind(s)
			s.quirks.EngineReads = clouds.ReadsHourly
			s.policy.Approval = model.ApprovalNever
			s.prepare = func(l *lab) {
				rememberOld(l)
				time.Sleep(6 * time.Minute)
			}
		}),
		with("a stranger's token and a lost answer", []string{"blocked orphan_token", "aborted"}, func(s *scenario) {
			s.named = map[string]fault{"aws.create#1": killedBefore}
			came := false
			s.every = func(l *lab, name string) {
				if !came && name == "aws.list" && l.counts["aws.create"] > 0 {
					came = true
					time.Sleep(time.Minute) // well outside of the window
					l.createByHand()
				}
			}
		}),
		with("a list that lags behind a lost answer", []string{"done", "aborted"}, func(s *scenario) {
			s.named = map[string]fault{"aws.create#1": answerLost}
			_ = s.quirks.Set("list_lag", "1m30s")
		}),
		with("paused", []string{"blocked job_stopped"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.put#1": byHand(pauseJob)}
		}),
		with("too many deletes", []string{"blocked quarantine_other"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.put#1": byHand(func(l *lab, w *clouds.Model) error {
				return w.QuarantineForDeletes(l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
			})}
		}),
		with("again and again", []string{"aborted", "blocked budget_exhausted"}, func(s *scenario) {
			s.named = map[string]fault{"aws.create": throttled}
			s.policy.Cooldown, s.policy.MaxAttempts = time.Minute, 100
			s.alerts = 20 * time.Minute
			s.limit = 20 * time.Hour
			s.until = func(*lab, *session) bool { return false }
		}),
		with("the journal is put back to before the PUT", []string{"blocked state_restored", "done"}, func(s *scenario) {
			prepare := s.prepare
			s.prepare = func(l *lab) { prepare(l); l.memory.keepPast, l.valueLost = true, true }
			s.hands = map[string]func(*lab){"graph.test#6": func(l *lab) { l.memory.putBack(len(l.memory.past) * 2 / 3) }}
		}),
		with("both tokens are gone at once", []string{"done"}, func(s *scenario) {
			s.every = once(func(_ *lab, name string, rot *rotation) bool {
				return rot.Phase == model.PhaseRetire && len(rot.Operations[token.OperationDelete]) > 0 && name == "graph.test"
			}, func(l *lab) { deleteByHand(l, newest(l)) })
		}),
		with("a copy from before the PUT is put back and adopted, and the test fails", []string{"blocked endpoint_refuses_entra"}, func(s *scenario) {
			prepare := s.prepare
			s.prepare = func(l *lab) { prepare(l); l.memory.keepPast, l.valueLost = true, true }
			s.every = once(func(_ *lab, _ string, rot *rotation) bool { return rot.Phase == model.PhaseVerify }, func(l *lab) {
				l.memory.putBackTo(l.at.Key(), model.PhaseTest)
			})
			s.until = andThen(nil, func(l *lab, current *session) {
				l.onlyFrom(clouds.ExporterAddress)
				l.note("a person adopts it: %v", current.engine.Adopt(l.ctx, l.at.Name, ""))
			})
		}),
		with("shown to a person who saves it, and given up", []string{"done"}, func(s *scenario) {
			s.every = once(func(_ *lab, name string, rot *rotation) bool {
				return rot.Phase == model.PhaseTest && name == "graph.inline"
			}, func(l *lab) {
				e := l.current.Load().engine
				shown, _, err := e.ShowToken(l.ctx, l.at.Name)
				l.note("a person is shown token %s: %v", shown, err)
				l.saveByHand(clouds.ActorOperator, shown)
				l.note("a person aborts it: %v", e.Abort(l.ctx, l.at.Name))
			})
		}),
		with("given up after the PUT", []string{"done"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.test#5": func(l *lab) {
				current := l.current.Load()
				go func() { _ = current.engine.Abort(l.ctx, l.at.Name) }()
			}}
		}),
		with("a canary", []string{"done"}, func(s *scenario) { s.prepare = withCanary }),
		with("a stranger's token beside a journal that knows better", []string{"blocked two_tokens"}, func(s *scenario) {
			s.prepare = func(l *lab) {
				rememberOld(l)
				l.rotatedBefore(nil)
				l.saveByHand(clouds.ActorOperator, l.createByHand())
			}
		}),
		with("trusted by an earlier rotation", []string{"done"}, func(s *scenario) {
			blind(s)
			s.approves = false
			s.prepare = func(l *lab) {
				rememberOld(l)
				l.rotatedBefore(l.secretKeys())
				l.trusted = true
			}
		}),
		with("trusted with other keys", []string{"waiting approval"}, func(s *scenario) {
			blind(s)
			s.approves, s.limit = false, 3*24*time.Hour
			s.prepare = func(l *lab) {
				rememberOld(l)
				l.rotatedBefore([]string{model.CredentialKeySecretToken})
			}
		}),
		with("the given token is the older one", []string{"done"}, func(s *scenario) {
			s.spec.Tokens = append(s.spec.Tokens, clouds.TokenSpec{Age: 350 * 24 * time.Hour, Left: 15 * 24 * time.Hour})
			s.begin = func(l *lab, current *session) {
				given := l.at.TokenIDs[1]
				var value string
				l.locked(func(w *clouds.Model) { value = w.TokenValue(given) })
				err := current.engine.Start(l.ctx, l.at.Name, startOptions{TokenID: given, Value: model.NewSecret(value)})
				l.note("a person starts a rotation with token %s: %v", given, err)
			}
		}),
		with("expired by our clock, not yet by AWS's", []string{"done"}, func(s *scenario) {
			*s = repair()
			s.spec.Tokens[1].Left = -policy.ExpiryGrace + 9*time.Minute
			prepare := s.prepare
			s.prepare = func(l *lab) {
				prepare(l)
				skewed(-clockLimit+30*time.Second, 0)(l)
			}
		}),
		with("the vault loses the new value before it is tried", []string{"aborted"}, func(s *scenario) {
			s.every = once(func(l *lab, name string, rot *rotation) bool {
				return rot.Phase == model.PhaseTest && name == "journal.save"
			}, func(l *lab) { l.loseValue(newest(l)) })
		}),
		with("the vault loses the new value before the old token goes", []string{"blocked token_value_lost"}, func(s *scenario) {
			s.every = once(func(l *lab, name string, rot *rotation) bool {
				last, _ := rot.LastOperation(token.OperationPut)
				return rot.Phase == model.PhaseRetire && last.Why == token.PutBeforeDelete && rot.Proof.Put == last.Number && name == "aws.list"
			}, func(l *lab) { l.loseValue(newest(l)) })
		}),
		with("another job while the new token is taken back", []string{"blocked binding_changed"}, func(s *scenario) {
			_ = s.quirks.Set("new_lag", "240h")
			s.every = once(func(l *lab, name string, rot *rotation) bool { return rot.Phase == model.PhaseUndo }, func(l *lab) {
				byHand(replaceJob)(l)
				time.Sleep(2 * time.Minute)
			})
		}),
		with("a stranger's token at the end, deleted, and a reset", []string{"done"}, func(s *scenario) {
			strange := ""
			s.every = once(func(_ *lab, _ string, rot *rotation) bool { return rot.Phase == model.PhaseConfirm }, func(l *lab) {
				strange = l.createByHand()
			})
			s.until = andThen(nil, func(l *lab, current *session) {
				deleteByHand(l, strange)
				l.note("a person resets it: %v", current.engine.Reset(l.ctx, l.at.Name))
			})
		}),
		with("AWS lists the deleted token again", []string{"done"}, func(s *scenario) {
			s.every = once(func(l *lab, name string, rot *rotation) bool {
				return rot.Phase == model.PhaseConfirm && !rot.Proof.Propagated.Local.IsZero()
			}, func(l *lab) {
				l.locked(func(w *clouds.Model) { _ = w.SetQuirk("list_lag", "10m") })
			})
		}),
	}
}

// once lets somebody interfere at the first call before which the rotation stands so.
func once(stands func(l *lab, name string, rot *rotation) bool, hand func(*lab)) func(*lab, string) {
	var over atomic.Bool
	return func(l *lab, name string) {
		rec := l.current.Load().engine.record(l.at.Name)
		if rec == nil || rec.Rotation == nil || !stands(l, name, rec.Rotation) || !over.CompareAndSwap(false, true) {
			return
		}
		hand(l)
	}
}

// vaultFillsUp lets the vault refuse every write from the creation on.
func vaultFillsUp() func(*lab, string) {
	return once(func(_ *lab, _ string, rot *rotation) bool { return rot.Phase == model.PhaseCreate }, func(l *lab) {
		l.locked(func(*clouds.Model) { l.named = map[string]fault{"vault.write": refused} })
	})
}

// rotatedBefore writes the record of a binding whose rotation was done ten months ago,
// with these keys in Entra; nil: it is not trusted.
func (l *lab) rotatedBefore(keys []string) {
	ended := time.Now().Add(-300 * 24 * time.Hour)
	old := l.dates[l.at.TokenIDs[0]]
	rec := newRecord(l.at.Binding, l.at.Name)
	rec.InUse, rec.OwnSaves = old.ID, []time.Time{ended}
	procedure := rec.Procedures[model.ProcedureToken]
	procedure.LastEnd, procedure.LastSuccess = ended, ended
	rec.KnownTokens[old.ID] = old
	if keys != nil {
		rec.Trust = &token.Trust{At: ended, Keys: keys}
	}
	l.saveRecord(rec)
}

// secretKeys are those of Entra's provisioning credentials.
func (l *lab) secretKeys() []string {
	var keys []string
	l.locked(func(w *clouds.Model) {
		secrets, err := w.Secrets(clouds.CallerFor("oracle"), l.at.EntraTenantID, l.at.ServicePrincipalID)
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
func (l *lab) loseValue(id string) {
	value := ""
	l.locked(func(w *clouds.Model) { value = w.TokenValue(id) })
	l.note("the vault loses the value of token %s", id)
	l.valueLost = true
	for _, key := range l.memory.list(l.at.Key()) {
		if entry, err := l.memory.read(key); err == nil && strings.Contains(entry.Reveal(), value) {
			l.memory.destroy(key)
		}
	}
}

// withCanary names one of the users in scope as the canary.
func withCanary(l *lab) {
	rememberOld(l)
	l.locked(func(w *clouds.Model) {
		id, err := w.AddUser(clouds.ActorOperator, l.at.EntraTenantID, l.at.ServicePrincipalID, "canary@corp.example.com")
		if err != nil {
			panic(err)
		}
		l.policy.CanaryUserObjectID = id
	})
}

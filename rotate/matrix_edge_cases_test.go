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
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.

// edgeCases are scenarios in which one particular bug would do harm. The mutants are such
// bugs.
func edgeCases() []matrixCase {
	with := func(name string, allowed []string, change func(*harness.Scenario)) matrixCase {
		s := shortScenario()
		change(&s)
		return matrixCase{Scenario: s, name: "edge:" + name, allowed: allowed}
	}
	withoutCloudTrail := func(s *harness.Scenario) { s.Quirks.CloudTrail = clouds.TrailAbsent }
	return []matrixCase{
		with("the save is dropped once", []string{"done"}, func(s *harness.Scenario) {
			withoutCloudTrail(s)
			s.Quirks.PutSecrets = clouds.PutKeepsToken
			s.Actions = map[string]func(*harness.Harness){"aws.delete#1": func(h *harness.Harness) {
				h.WithClouds(func(m *clouds.Model) { _ = m.SetQuirk("put_secrets", clouds.PutMerges) })
			}}
		}),
		with("no approval", []string{"waiting approval"}, func(s *harness.Scenario) {
			withoutCloudTrail(s)
			s.Approves = false
			s.Limit = 3 * 24 * time.Hour
		}),
		with("held when it asks for approval", []string{"done"}, func(s *harness.Scenario) { s.BeforeCall = heldWhenAsked() }),
		with("no approval, one access key ID for all", []string{"waiting approval"}, func(s *harness.Scenario) {
			s.Quirks.CloudTrail = clouds.TrailConstant
			s.Prepare = withHistory
			s.Approves = false
			s.Limit = 3 * 24 * time.Hour
		}),
		with("no approval, CloudTrail does not log the old token", []string{"waiting approval"}, func(s *harness.Scenario) {
			s.Quirks.CloudTrail = clouds.TrailBlind
			s.Prepare = withHistory
			s.Approves = false
			s.Limit = 3 * 24 * time.Hour
		}),
		with("repair, killed before the start", []string{"done"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.FaultsByName = map[string]harness.Fault{"graph.start#1": harness.KilledBefore}
		}),
		with("every start is refused", []string{"done"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.FaultsByName = map[string]harness.Fault{"graph.start": harness.Refused}
		}),
		with("operator resets it after the PUT", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets = clouds.PutKeepsToken
			s.Actions = map[string]func(*harness.Harness){"graph.app#4": func(h *harness.Harness) { h.SaveToken(clouds.ActorTerraform, h.Connection.TokenIDs[0]) }}
			s.Until = continueAfter(nil, func(h *harness.Harness, current *harness.Process) {
				h.WithClouds(func(m *clouds.Model) { _ = m.SetQuirk("put_secrets", clouds.PutMerges) })
				h.Note("operator resets it: %v", current.Engine.Reset(h.Ctx, h.Connection.Name))
			})
		}),
		with("operator resets it after the PUT, and the test fails", []string{"blocked endpoint_refuses_entra"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(harness.PauseJob)}
			s.Until = continueAfter(nil, func(h *harness.Harness, current *harness.Process) {
				harness.ActionOn(harness.StartJob)(h)
				h.AllowOnlyFrom(clouds.ExporterAddress)
				h.Note("operator resets it: %v", current.Engine.Reset(h.Ctx, h.Connection.Name))
			})
		}),
		with("the old token has another creation time", []string{"blocked foreign_token"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.SkewClocks(3*time.Minute, 0)} // a skew that is allowed
		}),
		with("the new token is deleted before it is saved", []string{"blocked new_token_rejected"}, func(s *harness.Scenario) {
			s.BeforeCall = firstTime(func(h *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "resolve"
			}, func(h *harness.Harness) {
				harness.DeleteToken(h, harness.NewestToken(h))
				time.Sleep(2 * time.Minute)
			})
		}),
		with("the new token is deleted right after it was saved, and the old value is unknown", []string{"done"}, func(s *harness.Scenario) {
			s.Prepare = nil
			s.BeforeCall = firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "graph.test" && len(rot.Operations[token.OperationPut]) > 0
			}, func(h *harness.Harness) { harness.DeleteToken(h, harness.NewestToken(h)) })
		}),
		with("the new token is deleted right after it was saved, and no token can be created", []string{"blocked entra_holds_dead_token"}, func(s *harness.Scenario) {
			s.Prepare = nil
			s.BeforeCall = firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "graph.test" && len(rot.Operations[token.OperationPut]) > 0
			}, func(h *harness.Harness) {
				harness.DeleteToken(h, harness.NewestToken(h))
				h.WithClouds(func(*clouds.Model) { h.FaultsByName = map[string]harness.Fault{"aws.create": harness.Refused} })
			})
		}),
		with("the only valid token cannot be stored", []string{"blocked *"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.Prepare = func(h *harness.Harness) { storeOldValue(h); h.ValueLost = true }
			s.BeforeCall = tokenStoreFillsUp()
		}),
		with("lists that flicker", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.Nodes = clouds.NodesApart
			_ = s.Quirks.Set("list_lag", "1m30s")
		}),
		with("AWS accepts deleted tokens for an hour", []string{"done"}, func(s *harness.Scenario) { _ = s.Quirks.Set("deleted_lag", "1h0m0s") }),
		with("a long retire_after", []string{"done"}, func(s *harness.Scenario) { s.Policy.RetireAfter = 6 * time.Hour }),
		with("a cycle runs when the old token may go", []string{"done"}, func(s *harness.Scenario) { s.Policy.RetireAfter = 79 * time.Minute }),
		with("one user fails in every cycle", []string{"done"}, func(s *harness.Scenario) { s.Quirks.FailingUser = clouds.OneUserFails }),
		with("PUT replaces all keys", []string{"done"}, func(s *harness.Scenario) { s.Quirks.PutSecrets = clouds.PutReplaces }),
		with("PUT replaces all keys, the Tenant URL is masked", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets, s.Quirks.BaseAddress = clouds.PutReplaces, clouds.AddressMasked
		}),
		with("PUT replaces all keys, the Tenant URL has a flag", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets, s.Quirks.BaseAddress = clouds.PutReplaces, clouds.AddressQuery
		}),
		with("PUT replaces all keys, there is another key", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets, s.Quirks.ExtraKeys = clouds.PutReplaces, clouds.ExtraClear
		}),
		with("a masked key", []string{"blocked unknown_secret_keys"}, func(s *harness.Scenario) { s.Quirks.ExtraKeys = clouds.ExtraMasked }),
		with("keys are absent", []string{"done"}, func(s *harness.Scenario) { s.Quirks.SettingsKeys = clouds.KeysAbsent }),
		with("Entra caches the credentials", []string{"done"}, func(s *harness.Scenario) { s.Quirks.EngineReads = clouds.ReadsHourly }),
		with("Entra caches the credentials, the save is right after a cycle", []string{"done"}, func(s *harness.Scenario) {
			withoutCloudTrail(s)
			s.Quirks.EngineReads = clouds.ReadsHourly
			s.Policy.Approval = model.ApprovalNever
			s.Prepare = func(h *harness.Harness) {
				storeOldValue(h)
				time.Sleep(6 * time.Minute)
			}
		}),
		with("a third-party token and a lost response", []string{"blocked orphan_token", "aborted"}, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.KilledBefore}
			created := false
			s.BeforeCall = func(h *harness.Harness, name string) {
				if !created && name == "aws.list" && h.CallCounts["aws.create"] > 0 {
					created = true
					time.Sleep(time.Minute) // well outside of the creation's window
					h.CreateToken()
				}
			}
		}),
		with("a list that lags behind a lost response", []string{"done", "aborted"}, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.ResponseLost}
			_ = s.Quirks.Set("list_lag", "1m30s")
		}),
		with("the job is paused, and the new token is deleted", []string{"blocked job_stopped"}, func(s *harness.Scenario) { *s = stoppedWithoutToken() }),
		with("the job is paused", []string{"blocked job_stopped"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(harness.PauseJob)}
		}),
		with("quarantine for too many deletions", []string{"blocked quarantine_other"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.Quarantine(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, "TooManyDeletes")
			})}
		}),
		with("repeated alerts", []string{"aborted", "blocked budget_exhausted"}, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"aws.create": harness.Throttled}
			s.Policy.Cooldown, s.Policy.MaxAttempts = time.Minute, 100
			s.AlertInterval = 20 * time.Minute
			s.Limit = 20 * time.Hour
			s.Until = func(*harness.Harness, *harness.Process) bool { return false }
		}),
		with("an older journal is restored", []string{"blocked state_restored", "done"}, func(s *harness.Scenario) {
			prepare := s.Prepare
			s.Prepare = func(h *harness.Harness) { prepare(h); h.Store.KeepHistory, h.ValueLost = true, true }
			s.Actions = map[string]func(*harness.Harness){"graph.test#6": func(h *harness.Harness) { h.Store.Restore(len(h.Store.History) * 2 / 3) }}
		}),
		with("both tokens are deleted", []string{"done"}, func(s *harness.Scenario) {
			s.BeforeCall = firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseRetire && len(rot.Operations[token.OperationDelete]) > 0 && name == "graph.test"
			}, func(h *harness.Harness) { harness.DeleteToken(h, harness.NewestToken(h)) })
		}),
		with("a journal from before the PUT is restored and adopted, and the test fails", []string{"blocked endpoint_refuses_entra"}, func(s *harness.Scenario) {
			prepare := s.Prepare
			s.Prepare = func(h *harness.Harness) { prepare(h); h.Store.KeepHistory, h.ValueLost = true, true }
			s.BeforeCall = firstTime(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseVerify }, func(h *harness.Harness) {
				h.Store.RestoreToPhase(h.Connection.Key(), model.PhaseTest)
			})
			s.Until = continueAfter(nil, func(h *harness.Harness, current *harness.Process) {
				h.AllowOnlyFrom(clouds.ExporterAddress)
				h.Note("operator adopts it: %v", current.Engine.Adopt(h.Ctx, h.Connection.Name, ""))
			})
		}),
		with("shown to an operator who saves it, and aborted", []string{"done"}, func(s *harness.Scenario) {
			s.BeforeCall = firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseTest && name == "graph.inline"
			}, func(h *harness.Harness) {
				e := h.Current.Load().Engine
				shown, _, err := e.ShowToken(h.Ctx, h.Connection.Name)
				h.Note("operator is shown token %s: %v", shown, err)
				h.SaveToken(clouds.ActorOperator, shown)
				h.Note("operator aborts it: %v", e.Abort(h.Ctx, h.Connection.Name))
			})
		}),
		with("aborted before the PUT", []string{"aborted"}, func(s *harness.Scenario) {
			s.BeforeCall = firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "graph.secrets"
			}, func(h *harness.Harness) {
				h.Note("operator aborts it: %v", h.Current.Load().Engine.Abort(h.Ctx, h.Connection.Name))
			})
		}),
		with("aborted after the PUT", []string{"done"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.test#5": func(h *harness.Harness) {
				current := h.Current.Load()
				go func() { _ = current.Engine.Abort(h.Ctx, h.Connection.Name) }()
			}}
		}),
		with("a canary", []string{"done"}, func(s *harness.Scenario) { s.Prepare = withCanary }),
		with("the journal's token beside a third-party token that Entra holds", []string{"blocked two_tokens"}, func(s *harness.Scenario) {
			s.Prepare = func(h *harness.Harness) {
				storeOldValue(h)
				saveEarlierRotation(h, nil)
				h.SaveToken(clouds.ActorOperator, h.CreateToken())
			}
		}),
		with("trusted after an earlier rotation", []string{"done"}, func(s *harness.Scenario) {
			withoutCloudTrail(s)
			s.Approves = false
			s.Prepare = func(h *harness.Harness) {
				storeOldValue(h)
				saveEarlierRotation(h, secretKeys(h))
				h.Trusted = true
			}
		}),
		with("trusted with other keys", []string{"waiting approval"}, func(s *harness.Scenario) {
			withoutCloudTrail(s)
			s.Approves, s.Limit = false, 3*24*time.Hour
			s.Prepare = func(h *harness.Harness) {
				storeOldValue(h)
				saveEarlierRotation(h, []string{model.CredentialKeySecretToken})
			}
		}),
		with("the operator's token is the older one", []string{"done"}, func(s *harness.Scenario) {
			s.Spec.Tokens = append(s.Spec.Tokens, clouds.TokenSpec{Age: 350 * 24 * time.Hour, Left: 15 * 24 * time.Hour})
			s.Begin = func(h *harness.Harness, current *harness.Process) {
				given := h.Connection.TokenIDs[1]
				var value string
				h.WithClouds(func(m *clouds.Model) { value = m.TokenValue(given) })
				err := current.Engine.Start(h.Ctx, h.Connection.Name, harness.StartOptions{TokenID: given, Value: model.NewSecret(value)})
				h.Note("operator starts a rotation with token %s: %v", given, err)
			}
		}),
		with("expired by the local clock, not yet by AWS's", []string{"done"}, func(s *harness.Scenario) {
			*s = repairScenario()
			s.Spec.Tokens[1].Left = -policy.ExpiryGrace + 9*time.Minute
			prepare := s.Prepare
			s.Prepare = func(h *harness.Harness) {
				prepare(h)
				harness.SkewClocks(-harness.MaxClockSkew+30*time.Second, 0)(h)
			}
		}),
		with("the new value is lost before it is tested", []string{"aborted"}, func(s *harness.Scenario) {
			s.BeforeCall = firstTime(func(h *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseTest && name == "journal.save"
			}, func(h *harness.Harness) { loseValue(h, harness.NewestToken(h)) })
		}),
		with("the new value is lost before the old token is deleted", []string{"blocked token_value_lost"}, func(s *harness.Scenario) {
			s.BeforeCall = firstTime(func(h *harness.Harness, name string, rot *harness.Rotation) bool {
				last, _ := rot.LastOperation(token.OperationPut)
				return rot.Phase == model.PhaseRetire && last.Why == token.PutBeforeDelete && rot.Proof.Put == last.Number && name == "aws.list"
			}, func(h *harness.Harness) { loseValue(h, harness.NewestToken(h)) })
		}),
		with("the job is replaced during the undo", []string{"blocked binding_changed"}, func(s *harness.Scenario) {
			_ = s.Quirks.Set("new_lag", "240h")
			s.BeforeCall = firstTime(func(h *harness.Harness, name string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseUndo }, func(h *harness.Harness) {
				harness.ActionOn(harness.ReplaceJob)(h)
				time.Sleep(2 * time.Minute)
			})
		}),
		with("a third-party token at the end, deleted, and a reset", []string{"done"}, func(s *harness.Scenario) {
			thirdParty := ""
			s.BeforeCall = firstTime(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseConfirm }, func(h *harness.Harness) {
				thirdParty = h.CreateToken()
			})
			s.Until = continueAfter(nil, func(h *harness.Harness, current *harness.Process) {
				harness.DeleteToken(h, thirdParty)
				h.Note("operator resets it: %v", current.Engine.Reset(h.Ctx, h.Connection.Name))
			})
		}),
		with("the old token is saved back, Entra caches it, and the audit log cannot be read", []string{"done"}, func(s *harness.Scenario) {
			withoutCloudTrail(s)
			s.Quirks.EngineReads = clouds.ReadsHourly
			prepare := s.Prepare
			s.Prepare = func(h *harness.Harness) { prepare(h); h.Deny(clouds.ReadDirectoryAudits) }
			s.BeforeCall = firstTime(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseRetire && time.Since(rot.Proof.Used.Local) > 40*time.Minute
			}, func(h *harness.Harness) { h.SaveToken(clouds.ActorTerraform, h.Connection.TokenIDs[0]) })
		}),
		with("repair that needs a start while Entra caches the expired token", []string{"done"}, func(s *harness.Scenario) {
			*s = cachedRepair()
		}),
		with("repair that needs a start, and none is left", []string{"blocked job_stopped"}, func(s *harness.Scenario) {
			*s = cachedRepair()
			s.FaultsByName = map[string]harness.Fault{"graph.start": harness.Refused}
		}),
		with("the endpoint refuses Entra, not the exporter", []string{"blocked endpoint_refuses_entra"}, func(s *harness.Scenario) {
			s.Prepare = func(h *harness.Harness) {
				storeOldValue(h)
				saveEarlierRotation(h, nil)
				h.AllowOnlyFrom(clouds.ExporterAddress)
			}
		}),
		with("the endpoint refuses Entra, and the saved value is unknown", []string{"blocked endpoint_refuses_entra"}, func(s *harness.Scenario) {
			s.Prepare = func(h *harness.Harness) { h.AllowOnlyFrom(clouds.ExporterAddress) }
		}),
		with("this host's clock is set three minutes back before the save", []string{"done"}, func(s *harness.Scenario) {
			withoutCloudTrail(s)
			s.BeforeCall = firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "graph.secrets"
			}, func(h *harness.Harness) {
				h.WithClouds(func(m *clouds.Model) { m.SetSkew(clouds.Skew{Entra: 3 * time.Minute}) })
			})
		}),
		with("AWS lists the deleted token again", []string{"done"}, func(s *harness.Scenario) {
			s.BeforeCall = firstTime(func(h *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseConfirm && !rot.Proof.Propagated.Local.IsZero()
			}, func(h *harness.Harness) {
				h.WithClouds(func(m *clouds.Model) { _ = m.SetQuirk("list_lag", "10m") })
			})
		}),
		with("two unknown tokens after a lost response", []string{"blocked orphan_token"}, func(s *harness.Scenario) {
			s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.KilledAfter}
			s.Actions = map[string]func(*harness.Harness){"aws.create#1": func(h *harness.Harness) { // an operator rotates by hand in the same seconds
				harness.DeleteToken(h, h.Connection.TokenIDs[0])
				h.SaveToken(clouds.ActorOperator, h.CreateToken())
			}}
		}),
		with("a cycle is missed, and CloudTrail shows no call with the old token for an hour", []string{"done"}, func(s *harness.Scenario) {
			s.Approves = false
			s.Prepare = withHistory
			s.BeforeCall = inSequence(
				func(_ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseTest }, harness.ActionOn(harness.PauseJob),
				func(name string, rot *harness.Rotation) bool {
					return rot.Phase == model.PhaseResume && name == "graph.job"
				}, harness.After(31*time.Minute, harness.StartJob),
			)
		}),
		with("some nodes accept the deleted token for an hour", []string{"done"}, func(s *harness.Scenario) {
			s.Quirks.Nodes = clouds.NodesApart
			_ = s.Quirks.Set("deleted_lag", "1h0m0s")
			s.BeforeCall = fastNodesFirst()
		}),
		with("the endpoint answers nothing to the exporter before the deletion", []string{"blocked new_token_rejected"}, func(s *harness.Scenario) {
			s.Quirks.InlineTest = clouds.InlineIgnored
			s.BeforeCall = firstTime(beforeDeletion, func(h *harness.Harness) {
				h.WithClouds(func(*clouds.Model) { h.FaultsByName = map[string]harness.Fault{"scim.probe": harness.Unavailable} })
			})
		}),
		with("the endpoint refuses the exporter's address before the deletion", []string{"blocked new_token_rejected"}, func(s *harness.Scenario) {
			s.Quirks.InlineTest = clouds.InlineIgnored
			s.BeforeCall = firstTime(beforeDeletion, func(h *harness.Harness) { h.AllowOnlyFrom(clouds.EntraAddress) })
		}),
		with("attributed, and the new token is deleted", []string{"waiting approval"}, func(s *harness.Scenario) {
			attributedOnce(s)
			s.BeforeCall = firstTime(testedAfterAttribution, func(h *harness.Harness) {
				h.WithClouds(func(m *clouds.Model) { _ = m.SetQuirk("cloudtrail", clouds.TrailAbsent) })
				harness.DeleteToken(h, harness.NewestToken(h))
			})
		}),
		with("attributed, and Entra's engine is refused", []string{"waiting approval"}, func(s *harness.Scenario) {
			attributedOnce(s)
			s.BeforeCall = firstTime(testedAfterAttribution, func(h *harness.Harness) {
				h.WithClouds(func(m *clouds.Model) { _ = m.SetQuirk("cloudtrail", clouds.TrailAbsent) })
				harness.After(time.Minute, func(h *harness.Harness, m *clouds.Model) error { // right after the test
					if err := m.SaveValue(clouds.ActorOperator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, "mistyped"); err != nil {
						return err
					}
					return m.RestartJob(harness.Operator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, "Full")
				})(h)
			})
		}),
	}
}

// attributedOnce is a rotation whose old value is unknown, and whose proof comes from
// CloudTrail. Nobody approves, and the audit log tells nothing.
func attributedOnce(s *harness.Scenario) {
	s.Approves, s.Limit = false, 3*24*time.Hour
	s.Policy.RetireAfter = 4 * time.Hour
	s.Prepare = func(h *harness.Harness) {
		h.Deny(clouds.ReadDirectoryAudits)
		time.Sleep(2 * time.Hour) // CloudTrail has calls
	}
}

// testedAfterAttribution: Entra tests what it has saved, and the proof is complete.
func testedAfterAttribution(_ *harness.Harness, name string, rot *harness.Rotation) bool {
	return rot.Phase == model.PhaseRetire && rot.Proof.Level == model.ProofAttributed && name == "graph.test"
}

// beforeDeletion: all that is left to do is to authorize the deletion of the old token.
func beforeDeletion(_ *harness.Harness, name string, rot *harness.Rotation) bool {
	last, _ := rot.LastOperation(token.OperationPut)
	return rot.Phase == model.PhaseRetire && last.Why == token.PutBeforeDelete && rot.Proof.Put == last.Number && name == "aws.list"
}

// fastNodesFirst lets others call AWS, so that the first of two probes of the deleted token
// meets a node that knows of the deletion. The first three times, the second one does too.
func fastNodesFirst() func(*harness.Harness, string) {
	probes := 0
	return func(h *harness.Harness, name string) {
		if h.CallCounts["aws.delete"] == 0 || name != "scim.probe" {
			return
		}
		if probes++; probes > 6 && probes%2 == 0 {
			return
		}
		h.WithClouds(func(m *clouds.Model) {
			call := clouds.SCIMCall{Tenant: h.Connection.ProvisioningTenantID, Token: m.TokenValue(h.Connection.TokenIDs[0]), SourceIP: clouds.EntraAddress}
			for m.ServiceProviderConfig(call) != nil && m.TokenAccepted(h.Connection.TokenIDs[0]) == clouds.AcceptedBySome {
				continue // until a slow node answers: the next call meets a fast one
			}
		})
	}
}

// cachedRepair is a repair in which only a start ends the quarantine, and Entra still uses
// the expired token for an hour.
func cachedRepair() harness.Scenario {
	s := repairScenario()
	s.Quirks.Recovery, s.Quirks.EngineReads = clouds.NeedsStart, clouds.ReadsHourly
	s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
		return m.RetryNow(clouds.CallerFor(clouds.ActorEngine), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
	})}
	return s
}

// firstTime runs an action before the first call at which the condition holds.
func firstTime(condition func(h *harness.Harness, name string, rot *harness.Rotation) bool, action func(*harness.Harness)) func(*harness.Harness, string) {
	var done atomic.Bool
	return func(h *harness.Harness, name string) {
		rec := h.Current.Load().Engine.Record(h.Connection.Name)
		if rec == nil || rec.Rotation == nil || !condition(h, name, rec.Rotation) || !done.CompareAndSwap(false, true) {
			return
		}
		action(h)
	}
}

// inSequence runs each action before the first call at which its condition holds, one
// after the other.
func inSequence(condition func(string, *harness.Rotation) bool, action func(*harness.Harness), next func(string, *harness.Rotation) bool, second func(*harness.Harness)) func(*harness.Harness, string) {
	var first atomic.Bool
	begin := firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool { return condition(name, rot) }, func(h *harness.Harness) {
		action(h)
		first.Store(true)
	})
	then := firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
		return first.Load() && next(name, rot)
	}, second)
	return func(h *harness.Harness, name string) {
		begin(h, name)
		then(h, name)
	}
}

// tokenStoreFillsUp makes the token store refuse every write from the creation on.
func tokenStoreFillsUp() func(*harness.Harness, string) {
	return firstTime(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseCreate }, func(h *harness.Harness) {
		h.WithClouds(func(*clouds.Model) { h.FaultsByName = map[string]harness.Fault{"tokens.write": harness.Refused} })
	})
}

// saveEarlierRotation writes the record of a binding whose rotation was done ten months
// ago, with these keys in Entra; nil: it is not trusted.
func saveEarlierRotation(h *harness.Harness, keys []string) {
	ended := time.Now().Add(-300 * 24 * time.Hour)
	old := h.InitialDates[h.Connection.TokenIDs[0]]
	rec := harness.NewRecord(h.Connection.Binding, h.Connection.Name)
	rec.InUse, rec.OwnSaves = old.ID, []time.Time{ended}
	procedure := rec.Procedures[model.ProcedureToken]
	procedure.LastEnd, procedure.LastSuccess = ended, ended
	rec.KnownTokens[old.ID] = old
	if keys != nil {
		rec.Trust = &token.Trust{At: ended, Keys: keys}
	}
	saveRecord(h, rec)
}

// secretKeys are the keys of the provisioning credentials in Entra.
func secretKeys(h *harness.Harness) []string {
	var keys []string
	h.WithClouds(func(m *clouds.Model) {
		secrets, err := m.Secrets(clouds.CallerFor("oracle"), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
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

// loseValue removes a token's value from the token store.
func loseValue(h *harness.Harness, id string) {
	value := ""
	h.WithClouds(func(m *clouds.Model) { value = m.TokenValue(id) })
	h.Note("the token store loses the value of token %s", id)
	h.ValueLost = true
	for _, key := range h.Store.List(h.Connection.Key()) {
		if entry, err := h.Store.Read(key); err == nil && strings.Contains(entry.Reveal(), value) {
			h.Store.Destroy(key)
		}
	}
}

// withCanary names one of the users in scope as the canary.
func withCanary(h *harness.Harness) {
	storeOldValue(h)
	h.WithClouds(func(m *clouds.Model) {
		id, err := m.AddUser(clouds.ActorOperator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, "canary@corp.example.com")
		if err != nil {
			panic(err)
		}
		h.Policy.CanaryUserObjectID = id
	})
}

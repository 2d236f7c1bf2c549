package rotate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator/world"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// TestQuirkMatrix plays a whole rotation, and one with a crash, in every world that the
// real clouds might turn out to be: the full product of the quirks that touch the switch
// together, and three-wise covering for the rest.
func TestQuirkMatrix(t *testing.T) {
	const sample = 250
	var coupled, others []world.Quirk
	for _, q := range world.AllQuirks() {
		if q.Coupled {
			coupled = append(coupled, q)
		} else {
			others = append(others, q)
		}
	}
	product := slices.Collect(world.Product(world.DefaultQuirks(), coupled))
	rows := world.Covering(world.DefaultQuirks(), others)
	enumerated := len(product)
	if !full() {
		slices.SortFunc(product, func(a, b world.Quirks) int { return strings.Compare(hashedName(a), hashedName(b)) })
		product = product[:sample]
		slices.SortFunc(rows, func(a, b world.Quirks) int { return strings.Compare(hashedName(a), hashedName(b)) })
		rows = rows[:min(sample/2, len(rows))]
	}
	reached := newCoverage()
	var trials []trial
	for _, quirks := range slices.Concat(product, rows) {
		trials = append(trials, quirky(quirks)...)
	}
	reached.play(t, trials)
	t.Logf("%d combinations (of %d of the coupled quirks, %d covering the others three by three), each with and without a crash",
		len(product)+len(rows), enumerated, len(rows))
	reached.report(t)
}

func hashedName(q world.Quirks) string { return fmt.Sprintf("%016x", number(q.String())) }

// crashes are where the process dies in the rotation with a crash, one for each combination.
var crashes = []string{"aws.create#1", "graph.put#1", "graph.put#2", "aws.delete#1", "vault.write#2", "journal.save#20"}

// quirky are the two trials of one combination.
func quirky(quirks world.Quirks) []trial {
	whole := short()
	whole.quirks = quirks
	crash := short()
	crash.quirks = quirks
	where := crashes[number(quirks.String())%uint64(len(crashes))]
	crash.named = map[string]fault{where: killedAfter}
	allowed := endingsOf(quirks)
	killed := slices.Concat(allowed, []string{"aborted", "blocked orphan_token"})
	if quirks.PutSecrets == world.PutLimited {
		killed = append(killed, "blocked switch_failed") // one PUT without an answer among those refused: it may be saved
	}
	return []trial{
		{scenario: whole, base: short, prefix: "quirk ", name: "quirks:" + quirks.String(), allowed: allowed},
		{scenario: crash, base: short, prefix: "quirk ", name: "quirks:" + quirks.String() + ":killed after " + where, allowed: killed},
	}
}

// endingsOf is the table of endings by what the clouds do. Where it names a reason, a
// person must act: nothing that a program may do would help.
func endingsOf(q world.Quirks) []string {
	if q.SecretsGet == world.Gone {
		return []string{"blocked api_changed"}
	}
	if q.ExtraKeys == world.ExtraMasked {
		return []string{"blocked unknown_secret_keys"}
	}
	endings := []string{}
	dropped := q.PutSecrets == world.PutKeepsToken || q.PutSecrets == world.PutNeedsAll && q.SettingsKeys == world.KeysAbsent
	switch {
	case q.PutSecrets == world.PutLimited:
		return []string{"blocked storage_limit", "done"}
	case dropped:
		// nothing shows it until the log does, or the old token is gone
		return []string{"blocked proof_contradicted", "blocked entra_holds_dead_token", "blocked switch_failed", "blocked switch_reverted", "done"}
	default:
		endings = append(endings, "done")
	}
	if q.SourceAddress == world.SourceRefusesExporter && q.InlineTest == world.InlineIgnored {
		endings = append(endings, "aborted", "blocked endpoint_refuses_entra")
	}
	return endings
}

// withHistory lets Entra call AWS for a while first, so that AWS's log has something to tell.
func withHistory(l *lab) {
	rememberOld(l)
	time.Sleep(2 * time.Hour)
}

// situations are scenarios that lead where no single fault does.
func situations() []trial {
	with := func(name string, allowed []string, change func(*scenario)) trial {
		s := short()
		change(&s)
		return trial{scenario: s, base: short, prefix: "situation ", name: "situation:" + name, allowed: allowed}
	}
	return []trial{
		with("the save is dropped", []string{"blocked *", "done"}, func(s *scenario) { s.quirks.PutSecrets = world.PutKeepsToken; s.quirks.CloudTrail = world.TrailAbsent }),
		with("the save is dropped, the log shows it", []string{"blocked proof_contradicted"}, func(s *scenario) {
			s.quirks.PutSecrets = world.PutKeepsToken
			s.policy.RetireAfter = 4 * time.Hour // the log needs its time to contradict
			s.prepare = withHistory
		}),
		with("the log tells who calls", []string{"done"}, func(s *scenario) {
			s.approves = false
			s.prepare = withHistory
		}),
		with("the vault is full when the value comes", []string{"aborted"}, func(s *scenario) {
			s.named = map[string]fault{}
			for n := 3; n < 9; n++ {
				s.named[fmt.Sprintf("vault.write#%d", n)] = refused
			}
		}),
		with("AWS never accepts the new token", []string{"aborted"}, func(s *scenario) { _ = s.quirks.Set("new_lag", "240h") }),
		with("the new token is deleted and expired after the old one is gone", []string{"done", "blocked *"}, func(s *scenario) {
			s.hands = map[string]func(*lab){}
			deleted := false
			s.every = func(l *lab, name string) {
				if !deleted && l.counts["aws.delete"] > 0 && name == "graph.test" {
					deleted = true
					deleteByHand(l, newest(l))
				}
			}
		}),
		with("a person saved a listed token whose value is known", []string{"done", "blocked *", "aborted"}, func(s *scenario) {
			prepare := s.prepare
			s.prepare = func(l *lab) {
				prepare(l)
				l.saveGarbage()
			}
		}),
	}
}

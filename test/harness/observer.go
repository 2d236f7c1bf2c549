package harness

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// InvariantObserver stands between the engine and the clouds: it sees every act before it is
// made, and holds what is durable at that moment against the contract.
type InvariantObserver struct {
	lab *Harness
	mu  sync.Mutex // there may be two processes; taken before the lab's

	Violations  []string
	Transitions map[string]bool
	Blocked     map[string]bool
	Waiting     map[string]bool
	calls       map[string]*Process // who made an act, by its intent
	creations   []time.Time         // creations asked for
	puts        map[string]int      // by token id
	known       map[string]bool     // whose value was in the vault when it was deleted
	lists       []time.Time         // readings of the tokens
	used        bool
	planned     string // the rotation whose plan was looked at
}

func Observe(l *Harness) *InvariantObserver {
	w := &InvariantObserver{
		lab: l, Transitions: map[string]bool{}, Blocked: map[string]bool{}, Waiting: map[string]bool{}, calls: map[string]*Process{},
		puts: map[string]int{}, known: map[string]bool{},
	}
	l.beforeOperation = func(s *Process, name string) { w.exclusively(func() { w.act(s, name) }) }
	l.afterStop = func(s *Process) { w.exclusively(func() { w.stop(s) }) }
	switch l.Clouds.Quirks().PutSecrets {
	case clouds.PutKeepsToken, clouds.PutNeedsAll:
		l.SaveMayBeDropped = true
	}
	every := l.BeforeCall
	l.BeforeCall = func(l *Harness, name string) {
		w.exclusively(func() {
			w.Update()
			if name == "aws.list" {
				w.lists = append(w.lists, time.Now())
			}
		})
		if every != nil {
			every(l, name)
		}
	}
	return w
}

func (w *InvariantObserver) exclusively(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *InvariantObserver) add(format string, args ...any) {
	w.Violations = append(w.Violations, fmt.Sprintf(format, args...))
}

// Update notes where the rotation stands, as its process knows it.
func (w *InvariantObserver) Update() {
	e := w.lab.Current.Load().Engine
	if entry := e.Lookup(w.lab.Connection.Name); entry != nil {
		if rec := ViewOf(entry.Record()); rec != nil {
			w.note(rec)
			w.plan(rec)
			w.proof(rec)
		}
		if isTransient(entry.Err()) {
			w.Waiting[string(model.WaitingStoreUnavailable)] = true
		}
	}
}

// plan holds the role that the plan gives a token against what Entra holds.
func (w *InvariantObserver) plan(rec *Record) {
	rot := rec.Rotation
	if rot == nil || len(rot.Plan.Tokens) == 0 || w.planned == rot.ID {
		return
	}
	w.planned = rot.ID
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	for save := range clouds.EntriesOf[clouds.Save](w.lab.Clouds) {
		if save.At.After(rot.Started.Local) {
			return // a person was quicker, or this process slept since it made the plan
		}
	}
	for _, token := range rot.Plan.Tokens {
		if saved := w.lab.Clouds.SavedToken(w.lab.Connection.ServicePrincipalID); token.Role == model.RoleInUse && token.ID != saved {
			w.add("roles: token %s is taken for the one in use (%s), and Entra holds %q", token.ID, token.Evidence, saved)
		}
	}
}

// stop: a process that was told to stop has recorded what came of its acts.
func (w *InvariantObserver) stop(s *Process) {
	content, _, _ := w.lab.Store.Load(w.lab.Connection.Key())
	rec, err := DecodeRecord(content, w.lab.Connection.Key())
	if err != nil || rec.Rotation == nil {
		return
	}
	for name, kind := range intents {
		if a, _ := rec.Rotation.LastOperation(kind); a.Number > 0 && a.Outcome == "" && w.calls[callOf(rec, name, a)] == s {
			w.add("a stop has left %s %d without its outcome", name, a.Number)
		}
	}
}

// proof holds what the rotation believes to be proven against the truth.
func (w *InvariantObserver) proof(rec *Record) {
	rot := rec.Rotation
	if rot == nil {
		return
	}
	if used := rot.Proof.Level.AtLeast(model.ProofUsed); used && !w.used {
		w.lab.mu.Lock()
		truth := groundTruthOf(w.lab)
		w.lab.mu.Unlock()
		if n := len(truth.saves); n == 0 || !truth.cycled(truth.saves[n-1].At.Add(storedAfter)) {
			w.add("P2: used, and no good cycle began after the save")
		}
	}
	w.used = rot.Proof.Level.AtLeast(model.ProofUsed)
	if rot.Phase == model.PhaseConfirm && rot.Proof.Propagated.Local.IsZero() {
		w.lab.mu.Lock()
		defer w.lab.mu.Unlock()
		for _, old := range rot.OldTokens() {
			value := w.lab.Clouds.TokenValue(old.ID)
			if w.known[old.ID] && !slices.Contains(w.lab.Store.Values(), value) && w.lab.Clouds.TokenAccepted(old.ID) != clouds.AcceptedByNone {
				w.add("I3: token %s still works, and its value is gone from the vault", old.ID)
			}
		}
	}
}

// intents are where the journal holds those of each act.
var intents = map[string]journal.OperationKind{
	"aws.create": token.OperationCreate, "aws.delete": token.OperationDelete, "graph.put": token.OperationPut,
	"graph.start": token.OperationStart, "graph.canary": token.OperationCanary,
}

// act is I2 and I5 at the last moment: the intent is durable, the lease is ours and
// lasts, and what is about to be deleted may be.
func (w *InvariantObserver) act(s *Process, name string) {
	content, _, _ := w.lab.Store.Load(w.lab.Connection.Key())
	rec, err := DecodeRecord(content, w.lab.Connection.Key())
	if err != nil || rec.Rotation == nil {
		w.add("I5: %s without a rotation in the journal: %v", name, err)
		return
	}
	intent, _ := rec.Rotation.LastOperation(intents[name])
	if intent.Number == 0 || intent.Outcome != "" {
		w.add("G8: %s, and the journal holds no intent of it", name)
	}
	call := callOf(rec, name, intent)
	if w.calls[call] != nil {
		w.add("G8: %s, and the intent was for the call before", name)
	}
	w.calls[call] = s
	if rec.Lease.Holder != s.Engine.holder || time.Until(rec.Lease.Expires) < journal.LeaseMargin {
		w.add("G5: %s by %s, and the lease is %s's until %s", name, s.Engine.holder, rec.Lease.Holder, rec.Lease.Expires.Format(time.TimeOnly))
	}
	switch name {
	case "aws.create":
		w.create(rec)
	case "graph.put":
		w.puts[intent.Target]++
		w.put(intent.Target)
	case "graph.start":
		w.start(rec, intent)
	case "aws.delete":
		if n := len(w.lists); n < 2 || w.lists[n-1].Sub(w.lists[n-2]) < listApart || time.Since(w.lists[n-1]) > listFresh+callTimeout {
			w.add("G1: a deletion without two lists, some seconds apart, the last a minute old")
		}
		w.remove(rec, intent)
	}
}

// callOf names the one call that an intent is for.
func callOf(rec *Record, name string, intent journal.Operation) string {
	return fmt.Sprint(rec.Rotation.ID, name, intent.Number)
}

// start: one for each quarantine, unless it was certainly refused.
func (w *InvariantObserver) start(rec *Record, intent journal.Operation) {
	for _, earlier := range rec.Rotation.Operations[token.OperationStart] {
		if earlier.Number < intent.Number && earlier.Target == intent.Target && !earlier.Refused() {
			w.add("I7: a second start for the %s", intent.Target)
		}
	}
}

// create is I6, by what was asked for, whatever was answered.
func (w *InvariantObserver) create(rec *Record) {
	w.creations = append(w.creations, time.Now())
	day, week := 0, 0
	for _, at := range w.creations {
		if time.Since(at) < 24*time.Hour-time.Minute {
			day++
		}
		if time.Since(at) < 7*24*time.Hour-time.Minute {
			week++
		}
	}
	if day > createsPerDay || week > createsPerWeek {
		w.add("I6: the %d. token asked for within a day, the %d. within a week", day, week)
	}
	if name := rec.Rotation.StoreEntry; !slices.Contains(w.lab.Store.List(rec.Binding.Key()), rec.Binding.Key()+"/"+name) {
		w.add("I4: a token is created and no vault entry is reserved")
	}
}

// put: what is saved to Entra must be in the vault, and alive.
func (w *InvariantObserver) put(tokenID string) {
	w.lab.WithClouds(func(world *clouds.Model) {
		if value := world.TokenValue(tokenID); value == "" || !slices.Contains(w.lab.Store.Values(), value) {
			w.add("I3: token %s is saved to Entra, and its value is not in the vault", tokenID)
		}
	})
}

// remove is I2: the conditions of the one door, on the world's truth.
func (w *InvariantObserver) remove(rec *Record, intent journal.Operation) {
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	truth := groundTruthOf(w.lab)
	w.known[intent.Target] = slices.Contains(w.lab.Store.Values(), w.lab.Clouds.TokenValue(intent.Target))
	token, known := truth.tokens[intent.Target]
	switch {
	case !known || token.deleted:
		return
	case (rec.Binding.ProvisioningTenantID != truth.tenant || rec.Binding.JobID != truth.job) && truth.now.Sub(truth.rebound) > time.Minute:
		w.add("G2: a deletion for a binding to what is gone")
	}
	left := 0
	for id, other := range truth.tokens {
		if id != intent.Target && other.listed(truth.now) && other.expires.Sub(truth.now) >= policy.MinRemainingValidity {
			left++
		}
	}
	if left == 0 && truth.now.Before(token.expires) {
		w.add("G4: deleting token %s leaves none that is valid for a week", intent.Target)
	}
	if truth.skew > MaxClockSkew+time.Minute {
		w.add("G6: a deletion with a clock that is %s away", truth.skew)
	}
	switch intent.Why {
	case "undo":
		if w.puts[intent.Target] > 0 || token.by != clouds.ActorExporter {
			w.add("G7: token %s is undone after %d attempts to save it, made by %s", intent.Target, w.puts[intent.Target], token.by)
		}
	case "expired":
		if truth.now.Before(token.expires.Add(policy.ExpiryGrace)) {
			w.add("G7: token %s is deleted as expired, and is not", intent.Target)
		}
	case "orphan":
		if token.by != clouds.ActorExporter || truth.now.Sub(token.created) < orphanGrace {
			w.add("G7: orphan %s, made by %s %s ago, is deleted", intent.Target, token.by, truth.now.Sub(token.created))
		}
	case "named":
		w.add("G7: token %s is deleted because a person named it, and nobody does so in the matrix", intent.Target)
	case "retire":
		w.retire(truth, intent.Target, rec.Rotation.NewID())
	}
}

// retire: proof on the world's truth: the new token was saved long enough ago, and
// again just now, a cycle passed since, none is running, nobody else's token is there,
// and somebody or something allowed it.
func (w *InvariantObserver) retire(truth groundTruth, old, fresh string) {
	if len(truth.saves) == 0 {
		w.add("G7: token %s is retired and nothing was ever saved", old)
		return
	}
	if !slices.Contains(w.lab.Store.Values(), w.lab.Clouds.TokenValue(fresh)) {
		w.add("G7: token %s is retired, and the value of token %s is not in the vault", old, fresh)
	}
	first := truth.saves[0].At
	if last := truth.saves[len(truth.saves)-1].At; truth.now.Sub(last) > storedFresh+2*storedFor {
		w.add("G7: token %s is retired, the last save was %s ago", old, truth.now.Sub(last))
	} else if truth.now.Sub(last) < storedAfter {
		w.add("G7: token %s is retired %s after a save", old, truth.now.Sub(last))
	}
	if truth.now.Sub(first) < policy.MinRetireAfter {
		w.add("G7: token %s is retired %s after the first save", old, truth.now.Sub(first))
	}
	if !truth.cycled(first.Add(storedAfter)) {
		w.add("G7: token %s is retired, and no good cycle began after the save", old)
	}
	if truth.running && truth.now.Sub(truth.rebound) > listFresh { // another job's cycle may have begun since the last look
		w.add("G7: token %s is retired in the middle of a cycle", old)
	}
	for id, token := range truth.tokens {
		if token.by != clouds.ActorExporter && token.by != clouds.ActorSetup && !token.deleted && id != old {
			w.add("G7: token %s is retired while %s's token %s is there", old, token.by, id)
		}
	}
	policy := w.lab.Policy.Approval
	allowed := truth.approved[old] || policy == model.ApprovalNever ||
		policy == model.ApprovalFirst && (truth.trusted || truth.tells || !truth.now.Before(truth.tokens[old].expires))
	if !allowed {
		w.add("G7: token %s is retired, which nobody approved and nothing attributed", old)
	}
}

// note reads the phases, blocks and waits that a record shows.
func (w *InvariantObserver) note(rec *Record) {
	rot := rec.Rotation
	if rot == nil {
		return
	}
	for i := 1; i < len(rot.Phases); i++ {
		w.Transitions[string(rot.Phases[i-1].Phase)+" -> "+string(rot.Phases[i].Phase)] = true
	}
	if rot.Blocked != nil {
		w.Blocked[string(rot.Blocked.Reason)] = true
	}
	if rot.Waiting != "" {
		w.Waiting[string(rot.Waiting)] = true
	}
	if !rec.OnHold.IsZero() {
		w.Waiting[string(model.WaitingOnHold)] = true
	}
}

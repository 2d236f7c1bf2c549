package harness

import (
	"bytes"
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

// InvariantObserver checks the invariants while a scenario runs. Before each operation, it
// compares the journal and the token store with the model.
type InvariantObserver struct {
	harness *Harness
	mu      sync.Mutex // for several processes; locked before the harness

	Violations  []string
	Transitions map[string]bool // "phase -> phase"
	Blocked     map[string]bool // the reasons that were seen
	Waiting     map[string]bool // the reasons that were seen

	operations        map[string]*Process // the process of each operation, by operationKey
	creations         []time.Time         // when tokens were requested
	puts              map[string]int      // by token ID
	storedWhenDeleted map[string]bool     // by token ID: its value was in the token store
	listed            []time.Time         // when the tokens were read
	proofUsed         bool                // the last proof level was at least used
	attributed        bool                // the last proof level was at least attributed
	propagated        bool                // the last proof said that AWS refuses the old tokens everywhere
	checkedPlan       string              // the ID of the rotation whose plan was checked

	content []byte // the stored record when it was read last
	record  *journal.Record
	err     error
}

// Observe adds an observer to a harness whose first process has not started yet.
func Observe(h *Harness) *InvariantObserver {
	o := &InvariantObserver{
		harness: h, Transitions: map[string]bool{}, Blocked: map[string]bool{}, Waiting: map[string]bool{}, operations: map[string]*Process{},
		puts: map[string]int{}, storedWhenDeleted: map[string]bool{},
	}
	h.beforeOperation = func(p *Process, name string) { o.locked(func() { o.checkOperation(p, name) }) }
	h.afterStop = func(p *Process) { o.locked(func() { o.checkStop(p) }) }
	switch h.Clouds.Quirks().PutSecrets {
	case clouds.PutKeepsToken, clouds.PutNeedsAll:
		h.SaveMayBeDropped = true
	}
	beforeCall := h.BeforeCall
	h.BeforeCall = func(h *Harness, name string) {
		o.locked(func() {
			o.Update()
			if name == "aws.list" || name == "aws.trust" { // the last call of a reading
				o.listed = append(o.listed, time.Now())
			}
		})
		if beforeCall != nil {
			beforeCall(h, name)
		}
	}
	return o
}

func (o *InvariantObserver) locked(do func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	do()
}

func (o *InvariantObserver) add(format string, args ...any) {
	o.Violations = append(o.Violations, fmt.Sprintf(format, args...))
}

// Update reads the rotation's record as its process has it. What is checked is the stored
// one: a process that was suspended may know an older one than another process has written.
func (o *InvariantObserver) Update() {
	e := o.harness.Current.Load().Engine
	if entry := e.Lookup(o.harness.Connection.Name); entry != nil {
		record := entry.Record()
		o.recordCoverage(record)
		if o.harness.Rolls == nil {
			if stored, err := o.storedRecord(); err == nil {
				rec := ViewOf(stored)
				o.checkPlan(rec)
				o.checkProof(rec)
			}
		}
		if isTransient(entry.Err()) {
			o.Waiting[string(model.WaitingStoreUnavailable)] = true
		}
	}
}

// storedRecord reads the connection's record as it is stored. It is read before every call,
// and most calls do not change it, so it is decoded when it has changed.
func (o *InvariantObserver) storedRecord() (*journal.Record, error) {
	if content := o.harness.storedContent(); o.content == nil || !bytes.Equal(content, o.content) {
		o.content = content
		o.record, o.err = o.harness.codec().Decode(content, o.harness.Connection.Key())
	}
	return o.record, o.err
}

// checkPlan compares the token that the plan considers in use with what Entra holds.
func (o *InvariantObserver) checkPlan(rec *Record) {
	rot := rec.Rotation
	if rot == nil || len(rot.Plan.Tokens) == 0 || o.checkedPlan == rot.ID {
		return
	}
	o.checkedPlan = rot.ID
	o.harness.mu.Lock()
	defer o.harness.mu.Unlock()
	for save := range clouds.EntriesOf[clouds.Save](o.harness.Clouds) {
		if save.At.After(rot.Started.Local) {
			return // saved by a third party, or this process was suspended after it made the plan
		}
	}
	for _, token := range rot.Plan.Tokens {
		if saved := o.harness.Clouds.SavedToken(o.harness.Connection.ServicePrincipalID); token.Role == model.RoleInUse && token.ID != saved {
			o.add("roles: the plan considers token %s in use (%s), and Entra holds %q", token.ID, token.Evidence, saved)
		}
	}
}

// checkStop demands that a stopped process has recorded the outcomes of its operations.
func (o *InvariantObserver) checkStop(p *Process) {
	record, err := o.storedRecord()
	if err != nil || record.Rotation == nil {
		return
	}
	for name, kind := range o.harness.operationKinds() {
		if last, _ := record.Rotation.LastOperation(kind); last.Number > 0 && last.Outcome == "" && o.operations[operationKey(record, name, last)] == p {
			o.add("a stopped process left %s %d without its outcome", name, last.Number)
		}
	}
}

// checkProof compares the rotation's proof level with the ground truth.
func (o *InvariantObserver) checkProof(rec *Record) {
	rot := rec.Rotation
	if rot == nil {
		return
	}
	if used := rot.Proof.Level.AtLeast(model.ProofUsed); used && !o.proofUsed {
		o.harness.mu.Lock()
		truth := groundTruthOf(o.harness)
		o.harness.mu.Unlock()
		if n := len(truth.saves); n == 0 || !truth.cycleAfter(truth.saves[n-1].At.Add(storedAfter)) {
			o.add("P2: used, and no good cycle began after the save")
		}
	}
	o.proofUsed = rot.Proof.Level.AtLeast(model.ProofUsed)
	attributed := rot.Proof.Level.AtLeast(model.ProofAttributed)
	if attributed && !o.attributed && rot.Proof.AttributedBy == "cloudtrail" {
		o.harness.mu.Lock()
		truth := groundTruthOf(o.harness)
		o.harness.mu.Unlock()
		if n := len(truth.saves); n == 0 || truth.now.Sub(truth.saves[n-1].At) < storedAfter+observedFor {
			o.add("P3: attributed by CloudTrail, and it was not observed for %s since the save was stored", observedFor)
		}
	}
	o.attributed = attributed
	propagated := !rot.Proof.Propagated.Local.IsZero()
	if propagated && !o.propagated {
		o.harness.mu.Lock()
		for _, old := range rot.OldTokens() {
			if by := o.harness.Clouds.TokenAccepted(old.ID); by != clouds.AcceptedByNone {
				o.add("P4: the deletion of token %s counts as propagated, and it is accepted by %s of AWS's nodes", old.ID, by)
			}
		}
		o.harness.mu.Unlock()
	}
	o.propagated = propagated
	if rot.Phase == model.PhaseConfirm && rot.Proof.Propagated.Local.IsZero() {
		o.harness.mu.Lock()
		defer o.harness.mu.Unlock()
		for _, old := range rot.OldTokens() {
			value := o.harness.Clouds.TokenValue(old.ID)
			if o.storedWhenDeleted[old.ID] && !slices.Contains(o.harness.Store.Values(), value) && o.harness.Clouds.TokenAccepted(old.ID) != clouds.AcceptedByNone {
				o.add("I3: token %s still works, and its value is gone from the token store", old.ID)
			}
		}
	}
}

// checkOperation is I5, and I2 right before a deletion: the intent is durable, and the
// process holds the lease for long enough.
func (o *InvariantObserver) checkOperation(p *Process, name string) {
	record, err := o.storedRecord()
	if err != nil || record.Rotation == nil {
		o.add("I5: %s without a rotation in the journal: %v", name, err)
		return
	}
	intent, _ := record.Rotation.LastOperation(o.harness.operationKinds()[name])
	if intent.Number == 0 || intent.Outcome != "" {
		o.add("G8: %s without an intent in the journal", name)
	}
	key := operationKey(record, name, intent)
	if o.operations[key] != nil {
		o.add("G8: %s, and the intent was for the call before", name)
	}
	o.operations[key] = p
	if record.Lease.Holder != p.Engine.holder || time.Until(record.Lease.Expires)-p.ClockAhead < journal.LeaseMargin {
		o.add("G5: %s by %s, and %s holds the lease until %s", name, p.Engine.holder, record.Lease.Holder, record.Lease.Expires.Format(time.TimeOnly))
	}
	if o.harness.Rolls != nil {
		o.checkRolloverOperation(record, name, intent)
	} else {
		o.checkTokenOperation(ViewOf(record), name, intent)
	}
}

func (o *InvariantObserver) checkTokenOperation(rec *Record, name string, intent journal.Operation) {
	switch name {
	case "aws.create":
		o.checkCreate(rec)
	case "graph.put":
		o.puts[intent.Target]++
		o.checkPut(intent.Target)
	case "graph.start":
		o.checkStart(rec, intent)
	case "aws.delete":
		if n := len(o.listed); n < 2 || o.listed[n-1].Sub(o.listed[n-2]) < listApart || time.Since(o.listed[n-1]) > listFresh+callTimeout {
			o.add("G1: a deletion without two lists that are %s apart and fresh", listApart)
		}
		o.checkDelete(rec, intent)
	}
}

// operationKey identifies the one call that an intent is for.
func operationKey(record *journal.Record, name string, intent journal.Operation) string {
	return fmt.Sprint(record.Rotation.ID, name, intent.Number)
}

// checkStart is I7: one start for each quarantine, unless the start was certainly refused.
func (o *InvariantObserver) checkStart(rec *Record, intent journal.Operation) {
	for _, earlier := range rec.Rotation.Operations[token.OperationStart] {
		if earlier.Number < intent.Number && earlier.Target == intent.Target && !earlier.Refused() {
			o.add("I7: a second start for the %s", intent.Target)
		}
	}
}

// checkCreate is I6 for the tokens requested, whatever the response was.
func (o *InvariantObserver) checkCreate(rec *Record) {
	o.creations = append(o.creations, time.Now())
	day, week := 0, 0
	for _, at := range o.creations {
		if time.Since(at) < 24*time.Hour-time.Minute {
			day++
		}
		if time.Since(at) < 7*24*time.Hour-time.Minute {
			week++
		}
	}
	if day > createsPerDay || week > createsPerWeek {
		o.add("I6: %d tokens were requested within a day, %d within a week", day, week)
	}
	if name := rec.Rotation.StoreEntry; !slices.Contains(o.harness.Store.List(rec.Binding.Key()), rec.Binding.Key()+"/"+name) {
		o.add("I4: a token is created and no token store entry is reserved")
	}
}

// checkPut is I3: a value that is saved to Entra is in the token store.
func (o *InvariantObserver) checkPut(tokenID string) {
	o.harness.WithClouds(func(m *clouds.Model) {
		if value := m.TokenValue(tokenID); value == "" || !slices.Contains(o.harness.Store.Values(), value) {
			o.add("I3: token %s is saved to Entra, and its value is not in the token store", tokenID)
		}
	})
}

// checkDelete is I2: the conditions of a deletion (G2, G4, G6, G7) in the ground truth.
func (o *InvariantObserver) checkDelete(rec *Record, intent journal.Operation) {
	o.harness.mu.Lock()
	defer o.harness.mu.Unlock()
	truth := groundTruthOf(o.harness)
	o.storedWhenDeleted[intent.Target] = slices.Contains(o.harness.Store.Values(), o.harness.Clouds.TokenValue(intent.Target))
	token, known := truth.tokens[intent.Target]
	switch {
	case !known || token.deleted:
		return
	case (rec.Binding.ProvisioningTenantID != truth.tenant || rec.Binding.JobID != truth.job) && truth.now.Sub(truth.rebound) > time.Minute:
		o.add("G2: a deletion for a binding that was replaced")
	}
	left := 0
	for id, other := range truth.tokens {
		if id != intent.Target && other.listed(truth.now) && other.expires.Sub(truth.now) >= policy.MinRemainingValidity {
			left++
		}
	}
	if left == 0 && truth.now.Before(token.expires) {
		o.add("G4: the deletion of token %s leaves none that is valid for a week", intent.Target)
	}
	if truth.skew > MaxClockSkew+time.Minute {
		o.add("G6: a deletion with a clock skew of %s", truth.skew)
	}
	switch intent.Why {
	case "undo":
		if o.puts[intent.Target] > 0 || token.createdBy != clouds.ActorExporter {
			o.add("G7: token %s, created by %s, is undone after %d attempts to save it", intent.Target, token.createdBy, o.puts[intent.Target])
		}
	case "expired":
		if truth.now.Before(token.expires.Add(policy.ExpiryGrace)) {
			o.add("G7: token %s is deleted as expired, and is not", intent.Target)
		}
	case "orphan":
		if token.createdBy != clouds.ActorExporter || truth.now.Sub(token.created) < orphanGrace {
			o.add("G7: orphan %s, created by %s %s ago, is deleted", intent.Target, token.createdBy, truth.now.Sub(token.created))
		}
	case "named":
		o.add("G7: token %s is deleted because an operator named it, which no case of the matrix does", intent.Target)
	case "retire":
		if kept := time.Since(rec.Rotation.Proof.Used.Local); kept < max(o.harness.Policy.RetireAfter, policy.MinRetireAfter) {
			o.add("G7: token %s is retired %s after the new one was used", intent.Target, kept)
		}
		o.checkRetire(truth, intent.Target, rec.Rotation.NewID())
	}
}

// checkRetire is G7 for the old token, in the ground truth: the new token was saved long
// enough ago and again just now, a good cycle began since, none is running, no token of
// a third party is there, and the deletion is approved, trusted or attributed.
func (o *InvariantObserver) checkRetire(truth groundTruth, old, fresh string) {
	if len(truth.saves) == 0 {
		o.add("G7: token %s is retired, and nothing was saved", old)
		return
	}
	if !slices.Contains(o.harness.Store.Values(), o.harness.Clouds.TokenValue(fresh)) {
		o.add("G7: token %s is retired, and the value of token %s is not in the token store", old, fresh)
	}
	first := truth.saves[0].At
	last := truth.saves[len(truth.saves)-1].At
	if truth.now.Sub(last) > storedFresh+2*storedFor {
		o.add("G7: token %s is retired, the last save was %s ago", old, truth.now.Sub(last))
	} else if truth.now.Sub(last) < engineCache {
		o.add("G7: token %s is retired %s after a save", old, truth.now.Sub(last))
	}
	if truth.now.Sub(first) < policy.MinRetireAfter {
		o.add("G7: token %s is retired %s after the first save", old, truth.now.Sub(first))
	}
	if !truth.cycleAfter(last.Add(storedAfter)) {
		o.add("G7: token %s is retired, and no good cycle began after the last save", old)
	}
	if truth.running && truth.now.Sub(truth.rebound) > listFresh { // the cycle of a new job may have begun since the last read
		o.add("G7: token %s is retired while a cycle runs", old)
	}
	for id, token := range truth.tokens {
		if token.createdBy != clouds.ActorExporter && token.createdBy != clouds.ActorSetup && !token.deleted && id != old {
			o.add("G7: token %s is retired while token %s of %s exists", old, id, token.createdBy)
		}
	}
	approval := o.harness.Policy.Approval
	allowed := truth.approvals[old] == approvalDone || approval == model.ApprovalNever ||
		approval == model.ApprovalFirst && (truth.trusted || truth.perToken || !truth.now.Before(truth.tokens[old].expires))
	if !allowed {
		o.add("G7: token %s is retired without approval, trust or attribution", old)
	}
}

// recordCoverage records the transitions and reasons that a record shows.
func (o *InvariantObserver) recordCoverage(record *journal.Record) {
	if record == nil || record.Rotation == nil {
		return
	}
	rotation := record.Rotation
	for i := 1; i < len(rotation.Phases); i++ {
		o.Transitions[string(rotation.Phases[i-1].Phase)+" -> "+string(rotation.Phases[i].Phase)] = true
	}
	if rotation.Blocked != nil {
		o.Blocked[string(rotation.Blocked.Reason)] = true
	}
	if rotation.Waiting != "" {
		o.Waiting[string(rotation.Waiting)] = true
	}
	if !record.OnHold.IsZero() {
		o.Waiting[string(model.WaitingOnHold)] = true
	}
}

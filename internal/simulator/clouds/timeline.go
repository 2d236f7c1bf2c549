package clouds

import (
	"fmt"
	"io"
	"iter"
	"time"

	"entra-aws-exporter/internal/model"
)

// Entry is one entry of the timeline: what happened, when, and who did it. The timeline
// names tokens by their ids and never holds a value. Its times are the Model's.
type Entry interface {
	Stamped() Stamp
	fmt.Stringer
}

// Stamp is when something happened, and who did it.
type Stamp struct {
	At    time.Time
	Actor Actor
}

// Stamped implements Entry.
func (m Stamp) Stamped() Stamp { return m }

// Creation is a token that was created.
type Creation struct {
	Stamp
	Tenant, TokenID string
}

// Deletion is a token that was deleted. WasSaved and WasCached name the applications that
// had it saved, or whose engine went on using it.
type Deletion struct {
	Stamp
	Tenant, TokenID string
	Expired         bool
	CreatedBy       Actor
	WasSaved        []string
	WasCached       []string
	Remaining       int // tokens of the tenant that stay and are not expired
}

// Save is credentials that were saved, by PUT secrets or by an operator. Before equal to After may mean that the save was silently dropped.
type Save struct {
	Stamp
	ServicePrincipalID string
	Before, After      string // token ids; "": a value that no token has
	AddressBefore      string
	AddressAfter       string
	Added, Lost        []string // keys
	Overwritten        []string // keys whose value became Masked
}

// Start is a job that was started or restarted, from this state.
type Start struct {
	Stamp
	ServicePrincipalID, JobID string
	ResetScope                string // "": start
	Status                    model.JobStatus
	Schedule                  model.ScheduleState
	StoppedBy                 Actor // who had paused or disabled it; "": it was not
	Quarantine                *model.Quarantine
}

// CycleEnded is the end of a cycle of the engine.
type CycleEnded struct {
	Stamp
	ServicePrincipalID string
	Cycle              model.Cycle
}

// CertificateCreation is a certificate that was made in Entra.
type CertificateCreation struct {
	Stamp
	ServicePrincipalID, Thumbprint string
}

// CertificateActivation is a certificate that Entra was told to sign with.
type CertificateActivation struct {
	Stamp
	ServicePrincipalID string
	Before, After      string // thumbprints; "": none
}

// CertificateImport is a certificate that AWS was told to trust.
type CertificateImport struct {
	Stamp
	IdentityStoreID, CertificateID, Thumbprint string
	CreatedBy                                  Actor // in Entra; "": not there
}

// CertificateDeletion is a certificate that AWS was told to trust no longer.
type CertificateDeletion struct {
	Stamp
	IdentityStoreID, CertificateID, Thumbprint string
	ImportedBy                                 Actor
	Remaining                                  int // trusted certificates that stay and are valid
}

// TenantRecreated is a provisioning tenant that was replaced by another.
type TenantRecreated struct {
	Stamp
	IdentityStoreID, Before, After string
}

// JobReplaced is a provisioning job that was deleted, and another one set up in its place.
type JobReplaced struct {
	Stamp
	ServicePrincipalID, Before, After string
}

// Annotation is anything else, such as a scenario's own notes.
type Annotation struct {
	Stamp
	Text string
}

func (r Creation) String() string { return fmt.Sprintf("created token %s", r.TokenID) }

func (r CertificateCreation) String() string {
	return fmt.Sprintf("created certificate %s in %s", r.Thumbprint, r.ServicePrincipalID)
}

func (r CertificateActivation) String() string {
	return fmt.Sprintf("activated certificate of %s: %s -> %s", r.ServicePrincipalID, orNone(r.Before), orNone(r.After))
}

func (r CertificateImport) String() string {
	return fmt.Sprintf("imported certificate %s as %s", r.Thumbprint, r.CertificateID)
}

func (r CertificateDeletion) String() string {
	return fmt.Sprintf("deleted trusted certificate %s, which was %s; %d stay", r.CertificateID, r.Thumbprint, r.Remaining)
}

func (r Deletion) String() string {
	text := "deleted token " + r.TokenID
	if r.Expired {
		text += " (expired)"
	}
	if len(r.WasSaved) > 0 {
		text += fmt.Sprintf(", which was saved in %v", r.WasSaved)
	}
	if len(r.WasCached) > 0 {
		text += fmt.Sprintf(", which the engine was using in %v", r.WasCached)
	}
	return text
}

func (r Save) String() string {
	text := fmt.Sprintf("saved in %s: token %s -> %s", r.ServicePrincipalID, orNone(r.Before), orNone(r.After))
	if r.AddressAfter != r.AddressBefore {
		text += fmt.Sprintf(", Tenant URL %q -> %q", r.AddressBefore, r.AddressAfter)
	}
	if len(r.Added)+len(r.Lost)+len(r.Overwritten) > 0 {
		text += fmt.Sprintf(", keys added %v lost %v masked %v", r.Added, r.Lost, r.Overwritten)
	}
	return text
}

func (r Start) String() string {
	text := fmt.Sprintf("started job of %s (was %s, schedule %s", r.ServicePrincipalID, r.Status, r.Schedule)
	if r.StoppedBy != "" {
		text += ", stopped by " + string(r.StoppedBy)
	}
	if r.Quarantine != nil {
		text += ", " + r.Quarantine.Reason
	}
	return text + ")"
}

func (r CycleEnded) String() string {
	return fmt.Sprintf("cycle of %s that began %s ended %s, %d exported", r.ServicePrincipalID, r.Cycle.Began.Format(time.TimeOnly), r.Cycle.State, r.Cycle.Entries[model.EntriesExported])
}

func (r JobReplaced) String() string {
	return fmt.Sprintf("replaced job %s of %s by %s", r.Before, r.ServicePrincipalID, r.After)
}

func (r TenantRecreated) String() string {
	return fmt.Sprintf("provisioning tenant of %s: %s -> %s", r.IdentityStoreID, r.Before, r.After)
}

func (r Annotation) String() string { return r.Text }

func orNone(tokenID string) string {
	if tokenID == "" {
		return "none"
	}
	return tokenID
}

// Timeline returns the entries so far, in the order in which they happened.
func (c *core) Timeline() []Entry {
	c.Advance()
	return c.timeline[:len(c.timeline):len(c.timeline)]
}

// EntriesOf returns the entries of one kind: EntriesOf[Deletion](m).
func EntriesOf[R Entry](m *Model) iter.Seq[R] {
	return func(yield func(R) bool) {
		for _, entry := range m.Timeline() {
			if r, ok := entry.(R); ok && !yield(r) {
				return
			}
		}
	}
}

// Annotate adds an Annotation.
func (c *core) Annotate(actor Actor, format string, args ...any) {
	c.Advance()
	c.annotate(actor, format, args...)
}

func (c *core) annotate(actor Actor, format string, args ...any) {
	c.record(Annotation{c.stamp(actor), fmt.Sprintf(format, args...)})
}

// WriteTimeline writes the entries, one line each.
func (c *core) WriteTimeline(to io.Writer) error {
	for _, entry := range c.Timeline() {
		stamp := entry.Stamped()
		if _, err := fmt.Fprintf(to, "%s  %-10s %s\n", stamp.At.UTC().Format("2006-01-02 15:04:05"), stamp.Actor, entry); err != nil {
			return fmt.Errorf("writing the timeline: %w", err)
		}
	}
	return nil
}

func (c *core) stamp(actor Actor) Stamp { return Stamp{c.at, actor} }

func (c *core) record(r Entry) { c.timeline = append(c.timeline, r) }

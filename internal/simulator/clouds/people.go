package clouds

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Person is a user of an Entra tenant.
type Person struct {
	ObjectID    string
	UserName    string // at AWS too
	DisplayName string
	GivenName   string
	FamilyName  string
}

// member is a person in the scope of a job, with what still has to be done for them.
type member struct {
	*Person
	todo     string // an action of the provisioning log; "": in sync
	targetID string // at AWS; "": not there yet
}

// unfit is the user of quirk failing_user: AWS refuses users without a family name.
var unfit = Person{ObjectID: "00000000-0000-4000-8000-00000000f411", UserName: "no-family-name@example.com", DisplayName: "Mononym", GivenName: "Mononym"}

// AddUser makes a person and assigns them to an application, so that the next cycle
// exports them; it returns their object id.
func (w *Model) AddUser(actor Actor, tenantID, objectID, userName string) (string, error) {
	w.Advance()
	sp, err := w.application(CallerFor(actor), WriteApplications, tenantID, objectID)
	if err != nil {
		return "", err
	}
	given, _, _ := strings.Cut(userName, "@")
	person := &Person{ObjectID: w.newID(), UserName: userName, DisplayName: given, GivenName: given, FamilyName: "Example"}
	sp.of.people = append(sp.of.people, person)
	for _, j := range sp.jobs {
		j.scope = append(j.scope, &member{Person: person, todo: "create"})
	}
	return person.ObjectID, nil
}

// ChangeUser changes a person's display name, so that the next cycle exports it.
func (w *Model) ChangeUser(actor Actor, tenantID, objectID, userName, displayName string) error {
	return w.touch(actor, tenantID, objectID, userName, "update", func(p *Person) { p.DisplayName = displayName })
}

// RemoveUser takes a person's assignment away, so that the next cycle disables them.
func (w *Model) RemoveUser(actor Actor, tenantID, objectID, userName string) error {
	return w.touch(actor, tenantID, objectID, userName, "disable", func(*Person) {})
}

func (w *Model) touch(actor Actor, tenantID, objectID, userName, action string, change func(*Person)) error {
	w.Advance()
	sp, err := w.application(CallerFor(actor), WriteApplications, tenantID, objectID)
	if err != nil {
		return err
	}
	found := false
	for _, j := range sp.jobs {
		for _, m := range j.scope {
			if m.UserName == userName {
				change(m.Person)
				if m.todo != "create" {
					m.todo = action
				}
				found = true
			}
		}
	}
	if !found {
		return notFound(ServiceGraph, "User '%s' is not assigned.", userName)
	}
	return nil
}

// pending lists who needs something done, in the order of their assignment.
func (w *Model) pending(j *job) []*member {
	var list []*member
	if w.quirks.FailingUser == OneUserFails {
		list = append(list, &member{Person: &unfit, todo: "create"})
	}
	for _, m := range j.scope {
		if m.todo != "" {
			list = append(list, m)
		}
	}
	return list
}

func (j *job) touchEverybody() {
	for _, m := range j.scope {
		if m.todo == "" {
			m.todo = "update"
		}
	}
}

func (j *job) deleteEverybody() {
	for _, m := range j.scope {
		m.todo = "delete"
	}
}

// synchronized counts who is in sync, as synchronizedEntryCountByType.
func (j *job) synchronized() map[string]int64 {
	var users int64
	for _, m := range j.scope {
		if m.targetID != "" {
			users++
		}
	}
	return map[string]int64{"User": users, "Group": 0}
}

// export does what is pending for one person, with a write to the provisioning log.
func (w *Model) export(j *job, c *credential, m *member, cycleID string) error {
	entry := LogEntry{
		CycleID: cycleID, Action: m.todo, Status: "success", SourceID: m.ObjectID, SourceName: m.UserName, Duration: 450 * time.Millisecond,
	}
	err := w.exportUser(c, m)
	if refused(err) {
		return err
	}
	if err != nil {
		entry.Status, entry.ErrorCategory = "failure", "nonServiceFailure"
		entry.ErrorCode, entry.Reason = "SystemForCrossDomainIdentityManagementUnrecognizedResponse", err.Error()
	} else {
		entry.TargetID, m.todo = m.targetID, ""
		if entry.Action == "delete" {
			m.targetID = ""
			j.scope = slices.DeleteFunc(j.scope, func(other *member) bool { return other == m })
		}
		w.record(Exported{w.moment(ActorEngine), j.application.ObjectID, entry.Action})
	}
	w.logEvent(j, entry)
	return err
}

// exportUser looks the user up by name and creates, changes, disables or deletes it.
func (w *Model) exportUser(c *credential, m *member) error {
	d, err := w.entraCall(c, "ListUsers")
	if err != nil {
		return err
	}
	operation := map[string]string{"delete": "DeleteUser"}[m.todo]
	existing := d.byName[strings.ToLower(m.UserName)]
	switch {
	case existing == nil && (m.todo == "delete" || m.todo == "disable"):
		return nil
	case existing == nil:
		operation = "CreateUser"
	case operation == "":
		operation = "PatchUser"
	}
	if d, err = w.entraCall(c, operation); err != nil {
		return err
	}
	switch operation {
	case "CreateUser":
		created, err := w.createUser(d, User{
			UserName: m.UserName, ExternalID: m.ObjectID, DisplayName: m.DisplayName,
			GivenName: m.GivenName, FamilyName: m.FamilyName, Email: m.UserName, Active: true,
		})
		m.targetID = created.ID
		return err
	case "DeleteUser":
		return d.deleteUser(existing.ID)
	default:
		m.targetID = existing.ID
		_, err := w.patchUser(d, existing.ID, []Change{
			{Op: "replace", Path: "displayName", Value: m.DisplayName}, {Op: "replace", Path: "active", Value: m.todo != "disable"},
		})
		return err
	}
}

// OnDemand is the outcome of provisioning one user on demand.
type OnDemand struct {
	UserName  string
	TargetID  string
	Action    string
	Status    string // success | failure
	ErrorCode string
	Reason    string
}

// ProvisionOnDemand provisions one user at once, with the saved credential read
// afresh: it proves nothing about what the engine holds. Even a failure is an answer.
func (w *Model) ProvisionOnDemand(c Caller, tenantID, objectID, jobID, ruleID, userObjectID string) (OnDemand, error) {
	w.Advance()
	j, err := w.job(c, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return OnDemand{}, err
	}
	if ruleID != j.ruleID {
		return OnDemand{}, w.synchronizationError(http.StatusBadRequest, "InvalidRuleId", "The synchronization rule '"+ruleID+"' was not found.")
	}
	at := slices.IndexFunc(j.scope, func(m *member) bool { return m.ObjectID == userObjectID })
	if at < 0 {
		return OnDemand{}, notFound(ServiceGraph, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", userObjectID)
	}
	m := j.scope[at]
	if m.todo == "" {
		m.todo = "update"
	}
	outcome := OnDemand{UserName: m.UserName, Action: m.todo, Status: "success"}
	held := j.application.saved
	err = w.export(j, &held, m, w.newID())
	outcome.TargetID = m.targetID
	if err != nil {
		outcome.Status, outcome.Reason, outcome.ErrorCode = "failure", err.Error(), "SystemForCrossDomainIdentityManagementUnrecognizedResponse"
		if refused(err) {
			outcome.ErrorCode = credentialCode(err)
			w.record(SCIMFailure{w.moment(c.Actor), objectID, outcome.ErrorCode})
		}
	}
	w.settle()
	return outcome, nil
}

// QuarantineForDeletes puts a job into the quarantine that waits for a person's
// decision, with everybody about to be deleted.
func (w *Model) QuarantineForDeletes(tenantID, objectID, jobID string) error {
	w.Advance()
	j, err := w.job(Caller{}, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	w.abandon(j)
	w.enterQuarantine(j, model.QuarantineReasonDeletes, "", "The number of deletes exceeds the threshold.")
	w.settle()
	return nil
}

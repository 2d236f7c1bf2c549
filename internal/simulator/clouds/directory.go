package clouds

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// MaxSCIMResults is how many resources a SCIM list returns at most.
const MaxSCIMResults = 50

// User is a user of an identity store.
type User struct {
	ID          string
	UserName    string
	ExternalID  string
	DisplayName string
	GivenName   string
	FamilyName  string
	Email       string
	Active      bool
	Created     time.Time
	Modified    time.Time
}

// Group is a group of an identity store.
type Group struct {
	ID          string
	DisplayName string
	ExternalID  string
	Members     []string // user ids
	Created     time.Time
	Modified    time.Time
}

// Match is one "attribute eq value" of a filter; several are joined by "and".
type Match struct{ Attribute, Value string }

// Change is one operation of a PATCH: add, replace or remove at a path.
type Change struct {
	Op    string
	Path  string
	Value any // string, bool; for members a []string of user ids
}

// directory is what SCIM keeps: users and groups, in the order of their creation.
type directory struct {
	users  []*User
	byName map[string]*User // by lower-case userName
	groups []*Group
}

// ListUsers lists the users that match, at most 50 from start (1-based), and how many
// there are.
func (w *Model) ListUsers(call SCIMCall, filter []Match, start, count int) ([]User, int, error) {
	w.Advance()
	d, err := w.scim(call, "ListUsers")
	if err != nil {
		return nil, 0, err
	}
	return d.findUsers(filter, start, count)
}

// User gets a user by id.
func (w *Model) User(call SCIMCall, id string) (User, error) {
	w.Advance()
	d, err := w.scim(call, "GetUser")
	if err != nil {
		return User{}, err
	}
	user, err := d.user(id)
	if err != nil {
		return User{}, err
	}
	return *user, nil
}

// CreateUser makes a user. AWS wants userName, displayName, givenName and familyName.
func (w *Model) CreateUser(call SCIMCall, user User) (User, error) {
	w.Advance()
	d, err := w.scim(call, "CreateUser")
	if err != nil {
		return User{}, err
	}
	return w.createUser(d, user)
}

// PatchUser changes a user.
func (w *Model) PatchUser(call SCIMCall, id string, changes ...Change) (User, error) {
	w.Advance()
	d, err := w.scim(call, "PatchUser")
	if err != nil {
		return User{}, err
	}
	return w.patchUser(d, id, changes)
}

// DeleteUser deletes a user, and its memberships.
func (w *Model) DeleteUser(call SCIMCall, id string) error {
	w.Advance()
	d, err := w.scim(call, "DeleteUser")
	if err != nil {
		return err
	}
	return d.deleteUser(id)
}

func (d *directory) deleteUser(id string) error {
	user, err := d.user(id)
	if err != nil {
		return err
	}
	d.users = slices.DeleteFunc(d.users, func(u *User) bool { return u == user })
	delete(d.byName, strings.ToLower(user.UserName))
	for _, group := range d.groups {
		group.Members = slices.DeleteFunc(group.Members, func(member string) bool { return member == id })
	}
	return nil
}

func (d *directory) user(id string) (*User, error) {
	at := slices.IndexFunc(d.users, func(u *User) bool { return u.ID == id })
	if at < 0 {
		return nil, notFound(ServiceSCIM, "USER not found: %s", id)
	}
	return d.users[at], nil
}

func (d *directory) findUsers(filter []Match, start, count int) ([]User, int, error) {
	var found []User
	for _, user := range d.users {
		matches := true
		for _, match := range filter {
			value, known := user.attribute(match.Attribute)
			if !known {
				return nil, 0, invalid(ServiceSCIM, "Filter attribute %s is not supported.", match.Attribute)
			}
			matches = matches && strings.EqualFold(value, match.Value)
		}
		if matches {
			found = append(found, *user)
		}
	}
	return page(found, start, count), len(found), nil
}

func (u *User) attribute(name string) (string, bool) {
	switch name {
	case "userName":
		return u.UserName, true
	case "externalId":
		return u.ExternalID, true
	case "id":
		return u.ID, true
	default:
		return "", false
	}
}

func (w *Model) createUser(d *directory, user User) (User, error) {
	for _, required := range [][2]string{
		{"userName", user.UserName}, {"displayName", user.DisplayName},
		{"name.givenName", user.GivenName}, {"name.familyName", user.FamilyName},
	} {
		if required[1] == "" {
			return User{}, invalid(ServiceSCIM, "Request is unparsable, syntactically incorrect, or violates schema: %s is required.", required[0])
		}
	}
	if d.byName[strings.ToLower(user.UserName)] != nil {
		return User{}, conflict("User already exists.")
	}
	if d.byName == nil {
		d.byName = map[string]*User{}
	}
	user.ID, user.Created, user.Modified = w.newID(), w.at, w.at
	d.users = append(d.users, &user)
	d.byName[strings.ToLower(user.UserName)] = &user
	return user, nil
}

func (w *Model) patchUser(d *directory, id string, changes []Change) (User, error) {
	user, err := d.user(id)
	if err != nil {
		return User{}, err
	}
	changed := *user
	for _, change := range changes {
		if change.Path == "active" {
			active, ok := change.Value.(bool)
			if text, isText := change.Value.(string); isText { // as Entra sends it
				active, ok = strings.EqualFold(text, "true"), true
			}
			if !ok {
				return User{}, invalid(ServiceSCIM, "active must be a boolean.")
			}
			changed.Active = active
			continue
		}
		field := map[string]*string{
			"userName": &changed.UserName, "externalId": &changed.ExternalID, "displayName": &changed.DisplayName,
			"name.givenName": &changed.GivenName, "name.familyName": &changed.FamilyName,
			`emails[type eq "work"].value`: &changed.Email,
		}[change.Path]
		value, isText := change.Value.(string)
		switch {
		case field == nil:
			return User{}, invalid(ServiceSCIM, "Path %s is not supported.", change.Path)
		case strings.EqualFold(change.Op, "remove"):
			*field = ""
		case !isText:
			return User{}, invalid(ServiceSCIM, "The value of %s must be a string.", change.Path)
		default:
			*field = value
		}
	}
	old, now := strings.ToLower(user.UserName), strings.ToLower(changed.UserName)
	if now != old {
		if now == "" || d.byName[now] != nil {
			return User{}, conflict("User already exists.")
		}
		delete(d.byName, old)
		d.byName[now] = user
	}
	changed.Modified = w.at
	*user = changed
	return changed, nil
}

func conflict(message string) *Error {
	return &Error{Service: ServiceSCIM, Status: http.StatusConflict, Code: "ConflictException", Message: message}
}

// page cuts a list to what SCIM returns at once.
func page[T any](all []T, start, count int) []T {
	if count <= 0 || count > MaxSCIMResults {
		count = MaxSCIMResults
	}
	from := min(max(start-1, 0), len(all))
	return all[from:min(from+count, len(all))]
}

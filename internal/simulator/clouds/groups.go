package clouds

import (
	"slices"
	"strings"
)

// ListGroups lists the groups that match, at most 50 from start (1-based), and how
// many there are. As AWS does, a list leaves the members out.
func (w *Model) ListGroups(call SCIMCall, filter []Match, start, count int) ([]Group, int, error) {
	w.Advance()
	d, err := w.scim(call, "ListGroups")
	if err != nil {
		return nil, 0, err
	}
	var found []Group
	for _, group := range d.groups {
		matches := true
		for _, match := range filter {
			switch match.Attribute {
			case "displayName":
				matches = matches && strings.EqualFold(group.DisplayName, match.Value)
			case "externalId":
				matches = matches && group.ExternalID == match.Value
			case "id":
				matches = matches && group.ID == match.Value
			case "members":
				matches = matches && slices.Contains(group.Members, match.Value)
			default:
				return nil, 0, invalid(ServiceSCIM, "Filter attribute %s is not supported.", match.Attribute)
			}
		}
		if matches {
			view := *group
			view.Members = nil
			found = append(found, view)
		}
	}
	return page(found, start, count), len(found), nil
}

// Group gets a group by id.
func (w *Model) Group(call SCIMCall, id string) (Group, error) {
	w.Advance()
	d, err := w.scim(call, "GetGroup")
	if err != nil {
		return Group{}, err
	}
	group, err := d.group(id)
	if err != nil {
		return Group{}, err
	}
	return group.view(), nil
}

// CreateGroup makes a group.
func (w *Model) CreateGroup(call SCIMCall, group Group) (Group, error) {
	w.Advance()
	d, err := w.scim(call, "CreateGroup")
	switch {
	case err != nil:
		return Group{}, err
	case group.DisplayName == "":
		return Group{}, invalid(ServiceSCIM, "displayName is required.")
	case slices.ContainsFunc(d.groups, func(g *Group) bool { return strings.EqualFold(g.DisplayName, group.DisplayName) }):
		return Group{}, conflict("Group already exists.")
	}
	if err := d.known(group.Members); err != nil {
		return Group{}, err
	}
	group.ID, group.Created, group.Modified = w.newID(), w.at, w.at
	group.Members = slices.Clone(group.Members)
	d.groups = append(d.groups, &group)
	return group.view(), nil
}

// PatchGroup changes a group: its displayName, its externalId, its members.
func (w *Model) PatchGroup(call SCIMCall, id string, changes ...Change) (Group, error) {
	w.Advance()
	d, err := w.scim(call, "PatchGroup")
	if err != nil {
		return Group{}, err
	}
	group, err := d.group(id)
	if err != nil {
		return Group{}, err
	}
	changed := group.view()
	for _, change := range changes {
		members, isMembers := change.Value.([]string)
		text, isText := change.Value.(string)
		switch {
		case change.Path == "displayName" && isText:
			changed.DisplayName = text
		case change.Path == "externalId" && isText:
			changed.ExternalID = text
		case change.Path == "members" && strings.EqualFold(change.Op, "remove"):
			changed.Members = slices.DeleteFunc(changed.Members, func(m string) bool { return !isMembers || slices.Contains(members, m) })
		case change.Path == "members" && isMembers:
			if err := d.known(members); err != nil {
				return Group{}, err
			}
			if strings.EqualFold(change.Op, "replace") {
				changed.Members = nil
			}
			for _, member := range members {
				if !slices.Contains(changed.Members, member) {
					changed.Members = append(changed.Members, member)
				}
			}
		default:
			return Group{}, invalid(ServiceSCIM, "Path %s is not supported.", change.Path)
		}
	}
	changed.Modified = w.at
	*group = changed
	return group.view(), nil
}

// DeleteGroup deletes a group.
func (w *Model) DeleteGroup(call SCIMCall, id string) error {
	w.Advance()
	d, err := w.scim(call, "DeleteGroup")
	if err != nil {
		return err
	}
	group, err := d.group(id)
	if err != nil {
		return err
	}
	d.groups = slices.DeleteFunc(d.groups, func(g *Group) bool { return g == group })
	return nil
}

func (d *directory) group(id string) (*Group, error) {
	at := slices.IndexFunc(d.groups, func(g *Group) bool { return g.ID == id })
	if at < 0 {
		return nil, notFound(ServiceSCIM, "GROUP not found: %s", id)
	}
	return d.groups[at], nil
}

func (d *directory) known(members []string) error {
	for _, member := range members {
		if _, err := d.user(member); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) view() Group {
	view := *g
	view.Members = slices.Clone(g.Members)
	return view
}

package simulator

import (
	"net/http"

	"entra-aws-exporter/internal/simulator/clouds"
)

// scimUserBody is a user as SCIM writes it.
type scimUserBody struct {
	UserName    string `json:"userName"`
	ExternalID  string `json:"externalId"`
	DisplayName string `json:"displayName"`
	Active      *bool  `json:"active"`
	Name        struct {
		GivenName  string `json:"givenName"`
		FamilyName string `json:"familyName"`
	} `json:"name"`
	Emails []struct {
		Value string `json:"value"`
	} `json:"emails"`
}

func (b scimUserBody) user() clouds.User {
	user := clouds.User{
		UserName: b.UserName, ExternalID: b.ExternalID, DisplayName: b.DisplayName,
		GivenName: b.Name.GivenName, FamilyName: b.Name.FamilyName, Active: b.Active == nil || *b.Active,
	}
	if len(b.Emails) > 0 {
		user.Email = b.Emails[0].Value
	}
	return user
}

func (c *call) userEntity(u clouds.User) map[string]any {
	entity := map[string]any{
		"schemas": []string{userSchema}, "id": u.ID, "userName": u.UserName, "displayName": u.DisplayName, "active": u.Active,
		"name": map[string]any{"givenName": u.GivenName, "familyName": u.FamilyName},
		"meta": scimMeta("User", u.Created, u.Modified),
	}
	if u.ExternalID != "" {
		entity["externalId"] = u.ExternalID
	}
	if u.Email != "" {
		entity["emails"] = []map[string]any{{"value": u.Email, "type": "work", "primary": true}}
	}
	return entity
}

func listUsers(c *call) (answer, error) {
	matches, start, count, err := c.page()
	if err != nil {
		return answer{}, err
	}
	var total int
	users, err := read(c, func(w *clouds.Model) (found []clouds.User, err error) {
		found, total, err = w.ListUsers(c.scimCall(), matches, start, count)
		return found, err
	})
	if err != nil {
		return answer{}, err
	}
	var resources []map[string]any
	for _, user := range users {
		resources = append(resources, c.userEntity(user))
	}
	return asSCIM(http.StatusOK, scimList(resources, total, start))
}

func scimUser(c *call) (answer, error) {
	user, err := read(c, func(w *clouds.Model) (clouds.User, error) { return w.User(c.scimCall(), c.path.PathValue("id")) })
	if err != nil {
		return answer{}, err
	}
	return asSCIM(http.StatusOK, c.userEntity(user))
}

func createUser(c *call) (answer, error) {
	var body scimUserBody
	if err := c.decode(&body); err != nil {
		return answer{}, err
	}
	user, err := act(c, func(w *clouds.Model) (clouds.User, error) { return w.CreateUser(c.scimCall(), body.user()) })
	if err != nil {
		return answer{}, err
	}
	return asSCIM(http.StatusCreated, c.userEntity(user))
}

func replaceUser(c *call) (answer, error) {
	var body scimUserBody
	if err := c.decode(&body); err != nil {
		return answer{}, err
	}
	wanted := body.user()
	replace := func(path string, value any) clouds.Change {
		return clouds.Change{Op: "replace", Path: path, Value: value}
	}
	return c.changeUser(
		replace("userName", wanted.UserName), replace("externalId", wanted.ExternalID), replace("displayName", wanted.DisplayName),
		replace("name.givenName", wanted.GivenName), replace("name.familyName", wanted.FamilyName),
		replace(`emails[type eq "work"].value`, wanted.Email), replace("active", wanted.Active))
}

func patchUser(c *call) (answer, error) {
	changes, err := c.patch()
	if err != nil {
		return answer{}, err
	}
	return c.changeUser(changes...)
}

func (c *call) changeUser(changes ...clouds.Change) (answer, error) {
	user, err := act(c, func(w *clouds.Model) (clouds.User, error) {
		return w.PatchUser(c.scimCall(), c.path.PathValue("id"), changes...)
	})
	if err != nil {
		return answer{}, err
	}
	return asSCIM(http.StatusOK, c.userEntity(user))
}

func deleteUser(c *call) (answer, error) {
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.DeleteUser(c.scimCall(), c.path.PathValue("id")))
	}))
}

func (c *call) groupEntity(g clouds.Group) map[string]any {
	members := make([]map[string]any, 0, len(g.Members))
	for _, member := range g.Members {
		members = append(members, map[string]any{"value": member, "$ref": "../Users/" + member, "type": "User"})
	}
	entity := map[string]any{
		"schemas": []string{groupSchema}, "id": g.ID, "displayName": g.DisplayName, "members": members,
		"meta": scimMeta("Group", g.Created, g.Modified),
	}
	if g.ExternalID != "" {
		entity["externalId"] = g.ExternalID
	}
	return entity
}

func listGroups(c *call) (answer, error) {
	matches, start, count, err := c.page()
	if err != nil {
		return answer{}, err
	}
	var total int
	groups, err := read(c, func(w *clouds.Model) (found []clouds.Group, err error) {
		found, total, err = w.ListGroups(c.scimCall(), matches, start, count)
		return found, err
	})
	if err != nil {
		return answer{}, err
	}
	var resources []map[string]any
	for _, group := range groups {
		resources = append(resources, c.groupEntity(group))
	}
	return asSCIM(http.StatusOK, scimList(resources, total, start))
}

func scimGroup(c *call) (answer, error) {
	group, err := read(c, func(w *clouds.Model) (clouds.Group, error) { return w.Group(c.scimCall(), c.path.PathValue("id")) })
	if err != nil {
		return answer{}, err
	}
	return asSCIM(http.StatusOK, c.groupEntity(group))
}

func createGroup(c *call) (answer, error) {
	var body struct {
		DisplayName string `json:"displayName"`
		ExternalID  string `json:"externalId"`
		Members     []struct {
			Value string `json:"value"`
		} `json:"members"`
	}
	if err := c.decode(&body); err != nil {
		return answer{}, err
	}
	group := clouds.Group{DisplayName: body.DisplayName, ExternalID: body.ExternalID}
	for _, member := range body.Members {
		group.Members = append(group.Members, member.Value)
	}
	created, err := act(c, func(w *clouds.Model) (clouds.Group, error) { return w.CreateGroup(c.scimCall(), group) })
	if err != nil {
		return answer{}, err
	}
	return asSCIM(http.StatusCreated, c.groupEntity(created))
}

func patchGroup(c *call) (answer, error) {
	changes, err := c.patch()
	if err != nil {
		return answer{}, err
	}
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		_, err := w.PatchGroup(c.scimCall(), c.path.PathValue("id"), changes...)
		return struct{}{}, err
	}))
}

func deleteGroup(c *call) (answer, error) {
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.DeleteGroup(c.scimCall(), c.path.PathValue("id")))
	}))
}

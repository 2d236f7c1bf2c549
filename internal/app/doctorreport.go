package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/entra"
	"entra-aws-exporter/internal/model"
)

// identity is who makes a call: permissions are granted to it, and what stops one of its
// calls often stops others.
type identity struct {
	name  string                                  // "tenant corp", "AWS of corp"
	grant func(lacking, needed []string) []string // the commands that grant permissions
}

// report prints the results of checks, each cause once.
type report struct {
	out        io.Writer
	failures   int
	causes     map[string]string // the check that showed it, by identity and cause
	held       map[string]bool   // permissions that a call has proven, by identity and name
	identities []identity
	checks     map[string][]check // by identity
	lacking    map[string][]string
}

// blockedBy is the error of a check that needs what another check, of another identity,
// could not read.
type blockedBy string

func (b blockedBy) Error() string { return "it needs what is read by: " + string(b) }

// run runs the checks one after the other.
func (r *report) run(ctx context.Context, checks []check) {
	for _, current := range checks {
		result, err := func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			return current.run(ctx)
		}()
		if errors.Is(err, model.ErrSourceOff) {
			fmt.Fprintf(r.out, "  off     %-30s %s\n", current.name, result)
			continue
		}
		var by blockedBy
		if errors.As(err, &by) {
			fmt.Fprintf(r.out, "  blocked %-30s by %s\n", current.name, string(by))
			continue
		}
		r.record(current, err)
		cause := current.as.name + "\n" + causeOf(err)
		switch first, known := r.causes[cause]; {
		case err == nil:
			fmt.Fprintf(r.out, "  ok      %-30s %s\n", current.name, result)
		case known:
			fmt.Fprintf(r.out, "  blocked %-30s by %s\n", current.name, first)
		default:
			r.causes[cause] = current.name
			r.failures++
			fmt.Fprintf(r.out, "  FAILED  %-30s %s\n", current.name, model.ReasonOf(err))
			fmt.Fprintf(r.out, "          %s\n", permissionsPage.ReplaceAllString(err.Error(), ""))
		}
	}
}

// permissionsPage is a page that errors name and a binary does not carry. The commands that
// grant what is missing follow at the end.
var permissionsPage = regexp.MustCompile(`,? see deploy/permissions/(aws|entra)\.md`)

// causeOf is what an error has in common with others that have the same cause.
func causeOf(err error) string {
	var failed *model.Error
	if !errors.As(err, &failed) || failed.Detail == "" {
		return fmt.Sprint(err)
	}
	return string(failed.Reason) + failed.Detail + failed.Advice
}

// record notes which permissions the check proves, lacks, or could not test. An explicit
// deny is no missing permission, and the identity store's key is no permission of the check.
func (r *report) record(current check, err error) {
	as := current.as
	if as.name == "" {
		return
	}
	if r.checks == nil {
		r.checks, r.lacking = map[string][]check{}, map[string][]string{}
	}
	if len(r.checks[as.name]) == 0 {
		r.identities = append(r.identities, as)
	}
	r.checks[as.name] = append(r.checks[as.name], current)
	for _, permission := range current.needs {
		switch {
		case err == nil:
			r.held[as.name+permission] = true
		case model.ReasonOf(err) == model.ReasonPermission && !otherRefusal.MatchString(err.Error()):
			r.lacking[as.name] = append(r.lacking[as.name], permission)
		}
	}
}

var otherRefusal = regexp.MustCompile("explicit deny|KMS key")

// printPermissions prints what each identity lacks or could not prove, with the commands
// that grant it: all at once, since one missing permission hides the next.
func (r *report) printPermissions() {
	printed := false
	for _, as := range r.identities {
		lacking := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(r.lacking[as.name]))), func(permission string) bool { return r.held[as.name+permission] })
		if len(lacking) == 0 {
			continue
		}
		if !printed {
			fmt.Fprintln(r.out, "permissions that are missing, or that another missing one hides")
			printed = true
		}
		var needed []string
		for _, current := range r.checks[as.name] {
			needed = append(needed, current.needs...)
		}
		slices.Sort(needed)
		fmt.Fprintf(r.out, "  %s: %s\n", as.name, strings.Join(lacking, ", "))
		for _, command := range as.grant(lacking, slices.Compact(needed)) {
			fmt.Fprintf(r.out, "    %s\n", command)
		}
	}
}

// entraIdentity is the service principal that signs in to a tenant.
func entraIdentity(tenant config.Tenant) identity {
	clientID := tenant.ClientID
	if tenant.ManagedIdentity != nil {
		clientID = tenant.ManagedIdentity.ClientID
	}
	if clientID == "" {
		clientID = "CLIENT_ID"
	}
	return identity{"tenant " + tenant.Name, func(lacking, _ []string) []string {
		const microsoftGraph = "00000003-0000-0000-c000-000000000000" // in every cloud
		commands := []string{
			`graph=$(az cloud show -o tsv --query endpoints.microsoftGraphResourceId); graph=${graph%/}/v1.0`,
			fmt.Sprintf(`exporter=$(az ad sp show --id %s -o tsv --query id)`, clientID),
		}
		var roles, owners []string
		find := func(application string) {
			if command := findingCommand(application); !slices.Contains(owners, command) {
				owners = append(owners, command)
			}
		}
		for _, permission := range lacking {
			if application, owned := strings.CutPrefix(permission, ownerOfRegistration); owned {
				find(application)
				owners = append(owners,
					`registration=$(az ad app show --id "$(az ad sp show --id "$application" -o tsv --query appId)" -o tsv --query id)`, owningCommand("applications/$registration"))
			} else if application, owned := strings.CutPrefix(permission, ownerOf); owned {
				find(application)
				owners = append(owners, owningCommand("servicePrincipals/$application"))
			} else {
				roles = append(roles, permission)
			}
		}
		if len(roles) > 0 {
			commands = append(commands,
				fmt.Sprintf(`resource=$(az ad sp show --id %s -o tsv --query id)`, microsoftGraph),
				`for role in `+strings.Join(roles, " ")+`; do az rest --method POST --url "$graph/servicePrincipals/$exporter/appRoleAssignments" `+
					`--body "{\"principalId\": \"$exporter\", \"resourceId\": \"$resource\", \"appRoleId\": \"$(az ad sp show --id $resource -o tsv --query "appRoles[?value=='$role'].id")\"}"; done`)
		}
		return append(commands, owners...)
	}}
}

// ownerOf begins the ownership of an application, which is needed as a permission is.
const ownerOf = "owner of "

// ownerOfRegistration begins the ownership of an application's app registration.
const ownerOfRegistration = ownerOf + "the app registration of "

// anyApplication is the only application of the gallery's template, in a permission.
const anyApplication = "the AWS application"

// findingCommand looks an application up if its id is not configured. What follows fails if
// there are several.
func findingCommand(application string) string {
	if application == anyApplication {
		return `application=$(az rest --headers ConsistencyLevel=eventual --url "$graph/servicePrincipals?\$count=true&\$filter=applicationTemplateId eq '` + entra.GalleryTemplate + `'" -o tsv --query "value[].id")`
	}
	return "application=" + application
}

// owningCommand makes the exporter an owner.
func owningCommand(of string) string {
	return `az rest --method POST --url "$graph/` + of + `/owners/\$ref" --body "{\"@odata.id\": \"$graph/directoryObjects/$exporter\"}"`
}

// awsIdentity is the role or other identity that calls AWS. The policy has everything that
// was checked, since it replaces the one of an earlier run.
func awsIdentity(connection, roleARN string) identity {
	name, role := "AWS of "+connection, "ROLE"
	if roleARN != "" {
		name, role = roleARN, roleARN[strings.LastIndex(roleARN, "/")+1:]
	}
	return identity{name, func(_, needed []string) []string {
		actions, err := json.Marshal(needed)
		if err != nil {
			panic(err) // strings can always be encoded
		}
		return []string{fmt.Sprintf(`aws iam put-role-policy --role-name %s --policy-name entra-aws-exporter-%s `+
			`--policy-document '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": %s, "Resource": "*"}]}'`, role, connection, actions)}
	}}
}

// stateIdentity is who uses the state in AWS.
func stateIdentity(state *config.StateAWS) identity {
	name, role := "AWS of the state", "ROLE"
	if state.RoleARN != "" {
		name, role = state.RoleARN, state.RoleARN[strings.LastIndex(state.RoleARN, "/")+1:]
	}
	return identity{name, func(_, needed []string) []string {
		statement := func(service, resource, condition string) string {
			actions, err := json.Marshal(slices.DeleteFunc(slices.Clone(needed), func(action string) bool { return !strings.HasPrefix(action, service+":") }))
			if err != nil {
				panic(err) // strings can always be encoded
			}
			return fmt.Sprintf(`{"Effect": "Allow", "Action": %s, "Resource": "arn:aws:%s:%s:*:%s"%s}`, actions, service, state.Region, resource, condition)
		}
		return []string{fmt.Sprintf(`aws iam put-role-policy --role-name %s --policy-name entra-aws-exporter-state --policy-document '{"Version": "2012-10-17", "Statement": [%s, %s]}'`, role,
			statement("dynamodb", "table/"+state.Table, `, "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "entra-aws-exporter/*"}}`),
			statement("secretsmanager", "secret:"+state.SecretPrefix+"*", ""))}
	}}
}

// ifAny returns the permissions if the others are needed.
func ifAny(others []string, permissions ...string) []string {
	if len(others) == 0 {
		return nil
	}
	return permissions
}

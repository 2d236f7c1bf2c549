#!/bin/sh
# Grants the exporter its application permissions in Microsoft Entra ID (entra.md).
# usage: grant-entra.sh reader  CLIENT_ID [AuditLog.Read.All]
#        grant-entra.sh rotator CLIENT_ID AWS_APPLICATION_OBJECT_ID [AuditLog.Read.All] [User.Read.All]
#        grant-entra.sh certificate-rotator CLIENT_ID AWS_APPLICATION_OBJECT_ID [AuditLog.Read.All]
set -eu

usage() {
	sed -n '3,5s/^# //p' "$0" >&2
	exit 2
}

graph_app=00000003-0000-0000-c000-000000000000 # Microsoft Graph, in every cloud

# The permissions are looked up by name: older tenants lack some.
role_of() {
	az ad sp show --id "$graph_app" --output tsv \
		--query "appRoles[?value=='$1' && contains(allowedMemberTypes, 'Application')].id | [0]"
}

grant() {
	role=$(role_of "$1")
	if [ -z "$role" ]; then
		echo "unknown   $1: this tenant does not have it" >&2
		[ "$1" != ProvisioningLog.Read.All ] || echo "          add AuditLog.Read.All to the arguments" >&2
		exit 1
	fi
	if [ -n "$(az rest --method GET --url "$graph/v1.0/servicePrincipals/$exporter/appRoleAssignments" \
		--output tsv --query "value[?appRoleId=='$role'].id | [0]")" ]; then
		echo "kept      $1"
		return
	fi
	az rest --method POST --url "$graph/v1.0/servicePrincipals/$exporter/appRoleAssignments" --output none \
		--body "{\"principalId\": \"$exporter\", \"resourceId\": \"$graph_principal\", \"appRoleId\": \"$role\"}"
	echo "granted   $1"
}

own() { # servicePrincipals/ID, or applications/ID
	if [ -n "$(az rest --method GET --url "$graph/v1.0/$1/owners" \
		--output tsv --query "value[?id=='$exporter'].id | [0]")" ]; then
		echo "kept      owner of $1"
		return
	fi
	az rest --method POST --url "$graph/v1.0/$1/owners/\$ref" --output none \
		--body "{\"@odata.id\": \"$graph/v1.0/directoryObjects/$exporter\"}"
	echo "granted   owner of $1"
}

[ $# -ge 2 ] || usage
identity=$1 client=$2 application=${3:-}
case $identity in
reader) shift 2 ;;
rotator | certificate-rotator) [ $# -ge 3 ] && shift 3 || usage ;;
*) usage ;;
esac
log=ProvisioningLog.Read.All
[ "$identity" != certificate-rotator ] || log= # a rollover does not read it
for permission; do # what was asked for beside what is needed
	case $identity:$permission in
	*:AuditLog.Read.All) log= ;; # includes it
	rotator:User.Read.All) ;;
	*) usage ;;
	esac
done

graph=$(az cloud show --output tsv --query endpoints.microsoftGraphResourceId)
graph=${graph%/}
graph_principal=$(az ad sp show --id "$graph_app" --output tsv --query id)
exporter=$(az ad sp show --id "$client" --output tsv --query id)

grant Application.Read.All
grant Synchronization.Read.All
for permission in $log "$@"; do
	grant "$permission"
done
[ "$identity" != reader ] || exit 0
grant Application.ReadWrite.OwnedBy
own "servicePrincipals/$application"
if [ "$identity" = certificate-rotator ]; then # a certificate is made by an owner of the app registration, too
	own "applications/$(az ad app show --id "$(az ad sp show --id "$application" --output tsv --query appId)" --output tsv --query id)"
fi

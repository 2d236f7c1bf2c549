#!/usr/bin/env bash
# Validates the modules with the schemas of the real providers, and plans each way of using them
# with how many objects it creates. It calls no cloud. Skipped without Terraform or npm.
set -euo pipefail
cd "$(dirname "$0")"
for tool in terraform npm; do
	if ! command -v $tool >/dev/null; then
		echo "terraform: $tool is not installed, the modules are not validated"
		exit 0
	fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

node schemas.mjs ../aws ../entra >"$work/schemas.json"
go build -o "$work/terraform-provider-aws" .
ln "$work/terraform-provider-aws" "$work/terraform-provider-azuread"
ln "$work/terraform-provider-aws" "$work/terraform-provider-msgraph"
cat >"$work/terraform.rc" <<TEXT
provider_installation {
  dev_overrides {
    "hashicorp/aws"     = "$work"
    "hashicorp/azuread" = "$work"
    "microsoft/msgraph" = "$work"
  }
}
TEXT
export TF_CLI_CONFIG_FILE=$work/terraform.rc PROVIDER_SCHEMAS=$work/schemas.json CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1

mkdir -p "$work/deploy/terraform/example"
cp -r ../../permissions "$work/deploy"
cp -r ../aws ../entra "$work/deploy/terraform"
{
	awk '/^```hcl/ { inside = 1; next } /^```/ { inside = 0 } inside' ../README.md | sed -E 's,git::.*//deploy/terraform/([a-z]+)\?ref=.*",../\1",'
	echo 'variable "web_identity_issuer" { default = "https://issuer.example" }'
} >"$work/deploy/terraform/example/main.tf"
cd "$work/deploy/terraform"
terraform -chdir=example get >/dev/null

for directory in aws entra example; do
	terraform -chdir=$directory validate -no-color >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
done
plan() { # OBJECTS MODULE [VARIABLE…]
	local objects=$1 module=$2 variables=()
	shift 2
	for variable; do variables+=(-var "$variable"); done
	terraform -chdir="$module" plan -input=false -no-color ${variables[@]+"${variables[@]}"} >"$work/log" 2>&1 && grep -q "^Plan: $objects to add, 0 to change, 0 to destroy" "$work/log" ||
		{ echo "$module $* does not create $objects objects:"; cat "$work/log"; exit 1; }
}
issuer='federated_credential={issuer="https://issuer.example", subject="s"}'
plan 2 aws external_id=corp 'exporter={role_arn="arn:aws:iam::111122223333:role/x"}'
plan 4 aws external_id=corp 'exporter={irsa={oidc_provider_arn="arn:aws:iam::111122223333:oidc-provider/oidc.example/id/1"}}'
plan 9 aws external_id=corp 'exporter={pod_identity={cluster="main"}}' rotation=true kms_key_arn=arn:aws:kms:eu-central-1:111122223333:key/1 web_identity_audience=api://AzureADTokenExchange
plan 6 aws external_id=corp 'exporter={role_arn="arn:aws:iam::111122223333:role/x"}' rollover=true kms_key_arn=arn:aws:kms:eu-central-1:111122223333:key/1
plan 6 aws external_id=corp 'exporter={irsa={oidc_provider_arn="arn:aws:iam::111122223333:oidc-provider/oidc.example/id/1"}}' state={}
plan 5 entra
plan 14 entra rotation=true "$issuer" 'aws_application_object_ids=["11111111-1111-4111-8111-111111111111"]'
plan 14 entra rollover=true "$issuer" 'aws_application_object_ids=["11111111-1111-4111-8111-111111111111"]'
plan 31 example
echo "terraform: the modules are valid with the providers' schemas; 9 plans as expected"

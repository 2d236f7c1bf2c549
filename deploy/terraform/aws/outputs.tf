output "exporter_role_arn" {
  description = "The role that the exporter runs with: aws.roleArn of the Helm chart with IRSA, and the subject of the federated credential in Entra."
  value       = local.exporter_arn
}

output "exporter_policy" {
  description = "What an existing role (exporter.role_arn) must be allowed: attach it there."
  value       = local.exporter_policy
}

output "state_policy" {
  description = "What an existing role (exporter.role_arn), or that of state.aws.role_arn, must be allowed for the state: attach it there. Null without state."
  value       = local.state_policy
}

output "reader_role_arn" {
  description = "aws.role_arn of each connection."
  value       = aws_iam_role.reader.arn
}

output "rotator_role_arn" {
  description = "rotation.role_arn of each connection; null without rotation."
  value       = one(aws_iam_role.rotator[*].arn)
}

output "certificate_rotator_role_arn" {
  description = "saml.rollover.role_arn of each connection; null without rollover."
  value       = one(aws_iam_role.certificate_rotator[*].arn)
}

# The policies are the files of deploy/permissions, which a test compares with the calls of the
# exporter. So use this module with its repository: source = "git::https://…//deploy/terraform/aws".

locals {
  permissions = "${path.module}/../../permissions"

  creates_exporter = var.exporter.role_arn == null
  exporter_arn     = local.creates_exporter ? aws_iam_role.exporter[0].arn : var.exporter.role_arn

  # EKS Pod Identity tags its sessions, also those of the roles that are assumed from them.
  assume = var.exporter.pod_identity == null ? ["sts:AssumeRole"] : ["sts:AssumeRole", "sts:TagSession"]
  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [for statement in jsondecode(file("${local.permissions}/aws-trust.json")).Statement : merge(statement, {
      Action    = local.assume
      Principal = { AWS = local.exporter_arn }
      Condition = { StringEquals = merge(statement.Condition.StringEquals, { "sts:ExternalId" = var.external_id }) }
    })]
  })

  kms = var.kms_key_arn == null ? null : jsonencode({
    Version = "2012-10-17"
    Statement = [for statement in jsondecode(file("${local.permissions}/aws-kms.json")).Statement :
      merge(statement, { Resource = var.kms_key_arn })
    ]
  })

  # With the table's name and the prefix of the secrets in place of the defaults.
  state_policy = var.state == null ? null : jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [for statement in jsondecode(file("${local.permissions}/aws-state.json")).Statement : merge(statement, {
        Resource = strcontains(statement.Resource, ":secretsmanager:") ? local.state_secrets : aws_dynamodb_table.state[0].arn
      })],
      [for statement in jsondecode(file("${local.permissions}/aws-state-kms.json")).Statement :
        merge(statement, { Resource = var.state.kms_key_arn }) if var.state.kms_key_arn != null
      ],
    )
  })
  state_secrets = var.state == null ? null : replace(aws_dynamodb_table.state[0].arn,
  "/^(arn:[^:]+):dynamodb:([^:]+):([^:]+):.*$/", "$1:secretsmanager:$2:$3:secret:${var.state.secret_prefix}*")

  exporter_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "AssumeReaderAndRotators"
        Effect   = "Allow"
        Action   = local.assume
        Resource = concat([aws_iam_role.reader.arn], aws_iam_role.rotator[*].arn, aws_iam_role.certificate_rotator[*].arn)
      }],
      [for statement in jsondecode(file("${local.permissions}/aws-web-identity.json")).Statement : merge(statement, {
        Condition = merge(statement.Condition, {
          "ForAllValues:StringEquals" = { "sts:IdentityTokenAudience" = var.web_identity_audience }
        })
      }) if var.web_identity_audience != null],
    )
  })
}

# The identity of the exporter itself. It can only assume the others.

resource "aws_iam_role" "exporter" {
  count = local.creates_exporter ? 1 : 0

  name                 = "${var.name}-exporter"
  description          = "entra-aws-exporter runs with this role and assumes the reader and the rotators."
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.trust_irsa, local.trust_pod_identity)
  })
}

locals {
  oidc_issuer = replace(try(var.exporter.irsa.oidc_provider_arn, ""), "/^.*:oidc-provider//", "")
  trust_irsa = [for irsa in var.exporter.irsa[*] : {
    Effect    = "Allow"
    Principal = { Federated = irsa.oidc_provider_arn }
    Action    = "sts:AssumeRoleWithWebIdentity"
    Condition = { StringEquals = {
      "${local.oidc_issuer}:aud" = "sts.amazonaws.com"
      "${local.oidc_issuer}:sub" = "system:serviceaccount:${irsa.namespace}:${irsa.service_account}"
    } }
  }]
  trust_pod_identity = [for _ in var.exporter.pod_identity[*] : {
    Effect    = "Allow"
    Principal = { Service = "pods.eks.amazonaws.com" }
    Action    = local.assume
  }]
}

resource "aws_eks_pod_identity_association" "exporter" {
  count = var.exporter.pod_identity == null ? 0 : 1

  cluster_name    = var.exporter.pod_identity.cluster
  namespace       = var.exporter.pod_identity.namespace
  service_account = var.exporter.pod_identity.service_account
  role_arn        = aws_iam_role.exporter[0].arn
}

resource "aws_iam_role_policy" "exporter" {
  count = local.creates_exporter ? 1 : 0

  name   = "exporter"
  role   = aws_iam_role.exporter[0].id
  policy = local.exporter_policy
}

# state.aws

resource "aws_dynamodb_table" "state" {
  count = var.state == null ? 0 : 1

  name                        = var.state.table
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = true
  tags                        = var.tags

  attribute {
    name = "id"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }
}

resource "aws_iam_role_policy" "state" {
  count = local.creates_exporter && var.state != null ? 1 : 0

  name   = "state"
  role   = aws_iam_role.exporter[0].id
  policy = local.state_policy
}

# aws.role_arn

resource "aws_iam_role" "reader" {
  name                 = "${var.name}-reader"
  description          = "entra-aws-exporter reads Identity Center with this role."
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
  assume_role_policy   = local.trust
}

resource "aws_iam_role_policy" "reader" {
  name   = "reader"
  role   = aws_iam_role.reader.id
  policy = file("${local.permissions}/aws-reader.json")
}

resource "aws_iam_role_policy" "reader_kms" {
  count = var.kms_key_arn == null ? 0 : 1

  name   = "kms"
  role   = aws_iam_role.reader.id
  policy = local.kms
}

# rotation.role_arn

resource "aws_iam_role" "rotator" {
  count = var.rotation ? 1 : 0

  name                 = "${var.name}-rotator"
  description          = "entra-aws-exporter creates and deletes SCIM tokens of Identity Center with this role."
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
  assume_role_policy   = local.trust
}

resource "aws_iam_role_policy" "rotator" {
  count = var.rotation ? 1 : 0

  name   = "rotator"
  role   = aws_iam_role.rotator[0].id
  policy = file("${local.permissions}/aws-rotator.json")
}

resource "aws_iam_role_policy" "rotator_kms" {
  count = var.rotation && var.kms_key_arn != null ? 1 : 0

  name   = "kms"
  role   = aws_iam_role.rotator[0].id
  policy = local.kms
}

# saml.rollover.role_arn

resource "aws_iam_role" "certificate_rotator" {
  count = var.rollover ? 1 : 0

  name                 = "${var.name}-certificate-rotator"
  description          = "entra-aws-exporter rolls over the SAML certificates that Identity Center trusts with this role."
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
  assume_role_policy   = local.trust
}

resource "aws_iam_role_policy" "certificate_rotator" {
  count = var.rollover ? 1 : 0

  name   = "certificate-rotator"
  role   = aws_iam_role.certificate_rotator[0].id
  policy = file("${local.permissions}/aws-certificate-rotator.json")
}

resource "aws_iam_role_policy" "certificate_rotator_kms" {
  count = var.rollover && var.kms_key_arn != null ? 1 : 0

  name   = "kms"
  role   = aws_iam_role.certificate_rotator[0].id
  policy = local.kms
}

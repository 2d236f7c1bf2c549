variable "exporter" {
  description = <<-EOT
    The identity that the exporter runs with; it assumes the roles of this module. Exactly one of
    - role_arn: an existing role, in this account or another. Attach the output exporter_policy to it.
    - irsa: the OIDC provider of an EKS cluster in this account, and the pod's service account.
    - pod_identity: an EKS cluster in this account and region, and the pod's service account.
  EOT
  type = object({
    role_arn = optional(string)
    irsa = optional(object({
      oidc_provider_arn = string
      namespace         = optional(string, "monitoring")
      service_account   = optional(string, "entra-aws-exporter")
    }))
    pod_identity = optional(object({
      cluster         = string
      namespace       = optional(string, "monitoring")
      service_account = optional(string, "entra-aws-exporter")
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = length([for kind in [var.exporter.role_arn, var.exporter.irsa, var.exporter.pod_identity] : kind if kind != null]) == 1
    error_message = "exporter says which identity may assume the roles: set exactly one of role_arn (an existing role), irsa and pod_identity."
  }
  validation {
    condition     = var.exporter.role_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/", var.exporter.role_arn))
    error_message = "exporter.role_arn is the ARN of the role that the exporter runs with: arn:aws:iam::ACCOUNT:role/NAME."
  }
  validation {
    condition     = try(var.exporter.irsa.oidc_provider_arn, null) == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/.+", var.exporter.irsa.oidc_provider_arn))
    error_message = "exporter.irsa.oidc_provider_arn is the ARN of the cluster's IAM OIDC provider: arn:aws:iam::ACCOUNT:oidc-provider/ISSUER."
  }
}

variable "external_id" {
  description = "External id that the exporter sends when it assumes the roles. Choose any text, and set the same as aws.external_id of each connection. It is no secret."
  type        = string
  default     = null

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@:/-]{2,}$", var.external_id))
    error_message = "external_id is the text that the exporter sends when it assumes the roles: choose 2 or more letters, digits or +=,.@:/-, and set the same as aws.external_id of each connection."
  }
}

variable "rotation" {
  description = "Whether to create the rotator: the role that creates and deletes SCIM tokens (rotation.role_arn). Without it the exporter can only read."
  type        = bool
  default     = false
  nullable    = false
}

variable "rollover" {
  description = "Whether to create the certificate rotator: the role that imports and deletes SAML certificates (saml.rollover.role_arn). Whoever can assume it can sign in as any user."
  type        = bool
  default     = false
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer managed KMS key that encrypts the Identity Center instance; null: an AWS owned key encrypts it. The key's own policy must allow the roles, too."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+", var.kms_key_arn))
    error_message = "kms_key_arn is the key that encrypts the Identity Center instance: arn:aws:kms:REGION:ACCOUNT:key/ID, not an alias."
  }
}

variable "state" {
  description = <<-EOT
    Keeps the state in AWS (state.aws), in the region of the provider; null: it is kept in a directory.
    - table: the name of the DynamoDB table that is created
    - secret_prefix: the prefix of the secrets' names
    - kms_key_arn: a key of your own for the secrets (state.aws.kms_key_id)
  EOT
  type = object({
    table         = optional(string, "entra-aws-exporter")
    secret_prefix = optional(string, "entra-aws-exporter/")
    kms_key_arn   = optional(string)
  })
  default = null

  validation {
    condition     = can(regex("^[A-Za-z0-9/_+=.@-]+/$", try(var.state.secret_prefix, "x/")))
    error_message = "state.secret_prefix is the beginning of the secrets' names, which ends with /, as state.aws.secret_prefix."
  }
  validation {
    condition     = try(var.state.kms_key_arn, null) == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+", var.state.kms_key_arn))
    error_message = "state.kms_key_arn is the key that encrypts the secrets: arn:aws:kms:REGION:ACCOUNT:key/ID, not an alias."
  }
}

variable "web_identity_audience" {
  description = "Lets the exporter sign in to Entra by aws_web_identity, with this audience of the tenant's cloud; null: it signs in otherwise."
  type        = string
  default     = null

  validation {
    condition     = var.web_identity_audience == null || can(regex("^api://AzureADTokenExchange(USGov|China)?$", var.web_identity_audience))
    error_message = "web_identity_audience is the audience of the Entra tenant's cloud: api://AzureADTokenExchange, or with USGov or China at its end."
  }
}

variable "name" {
  description = "Prefix of the roles' names."
  type        = string
  default     = "entra-aws"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,44}$", var.name))
    error_message = "name is the prefix of the roles' names: 1 to 44 letters, digits or +=,.@_-."
  }
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for every role; null: none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of every role."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "federated_credential" {
  description = <<-EOT
    How the exporter signs in: the tokens of another issuer that Entra accepts in place of a secret.
    - aws_web_identity: issuer of the AWS account (aws iam get-outbound-web-identity-federation-info), and the ARN of the exporter's role as subject
    - workload_identity: issuer of the cluster, and system:serviceaccount:NAMESPACE:NAME as subject
    null: none. Then give the applications a certificate outside of Terraform.
  EOT
  type = object({
    issuer   = string
    subject  = string
    audience = optional(string, "api://AzureADTokenExchange")
  })
  default = null

  validation {
    condition     = var.federated_credential == null || can(regex("^https://[^/]+", var.federated_credential.issuer))
    error_message = "federated_credential.issuer is the URL of whoever issues the exporter's tokens: https://…, exactly as in their iss."
  }
  validation {
    condition     = var.federated_credential == null || can(regex("^api://AzureADTokenExchange(USGov|China)?$", var.federated_credential.audience))
    error_message = "federated_credential.audience is that of the tenant's cloud: api://AzureADTokenExchange, or with USGov or China at its end."
  }
}

variable "rotation" {
  description = "Whether to create the rotator: the application that saves SCIM tokens (rotation.tenant). Without it the exporter can only read."
  type        = bool
  default     = false
  nullable    = false
}

variable "rollover" {
  description = "Whether to create the certificate rotator: the application that makes SAML certificates and makes them active (saml.rollover.tenant)."
  type        = bool
  default     = false
  nullable    = false
}

variable "aws_application_object_ids" {
  description = "Object ids of the AWS enterprise applications, from their overview pages. The rotators become owners of each: they can then change their credentials, certificates and assignments."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = (var.rotation || var.rollover) == (length(var.aws_application_object_ids) > 0)
    error_message = "aws_application_object_ids are the enterprise applications that the rotators become owners of: set at least one with rotation = true or rollover = true, and none without."
  }
  validation {
    condition     = alltrue([for id in var.aws_application_object_ids : can(regex("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", id))])
    error_message = "aws_application_object_ids are the object ids on the overview pages of the enterprise applications: UUIDs."
  }
}

variable "provisioning_log_permission" {
  description = "The permission to read the provisioning log. AuditLog.Read.All reads more; only older tenants, which lack the other, need it."
  type        = string
  default     = "ProvisioningLog.Read.All"
  nullable    = false

  validation {
    condition     = contains(["ProvisioningLog.Read.All", "AuditLog.Read.All"], var.provisioning_log_permission)
    error_message = "provisioning_log_permission is ProvisioningLog.Read.All, or AuditLog.Read.All in tenants that lack it."
  }
}

variable "optional_permissions" {
  description = "More permissions: AuditLog.Read.All for the rotator to detect foreign changes of the credentials, and for the certificate rotator to read Entra's sign-in log; User.Read.All for a canary user whose name Entra leaves out."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(setsubtract(var.optional_permissions, ["AuditLog.Read.All", "User.Read.All"])) == 0
    error_message = "optional_permissions are what the rotators can use beside what they need: AuditLog.Read.All and User.Read.All."
  }
}

variable "name" {
  description = "Prefix of the applications' names."
  type        = string
  default     = "entra-aws"
  nullable    = false

  validation {
    condition     = length(var.name) > 0
    error_message = "name is the prefix of the applications' names: it must not be empty."
  }
}

variable "graph_endpoint" {
  description = "Microsoft Graph of the tenant's cloud."
  type        = string
  default     = "https://graph.microsoft.com"
  nullable    = false

  validation {
    condition     = can(regex("^https://[a-z.-]+$", var.graph_endpoint))
    error_message = "graph_endpoint is Microsoft Graph of the tenant's cloud, without a path: https://graph.microsoft.com, https://graph.microsoft.us, …"
  }
}

# Applications without any secret: the exporter signs in by a federated credential, or by a
# certificate that never reaches the state of Terraform. A test compares the permissions with the
# calls of the exporter.

locals {
  permissions = {
    reader  = ["Application.Read.All", "Synchronization.Read.All", var.provisioning_log_permission]
    rotator = setunion(["Application.Read.All", "Synchronization.Read.All", "Application.ReadWrite.OwnedBy", var.provisioning_log_permission], var.optional_permissions)

    certificate_rotator = setunion(["Application.Read.All", "Synchronization.Read.All", "Application.ReadWrite.OwnedBy"], setintersection(["AuditLog.Read.All"], var.optional_permissions))
  }

  identities = toset(concat(["reader"], local.owners))
  owners     = concat(var.rotation ? ["rotator"] : [], var.rollover ? ["certificate_rotator"] : [])
  grants = merge([for identity in local.identities : {
    for permission in local.permissions[identity] : "${identity} ${permission}" => { identity = identity, permission = permission }
  }]...)
}

data "azuread_service_principal" "graph" {
  client_id = "00000003-0000-0000-c000-000000000000" # Microsoft Graph, in every cloud
}

resource "azuread_application" "exporter" {
  for_each = local.identities

  display_name = "${var.name}-${replace(each.key, "_", "-")}"

  required_resource_access {
    resource_app_id = data.azuread_service_principal.graph.client_id

    dynamic "resource_access" {
      for_each = local.permissions[each.key]
      content {
        id   = data.azuread_service_principal.graph.app_role_ids[resource_access.value]
        type = "Role"
      }
    }
  }
}

resource "azuread_service_principal" "exporter" {
  for_each = local.identities

  client_id = azuread_application.exporter[each.key].client_id
}

# Admin consent.
resource "azuread_app_role_assignment" "exporter" {
  for_each = local.grants

  app_role_id         = data.azuread_service_principal.graph.app_role_ids[each.value.permission]
  principal_object_id = azuread_service_principal.exporter[each.value.identity].object_id
  resource_object_id  = data.azuread_service_principal.graph.object_id
}

resource "azuread_application_federated_identity_credential" "exporter" {
  for_each = var.federated_credential == null ? toset([]) : local.identities

  application_id = azuread_application.exporter[each.key].id
  display_name   = "entra-aws-exporter"
  issuer         = var.federated_credential.issuer
  subject        = var.federated_credential.subject
  audiences      = [var.federated_credential.audience]
}

resource "msgraph_resource" "owner" {
  for_each = { for pair in setproduct(local.owners, var.aws_application_object_ids) : join(" ", pair) => { identity = pair[0], application = pair[1] } }

  url = "servicePrincipals/${each.value.application}/owners/$ref"
  body = {
    "@odata.id" = "${var.graph_endpoint}/v1.0/directoryObjects/${azuread_service_principal.exporter[each.value.identity].object_id}"
  }
}

# A certificate is made by an owner of the app registration, too.

data "azuread_service_principal" "aws" {
  for_each = var.rollover ? var.aws_application_object_ids : toset([])

  object_id = each.key
}

data "azuread_application" "aws" {
  for_each = data.azuread_service_principal.aws

  client_id = each.value.client_id
}

resource "msgraph_resource" "registration_owner" {
  for_each = data.azuread_application.aws

  url = "applications/${each.value.object_id}/owners/$ref"
  body = {
    "@odata.id" = "${var.graph_endpoint}/v1.0/directoryObjects/${azuread_service_principal.exporter["certificate_rotator"].object_id}"
  }
}

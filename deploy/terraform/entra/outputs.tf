output "reader_client_id" {
  description = "client_id of the tenant that the connections name (tenant)."
  value       = azuread_application.exporter["reader"].client_id
}

output "rotator_client_id" {
  description = "client_id of the tenant that rotations name (rotation.tenant); null without rotation."
  value       = try(azuread_application.exporter["rotator"].client_id, null)
}

output "certificate_rotator_client_id" {
  description = "client_id of the tenant that rollovers name (saml.rollover.tenant); null without rollover."
  value       = try(azuread_application.exporter["certificate_rotator"].client_id, null)
}

terraform {
  required_version = ">= 1.9" # validations that compare variables

  required_providers {
    azuread = {
      source  = "hashicorp/azuread"
      version = ">= 3.0"
    }
    # azuread cannot add an owner to a service principal that it does not manage.
    msgraph = {
      source  = "microsoft/msgraph"
      version = ">= 0.2"
    }
  }
}

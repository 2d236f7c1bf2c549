// Package bridge holds the words of the domain: what an organisation that
// provisions AWS IAM Identity Center from Microsoft Entra ID would call things.
//
// It depends on the standard library only. The clients of the two clouds return
// its types, the collector and the web pages show them, the rotation decides on
// them; so none of those needs to know another.
package model

package clouds

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Secret is one key and value of an application's provisioning credentials.
type Secret struct{ Key, Value string }

// Masked is what Graph shows instead of a secret value.
const Masked = "*"

// The keys that quirk extra_keys adds.
const (
	ExtraClearKey  = "SkipOutOfScopeDeletions"
	ExtraMaskedKey = "ClientSecret"
)

// addressFlag is what quirk base_address=query puts behind the Tenant URL.
// https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-config-problem-scim-compatibility
const addressFlag = "?aadOptscim062020"

// secretKeys is Graph's enum synchronizationSecret; keys are case-sensitive.
var secretKeys = strings.Fields(`None UserName Password SecretToken AppKey BaseAddress ClientIdentifier ClientSecret
	SingleSignOnType Sandbox Url Domain ConsumerKey ConsumerSecret TokenKey TokenExpiration Oauth2AccessToken
	Oauth2AccessTokenCreationTime Oauth2RefreshToken SyncAll InstanceName Oauth2ClientId Oauth2ClientSecret CompanyId
	UpdateKeyOnSoftDelete SynchronizationSchedule SystemOfRecord SandboxName EnforceDomain SyncNotificationSettings
	SkipOutOfScopeDeletions Oauth2AuthorizationCode Oauth2RedirectUri ApplicationTemplateIdentifier
	Oauth2TokenExchangeUri Oauth2AuthorizationUri AuthenticationType Server PerformInboundEntitlementGrants
	HardDeletesEnabled SyncAgentCompatibilityKey SyncAgentADContainer ValidateDomain TestReferences ConnectionString`)

const notificationSettings = `{"Enabled":true,"Recipients":"identity-team@example.com","DeleteThresholdEnabled":true,"DeleteThresholdValue":500}`

// secretStorage is how much an application's provisioning credentials and its SAML
// certificate may take together, certificateSize what an RSA 2048 certificate takes.
const (
	secretStorage   = 1024
	certificateSize = 760
)

// credential is a Tenant URL and a token as Entra holds them together, somewhere.
type credential struct {
	address, value string
	tenant         *provisioningTenant // where the address leads; nil: nowhere
	token          *scimToken          // nil: no token ever had this value
	since          time.Time           // when it was saved, by whom, and its place in the timeline
	by             Actor
	order          int
}

// Secrets reads an application's provisioning credentials, in the order in which they
// were first saved. Quirks: secrets_get, base_address, extra_keys.
func (entra *Entra) Secrets(c Caller, tenantID, objectID string) ([]Secret, error) {
	sp, err := entra.application(c, ReadSynchronization, tenantID, objectID)
	if err != nil {
		return nil, err
	}
	if entra.quirks.SecretsGet == Gone {
		return nil, notFound(ServiceGraph, "Resource not found for the segment 'secrets'.")
	}
	list := slices.Clone(sp.secrets)
	for i, secret := range list {
		shown := secret.Key == model.CredentialKeyNotificationSettings || secret.Key == model.CredentialKeySyncAll ||
			secret.Key == ExtraClearKey || secret.Key == model.CredentialKeyBaseAddress && entra.quirks.BaseAddress != AddressMasked
		if !shown {
			list[i].Value = Masked
		}
	}
	return list, nil
}

// PutSecrets saves provisioning credentials. That it returns nil means only that the
// API answered 204. Quirk: put_secrets.
func (entra *Entra) PutSecrets(c Caller, tenantID, objectID string, payload []Secret) error {
	sp, err := entra.application(c, WriteSynchronization, tenantID, objectID)
	if err != nil {
		return err
	}
	if err := entra.knownKeys(payload); err != nil {
		return err
	}
	kept := slices.Clone(sp.secrets)
	switch entra.quirks.PutSecrets {
	case PutLimited:
		size := certificateSize * len(sp.Certificates)
		for _, secret := range payload {
			size += len(secret.Key) + len(secret.Value)
		}
		if size > secretStorage {
			return entra.synchronizationError(http.StatusBadRequest, "CredentialStorageLimitExceeded",
				"The credentials could not be saved: they and the SAML certificate exceed the storage limit of 1024 bytes.")
		}
	case PutReplaces:
		sp.secrets = nil
	case PutNeedsAll:
		if valueOf(payload, model.CredentialKeyNotificationSettings) == "" || valueOf(payload, model.CredentialKeySyncAll) == "" {
			payload = nil
		}
	case PutKeepsToken:
		payload = slices.DeleteFunc(slices.Clone(payload), func(s Secret) bool { return s.Key == model.CredentialKeySecretToken })
	}
	for _, secret := range payload {
		sp.set(secret)
	}
	sp.savedAt = entra.at
	entra.audit(sp, c.Actor)
	entra.recordSave(sp, c.Actor, kept)
	entra.resolve(sp, c.Actor)
	entra.afterChange()
	return nil
}

// synchronizationError is an error of Graph's synchronization API. Quirk: graph_errors.
func (entra *Entra) synchronizationError(status int, code, message string) *Error {
	return &Error{Service: ServiceGraph, Status: status, Code: code, Message: message, Nested: entra.quirks.GraphErrors == ErrorsNested}
}

func (entra *Entra) knownKeys(secrets []Secret) error {
	for _, secret := range secrets {
		if !slices.Contains(secretKeys, secret.Key) {
			return entra.synchronizationError(http.StatusInternalServerError, "InternalError", "Requested value '"+secret.Key+"' was not found.")
		}
	}
	return nil
}

func (sp *servicePrincipal) set(secret Secret) {
	for i := range sp.secrets {
		if sp.secrets[i].Key == secret.Key {
			sp.secrets[i].Value = secret.Value
			return
		}
	}
	sp.secrets = append(sp.secrets, secret)
}

func (sp *servicePrincipal) unset(keys ...string) {
	sp.secrets = slices.DeleteFunc(sp.secrets, func(s Secret) bool { return slices.Contains(keys, s.Key) })
}

func valueOf(secrets []Secret, key string) string {
	for _, secret := range secrets {
		if secret.Key == key {
			return secret.Value
		}
	}
	return ""
}

func (sp *servicePrincipal) reshape(q Quirks) {
	if sp.saved.value == "" {
		return
	}
	if address, _, _ := strings.Cut(sp.saved.address, "?"); address != "" {
		if q.BaseAddress == AddressQuery {
			address += addressFlag
		}
		sp.set(Secret{model.CredentialKeyBaseAddress, address})
		sp.saved.address = address
	}
	if q.SettingsKeys == KeysAbsent {
		sp.unset(model.CredentialKeyNotificationSettings, model.CredentialKeySyncAll)
	} else if valueOf(sp.secrets, model.CredentialKeySyncAll) == "" {
		sp.set(Secret{model.CredentialKeyNotificationSettings, notificationSettings})
		sp.set(Secret{model.CredentialKeySyncAll, "false"})
	}
	sp.unset(ExtraClearKey, ExtraMaskedKey)
	switch q.ExtraKeys {
	case ExtraClear:
		sp.set(Secret{ExtraClearKey, "True"})
	case ExtraMasked:
		sp.set(Secret{ExtraMaskedKey, "another-secret-of-" + sp.ObjectID})
	}
}

func (entra *Entra) resolve(sp *servicePrincipal, actor Actor) {
	now := entra.aws.credentialOf(sp.secrets)
	now.since, now.by, now.order = sp.saved.since, sp.saved.by, sp.saved.order
	if now.address != sp.saved.address || now.value != sp.saved.value || now.since.IsZero() {
		now.since, now.by, now.order = entra.at, actor, len(entra.timeline)
	}
	sp.saved = now
}

func (aws *AWS) credentialOf(secrets []Secret) credential {
	c := credential{
		address: valueOf(secrets, model.CredentialKeyBaseAddress), value: valueOf(secrets, model.CredentialKeySecretToken),
	}
	c.token = aws.tokens[c.value]
	endpoint, _, _ := strings.Cut(c.address, "?")
	endpoint = strings.TrimSuffix(endpoint, "/")
	for _, i := range aws.instances {
		for _, t := range i.tenants {
			if t.address() == endpoint {
				c.tenant = t
			}
		}
	}
	return c
}

// SaveToken enters a token in Entra's portal, or by Terraform: it is saved, whatever
// quirk put_secrets does to the API. Its Tenant URL is saved with it.
func (entra *Entra) SaveToken(actor Actor, tenantID, objectID, tokenID string) error {
	entra.Advance()
	t := entra.aws.tokenByID(tokenID)
	if t == nil {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	return entra.save(actor, tenantID, objectID, t.of.address(), t.Value)
}

// SaveValue enters a value of its own making, such as a mistyped one, and keeps the
// Tenant URL.
func (entra *Entra) SaveValue(actor Actor, tenantID, objectID, value string) error {
	entra.Advance()
	return entra.save(actor, tenantID, objectID, "", value)
}

func (entra *Entra) save(actor Actor, tenantID, objectID, address, value string) error {
	sp, err := entra.application(CallerFor(actor), WriteSynchronization, tenantID, objectID)
	if err != nil {
		return err
	}
	before := append([]Secret(nil), sp.secrets...)
	if address != "" {
		if entra.quirks.BaseAddress == AddressQuery {
			address += addressFlag
		}
		sp.set(Secret{model.CredentialKeyBaseAddress, address})
	}
	sp.set(Secret{model.CredentialKeySecretToken, value})
	sp.savedAt = entra.at
	entra.audit(sp, actor)
	entra.recordSave(sp, actor, before)
	entra.resolve(sp, actor)
	entra.afterChange()
	return nil
}

func (entra *Entra) recordSave(sp *servicePrincipal, actor Actor, before []Secret) {
	old, now := entra.aws.credentialOf(before), entra.aws.credentialOf(sp.secrets)
	save := Save{
		Stamp: entra.stamp(actor), ServicePrincipalID: sp.ObjectID, Before: old.tokenID(), After: now.tokenID(),
		AddressBefore: old.address, AddressAfter: now.address,
	}
	held := map[string]string{}
	for _, secret := range before {
		held[secret.Key] = secret.Value
	}
	for _, secret := range sp.secrets {
		previous, was := held[secret.Key]
		if !was {
			save.Added = append(save.Added, secret.Key)
		}
		if secret.Value == Masked && previous != Masked {
			save.Overwritten = append(save.Overwritten, secret.Key)
		}
		delete(held, secret.Key)
	}
	for _, secret := range before {
		if _, lost := held[secret.Key]; lost {
			save.Lost = append(save.Lost, secret.Key)
		}
	}
	entra.record(save)
}

func (c *credential) tokenID() string {
	if c == nil || c.token == nil {
		return ""
	}
	return c.token.ID
}

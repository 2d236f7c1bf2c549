package clouds

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// SecretsManager is AWS Secrets Manager.
type SecretsManager struct {
	*core
	secrets []*ManagedSecret
}

// ManagedSecret is a secret of Secrets Manager.
type ManagedSecret struct {
	ARN, Name string
	VersionID string // of its only version; "": it has none
	Value     string
	KMSKeyID  string // "": AWS's own key
	Created   time.Time
	Deletion  time.Time // when it will be gone; zero: it stays
}

// NewManagedSecret is a request for a secret.
type NewManagedSecret struct{ Name, Token, Value, KMSKeyID string }

const serviceSecrets Service = "secretsmanager"

var secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)

// CreateManagedSecret creates a secret with one version, whose id is the request's token.
// Repeated with the same token and value, it changes nothing.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
func (sm *SecretsManager) CreateManagedSecret(c Caller, request NewManagedSecret) (ManagedSecret, error) {
	sm.Advance()
	refuse := func(code, message string) (ManagedSecret, error) {
		return ManagedSecret{}, NewError(serviceSecrets, http.StatusBadRequest, code, message)
	}
	if err := sm.allowAWS(c, serviceSecrets, CreateSecretAction); err != nil {
		return ManagedSecret{}, err
	}
	if !secretName.MatchString(request.Name) || len(request.Token) < 32 || len(request.Token) > 64 || len(request.Value) > 65536 {
		return refuse("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@! The token has 32 to 64 characters, the value at most 65536.")
	}
	if found := sm.managedSecret(c, request.Name); found != nil {
		switch {
		case !found.Deletion.IsZero():
			return refuse("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
		case found.VersionID != request.Token || found.Value != request.Value:
			return refuse("ResourceExistsException", "The operation failed because the secret "+request.Name+" already exists.")
		default:
			return *found, nil
		}
	}
	if request.KMSKeyID != "" {
		for _, action := range []Action{GenerateDataKeyAction, DecryptAction} {
			if err := sm.allowKey(c, action); err != nil {
				return ManagedSecret{}, err
			}
		}
	}
	created := &ManagedSecret{
		ARN:  fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-%s", c.Region, c.Account, request.Name, sm.newID()[:6]),
		Name: request.Name, VersionID: request.Token, Value: request.Value, KMSKeyID: request.KMSKeyID, Created: sm.at,
	}
	sm.secrets = append(sm.secrets, created)
	sm.annotate(c.Actor, "secret %s created", request.Name)
	return *created, nil
}

// ManagedSecretValue returns a secret with its value, by its name or ARN. Quirk: secret_lag.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
func (sm *SecretsManager) ManagedSecretValue(c Caller, id, version string) (ManagedSecret, error) {
	sm.Advance()
	if err := sm.allowAWS(c, serviceSecrets, GetSecretValueAction); err != nil {
		return ManagedSecret{}, err
	}
	found := sm.managedSecret(c, id)
	switch {
	case found == nil || sm.at.Before(found.Created.Add(sm.lag(sm.quirks.SecretLag))):
		return ManagedSecret{}, notFound(serviceSecrets, "Secrets Manager can't find the specified secret.")
	case !found.Deletion.IsZero():
		return ManagedSecret{}, NewError(serviceSecrets, http.StatusBadRequest, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	case version != "" && version != found.VersionID:
		return ManagedSecret{}, notFound(serviceSecrets, "Secrets Manager can't find the specified secret value for VersionId: %s", version)
	case found.KMSKeyID != "":
		if err := sm.allowKey(c, DecryptAction); err != nil {
			return ManagedSecret{}, err
		}
	}
	return *found, nil
}

// DeleteManagedSecret deletes a secret after some days, or now. Now, a missing secret is
// no error. Quirk: secret_lag.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html
func (sm *SecretsManager) DeleteManagedSecret(c Caller, id string, days int, now bool) (ManagedSecret, error) {
	sm.Advance()
	if err := sm.allowAWS(c, serviceSecrets, DeleteSecretAction); err != nil {
		return ManagedSecret{}, err
	}
	found := sm.managedSecret(c, id)
	visible := found != nil && !sm.at.Before(found.Created.Add(sm.lag(sm.quirks.SecretLag)))
	switch {
	case now && days != 0, !now && days != 0 && (days < 7 || days > 30):
		return ManagedSecret{}, NewError(serviceSecrets, http.StatusBadRequest, "InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive), without ForceDeleteWithoutRecovery.")
	case found == nil && now:
		return ManagedSecret{Name: id, ARN: id, Deletion: sm.at}, nil
	case !visible && !now:
		return ManagedSecret{}, notFound(serviceSecrets, "Secrets Manager can't find the specified secret.")
	case !found.Deletion.IsZero() && !now:
		return ManagedSecret{}, NewError(serviceSecrets, http.StatusBadRequest, "InvalidRequestException", "You tried to perform the operation on a secret that's currently marked deleted.")
	}
	if found.Deletion = sm.at; !now {
		if days == 0 {
			days = 30
		}
		found.Deletion = sm.at.Add(time.Duration(days) * 24 * time.Hour)
	}
	sm.annotate(c.Actor, "secret %s deleted, gone at %s", found.Name, found.Deletion.UTC().Format(time.RFC3339))
	return *found, nil
}

// ManagedSecrets lists the secrets that are not gone yet, the deleted ones included.
func (sm *SecretsManager) ManagedSecrets() []ManagedSecret {
	sm.Advance()
	var list []ManagedSecret
	for _, secret := range sm.secrets {
		if secret.Deletion.IsZero() || sm.at.Before(secret.Deletion) {
			list = append(list, *secret)
		}
	}
	return list
}

// managedSecret finds a secret of the caller's account and region by its name or ARN; nil:
// there is none.
func (sm *SecretsManager) managedSecret(c Caller, id string) *ManagedSecret {
	place := fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:", c.Region, c.Account)
	for _, secret := range sm.secrets {
		gone := !secret.Deletion.IsZero() && !sm.at.Before(secret.Deletion)
		if !gone && strings.HasPrefix(secret.ARN, place) && (secret.ARN == id || secret.Name == id) {
			return secret
		}
	}
	return nil
}

// allowKey checks the permission for a customer managed key, in Secrets Manager's words.
func (sm *SecretsManager) allowKey(c Caller, action Action) error {
	if sm.allowAWS(c, serviceSecrets, action) != nil {
		return NewError(serviceSecrets, http.StatusBadRequest, "AccessDeniedException", "Access to KMS is not allowed")
	}
	return nil
}

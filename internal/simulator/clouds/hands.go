package clouds

import (
	"time"

	"entra-aws-exporter/internal/model"
)

// This file is what people, Terraform and time do besides the clouds' APIs: creating
// and deleting tokens and pausing jobs go through the same methods as everybody's.

// SaveToken enters a token in Entra's portal, or by Terraform: it is saved, whatever
// quirk put_secrets does to the API. Its Tenant URL is saved with it.
func (w *Model) SaveToken(actor Actor, tenantID, objectID, tokenID string) error {
	w.Advance()
	t := w.tokenByID(tokenID)
	if t == nil {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	return w.save(actor, tenantID, objectID, t.of.address(), t.Value)
}

// SaveValue enters a value of its own making, such as a mistyped one, and keeps the
// Tenant URL.
func (w *Model) SaveValue(actor Actor, tenantID, objectID, value string) error {
	w.Advance()
	return w.save(actor, tenantID, objectID, "", value)
}

func (w *Model) save(actor Actor, tenantID, objectID, address, value string) error {
	sp, err := w.application(CallerFor(actor), WriteSynchronization, tenantID, objectID)
	if err != nil {
		return err
	}
	before := append([]Secret(nil), sp.secrets...)
	if address != "" {
		if w.quirks.BaseAddress == AddressQuery {
			address += addressFlag
		}
		sp.set(Secret{model.CredentialKeyBaseAddress, address})
	}
	sp.set(Secret{model.CredentialKeySecretToken, value})
	sp.savedAt = w.at
	w.audit(sp, actor)
	w.recordSave(sp, actor, before)
	w.resolve(sp, actor)
	w.settle()
	return nil
}

// SavedToken returns the id of the token that an application has saved; "" when it is
// a value that no token has.
func (w *Model) SavedToken(objectID string) string {
	w.Advance()
	for _, j := range w.jobs {
		if j.application.ObjectID == objectID {
			return j.application.saved.tokenID()
		}
	}
	return ""
}

// TokenValue returns the value of a token, deleted or not; "" when there is none.
func (w *Model) TokenValue(tokenID string) string {
	if t := w.tokenByID(tokenID); t != nil {
		return t.Value
	}
	return ""
}

// TokenIDByValue returns the id of the token with a value; "" when there is none.
func (w *Model) TokenIDByValue(value string) string {
	if t := w.tokens[value]; t != nil {
		return t.ID
	}
	return ""
}

// TokenAccepted returns whether AWS's nodes accept a token now.
func (w *Model) TokenAccepted(tokenID string) Acceptance {
	w.Advance()
	return w.acceptance(w.tokenByID(tokenID))
}

// Expire ends a token's life now.
func (w *Model) Expire(actor Actor, tokenID string) error {
	w.Advance()
	t := w.tokenByID(tokenID)
	if t == nil {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	t.Expires, t.expiredBy = w.at, actor
	w.record(Annotation{w.moment(actor), "let token " + tokenID + " expire"})
	w.settle()
	return nil
}

// Age moves the creation and expiry of every token and certificate into the past.
func (w *Model) Age(by time.Duration) {
	w.Advance()
	certificates := map[*Certificate]bool{}
	for _, i := range w.instances {
		for _, t := range i.tenants {
			for _, token := range t.tokens {
				token.Created, token.Expires = token.Created.Add(-by), token.Expires.Add(-by)
			}
		}
		for _, p := range i.idps {
			for _, certificate := range p.certificates {
				certificates[certificate.Certificate] = true
			}
		}
	}
	for _, t := range w.tenants {
		for _, sp := range t.applications {
			for _, certificate := range sp.Certificates {
				certificates[certificate.Certificate] = true
			}
		}
	}
	for certificate := range certificates {
		certificate.age(by)
	}
	w.record(Annotation{w.moment(ActorTime), "tokens and certificates aged by " + by.String()})
	w.settle()
}

func (w *Model) tokenByID(id string) *token {
	for _, i := range w.instances {
		for _, t := range i.tenants {
			for _, token := range t.tokens {
				if token.ID == id {
					return token
				}
			}
		}
	}
	return nil
}

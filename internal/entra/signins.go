package entra

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"
	"time"

	"entra-aws-exporter/internal/model"
)

// signInLogPages is how many pages of the sign-in log are read: ten thousand sign-ins,
// which take 20 seconds within the limit of the audit logs.
const signInLogPages = 10

// isWithoutSigningKey reports whether Entra's code tells that it could not sign a response.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func isWithoutSigningKey(code int) bool { return code == 50003 || code == 50146 }

// signInEntry is what is read of a sign-in. The user becomes a hash.
type signInEntry struct {
	CreatedDateTime *time.Time
	UserID          string
	Status          *struct{ ErrorCode int }
}

// SignIns counts the application's interactive sign-ins since then: issued by Entra, which
// does not tell whether AWS accepted them. Failures are those that Entra could not sign. The
// log is up to two hours late. If there are too many, the counts begin later. A tenant
// without the licence or the permission has no counts.
// https://learn.microsoft.com/graph/api/signin-list
func (a *Application) SignIns(ctx context.Context, since time.Time) (model.SignIns, error) {
	appID, err := a.samlAppID(ctx)
	if err != nil {
		return model.SignIns{}, err
	}
	call := apiCall{op: "reading the sign-in log", permission: readAudits, notFound: "this cloud has no sign-in log", sensitive: true}
	values := parameters{
		"%24filter": "appId eq '" + appID + "' and createdDateTime ge " + odataTime(since), "%24top": strconv.Itoa(logPageSize),
	}
	counts := model.SignIns{Since: since, Until: time.Now(), Available: true}
	users, pages, oldest := map[[sha256.Size]byte]bool{}, 0, since
	_, err = eachPage(ctx, a.tenant.graph, call, "/auditLogs/signIns{?%24filter,%24top}", values, func(page []*signInEntry) error {
		if pages++; pages > signInLogPages {
			counts.Since = oldest
			return errEnough
		}
		for _, entry := range page {
			if entry == nil || entry.Status == nil || entry.CreatedDateTime == nil {
				continue
			}
			oldest = *entry.CreatedDateTime // the newest come first
			switch {
			case entry.Status.ErrorCode == 0:
				counts.Successes++
				users[sha256.Sum256([]byte(entry.UserID))] = true
			case isWithoutSigningKey(entry.Status.ErrorCode):
				counts.Failures++
			}
		}
		return nil
	})
	switch reason := model.ReasonOf(err); {
	case reason == model.ReasonPermission, reason == model.ReasonLicence:
		return model.SignIns{}, nil
	case err != nil && !errors.Is(err, errEnough):
		return model.SignIns{}, err
	}
	counts.Users = len(users)
	return counts, nil
}

package identitycenter

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"entra-aws-exporter/internal/model"
)

// The names of the events that a sign-in by an external identity provider leaves, when AWS
// accepts it and when it does not.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/understanding-sign-in-events.html
const (
	signedInEvent      = "UserAuthentication"
	signInRefusedEvent = "ExternalIdPDirectoryLogin"
)

// signInPages is how many pages of each are read: two thousand events, which take half a
// minute at CloudTrail's rate.
const signInPages = 40

// SignIns counts CloudTrail's sign-ins by the external identity provider since then, as
// far as they have been delivered, which takes up to 15 minutes. If there are too many, or
// the time is too short for all, the counts begin later. The log may be unreadable: then
// they are not available.
func (i *Instance) SignIns(ctx context.Context, since time.Time) (model.SignIns, error) {
	store, err := i.identityStore(ctx)
	if err != nil {
		return model.SignIns{}, err
	}
	counts := model.SignIns{Until: i.http.now(), Available: true}
	refused, from, err := i.lookUpSignIns(ctx, signInRefusedEvent, store, since)
	if err != nil {
		return unavailable(err)
	}
	accepted, acceptedFrom, err := i.lookUpSignIns(ctx, signedInEvent, store, since)
	if err != nil {
		return unavailable(err)
	}
	counts.Since = laterOf(from, acceptedFrom)
	users := map[[sha256.Size]byte]bool{}
	for _, signIn := range accepted {
		if !signIn.at.Before(counts.Since) {
			counts.Successes++
			users[signIn.user] = true
		}
	}
	for _, signIn := range refused {
		if !signIn.at.Before(counts.Since) {
			counts.Failures++
		}
	}
	counts.Users = len(users)
	return counts, nil
}

func unavailable(err error) (model.SignIns, error) {
	if model.ReasonOf(err) == model.ReasonPermission {
		return model.SignIns{}, nil
	}
	return model.SignIns{}, err
}

// lookUpSignIns returns the sign-ins of one name, and from when on they are all there.
func (i *Instance) lookUpSignIns(ctx context.Context, name, store string, since time.Time) (found []userSignIn, from time.Time, err error) {
	call := apiCall{op: "reading CloudTrail's sign-ins of " + i.options.Connection, action: "cloudtrail:LookupEvents"}
	input := &cloudtrail.LookupEventsInput{
		StartTime: aws.Time(since),
		LookupAttributes: []types.LookupAttribute{{
			AttributeKey: types.LookupAttributeKeyEventName, AttributeValue: aws.String(name),
		}},
	}
	oldest := time.Time{}
	complete, err := i.forEachEvent(ctx, call, input, signInPages, func(events []types.Event) {
		for _, event := range events {
			signIn, err := parseSignIn(event, name, store)
			if err != nil {
				i.http.Logger.Debug("ignoring CloudTrail event", "connection", i.options.Connection, "err", err)
				continue
			}
			found, oldest = append(found, signIn), signIn.at
		}
	})
	reason := model.ReasonOf(err)
	switch {
	case complete:
		return found, since, nil
	case len(found) > 0 && (err == nil || reason == model.ReasonTimeout || reason == model.ReasonThrottled):
		return found, oldest, nil
	case err == nil:
		return nil, time.Time{}, call.classify(&model.Error{Reason: model.ReasonOther, Detail: "too many events of other kinds"})
	default:
		return nil, time.Time{}, err
	}
}

// userSignIn is a sign-in of a user, who is a hash.
type userSignIn struct {
	at   time.Time
	user [sha256.Size]byte
}

// signInRecord is the part of an event's record that is read.
type signInRecord struct {
	EventTime, EventName string

	UserIdentity struct {
		OnBehalfOf struct{ UserID, IdentityStoreArn string }
	}
	AdditionalEventData struct{ CredentialType, UserName string }
	ServiceEventDetails struct{ UserAuthentication string }
	ResponseElements    struct {
		DirectoryLogin string `json:"ExternalIdPDirectoryLogin"`
	}
}

// parseSignIn reads a sign-in by the external identity provider of an identity store. An
// event that names no store is of this one: an account has one instance in a region.
func parseSignIn(event types.Event, name, store string) (userSignIn, error) {
	raw := aws.ToString(event.CloudTrailEvent)
	if len(raw) > maxTrailEvent {
		return userSignIn{}, errors.New("the record is larger than CloudTrail allows")
	}
	var record signInRecord
	if err := json.Unmarshal([]byte(raw), &record); err != nil {
		var odd *json.UnmarshalTypeError
		if !errors.As(err, &odd) { // a field of another type is left empty, the rest is read
			return userSignIn{}, errors.New("the record is not JSON")
		}
	}
	arn := record.UserIdentity.OnBehalfOf.IdentityStoreArn
	switch {
	case cmp.Or(record.EventName, aws.ToString(event.EventName)) != name:
		return userSignIn{}, errors.New("the record is not a sign-in")
	case arn != "" && !strings.HasSuffix(arn, "/"+store):
		return userSignIn{}, errors.New("the sign-in is to another identity store")
	case name == signedInEvent && (record.AdditionalEventData.CredentialType != "EXTERNAL_IDP" || record.ServiceEventDetails.UserAuthentication != "Success"):
		return userSignIn{}, errors.New("the sign-in is not by an external identity provider")
	case name == signInRefusedEvent && record.ResponseElements.DirectoryLogin != "Failure":
		return userSignIn{}, errors.New("the sign-in did not fail")
	}
	at := aws.ToTime(event.EventTime)
	if at.IsZero() {
		var err error
		if at, err = time.Parse(time.RFC3339, record.EventTime); err != nil {
			return userSignIn{}, errors.New("the record has no time")
		}
	}
	user := cmp.Or(record.UserIdentity.OnBehalfOf.UserID, record.AdditionalEventData.UserName, aws.ToString(event.Username))
	return userSignIn{at.UTC(), sha256.Sum256([]byte(user))}, nil
}

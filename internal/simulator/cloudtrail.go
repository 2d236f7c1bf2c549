package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// trailPage is how many events LookupEvents returns at most, and by default.
const trailPage = 50

func cloudTrailOperations() map[string]operation {
	lookup := operation{name: "LookupEvents", serve: lookupEvents}
	return map[string]operation{
		"CloudTrail_20131101.LookupEvents":                                    lookup,
		"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents": lookup,
	}
}

// lookupEvents searches the event history, two calls a second per account and region.
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
func lookupEvents(c *call) (answer, error) {
	key := "LookupEvents " + c.caller.Account + " " + c.caller.Region
	if left := c.sim.throttle(key, 2, time.Second, c.now()); left > 0 {
		return answer{}, &clouds.Error{Service: clouds.ServiceCloudTrail, Status: http.StatusBadRequest, Code: "ThrottlingException", Message: "Rate exceeded"}
	}
	var request struct {
		StartTime, EndTime json.Number
		LookupAttributes   []struct{ AttributeKey, AttributeValue string }
		MaxResults         int
		NextToken          string
	}
	if err := c.decode(&request); err != nil {
		return answer{}, err
	}
	filter := clouds.TrailFilter{After: fromEpoch(request.StartTime), Before: fromEpoch(request.EndTime)}
	if len(request.LookupAttributes) > 1 {
		return answer{}, trailError("InvalidLookupAttributesException", "You can have only one lookup attribute in a request.")
	}
	for _, attribute := range request.LookupAttributes {
		switch attribute.AttributeKey {
		case "AccessKeyId":
			filter.AccessKeyID = attribute.AttributeValue
		case "EventSource":
			filter.EventSource = attribute.AttributeValue
		default:
			return answer{}, trailError("InvalidLookupAttributesException", "This simulator looks up by AccessKeyId and EventSource.")
		}
	}
	if request.MaxResults < 0 || request.MaxResults > trailPage {
		return answer{}, trailError("InvalidMaxResultsException", "MaxResults must be between 1 and 50.")
	}
	if request.MaxResults == 0 {
		request.MaxResults = trailPage
	}
	// A page goes on behind the event that the token names: the newest come first, and
	// newer ones may have been delivered since.
	events, err := read(c, func(w *clouds.Model) ([]clouds.TrailEvent, error) { return w.LookupEvents(c.caller, filter) })
	if err != nil {
		return answer{}, err
	}
	if request.NextToken != "" {
		at := 0
		for at < len(events) && events[at].EventID != request.NextToken {
			at++
		}
		if at == len(events) {
			return answer{}, trailError("InvalidNextTokenException", "The next token is invalid.")
		}
		events = events[at+1:]
	}
	result := map[string]any{}
	if len(events) > request.MaxResults {
		events = events[:request.MaxResults]
		result["NextToken"] = events[len(events)-1].EventID
	}
	list := []map[string]any{}
	for _, event := range events {
		list = append(list, trailEntity(event))
	}
	result["Events"] = list
	return c.asAWS(result), nil
}

func trailError(code, message string) *clouds.Error {
	return &clouds.Error{Service: clouds.ServiceCloudTrail, Status: http.StatusBadRequest, Code: code, Message: message}
}

// trailEntity words a call to SCIM as CloudTrail does: the event itself is a string of JSON.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/scim-logging-using-cloudtrail.html
func trailEntity(e clouds.TrailEvent) map[string]any {
	event, _ := json.Marshal(map[string]any{ // strings always encode
		"eventVersion": "1.10", "eventID": e.EventID, "eventName": e.EventName, "eventSource": clouds.SCIMEventSource,
		"eventTime": e.At.UTC().Format(time.RFC3339), "eventType": "AwsApiCall", "eventCategory": "Management", "managementEvent": true,
		"awsRegion": e.Region, "recipientAccountId": e.Account, "sourceIPAddress": e.SourceIP, "userAgent": e.UserAgent,
		"readOnly": isReadOnly(e.EventName),
		"userIdentity": map[string]any{
			"type": "WebIdentityUser", "accountId": e.Account, "accessKeyId": e.AccessKeyID,
			"identityProvider": "arn:aws:identitystore::" + e.Account + ":identitystore/" + e.IdentityStore,
		},
		"requestParameters": map[string]any{"tenantId": e.TenantID, "httpBody": "HIDDEN_DUE_TO_SECURITY_REASONS"},
		"responseElements":  nil,
		"requestID":         e.EventID,
	})
	return map[string]any{
		"EventId": e.EventID, "EventName": e.EventName, "EventTime": epoch(e.At), "EventSource": clouds.SCIMEventSource,
		"AccessKeyId": e.AccessKeyID, "ReadOnly": strconv.FormatBool(isReadOnly(e.EventName)), "Resources": []any{},
		"CloudTrailEvent": string(event),
	}
}

func isReadOnly(event string) bool { return event != "" && (event[0] == 'G' || event[0] == 'L') }

func fromEpoch(n json.Number) time.Time {
	seconds, err := n.Float64()
	if err != nil || seconds == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000))
}

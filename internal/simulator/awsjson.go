package simulator

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

type object = map[string]any

// objects words each element of a list; a list that is empty is not null.
func objects[T any](list []T, entity func(T) object) []object {
	worded := make([]object, 0, len(list))
	for _, element := range list {
		worded = append(worded, entity(element))
	}
	return worded
}

const (
	consoleTarget = "AWSIdentityStoreService." // the console's undocumented token service
	publicTarget  = "AWSIdentityStore."        // the public Identity Store
	idpTarget     = "AppsAuthControlPlaneService."
	secretsTarget = "secretsmanager."
)

type storeRequest struct {
	IdentityStoreID string `json:"IdentityStoreId"`
	TenantID        string `json:"TenantId"`
	TokenID         string `json:"TokenId"`
}

func identityStoreOperations() map[string]operation {
	return map[string]operation{
		consoleTarget + "ListProvisioningTenants": {name: "ListProvisioningTenants", serve: func(c *call) (response, error) {
			return storeCall(c, query, func(m *clouds.Model, r storeRequest) ([]clouds.ProvisioningTenant, error) {
				return m.ListProvisioningTenants(c.caller, r.IdentityStoreID)
			}, func(tenants []clouds.ProvisioningTenant) object {
				return object{"ProvisioningTenants": objects(tenants, c.tenantEntity)}
			})
		}},
		consoleTarget + "ListBearerTokens": {name: "ListBearerTokens", serve: func(c *call) (response, error) {
			return storeCall(c, query, func(m *clouds.Model, r storeRequest) ([]clouds.BearerToken, error) {
				return m.ListBearerTokens(c.caller, r.IdentityStoreID, r.TenantID)
			}, func(tokens []clouds.BearerToken) object {
				return object{"BearerTokens": objects(tokens, c.tokenEntity)}
			})
		}},
		consoleTarget + "CreateBearerToken": {name: "CreateBearerToken", serve: func(c *call) (response, error) {
			return storeCall(c, mutate, func(m *clouds.Model, r storeRequest) (clouds.BearerToken, error) {
				return m.CreateBearerToken(c.caller, r.IdentityStoreID, r.TenantID)
			}, func(token clouds.BearerToken) object { return object{"BearerToken": c.tokenEntity(token)} })
		}},
		consoleTarget + "DeleteBearerToken": {name: "DeleteBearerToken", serve: func(c *call) (response, error) {
			return storeCall(c, mutate, func(m *clouds.Model, r storeRequest) (struct{}, error) {
				return struct{}{}, m.DeleteBearerToken(c.caller, r.IdentityStoreID, r.TenantID, r.TokenID)
			}, func(struct{}) object { return object{} })
		}},
		publicTarget + "DescribeIdentityStore": {name: "DescribeIdentityStore", serve: describeIdentityStore},
	}
}

func jsonCall[R, T any](c *call, run func(*call, func(*clouds.Model) (T, error)) (T, error), ask func(*clouds.Model, R) (T, error), entity func(T) object) (response, error) {
	var request R
	if err := c.decode(&request); err != nil {
		return response{}, err
	}
	result, err := run(c, func(m *clouds.Model) (T, error) { return ask(m, request) })
	if err != nil {
		return response{}, err
	}
	return c.awsResponse(c.page(entity(result))), nil
}

// page is the page of a list that the request's NextToken names, as the quirk list_pages
// says. The console's certificate service writes its names in lower case.
func (c *call) page(all object) object {
	var request struct{ NextToken string } // decoding ignores case
	if c.quirks().ListPages != clouds.PagesEmptyFirst || !strings.HasPrefix(c.name, "List") || c.decode(&request) != nil || request.NextToken != "" {
		return all
	}
	empty := object{"NextToken": "the-rest"}
	if c.service.name == "appsauth" {
		empty = object{"nextToken": "the-rest"}
	}
	for name := range all {
		empty[name] = []object{}
	}
	return empty
}

// storeCall serves an operation of the token service, whose JSON version is a quirk.
func storeCall[T any](
	c *call, run func(*call, func(*clouds.Model) (T, error)) (T, error),
	ask func(*clouds.Model, storeRequest) (T, error), entity func(T) object,
) (response, error) {
	if err := c.requireJSON(c.quirks().JSONVersion); err != nil {
		return response{}, err
	}
	return jsonCall(c, run, ask, entity)
}

func (c *call) requireJSON(version string) error {
	if sent := c.r.Header.Get("Content-Type"); sent != "application/x-amz-json-"+version {
		return clouds.NewError("", http.StatusNotFound, "UnknownOperationException", "The service speaks application/x-amz-json-"+version+", not "+sent+".")
	}
	return nil
}

func (c *call) timestamp(t time.Time) any {
	if c.quirks().TokenTimes == clouds.TimesStrings {
		return t.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return epoch(t)
}

func (c *call) tenantEntity(tenant clouds.ProvisioningTenant) object {
	return object{"TenantId": tenant.TenantID, "ScimEndpoint": c.sim.publicAddress(tenant.SCIMEndpoint), "CreationTime": c.timestamp(tenant.Created)}
}

func (c *call) tokenEntity(token clouds.BearerToken) object {
	entity := object{"TokenId": token.ID, "CreationTime": c.timestamp(token.Created), "ExpirationTime": c.timestamp(token.Expires)}
	if token.Value != "" {
		entity["Token"] = token.Value
	}
	return entity
}

func describeIdentityStore(c *call) (response, error) {
	return jsonCall(c, query, func(m *clouds.Model, r storeRequest) (object, error) {
		instance, sources, err := m.DescribeStore(c.caller, r.IdentityStoreID)
		return object{
			"IdentityStoreId":      instance.IdentityStoreID,
			"IdentityStoreArn":     "arn:aws:identitystore::" + instance.OwnerAccountID + ":identitystore/" + instance.IdentityStoreID,
			"NetworkConfiguration": object{"ScimAllowSourceIps": append([]netip.Prefix{}, sources...), "VpceAccessRequired": false},
		}, err
	}, func(store object) object { return store })
}

// listInstances is sso-admin's.
// https://docs.aws.amazon.com/singlesignon/latest/APIReference/API_ListInstances.html
func listInstances(c *call) (response, error) {
	type request struct{ RegionScope string }
	return jsonCall(c, query, func(m *clouds.Model, r request) ([]clouds.Instance, error) {
		return m.ListInstances(c.caller, r.RegionScope == "ALL_REGIONS")
	}, func(instances []clouds.Instance) object {
		return object{"Instances": objects(instances, func(i clouds.Instance) object {
			return object{
				"InstanceArn": i.ARN, "IdentityStoreId": i.IdentityStoreID, "OwnerAccountId": i.OwnerAccountID,
				"PrimaryRegion": i.PrimaryRegion, "Name": i.Name, "Status": i.Status, "CreatedDate": epoch(i.Created),
			}
		})}
	})
}

type idpRequest struct {
	IDPID       string `json:"idpId"`
	DirectoryID string `json:"directoryId"`
}

func idpOperations() map[string]operation {
	return map[string]operation{
		idpTarget + "ListExternalIdPConfigurationsForDirectory": {name: "ListExternalIdPConfigurationsForDirectory", serve: func(c *call) (response, error) {
			return idpCall(c, query, func(m *clouds.Model, r idpRequest) ([]clouds.IdPConfiguration, error) {
				return m.IdPConfigurations(c.caller, r.DirectoryID)
			}, func(list []clouds.IdPConfiguration) object { return object{"associations": objects(list, idpEntity)} })
		}},
		idpTarget + "ListExternalIdPCertificates": {name: "ListExternalIdPCertificates", serve: func(c *call) (response, error) {
			return idpCall(c, query, func(m *clouds.Model, r idpRequest) ([]clouds.IdPCertificate, error) {
				return m.IdPCertificates(c.caller, r.IDPID, r.DirectoryID)
			}, func(list []clouds.IdPCertificate) object {
				return object{"idPCertificates": objects(list, idpCertificateEntity)}
			})
		}},
		idpTarget + "ImportExternalIdPCertificate": {name: "ImportExternalIdPCertificate", serve: importIDPCertificate},
		idpTarget + "DeleteExternalIdPCertificate": {name: "DeleteExternalIdPCertificate", serve: deleteIDPCertificate},
	}
}

func idpCall[R, T any](c *call, run func(*call, func(*clouds.Model) (T, error)) (T, error), ask func(*clouds.Model, R) (T, error), entity func(T) object) (response, error) {
	if err := c.requireJSON(c.quirks().IdPVersion); err != nil {
		return response{}, err
	}
	return jsonCall(c, run, ask, entity)
}

func idpEntity(configuration clouds.IdPConfiguration) object {
	return object{
		"idpId": configuration.IdPID, "isEnabled": configuration.Enabled,
		"idpSAMLAssociationValue": object{
			"idpSAMLConfig":     object{"entityId": "", "loginURL": "", "wantRequestSigned": false},
			"idpCertificateIds": objects(configuration.CertificateIDs, func(id string) object { return object{"certificateId": id, "status": "ACTIVE"} }),
		},
	}
}

func idpCertificateEntity(certificate clouds.IdPCertificate) object {
	der := certificate.DER()
	entity := object{
		"certificateId": certificate.CertificateID, "version": 3,
		"notBefore": epoch(certificate.NotBefore), "notAfter": epoch(certificate.NotAfter),
		"x509CertificateInPEM": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"serialNumber":         0, "serialNumberString": "0", "subjectName": "", "issuerName": "", "signatureAlgorithmName": "", "publicKey": "",
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return entity // what it claims is all there is
	}
	entity["serialNumber"], entity["serialNumberString"] = json.Number(parsed.SerialNumber.String()), parsed.SerialNumber.String()
	return entity
}

const maxTrailEvents = 50

func cloudTrailOperations() map[string]operation {
	return map[string]operation{"CloudTrail_20131101.LookupEvents": {name: "LookupEvents", serve: lookupEvents}}
}

// lookupEvents searches the event history, two calls a second per account and region.
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
func lookupEvents(c *call) (response, error) {
	key := "LookupEvents " + c.caller.Account + " " + c.caller.Region
	if left := c.sim.throttle(key, 2, time.Second, c.now()); left > 0 {
		return response{}, trailError("ThrottlingException", "Rate exceeded")
	}
	var request struct {
		StartTime, EndTime json.Number
		LookupAttributes   []struct{ AttributeKey, AttributeValue string }
		MaxResults         int
		NextToken          string
	}
	if err := c.decode(&request); err != nil {
		return response{}, err
	}
	if len(request.LookupAttributes) != 1 {
		return response{}, trailError("InvalidLookupAttributesException", "This simulator looks up by one attribute.")
	}
	if request.MaxResults < 0 || request.MaxResults > maxTrailEvents {
		return response{}, trailError("InvalidMaxResultsException", "MaxResults must be between 1 and 50.")
	}
	if request.MaxResults == 0 {
		request.MaxResults = maxTrailEvents
	}
	attribute := request.LookupAttributes[0]
	events, err := c.trailEvents(attribute.AttributeKey, attribute.AttributeValue, fromEpoch(request.StartTime), fromEpoch(request.EndTime))
	if err != nil {
		return response{}, err
	}
	// A page begins behind the event that the token names: the newest come first, and
	// newer ones may have been delivered since.
	if request.NextToken != "" {
		at := 0
		for at < len(events) && events[at]["EventId"] != request.NextToken {
			at++
		}
		if at == len(events) {
			return response{}, trailError("InvalidNextTokenException", "The next token is invalid.")
		}
		events = events[at+1:]
	}
	result := object{}
	if len(events) > request.MaxResults {
		events = events[:request.MaxResults]
		result["NextToken"] = events[len(events)-1]["EventId"]
	}
	result["Events"] = events
	return c.awsResponse(result), nil
}

// trailEvents lists the events of an event source, or of a name.
func (c *call) trailEvents(key, value string, after, before time.Time) ([]object, error) {
	switch {
	case key == "EventSource":
		events, err := query(c, func(m *clouds.Model) ([]clouds.TrailEvent, error) {
			return m.LookupEvents(c.caller, clouds.TrailFilter{After: after, Before: before, EventSource: value})
		})
		return objects(events, trailEntity), err
	case key == "EventName" && (value == clouds.EventSignedIn || value == clouds.EventSignInRefused):
		events, err := query(c, func(m *clouds.Model) ([]clouds.SignInEvent, error) {
			return m.SignInEvents(c.caller, value, after, before)
		})
		return objects(events, signInTrailEntity), err
	}
	return nil, trailError("InvalidLookupAttributesException", "This simulator looks up by EventSource, and sign-ins by EventName.")
}

func trailError(code, message string) *clouds.Error {
	return clouds.NewError(clouds.ServiceCloudTrail, http.StatusBadRequest, code, message)
}

// trailEntity words a call to SCIM as CloudTrail does: the event itself is a string of JSON.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/scim-logging-using-cloudtrail.html
func trailEntity(e clouds.TrailEvent) object {
	readOnly := strings.HasPrefix(e.EventName, "Get") || strings.HasPrefix(e.EventName, "List")
	event, _ := json.Marshal(object{ // strings always encode
		"eventVersion": "1.10", "eventID": e.EventID, "eventName": e.EventName, "eventSource": clouds.SCIMEventSource,
		"eventTime": e.At.UTC().Format(time.RFC3339), "eventType": "AwsApiCall", "eventCategory": "Management", "managementEvent": true,
		"awsRegion": e.Region, "recipientAccountId": e.Account, "sourceIPAddress": e.SourceIP, "userAgent": e.UserAgent,
		"readOnly": readOnly,
		"userIdentity": object{
			"type": "WebIdentityUser", "accountId": e.Account, "accessKeyId": e.AccessKeyID,
			"identityProvider": "arn:aws:identitystore::" + e.Account + ":identitystore/" + e.IdentityStore,
		},
		"requestParameters": object{"tenantId": e.TenantID, "httpBody": "HIDDEN_DUE_TO_SECURITY_REASONS"},
		"responseElements":  nil,
		"requestID":         e.EventID,
	})
	return object{
		"EventId": e.EventID, "EventName": e.EventName, "EventTime": epoch(e.At), "EventSource": clouds.SCIMEventSource,
		"AccessKeyId": e.AccessKeyID, "ReadOnly": strconv.FormatBool(readOnly), "Resources": []any{},
		"CloudTrailEvent": string(event),
	}
}

func fromEpoch(n json.Number) time.Time {
	seconds, err := n.Float64()
	if err != nil || seconds == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000))
}

func secretsOperations() map[string]operation {
	return map[string]operation{
		secretsTarget + "CreateSecret": {name: "CreateSecret", serve: func(c *call) (response, error) {
			type request struct{ Name, ClientRequestToken, SecretString, KmsKeyId string } //nolint:revive // AWS's own spelling
			return jsonCall(c, mutate, func(m *clouds.Model, r request) (clouds.ManagedSecret, error) {
				return m.CreateManagedSecret(c.caller, clouds.NewManagedSecret{Name: r.Name, Token: r.ClientRequestToken, Value: r.SecretString, KMSKeyID: r.KmsKeyId})
			}, func(s clouds.ManagedSecret) object {
				return object{"ARN": s.ARN, "Name": s.Name, "VersionId": s.VersionID}
			})
		}},
		secretsTarget + "GetSecretValue": {name: "GetSecretValue", serve: func(c *call) (response, error) {
			type request struct{ SecretId, VersionId string } //nolint:revive // AWS's own spelling
			return jsonCall(c, query, func(m *clouds.Model, r request) (clouds.ManagedSecret, error) {
				return m.ManagedSecretValue(c.caller, r.SecretId, r.VersionId)
			}, func(s clouds.ManagedSecret) object {
				return object{
					"ARN": s.ARN, "Name": s.Name, "VersionId": s.VersionID, "SecretString": s.Value,
					"VersionStages": []string{"AWSCURRENT"}, "CreatedDate": epoch(s.Created),
				}
			})
		}},
		secretsTarget + "DeleteSecret": {name: "DeleteSecret", serve: func(c *call) (response, error) {
			type request struct {
				SecretId                   string //nolint:revive // AWS's own spelling
				RecoveryWindowInDays       int
				ForceDeleteWithoutRecovery bool
			}
			return jsonCall(c, mutate, func(m *clouds.Model, r request) (clouds.ManagedSecret, error) {
				return m.DeleteManagedSecret(c.caller, r.SecretId, r.RecoveryWindowInDays, r.ForceDeleteWithoutRecovery)
			}, func(s clouds.ManagedSecret) object {
				return object{"ARN": s.ARN, "Name": s.Name, "DeletionDate": epoch(s.Deletion)}
			})
		}},
	}
}

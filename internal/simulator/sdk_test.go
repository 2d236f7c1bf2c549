package simulator_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cloudtrailtypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	ssoadmintypes "github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

const graphScope = "https://graph.microsoft.com/.default"

// identityOptions point azidentity at a host, which it must not verify with Microsoft.
func (l *harness) identityOptions(host string) azcore.ClientOptions {
	return azcore.ClientOptions{
		Transport: l.client, Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: host},
	}
}

func (l *harness) clientID() string { return l.Credentials.Tenants[0].Registration.ClientID }

func (l *harness) changeRegistration(change func(*clouds.AppRegistration)) {
	l.t.Helper()
	l.With(func(w *clouds.Model) {
		if err := w.ChangeRegistration(l.Connection.EntraTenantID, l.clientID(), change); err != nil {
			l.t.Fatal(err)
		}
	})
}

// usable checks that a credential's token opens Graph.
func (l *harness) usable(credential azcore.TokenCredential) error {
	l.t.Helper()
	token, err := credential.GetToken(l.t.Context(), policy.TokenRequestOptions{Scopes: []string{graphScope}})
	if err != nil {
		return err
	}
	request := l.request(http.MethodGet, "https://graph.microsoft.com/v1.0/servicePrincipals", "")
	request.Header.Set("Authorization", "Bearer "+token.Token)
	if answer := l.do(request); answer.status != http.StatusOK {
		l.t.Errorf("Graph: %d %s", answer.status, answer.body)
	}
	return nil
}

func TestAzureIdentitySecret(t *testing.T) {
	l := newHarness(t)
	for _, host := range []string{"https://login.microsoftonline.com", "https://127.0.0.1:10198", "https://127.0.0.1:10198/login"} {
		secret := l.Credentials.Tenants[0].Registration.Secrets[0].Value
		for _, value := range []string{secret, "wrong"} {
			credential, err := azidentity.NewClientSecretCredential(l.Connection.EntraTenantID, l.clientID(), value,
				&azidentity.ClientSecretCredentialOptions{ClientOptions: l.identityOptions(host), DisableInstanceDiscovery: true})
			if err != nil {
				t.Fatal(err)
			}
			err = l.usable(credential)
			if value == secret && err != nil {
				t.Errorf("%s: %v", host, err)
			}
			if value == "wrong" && (err == nil || !strings.Contains(err.Error(), "AADSTS7000215")) {
				t.Errorf("%s, wrong secret: %v", host, err)
			}
		}
	}
}

func TestAzureIdentityCertificate(t *testing.T) {
	l := newHarness(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(serial int64) *x509.Certificate {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "exporter"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	registered, another := certificate(1), certificate(2)
	set := func(expires time.Time) {
		l.changeRegistration(func(r *clouds.AppRegistration) {
			r.Certificates = []clouds.AppCertificate{{KeyID: "k", DER: registered.Raw, Starts: registered.NotBefore, Expires: expires}}
		})
	}
	try := func(certificate *x509.Certificate, key crypto.PrivateKey) error {
		credential, err := azidentity.NewClientCertificateCredential(l.Connection.EntraTenantID, l.clientID(), []*x509.Certificate{certificate}, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: l.identityOptions("https://127.0.0.1:10198"), DisableInstanceDiscovery: true})
		if err != nil {
			t.Fatal(err)
		}
		return l.usable(credential)
	}
	set(registered.NotAfter)
	if err := try(registered, key); err != nil {
		t.Errorf("the registered certificate: %v", err)
	}
	if err := try(another, key); err == nil || !strings.Contains(err.Error(), "AADSTS700027: The certificate with identifier used to sign the client assertion is not registered") {
		t.Errorf("another certificate: %v", err)
	}
	set(time.Now().Add(-time.Minute))
	if err := try(registered, key); err == nil || !strings.Contains(err.Error(), "is expired on application") {
		t.Errorf("an expired certificate: %v", err)
	}
}

// TestAzureIdentityFederation signs in by an AWS role, without any stored secret: STS
// makes a web identity token, Entra accepts it as a client assertion.
func TestAzureIdentityFederation(t *testing.T) {
	l := newHarness(t)
	client := sts.NewFromConfig(l.awsConfig("eu-central-1"))
	assertion := func(ctx context.Context) (string, error) {
		output, err := client.GetWebIdentityToken(ctx, &sts.GetWebIdentityTokenInput{
			Audience: []string{"api://AzureADTokenExchange"}, SigningAlgorithm: aws.String("RS256"),
		})
		if err != nil {
			return "", err
		}
		if left := time.Until(*output.Expiration); left < 4*time.Minute || left > 5*time.Minute {
			t.Errorf("the token lives for %v", left)
		}
		return *output.WebIdentityToken, nil
	}
	try := func() error {
		credential, err := azidentity.NewClientAssertionCredential(l.Connection.EntraTenantID, l.clientID(), assertion,
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: l.identityOptions("https://127.0.0.1:10198"), DisableInstanceDiscovery: true})
		if err != nil {
			t.Fatal(err)
		}
		return l.usable(credential)
	}
	trusted := clouds.FederatedCredential{
		Issuer: simulator.WebIdentityIssuer(l.Connection.Account), Subject: l.Credentials.Accounts[0].Keys.ARN, Audience: "api://AzureADTokenExchange",
	}
	for _, test := range []struct {
		change func(*clouds.FederatedCredential)
		want   string
	}{
		{func(*clouds.FederatedCredential) {}, ""},
		{func(f *clouds.FederatedCredential) { f.Issuer = "https://other.example" }, "AADSTS700211"},
		{func(f *clouds.FederatedCredential) { f.Subject = "somebody" }, "AADSTS700213"},
		{func(f *clouds.FederatedCredential) { f.Audience = "something" }, "AADSTS700212"},
	} {
		credential := trusted
		test.change(&credential)
		l.changeRegistration(func(r *clouds.AppRegistration) { r.Federated = []clouds.FederatedCredential{credential} })
		err := try()
		if (test.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v", credential, err)
		}
	}
	l.With(func(w *clouds.Model) { w.Deny(clouds.ActorExporter, clouds.GetWebIdentityTokenAction, clouds.DenySCP) })
	if err := try(); err == nil || !strings.Contains(err.Error(), "sts:GetWebIdentityToken with an explicit deny in a service control policy") {
		t.Errorf("denied: %v", err)
	}
}

func TestAzureIdentityWorkload(t *testing.T) {
	l := newHarness(t)
	l.changeRegistration(func(r *clouds.AppRegistration) {
		r.Federated = []clouds.FederatedCredential{{Issuer: "https://cluster.example", Subject: "system:serviceaccount:monitoring:exporter"}}
	})
	token, err := l.WebIdentityToken("https://cluster.example", "system:serviceaccount:monitoring:exporter", "api://AzureADTokenExchange", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: l.identityOptions("https://127.0.0.1:10198"), DisableInstanceDiscovery: true,
		ClientID: l.clientID(), TenantID: l.Connection.EntraTenantID, TokenFilePath: file,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.usable(credential); err != nil {
		t.Error(err)
	}
}

// awsConfig has the exporter's keys, and AWS's own endpoints, which lead here.
func (l *harness) awsConfig(region string) aws.Config {
	keys := l.Credentials.Accounts[0].Keys
	return aws.Config{
		Region: region, HTTPClient: l.client,
		Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken),
	}
}

func TestAWSClients(t *testing.T) {
	l := newHarness(t)
	for _, skew := range []time.Duration{0, 5 * time.Minute, 48 * time.Hour, -48 * time.Hour} {
		l.With(func(w *clouds.Model) { w.SetSkew(clouds.Skew{AWS: skew}) })
		instances, err := ssoadmin.NewFromConfig(l.awsConfig("eu-central-1")).ListInstances(t.Context(), &ssoadmin.ListInstancesInput{})
		if err != nil {
			t.Fatalf("clock off by %v: %v", skew, err)
		}
		if got := aws.ToString(instances.Instances[0].IdentityStoreId); got != l.Connection.IdentityStoreID {
			t.Errorf("identity store %s", got)
		}
	}
	l.With(func(w *clouds.Model) { w.SetSkew(clouds.Skew{}) })

	elsewhere := ssoadmin.NewFromConfig(l.awsConfig("us-east-1"))
	here, err := elsewhere.ListInstances(t.Context(), &ssoadmin.ListInstancesInput{})
	if err != nil || len(here.Instances) != 0 {
		t.Errorf("in another region: %v, %v", here, err)
	}
	everywhere, err := elsewhere.ListInstances(t.Context(), &ssoadmin.ListInstancesInput{RegionScope: ssoadmintypes.RegionScopeAllRegions})
	if err != nil || len(everywhere.Instances) != 1 || aws.ToString(everywhere.Instances[0].PrimaryRegion) != "eu-central-1" {
		t.Errorf("in all regions: %v, %v", everywhere, err)
	}
	wrong := l.awsConfig("eu-central-1")
	wrong.Credentials = credentials.NewStaticCredentialsProvider(l.Credentials.Accounts[0].Keys.AccessKeyID, "wrong", "")
	if _, err := ssoadmin.NewFromConfig(wrong).ListInstances(t.Context(), &ssoadmin.ListInstancesInput{}); err == nil || !strings.Contains(err.Error(), "InvalidSignatureException") {
		t.Errorf("a wrong secret key: %v", err)
	}
	l.With(func(w *clouds.Model) { w.Deny(clouds.ActorExporter, clouds.ListInstancesAction, clouds.DenyMissing) })
	if _, err := elsewhere.ListInstances(t.Context(), &ssoadmin.ListInstancesInput{}); err == nil || !strings.Contains(err.Error(), "AccessDeniedException") {
		t.Errorf("without permission: %v", err)
	}
}

func TestAWSRoles(t *testing.T) {
	l := newHarness(t)
	const arn = "arn:aws:iam::111122223333:role/reader"
	l.With(func(w *clouds.Model) {
		w.AddRole(clouds.Role{ARN: arn, Account: l.Connection.Account, ExternalID: "xyz", Actor: "reader"})
	})
	client := sts.NewFromConfig(l.awsConfig("eu-central-1"))
	assume := func(external string) aws.Config {
		config := l.awsConfig("eu-central-1")
		config.Credentials = stscreds.NewAssumeRoleProvider(client, arn, func(o *stscreds.AssumeRoleOptions) {
			o.ExternalID, o.RoleSessionName = aws.String(external), "session"
		})
		return config
	}
	identity, err := sts.NewFromConfig(assume("xyz")).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || aws.ToString(identity.Arn) != "arn:aws:sts::111122223333:assumed-role/reader/session" {
		t.Errorf("%v, %v", identity, err)
	}
	if _, err := sts.NewFromConfig(assume("guess")).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("a wrong external id: %v", err)
	}
	wrong := l.awsConfig("eu-central-1")
	wrong.Credentials = credentials.NewStaticCredentialsProvider("AKIANOBODY", "wrong", "")
	if _, err := sts.NewFromConfig(wrong).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err == nil || !strings.Contains(err.Error(), "InvalidClientTokenId") {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestCloudTrail(t *testing.T) {
	l := newHarness(t)
	l.With(func(w *clouds.Model) {
		for _, quirk := range []string{"cloudtrail_delay"} {
			if err := w.SetQuirk(quirk, "0s"); err != nil {
				t.Fatal(err)
			}
		}
	})
	for range 60 {
		if answer := l.scim("/ServiceProviderConfig"); answer.status != http.StatusOK {
			t.Fatalf("%d %s", answer.status, answer.body)
		}
	}
	client := cloudtrail.NewFromConfig(l.awsConfig("eu-central-1"))
	paginator := cloudtrail.NewLookupEventsPaginator(client, &cloudtrail.LookupEventsInput{
		StartTime:        aws.Time(time.Now().Add(-time.Hour)),
		LookupAttributes: []cloudtrailtypes.LookupAttribute{{AttributeKey: cloudtrailtypes.LookupAttributeKeyEventSource, AttributeValue: aws.String(clouds.SCIMEventSource)}},
	})
	seen := map[string]bool{}
	pages := 0
	for paginator.HasMorePages() {
		page, err := paginator.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range page.Events {
			seen[aws.ToString(event.EventId)] = true
			for _, part := range []string{`"tenantId":"` + l.Connection.ProvisioningTenantID + `"`, `"type":"WebIdentityUser"`, `"accessKeyId":"ASIA`} {
				if !strings.Contains(aws.ToString(event.CloudTrailEvent), part) {
					t.Fatalf("no %s in %s", part, aws.ToString(event.CloudTrailEvent))
				}
			}
		}
		pages++
	}
	if len(seen) != 60 || pages != 2 {
		t.Errorf("%d events on %d pages", len(seen), pages)
	}
	// Two calls a second: the third is throttled, and the SDK retries it.
	client = cloudtrail.NewFromConfig(l.awsConfig("eu-central-1"), func(o *cloudtrail.Options) { o.RetryMaxAttempts = 1 })
	throttled := false
	for range 3 {
		_, err := client.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{})
		throttled = throttled || (err != nil && strings.Contains(err.Error(), "ThrottlingException"))
	}
	if !throttled {
		t.Error("three calls at once were answered")
	}
}

// Secrets Manager as the SDK calls it, with every name in the answers known to the SDK.
func TestSecretsManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		if err := l.SetQuirk("secret_lag", "2s"); err != nil {
			t.Fatal(err)
		}
		config := l.awsConfig("eu-central-1")
		config.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
		client, ctx := secretsmanager.NewFromConfig(config), t.Context()
		token, other := strings.Repeat("a", 32), strings.Repeat("b", 32)
		create := func(name, token, value string) (*secretsmanager.CreateSecretOutput, error) {
			return client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, ClientRequestToken: &token, SecretString: &value})
		}
		expect := func(what string, err error, code string) {
			t.Helper()
			var refusal smithy.APIError
			if got := errors.As(err, &refusal); code == "" && err != nil || code != "" && (!got || refusal.ErrorCode() != code) {
				t.Errorf("%s: %v, want %q", what, err, code)
			}
		}
		created, err := create("exporter/1", token, "value")
		if err != nil {
			t.Fatal(err)
		}
		if pattern := regexp.MustCompile(`^arn:aws:secretsmanager:eu-central-1:[0-9]{12}:secret:exporter/1-.{6}$`); !pattern.MatchString(*created.ARN) || *created.VersionId != token {
			t.Errorf("created %s %s", *created.ARN, *created.VersionId)
		}
		read := func(id, version string) (string, error) {
			found, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id, VersionId: &version})
			if err != nil {
				return "", err
			}
			return *found.SecretString + " " + *found.Name + " " + found.CreatedDate.UTC().Format(time.DateOnly), nil
		}
		_, err = read("exporter/1", token)
		expect("reading at once", err, "ResourceNotFoundException")
		again, err := create("exporter/1", token, "value")
		if expect("creating again", err, ""); err == nil && *again.ARN != *created.ARN {
			t.Errorf("created another: %s", *again.ARN)
		}
		_, err = create("exporter/1", token, "other value")
		expect("another value", err, "ResourceExistsException")
		_, err = create("exporter/1", other, "value")
		expect("another token", err, "ResourceExistsException")
		_, err = create("a b", token, "value")
		expect("an invalid name", err, "ValidationException")
		time.Sleep(2 * time.Second)
		for _, id := range []string{"exporter/1", *created.ARN} {
			if value, err := read(id, token); err != nil || value != "value exporter/1 "+time.Now().UTC().Format(time.DateOnly) {
				t.Errorf("%s: %q %v", id, value, err)
			}
		}
		_, err = read("exporter/1", other)
		expect("another version", err, "ResourceNotFoundException")

		remove := func(id string, days int64) error {
			in := &secretsmanager.DeleteSecretInput{SecretId: &id, RecoveryWindowInDays: &days}
			if days == 0 {
				in = &secretsmanager.DeleteSecretInput{SecretId: &id, ForceDeleteWithoutRecovery: aws.Bool(true)}
			}
			_, err := client.DeleteSecret(ctx, in)
			return err
		}
		expect("a short window", remove("exporter/1", 3), "InvalidParameterException")
		expect("deleting", remove(*created.ARN, 7), "")
		_, err = read("exporter/1", token)
		expect("reading a deleted secret", err, "InvalidRequestException")
		_, err = create("exporter/1", token, "value")
		expect("creating in the recovery window", err, "InvalidRequestException")
		expect("deleting again", remove("exporter/1", 7), "InvalidRequestException")
		expect("deleting what is missing", remove("exporter/2", 7), "ResourceNotFoundException")
		expect("deleting what is missing for good", remove("exporter/2", 0), "")
		time.Sleep(7 * 24 * time.Hour)
		_, err = create("exporter/1", other, "value")
		expect("creating after the recovery window", err, "")
		expect("deleting for good", remove("exporter/1", 0), "")
		_, err = create("exporter/1", token, "value")
		expect("creating after a deletion for good", err, "")

		l.With(func(w *clouds.Model) { w.Deny(clouds.ActorExporter, clouds.CreateSecretAction, clouds.DenyMissing) })
		_, err = create("exporter/3", token, "value")
		expect("denied", err, "AccessDeniedException")
	})
}

// Every name in the requests and answers is one of the SDK's model.
func TestSecretsManagerShapes(t *testing.T) {
	l := newHarness(t)
	config := l.awsConfig("eu-central-1")
	recorded := map[string][2][]byte{}
	config.HTTPClient = sdkClient(func(r *http.Request) (*http.Response, error) {
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
		response, err := l.client.Do(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(response.Body)
		response.Body = io.NopCloser(bytes.NewReader(body))
		recorded[r.Header.Get("X-Amz-Target")] = [2][]byte{sent, body}
		return response, err
	})
	client, ctx := secretsmanager.NewFromConfig(config), t.Context()
	name, token, value, days := "exporter/1", strings.Repeat("a", 32), "value", int64(7)
	_, created := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, ClientRequestToken: &token, SecretString: &value, KmsKeyId: aws.String("alias/key"), Description: &value})
	_, read := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name, VersionId: &token})
	_, removed := client.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &name, RecoveryWindowInDays: &days})
	if err := errors.Join(created, read, removed); err != nil {
		t.Fatal(err)
	}
	for target, shapes := range map[string][2]reflect.Type{
		"secretsmanager.CreateSecret":   {reflect.TypeFor[secretsmanager.CreateSecretInput](), reflect.TypeFor[secretsmanager.CreateSecretOutput]()},
		"secretsmanager.GetSecretValue": {reflect.TypeFor[secretsmanager.GetSecretValueInput](), reflect.TypeFor[secretsmanager.GetSecretValueOutput]()},
		"secretsmanager.DeleteSecret":   {reflect.TypeFor[secretsmanager.DeleteSecretInput](), reflect.TypeFor[secretsmanager.DeleteSecretOutput]()},
	} {
		for i, shape := range shapes {
			var members map[string]any
			if err := json.Unmarshal(recorded[target][i], &members); err != nil || len(members) < 2 {
				t.Errorf("%s: %s %v", target, recorded[target][i], err)
			}
			for member := range members {
				if _, known := shape.FieldByName(member); !known {
					t.Errorf("%s: the SDK's %s has no %s", target, shape.Name(), member)
				}
			}
		}
	}
}

type sdkClient func(*http.Request) (*http.Response, error)

func (f sdkClient) Do(r *http.Request) (*http.Response, error) { return f(r) }

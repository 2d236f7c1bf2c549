// Package awsstate connects the state that replicas share (package shared) with DynamoDB
// and Secrets Manager. Read awsstate.go first, then table.go and secrets.go.
package awsstate

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state/shared"
)

// Options say where the state is. Table, SecretPrefix and the region are required.
type Options struct {
	Table          string
	SecretPrefix   string
	KMSKeyID       string        // that encrypts the secrets; "": aws/secretsmanager
	RecoveryWindow time.Duration // whole days; 0: a deleted secret cannot be restored

	DynamoDBEndpoint       string // "": the region's
	SecretsManagerEndpoint string // "": the region's

	SignIn identitycenter.SignInOptions // Name is set here
}

// callTimeout bounds a call, with the sign-in and the retries of a read.
const callTimeout = 10 * time.Second

const permissionsPage = "see deploy/permissions/aws.md"

// Open makes no call.
func Open(options Options) *shared.Store {
	place := "table " + options.Table + " in " + options.SignIn.Region
	options.SignIn.Name = "state"
	c := &connection{Options: options, place: place, signIn: identitycenter.NewSignIn(options.SignIn)}
	return shared.New(table{c}, secrets{c}, shared.Options{Place: place, SecretPrefix: options.SecretPrefix})
}

// connection is what table and secrets share: the sign-in and the calls that it allows.
type connection struct {
	Options
	place  string
	signIn *identitycenter.SignIn

	mu          sync.Mutex
	credentials aws.CredentialsProvider // that calls sign with
	calls       *calls
}

// calls are functions, not the SDK's clients: a type that refers to a client brings every
// operation of its service into the binary.
type calls struct {
	describeTable  func(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	getItem        func(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	updateItem     func(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	createSecret   func(context.Context, *secretsmanager.CreateSecretInput, ...func(*secretsmanager.Options)) (*secretsmanager.CreateSecretOutput, error)
	getSecretValue func(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
	deleteSecret   func(context.Context, *secretsmanager.DeleteSecretInput, ...func(*secretsmanager.Options)) (*secretsmanager.DeleteSecretOutput, error)
}

// call makes one call. Its error is a *model.Error; explain adds what it means for a state.
func call[Out any](ctx context.Context, c *connection, op, action string, explain func(*model.Error),
	do func(context.Context, *calls) (Out, error),
) (out Out, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	open, err := c.open(ctx)
	if err == nil {
		out, err = do(ctx, open)
	}
	if err == nil {
		return out, nil
	}
	failure := c.signIn.Classify(op, action, err)
	if failure.Reason == model.ReasonAuth {
		failure.Advice = "check state.aws.profile, state.aws.role_arn or the environment, and this host's clock, " + permissionsPage
	}
	explain(failure)
	return out, failure
}

// open returns the calls that the sign-in allows.
func (c *connection) open(ctx context.Context) (*calls, error) {
	loaded, err := c.signIn.Config(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls != nil && c.credentials == loaded.Credentials {
		return c.calls, nil
	}
	forTable := func(o *dynamodb.Options) {
		o.HTTPClient = c.signIn.HTTPClient("dynamodb")
		o.BaseEndpoint = endpoint(c.DynamoDBEndpoint)
		// The region's endpoint, which network rules and VPC endpoints know.
		o.AccountIDEndpointMode = aws.AccountIDEndpointModeDisabled
	}
	forSecrets := func(o *secretsmanager.Options) {
		o.HTTPClient = c.signIn.HTTPClient("secrets_manager")
		o.BaseEndpoint = endpoint(c.SecretsManagerEndpoint)
	}
	c.credentials = loaded.Credentials
	c.calls = &calls{
		describeTable:  dynamodb.NewFromConfig(loaded, forTable).DescribeTable,
		getItem:        dynamodb.NewFromConfig(loaded, forTable).GetItem,
		updateItem:     dynamodb.NewFromConfig(loaded, forTable, func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }).UpdateItem,
		createSecret:   secretsmanager.NewFromConfig(loaded, forSecrets, func(o *secretsmanager.Options) { o.Retryer = aws.NopRetryer{} }).CreateSecret,
		getSecretValue: secretsmanager.NewFromConfig(loaded, forSecrets).GetSecretValue,
		deleteSecret:   secretsmanager.NewFromConfig(loaded, forSecrets, func(o *secretsmanager.Options) { o.Retryer = aws.NopRetryer{} }).DeleteSecret,
	}
	return c.calls, nil
}

func endpoint(url string) *string {
	if url == "" {
		return nil
	}
	return &url
}

package awsstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"entra-aws-exporter/internal/model"
)

// secrets are the secrets of Secrets Manager under a prefix. It implements shared.Secrets.
type secrets struct{ *connection }

// Create implements shared.Secrets. The version is the idempotency token.
func (s secrets) Create(ctx context.Context, name, version string, value model.Secret) (string, error) {
	in := &secretsmanager.CreateSecretInput{
		Name: &name, ClientRequestToken: &version, SecretString: aws.String(value.Reveal()),
		Description: aws.String("SCIM access token, kept by entra-aws-exporter"),
	}
	if s.KMSKeyID != "" {
		in.KmsKeyId = &s.KMSKeyID
	}
	out, err := call(ctx, s.connection, "creating secret "+name, "secretsmanager:CreateSecret", s.explain,
		func(ctx context.Context, c *calls) (*secretsmanager.CreateSecretOutput, error) {
			return c.createSecret(ctx, in)
		})
	var exists *types.ResourceExistsException
	switch {
	case errors.As(err, &exists):
		return "", fmt.Errorf("secret %s: %w", name, model.ErrExists)
	case err != nil:
		return "", err
	default:
		return aws.ToString(out.ARN), nil
	}
}

// Value implements shared.Secrets.
func (s secrets) Value(ctx context.Context, secret, version string) (model.Secret, error) {
	out, err := call(ctx, s.connection, "reading secret "+secret, "secretsmanager:GetSecretValue", s.explain,
		func(ctx context.Context, c *calls) (*secretsmanager.GetSecretValueOutput, error) {
			return c.getSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret, VersionId: &version})
		})
	switch {
	case isMissing(err):
		return model.Secret{}, nil
	case isDeleted(err):
		return model.Secret{}, fmt.Errorf("%w: secret %s is scheduled for deletion; restore it with aws secretsmanager restore-secret", model.ErrUnreadable, secret)
	case err != nil:
		return model.Secret{}, err
	default:
		return model.NewSecret(aws.ToString(out.SecretString)), nil
	}
}

// Delete implements shared.Secrets.
func (s secrets) Delete(ctx context.Context, secret string) (found bool, err error) {
	in := &secretsmanager.DeleteSecretInput{SecretId: &secret}
	if days := int64(s.RecoveryWindow / (24 * time.Hour)); days > 0 {
		in.RecoveryWindowInDays = &days
	} else {
		in.ForceDeleteWithoutRecovery = aws.Bool(true)
	}
	_, err = call(ctx, s.connection, "deleting secret "+secret, "secretsmanager:DeleteSecret", s.explain,
		func(ctx context.Context, c *calls) (*secretsmanager.DeleteSecretOutput, error) {
			return c.deleteSecret(ctx, in)
		})
	switch {
	case isMissing(err):
		return false, nil
	case isDeleted(err):
		return true, nil
	default:
		return err == nil, err
	}
}

func isMissing(err error) bool {
	var missing *types.ResourceNotFoundException
	return errors.As(err, &missing)
}

// isDeleted recognises a secret in its recovery window. The code is that of other faults, too.
func isDeleted(err error) bool {
	var refused *types.InvalidRequestException
	return errors.As(err, &refused) && strings.Contains(strings.ToLower(aws.ToString(refused.Message)), "delet")
}

// explain says what an error of Secrets Manager means here, and what to do.
func (s secrets) explain(failure *model.Error) {
	key := s.KMSKeyID
	if key == "" {
		key = "aws/secretsmanager"
	}
	var encryption *types.EncryptionFailure
	var decryption *types.DecryptionFailure
	switch {
	case errors.As(failure.Err, &encryption), errors.As(failure.Err, &decryption):
		failure.Reason = model.ReasonPermission
		fallthrough
	case mentionsKMS(failure):
		failure.Advice = "allow kms:GenerateDataKey and kms:Decrypt on the KMS key " + key + ", and check its state, " + permissionsPage
	}
}

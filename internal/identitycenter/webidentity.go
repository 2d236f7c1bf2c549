package identitycenter

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// WebIdentityOptions says which AWS identity vouches for the exporter. Region and
// Name are required.
type WebIdentityOptions struct {
	Name    string // of the Entra tenant in the config, for errors
	Region  string // its STS; the global endpoint does not offer this call
	Profile string // of the shared AWS config files; "": the SDK's credential chain
	RoleARN string // assumed first; "": none

	// Cloud is what this identity shares with connections; nil: nothing, with these options.
	Cloud *Cloud
	cloudhttp.Options
}

// WebIdentity lets AWS vouch for the exporter towards Entra, so that no Entra secret
// needs to be stored.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html
type WebIdentity struct {
	name    string
	session *session
}

// NewWebIdentity checks the options; it makes no call and reads no file.
func NewWebIdentity(options WebIdentityOptions) (*WebIdentity, error) {
	if !regionPattern.MatchString(options.Region) {
		return nil, fmt.Errorf("tenant %s: aws_web_identity.region: %q is not an AWS region, write for example eu-central-1",
			options.Name, options.Region)
	}
	cloud := options.Cloud
	if cloud == nil {
		cloud = NewCloud(options.Options)
	}
	key := signInKey{chainKey: chainKey{options.Region, options.Profile}, roleARN: options.RoleARN}
	return &WebIdentity{name: options.Name, session: cloud.session("tenant "+options.Name, key)}, nil
}

// WebIdentityToken returns a signed token, valid for five minutes, for this audience;
// model.Cloud.TokenExchange is Entra's.
func (w *WebIdentity) WebIdentityToken(ctx context.Context, audience string) (model.Secret, error) {
	call := apiCall{op: "asking AWS for a web identity for tenant " + w.name, action: "sts:GetWebIdentityToken"}
	clients, err := w.session.open(ctx)
	if err != nil {
		return model.Secret{}, call.classify(err)
	}
	response, err := clients.getWebIdentityToken(ctx, &sts.GetWebIdentityTokenInput{
		Audience:         []string{audience},
		SigningAlgorithm: aws.String("RS256"), // the one that Entra accepts
		DurationSeconds:  aws.Int32(300),
	})
	if err != nil {
		err = call.classify(err)
		if model.ReasonOf(err) == model.ReasonAuth {
			w.session.invalidate()
		}
		return model.Secret{}, err
	}
	token := model.NewSecret(aws.ToString(response.WebIdentityToken))
	if token.IsZero() {
		return model.Secret{}, call.classify(&model.Error{Reason: model.ReasonInvalidResponse, Detail: "the response has no token"})
	}
	return token, nil
}

package entra

import (
	"context"

	kiota "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoft/kiota-abstractions-go/serialization"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/serviceprincipals"
)

// applicationModel is what is read of an application's service principal. The SDK's model of
// it leads to every kind of object in Graph, each with its parser: twenty megabytes of
// program for seven fields.
type applicationModel struct {
	id, displayName, appID string
	activeThumbprint       string
	names                  []string // servicePrincipalNames
	notified               []string // mail addresses: they never leave this package
	keys                   []models.KeyCredentialable
}

// applicationModels is a page of service principals; nil means that the answer had no list.
type applicationModels struct{ value []serialization.Parsable }

// Serialize implements serialization.Parsable; nothing is ever sent.
func (*applicationModel) Serialize(serialization.SerializationWriter) error { return nil }

// GetFieldDeserializers implements serialization.Parsable.
func (p *applicationModel) GetFieldDeserializers() map[string]func(serialization.ParseNode) error {
	return map[string]func(serialization.ParseNode) error{
		"id":                                 into(&p.id),
		"displayName":                        into(&p.displayName),
		"appId":                              into(&p.appID),
		"preferredTokenSigningKeyThumbprint": into(&p.activeThumbprint),
		"servicePrincipalNames":              intoAll(&p.names),
		"notificationEmailAddresses":         intoAll(&p.notified),
		"keyCredentials": func(node serialization.ParseNode) error {
			keys, err := node.GetCollectionOfObjectValues(models.CreateKeyCredentialFromDiscriminatorValue)
			if keys != nil {
				p.keys = []models.KeyCredentialable{}
			}
			for _, key := range keys {
				if key, is := key.(models.KeyCredentialable); is {
					p.keys = append(p.keys, key)
				}
			}
			return err
		},
	}
}

// Serialize implements serialization.Parsable; nothing is ever sent.
func (*applicationModels) Serialize(serialization.SerializationWriter) error { return nil }

// GetFieldDeserializers implements serialization.Parsable.
func (l *applicationModels) GetFieldDeserializers() map[string]func(serialization.ParseNode) error {
	return map[string]func(serialization.ParseNode) error{
		"value": func(node serialization.ParseNode) (err error) {
			l.value, err = node.GetCollectionOfObjectValues(newApplicationModel)
			return err
		},
	}
}

func newApplicationModel(serialization.ParseNode) (serialization.Parsable, error) {
	return &applicationModel{}, nil
}

func newApplicationModels(serialization.ParseNode) (serialization.Parsable, error) {
	return &applicationModels{}, nil
}

func into(field *string) func(serialization.ParseNode) error {
	return func(node serialization.ParseNode) error {
		value, err := node.GetStringValue()
		*field = text(value)
		return err
	}
}

func intoAll(field *[]string) func(serialization.ParseNode) error {
	return func(node serialization.ParseNode) error {
		values, err := node.GetCollectionOfPrimitiveValues("string")
		for _, value := range values {
			if value, is := value.(*string); is {
				*field = append(*field, text(value))
			}
		}
		return err
	}
}

// applicationsWhere lists the service principals that a filter selects.
func (t *Tenant) applicationsWhere(ctx context.Context, filter string) (*applicationModels, error) {
	request, err := t.servicePrincipals().ToGetRequestInformation(ctx, &serviceprincipals.ServicePrincipalsRequestBuilderGetRequestConfiguration{
		QueryParameters: &serviceprincipals.ServicePrincipalsRequestBuilderGetQueryParameters{
			Filter: &filter, Select: []string{"id", "displayName"},
		},
	})
	if err != nil {
		return nil, err
	}
	return receive[*applicationModels](ctx, t, request, newApplicationModels)
}

// applicationWith reads some properties of one service principal.
func (t *Tenant) applicationWith(ctx context.Context, id string, properties ...string) (*applicationModel, error) {
	request, err := t.servicePrincipals().ByServicePrincipalId(id).ToGetRequestInformation(ctx, &serviceprincipals.ServicePrincipalItemRequestBuilderGetRequestConfiguration{
		QueryParameters: &serviceprincipals.ServicePrincipalItemRequestBuilderGetQueryParameters{Select: properties},
	})
	if err != nil {
		return nil, err
	}
	return receive[*applicationModel](ctx, t, request, newApplicationModel)
}

// receive sends a request of the SDK's and reads the answer into a model of ours.
func receive[T serialization.Parsable](ctx context.Context, t *Tenant, request *kiota.RequestInformation, model serialization.ParsableFactory) (T, error) {
	var none T
	answer, err := t.adapter.Send(ctx, request, model, nil)
	if err != nil {
		return none, err
	}
	result, is := answer.(T)
	if !is {
		return none, errNothing
	}
	return result, nil
}

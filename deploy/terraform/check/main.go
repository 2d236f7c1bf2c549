// Command terraform-provider stands in for the providers of the modules: it has the schemas of
// the real ones, which a file contains, and plans every resource as one to create. The name of
// its file says which provider it is.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

type block struct {
	Attributes map[string]struct {
		Type               string
		Required, Computed bool
	}
	Blocks map[string]struct {
		Block          block
		Many, Required bool
	}
}

var types = map[string]tftypes.Type{
	"string": tftypes.String, "bool": tftypes.Bool, "number": tftypes.Number, "dynamic": tftypes.DynamicPseudoType,
	"list": tftypes.List{ElementType: tftypes.String}, "map": tftypes.Map{ElementType: tftypes.String},
}

func (b block) schema() *tfprotov6.SchemaBlock {
	s := &tfprotov6.SchemaBlock{}
	for name, a := range b.Attributes {
		s.Attributes = append(s.Attributes, &tfprotov6.SchemaAttribute{
			Name: name, Type: types[a.Type], Required: a.Required, Optional: !a.Required, Computed: a.Computed,
		})
	}
	for name, n := range b.Blocks {
		inner := &tfprotov6.SchemaNestedBlock{TypeName: name, Block: n.Block.schema(), Nesting: tfprotov6.SchemaNestedBlockNestingModeList}
		if !n.Many {
			inner.MaxItems = 1
		}
		if n.Required {
			inner.MinItems = 1
		}
		s.BlockTypes = append(s.BlockTypes, inner)
	}
	return s
}

// complete sets what the configuration leaves to the provider: known gives its value.
func (b block) complete(config *tfprotov6.DynamicValue, known func(name string, of tftypes.Type) tftypes.Value) (*tfprotov6.DynamicValue, error) {
	object := b.schema().ValueType()
	value, err := config.Unmarshal(object)
	if err != nil || value.IsNull() {
		return config, err
	}
	var attributes map[string]tftypes.Value
	if err := value.As(&attributes); err != nil {
		return nil, err
	}
	for name, a := range b.Attributes {
		if a.Computed && attributes[name].IsNull() {
			attributes[name] = known(name, types[a.Type])
		}
	}
	completed, err := tfprotov6.NewDynamicValue(object, tftypes.NewValue(object, attributes))
	return &completed, err
}

// provider answers what validate and plan ask. Any other request is a nil dereference.
type provider struct {
	tfprotov6.ProviderServer `json:"-"`

	Resources, Data map[string]block
}

func schemas(blocks map[string]block) map[string]*tfprotov6.Schema {
	all := map[string]*tfprotov6.Schema{}
	for name, b := range blocks {
		all[name] = &tfprotov6.Schema{Block: b.schema()}
	}
	return all
}

func (p provider) GetProviderSchema(context.Context, *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return &tfprotov6.GetProviderSchemaResponse{
		Provider:        &tfprotov6.Schema{Block: &tfprotov6.SchemaBlock{}},
		ResourceSchemas: schemas(p.Resources), DataSourceSchemas: schemas(p.Data),
	}, nil
}

func (provider) ValidateProviderConfig(_ context.Context, r *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (provider) ConfigureProvider(context.Context, *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return &tfprotov6.ConfigureProviderResponse{}, nil
}

func (provider) StopProvider(context.Context, *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return &tfprotov6.StopProviderResponse{}, nil
}

func (provider) ValidateResourceConfig(context.Context, *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return &tfprotov6.ValidateResourceConfigResponse{}, nil
}

func (provider) ValidateDataResourceConfig(context.Context, *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return &tfprotov6.ValidateDataResourceConfigResponse{}, nil
}

func (p provider) PlanResourceChange(_ context.Context, r *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	state, err := p.Resources[r.TypeName].complete(r.ProposedNewState, func(_ string, of tftypes.Type) tftypes.Value {
		return tftypes.NewValue(of, tftypes.UnknownValue)
	})
	return &tfprotov6.PlanResourceChangeResponse{PlannedState: state}, err
}

// ReadDataSource reads the service principal of Microsoft Graph, and gives what the modules
// read of other applications its name.
func (p provider) ReadDataSource(_ context.Context, r *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	state, err := p.Data[r.TypeName].complete(r.Config, func(name string, of tftypes.Type) tftypes.Value {
		switch {
		case of.Is(tftypes.String):
			return tftypes.NewValue(of, "Microsoft Graph")
		case name != "app_role_ids":
			return tftypes.NewValue(of, nil)
		}
		ids := map[string]tftypes.Value{}
		for _, role := range []string{"Application.Read.All", "Application.ReadWrite.OwnedBy", "AuditLog.Read.All", "ProvisioningLog.Read.All", "Synchronization.Read.All", "User.Read.All"} {
			ids[role] = tftypes.NewValue(tftypes.String, "id of "+role)
		}
		return tftypes.NewValue(of, ids)
	})
	return &tfprotov6.ReadDataSourceResponse{State: state}, err
}

func main() {
	content, err := os.ReadFile(os.Getenv("PROVIDER_SCHEMAS"))
	if err != nil {
		log.Fatal(err)
	}
	var providers map[string]provider
	if err := json.Unmarshal(content, &providers); err != nil {
		log.Fatal(err)
	}
	name := strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-")
	err = tf6server.Serve("registry.terraform.io/stub/"+name, func() tfprotov6.ProviderServer { return providers[name] })
	if err != nil {
		log.Fatal(err)
	}
}

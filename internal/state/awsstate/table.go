package awsstate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state/shared"
)

// table is a DynamoDB table. It implements shared.Table.
type table struct{ *connection }

// The attributes of an item.
const (
	attributeID       = "id" // the partition key
	attributeProgram  = "program"
	attributeSchema   = "schema"
	attributeRevision = "revision"
	attributeOrigin   = "origin"
	attributeChecksum = "checksum"
	attributeContent  = "content"
)

const rightKey = "its partition key must be " + attributeID + ", a string, and it must have no sort key"

// Describe implements shared.Table.
func (t table) Describe(ctx context.Context) (string, error) {
	op := "checking " + t.place
	out, err := call(ctx, t.connection, op, "dynamodb:DescribeTable", t.explain,
		func(ctx context.Context, c *calls) (*dynamodb.DescribeTableOutput, error) {
			return c.describeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.Table})
		})
	if err != nil {
		return "", err
	}
	if out.Table == nil {
		return "", &model.Error{Op: op, Reason: model.ReasonInvalidResponse, Detail: "the response has no table"}
	}
	return aws.ToString(out.Table.TableId), t.check(op, out.Table)
}

// check tells why a table cannot keep records; nil: it can.
func (t table) check(op string, found *types.TableDescription) error {
	refuse := func(detail, advice string) error {
		return &model.Error{Op: op, Reason: model.ReasonOther, Detail: detail, Advice: advice}
	}
	strong := found.MultiRegionConsistency == types.MultiRegionConsistencyStrong
	isString := false
	for _, attribute := range found.AttributeDefinitions {
		isString = isString || aws.ToString(attribute.AttributeName) == attributeID && attribute.AttributeType == types.ScalarAttributeTypeS
	}
	switch {
	case len(found.KeySchema) != 1 || aws.ToString(found.KeySchema[0].AttributeName) != attributeID || !isString:
		return refuse("the table has another key schema", rightKey+": create a table with it, and set state.aws.table")
	case len(found.Replicas) > 0 && !strong: // the last writer wins, so two replicas could both hold a lease
		return fmt.Errorf("%s: %w: it is a global table with eventual consistency, where writes in two regions overwrite each other; "+
			"use a table without replicas, or one with multi-Region strong consistency", t.place, model.ErrUnsafe)
	case found.TableStatus == types.TableStatusCreating:
		return &model.Error{Op: op, Reason: model.ReasonTimeout, Detail: "the table is being created"}
	case found.TableStatus != types.TableStatusActive && found.TableStatus != types.TableStatusUpdating:
		return refuse("the table's status is "+string(found.TableStatus), "create another table, or restore this one from a backup")
	case aws.ToString(found.TableId) == "":
		return &model.Error{Op: op, Reason: model.ReasonInvalidResponse, Detail: "the table has no id"}
	default:
		return nil
	}
}

// explain says what an error of DynamoDB means here, and what to do.
func (t table) explain(failure *model.Error) {
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(failure.Err, &missing):
		failure.Reason, failure.Detail = model.ReasonNotFound, "the table does not exist in this region of this account"
		failure.Advice = "create it, or correct state.aws.table, state.aws.region and the sign-in"
	case failure.Code == "ValidationException" && strings.Contains(failure.Detail, "does not match the schema"):
		failure.Detail, failure.Advice = "the table has another key schema", rightKey+": create a table with it, and set state.aws.table"
	case failure.Reason == model.ReasonThrottled:
		failure.Advice = "it is tried again; if this lasts, raise the table's capacity"
	case mentionsKMS(failure):
		failure.Advice = "allow kms:Decrypt on the key that encrypts the table, and check its state, " + permissionsPage
	}
}

func mentionsKMS(failure *model.Error) bool {
	return strings.Contains(failure.Detail, "KMS") || strings.Contains(failure.Detail, "kms:")
}

// Get implements shared.Table.
func (t table) Get(ctx context.Context, id string) (*shared.Item, error) {
	out, err := call(ctx, t.connection, "reading "+t.place, "dynamodb:GetItem", t.explain,
		func(ctx context.Context, c *calls) (*dynamodb.GetItemOutput, error) {
			return c.getItem(ctx, &dynamodb.GetItemInput{TableName: &t.Table, Key: t.key(id), ConsistentRead: aws.Bool(true)})
		})
	if err != nil || len(out.Item) == 0 {
		return nil, err
	}
	return decodeItem(id, out.Item), nil
}

func (t table) key(id string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attributeID: &types.AttributeValueMemberS{Value: id}}
}

// decodeItem leaves what it cannot read empty: whoever uses an item compares its checksum.
func decodeItem(id string, attributes map[string]types.AttributeValue) *shared.Item {
	text := func(name string) string {
		value, _ := attributes[name].(*types.AttributeValueMemberS)
		if value == nil {
			return ""
		}
		return value.Value
	}
	item := &shared.Item{
		ID: id, Program: text(attributeProgram), Revision: text(attributeRevision),
		Origin: text(attributeOrigin), Checksum: text(attributeChecksum),
	}
	if number, ok := attributes[attributeSchema].(*types.AttributeValueMemberN); ok {
		item.Schema, _ = strconv.Atoi(number.Value) // another number is another schema
	}
	if content, ok := attributes[attributeContent].(*types.AttributeValueMemberB); ok {
		item.Content = content.Value
	}
	return item
}

// Put implements shared.Table. It makes one attempt: sent again, a write whose answer was
// lost would fail its own condition.
func (t table) Put(ctx context.Context, item shared.Item, revision string) error {
	values := map[string]types.AttributeValue{
		attributeProgram:  &types.AttributeValueMemberS{Value: item.Program},
		attributeSchema:   &types.AttributeValueMemberN{Value: strconv.Itoa(item.Schema)},
		attributeRevision: &types.AttributeValueMemberS{Value: item.Revision},
		attributeChecksum: &types.AttributeValueMemberS{Value: item.Checksum},
		attributeContent:  &types.AttributeValueMemberB{Value: append([]byte{}, item.Content...)}, // not nil, which would be no value
	}
	if item.Origin != "" {
		values[attributeOrigin] = &types.AttributeValueMemberS{Value: item.Origin}
	}
	in := &dynamodb.UpdateItemInput{
		TableName: &t.Table, Key: t.key(item.ID),
		ExpressionAttributeNames: map[string]string{}, ExpressionAttributeValues: map[string]types.AttributeValue{},
	}
	var set []string
	for name, value := range values { // many names are words of the expression language
		in.ExpressionAttributeNames["#"+name], in.ExpressionAttributeValues[":"+name] = name, value
		set = append(set, "#"+name+" = :"+name)
	}
	in.UpdateExpression = aws.String("SET " + strings.Join(set, ", "))
	if revision == "" {
		in.ConditionExpression = aws.String("attribute_not_exists(#id)")
		in.ExpressionAttributeNames["#id"] = attributeID
	} else {
		in.ConditionExpression = aws.String("#revision = :before")
		in.ExpressionAttributeValues[":before"] = &types.AttributeValueMemberS{Value: revision}
	}
	_, err := call(ctx, t.connection, "writing "+t.place, "dynamodb:UpdateItem", t.explain,
		func(ctx context.Context, c *calls) (*dynamodb.UpdateItemOutput, error) {
			return c.updateItem(ctx, in)
		})
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return fmt.Errorf("%s, item %s: %w", t.place, item.ID, model.ErrConflict)
	}
	return err
}

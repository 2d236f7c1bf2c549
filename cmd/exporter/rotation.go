package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"entra-aws-exporter/internal/app"
)

func addRotation(cli *kingpin.Application, commands map[string]command) {
	rotation := cli.Command("rotation", "See and steer the rotation of the SCIM token.")

	var start app.StartOptions
	startCommand := rotation.Command("start", "Rotate the token now, or go on with an open rotation, with one line per step.")
	connectionArgument(startCommand, &start.Connection)
	startCommand.Flag("dry-run", "Read everything and print the plan; change nothing.").BoolVar(&start.DryRun)
	startCommand.Flag("force", "Start although it is not due or cooling down; no proof and no guard is skipped.").BoolVar(&start.Force)
	startCommand.Flag("token-stdin", "Read the value of a token that a person made from standard input; on a terminal it is not shown.").BoolVar(&start.TokenStdin)
	startCommand.Flag("token-id", "The id of that token.").PlaceHolder("ID").StringVar(&start.TokenID)
	startCommand.Flag("retire-token", "With two tokens: the id of the one that is no longer in use.").PlaceHolder("ID").StringVar(&start.RetireToken)
	paceFlag(startCommand, &start.Pace)
	commands[startCommand.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.RotationStart(ctx, common, start)
	}

	list := rotation.Command("list", "List the rotations of every connection.")
	commands[list.FullCommand()] = app.RotationList

	steer := func(name, help string, act app.RotationAct) {
		command := rotation.Command(name, help)
		var connection string
		connectionArgument(command, &connection)
		commands[command.FullCommand()] = func(ctx context.Context, common app.Options) error {
			return act(ctx, common, connection)
		}
	}
	steer("show", "Show the story of a connection's rotations, step by step.", app.RotationShow)
	steer("reset", "Leave blocked: forget the attempts, keep the budget and every value.", app.RotationReset)
	steer("abort", "End a running rotation where that is safe.", app.RotationAbort)
	steer("show-token", "Show the value of the token in use, on a terminal only.", app.RotationShowToken)

	var adopted, inUse string
	adopt := rotation.Command("adopt", "Take what the clouds hold now as the truth, after a person's change or a restored state directory.")
	connectionArgument(adopt, &adopted)
	adopt.Flag("in-use", "The id of the token that Entra holds, if you know.").PlaceHolder("ID").StringVar(&inUse)
	commands[adopt.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.RotationAdopt(ctx, common, adopted, inUse)
	}

	var held string
	var release bool
	hold := rotation.Command("hold", "Stop every act for a connection where it stands.")
	connectionArgument(hold, &held)
	hold.Flag("release", "Let it go on.").BoolVar(&release)
	commands[hold.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.RotationHold(ctx, common, held, release)
	}

	var connection, token string
	approve := rotation.Command("approve", "Allow the deletion of the old token.")
	connectionArgument(approve, &connection)
	approve.Arg("token-id", "The id of the token that may be deleted.").Required().StringVar(&token)
	commands[approve.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.RotationApprove(ctx, common, connection, token)
	}
}

func connectionArgument(command *kingpin.CmdClause, connection *string) {
	command.Arg("connection", "The name of the connection in the configuration.").Required().StringVar(connection)
}

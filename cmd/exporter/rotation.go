package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"entra-aws-exporter/internal/app"
)

func addRotation(cli *kingpin.Application, commands map[string]command) {
	rotation := cli.Command("rotation", "Inspect and control the rotation of SCIM tokens and SAML certificates.")
	addStart(rotation, commands)
	// add adds a subcommand on one connection, which is its first argument.
	add := func(name, help string, do app.RotationCommand) *kingpin.CmdClause {
		clause := rotation.Command(name, help)
		var connection string
		clause.Arg("connection", "Name of the connection in the configuration.").Required().StringVar(&connection)
		commands[clause.FullCommand()] = func(ctx context.Context, common app.Options) error {
			return do(ctx, common, connection)
		}
		return clause
	}

	list := rotation.Command("list", "List the rotations of every connection.")
	commands[list.FullCommand()] = app.RotationList
	add("show", "Show the rotation history of a connection.", app.RotationShow)
	add("failures", "Print the newest failures of the provisioning log, with users and groups, to a terminal only.", app.RotationFailures)
	add("reset", "Unblock a rotation and clear its attempt count. Rate limits and stored tokens are kept.", app.RotationReset)
	add("abort", "Cancel a rotation that has not changed Entra yet.", app.RotationAbort)
	add("show-token", "Print the value of the token in use, to a terminal only.", app.RotationShowToken)

	var inUse string
	adopt := add("adopt", "Accept the current state of AWS and Entra, after a manual change or after restoring the state.",
		func(ctx context.Context, common app.Options, connection string) error {
			return app.RotationAdopt(ctx, common, connection, inUse)
		})
	adopt.Flag("in-use", "ID of the token that Entra holds, if known.").PlaceHolder("ID").StringVar(&inUse)

	var release bool
	hold := add("hold", "Pause rotation of a connection.", func(ctx context.Context, common app.Options, connection string) error {
		return app.RotationHold(ctx, common, connection, release)
	})
	hold.Flag("release", "Resume.").BoolVar(&release)

	var id string
	approve := add("approve", "Allow the deletion of the old token or certificate.", func(ctx context.Context, common app.Options, connection string) error {
		return app.RotationApprove(ctx, common, connection, id)
	})
	approve.Arg("id", "ID of the token, or SHA-256 fingerprint of the certificate, that may be deleted.").Required().StringVar(&id)
}

func addStart(rotation *kingpin.CmdClause, commands map[string]command) {
	var options app.StartOptions
	start := rotation.Command("start", "Rotate the token or roll the SAML certificate over now, or resume an open rotation. Prints one line per step.")
	start.Arg("connection", "Name of the connection in the configuration. With --if-due, default: all.").StringVar(&options.Connection)
	start.Flag("if-due", "For a schedule: resume what is open and start what is due, until it waits for hours. Exit code 1 if a rotation is blocked or has failed.").BoolVar(&options.IfDue)
	start.Flag("dry-run", "Read everything and print the plan. Change nothing.").BoolVar(&options.DryRun)
	start.Flag("force", "Start even if not due or in cooldown. All safety checks still apply.").BoolVar(&options.Force)
	start.Flag("token-stdin", "Read the value of an operator-created token from standard input (not echoed on a terminal).").BoolVar(&options.TokenStdin)
	start.Flag("token-id", "ID of that token.").PlaceHolder("ID").StringVar(&options.TokenID)
	start.Flag("retire-token", "If AWS has two tokens: ID of the one that is no longer in use.").PlaceHolder("ID").StringVar(&options.RetireToken)
	start.Flag("kind", "What to rotate: token or certificate. Default: the token, or what the other flags are about. With --if-due: both.").EnumVar(&options.Kind, "token", "certificate")
	start.Flag("certificate", "SHA-256 fingerprint of a SAML certificate that Entra has: import this one at AWS and, if Entra does not sign with it yet, roll over to it.").PlaceHolder("SHA256").StringVar(&options.Certificate)
	start.Flag("retire-certificate", "If AWS takes no more certificates: fingerprint of an expired one that Entra does not have.").PlaceHolder("SHA256").StringVar(&options.RetireCertificate)
	paceFlag(start, &options.Pace)
	commands[start.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.RotationStart(ctx, common, options)
	}
}

package certificate

import (
	"context"

	"entra-aws-exporter/internal/model"
)

// askApproval waits for an operator's approval.
func (o observer) askApproval(ctx context.Context) error {
	rot := o.rotation()
	if old := rot.Plan.Old.SHA256; rot.Waiting != model.WaitingApproval || rot.Asked != old {
		o.LogStep("%s", approvalMessage(o.options.Connection, rot))
		if err := o.write(ctx, func(r *record) { r.Rotation.Asked = old }); err != nil {
			return err
		}
	}
	return o.WaitLong(ctx, quietInterval, model.WaitingApproval)
}

// approvalMessage asks an operator to approve the deletion or, after it, the end.
func approvalMessage(connection string, rot *rotation) string {
	fresh, old := rot.New.String(), rot.Plan.Old
	text := "to delete certificate " + old.String() + " at AWS; the new one is " + fresh
	switch rot.Phase {
	case model.PhaseConfirm:
		text = "to end: AWS trusts certificate " + fresh + " alone, and " + withoutLog(rot.Plan)
	case model.PhaseVerify:
		text += ", and " + withoutLog(rot.Plan)
	default:
		text += ", and users sign in since the new one is active"
	}
	return connection + " is waiting for approval " + text + "; next: rotation approve " + connection + " " + old.SHA256 + "."
}

// The permissions that read the logs of sign-ins.
const (
	readsCloudTrail = "cloudtrail:LookupEvents"
	readsSignInLog  = "AuditLog.Read.All"
)

// withoutLog says why nothing but an operator can tell whether users sign in. What
// CloudTrail counted at the start is compared with nothing but CloudTrail.
func withoutLog(plan Plan) string {
	if isLogged(plan.Accepted) {
		return "CloudTrail, which shows whether users sign in, cannot be read any more (allow " + readsCloudTrail + ")"
	}
	return "no log can be read that shows whether users sign in (allow " + readsCloudTrail + ", or grant " + readsSignInLog + " with Entra ID P1)"
}

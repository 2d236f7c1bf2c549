package rotate

import (
	"context"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	ownUserAgent = "entra-aws-exporter/" // of our own calls in AWS's log
	logDelay     = 15 * time.Minute      // how late AWS's log may be
	logSlack     = 3 * time.Second       // between our note of a call and AWS's
	logTimeout   = 2 * time.Minute       // for some 10,000 calls, which AWS hands out 50 at a time and two pages a second
	logBefore    = 24 * time.Hour        // how far before the creation the log is read

	// logDecides is when, after the save, the log has told what it can tell: Entra's
	// engine has read the new token, a cycle has passed, and its calls are delivered.
	logDecides = engineCache + 2*defaultInterval + 2*logDelay
)

// readLog learns from AWS's log of SCIM calls which access key id stands for the new
// token, by two calls of our own, and then who calls with which. An id that was seen
// before the token existed, or that changes with every call, tells nothing.
func (r *run) readLog(ctx context.Context, job model.Job) (attribution, error) {
	rot := r.rotation()
	yet := undecided
	if r.passed(rot.Proof.Stored.Local) >= logDecides {
		yet = unattributed
	}
	if len(rot.Proof.Probes) < 2 {
		return yet, r.calibrate(ctx)
	}
	created := rot.NewToken.Created
	calls, err := within(ctx, logTimeout, func(ctx context.Context) ([]model.SCIMCall, error) {
		return r.connection.Clouds.Calls.CallsSince(ctx, created.Add(-logBefore))
	})
	if model.ReasonOf(err) == model.ReasonPermission {
		yet = unattributed
	}
	if err != nil {
		if r.unheard != model.ReasonOf(err) {
			r.unheard = model.ReasonOf(err)
			r.say("AWS's log of SCIM calls tells nothing: %s", err)
		}
		return yet, nil //nolint:nilerr // the log is an extra
	}
	id, tells := calibrated(calls, rot.Proof.Probes, created)
	if !tells || id == "" {
		return map[bool]attribution{true: yet, false: unattributed}[tells], nil
	}
	until := r.aws.now().Add(-logDelay / r.pace)
	from := until.Add(-r.interval(job) - logDelay/r.pace)
	if from.Before(rot.Proof.Stored.AWS) {
		return yet, nil
	}
	var ours, others int
	for _, call := range calls {
		switch {
		case strings.HasPrefix(call.UserAgent, ownUserAgent) || call.At.Before(from) || call.At.After(until):
		case call.AccessKeyID == id:
			ours++
		default:
			others++
		}
	}
	switch {
	case ours > 0 && others == 0:
		return attributed, nil
	case others > 0 && ours == 0 && !from.Before(rot.Proof.Stored.AWS.Add(engineCache/r.pace)):
		return contradicted, nil
	default:
		return yet, nil
	}
}

// calibrate makes a call with the new value that the log must show. It stands alone: no
// other call of ours, such as one with the old value, may be taken for it.
func (r *run) calibrate(ctx context.Context) error {
	value, err := r.newValue(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, 2*logSlack); err != nil {
		return err
	}
	r.probe(ctx, value)
	at := r.moment()
	if err := sleep(ctx, 2*logSlack); err != nil {
		return err
	}
	return r.write(ctx, func(rec *record) { rec.Rotation.Proof.Probes = append(rec.Rotation.Proof.Probes, at) })
}

// calibrated returns the access key id by which the log knows the new token; "" as long
// as it does not show our calls. tells is false if it cannot tell tokens apart.
func calibrated(calls []model.SCIMCall, probes []moment, created time.Time) (id string, tells bool) {
	shown := 0
	for _, probe := range probes {
		for _, call := range calls {
			if !strings.HasPrefix(call.UserAgent, ownUserAgent) || call.At.Sub(probe.AWS).Abs() > logSlack {
				continue
			}
			if id != "" && call.AccessKeyID != id {
				return "", false
			}
			id = call.AccessKeyID
			shown++
		}
	}
	before := 0
	for _, call := range calls {
		if call.At.Before(created) {
			before++
			if call.AccessKeyID == id {
				return "", false
			}
		}
	}
	if shown < len(probes) {
		return "", true
	}
	return id, before > 0
}

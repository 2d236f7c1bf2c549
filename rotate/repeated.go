package rotate

import (
	"time"

	"entra-aws-exporter/internal/model"
)

// repeatedFailures are the failures of what Run does every half minute, by subject. Only
// the first of a kind is logged, and the end of them.
type repeatedFailures map[string]*model.FailureStreak

// isNew counts a failure and tells whether it must be logged.
func (f repeatedFailures) isNew(subject string, err error) bool {
	if f[subject] == nil {
		f[subject] = &model.FailureStreak{}
	}
	return f[subject].Add(time.Now(), err.Error(), err.Error())
}

// end forgets the failures of a subject; nil: there were none.
func (f repeatedFailures) end(subject string) *model.FailureStreak {
	streak := f[subject]
	delete(f, subject)
	return streak
}

package shared_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/internal/state/statetest"
)

func storeOf(s *shared.Store) statetest.Store {
	return statetest.Store{Journal: s.Journal(), Events: s.Events(), Tokens: s.Tokens(), Check: s.Check}
}

var options = shared.Options{Place: "table state in eu-central-1", SecretPrefix: "entra-aws-exporter/"}

func TestContract(t *testing.T) {
	for _, window := range []time.Duration{0, 30 * 24 * time.Hour} {
		for _, lag := range []time.Duration{0, 5 * time.Second} {
			t.Run(fmt.Sprint("window ", window, ", lag ", lag), func(t *testing.T) {
				statetest.Contract(t, synctest.Test, func(*testing.T) func() statetest.Store {
					table, secrets := statetest.NewTable(), statetest.NewSecrets()
					secrets.RecoveryWindow, secrets.Lag = window, lag
					return func() statetest.Store { return storeOf(shared.New(table, secrets, options)) }
				})
			})
		}
	}
}

// services are a table and a secret manager whose calls can fail.
type services struct {
	table   *statetest.Table
	secrets *statetest.Secrets

	calls []string
	fault func(number int, call string) fault
}

// fault is what happens to a call.
type fault string

const (
	none        fault = ""
	refused     fault = "denied"
	unsent      fault = "unreachable"
	throttled   fault = "throttled"
	answerLost  fault = "answer lost"
	effectLater fault = "applied after the caller gave up"
)

func newServices() *services {
	s := &services{table: statetest.NewTable(), secrets: statetest.NewSecrets()}
	s.secrets.RecoveryWindow, s.secrets.Lag = 7*24*time.Hour, 2*time.Second
	return s
}

func (s *services) open() *shared.Store {
	return shared.New((*faultyTable)(s), (*faultySecrets)(s), options)
}

// call makes a call with its fault.
func (s *services) call(name string, do func() error) error {
	number := len(s.calls)
	s.calls = append(s.calls, name)
	f := none
	if s.fault != nil {
		f = s.fault(number, name)
	}
	failed := &model.Error{Op: name, Reason: model.ReasonTimeout, Detail: string(f)}
	switch f {
	case none:
		return do()
	case refused:
		failed.Reason, failed.Status = model.ReasonPermission, 400
	case unsent:
		failed.Reason, failed.Unsent = model.ReasonNetwork, true
	case throttled:
		failed.Reason, failed.Status = model.ReasonThrottled, 400
	case answerLost:
		if err := do(); err != nil {
			return err
		}
	case effectLater:
		time.AfterFunc(time.Second, func() { _ = do() })
	}
	return failed
}

type (
	faultyTable   services
	faultySecrets services
)

func (f *faultyTable) Describe(ctx context.Context) (id string, err error) {
	err = (*services)(f).call("describe", func() error { id, err = f.table.Describe(ctx); return err })
	return id, err
}

func (f *faultyTable) Get(ctx context.Context, id string) (item *shared.Item, err error) {
	err = (*services)(f).call("get", func() error { item, err = f.table.Get(ctx, id); return err })
	if err != nil {
		item = nil
	}
	return item, err
}

func (f *faultyTable) Put(ctx context.Context, item shared.Item, revision string) error {
	return (*services)(f).call("put", func() error { return f.table.Put(ctx, item, revision) })
}

func (f *faultySecrets) Create(ctx context.Context, name, version string, value model.Secret) (arn string, err error) {
	created := make(chan string, 1)
	err = (*services)(f).call("create", func() error {
		arn, err := f.secrets.Create(ctx, name, version, value)
		created <- arn
		return err
	})
	if err == nil {
		arn = <-created
	}
	return arn, err
}

func (f *faultySecrets) Value(ctx context.Context, secret, version string) (value model.Secret, err error) {
	err = (*services)(f).call("value", func() error { value, err = f.secrets.Value(ctx, secret, version); return err })
	if err != nil {
		value = model.Secret{}
	}
	return value, err
}

func (f *faultySecrets) Delete(ctx context.Context, secret string) (found bool, err error) {
	answer := make(chan bool, 1)
	err = (*services)(f).call("delete", func() error {
		found, err := f.secrets.Delete(ctx, secret)
		answer <- found
		return err
	})
	if err == nil {
		found = <-answer
	}
	return found, err
}

// useStore does what a rotation does with a store, each step again until it succeeds.
func useStore(t *testing.T, s *services) {
	ctx, store := t.Context(), s.open()
	until := func(what string, do func() error) {
		t.Helper()
		for range 20 {
			if err := do(); err == nil {
				return
			}
			time.Sleep(time.Minute)
		}
		t.Errorf("%s fails for ever", what)
	}
	for _, content := range []string{"1", "2"} {
		until("saving", func() error {
			records := store.Journal()
			found, revision, err := records.Load(ctx, "a")
			if err != nil || string(found) == content {
				return err
			}
			if content == "2" && string(found) != "1" {
				t.Errorf("the record is %q before %q", found, content)
			}
			_, err = records.Save(ctx, "a", []byte(content), revision)
			if errors.Is(err, model.ErrConflict) {
				t.Error("the only writer meets a conflict")
			}
			return err
		})
	}
	value := model.NewSecret("the value")
	until("storing", func() error {
		err := store.Tokens().Write(ctx, "b/1", value)
		if errors.Is(err, model.ErrExists) {
			found, readErr := store.Tokens().Read(ctx, "b/1")
			if readErr == nil && !found.Equal(value) {
				t.Error("another value exists")
			}
			return readErr
		}
		return err
	})
	until("reading", func() error {
		found, err := store.Tokens().Read(ctx, "b/1")
		if err == nil && !found.Equal(value) {
			t.Errorf("read %d bytes", len(found.Reveal()))
		}
		return err
	})
	until("destroying", func() error { return store.Tokens().Destroy(ctx, "b/1") })
}

// Every call fails in every way, alone and for an hour: no write is lost, none is taken
// for somebody else's, no value is left behind.
func TestEveryCallFails(t *testing.T) {
	var calls []string
	synctest.Test(t, func(t *testing.T) {
		s := newServices()
		useStore(t, s)
		calls = s.calls
	})
	for _, name := range []string{"describe", "get", "put", "create", "value", "delete"} {
		if !slices.Contains(calls, name) {
			t.Errorf("%s is never called", name)
		}
	}
	cases := 0
	for _, f := range []fault{refused, unsent, throttled, answerLost, effectLater} {
		for number, name := range calls {
			if f == effectLater && !slices.Contains([]string{"put", "create", "delete"}, name) {
				continue
			}
			for _, lasting := range []bool{false, true} {
				cases++
				t.Run(fmt.Sprintf("%s %d %s lasting %v", f, number, name, lasting), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newServices()
						began := time.Time{}
						s.fault = func(n int, call string) fault {
							if n == number {
								began = time.Now()
							}
							switch {
							case n == number, lasting && !began.IsZero() && call == name && time.Since(began) < 10*time.Minute:
								return f
							default:
								return none
							}
						}
						useStore(t, s)
						time.Sleep(time.Hour)
						if live := s.secrets.Live(); len(live) > 0 {
							t.Errorf("values are left: %d", len(live))
						}
					})
				})
			}
		}
	}
	t.Logf("%d calls, %d cases", len(calls), cases)
}

// A write whose answer is lost, and which others have overwritten meanwhile, succeeded.
func TestAnswerLostBeforeOtherWrites(t *testing.T) {
	for others := range 9 {
		synctest.Test(t, func(t *testing.T) {
			s := newServices()
			ctx, records := t.Context(), s.open().Journal()
			revision, err := records.Save(ctx, "a", []byte("0"), "")
			if err != nil {
				t.Fatal(err)
			}
			another := shared.New(s.table, s.secrets, options).Journal()
			s.fault = func(_ int, call string) fault {
				if call != "put" {
					return none
				}
				s.fault = func(int, string) fault { // the next call is the look at the record
					s.fault = nil
					for i := range others {
						_, revision, _ := another.Load(ctx, "a")
						if _, err := another.Save(ctx, "a", fmt.Append(nil, "other ", i), revision); err != nil {
							t.Error(err)
						}
					}
					return none
				}
				return answerLost
			}
			_, err = records.Save(ctx, "a", []byte("mine"), revision)
			if others < 8 && err != nil || others == 8 && !errors.Is(err, model.ErrConflict) {
				t.Errorf("%d writes of others: %v", others, err)
			}
		})
	}
}

// The answer is lost, and the record cannot be read for a while: nothing is concluded from
// the conflict of the repeated write with the first one.
func TestConflictWithOneself(t *testing.T) {
	for unreadable := range 12 {
		synctest.Test(t, func(t *testing.T) {
			s := newServices()
			s.fault = func(_ int, call string) fault {
				if call != "put" {
					return none
				}
				looks := 0
				s.fault = func(_ int, call string) fault {
					if call == "get" && looks < unreadable {
						looks++
						return throttled
					}
					return none
				}
				return answerLost
			}
			records := s.open().Journal()
			_, err := records.Save(t.Context(), "a", []byte("1"), "")
			if few := unreadable < 5; few && err != nil || !few && !errors.Is(err, model.ErrUnavailable) {
				t.Errorf("unreadable %d times: %v", unreadable, err)
			}
		})
	}
}

// The record of another writer is a conflict, also without an answer.
func TestAnswerLostToAnotherWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServices()
		ctx, records := t.Context(), s.open().Journal()
		s.fault = func(_ int, call string) fault {
			if call == "put" {
				s.fault = nil
				if _, err := shared.New(s.table, s.secrets, options).Journal().Save(ctx, "a", []byte("same"), ""); err != nil {
					t.Error(err)
				}
				return unsent
			}
			return none
		}
		if _, err := records.Save(ctx, "a", []byte("same"), ""); !errors.Is(err, model.ErrConflict) {
			t.Errorf("the same content by another writer: %v", err)
		}
	})
}

// A replica that was paused and wakes up finds the record changed: its write is refused.
func TestPausedWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServices()
		ctx := t.Context()
		first, err := s.open().Journal().Save(ctx, "a", []byte("1"), "")
		if err != nil {
			t.Fatal(err)
		}
		s.fault = func(_ int, call string) fault {
			if call == "put" { // paused with the request on its way
				s.fault = nil
				if _, err := shared.New(s.table, s.secrets, options).Journal().Save(ctx, "a", []byte("2"), first); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Hour)
			}
			return none
		}
		if _, err := s.open().Journal().Save(ctx, "a", []byte("3"), first); !errors.Is(err, model.ErrConflict) || err.Error() != "table state in eu-central-1, item entra-aws-exporter/journal/a: changed by another process" {
			t.Errorf("a paused writer: %v", err)
		}
		if content, _, err := s.open().Journal().Load(ctx, "a"); string(content) != "2" || err != nil {
			t.Errorf("%q %v", content, err)
		}
	})
}

// A process is paused right before it changes the index. Meanwhile another one destroys the
// entry and uses the key again, for another secret: nothing of that is lost, and the paused
// process leaves no secret behind.
func TestPausedBeforeTheIndex(t *testing.T) {
	for _, paused := range []string{"write", "destroy"} {
		synctest.Test(t, func(t *testing.T) {
			s := newServices()
			ctx, tokens := t.Context(), s.open().Tokens()
			if paused == "destroy" {
				if err := tokens.Write(ctx, "b/1", model.NewSecret("first")); err != nil {
					t.Fatal(err)
				}
			}
			s.fault = func(_ int, call string) fault {
				if exists := len(s.secrets.Live()) > 0; call != "put" || exists != (paused == "write") {
					return none
				}
				s.fault = nil
				another := shared.New(s.table, s.secrets, options).Tokens()
				if err := errors.Join(another.Destroy(ctx, "b/1"), another.Write(ctx, "b/1", model.NewSecret("second"))); err != nil {
					t.Error(err)
				}
				return none
			}
			if paused == "destroy" {
				if err := tokens.Destroy(ctx, "b/1"); err != nil {
					t.Error(err)
				}
			} else if err := tokens.Write(ctx, "b/1", model.NewSecret("first")); !errors.Is(err, model.ErrExists) {
				t.Errorf("the paused write: %v", err)
			}
			if s.fault != nil {
				t.Error("it was not paused")
			}
			if found, err := tokens.Read(ctx, "b/1"); found.Reveal() != "second" || err != nil {
				t.Errorf("after a paused %s: %d bytes, %v", paused, len(found.Reveal()), err)
			}
			if live := s.secrets.Live(); len(live) != 1 {
				t.Errorf("after a paused %s: %d secrets", paused, len(live))
			}
		})
	}
}

// Another process finds the value that a process stored before it was killed.
func TestKilledBeforeTheIndexKnows(t *testing.T) {
	for _, lag := range []time.Duration{0, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newServices()
			s.secrets.Lag = lag
			ctx, cancel := context.WithCancel(t.Context())
			s.fault = func(_ int, call string) fault {
				if call == "create" {
					cancel()
					return answerLost
				}
				return none
			}
			if err := s.open().Tokens().Write(ctx, "b/1", model.NewSecret("value")); err == nil {
				t.Fatal("the write has an answer")
			}
			s.fault = nil
			if found, err := s.open().Tokens().Read(t.Context(), "b/1"); found.Reveal() != "value" || err != nil {
				t.Errorf("the value is lost: %v", err)
			}
			time.Sleep(time.Hour)
			s.secrets.Stored = map[string]statetest.StoredSecret{}
			if _, err := s.open().Tokens().Read(t.Context(), "b/1"); !errors.Is(err, model.ErrUnreadable) {
				t.Errorf("a secret that is gone after it was read: %v", err)
			}
		})
	}
}

func TestDeletedSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServices()
		ctx, tokens := t.Context(), s.open().Tokens()
		names := map[string]bool{}
		for i := range 3 { // the name of a deleted secret is blocked for a week
			if err := tokens.Write(ctx, "b/1", model.NewSecret(fmt.Sprint("value ", i))); err != nil {
				t.Fatal(err)
			}
			for name := range s.secrets.Stored {
				names[name] = true
			}
			if err := tokens.Destroy(ctx, "b/1"); err != nil {
				t.Fatal(err)
			}
		}
		if len(names) != 3 {
			t.Errorf("names: %v", names)
		}
		for name := range names {
			if last := name[max(0, strings.LastIndex(name, "-")):]; !strings.HasPrefix(name, "entra-aws-exporter/b/1.") || len(last) == 7 {
				t.Errorf("name %s", name)
			}
		}
		if err := tokens.Write(ctx, "b/2", model.NewSecret("value")); err != nil {
			t.Fatal(err)
		}
		for name := range s.secrets.Live() {
			if _, err := s.secrets.Delete(ctx, name); err != nil { // by a person
				t.Fatal(err)
			}
		}
		if _, err := tokens.Read(ctx, "b/2"); !errors.Is(err, model.ErrUnreadable) {
			t.Errorf("a secret scheduled for deletion: %v", err)
		}
	})
}

// A store writes nothing before its check has succeeded, which it then makes once: a table
// may have become unsafe since another process has written to it.
func TestCheckedBeforeTheFirstWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServices()
		ctx := t.Context()
		revision, err := s.open().Journal().Save(ctx, "a", []byte("1"), "")
		if err != nil {
			t.Fatal(err)
		}
		store := s.open()
		for _, refusedCall := range []string{"describe", "value"} {
			s.fault = func(_ int, call string) fault {
				if call == refusedCall {
					return refused
				}
				return none
			}
			_, saved := store.Journal().Save(ctx, "a", []byte("2"), revision)
			for what, err := range map[string]error{"save": saved, "reserve": store.Tokens().Reserve(ctx, "b/1"), "write": store.Tokens().Write(ctx, "b/1", model.NewSecret("x"))} {
				if err == nil || err.Error() != refusedCall+": permission: denied" {
					t.Errorf("%s refused, %s: %v", refusedCall, what, err)
				}
			}
		}
		if content, _, err := store.Journal().Load(ctx, "a"); string(content) != "1" || err != nil || len(s.secrets.Live()) > 0 {
			t.Errorf("it wrote: %q %v, %d secrets", content, err, len(s.secrets.Live()))
		}
		s.fault, s.calls = nil, nil
		for range 2 {
			if revision, err = store.Journal().Save(ctx, "a", []byte("2"), revision); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"get", "describe", "put", "get", "value", "put", "put"}; !slices.Equal(s.calls, want) {
			t.Errorf("calls %v, want %v", s.calls, want)
		}
	})
}

// No token value is in the table, nor in its index.
func TestNoValueInTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServices()
		if err := s.open().Tokens().Write(t.Context(), "b/1", model.NewSecret("planted-value")); err != nil {
			t.Fatal(err)
		}
		if len(s.table.Items) != 4 { // two of the check
			t.Errorf("%d items", len(s.table.Items))
		}
		for id, item := range s.table.Items {
			if strings.Contains(fmt.Sprintf("%s %s %v", id, item.Content, item), "planted-value") {
				t.Errorf("item %s has the value", id)
			}
		}
	})
}

// A table that was restored from a backup is another table.
func TestRestoredTable(t *testing.T) {
	s := newServices()
	ctx, records := t.Context(), s.open().Journal()
	revision, err := records.Save(ctx, "a", []byte("1"), "")
	if err != nil {
		t.Fatal(err)
	}
	s.table.ID = "table-2"
	expect := func(when string, want bool) {
		t.Helper()
		if restored, err := records.Restored(ctx, "a"); restored != want || err != nil {
			t.Errorf("%s: restored %v, %v", when, restored, err)
		}
	}
	expect("in another table", true)
	if revision, err = records.Save(ctx, "a", []byte("2"), revision); err != nil {
		t.Fatal(err)
	}
	expect("saved again", true)
	if err := records.Accept(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	expect("accepted", false)
	if content, now, err := records.Load(ctx, "a"); string(content) != "2" || now != revision || err != nil {
		t.Errorf("accepted: %q %q %v", content, now, err)
	}
}

// What is not ours, or of a newer version, is reported with its place and left alone.
func TestForeignItems(t *testing.T) {
	s := newServices()
	ctx, records := t.Context(), s.open().Journal()
	for _, each := range []struct {
		change       func(*shared.Item)
		want, advice string
	}{
		{func(i *shared.Item) { i.Program = "" }, "not an entra-aws-exporter record", "give the exporter a table of its own"},
		{func(i *shared.Item) { i.Program = "inventory" }, "not an entra-aws-exporter record", "give the exporter a table of its own"},
		{func(i *shared.Item) { i.Schema = 2 }, "it has schema 2, this version reads 1", "run the version that wrote it"},
		{func(i *shared.Item) { i.Content = []byte("edited") }, "corrupt: wrong checksum", "restore it from a backup"},
	} {
		s.table.Items = map[string]shared.Item{}
		if _, err := records.Save(ctx, "a", []byte("1"), ""); err != nil {
			t.Fatal(err)
		}
		item := s.table.Items["entra-aws-exporter/journal/a"]
		each.change(&item)
		s.table.Items[item.ID] = item
		want := "table state in eu-central-1, item entra-aws-exporter/journal/a: unreadable: " + each.want + "; the item is left unchanged: " + each.advice
		_, _, load := records.Load(ctx, "a")
		_, save := records.Save(ctx, "a", []byte("2"), "")
		_, restored := records.Restored(ctx, "a")
		for what, err := range map[string]error{"load": load, "save": save, "restored": restored, "accept": records.Accept(ctx, "a")} {
			if !errors.Is(err, model.ErrUnreadable) || err.Error() != want {
				t.Errorf("%s: %v\nwant %s", what, err, want)
			}
		}
		if found := s.table.Items[item.ID]; found.Program != item.Program || string(found.Content) != string(item.Content) {
			t.Errorf("%s: it was changed", each.want)
		}
	}
}

// The errors of a service are the store's: a rotation waits for those that pass.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServices()
		for f, passes := range map[fault]bool{refused: false, throttled: true, unsent: true, answerLost: true} {
			s.fault = func(int, string) fault { return f }
			_, _, err := s.open().Journal().Load(t.Context(), "a")
			var classified *model.Error
			if err == nil || errors.Is(err, model.ErrUnavailable) != passes || errors.As(err, &classified) {
				t.Errorf("%s: %v, passes %v", f, err, errors.Is(err, model.ErrUnavailable))
			}
		}
		s.fault = nil
		large := make([]byte, statetest.LargestRecord+1)
		want := "table state in eu-central-1, item entra-aws-exporter/journal/a: the record has 407553 bytes, an item has room for 407552"
		if _, err := s.open().Journal().Save(t.Context(), "a", large, ""); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	})
}

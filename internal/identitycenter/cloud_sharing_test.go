package identitycenter_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

// Connections of one account and role sign in once and list its instances once.
func TestConnectionsShareASignIn(t *testing.T) {
	cloud := newCloud(t)
	cloud.json("ListInstances", instances(instance("d-1", region, account), instance("d-2", region, account), instance("d-3", region, account)))
	shared := identitycenter.NewCloud(cloudhttp.Options{Transport: cloud})
	read := func(role string, ids ...string) {
		t.Helper()
		for _, id := range ids {
			one := cloud.instance(func(o *identitycenter.Options) {
				o.Cloud, o.RoleARN, o.IdentityStoreID = shared, "arn:aws:iam::111122223333:role/"+role, id
			})
			if binding, err := one.Binding(t.Context()); err != nil || binding.IdentityStoreID != id {
				t.Fatalf("%s: got %q, %v", id, binding.IdentityStoreID, err)
			}
		}
	}
	read("reader", "d-1", "d-2", "d-3")
	if roles, lists := cloud.called("AssumeRole"), cloud.called("ListInstances"); roles != 1 || lists != 1 {
		t.Errorf("AssumeRole was called %d times, ListInstances %d times", roles, lists)
	}
	read("rotator", "d-1")
	if roles, lists := cloud.called("AssumeRole"), cloud.called("ListInstances"); roles != 2 || lists != 2 {
		t.Errorf("with another role AssumeRole was called %d times, ListInstances %d times", roles, lists)
	}
}

// The roles of an account share its rate of LookupEvents; another account has its own.
func TestRolesShareTheRateOfLookups(t *testing.T) {
	cloud := newCloud(t)
	synctest.Test(t, func(t *testing.T) {
		shared := identitycenter.NewCloud(cloudhttp.Options{Transport: cloud})
		lookUp := func(role string) time.Duration {
			t.Helper()
			one := cloud.instance(func(o *identitycenter.Options) { o.Cloud, o.RoleARN = shared, role })
			began := time.Now()
			if _, err := one.CallsSince(t.Context(), began.Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		for _, test := range []struct {
			role string
			wait time.Duration
		}{
			{"arn:aws:iam::111122223333:role/reader", 0},
			{"arn:aws:iam::111122223333:role/rotator", 600 * time.Millisecond},
			{"arn:aws:iam::444455556666:role/reader", 0},
		} {
			if took := lookUp(test.role); took != test.wait {
				t.Errorf("%s waited %s, want %s", test.role, took, test.wait)
			}
		}
	})
}

// What AWS refuses is asked again no sooner than its rate allows.
func TestRetriesKeepTheRateOfLookups(t *testing.T) {
	cloud := newCloud(t)
	var sent []time.Time
	cloud.answers["LookupEvents"] = func(call) answer {
		sent = append(sent, time.Now())
		return answer{status: 500, body: `{}`}
	}
	synctest.Test(t, func(t *testing.T) {
		one := cloud.instance(nil)
		for range 20 { // the SDK waits for a random time
			if _, err := one.CallsSince(t.Context(), time.Now()); err == nil {
				t.Fatal("no error")
			}
		}
	})
	if len(sent) != 60 {
		t.Fatalf("%d attempts, want 60", len(sent))
	}
	for n := range sent[1:] {
		if gap := sent[n+1].Sub(sent[n]); gap < 500*time.Millisecond {
			t.Errorf("attempt %d came %s after the one before: CloudTrail allows two a second", n+2, gap)
		}
	}
}

// Sources that begin together share one discovery.
func TestSourcesDiscoverOnce(t *testing.T) {
	cloud := newCloud(t)
	for _, operation := range []string{"ListInstances", "ListProvisioningTenants"} {
		respond := cloud.answers[operation]
		cloud.answers[operation] = func(c call) answer {
			time.Sleep(time.Second)
			return respond(c)
		}
	}
	cloud.json("DescribeIdentityStore", `{}`)
	cloud.json("ListExternalIdPConfigurationsForDirectory", `{"associations":[]}`)
	synctest.Test(t, func(t *testing.T) {
		var checks atomic.Int32
		one := cloud.instance(func(o *identitycenter.Options) {
			o.Certificates = model.AWSCertificatesConsoleAPI
			o.CheckStore = func(context.Context, string) (bool, error) { checks.Add(1); return true, nil }
		})
		var running sync.WaitGroup
		for name, read := range map[string]func() error{
			"tokens":       func() error { _, err := one.ListTokens(t.Context()); return err },
			"usage":        func() error { _, err := one.CallsSince(t.Context(), time.Now().Add(-time.Hour)); return err },
			"scim":         func() error { _, err := one.ProbeToken(t.Context(), secret()); return err },
			"certificates": func() error { _, err := one.TrustedCertificates(t.Context()); return err },
		} {
			running.Go(func() {
				if err := read(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		running.Wait()
		if lists, tenants := cloud.called("ListInstances"), cloud.called("ListProvisioningTenants"); lists != 1 || tenants != 1 || checks.Load() != 1 {
			t.Errorf("ListInstances was called %d times, ListProvisioningTenants %d times, the store was checked %d times", lists, tenants, checks.Load())
		}
	})
}

// A source that waits for another's discovery keeps its own deadline.
func TestWaitForADiscoveryEndsAtTheDeadline(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["ListInstances"] = hang
	synctest.Test(t, func(t *testing.T) {
		one := cloud.instance(nil)
		long, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { _, _ = one.ListTokens(long) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := one.ListTokens(short)
		wantError(t, err, "finding the IAM Identity Center instance of corp: timeout: no response before the deadline")
		if model.CallOutcomeOf(err) != model.CallRefused {
			t.Error("the call seems to be sent")
		}
	})
}

// profiles points the SDK to a credentials file with these sections.
func profiles(t *testing.T, sections string) (file string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file = filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	if err := os.WriteFile(file, []byte(sections), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A profile's credentials are a hundred bytes, and the file of all profiles is large.
func TestProfilesDoNotKeepTheSharedFile(t *testing.T) {
	cloud := newCloud(t)
	const connections, padding = 40, 1 << 20
	var sections strings.Builder
	sections.WriteString(strings.Repeat("# "+strings.Repeat("x", 1022)+"\n", padding/1024))
	for i := range connections {
		fmt.Fprintf(&sections, "[p%d]\naws_access_key_id = %s\naws_secret_access_key = %s\n", i, accessKey, secretKey)
	}
	profiles(t, sections.String())
	shared := identitycenter.NewCloud(cloudhttp.Options{Transport: cloud})
	before := liveHeap()
	var list []*identitycenter.Instance
	for i := range connections {
		one := cloud.instance(func(o *identitycenter.Options) { o.Cloud, o.Profile = shared, fmt.Sprint("p", i) })
		if _, err := one.ListTokens(t.Context()); err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
	}
	if each := (liveHeap() - before) / connections; each > 100<<10 {
		t.Errorf("%d KiB for each connection", each>>10)
	}
	runtime.KeepAlive(list)
}

func liveHeap() int64 {
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapAlloc) //nolint:gosec // it fits
}

// The credentials of a profile last as long as they say. Then the profile is read again.
func TestProfileIsReadAgainWhenItsCredentialsExpire(t *testing.T) {
	cloud := newCloud(t)
	section := func(role string) string {
		return "[keys]\naws_access_key_id = " + accessKey + "\naws_secret_access_key = " + secretKey +
			"\n[corp]\nsource_profile = keys\nregion = " + region + "\nrole_arn = arn:aws:iam::111122223333:role/" + role + "\n"
	}
	file := profiles(t, section("first"))
	t.Setenv("AWS_CONFIG_FILE", file)
	synctest.Test(t, func(t *testing.T) {
		cloud.answers["AssumeRole"] = func(call) answer {
			return answer{body: `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
				<AccessKeyId>` + assumedKey + `</AccessKeyId><SecretAccessKey>` + secretKey + `</SecretAccessKey><SessionToken>session</SessionToken>
				<Expiration>` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`}
		}
		one := cloud.instance(func(o *identitycenter.Options) { o.Profile = "corp" })
		for elapsed, want := range []string{"first", "first", "second"} { // in half hours
			if elapsed == 1 {
				if err := os.WriteFile(file, []byte(section("second")), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := one.ListTokens(t.Context()); err != nil {
				t.Fatal(err)
			}
			if sent := cloud.last("AssumeRole").body; !strings.Contains(sent, "role%2F"+want) {
				t.Errorf("after %d half hours: %s", elapsed, sent)
			}
			time.Sleep(30 * time.Minute)
		}
		if n := cloud.called("AssumeRole"); n != 2 {
			t.Errorf("AssumeRole was called %d times", n)
		}
	})
}

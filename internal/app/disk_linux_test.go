package app

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// A real disk that rejects writes, even of root: no token is created, the polls continue,
// and the rotation starts once the disk is writable again.
func TestUnwritableDisk(t *testing.T) {
	for name, test := range map[string]struct{ breakDisk, repair func(*testing.T, string) }{
		"full":      {fillDisk, freeDisk},
		"read-only": {remount(unix.MS_RDONLY), remount(0)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
				h.edit(fastIntervals, slowIntervals)
				disk := h.path("state")
				mountFull(t, disk)
				h.start()
				time.Sleep(15 * time.Minute)

				test.breakDisk(t, disk)
				if status, answer := h.alert(); status != http.StatusServiceUnavailable {
					t.Errorf("answered %d %s, want 503, so that Alertmanager retries", status, answer)
				}
				time.Sleep(3 * time.Hour)
				if n := h.mutations(); n != 0 {
					t.Errorf("%d mutations without a journal", n)
				}
				h.series().expect(t, `entra_aws_source_up{connection="expiring",source="tokens"} 1`)

				test.repair(t, disk)
				if status, answer := h.alert(); status != http.StatusAccepted {
					t.Errorf("with the disk repaired: %d %s", status, answer)
				}
				if record := h.rotate(); record.Outcome != model.OutcomeDone {
					t.Errorf("with the disk repaired: %+v", record)
				}
			})
		})
	}
}

// mountFull mounts a small disk until the end of the test.
func mountFull(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skipf("mounting a disk: %v; only root may", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
}

func remount(flags uintptr) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// fillDisk fills the disk to the last byte.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(filepath.Join(path, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func freeDisk(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(filepath.Join(path, "ballast")); err != nil {
		t.Fatal(err)
	}
}

package rig

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestAProcessIsLookedAt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	u, err := Look(os.Getpid())
	if err != nil || u.RSS < 1<<20 || u.Peak < u.RSS/2 || u.CPU < 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := Look(1 << 30); err == nil {
		t.Error("a process that is not there was looked at")
	}
	if !ended(1 << 30) {
		t.Error("a process that is not there has not ended")
	}
	if ended(os.Getpid()) {
		t.Error("this process has ended")
	}
}

func TestMetricsAddUp(t *testing.T) {
	m := Metrics{`a_total{stage="prove",ledger="x"}`: 2, `a_total{stage="store",ledger="x"}`: 3, `a_total_more{stage="prove"}`: 9, "b": 4}
	if m.Sum("a_total", "") != 5 || m.Sum("a_total", `stage="prove"`) != 2 || m.Sum("b", "") != 4 || m.Sum("c", "") != 0 {
		t.Error(m)
	}
}

func TestDiskBytesCountsFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"x": 10, "a/b/y": 7} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := DiskBytes(dir); got != 17 {
		t.Errorf("%d bytes, want 17", got)
	}
}

package rig

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Used is what a process has used.
type Used struct {
	CPU       time.Duration // user and system mode, all threads
	RSS, Peak int64         // memory now, and the most since the start or the last ForgetPeak, bytes
}

// userTick is in what Linux counts processor time for user space.
const userTick = 10 * time.Millisecond

// Look reads what a process has used.
func Look(pid int) (u Used, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, after, _ := strings.Cut(string(stat), ") ") // behind the name
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	u.CPU = time.Duration(user+system) * userTick
	status, err3 := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kB, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // 0 for the lines that are no size
		switch name {
		case "VmRSS":
			u.RSS = kB << 10
		case "VmHWM":
			u.Peak = kB << 10
		}
	}
	return u, errors.Join(err1, err2, err3)
}

// ForgetPeak begins a new measurement of the most memory that a process holds.
func ForgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

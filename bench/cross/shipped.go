package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startShipped starts `comity bridge relay` in place of our own relayer, to see what that one does to the figures.
func startShipped(ctx context.Context, o *options, nations []*nation, urls []string) (*child, error) {
	ready := filepath.Join(o.data, "relayer.ready")
	args := []string{"bridge", "relay", "--ready-file", ready}
	for i, n := range nations {
		args = append(args, "--ledger", n.name+"="+urls[i])
	}
	c := &child{config: config{Name: "relayer (comity bridge relay)"}, shipped: true, cmd: exec.CommandContext(ctx, o.comity, args...)}
	c.cmd.Stderr = os.Stderr // its stdout, a line for everything it does, goes nowhere
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.comity, err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			return c, nil
		}
		if time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("%s is not ready after 30 s", c.Name), c.stop())
		}
	}
}

// measureShipped answers as obey would.
func (p *child) measureShipped(command string) (counters, error) {
	cpu, err := cpuOf(p.cmd.Process.Pid)
	if err != nil {
		return counters{}, err
	}
	if command == "start" {
		p.before = cpu
	}
	return counters{CPU: cpu - p.before, PeakRSS: peakRSS(p.cmd.Process.Pid), Relayer: &relayed{}}, nil
}

func (p *child) stopShipped() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	_ = p.cmd.Wait() // how it ends on a signal is not what is measured
	return nil
}

// userTick is in what Linux counts processor time for user space.
const userTick = 10 * time.Millisecond

// cpuOf is the processor time of another process, in user and system mode.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(b), ") ") // behind the name
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * userTick, errors.Join(err1, err2)
}

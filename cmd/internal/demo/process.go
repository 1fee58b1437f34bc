package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// process is a long-running command of this same binary.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
}

// start runs a command of this binary until it writes its ready file.
func (s *story) start(name string, args ...string) (*process, error) {
	ready := filepath.Join(s.dir, name+".ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	cmd := exec.Command(s.self, append(args, "--ready-file", ready)...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C reaches the demo alone, which stops its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // its end is what is waited for; the log says why
		close(p.done)
	}()
	deadline := time.After(60 * time.Second)
	for {
		if _, err := os.Stat(ready); err == nil {
			return p, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended before it was ready:\n%s", name, tail(log.Name()))
		case <-deadline:
			p.kill()
			return nil, fmt.Errorf("%s was not ready in a minute:\n%s", name, tail(log.Name()))
		case <-s.ctx.Done():
			p.kill()
			return nil, s.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// kill is SIGKILL: the process gets no chance to finish anything.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	p.log.Close()
}

// stop asks the process to end and waits.
func (p *process) stop() {
	if p == nil {
		return
	}
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		p.log.Close()
	case <-time.After(20 * time.Second):
		p.kill()
	}
}

// command runs a short command of this binary and decodes what it prints with --json into result, unless that is nil. A refusal comes
// back as an error with the refusal's name.
func (s *story) command(result any, args ...string) error {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	if result != nil {
		args = append(args, "--json")
	}
	cmd := exec.CommandContext(ctx, s.self, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("comity %s: %w: %s", strings.Join(args[:min(2, len(args))], " "), err, strings.TrimSpace(errOut.String()))
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		return fmt.Errorf("comity %s: its JSON: %w", strings.Join(args[:min(2, len(args))], " "), err)
	}
	return nil
}

// freePort asks the system for a port that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// file is a path in the demo's folder.
func (s *story) file(name string) string { return filepath.Join(s.dir, name) }

// write makes a file of the demo's folder.
func (s *story) write(name, text string) (string, error) {
	path := s.file(name)
	return path, cli.WriteNewFile(path, []byte(text), true)
}

// close ends everything that runs.
func (s *story) close() {
	for _, a := range s.wallets {
		a.Close()
	}
	s.wallets = map[string]*actor{}
	s.ledger.stop()
	s.witness.stop()
}

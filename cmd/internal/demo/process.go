package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// process is a long-running command of this same binary.
type process struct {
	cmd  *exec.Cmd
	log  string // file of its output
	done chan struct{}
	last bool // stopped after the others: a witness, without which a ledger could not end in order
}

// children are the processes of the story. They are started by several goroutines at once.
type children struct {
	mu  sync.Mutex // guards all
	all []*process
}

func (c *children) add(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, p)
}

// stop ends everything that runs: witnesses last.
func (c *children) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, last := range []bool{false, true} {
		var wait sync.WaitGroup
		for _, p := range c.all {
			if p.last == last {
				wait.Go(p.stop)
			}
		}
		wait.Wait()
	}
	c.all = nil
}

// running counts what runs now.
func (c *children) running() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.all {
		if !p.ended() {
			n++
		}
	}
	return n
}

// start runs a command of this binary until it writes its ready file, whose content it returns.
func (s *story) start(name string, args ...string) (*process, string, error) {
	ready := filepath.Join(s.dir, name+".ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", fmt.Errorf("start %s: %w", name, err)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("start %s: %w", name, err)
	}
	cmd := exec.Command(s.self, append(args, "--ready-file", ready)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, environment()
	// A group of its own: Ctrl-C reaches the demo alone, which stops its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	adopt(cmd.SysProcAttr)
	err = cmd.Start()
	_ = log.Close() // the child has its own
	if err != nil {
		return nil, "", fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, log: log.Name(), done: make(chan struct{}), last: args[0] == "witness"}
	s.children.add(p)
	go func() {
		_ = cmd.Wait() // its end is what is waited for; the log says why
		close(p.done)
	}()
	deadline := time.After(60 * time.Second)
	for {
		if b, err := os.ReadFile(ready); err == nil {
			return p, strings.TrimSpace(string(b)), nil
		}
		select {
		case <-p.done:
			return nil, "", fmt.Errorf("%s ended before it was ready:\n%s", name, tail(log.Name()))
		case <-deadline:
			p.kill()
			return nil, "", fmt.Errorf("%s was not ready in a minute:\n%s", name, tail(log.Name()))
		case <-s.ctx.Done():
			p.kill()
			return nil, "", s.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// environment is that of this process without what would stand for flags of its commands.
func environment() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "COMITY_LEDGER=") && !strings.HasPrefix(v, "COMITY_WALLET=") {
			env = append(env, v)
		}
	}
	return env
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// tails are the last lines of every log, for whoever looks for the reason of a failure.
func (s *story) tails() string {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log")) // the pattern is well formed
	var out strings.Builder
	for _, path := range logs {
		fmt.Fprintf(&out, "%s, its last lines:\n%s\n", strings.TrimSuffix(filepath.Base(path), ".log"), tail(path))
	}
	return out.String()
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill is SIGKILL: the process gets no chance to finish anything.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks the process to end and waits.
func (p *process) stop() {
	if p.ended() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
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
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errOut, environment()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("comity %s: %w", strings.Join(args[:min(2, len(args))], " "), err)
	}
	return answer(args, cmd.ProcessState.ExitCode(), out.Bytes(), errOut.Bytes(), result)
}

// inside runs a short command in this process: one that makes a key, which is stretched less here than for real (see run), or one that asks
// a person, who is answered for by in.
func (s *story) inside(result any, in io.Reader, errOut io.Writer, group *cobra.Command, args ...string) error {
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(group)
	if in != nil {
		root.SetIn(in)
	}
	if result != nil {
		args = append(args, "--json")
	}
	var out, said bytes.Buffer
	w := io.Writer(&said)
	if errOut != nil {
		w = io.MultiWriter(&said, errOut)
	}
	code := cli.Run(s.ctx, root, args, &out, w)
	return answer(args, code, out.Bytes(), said.Bytes(), result)
}

// answer reads what a command printed, and its error by name.
func answer(args []string, code int, out, errOut []byte, result any) error {
	what := strings.Join(args[:min(2, len(args))], " ")
	var read error
	if result != nil && len(bytes.TrimSpace(out)) > 0 {
		read = json.Unmarshal(out, result)
	}
	if code == 0 {
		if read != nil {
			return fmt.Errorf("comity %s: its JSON: %w", what, read)
		}
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(errOut)), "\n")
	last := lines[len(lines)-1]
	var told struct {
		Error struct{ Code, Detail string }
	}
	if i := strings.Index(last, `{"error":`); i >= 0 && json.Unmarshal([]byte(last[i:]), &told) == nil {
		return &cli.Error{Code: cli.Code(code), Name: told.Error.Code, Err: errors.New(told.Error.Detail)}
	}
	return &cli.Error{Code: cli.Code(code), Err: fmt.Errorf("comity %s: exit code %d: %s", what, code, strings.TrimPrefix(last, "comity: "))}
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

// replace writes a copy of a file with other words in it.
func (s *story) replace(path, name, old, with string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), old, with, 1)
	if changed == string(text) {
		return fmt.Errorf("%s does not hold %q", path, old)
	}
	_, err = s.write(name, changed)
	return err
}

// setRates writes a rates file, which a running provider reads again.
func (s *story) setRates(path, text string) error { return cli.ReplaceFile(path, []byte(text), 0o600) }

// close ends everything that runs.
func (s *story) close() {
	for _, a := range s.wallets {
		a.shut()
	}
	s.wallets = map[string]*actor{}
	s.children.stop()
	s.tap.close()
}

// both runs things at the same time.
func both(things ...func() error) error {
	failed := make([]error, len(things))
	var wait sync.WaitGroup
	for i, thing := range things {
		wait.Go(func() { failed[i] = thing() })
	}
	wait.Wait()
	return errors.Join(failed...)
}

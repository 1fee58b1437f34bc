package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
)

// Options say how a ledger is run.
type Options struct {
	// Program is the comity binary.
	Program string
	// TLS serves over mutual TLS, with a certificate for each caller; otherwise in the clear, on loopback.
	TLS bool
	// Telemetry serves metrics, which are read every five seconds, and sends metrics, logs and one trace in a hundred to a collector.
	Telemetry bool
	// Callers is how many banks send, each with a certificate and a client of its own. Default 8.
	Callers int
	// Profile is a file for the node's CPU profile, from its start to its end; "" makes none.
	Profile string
}

// Ledger is a ledger that runs: the node is a process of its own.
type Ledger struct {
	URL     string
	Pid     int
	StartUp time.Duration // from the start of the process until it answered

	driver  *Driver // of all callers
	metrics string  // URL, "" without telemetry
	cmd     *exec.Cmd
	stderr  *bytes.Buffer // read after the process has ended
	closers []func()
}

// startWait bounds the start of a node: one with 50 million nullifiers reads them back first.
const startWait = 5 * time.Minute

// Start runs a ledger, with its witness.
func (f *Founded) Start(ctx context.Context, o Options) (l *Ledger, err error) {
	if o.Callers == 0 {
		o.Callers = 8
	}
	l = &Ledger{stderr: new(bytes.Buffer)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Stop())
			l = nil
		}
	}()
	witness, stop, err := Witness(f.Set, filepath.Join(f.Dir, "witness"))
	if err != nil {
		return l, fmt.Errorf("start the witness: %w", err)
	}
	l.closers = append(l.closers, stop)
	ready := filepath.Join(f.Dir, "ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return l, err
	}
	args := []string{"ledger", "run", "--data", f.Dir, "--listen", "127.0.0.1:0", "--ready-file", ready,
		"--passphrase-file", filepath.Join(f.Dir, "passphrase"), "--witness", dataset.WitnessName + "=" + witness}
	if f.Store != "" {
		args = append(args, "--store", f.Store)
	}
	if o.Profile != "" {
		args = append(args, "--cpu-profile", o.Profile)
	}
	if o.Telemetry {
		collects, end, err := collector()
		if err != nil {
			return l, err
		}
		l.closers = append(l.closers, end)
		address, err := freePort()
		if err != nil {
			return l, err
		}
		l.metrics = "http://" + address + "/metrics"
		args = append(args, "--metrics-listen", address, "--otlp", collects, "--trace-sample", "0.01")
	}
	var guard *Certificates
	if o.TLS {
		if guard, err = Certify(doors.Ledger(f.State.Genesis().Hash()), filepath.Join(f.Dir, "tls")); err != nil {
			return l, fmt.Errorf("make certificates: %w", err)
		}
		cert, key := guard.Pair("node")
		args = append(args, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", guard.CA())
	}
	l.cmd = exec.CommandContext(ctx, o.Program, args...)
	l.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COMITY_") })
	l.cmd.Stderr = l.stderr
	l.cmd.Cancel = func() error { return l.cmd.Process.Signal(syscall.SIGTERM) }
	l.cmd.WaitDelay = 20 * time.Second
	began := time.Now()
	if err := l.cmd.Start(); err != nil {
		return l, fmt.Errorf("start %s: %w", o.Program, err)
	}
	l.Pid = l.cmd.Process.Pid
	if l.URL, err = l.await(ctx, ready); err != nil {
		return l, err
	}
	l.StartUp = time.Since(began)
	if o.Telemetry {
		l.closers = append(l.closers, scrape(l.metrics))
	}
	l.driver, err = Connect(l.URL, guard, o.Callers)
	return l, err
}

// freePort finds an address on which nobody listens.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// await waits until the node has written where it answers.
func (l *Ledger) await(ctx context.Context, ready string) (string, error) {
	for deadline := time.Now().Add(startWait); ; time.Sleep(5 * time.Millisecond) {
		if url, err := os.ReadFile(ready); err == nil && bytes.HasSuffix(url, []byte("\n")) {
			return strings.TrimSpace(string(url)), nil
		}
		if ended(l.Pid) || ctx.Err() != nil || time.Now().After(deadline) {
			return "", errors.Join(ctx.Err(), errors.New("the node did not start"))
		}
	}
}

// ended tells whether a child process is over and nobody has waited for it yet.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// Connect makes a driver of several callers, each with connections of its own, and with a certificate where there are any.
func Connect(url string, guard *Certificates, callers int) (*Driver, error) {
	client := func(role doors.Role, name string) (ledgerv1connect.LedgerServiceClient, error) {
		var shown *doors.Client
		if guard != nil {
			var err error
			if shown, err = guard.client(role, name); err != nil {
				return nil, err
			}
		}
		over, base, err := doors.HTTP(url, shown)
		if err != nil {
			return nil, err
		}
		if guard == nil { // many calls at once over HTTP/1.1
			over = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}}
		}
		return ledgerv1connect.NewLedgerServiceClient(over, base, connect.WithAcceptCompression("gzip", nil, nil)), nil
	}
	d := &Driver{}
	for i := range callers {
		c, err := client(doors.Bank, fmt.Sprintf("bank-%d", i+1))
		if err != nil {
			return nil, err
		}
		d.clients = append(d.clients, c)
	}
	var err error
	d.watcher, err = client(doors.Operator, "watch")
	return d, err
}

// Driver sends as some of the ledger's callers, the first of them being 0.
func (l *Ledger) Driver(first, callers int) *Driver {
	return &Driver{clients: l.driver.clients[first : first+callers], watcher: l.driver.watcher}
}

// Look reads what the node has used.
func (l *Ledger) Look() (Used, error) { return Look(l.Pid) }

// Metrics reads what the node says of itself; nothing without telemetry.
func (l *Ledger) Metrics(ctx context.Context) (Metrics, error) {
	if l.metrics == "" {
		return Metrics{}, nil
	}
	return readMetrics(ctx, l.metrics)
}

// Stop ends the node in order, and then what it spoke to. A node that ends with an error is one.
func (l *Ledger) Stop() (err error) {
	if l.cmd != nil && l.cmd.Process != nil {
		_ = l.cmd.Process.Signal(syscall.SIGTERM) // fails only when the process is over
		if err = l.cmd.Wait(); err != nil {
			said := strings.TrimSpace(l.stderr.String())
			err = fmt.Errorf("the node: %w: %s", err, said[max(0, len(said)-2000):])
		}
		l.cmd = nil
	}
	for _, end := range slices.Backward(l.closers) {
		end()
	}
	l.closers = nil
	return err
}

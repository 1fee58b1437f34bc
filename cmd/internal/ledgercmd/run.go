package ledgercmd

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/rpc"
)

// runOptions are the flags of run.
type runOptions struct {
	data, listen, readyFile, profile string
	witnesses                        []string
	workers                          int
	store                            storeFlags
	telemetry                        telemetry.Options
	passphrase                       cli.Passphrase
	member                           memberFlags
}

func runCommand(version string) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a ledger",
		Long: `Run the ledger of a data folder until it is interrupted. It serves Connect, gRPC, gRPC-Web, JSON and C2SP tlog-tiles on one port.

Without certificates that is a loopback port, for callers on this machine. With --tls-cert, --tls-key and --tls-client-ca it is served over mutual
TLS 1.3, and a caller's certificate says what it may do (comity ledger pki makes them). Witnesses at https addresses want --tls-ca too. Files that
change are read again without a restart.

The log is kept in the data folder, or in the PostgreSQL database that --store or COMITY_STORE names.

It replays what its store holds first, then refuses to go on if its witnesses hold more: then the store is an old copy. Every block is
sent to the witnesses given with --witness; without a quorum the ledger goes on up to a backlog, and nothing is final meanwhile.

With --node-name it is one of several nodes of the ledger that share the database: one of them writes, the others follow it, answer what is
read, forward what is submitted, and take over when it is silent for as long as --lease, or at once when it is stopped in order. All of them
hold a copy of the data folder.

When it answers it prints a line that begins with "ready" to stderr and, with --ready-file, writes its URL there. SIGTERM or Ctrl-C ends it
in order: what was taken in is settled and answered first. It can be killed at any moment without losing what it acknowledged.`,
		Example: `  comity ledger run --data aurelia --listen 127.0.0.1:7001 --witness witness.example=http://127.0.0.1:7501
  curl -s -X POST -H 'Content-Type: application/json' -d '{}' http://127.0.0.1:7001/comity.ledger.v1.LedgerService/GetStatus`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "the data folder (required)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7001", "address and port, loopback without TLS; port 0 takes a free one")
	f.StringArrayVar(&o.witnesses, "witness", nil, "where a witness of genesis answers, as NAME=URL; repeat for each")
	f.StringVar(&o.readyFile, "ready-file", "", "write the ledger's URL here once it answers")
	f.IntVar(&o.workers, "workers", 0, "processors for checking proofs, 0 for all")
	f.StringVar(&o.profile, "cpu-profile", "", "write a CPU profile here at the end")
	_ = cmd.MarkFlagRequired("data")
	o.store.add(cmd)
	o.telemetry.AddFlags(cmd)
	tlsfiles.ServerFlag(cmd)
	o.passphrase = cli.PassphraseFlag(cmd)
	o.member.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runLedger(cmd, o, version) }
	return cmd
}

func runLedger(cmd *cobra.Command, o runOptions, version string) (err error) {
	ctx := cmd.Context()
	if err := tlsfiles.CheckListen(cmd, o.listen); err != nil {
		return err
	}
	if err := o.member.check(cmd); err != nil {
		return err
	}
	f := folder(o.data)
	g, err := f.readGenesis()
	if err != nil {
		return err
	}
	endpoints, err := witnessEndpoints(g, o.witnesses, tlsfiles.From(ctx))
	if err != nil {
		return err
	}
	verifier, err := circuits.Verifier(g, o.workers)
	if err != nil {
		return err
	}
	secret, err := o.passphrase.Read(cmd, "Passphrase of the key that signs checkpoints", false)
	if err != nil {
		return err
	}
	key, _, err := keyfile.Read(f.logKey(), purposeLog, secret)
	if err != nil {
		return err
	}
	if !g.LogKey.Public().Equal(key.Public().(ed25519.PublicKey)) {
		return cli.RefusedAs("log_key_mismatch", fmt.Errorf("%s is not the log key that genesis lists", f.logKey()))
	}
	signer, err := proof.NewLogSigner(g.Origin, key)
	if err != nil {
		return err
	}
	seen, err := o.telemetry.Start(ctx, telemetry.Config{Service: "comity-ledger", Version: version, Ledger: g.Origin, Stderr: cmd.ErrOrStderr(), Flags: cmd})
	if err != nil {
		return err
	}
	defer seen.Shutdown(ctx)
	logger := seen.Log.With("ledger", g.Origin)
	guard, err := tlsfiles.Server(cmd, logger, g.Hash())
	if err != nil {
		return err
	}
	if o.member.on() {
		o.store.idle = min(3*time.Second, o.member.lease/2)
	}
	bar := cli.NewProgress(cmd, "Opening the store", -1)
	opener, err := o.store.opener(cmd, f, func(done, total uint64) { bar.Set(int(done), int(total)) })
	if err != nil {
		bar.Done()
		return err
	}
	store, err := opener.Open(ctx, g.Hash())
	if err != nil {
		bar.Done()
		return named(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	head, err := store.Head(ctx)
	if err != nil {
		return named(err)
	}
	var listener net.Listener
	var url string
	listen := func() (err error) {
		var config net.ListenConfig
		if listener, err = config.Listen(ctx, "tcp", o.listen); err != nil {
			return fmt.Errorf("listen on %s: %w", o.listen, err)
		}
		url = tlsfiles.Scheme(guard) + listener.Addr().String()
		return nil
	}
	if o.member.on() { // other nodes are told its address when it joins
		if err := listen(); err != nil {
			bar.Done()
			return err
		}
		defer listener.Close()
	}
	bar.Describe("Replaying the log")
	n, err := o.member.start(ctx, node.Config{Store: store, Verifier: verifier, Signer: signer, Witnesses: endpoints, HTTP: witnessClient(tlsfiles.From(ctx)), Log: logger,
		Progress: func(height, _ uint64) { bar.Set(int(height), int(head.Height)) }}, url, tlsfiles.From(ctx))
	bar.Done()
	if err != nil {
		return namedLog(named(err))
	}
	stopped := false
	stop := func() error {
		stopped = true
		graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		return namedLog(named(n.Stop(graceful)))
	}
	defer func() {
		if !stopped {
			err = errors.Join(err, stop())
		}
	}()
	server, err := rpc.New(rpc.Config{Ledger: served{n}, Version: version, Doors: guard, Log: logger})
	if err != nil {
		return err
	}
	if listener == nil {
		if err := listen(); err != nil {
			return err
		}
	}
	if o.profile != "" {
		file, err := os.Create(o.profile)
		if err != nil {
			return errors.Join(fmt.Errorf("create the profile: %w", err), listener.Close())
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return errors.Join(fmt.Errorf("start the profile: %w", err), listener.Close())
		}
		defer pprof.StopCPUProfile()
	}
	if o.readyFile != "" {
		if err := cli.ReplaceFile(o.readyFile, []byte(url+"\n"), 0o644); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	seen.Serving(n)
	defer context.AfterFunc(ctx, func() { seen.Serving(nil) })()
	status := n.Status()
	fmt.Fprintf(cmd.ErrOrStderr(), "ready %s ledger %s (%s), block %d, %d entries\n", url, g.Origin, g.Network, status.State.Height, status.Size)
	// The node may end by itself: fenced, in doubt, or behind its witnesses. Then the server ends too.
	serving, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-n.Done():
			end()
		case <-serving.Done():
		}
	}()
	err = server.Serve(serving, listener)
	return errors.Join(err, stop())
}

// witnessEndpoints reads NAME=URL and refuses a name that genesis does not list, or that comes twice.
func witnessEndpoints(g *entry.Genesis, flags []string, certificates *doors.Client) ([]journal.Endpoint, error) {
	var out []journal.Endpoint
	for _, text := range flags {
		name, address, ok := strings.Cut(text, "=")
		if !ok {
			return nil, cli.Usagef("--witness %q: want NAME=URL", text)
		}
		url, err := cli.LedgerURL(address)
		if err != nil {
			return nil, fmt.Errorf("--witness %s: %w", name, err)
		}
		if _, _, err := doors.HTTP(url, certificates); err != nil {
			return nil, fmt.Errorf("--witness %s: %w", name, err)
		}
		if !slices.ContainsFunc(g.Witnesses.Members, func(w entry.Witness) bool { return w.Name == name }) {
			return nil, cli.RefusedAs("witness_unknown", fmt.Errorf("genesis lists no witness %q", name))
		}
		if slices.ContainsFunc(out, func(e journal.Endpoint) bool { return e.Name == name }) {
			return nil, cli.Usagef("--witness %s is given twice", name)
		}
		out = append(out, journal.Endpoint{Name: name, URL: url})
	}
	return out, nil
}

// witnessClient reaches witnesses over mutual TLS; nil is the journal's own, for loopback.
func witnessClient(certificates *doors.Client) *http.Client {
	if certificates == nil {
		return nil
	}
	return &http.Client{Transport: doors.Transport(certificates), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// namedLog gives the journal's errors the names by which a script tells them apart.
func namedLog(err error) error {
	for _, known := range []error{journal.ErrBehindWitnesses, journal.ErrForked, journal.ErrWentBack} {
		if errors.Is(err, known) {
			return cli.RefusedAs(known.Error(), err)
		}
	}
	switch {
	case errors.Is(err, settlement.ErrFenced):
		return cli.RefusedAs("fenced", err)
	case errors.Is(err, settlement.ErrInDoubt):
		return cli.RefusedAs("block_in_doubt", err)
	}
	return err
}

// served is a node as the network edge sees it.
type served struct{ running }

// Submit settles one entry.
func (s served) Submit(ctx context.Context, leaf []byte, segments [][]byte) (rpc.Accepted, error) {
	r, err := s.running.Submit(node.WithVoucher(node.WithCaller(ctx, rpc.Lane(ctx)), rpc.Voucher(ctx)), leaf, segments)
	if err != nil {
		return rpc.Accepted{}, stopping(err)
	}
	return rpc.Accepted{ID: r.ID, EntryIndex: r.EntryIndex, Height: r.Height, Before: r.Status == settlement.SettledBefore}, nil
}

// Status says where the ledger stands.
func (s served) Status(context.Context) (rpc.Status, error) {
	n := s.running.Status()
	out := rpc.Status{State: n.State, Size: n.Size, FinalSize: n.FinalSize, Pending: n.Waiting, UptimeSeconds: uint64(n.Uptime.Seconds()), Node: roleOf(s.running)}
	for _, w := range n.Witnesses {
		if out.Node != nil && !out.Node.Leads {
			break // a node that follows asks no witness, so it has nothing to say of them
		}
		out.Witnesses = append(out.Witnesses, rpc.WitnessStatus{Name: w.Name, Size: w.Size, LastError: w.LastError})
	}
	return out, nil
}

// WaitBlock returns once a block is durable.
func (s served) WaitBlock(ctx context.Context, height uint64) error {
	return stopping(s.running.WaitBlock(ctx, height))
}

// Receipt waits for a final receipt.
func (s served) Receipt(ctx context.Context, index uint64) ([]byte, error) {
	receipt, err := s.running.Receipt(ctx, index)
	return receipt, stopping(err)
}

// WaitCheckpoint waits for a cosigned checkpoint.
func (s served) WaitCheckpoint(ctx context.Context, size uint64, enough func(cosigners []string) bool) (uint64, []byte, error) {
	size, note, err := s.running.WaitCheckpoint(ctx, size, enough)
	return size, note, stopping(err)
}

// stopping tells callers of a node that ends to come back, by name: nothing is known of what they asked.
func stopping(err error) error {
	if errors.Is(err, node.ErrStopped) {
		return entry.Refuse(entry.TryLater, "the node is stopping")
	}
	return err
}

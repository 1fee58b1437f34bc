// Package witnesscmd is `comity witness`: it makes a witness's key and runs a witness of one ledger, consistency or validating as
// the ledger's genesis says. What a witness does is in settlement/journal; this package brings files, the network and the verifier.
package witnesscmd

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Command returns the command group.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "witness",
		Short: "Cosign a ledger's checkpoints",
		Long: `A witness remembers the largest checkpoint of a ledger that it saw and cosigns only what grew from it, so that the ledger cannot
show two histories. A validating witness also replays every proof, nullifier and root before it cosigns.`,
	}
	cmd.AddCommand(keygenCommand(), encryptKeyCommand(), runCommand())
	return cmd
}

func keygenCommand() *cobra.Command {
	var data, name string
	cmd := &cobra.Command{
		Use:   "keygen --data DIR --name NAME",
		Short: "Make a witness's key",
		Long: `Make a witness's folder and key. The key stays in DIR/witness.key, encrypted under a passphrase and readable by its owner alone; losing it costs
the ledger a witness, and a thief of it counts as one faulty witness. The printed line goes into the ledger's configuration.`,
		Example: "  comity witness keygen --data ./w1 --name witness1.aurelia.example",
		Args:    cobra.NoArgs,
	}
	asJSON := cli.JSON(cmd)
	cmd.Flags().StringVar(&data, "data", "", "folder of the witness, made if need be")
	cmd.Flags().StringVar(&name, "name", "", "name of the witness in the ledger's witness policy")
	required(cmd, "data", "name")
	passphrase := cli.PassphraseFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		secret, err := passphrase.Read(cmd, "Passphrase for the new key file", true)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(data, 0o700); err != nil {
			return fmt.Errorf("make the witness folder: %w", err)
		}
		public, err := newKey(filepath.Join(data, keyFile), name, secret)
		if err != nil {
			return err
		}
		return printKey(cmd, *asJSON, name, public)
	}
	return cmd
}

func required(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that this file does not define
		}
	}
}

// options are the flags of run.
type options struct {
	data, listen, genesis, ledger, readyFile string
	workers                                  int
	passphrase                               cli.Passphrase
	telemetry                                telemetry.Options
}

func runCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "run --data DIR --listen 127.0.0.1:PORT --genesis FILE [--ledger URL]",
		Short: "Run a witness",
		Long: `Run the witness of one ledger until it is interrupted. The ledger's genesis says whether it is a consistency or a validating witness;
a validating one replays the ledger's blocks from --ledger first and cosigns nothing that it has not replayed.

It serves POST /add-checkpoint (C2SP tlog-witness) on a loopback address, or anywhere over mutual TLS with --tls-cert, --tls-key and
--tls-client-ca; then only a certificate with the role operator is answered. When it answers it prints a line that begins with "ready"
to stderr and, with --ready-file, writes its URL there.`,
		Example: `  comity witness run --data ./w1 --listen 127.0.0.1:7501 --genesis aurelia.json
  comity witness run --data ./w2 --listen 127.0.0.1:0 --genesis aurelia.json --ledger http://127.0.0.1:7400 --ready-file w2.url`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "folder of the witness, made by keygen")
	f.StringVar(&o.listen, "listen", "", "loopback address and port; port 0 takes a free one")
	f.StringVar(&o.genesis, "genesis", "", "the ledger's genesis, as JSON or in its binary form")
	f.StringVar(&o.ledger, "ledger", "", "the ledger's URL, from which a validating witness reads blocks")
	f.StringVar(&o.readyFile, "ready-file", "", "write the witness's URL here once it answers")
	f.IntVar(&o.workers, "workers", 0, "processors for checking proofs, 0 for all")
	o.passphrase = cli.PassphraseFlag(cmd)
	o.telemetry.AddFlags(cmd)
	tlsfiles.ServerFlag(cmd)
	required(cmd, "data", "listen", "genesis")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return run(cmd.Context(), o, cmd, cmd.ErrOrStderr())
	}
	return cmd
}

// run serves until ctx ends.
func run(ctx context.Context, o options, flags *cobra.Command, stderr io.Writer) (err error) {
	if err := tlsfiles.CheckListen(flags, o.listen); err != nil {
		return err
	}
	g, err := cli.ReadGenesis(o.genesis)
	if err != nil {
		return err
	}
	name, key, err := readKey(filepath.Join(o.data, keyFile), func() ([]byte, error) { return o.passphrase.Read(flags, "Passphrase of the witness's key", false) })
	if err != nil {
		return err
	}
	kind, err := roleOf(g, name, key.Public().(ed25519.PublicKey), o.ledger)
	if err != nil {
		return err
	}
	cosigner, err := proof.NewCosigner(name, key)
	if err != nil {
		return err
	}
	folder, err := journal.OpenFolder(filepath.Join(o.data, "state"))
	if err != nil {
		return named(err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()

	seen, err := o.telemetry.Start(ctx, telemetry.Config{Service: "comity-witness", Ledger: g.Origin, Stderr: stderr, Flags: flags})
	if err != nil {
		return err
	}
	defer seen.Shutdown(ctx)
	logger := seen.Log.With("witness", name)
	watched := journal.Log{Origin: g.Origin, Key: g.LogKey.Public()}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var following *follower
	if kind == entry.ValidatingWitness {
		url, err := cli.LedgerURL(o.ledger)
		if err != nil {
			return err
		}
		caller, url, err := doors.HTTP(url, tlsfiles.From(ctx))
		if err != nil {
			return err
		}
		if following, err = newFollower(g, caller, url, o.workers, logger); err != nil {
			return err
		}
		watched.Validator = following.validator
	}
	guard, err := tlsfiles.Server(flags, logger, g.Hash())
	if err != nil {
		return err
	}
	forked, err := forks()
	if err != nil {
		return err
	}
	w, err := journal.NewWitness(journal.WitnessConfig{
		Cosigner: cosigner, Logs: []journal.Log{watched}, Medium: folder, Logger: logger,
		OnFork: func(_ string, e *proof.Evidence) { forked(); keepEvidence(o.data, e, logger) },
	})
	if err != nil {
		return named(err)
	}
	held, _ := w.Head(g.Origin)
	if following != nil {
		following.player.checked = held
		done := make(chan struct{})
		go func() {
			defer close(done)
			following.run(ctx)
		}()
		defer func() { stop(); <-done }()
	}
	listener, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	answers, err := measured(w.Handler(), func() uint64 { head, _ := w.Head(g.Origin); return head.Size })
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler: guarded(guard, answers), BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	url := tlsfiles.Scheme(guard) + listener.Addr().String()
	fmt.Fprintf(stderr, "ready %s witness %s (%s) of %s, holds %d leaves\n", url, name, kind, g.Origin, held.Size)
	if o.readyFile != "" {
		if err := cli.ReplaceFile(o.readyFile, []byte(url+"\n"), 0o644); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	seen.Serving(telemetry.Serves{})
	defer context.AfterFunc(ctx, func() { seen.Serving(nil) })()
	return serve(ctx, server, listener, guard, stop)
}

// serve runs the server until ctx ends, then lets requests in hand finish.
func serve(ctx context.Context, server *http.Server, listener net.Listener, guard *doors.Server, stop context.CancelFunc) error {
	failed := make(chan error, 1)
	go func() { failed <- doors.Serve(server, listener, guard) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stop() // ends requests that wait for a replay
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := server.Shutdown(last)
	<-failed
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// guarded lets the node of the ledger alone ask for cosignatures: a certificate with the role operator. Without TLS whoever is on this machine may.
func guarded(guard *doors.Server, next http.Handler) http.Handler {
	if guard == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := guard.Identify(r)
		if err == nil && id.Role != doors.Operator {
			err = fmt.Errorf("role_not_allowed: %s asks for no cosignatures", id)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listener, nil
}

// roleOf finds this witness in the genesis, which states its key and kind.
func roleOf(g *entry.Genesis, name string, key ed25519.PublicKey, ledger string) (entry.WitnessKind, error) {
	for _, m := range g.Witnesses.Members {
		if m.Name != name {
			continue
		}
		if !key.Equal(m.Key.Public()) {
			return 0, cli.RefusedAs("witness_key_mismatch", fmt.Errorf("the genesis of %s lists witness %s with another key", g.Origin, name))
		}
		switch {
		case m.Kind == entry.ValidatingWitness && ledger == "":
			return 0, cli.Usagef("the genesis of %s lists %s as a validating witness: give --ledger to replay from", g.Origin, name)
		case m.Kind == entry.ConsistencyWitness && ledger != "":
			return 0, cli.Usagef("the genesis of %s lists %s as a consistency witness, which replays nothing: leave --ledger out", g.Origin, name)
		}
		return m.Kind, nil
	}
	return 0, cli.RefusedAs("witness_unknown", fmt.Errorf("the genesis of %s lists no witness %s", g.Origin, name))
}

// named gives the journal's errors the names by which a script tells them apart.
func named(err error) error {
	for _, known := range []error{journal.ErrFolderInUse, journal.ErrStateDamaged} {
		if errors.Is(err, known) {
			return cli.RefusedAs(known.Error(), err)
		}
	}
	return err
}

// keepEvidence writes evidence of a fork where the operator finds it; the same evidence is kept once.
func keepEvidence(data string, e *proof.Evidence, logger *slog.Logger) {
	dir := filepath.Join(data, "evidence")
	text := e.Marshal()
	path := filepath.Join(dir, fmt.Sprintf("fork-%x.txt", sha256.Sum256(text)))
	if _, err := os.Stat(path); err == nil {
		return
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = cli.WriteNewFile(path, text, false)
	}
	if err != nil {
		logger.Error("evidence of a fork could not be kept", "error", err)
		return
	}
	logger.Error("evidence of a fork was kept", "file", path)
}

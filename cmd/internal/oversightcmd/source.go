package oversightcmd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/logdir"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
)

// ledgerEnv stands for --ledger, as for wallets.
const ledgerEnv = "COMITY_LEDGER"

// sourceFlags say what is read and with which keys.
type sourceFlags struct {
	ledger, log, genesis *string
	state                *string
	keys                 *[]string
	passphrase           cli.Passphrase
	asJSON               *bool
}

func addSource(cmd *cobra.Command) sourceFlags {
	f := sourceFlags{
		ledger:  cmd.Flags().String("ledger", "", "address of the ledger, such as http://127.0.0.1:7001 (default: $"+ledgerEnv+")"),
		log:     cmd.Flags().String("log", "", "folder of an exported log, instead of a ledger"),
		genesis: cmd.Flags().String("genesis", "", "genesis hash that the log must have: without it, any ledger is believed to be the one you mean"),
		state: cmd.Flags().String("state", "", "folder in which what was read is kept, encrypted under the keys, so that the next command reads only what is new; "+
			"a log that was rolled back or has another history is refused"),
		keys: cmd.Flags().StringArray("key", nil, "key file; may be given several times, for several epochs or programmes (required)"),
	}
	_ = cmd.MarkFlagRequired("key")
	f.passphrase = cli.PassphraseFlag(cmd)
	f.asJSON = cli.JSON(cmd)
	return f
}

// source is a log to be read.
type source struct {
	genesis *entry.Genesis
	size    uint64 // entries, for the progress bar alone
	final   *proof.Final
	blocks  func(from uint64) iter.Seq2[*wallets.Block, error] // from a height on
}

// audit reads the keys, then scans the log: the whole of it, or what was added since a state was kept.
func (f sourceFlags) audit(cmd *cobra.Command) (*oversight.Audit, error) {
	var pin entry.GenesisHash
	if *f.genesis != "" {
		var err error
		if pin, err = parseGenesis(*f.genesis); err != nil {
			return nil, err
		}
	}
	secrets, err := f.secrets(cmd)
	if err != nil {
		return nil, err
	}
	src, err := f.open(cmd.Context())
	if err != nil {
		return nil, err
	}
	hash := src.genesis.Hash()
	if pin != (entry.GenesisHash{}) && hash != pin {
		return nil, cli.Exit(cli.Unverified, wallets.Refuse(wallets.OtherLedger, "the log is of ledger %s, --genesis says %s", hash, pin))
	}
	if src.final == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "comity: the ledger has no cosigned checkpoint yet: nothing in this answer is final")
	}
	bar := cli.NewProgress(cmd, "open", int(src.size))
	c := oversight.Config{Genesis: hash, Secrets: secrets, Checkpoint: src.final, Workers: runtime.GOMAXPROCS(0),
		Progress: func(entries uint64) { bar.Set(int(entries), int(max(entries, src.size))) }}
	var from uint64
	var unkept error
	if *f.state != "" {
		file, err := keep(*f.state, hash, secrets)
		if err != nil {
			return nil, err
		}
		if c.From, err = file.read(); err != nil {
			return nil, err
		}
		if c.From != nil {
			from = c.From.Next()
		}
		c.Save = func(state []byte) { unkept = file.write(state) }
	}
	a, err := oversight.Scan(cmd.Context(), src.blocks(from), c)
	bar.Done()
	return a, failed(errors.Join(err, unkept))
}

// failed gives the errors of reading and checking a log their exit codes.
func failed(err error) error {
	switch code := wallets.CodeOf(err); {
	case errors.Is(err, logdir.ErrDamaged), code == wallets.LedgerLied, code == wallets.OtherLedger, code == oversight.LogRolledBack, code == oversight.HistoryDiffers,
		code == oversight.StateInvalid:
		return cli.Exit(cli.Unverified, err)
	case errors.Is(err, logdir.ErrFormat):
		return cli.Exit(cli.Usage, err)
	}
	return err
}

func (f sourceFlags) secrets(cmd *cobra.Command) ([]zk.Scalar, error) {
	var out []zk.Scalar
	for _, path := range *f.keys {
		words, err := f.passphrase.Read(cmd, "Passphrase of "+path, false)
		if err != nil {
			return nil, err
		}
		secret, err := readKeyFile(path, words)
		if err != nil {
			return nil, err
		}
		out = append(out, secret)
	}
	return out, nil
}

func (f sourceFlags) open(ctx context.Context) (*source, error) {
	address := *f.ledger
	if address == "" && *f.log == "" {
		address = os.Getenv(ledgerEnv)
	}
	switch {
	case *f.log != "" && address != "":
		return nil, cli.Usagef("give --ledger or --log, not both")
	case *f.log != "":
		return openFolder(*f.log)
	case address != "":
		return openLedger(ctx, address)
	}
	return nil, cli.Usagef("give --ledger or --log (or $%s)", ledgerEnv)
}

func openFolder(dir string) (*source, error) {
	log, err := logdir.Open(dir)
	if err != nil {
		return nil, failed(err)
	}
	s := &source{genesis: log.Genesis(), size: log.Size()}
	if s.final, err = checkpoint(s.genesis, log.Checkpoint()); err != nil {
		return nil, err
	}
	s.blocks = func(from uint64) iter.Seq2[*wallets.Block, error] { return folderBlocks(log, from) }
	return s, nil
}

// folderBlocks reads an exported log, which is checked from its beginning, and gives the blocks from a height on.
func folderBlocks(log *logdir.Log, from uint64) iter.Seq2[*wallets.Block, error] {
	return func(yield func(*wallets.Block, error) bool) {
		for b, err := range log.Blocks() {
			if err != nil {
				yield(nil, err)
				return
			}
			if b.Height < from {
				continue
			}
			if !yield(&wallets.Block{Height: b.Height, TimeMillis: b.Time, FirstIndex: b.FirstIndex, Entries: b.Entries}, nil) {
				return
			}
		}
	}
}

func openLedger(ctx context.Context, address string) (*source, error) {
	url, err := cli.LedgerURL(address)
	if err != nil {
		return nil, err
	}
	c, err := client.NewTLS(url, tlsfiles.From(ctx))
	if err != nil {
		return nil, err
	}
	s := &source{}
	if s.genesis, _, err = c.Genesis(ctx); err != nil {
		return nil, failed(err)
	}
	// Before the blocks, so that the stream reaches it.
	signed, err := c.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if len(signed) > 0 {
		if s.final, err = checkpoint(s.genesis, signed); err != nil {
			return nil, err
		}
	}
	if _, s.size, err = c.Head(ctx); err != nil {
		return nil, err
	}
	s.blocks = func(from uint64) iter.Seq2[*wallets.Block, error] { return c.Entries(ctx, from) }
	return s, nil
}

// checkpoint checks a signed checkpoint against the policy that genesis states.
func checkpoint(g *entry.Genesis, signed []byte) (*proof.Final, error) {
	policy, err := wallets.PolicyOf(g)
	if err != nil {
		return nil, cli.Exit(cli.Unverified, err)
	}
	final, err := policy.Check(signed, uint64(time.Now().Unix()))
	if err != nil {
		return nil, cli.Exit(cli.Unverified, fmt.Errorf("checkpoint: %w", err))
	}
	return final, nil
}

// found ends a command whose answer was printed: with exit code 5 if it holds a mismatch.
func found(mismatches []oversight.Mismatch) error {
	if len(mismatches) == 0 {
		return nil
	}
	return &cli.Error{Code: cli.Unverified, Name: string(mismatches[0].Problem), Err: fmt.Errorf("%d mismatches; the first: %s", len(mismatches), mismatches[0])}
}

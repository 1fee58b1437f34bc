// Package walletcmd is the command group "comity wallet": it opens a wallet folder, connects it to a ledger and a prover, and prints. What
// a wallet may do and how is decided in wallets and wallets/session.
package walletcmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/prover"
)

// Environment variables that stand for flags, so that scripts need not repeat them.
const (
	walletEnv = "COMITY_WALLET"
	ledgerEnv = "COMITY_LEDGER"
)

// Command is the group "wallet".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wallet",
		Short: "Keep keys, pay and be paid",
		Long: `Keep keys, pay and be paid.

A wallet is a folder. Its keys are encrypted with a passphrase, and everything it learns with a key of its own. It computes its paths and
its balance from the ledger's stream of blocks, so the ledger never learns which note a payment spends.

--wallet may also be given as $COMITY_WALLET and --ledger as $COMITY_LEDGER.`,
	}
	cmd.AddCommand(createCommand(), addressCommand(), registerRequestCommand(), syncCommand(), balanceCommand(), payCommand(), disburseCommand(),
		historyCommand(), receiptCommand(), discloseCommand(), exportCommand())
	for _, sub := range cmd.Commands() {
		run := sub.RunE
		sub.RunE = func(cmd *cobra.Command, args []string) error { return sorted(run(cmd, args)) }
	}
	return cmd
}

// sorted gives the wallet's refusals their exit codes: a ledger that contradicts itself failed a check, and what only needs time may be
// tried again. Everything else is as cli has it.
func sorted(err error) error {
	var done *cli.Error
	if errors.As(err, &done) {
		return err
	}
	switch wallets.CodeOf(err) {
	case wallets.LedgerLied, wallets.LedgerForked, wallets.LedgerRolledBack:
		return cli.Exit(cli.Unverified, err)
	case wallets.NotFinal, wallets.FundsInFlight:
		return cli.Exit(cli.Unavailable, err)
	}
	return err
}

// Flags are what every command on a wallet folder takes.
type Flags struct {
	wallet, ledger *string
	passphrase     cli.Passphrase
}

// AddFlags adds --wallet, --passphrase-file and, with a ledger, --ledger.
func AddFlags(cmd *cobra.Command, withLedger bool) *Flags {
	f := &Flags{wallet: walletFlag(cmd), passphrase: cli.PassphraseFlag(cmd)}
	if withLedger {
		f.ledger = cmd.Flags().String("ledger", "", "address of the ledger, such as http://127.0.0.1:7001 (default: $"+ledgerEnv+")")
	}
	return f
}

func walletFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("wallet", "", "wallet folder (default: $"+walletEnv+")")
}

func given(flag, env, name string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if v := os.Getenv(env); v != "" {
		return v, nil
	}
	return "", cli.Usagef("--%s is needed (or $%s)", name, env)
}

// Wallet is an open wallet of a command.
type Wallet struct {
	*session.Session
	Folder  *keystore.Folder
	Genesis *entry.Genesis
	Client  *client.Client // nil without a ledger
}

// Close gives the folder back.
func (w *Wallet) Close() {
	if err := w.Session.Close(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "comity: the wallet's view of the ledger was not saved and will be read again: %v\n", err)
	}
	w.Folder.Close()
}

// Open opens the wallet that the flags name. With a ledger, the ledger must be the wallet's.
func (f *Flags) Open(cmd *cobra.Command) (*Wallet, error) {
	dir, err := given(*f.wallet, walletEnv, "wallet")
	if err != nil {
		return nil, err
	}
	address := ""
	if f.ledger != nil {
		if address, err = given(*f.ledger, ledgerEnv, "ledger"); err != nil {
			return nil, err
		}
	}
	if _, err := keystore.ReadHeader(dir); err != nil {
		return nil, err
	}
	passphrase, err := f.passphrase.Read(cmd, "Passphrase", false)
	if err != nil {
		return nil, err
	}
	return OpenWallet(cmd.Context(), dir, address, passphrase)
}

// OpenWallet opens a wallet folder and, if ledger is not empty, connects it to the ledger at that address.
func OpenWallet(ctx context.Context, dir, ledger string, passphrase []byte) (*Wallet, error) {
	folder, err := keystore.Open(dir, passphrase)
	if err != nil {
		return nil, err
	}
	w, err := connect(ctx, folder, ledger)
	if err != nil {
		folder.Close()
		return nil, err
	}
	return w, nil
}

func connect(ctx context.Context, folder *keystore.Folder, ledger string) (*Wallet, error) {
	w := &Wallet{Folder: folder}
	var err error
	if w.Genesis, err = entry.DecodeGenesis(folder.Genesis()); err != nil {
		return nil, fmt.Errorf("read the wallet's genesis: %w", err)
	}
	k, err := keysOf(folder.Secrets(), w.Genesis.Hash())
	if err != nil {
		return nil, err
	}
	c := session.Config{Genesis: w.Genesis, Keys: k, Folder: folder, Rand: rand.Reader, Now: time.Now, Prover: new(lazyProver)}
	if ledger != "" {
		if ledger, err = cli.LedgerURL(ledger); err != nil {
			return nil, err
		}
		if w.Client, err = client.NewTLS(ledger, tlsfiles.From(ctx)); err != nil {
			return nil, err
		}
		theirs, _, err := w.Client.Genesis(ctx)
		if err != nil {
			return nil, err
		}
		if theirs.Hash() != w.Genesis.Hash() {
			return nil, wallets.Refuse(wallets.OtherLedger, "the ledger at %s is %s, the wallet belongs to %s", ledger, theirs.Hash(), w.Genesis.Hash())
		}
		c.Ledger = w.Client
	}
	if w.Session, err = session.Open(c); err != nil {
		return nil, err
	}
	return w, nil
}

// lazyProver loads proving keys only when something is proven, and gives refusals of the native check the form in which the binary prints
// them.
type lazyProver struct{ p *prover.Prover }

func (l *lazyProver) Check(w zk.LegWitness) error {
	err := prover.Check(w)
	var r *prover.Refusal
	if errors.As(err, &r) {
		return &wallets.Refusal{Code: wallets.Code(r.Code), Detail: r.Detail}
	}
	return err
}

func (l *lazyProver) Prove(ctx context.Context, w zk.LegWitness) (zk.Proof, error) {
	if l.p == nil {
		p, err := prover.New(prover.Config{})
		if err != nil {
			return zk.Proof{}, err
		}
		l.p = p
	}
	return l.p.Prove(ctx, w)
}

// syncWith reads the ledger with a progress bar.
func syncWith(cmd *cobra.Command, w *Wallet) error {
	bar := cli.NewProgress(cmd, "Reading the ledger", -1)
	defer bar.Done()
	return w.Sync(cmd.Context(), progressOf(bar))
}

func progressOf(bar *cli.Progress) func(session.Progress) {
	return func(p session.Progress) { bar.Set(int(p.Height+1), int(p.Target+1)) }
}

// asset finds a currency by its code; empty stands for the only one.
func (w *Wallet) asset(code string) (entry.Asset, error) {
	if code == "" && len(w.Genesis.Assets) == 1 {
		return w.Genesis.Assets[0], nil
	}
	if a, ok := w.Genesis.AssetByCode(code); ok {
		return a, nil
	}
	var known []string
	for _, a := range w.Genesis.Assets {
		known = append(known, a.Code)
	}
	return entry.Asset{}, wallets.Refuse(wallets.UnknownAsset, "currency %q, this ledger has %v", code, known)
}

// money prints an amount of an asset.
func (w *Wallet) money(a zk.Amount, id zk.AssetID) string {
	if row, ok := w.Genesis.Asset(id); ok {
		return cli.Money(a, int(row.Decimals), row.Code)
	}
	return cli.Money(a, 0, fmt.Sprintf("asset %d", id))
}

func (w *Wallet) code(id zk.AssetID) string {
	row, _ := w.Genesis.Asset(id)
	return row.Code
}

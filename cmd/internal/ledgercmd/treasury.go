package ledgercmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// Issuing and redeeming move money into and out of a wallet of the treasury, so that wallet makes the proof. The proof may grow stale
// while the signers read: it is kept in the wallet, and submit makes it again without a new signature, because the id does not change.

// awaiting marks an attempt in the wallet's journal that is not to be sent by the wallet: it waits for policy signatures.
const awaiting = string(entry.SignaturesMissing)

func proposeIssue() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Propose to issue money into the treasury's wallet",
		Long: `Propose to issue money. It goes to the treasury's own registered wallet, which makes the proof, and from there to whoever is paid. The amount is
public; with --programme the money is earmarked from the start.`,
		Example: "  comity ledger propose issue --ledger http://127.0.0.1:7001 --wallet treasury --amount 5000000.00 --out issue.json",
		Args:    cobra.NoArgs,
	}
	t := addTreasuryFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return t.propose(cmd, func(_ context.Context, w *walletcmd.Wallet, b *wallets.Builder, asset zk.AssetID, amount zk.Amount, programme zk.ProgrammeID, sequence uint64) (*wallets.Draft, error) {
			return b.BuildIssue(asset, programme, amount, sequence)
		})
	}
	return cmd
}

func proposeRedeem() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redeem",
		Short: "Propose to take money out of the ledger, from the treasury's wallet",
		Long: `Propose to redeem money: it leaves the ledger from the treasury's own wallet, which makes the proof. The amount is public. If the money lies in too
many notes for one proof, they are merged first.`,
		Example: "  comity ledger propose redeem --ledger http://127.0.0.1:7001 --wallet treasury --amount 100000.00 --out redeem.json",
		Args:    cobra.NoArgs,
	}
	t := addTreasuryFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return t.propose(cmd, redeem)
	}
	return cmd
}

// maxMerges bounds the rounds of merging: each makes eight notes two.
const maxMerges = 64

func redeem(ctx context.Context, w *walletcmd.Wallet, b *wallets.Builder, asset zk.AssetID, amount zk.Amount, programme zk.ProgrammeID, sequence uint64) (*wallets.Draft, error) {
	for range maxMerges {
		draft, merges, err := b.BuildRedeem(w.Outbox(), asset, programme, amount, sequence)
		if err != nil || draft != nil {
			return draft, err
		}
		for _, m := range merges {
			if err := m.Prove(ctx, w.Prover, nil); err != nil {
				return nil, fmt.Errorf("merge notes: %w", err)
			}
			if err := record(w, m.Attempt("redeem/merge", false)); err != nil {
				return nil, err
			}
		}
		if err := w.Resume(ctx, nil); err != nil {
			return nil, fmt.Errorf("merge notes: %w", err)
		}
		ttl := b.TTLMillis
		b = w.Builder()
		b.TTLMillis = ttl
	}
	return nil, errors.New("the wallet's notes could not be merged enough")
}

// record makes a record durable in the wallet's journal, and then acts on it.
func record(w *walletcmd.Wallet, r any) error {
	b, err := wallets.Encode(r)
	if err != nil {
		return err
	}
	if err := w.Folder.Append(b); err != nil {
		return fmt.Errorf("write the wallet's journal: %w", err)
	}
	return w.Outbox().Add(b)
}

type treasuryFlags struct {
	proposal                             *ProposalFlags
	wallet, amount, asset, programmeText *string
	passphrase                           cli.Passphrase
}

func addTreasuryFlags(cmd *cobra.Command) *treasuryFlags {
	t := &treasuryFlags{proposal: AddProposalFlags(cmd), passphrase: cli.PassphraseFlag(cmd)}
	t.wallet = cmd.Flags().String("wallet", "", "the treasury's wallet folder (required)")
	_ = cmd.MarkFlagRequired("wallet")
	t.amount = cmd.Flags().String("amount", "", "the amount, with the decimals of the currency (required)")
	_ = cmd.MarkFlagRequired("amount")
	t.asset = cmd.Flags().String("asset", "", "the currency (default: the first of the ledger)")
	t.programmeText = cmd.Flags().String("programme", "", "the programme for which the money is earmarked")
	return t
}

type draftFunc func(ctx context.Context, w *walletcmd.Wallet, b *wallets.Builder, asset zk.AssetID, amount zk.Amount, programme zk.ProgrammeID, sequence uint64) (*wallets.Draft, error)

func (t *treasuryFlags) propose(cmd *cobra.Command, build draftFunc) error {
	r, _, header, err := t.proposal.Prepare(cmd)
	if err != nil {
		return err
	}
	a, err := assetByCode(r.Genesis, *t.asset)
	if err != nil {
		return err
	}
	amount, err := zk.ParseAmount(*t.amount, int(a.Decimals))
	if err != nil {
		return cli.Usagef("amount %q: %w", *t.amount, err)
	}
	var programme zk.ProgrammeID
	if *t.programmeText != "" {
		if programme, err = programmeID(*t.programmeText); err != nil {
			return err
		}
	}
	if exists(*t.proposal.out) {
		return cli.Usagef("%s exists already and is not overwritten", *t.proposal.out)
	}
	secret, err := t.passphrase.Read(cmd, "Passphrase of "+*t.wallet, false)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	w, err := walletcmd.OpenWallet(ctx, *t.wallet, *t.proposal.ledger, secret)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Sync(ctx, nil); err != nil {
		return err
	}
	b := w.Builder()
	b.TTLMillis = uint64(t.proposal.expiresIn.Milliseconds())
	draft, err := build(ctx, w, b, a.ID, amount, programme, header.Sequence)
	if err != nil {
		return err
	}
	bar := cli.NewProgress(cmd, "prove", -1)
	err = draft.Prove(ctx, w.Prover, nil)
	bar.Done()
	if err != nil {
		return err
	}
	attempt := draft.Attempt("propose/"+draft.ID().String(), false)
	if err := record(w, attempt); err != nil {
		return err
	}
	if err := record(w, &wallets.RefusedAttempt{TxID: attempt.TxID, Code: awaiting, Detail: "the proposal waits for policy signatures"}); err != nil {
		return err
	}
	return t.proposal.Write(cmd, r.Genesis, draft.Tx, draft.Segments)
}

// proveAgain makes the proofs of a proposal anew against the ledger's present roots, in the wallet that made it, and returns the
// proposal with the signatures it had.
func proveAgain(cmd *cobra.Command, g *entry.Genesis, p *entry.Proposal, wallet, ledger string, secret []byte) (*entry.Proposal, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Minute)
	defer cancel()
	w, err := walletcmd.OpenWallet(ctx, wallet, ledger, secret)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := w.Sync(ctx, nil); err != nil {
		return nil, err
	}
	attempt, ok := w.Outbox().Attempt(p.ID())
	if !ok {
		return nil, cli.RefusedAs("not_found", fmt.Errorf("wallet %s did not make proposal %s", wallet, p.ID()))
	}
	again, err := w.Builder().Reprove(ctx, w.Prover, attempt)
	if err != nil {
		return nil, fmt.Errorf("prove again: %w", err)
	}
	fresh, err := entry.NewProposal(g, again.Entry, p.Segments())
	if err != nil {
		return nil, err
	}
	for _, s := range p.Signatures() {
		if err := fresh.Add(s); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

package bridgecmd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	"github.com/comity-ledger/comity/cmd/internal/oversightcmd"
	"github.com/comity-ledger/comity/settlement/entry"
)

// signerPurpose is what comity ledger signer-keygen writes into a key file.
const signerPurpose keyfile.Purpose = "comity-signer-key-v1"

func overrideCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "override",
		Short: "Decide by hand a hold whose deciding ledger is dead",
		Long: `Decide by hand a hold whose deciding ledger is dead for ever. Three bodies sign: this ledger's policy, the treasury of the other ledger, and this
ledger's oversight body; the corridor must be frozen. It is logged, and a decision of the dead ledger that surfaces later and says otherwise
is booked as a claim between the treasuries.

A hold that follows another ledger may be posted or voided. A hold that this ledger itself decides may only be voided. Override the deciding
ledger's hold first while that ledger lives: then the hold here follows by itself.`,
	}
	cmd.AddCommand(overridePropose(), overrideSign(), overrideSubmit())
	return cmd
}

func overridePropose() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "propose HOLD",
		Short: "Make the proposal that three bodies sign",
		Long: `Make the proposal of an override. It is read and signed by this ledger's policy, the peer's treasury and oversight (comity bridge override sign), and
then submitted by anybody.`,
		Example: "  comity bridge override propose 4f1c.../0 --ledger http://127.0.0.1:7001 --outcome voided --out override.json",
		Args:    cobra.ExactArgs(1),
	}
	p := ledgercmd.AddProposalFlags(cmd)
	text := cmd.Flags().String("outcome", "", `"posted" pays the payee, "voided" gives the money back (required)`)
	peer := cmd.Flags().String("peer", "", "the other ledger, by the name of the corridor or by genesis hash, where the hold names several")
	_ = cmd.MarkFlagRequired("outcome")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		id, err := entry.ParseHoldID(args[0])
		if err != nil {
			return cli.Usagef("%q is no hold: want 64 hexadecimal digits, a slash and the leg", args[0])
		}
		e := &entry.Override{Hold: id}
		switch *text {
		case entry.Posted.String():
			e.Outcome = entry.Posted
		case entry.Voided.String():
			e.Outcome = entry.Voided
		default:
			return cli.Usagef(`--outcome %q: want "posted" or "voided"`, *text)
		}
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		e.Header = header
		l, err := dial(ctx, cmd.Flags().Lookup("ledger").Value.String())
		if err != nil {
			return err
		}
		h, done, err := l.Hold(ctx, id)
		if err != nil {
			return err
		}
		if done != nil {
			return entry.Refuse(entry.HoldResolved, "hold %s was %s by entry %d", id, done.Outcome, done.Entry)
		}
		if e.Commitment = h.Return; e.Outcome == entry.Posted {
			e.Commitment = h.Commitment
		}
		decoded, err := h.Condition.Decode()
		if err != nil {
			return cli.Exit(cli.Unverified, err)
		}
		switch c := decoded.(type) {
		case *entry.DecidedThere:
			e.Peer = c.Ledger
		case *entry.DecidedHere:
			if e.Outcome == entry.Posted {
				return entry.Refuse(entry.OutcomeInvalid, "hold %s is decided here: it can only be voided by hand", id)
			}
			if e.Peer = c.Followers[0].Ledger; *peer != "" || len(c.Followers) > 1 {
				found, err := peerNamed(ctx, l, *peer)
				if err != nil {
					return err
				}
				e.Peer = found.Peer
			}
		default:
			return cli.RefusedAs("not_between_ledgers", fmt.Errorf("hold %s is an escrow of this ledger alone: comity escrow settles it", id))
		}
		return p.Write(cmd, r.Genesis, e, nil)
	}
	return cmd
}

func overrideSign() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Read an override and sign it for one of the three bodies",
		Long: `Print what an override does, computed from its bytes, ask for confirmation, and add a signature to the file: --as policy with a signer's key of this
ledger, --as treasury with a signer's key of the other ledger, whose genesis is then needed, or --as oversight with this ledger's oversight
key. It works without a network.`,
		Example: `  comity bridge override sign override.json --as policy --key minister.key --genesis-file aurelia/genesis.json
  comity bridge override sign override.json --as treasury --key bor-minister.key --genesis-file aurelia/genesis.json --peer-genesis borealis/genesis.json
  comity bridge override sign override.json --as oversight --key auditor.key --genesis-file aurelia/genesis.json`,
		Args: cobra.ExactArgs(1),
	}
	genesis := cmd.Flags().String("genesis-file", "", "genesis of the ledger that holds the money, as JSON or in its binary form (required)")
	peerGenesis := cmd.Flags().String("peer-genesis", "", "genesis of the other ledger, for --as treasury")
	as := cmd.Flags().String("as", "policy", `who signs: "policy", "treasury" or "oversight"`)
	keyPath := cmd.Flags().String("key", "", "the key file (required)")
	yes := cmd.Flags().Bool("yes", false, "sign without asking")
	_ = cmd.MarkFlagRequired("genesis-file")
	_ = cmd.MarkFlagRequired("key")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := cli.ReadGenesis(*genesis)
		if err != nil {
			return err
		}
		var peer *entry.Genesis
		if *as == "treasury" {
			if *peerGenesis == "" {
				return cli.Usagef("--as treasury needs --peer-genesis")
			}
			if peer, err = cli.ReadGenesis(*peerGenesis); err != nil {
				return err
			}
		}
		p, err := ledgercmd.ReadProposal(g, args[0])
		if err != nil {
			return err
		}
		if !*asJSON {
			for _, line := range p.Describe() {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
		}
		if err := cli.Confirm(cmd, "Sign this?", *yes); err != nil {
			return err
		}
		secret, err := passphrase.Read(cmd, "Passphrase of "+*keyPath, false)
		if err != nil {
			return err
		}
		switch *as {
		case "policy", "treasury":
			key, _, err := keyfile.Read(*keyPath, signerPurpose, secret)
			if err != nil {
				return err
			}
			if *as == "policy" {
				err = p.Sign(key)
			} else {
				err = p.SignTreasury(peer, key)
			}
			if err != nil {
				return err
			}
		case "oversight":
			key, err := oversightcmd.ReadKeyFile(*keyPath, secret)
			if err != nil {
				return err
			}
			if err := p.SignOversight(key, rand.Reader); err != nil {
				return err
			}
		default:
			return cli.Usagef(`--as %q: want "policy", "treasury" or "oversight"`, *as)
		}
		return keepProposal(cmd, *asJSON, args[0], p)
	}
	return cmd
}

// keepProposal writes a proposal back where it changed, and shows it.
func keepProposal(cmd *cobra.Command, asJSON bool, path string, p *entry.Proposal) error {
	text, err := p.JSON()
	if err != nil {
		return err
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if !bytes.Equal(text, before) {
		if err := cli.ReplaceFile(path, text, 0o644); err != nil {
			return err
		}
	}
	if asJSON {
		return ledgercmd.PrintProposal(cmd, true, path, p)
	}
	_, oversight := p.OversightKey()
	fmt.Fprintf(cmd.OutOrStdout(), "Signed: %d of the policy, %d missing; %d of the other treasury; oversight signed: %t\n", len(p.Signatures()), p.Missing(),
		len(p.TreasurySignatures()), oversight)
	return nil
}

func overrideSubmit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Submit an override that all three bodies have signed",
		Long: `Submit an override that this ledger's policy, the other treasury and oversight have signed. The ledger checks every signature, and that the corridor is
frozen. Submitting again is safe.`,
		Example: "  comity bridge override submit override.json --ledger http://127.0.0.1:7001",
		Args:    cobra.ExactArgs(1),
	}
	address := cmd.Flags().String("ledger", "", "address of the ledger that holds the money (default: $"+ledgerEnv+")")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		text, err := given(*address, ledgerEnv, "ledger")
		if err != nil {
			return err
		}
		l, err := dial(ctx, text)
		if err != nil {
			return err
		}
		p, err := ledgercmd.ReadProposal(l.genesis, args[0])
		if err != nil {
			return err
		}
		e, ok := p.Entry().(*entry.Override)
		if !ok {
			return cli.Usagef("%s proposes another kind of entry: comity ledger submit", args[0])
		}
		c, err := l.corridor(ctx, e.Peer)
		if err != nil {
			return err
		}
		missing, err := p.TreasuryMissing(&c.Terms.Treasury)
		if err != nil {
			return err
		}
		if missing > 0 {
			return entry.Refuse(entry.SignaturesMissing, "%d signature(s) of the treasury of %s are missing", missing, c.Terms.Name)
		}
		leaf, err := p.Assemble()
		if err != nil {
			return err
		}
		at, err := l.Submit(ctx, leaf, nil)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"hold": e.Hold.String(), "outcome": e.Outcome.String(), "entry": at.EntryIndex, "settled_before": at.Before}, func(w io.Writer) {
			fmt.Fprintf(w, "hold %s is %s by hand, entry %d\n", e.Hold, e.Outcome, at.EntryIndex)
		})
	}
	return cmd
}

package escrowcmd

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
)

func attestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attest HOLD",
		Short: "State, as a named attestor, what an escrow waits for",
		Long: `State, as one of the attestors that an escrow names, what it waits for. The statement names the hold and the document's SHA-256, is signed with
your key and stays in the ledger's log for everybody to read. It can be withdrawn until the money is paid.

--statement must be the one that the escrow asks for: type it, so that nobody signs what they did not read.`,
		Example: "  comity escrow attest 4f1c.../0 --key inspector.key --statement delivery --document waybill.pdf",
		Args:    cobra.ExactArgs(1),
	}
	return attesting(cmd, entry.Attests)
}

func withdrawCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "withdraw HOLD",
		Short:   "Take an attestation back",
		Long:    `Take your own attestation back, as long as the money is not paid. Name the statement and the document that you attested.`,
		Example: "  comity escrow withdraw 4f1c.../0 --key inspector.key --statement delivery --document waybill.pdf",
		Args:    cobra.ExactArgs(1),
	}
	return attesting(cmd, entry.Withdraws)
}

func attesting(cmd *cobra.Command, action entry.AttestAction) *cobra.Command {
	ledger := addLedgerFlags(cmd)
	key := addKeyFlag(cmd, "the attestor")
	text := cmd.Flags().String("statement", "", `what you state: "delivery", "inspection", "milestone", "end-use" or "demand" (required)`)
	document := addDocumentFlags(cmd, "the document that shows it (default: the one that the escrow names)")
	yes := cmd.Flags().Bool("yes", false, "sign without asking")
	asJSON := cli.JSON(cmd)
	_ = cmd.MarkFlagRequired("statement")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		statement, err := parseStatement(*text)
		if err != nil {
			return err
		}
		digest, err := document.read()
		if err != nil {
			return err
		}
		r, err := ledger.dial(cmd.Context())
		if err != nil {
			return err
		}
		h, a, err := r.attested(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if statement != a.Statement {
			return cli.RefusedAs(string(entry.AttestationInvalid), fmt.Errorf("hold %s waits for a statement of type %q, not %q", h.ID, a.Statement, statement))
		}
		if digest == ([32]byte{}) {
			digest = a.Document
		}
		if !*asJSON {
			verb := "States"
			if action == entry.Withdraws {
				verb = "Takes back"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n  of hold     %s\n  by document %x\n  ledger      %s (%s)\n", verb, statement, h.ID, digest, r.genesis.Name, r.genesis.Origin)
		}
		if err := cli.Confirm(cmd, "Sign this?", *yes); err != nil {
			return err
		}
		private, err := key.read(cmd)
		if err != nil {
			return err
		}
		build := wallets.Attest
		if action == entry.Withdraws {
			build = wallets.Withdraw
		}
		e, err := build(r.header(), h.ID, a, digest, private)
		if err != nil {
			return err
		}
		i := int(e.Attestor)
		if action == entry.Attests && slices.Contains(h.Attested, i) && h.Document == digest {
			return printAttested(cmd, *asJSON, r, h, a, map[string]any{"attestor": i, "again": true}, "attested before")
		}
		index, err := r.send(cmd.Context(), e)
		if err != nil {
			return err
		}
		return printAttested(cmd, *asJSON, r, h, a, map[string]any{"attestor": i, "entry": index, "again": false}, fmt.Sprintf("entry %d", index))
	}
	return cmd
}

// printAttested shows where the hold stands after a statement.
func printAttested(cmd *cobra.Command, asJSON bool, r *remote, h *client.Hold, a *entry.Attested, fields map[string]any, what string) error {
	now, done, err := r.Hold(cmd.Context(), h.ID)
	if err != nil {
		return err
	}
	fields["hold"], fields["threshold"] = h.ID.String(), needed(h, a)
	if done != nil { // somebody settled it at once
		fields["outcome"] = done.Outcome.String()
		return cli.Print(cmd, asJSON, fields, func(out io.Writer) { fmt.Fprintf(out, "%s; the hold is %s\n", what, done.Outcome) })
	}
	fields["attested"], fields["ready"], fields["challenged"], fields["threshold"] = len(now.Attested), cli.Stamp(now.ReadyAt), now.Challenged, needed(now, a)
	return cli.Print(cmd, asJSON, fields, func(out io.Writer) {
		fmt.Fprintf(out, "%s; %d of %d attestors agree", what, len(now.Attested), needed(now, a))
		if now.ReadyAt != 0 {
			fmt.Fprintf(out, ", to be paid from %s: comity escrow settle %s", cli.Stamp(now.ReadyAt), h.ID)
		}
		fmt.Fprintln(out)
	})
}

// needed is how many attestors must agree now.
func needed(h *client.Hold, a *entry.Attested) int {
	if h.Challenged {
		return int(a.Contested)
	}
	return int(a.Threshold)
}

func challengeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "challenge HOLD",
		Short: "Ask, as the payer, for more attestors",
		Long: `Ask, as the payer, for as many attestors as the escrow demands after a challenge. It can be done once, before the money is paid and within the
challenge window. When so many agree, the money is paid without a further window.`,
		Example: "  comity escrow challenge 4f1c.../0 --key ministry.key",
		Args:    cobra.ExactArgs(1),
	}
	ledger := addLedgerFlags(cmd)
	key := addKeyFlag(cmd, "the payer")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := ledger.dial(cmd.Context())
		if err != nil {
			return err
		}
		h, a, err := r.attested(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		private, err := key.read(cmd)
		if err != nil {
			return err
		}
		e, err := wallets.Challenge(r.header(), h.ID, a, private)
		if err != nil {
			return err
		}
		if h.Challenged {
			return printAttested(cmd, *asJSON, r, h, a, map[string]any{"again": true}, "challenged before")
		}
		index, err := r.send(cmd.Context(), e)
		if err != nil {
			return err
		}
		return printAttested(cmd, *asJSON, r, h, a, map[string]any{"entry": index, "again": false}, fmt.Sprintf("challenged, entry %d", index))
	}
	return cmd
}

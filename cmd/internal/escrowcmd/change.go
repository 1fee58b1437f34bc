package escrowcmd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// amendFile is an amendment that travels between the parties. The entry has zeros where a signature is missing.
type amendFile struct {
	Format string `json:"format"`
	Does   string `json:"does"` // for people; not believed
	Entry  string `json:"entry"`
}

const amendFormat = "comity escrow amendment v1"

func amendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "amend [HOLD]",
		Short: "Move an escrow's expiry, with both parties' signatures",
		Long: `Move the expiry of an escrow. Payer and payee both sign: the first party names the hold and the new time and writes a file, the other reads it,
signs it and sends it. Nobody else can move it, and nothing else can be changed.`,
		Example: `  comity escrow amend 4f1c.../0 --until 2027-06-30T00:00:00Z --key ministry.key --out amend.json
  comity escrow amend --file amend.json --key supplier.key`,
		Args: cobra.MaximumNArgs(1),
	}
	ledger := addLedgerFlags(cmd)
	key := addKeyFlag(cmd, "the payer or the payee")
	until := cmd.Flags().String("until", "", "the new expiry: a time such as 2027-06-30T00:00:00Z or a duration from now such as 720h")
	out := cmd.Flags().String("out", "", "the file to write for the other party")
	file := cmd.Flags().String("file", "", "the file that the other party wrote")
	yes := cmd.Flags().Bool("yes", false, "sign without asking")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		first := *file == ""
		if first != (len(args) == 1 && *until != "" && *out != "") || !first && (len(args) != 0 || *until != "" || *out != "") {
			return cli.Usagef("give HOLD, --until and --out to propose, or --file to agree")
		}
		r, err := ledger.dial(cmd.Context())
		if err != nil {
			return err
		}
		var e *entry.Amend
		if first {
			to, err := cli.Deadline(*until, time.Now())
			if err != nil {
				return fmt.Errorf("--until: %w", err)
			}
			id, err := entry.ParseHoldID(args[0])
			if err != nil {
				return cli.Usagef("%q is no hold: want 64 hexadecimal digits, a slash and the leg", args[0])
			}
			head := r.header()
			head.ExpiryMillis = uint64(time.Now().UnixMilli()) + r.genesis.MaxExpiryMillis*9/10 // the other party needs time
			e = wallets.Amend(head, id, to)
		} else if e, err = readAmend(*file, r.genesis); err != nil {
			return err
		}
		h, a, err := r.attested(cmd.Context(), e.Hold.String())
		if err != nil {
			return err
		}
		if !*asJSON {
			fmt.Fprintf(cmd.OutOrStdout(), "Moves the expiry of hold %s\n  from %s\n  to   %s\n  to be sent before %s\n", h.ID, cli.Stamp(h.Until), cli.Stamp(e.Until), cli.Stamp(e.ExpiryMillis))
		}
		if err := cli.Confirm(cmd, "Sign this?", *yes); err != nil {
			return err
		}
		private, err := key.read(cmd)
		if err != nil {
			return err
		}
		missing, err := wallets.SignAmend(e, a, private)
		if err != nil {
			return err
		}
		if first {
			text, err := json.MarshalIndent(amendFile{amendFormat, fmt.Sprintf("moves the expiry of hold %s to %s", h.ID, cli.Stamp(e.Until)), hex.EncodeToString(entry.Encode(e))}, "", "  ")
			if err != nil {
				return err
			}
			if err := cli.WriteNewFile(*out, append(text, '\n'), false); err != nil {
				return err
			}
			return cli.Print(cmd, *asJSON, map[string]any{"hold": h.ID.String(), "until": cli.Stamp(e.Until), "file": *out, "sent": false}, func(w io.Writer) {
				fmt.Fprintf(w, "signed; the other party signs and sends %s\n", *out)
			})
		}
		if missing {
			return cli.RefusedAs(string(entry.SignatureInvalid), fmt.Errorf("the other party has not signed %s", *file))
		}
		index, err := r.send(cmd.Context(), e)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"hold": h.ID.String(), "until": cli.Stamp(e.Until), "entry": index, "sent": true}, func(w io.Writer) {
			fmt.Fprintf(w, "hold %s now expires at %s, entry %d\n", h.ID, cli.Stamp(e.Until), index)
		})
	}
	return cmd
}

// readAmend reads an amendment that the other party made.
func readAmend(path string, g *entry.Genesis) (*entry.Amend, error) {
	data, err := readSmall(path, 64<<10)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var f amendFile
	if err := d.Decode(&f); err != nil || f.Format != amendFormat {
		return nil, cli.Usagef("%s is no amendment of an escrow", path)
	}
	raw, err := hex.DecodeString(f.Entry)
	if err != nil {
		return nil, cli.Usagef("%s: the entry is not hexadecimal", path)
	}
	decoded, err := entry.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	e, ok := decoded.(*entry.Amend)
	if !ok {
		return nil, cli.Usagef("%s holds another entry than an amendment", path)
	}
	if e.Ledger != g.Hash() {
		return nil, cli.RefusedAs("other_ledger", fmt.Errorf("%s is for ledger %s", path, e.Ledger))
	}
	return e, nil
}

func releaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release HOLD",
		Short: "Give an escrow up, as the payee: the money goes back",
		Long: `Give an escrow up, as the payee: the money goes back to the payer at once. So a beneficiary releases a guarantee that is no longer needed. It
cannot be undone.`,
		Example: "  comity escrow release 4f1c.../0 --key beneficiary.key",
		Args:    cobra.ExactArgs(1),
	}
	ledger := addLedgerFlags(cmd)
	key := addKeyFlag(cmd, "the payee")
	yes := cmd.Flags().Bool("yes", false, "release without asking")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := ledger.dial(cmd.Context())
		if err != nil {
			return err
		}
		h, a, err := r.attested(cmd.Context(), args[0])
		var late *resolved
		if errors.As(err, &late) && late.Outcome == entry.Voided {
			return printResolved(cmd, *asJSON, late.hold, late.Outcome, late.Entry, true)
		}
		if err != nil {
			return err
		}
		if err := cli.Confirm(cmd, fmt.Sprintf("Give up hold %s?", h.ID), *yes); err != nil {
			return err
		}
		private, err := key.read(cmd)
		if err != nil {
			return err
		}
		e, err := wallets.Release(r.header(), h.ID, a, h.Return, private)
		if err != nil {
			return err
		}
		index, err := r.send(cmd.Context(), e)
		if err != nil {
			return err
		}
		return printResolved(cmd, *asJSON, h.ID, entry.Voided, index, false)
	}
	return cmd
}

// Package verifycmd is the command group "comity verify": it checks receipts, disclosures and evidence offline, with the ledger's genesis entry
// alone. It opens no connection and needs no key but, for an encrypted disclosure, the reader's own age identity.
package verifycmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// Command is the group "verify".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check receipts, disclosures and evidence offline",
		Long: `Check receipts, disclosures and evidence of misbehaviour offline. All that is trusted is the ledger's genesis entry, which states the log's key and the witnesses: give
its file with --genesis-file, and the hash that the operator published with --genesis. A wallet folder keeps the entry in its file "genesis".

Exit code 5 means that a check failed.`,
	}
	cmd.AddCommand(receiptCommand(), disclosureCommand(), evidenceCommand(), pairCommand(), policyCommand())
	return cmd
}

type flags struct {
	file, hash *string
	asJSON     *bool
}

func addFlags(cmd *cobra.Command) flags {
	f := flags{
		file:   cmd.Flags().String("genesis-file", "", "file with the ledger's genesis, as JSON or in its binary form (required)"),
		hash:   cmd.Flags().String("genesis", "", "genesis hash that the file must have, hexadecimal"),
		asJSON: cli.JSON(cmd),
	}
	_ = cmd.MarkFlagRequired("genesis-file")
	return f
}

const maxInput = 1 << 20

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Usagef("read %s: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err != nil {
		return nil, cli.Usagef("read %s: %w", path, err)
	}
	if len(b) > maxInput {
		return nil, cli.Usagef("%s is longer than %d bytes", path, maxInput)
	}
	return b, nil
}

func (f flags) genesis() (*entry.Genesis, error) {
	g, err := cli.ReadGenesis(*f.file)
	if err != nil {
		return nil, err
	}
	if *f.hash != "" && g.Hash().String() != *f.hash {
		return nil, cli.Exit(cli.Unverified, wallets.Refuse(wallets.OtherLedger, "the file's genesis hash is %s, --genesis says %s", g.Hash(), *f.hash))
	}
	return g, nil
}

type cosigner struct {
	Witness    string `json:"witness"`
	Time       string `json:"time"`
	Validating bool   `json:"validating"`
}

func cosigners(p *wallets.Proven) []cosigner {
	var out []cosigner
	for _, c := range p.Checkpoint.Cosignatures {
		out = append(out, cosigner{c.Witness, time.Unix(int64(c.UnixSeconds), 0).UTC().Format(time.RFC3339), c.Validating})
	}
	return out
}

func (f flags) base(g *entry.Genesis, p *wallets.Proven) map[string]any {
	return map[string]any{"valid": true, "ledger": g.Name, "genesis": g.Hash().String(), "kind": p.Entry.Kind().String(), "id": p.ID.String(), "entry": p.Index,
		"checkpoint_size": p.Checkpoint.Size, "cosignatures": cosigners(p)}
}

func printBase(w io.Writer, g *entry.Genesis, p *wallets.Proven) {
	fmt.Fprintf(w, "ledger      %s, genesis %s\n", g.Name, g.Hash())
	fmt.Fprintf(w, "entry       %d, %s %s\n", p.Index, p.Entry.Kind(), p.ID)
	fmt.Fprintf(w, "checkpoint  %d entries\n", p.Checkpoint.Size)
	for _, c := range cosigners(p) {
		kind := "consistency"
		if c.Validating {
			kind = "validating"
		}
		fmt.Fprintf(w, "cosigned    %s by %s (%s witness)\n", c.Time, c.Witness, kind)
	}
}

func receiptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "receipt FILE",
		Short:   "Check a receipt",
		Long:    "Check that the entry of a receipt is in the ledger's log, under a checkpoint cosigned by the quorum that genesis states.",
		Example: "  comity verify receipt invoice-7.receipt --genesis-file aurelia.genesis --genesis 4f1c...",
		Args:    cobra.ExactArgs(1),
	}
	f := addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := f.genesis()
		if err != nil {
			return err
		}
		b, err := read(args[0])
		if err != nil {
			return err
		}
		p, err := wallets.VerifyReceipt(g, b)
		if err != nil {
			return cli.Exit(cli.Unverified, err)
		}
		return cli.Print(cmd, *f.asJSON, f.base(g, p), func(w io.Writer) {
			fmt.Fprintln(w, "the receipt is valid")
			printBase(w, g, p)
		})
	}
	return cmd
}

func disclosureCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disclosure FILE",
		Short: "Check the proof that a payment was made",
		Long: `Check a disclosure: its receipt, and that amount, currency, programme and payee open the very output of the receipted entry. The reference is
the discloser's word and is marked as not proven. An encrypted disclosure needs --identity with the age identity file of its recipient.`,
		Example: "  comity verify disclosure invoice-7.disclosure.age --genesis-file aurelia.genesis --identity me.key",
		Args:    cobra.ExactArgs(1),
	}
	f := addFlags(cmd)
	identity := cmd.Flags().String("identity", "", "age identity file, for an encrypted disclosure")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := f.genesis()
		if err != nil {
			return err
		}
		b, err := read(args[0])
		if err != nil {
			return err
		}
		if b, err = decrypt(b, *identity); err != nil {
			return err
		}
		d, err := wallets.ParseDisclosure(b)
		if err != nil {
			return cli.Exit(cli.Unverified, err)
		}
		p, err := d.Verify(g)
		if err != nil {
			return cli.Exit(cli.Unverified, err)
		}
		asset, _ := g.Asset(p.Note.Asset)
		out := f.base(g, p)
		for k, v := range map[string]any{"leg": d.Leg, "output": d.Output, "asset": asset.Code, "amount": cli.MinorUnits(p.Note.Value), "programme": fmt.Sprint(uint64(p.Note.Programme)),
			"owner": p.Note.Owner.String(), "address": d.Address, "commitment": p.Commitment.String(), "reference_not_proven": d.Reference} {
			out[k] = v
		}
		return cli.Print(cmd, *f.asJSON, out, func(w io.Writer) {
			fmt.Fprintln(w, "the disclosure is valid")
			fmt.Fprintf(w, "amount      %s\n", cli.Money(p.Note.Value, int(asset.Decimals), asset.Code))
			if p.Note.Programme != 0 {
				fmt.Fprintf(w, "programme   %d\n", p.Note.Programme)
			}
			if d.Address != "" {
				fmt.Fprintf(w, "payee       %s\n", d.Address)
			} else {
				fmt.Fprintf(w, "payee       owner %s\n", p.Note.Owner)
			}
			fmt.Fprintf(w, "commitment  %s (leg %d, output %d)\n", p.Commitment, d.Leg, d.Output)
			if d.Reference != "" {
				fmt.Fprintf(w, "reference   %s (not proven)\n", d.Reference)
			}
			printBase(w, g, p)
		})
	}
	return cmd
}

// decrypt opens an age file, binary or armoured; anything else passes through.
func decrypt(b []byte, identityFile string) ([]byte, error) {
	var r io.Reader = bytes.NewReader(b)
	switch {
	case bytes.HasPrefix(b, []byte(armor.Header)):
		r = armor.NewReader(r)
	case !bytes.HasPrefix(b, []byte("age-encryption.org/")):
		return b, nil
	}
	if identityFile == "" {
		return nil, cli.Usagef("the disclosure is encrypted: give --identity")
	}
	key, err := os.Open(identityFile)
	if err != nil {
		return nil, cli.Usagef("read identity: %w", err)
	}
	defer key.Close()
	identities, err := age.ParseIdentities(key)
	if err != nil {
		return nil, cli.Usagef("identity file: %w", err)
	}
	plain, err := age.Decrypt(r, identities...)
	if err != nil {
		return nil, cli.Exit(cli.Unverified, fmt.Errorf("decrypt the disclosure: %w", err))
	}
	out, err := io.ReadAll(io.LimitReader(plain, maxInput+1))
	if err == nil && len(out) > maxInput {
		err = errors.New("too long")
	}
	if err != nil {
		return nil, cli.Exit(cli.Unverified, fmt.Errorf("decrypt the disclosure: %w", err))
	}
	return out, nil
}

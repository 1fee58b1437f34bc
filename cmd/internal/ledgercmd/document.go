package ledgercmd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// documentTypes are the words of the command line for what a document is, in the order of the numbers in entries.
var documentTypes = []string{"delivery", "inspection", "milestone", "end-use", "demand", "contract", "other"}

func documentType(text string) (entry.Statement, error) {
	for i, word := range documentTypes {
		if word == text {
			return entry.Statement(i + 1), nil
		}
	}
	return 0, cli.Usagef("--type %q: want one of %s", text, strings.Join(documentTypes, ", "))
}

// fileDigest hashes a document of any length.
func fileDigest(path string) (digest [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return digest, cli.Exit(cli.Usage, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return digest, fmt.Errorf("read %s: %w", path, err)
	}
	return [32]byte(h.Sum(nil)), nil
}

func anchorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "anchor",
		Short: "Propose to anchor, replace or revoke a document",
		Long: `Propose to put the SHA-256 of a document into the log, so that anybody who has the document and a receipt can check offline that it was
there and when. The document itself goes nowhere. A digest is anchored once.

--supersedes anchors the document in place of one that was anchored before; --revoke takes an anchored document back. The proposal is
signed and submitted like any other (comity ledger sign, comity ledger submit).`,
		Example: `  comity ledger anchor --ledger http://127.0.0.1:7001 --file contract.pdf --type contract --label "Contract 2026/7" --out anchor.json
  comity ledger anchor --ledger http://127.0.0.1:7001 --file contract.pdf --type contract --label "Withdrawn" --revoke --out revoke.json`,
		Args: cobra.NoArgs,
	}
	p := AddProposalFlags(cmd)
	file := cmd.Flags().String("file", "", "the document")
	digest := cmd.Flags().String("digest", "", "its SHA-256 in hexadecimal, in place of --file")
	kind := cmd.Flags().String("type", "", "what it is: "+strings.Join(documentTypes, ", ")+" (required)")
	label := cmd.Flags().String("label", "", "what people call it; everybody with a copy of the log can read the label (required)")
	supersedes := cmd.Flags().String("supersedes", "", "SHA-256 of the anchored document that it replaces")
	revoke := cmd.Flags().Bool("revoke", false, "take the document back")
	_ = cmd.MarkFlagRequired("type")
	_ = cmd.MarkFlagRequired("label")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		e := &entry.Document{Action: entry.Anchors, Label: *label}
		if (*file == "") == (*digest == "") {
			return cli.Usagef("give --file or --digest")
		}
		if *supersedes != "" && *revoke {
			return cli.Usagef("--supersedes and --revoke exclude each other")
		}
		if e.Type, err = documentType(*kind); err != nil {
			return err
		}
		if *file != "" {
			e.Digest, err = fileDigest(*file)
		} else if e.Digest, err = entry.ParseDigest(*digest); err != nil {
			err = cli.Usagef("--digest: want 64 lower-case hexadecimal digits")
		}
		if err != nil {
			return err
		}
		switch {
		case *revoke:
			e.Action = entry.Revokes
		case *supersedes != "":
			e.Action = entry.Supersedes
			if e.Former, err = entry.ParseDigest(*supersedes); err != nil {
				return cli.Usagef("--supersedes: want 64 lower-case hexadecimal digits")
			}
		}
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		e.Header = header
		return p.Write(cmd, r.Genesis, e, nil)
	}
	return cmd
}

// documentJSON is the answer of `ledger verify-document --json`.
type documentJSON struct {
	Valid     bool   `json:"valid"`
	Digest    string `json:"digest"`
	Action    string `json:"action"`
	Type      string `json:"type"`
	Label     string `json:"label"`
	Ledger    string `json:"ledger"`
	Genesis   string `json:"genesis"`
	ID        string `json:"id"`
	Entry     uint64 `json:"entry"`
	Witnessed string `json:"witnessed"`         // time of the earliest cosignature
	Status    string `json:"status"`            // "anchored", "in force", "superseded" or "revoked"
	EndedBy   uint64 `json:"ended_by,omitzero"` // log index of the entry that ended it
	By        string `json:"by,omitempty"`      // digest of the document that took its place
}

func verifyDocumentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify-document FILE",
		Short: "Check offline that a document was anchored",
		Long: `Check, with nothing but the ledger's genesis, that the entry of a receipt anchors the SHA-256 of this very file, under a checkpoint that the
quorum of witnesses cosigned.

Offline nobody can tell whether the document was replaced or revoked later. With --ledger the ledger is asked; if it was, the entry that did it is
checked in the same way. That it was not is the ledger's word.

Exit code 5 means that a check failed, or that the document is no longer in force.`,
		Example: `  comity ledger verify-document contract.pdf --receipt contract.receipt --genesis-file aurelia.genesis
  comity ledger verify-document contract.pdf --receipt contract.receipt --genesis-file aurelia.genesis --ledger http://127.0.0.1:7001`,
		Args: cobra.ExactArgs(1),
	}
	receipt := cmd.Flags().String("receipt", "", "the receipt of the entry that anchored it (required)")
	genesis := cmd.Flags().String("genesis-file", "", "the ledger's genesis, as JSON or in its binary form (required)")
	hash := cmd.Flags().String("genesis", "", "genesis hash that the file must have")
	address := cmd.Flags().String("ledger", "", "address of the running ledger, to ask whether the document is still in force")
	_ = cmd.MarkFlagRequired("receipt")
	_ = cmd.MarkFlagRequired("genesis-file")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := cli.ReadGenesis(*genesis)
		if err != nil {
			return err
		}
		want, err := ExpectFlag(*hash)
		if err != nil {
			return err
		}
		own := g.Hash()
		if want != nil && own != *want {
			return cli.Exit(cli.Unverified, cli.RefusedAs("other_ledger", fmt.Errorf("%s is of ledger %s, not %s", *genesis, own, want)))
		}
		digest, err := fileDigest(args[0])
		if err != nil {
			return err
		}
		raw, err := readFile(*receipt)
		if err != nil {
			return err
		}
		out, err := anchored(g, raw, digest)
		if err == nil && *address != "" {
			err = out.ask(cmd, g, *address, digest)
		}
		if out != nil {
			if perr := cli.Print(cmd, *asJSON, out, out.print); perr != nil {
				return perr
			}
		}
		return err
	}
	return cmd
}

// anchored checks that the receipt is of an entry that anchors the digest. When it is of one that ends it, the answer says so beside
// the error.
func anchored(g *entry.Genesis, receipt []byte, digest [32]byte) (*documentJSON, error) {
	p, err := wallets.VerifyReceipt(g, receipt)
	if err != nil {
		return nil, cli.Exit(cli.Unverified, err)
	}
	e, ok := p.Entry.(*entry.Document)
	if !ok {
		return nil, cli.Unverifiedf("the receipt is of a %s entry, which anchors no document", p.Entry.Kind())
	}
	out := &documentJSON{Valid: true, Digest: hex.EncodeToString(digest[:]), Action: e.Action.String(), Type: e.Type.String(), Label: e.Label,
		Ledger: g.Name, Genesis: g.Hash().String(), ID: p.ID.String(), Entry: p.Index, Status: "anchored"}
	for i, c := range p.Checkpoint.Cosignatures {
		if at := time.Unix(int64(c.UnixSeconds), 0).UTC().Format(time.RFC3339); i == 0 || at < out.Witnessed {
			out.Witnessed = at
		}
	}
	switch digest {
	case e.Digest:
		if e.Action != entry.Revokes {
			return out, nil
		}
		out.end("revoked", p.Index, "")
	case e.Former:
		out.end("superseded", p.Index, hex.EncodeToString(e.Digest[:]))
	default:
		return nil, cli.Unverifiedf("the file has SHA-256 %x, the entry is about %x", digest, e.Digest)
	}
	return out, out.ended()
}

func (d *documentJSON) end(status string, by uint64, digest string) {
	d.Valid, d.Status, d.EndedBy, d.By = false, status, by, digest
}

// ended is the error of a document that is not in force.
func (d *documentJSON) ended() error {
	return cli.Exit(cli.Unverified, entry.Refuse(entry.DocumentEnded, "the document is %s by entry %d", d.Status, d.EndedBy))
}

// ask asks a ledger for the entry that ended the document, and checks its receipt.
func (d *documentJSON) ask(cmd *cobra.Command, g *entry.Genesis, address string, digest [32]byte) error {
	hash := g.Hash()
	r, err := Dial(cmd.Context(), address, &hash)
	if err != nil {
		return err
	}
	key := entry.DocumentEndKey(digest)
	answer, err := r.GetReceipt(cmd.Context(), &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Key{Key: key[:]}})
	if err != nil {
		err = cli.Answer("ask what became of the document", err)
		if refusal := (*entry.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == "not_found" {
			d.Status = "in force"
			return nil
		}
		return err
	}
	later, err := anchored(g, answer.GetReceipt(), digest)
	if later == nil {
		return err
	}
	if later.Status == "anchored" {
		return cli.Unverifiedf("the ledger names entry %d, which does not end the document", later.Entry)
	}
	d.end(later.Status, later.EndedBy, later.By)
	return d.ended()
}

func (d *documentJSON) print(w io.Writer) {
	switch d.Status {
	case "anchored":
		fmt.Fprintln(w, "the document was anchored; whether it still is in force is not known offline")
	case "in force":
		fmt.Fprintln(w, "the document was anchored and, says the ledger, is in force")
	default:
		fmt.Fprintf(w, "the document is %s by entry %d\n", d.Status, d.EndedBy)
		if d.By != "" {
			fmt.Fprintf(w, "in its place  SHA-256 %s\n", d.By)
		}
	}
	fmt.Fprintf(w, "document      %q, %s, SHA-256 %s\n", d.Label, d.Type, d.Digest)
	fmt.Fprintf(w, "entry         %d, %s, id %s\n", d.Entry, d.Action, d.ID)
	fmt.Fprintf(w, "witnessed     not later than %s\n", d.Witnessed)
	fmt.Fprintf(w, "ledger        %s, genesis %s\n", d.Ledger, d.Genesis)
}

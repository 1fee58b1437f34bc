package ledgercmd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

func proposeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "propose",
		Short: "Make a proposal for the policy's signers",
		Long: `Make a proposal file for an act that needs the policy's signatures. Proposing changes nothing and needs no key of the policy: each signer
reads and signs the file (comity ledger sign), and once enough have signed anybody submits it (comity ledger submit).

A proposal carries the ledger's next policy sequence number and an expiry, so it can be used once, on this ledger, soon.`,
	}
	cmd.AddCommand(proposeRegister(), proposeFreeze(true), proposeFreeze(false), proposeProgramme(), proposeOversight(), proposeIssue(), proposeRedeem())
	return cmd
}

// ProposalFlags are what every proposal needs.
type ProposalFlags struct {
	ledger, genesis, out *string
	expiresIn            *time.Duration
	sequence             *uint64
	asJSON               *bool
}

func AddProposalFlags(cmd *cobra.Command) *ProposalFlags {
	p := &ProposalFlags{ledger: LedgerFlag(cmd)}
	p.genesis = cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	p.out = cmd.Flags().String("out", "", "the proposal file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	p.expiresIn = cmd.Flags().Duration("expires-in", time.Hour, "time until the proposal is void")
	p.sequence = cmd.Flags().Uint64("sequence", 0, "policy sequence number (default: the ledger's next)")
	p.asJSON = cli.JSON(cmd)
	return p
}

// Prepare asks the ledger for its genesis and state and gives the header of the proposed entry.
func (p *ProposalFlags) Prepare(cmd *cobra.Command) (*Remote, *entry.State, entry.Header, error) {
	want, err := ExpectFlag(*p.genesis)
	if err != nil {
		return nil, nil, entry.Header{}, err
	}
	r, err := Dial(cmd.Context(), *p.ledger, want)
	if err != nil {
		return nil, nil, entry.Header{}, err
	}
	_, state, err := r.Status(cmd.Context())
	if err != nil {
		return nil, nil, entry.Header{}, err
	}
	h := entry.Header{Ledger: r.Genesis.Hash(), Sequence: state.NextSequence}
	if *p.sequence != 0 {
		h.Sequence = *p.sequence
	}
	longest := time.Duration(r.Genesis.MaxExpiryMillis) * time.Millisecond
	if *p.expiresIn <= 0 || *p.expiresIn > longest {
		return nil, nil, entry.Header{}, cli.Usagef("--expires-in %v: this ledger takes more than 0 and at most %v", *p.expiresIn, longest)
	}
	// Ledger time is the last block's or the clock's, whichever is later.
	now := max(state.TimeMillis, uint64(time.Now().UnixMilli()))
	h.ExpiryMillis = now + uint64(p.expiresIn.Milliseconds())
	return r, state, h, nil
}

// Write checks the entry as the ledger will, and writes the proposal file.
func (p *ProposalFlags) Write(cmd *cobra.Command, g *entry.Genesis, e entry.Entry, segments [][]byte) error {
	proposal, err := entry.NewProposal(g, entry.Encode(e), segments)
	if err != nil {
		return err
	}
	text, err := proposal.JSON()
	if err != nil {
		return err
	}
	if err := cli.WriteNewFile(*p.out, text, false); err != nil {
		return err
	}
	return PrintProposal(cmd, *p.asJSON, *p.out, proposal)
}

// PrintProposal shows what a proposal does and how many signatures it still wants.
func PrintProposal(cmd *cobra.Command, asJSON bool, path string, p *entry.Proposal) error {
	out := map[string]any{
		"file": path, "id": p.ID().String(), "kind": p.Entry().Kind().String(), "description": p.Describe(), "signatures": len(p.Signatures()), "missing": p.Missing(),
	}
	_, oversight := p.OversightKey()
	override := p.Entry().Kind() == entry.KindOverride
	if override {
		out["treasury_signatures"], out["oversight_signed"] = len(p.TreasurySignatures()), oversight
	}
	return cli.Print(cmd, asJSON, out, func(w io.Writer) {
		for _, line := range p.Describe() {
			fmt.Fprintln(w, line)
		}
		if override {
			fmt.Fprintf(w, "%d signature(s) of the peer's treasury; oversight signed: %t\n", len(p.TreasurySignatures()), oversight)
		}
		fmt.Fprintf(w, "%d signature(s), %d missing: %s\n", len(p.Signatures()), p.Missing(), path)
	})
}

// ownerRow is one owner of a register file.
type ownerRow struct {
	Owner  string     `json:"owner"` // an address, or the owner in hexadecimal
	Limit  string     `json:"limit"` // most that one leg moves to others, with the decimals of the asset
	Rights []rightRow `json:"rights"`
}

type rightRow struct {
	Programme string `json:"programme"` // a number, or "*" for every programme
	Set       bool   `json:"set"`
	Release   bool   `json:"release"`
}

func proposeRegister() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Propose to register owners, or to change their limits and rights",
		Long: `Propose to register owners. Only a registered owner can spend; anybody can be paid. An owner that is registered already gets the new limit
and rights in place of the old.

The limit is the most that one leg moves to others. It is one number for all currencies of the ledger: --asset says with whose decimals it
is written. A right lets the owner set (earmark) or release the money of a programme.

--request takes the file of comity wallet register-request and checks its proof that the wallet holds its key; --owner takes an address as it
is. Both may be repeated: all get the same limit and rights. With --file owners differ: a JSON list of
{"owner", "limit", "rights": [{"programme", "set", "release"}]}.`,
		Example: `  comity ledger propose register --ledger http://127.0.0.1:7001 --request ministry.register.json --limit 1000000.00 --right 7:release --out register.json`,
		Args:    cobra.NoArgs,
	}
	p := AddProposalFlags(cmd)
	requests := cmd.Flags().StringArray("request", nil, "a wallet's registration request; repeat for more")
	owners := cmd.Flags().StringArray("owner", nil, "address of an owner's wallet, or the owner in hexadecimal; repeat for more")
	limit := cmd.Flags().String("limit", "", "most that one leg moves to others")
	asset := cmd.Flags().String("asset", "", "currency with whose decimals limits are written (default: the first of the ledger)")
	rights := cmd.Flags().StringArray("right", nil, `a right, as PROGRAMME:set, PROGRAMME:release or PROGRAMME:set,release; "*" for every programme`)
	file := cmd.Flags().String("file", "", "JSON list of owners")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		named := len(*requests)+len(*owners) > 0
		if named == (*file != "") || named != (*limit != "") || *file != "" && len(*rights) > 0 {
			return cli.Usagef("give --request or --owner, with --limit and --right, or else --file alone")
		}
		var rows []ownerRow
		if *file != "" {
			data, err := readFile(*file)
			if err != nil {
				return err
			}
			d := json.NewDecoder(bytes.NewReader(data))
			d.DisallowUnknownFields()
			if err := d.Decode(&rows); err != nil {
				return cli.Usagef("%s: %w", *file, describeJSON(data, d, err))
			}
		}
		row := ownerRow{Limit: *limit}
		for _, text := range *rights {
			right, err := parseRight(text)
			if err != nil {
				return err
			}
			row.Rights = append(row.Rights, right)
		}
		for _, row.Owner = range *owners {
			rows = append(rows, row)
		}
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		for _, path := range *requests {
			data, err := readFile(path)
			if err != nil {
				return err
			}
			request, err := wallets.ParseRegisterRequest(data, r.Genesis)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			row.Owner = request.Address.Owner.String()
			rows = append(rows, row)
		}
		a, err := assetByCode(r.Genesis, *asset)
		if err != nil {
			return err
		}
		e := &entry.Register{Header: header}
		for _, row := range rows {
			o, err := registration(r.Genesis, a, row)
			if err != nil {
				return fmt.Errorf("owner %s: %w", row.Owner, err)
			}
			e.Owners = append(e.Owners, o)
		}
		return p.Write(cmd, r.Genesis, e, nil)
	}
	return cmd
}

func assetByCode(g *entry.Genesis, code string) (entry.Asset, error) {
	if code == "" {
		return g.Assets[0], nil
	}
	a, ok := g.AssetByCode(code)
	if !ok {
		return entry.Asset{}, entry.Refuse(entry.UnknownAsset, "this ledger has no currency %s", code)
	}
	return a, nil
}

func parseRight(text string) (rightRow, error) {
	programme, what, ok := strings.Cut(text, ":")
	row := rightRow{Programme: programme}
	for _, w := range strings.Split(what, ",") {
		switch w {
		case "set":
			row.Set = true
		case "release":
			row.Release = true
		default:
			ok = false
		}
	}
	if !ok {
		return row, cli.Usagef("right %q: want PROGRAMME:set, PROGRAMME:release or PROGRAMME:set,release", text)
	}
	return row, nil
}

func registration(g *entry.Genesis, a entry.Asset, row ownerRow) (entry.Registration, error) {
	var o entry.Registration
	var err error
	if o.Owner, err = ownerOf(g, row.Owner); err != nil {
		return o, err
	}
	if o.Limit, err = zk.ParseAmount(row.Limit, int(a.Decimals)); err != nil {
		return o, cli.Usagef("limit %q: %w", row.Limit, err)
	}
	for _, right := range row.Rights {
		x := zk.Right{MaySet: right.Set, MayRelease: right.Release}
		if right.Programme == "*" {
			x.Wildcard = true
		} else if x.Programme, err = programmeID(right.Programme); err != nil {
			return o, err
		}
		o.Rights = append(o.Rights, x)
	}
	return o, nil
}

func programmeID(text string) (zk.ProgrammeID, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, cli.Usagef("programme %q: want a number from 1", text)
	}
	return zk.ProgrammeID(n), nil
}

// ownerOf reads an owner from an address of this ledger, or from hexadecimal.
func ownerOf(g *entry.Genesis, text string) (zk.Owner, error) {
	if raw, err := hex.DecodeString(text); err == nil {
		owner, err := zk.ParseOwner(raw)
		if err != nil {
			return owner, cli.Usagef("owner %q: %w", text, err)
		}
		return owner, nil
	}
	address, err := keys.ParseAddress(text)
	if err != nil {
		return zk.Owner{}, cli.Usagef("address %q: %w", text, err)
	}
	hash := g.Hash()
	if address.Prefix != g.Prefix || address.Ledger != [8]byte(hash[:8]) {
		return zk.Owner{}, entry.Refuse(entry.WrongLedger, "address %s is of another ledger", text)
	}
	return address.Owner, nil
}

func proposeFreeze(frozen bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "freeze",
		Short:   "Propose to freeze an owner: it can be paid but cannot spend",
		Example: "  comity ledger propose freeze --ledger http://127.0.0.1:7001 --owner aur1... --out freeze.json",
		Args:    cobra.NoArgs,
	}
	if !frozen {
		cmd.Use, cmd.Short = "unfreeze", "Propose to let a frozen owner spend again"
		cmd.Example = strings.ReplaceAll(cmd.Example, "freeze", "unfreeze")
	}
	p := AddProposalFlags(cmd)
	owner := cmd.Flags().String("owner", "", "address of the owner's wallet, or the owner in hexadecimal (required)")
	_ = cmd.MarkFlagRequired("owner")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		own, err := ownerOf(r.Genesis, *owner)
		if err != nil {
			return err
		}
		return p.Write(cmd, r.Genesis, &entry.Freeze{Header: header, Owner: own, Frozen: frozen}, nil)
	}
	return cmd
}

func proposeProgramme() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "programme",
		Short: "Propose to open, rename or close a programme",
		Long: `Propose to open, rename or close a programme. Its reader, for example the donor, gives a public key and a proof that it holds the secret one:
it can then read every payment that spends the programme's money, and nothing else.`,
		Example: `  comity ledger propose programme --ledger http://127.0.0.1:7001 --id 7 --name "School meals" --reader-key donor.pub --possession donor.proof --out programme.json`,
		Args:    cobra.NoArgs,
	}
	p := AddProposalFlags(cmd)
	id := cmd.Flags().String("id", "", "the programme's number (required)")
	_ = cmd.MarkFlagRequired("id")
	name := cmd.Flags().String("name", "", "the programme's name (required)")
	_ = cmd.MarkFlagRequired("name")
	closed := cmd.Flags().Bool("close", false, "close it: nothing new is issued into it")
	reader := cmd.Flags().String("reader-key", "", "the reader's public key (required)")
	_ = cmd.MarkFlagRequired("reader-key")
	possession := cmd.Flags().String("possession", "", "the reader's proof of possession (required)")
	_ = cmd.MarkFlagRequired("possession")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		number, err := programmeID(*id)
		if err != nil {
			return err
		}
		key, proof, err := keyAndProof(*reader, *possession)
		if err != nil {
			return err
		}
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		e := &entry.Programme{Header: header, Programme: number, Name: *name, Status: entry.StatusOpen, Reader: key, Possession: proof}
		if *closed {
			e.Status = entry.StatusClosed
		}
		return p.Write(cmd, r.Genesis, e, nil)
	}
	return cmd
}

func keyAndProof(keyText, proofText string) (zk.Point, zk.Signature, error) {
	raw, err := keyOrFile(keyText, 64)
	if err != nil {
		return zk.Point{}, zk.Signature{}, err
	}
	key, err := zk.ParsePoint(raw)
	if err != nil {
		return zk.Point{}, zk.Signature{}, cli.Usagef("key: %w", err)
	}
	if raw, err = keyOrFile(proofText, 96); err != nil {
		return zk.Point{}, zk.Signature{}, err
	}
	proof, err := zk.ParseSignature(raw)
	if err != nil {
		return zk.Point{}, zk.Signature{}, cli.Usagef("proof of possession: %w", err)
	}
	return key, proof, nil
}

func proposeOversight() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "oversight",
		Short:   "Propose to begin the next oversight epoch with a new key",
		Long:    "Propose to begin the next oversight epoch. Payments from then on are readable with the new key, earlier ones with the old.",
		Example: "  comity ledger propose oversight --ledger http://127.0.0.1:7001 --key auditor2.pub --possession auditor2.proof --out epoch.json",
		Args:    cobra.NoArgs,
	}
	p := AddProposalFlags(cmd)
	keyText := cmd.Flags().String("key", "", "the new oversight key (required)")
	_ = cmd.MarkFlagRequired("key")
	possession := cmd.Flags().String("possession", "", "its proof of possession for the next epoch (required)")
	_ = cmd.MarkFlagRequired("possession")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		key, proof, err := keyAndProof(*keyText, *possession)
		if err != nil {
			return err
		}
		r, state, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		return p.Write(cmd, r.Genesis, &entry.Oversight{Header: header, Epoch: state.OversightEpoch + 1, Key: key, Possession: proof}, nil)
	}
	return cmd
}

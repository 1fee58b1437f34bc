package verifycmd

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
)

// Beginnings of the two kinds of evidence.
const (
	forkText     = "comity/fork-evidence/"
	decisionText = "comity/decision-evidence/"
)

// accused is the log that evidence is against.
type accused struct {
	origin string
	keys   []ed25519.PublicKey // of the log, the first one and those it was rotated to
	ledger *entry.GenesisHash  // nil when only the policy is known
}

func evidenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence FILE",
		Short: "Check evidence that a ledger misbehaved",
		Long: `Check, offline, evidence that the key of a ledger's log signed two histories (a fork), or two decisions for one hold. Nothing is trusted but the key of the log:
give the ledger's genesis with --genesis-file, or its policy with --policy, as comity verify policy prints it. If the log's key was rotated, name the later keys
with --log-key.

Exit code 0: the evidence holds. Exit code 5: it shows nothing.`,
		Example: `  comity verify evidence fork-1.txt --genesis-file borealis.genesis
  comity verify evidence decisions.txt --policy borealis.policy --json`,
		Args: cobra.ExactArgs(1),
	}
	file := cmd.Flags().String("genesis-file", "", "file with the ledger's genesis, as JSON or in its binary form")
	hash := cmd.Flags().String("genesis", "", "genesis hash that the file must have, hexadecimal")
	policy := cmd.Flags().String("policy", "", "file with the ledger's policy, in place of --genesis-file")
	later := cmd.Flags().StringArray("log-key", nil, "a key that the log was rotated to, hexadecimal; repeat for more")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := accusedOf(flags{file: file, hash: hash}, *policy, *later)
		if err != nil {
			return err
		}
		b, err := read(args[0])
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(b, []byte(forkText)):
			return a.fork(cmd, b, *asJSON)
		case bytes.HasPrefix(b, []byte(decisionText)):
			return a.decisions(cmd, b, *asJSON)
		}
		return cli.Exit(cli.Unverified, entry.Refuse(entry.EvidenceInvalid, "%s is no evidence: its first line is neither %sv1 nor %sv1", args[0], forkText, decisionText))
	}
	return cmd
}

func accusedOf(f flags, policy string, later []string) (*accused, error) {
	a := &accused{}
	switch {
	case *f.file != "" && policy == "":
		g, err := f.genesis()
		if err != nil {
			return nil, err
		}
		ledger := g.Hash()
		a.origin, a.ledger, a.keys = g.Origin, &ledger, []ed25519.PublicKey{g.LogKey.Public()}
	case *f.file == "" && policy != "" && *f.hash == "":
		b, err := read(policy)
		if err != nil {
			return nil, err
		}
		key, err := namedLog(string(b), a)
		if err != nil {
			return nil, err
		}
		a.keys = []ed25519.PublicKey{key}
	default:
		return nil, cli.Usagef("give --genesis-file, or --policy alone")
	}
	for _, text := range later {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, cli.Usagef("--log-key %q: want 64 hexadecimal digits", text)
		}
		a.keys = append(a.keys, key)
	}
	return a, nil
}

// namedLog reads the one log line of a policy and fills in the origin. Witnesses do not matter here: the log's own signature is the evidence.
func namedLog(text string, a *accused) (ed25519.PublicKey, error) {
	var key ed25519.PublicKey
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "log" {
			continue
		}
		if len(fields) != 2 || key != nil {
			return nil, cli.Usagef("the policy has more than one log, or one with a URL")
		}
		var err error
		if a.origin, key, err = proof.ParseLogVKey(fields[1]); err != nil {
			return nil, cli.Exit(cli.Usage, err)
		}
	}
	if key == nil {
		return nil, cli.Usagef("the policy names no log")
	}
	return key, nil
}

// headJSON is a checkpoint of a fork.
type headJSON struct {
	Size uint64 `json:"size"`
	Root string `json:"root"`
}

func (a *accused) fork(cmd *cobra.Command, b []byte, asJSON bool) error {
	e, err := proof.ParseEvidence(b)
	if err == nil {
		err = e.Verify(a.origin, a.keys...)
	}
	if err != nil {
		return cli.Exit(cli.Unverified, entry.Refuse(entry.EvidenceInvalid, "%v", err))
	}
	var heads [2]headJSON
	for i, signed := range [][]byte{e.Older, e.Newer} {
		for _, key := range a.keys {
			if c, err := proof.OpenLog(a.origin, key, signed); err == nil {
				heads[i] = headJSON{c.Size, hex.EncodeToString(c.Root[:])}
			}
		}
	}
	return cli.Print(cmd, asJSON, map[string]any{"valid": true, "type": "fork", "origin": a.origin, "older": heads[0], "newer": heads[1]}, func(w io.Writer) {
		fmt.Fprintf(w, "the evidence holds: the log %s signed two histories\n", a.origin)
		fmt.Fprintf(w, "one    %d entries, root %s\n", heads[0].Size, heads[0].Root)
		fmt.Fprintf(w, "other  %d entries, root %s\n", heads[1].Size, heads[1].Root)
	})
}

// decisionJSON is one of two decisions.
type decisionJSON struct {
	Entry   uint64 `json:"entry"`
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Hold    string `json:"hold"`
	Outcome string `json:"outcome"`
}

func (a *accused) decisions(cmd *cobra.Command, b []byte, asJSON bool) error {
	ledger, err := a.ledgerOf(b)
	if err != nil {
		return cli.Exit(cli.Unverified, err)
	}
	first, second, err := settlement.JudgeDecisions(b, a.origin, ledger, a.keys...)
	if err != nil {
		return cli.Exit(cli.Unverified, err)
	}
	var both [2]decisionJSON
	for i, r := range []*proof.Receipt{first, second} {
		e, err := entry.Decode(r.Entry)
		if err != nil {
			return cli.Exit(cli.Unverified, err)
		}
		both[i] = decisionJSON{Entry: r.Index, ID: entry.IDOf(e).String(), Kind: e.Kind().String()}
		switch e := e.(type) {
		case *entry.Resolve:
			both[i].Hold, both[i].Outcome = e.Hold.String(), e.Outcome.String()
		case *entry.Override:
			both[i].Hold, both[i].Outcome = e.Hold.String(), e.Outcome.String()
		}
	}
	return cli.Print(cmd, asJSON, map[string]any{"valid": true, "type": "decisions", "origin": a.origin, "ledger": ledger.String(), "first": both[0], "second": both[1]}, func(w io.Writer) {
		fmt.Fprintf(w, "the evidence holds: the log %s holds two decisions for hold %s\n", a.origin, both[0].Hold)
		for _, d := range both {
			fmt.Fprintf(w, "entry %d  %s, %s %s\n", d.Entry, d.Outcome, d.Kind, d.ID)
		}
	})
}

// ledgerOf is the ledger that genesis names, or else the one that the first decision names: the log's key signed for it.
func (a *accused) ledgerOf(b []byte) (entry.GenesisHash, error) {
	if a.ledger != nil {
		return *a.ledger, nil
	}
	pair, err := proof.ParseDecisions(b)
	if err != nil {
		return entry.GenesisHash{}, entry.Refuse(entry.EvidenceInvalid, "%v", err)
	}
	first, _, err := pair.Receipts()
	if err != nil {
		return entry.GenesisHash{}, entry.Refuse(entry.EvidenceInvalid, "%v", err)
	}
	e, err := entry.Decode(first.Entry)
	if err != nil || e.Head() == nil {
		return entry.GenesisHash{}, entry.Refuse(entry.EvidenceInvalid, "entry %d is no decision", first.Index)
	}
	return e.Head().Ledger, nil
}

func pairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "decisions RECEIPT RECEIPT",
		Short: "Put two contradicting decisions together as evidence",
		Long: `Put two receipts of one ledger, whose entries decide one hold differently, together as evidence that its log misbehaved. Receipts that do not contradict each
other are no evidence. comity verify evidence checks the file, comity corridor accuse shows it to a ledger.`,
		Example: "  comity verify decisions posted.receipt voided.receipt --genesis-file borealis.genesis --out decisions.txt",
		Args:    cobra.ExactArgs(2),
	}
	f := addFlags(cmd)
	out := cmd.Flags().String("out", "", "the evidence file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := f.genesis()
		if err != nil {
			return err
		}
		var receipts [2][]byte
		for i := range receipts {
			if receipts[i], err = read(args[i]); err != nil {
				return err
			}
		}
		d, err := proof.NewDecisions(g.Origin, receipts[0], receipts[1], g.LogKey.Public())
		if err != nil {
			return cli.Exit(cli.Unverified, entry.Refuse(entry.EvidenceInvalid, "%v", err))
		}
		if _, _, err := settlement.JudgeDecisions(d.Marshal(), g.Origin, g.Hash(), g.LogKey.Public()); err != nil {
			return cli.Exit(cli.Unverified, err)
		}
		if err := cli.WriteNewFile(*out, d.Marshal(), false); err != nil {
			return err
		}
		return cli.Print(cmd, *f.asJSON, map[string]any{"file": *out, "ledger": g.Hash().String()}, func(w io.Writer) {
			fmt.Fprintf(w, "Evidence against %s: %s\n", g.Name, *out)
		})
	}
	return cmd
}

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy",
		Short:   "Print a ledger's log key and witness policy for other tools",
		Long:    "Print the key of a ledger's log and its witness policy, as its genesis states them, in the form that C2SP tools and comity verify evidence --policy read.",
		Example: "  comity verify policy --genesis-file aurelia.genesis > aurelia.policy",
		Args:    cobra.NoArgs,
	}
	f := addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		g, err := f.genesis()
		if err != nil {
			return err
		}
		p, err := wallets.PolicyOf(g)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *f.asJSON, map[string]any{"genesis": g.Hash().String(), "policy": p.Text()}, func(w io.Writer) { fmt.Fprint(w, p.Text()) })
	}
	return cmd
}

// Package corridorcmd is the command group "comity corridor": what a ledger believes about a peer ledger, and how much it lets be in
// flight to it. Changing a corridor takes the policy's signatures, so every change is a proposal (comity ledger sign, submit).
package corridorcmd

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Command returns the group "corridor".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "corridor",
		Short: "Say what a ledger believes about another, and how much may be in flight",
		Long: `A corridor is what a ledger keeps about a peer: the key of its log, the witnesses whose cosignatures it believes, a cap on what is in
flight, and what it observed last. Payments cross it only while it is active.

add, freeze and thaw make proposals: the policy's signers read and sign them (comity ledger sign), and anybody submits them (comity
ledger submit). lint says how few witnesses could cheat together, before anybody signs.`,
	}
	cmd.AddCommand(termsCommand(), lintCommand(), addCommand(), changeCommand(true), changeCommand(false), listCommand(), accuseCommand())
	return cmd
}

// maxFile bounds a corridor or genesis file.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > maxFile {
		return nil, cli.Usagef("%s is longer than %d bytes", path, maxFile)
	}
	return b, nil
}

// readTerms reads a corridor file.
func readTerms(path string) (entry.GenesisHash, *entry.CorridorTerms, error) {
	b, err := readFile(path)
	if err != nil {
		return entry.GenesisHash{}, nil, err
	}
	peer, terms, err := entry.ParseCorridorJSON(b)
	if err != nil {
		return peer, nil, fmt.Errorf("%s: %w", path, err)
	}
	return peer, terms, nil
}

// termsFlags make terms from the peer's genesis.
type termsFlags struct {
	peer, hash, cap, classes, name *string
	own                            *[]string
	quorum, faulty                 *uint8
	stale                          *time.Duration
}

func addTermsFlags(cmd *cobra.Command) *termsFlags {
	f := cmd.Flags()
	return &termsFlags{
		peer:    f.String("peer-genesis", "", "the peer's genesis, as JSON or in its binary form"),
		hash:    f.String("peer", "", "genesis hash that the peer published"),
		name:    f.String("name", "", "what people here call the peer (default: its own name)"),
		own:     f.StringArray("own-witness", nil, "name of a witness of the peer's log that this nation runs; repeat for each"),
		quorum:  f.Uint8("quorum", 0, "how many of the peer's validating witnesses must cosign (default: as its genesis says)"),
		faulty:  f.Uint8("faulty", 0, "how many of them may collude (default: as its genesis says)"),
		cap:     f.String("cap", "", "most that may be in flight, in minor units of any currency"),
		classes: f.String("classes", "", "size classes in minor units, ascending, with commas between: what everybody sees of an amount"),
		stale:   f.Duration("stale", 10*time.Minute, "no new payment when the peer was not observed for so long"),
	}
}

// terms makes the terms, not yet validated.
func (f *termsFlags) terms(cmd *cobra.Command) (entry.GenesisHash, *entry.CorridorTerms, error) {
	fail := func(err error) (entry.GenesisHash, *entry.CorridorTerms, error) { return entry.GenesisHash{}, nil, err }
	g, err := cli.ReadGenesis(*f.peer)
	if err != nil {
		return fail(err)
	}
	want, err := peerHash(*f.hash)
	if err != nil {
		return fail(err)
	}
	if hash := g.Hash(); want != nil && hash != *want {
		return fail(cli.RefusedAs("other_ledger", fmt.Errorf("%s is of ledger %s, not %s", *f.peer, hash, want)))
	}
	t, err := g.CorridorTerms(*f.own...)
	if err != nil {
		return fail(err)
	}
	if *f.name != "" {
		t.Name = *f.name
	}
	if cmd.Flags().Changed("quorum") {
		t.Quorum = *f.quorum
	}
	if cmd.Flags().Changed("faulty") {
		t.Faulty = *f.faulty
	}
	if t.Cap, err = minorUnits("--cap", *f.cap); err != nil {
		return fail(err)
	}
	for _, text := range strings.Split(*f.classes, ",") {
		class, err := minorUnits("--classes", strings.TrimSpace(text))
		if err != nil {
			return fail(err)
		}
		t.SizeClasses = append(t.SizeClasses, class)
	}
	if *f.stale < 0 {
		return fail(cli.Usagef("--stale %v: want a time", *f.stale))
	}
	t.StaleMillis = uint64(f.stale.Milliseconds())
	return g.Hash(), t, nil
}

func minorUnits(flag, text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, cli.Usagef("%s %q: want minor units, such as 100000", flag, text)
	}
	return n, nil
}

// peerHash reads the hash of a peer, nil for none.
func peerHash(text string) (*entry.GenesisHash, error) {
	if text == "" {
		return nil, nil
	}
	id, err := entry.ParseID(text)
	if err != nil {
		return nil, cli.Usagef("--peer: want 64 lower-case hexadecimal digits")
	}
	h := entry.GenesisHash(id)
	return &h, nil
}

func termsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "terms",
		Short: "Write a corridor file from the peer's genesis",
		Long: `Write a corridor file for people to review: name, log key, validating witnesses and treasury come from the peer's genesis, the rest from flags.
comity corridor lint judges the file, comity corridor add proposes it. It can be edited in between; it is read strictly.

A size class bounds an amount in public, so that a cap can hold although amounts are hidden: a payment takes the smallest class that is not
below it. Few classes say little about amounts; many waste little of the cap.`,
		Example: `  comity corridor terms --peer-genesis borealis.genesis --own-witness aurelia.example --cap 500000000 --classes 100000,10000000,500000000 --out borealis.json`,
		Args:    cobra.NoArgs,
	}
	f := addTermsFlags(cmd)
	for _, name := range []string{"peer-genesis", "own-witness", "cap", "classes"} {
		_ = cmd.MarkFlagRequired(name)
	}
	out := cmd.Flags().String("out", "", "the corridor file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		peer, t, err := f.terms(cmd)
		if err != nil {
			return err
		}
		text, err := t.JSON(peer)
		if err != nil {
			return err
		}
		if err := cli.WriteNewFile(*out, text, false); err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"file": *out, "peer": peer.String(), "name": t.Name}, func(w io.Writer) {
			fmt.Fprintf(w, "Terms for %s, genesis %s: %s\n", t.Name, peer, *out)
		})
	}
	return cmd
}

func addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Propose to open a corridor, or to change its terms",
		Long: `Propose to open a corridor to a peer, or to replace the terms of one that exists. The terms come from a corridor file (--file; deploy/README.md
describes it), or straight from the peer's genesis and flags.

Terms under which as many witnesses as may be faulty could cheat are refused: comity corridor lint says why.`,
		Example: `  comity corridor add --ledger http://127.0.0.1:7001 --file borealis.json --out corridor.json
  comity corridor add --ledger http://127.0.0.1:7001 --peer-genesis borealis.genesis --own-witness aurelia.example \
      --cap 500000000 --classes 100000,10000000,500000000 --out corridor.json`,
		Args: cobra.NoArgs,
	}
	p := ledgercmd.AddProposalFlags(cmd)
	file := cmd.Flags().String("file", "", "the corridor file")
	f := addTermsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if (*file == "") == (*f.peer == "") {
			return cli.Usagef("give --file or --peer-genesis")
		}
		var peer entry.GenesisHash
		var t *entry.CorridorTerms
		if *file != "" {
			for _, name := range []string{"name", "own-witness", "quorum", "faulty", "cap", "classes", "stale"} {
				if cmd.Flags().Changed(name) {
					return cli.Usagef("--%s says what the corridor file says: edit the file, or give --peer-genesis", name)
				}
			}
			peer, t, err = readTerms(*file)
		} else {
			peer, t, err = f.terms(cmd)
		}
		if err != nil {
			return err
		}
		if want, err := peerHash(*f.hash); err != nil {
			return err
		} else if want != nil && peer != *want {
			return cli.RefusedAs("other_ledger", fmt.Errorf("the terms are for ledger %s, not %s", peer, want))
		}
		if err := t.Validate(); err != nil {
			return err
		}
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		return p.Write(cmd, r.Genesis, &entry.Corridor{Header: header, Peer: peer, Action: entry.CorridorSets, Terms: t}, nil)
	}
	return cmd
}

func changeCommand(freeze bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "freeze",
		Short: "Propose to stop new payments over a corridor",
		Long: `Propose to freeze a corridor: no new payment crosses. What this ledger decides is returned when it expires; what the peer decides waits until the
corridor is thawed or an override decides it. Evidence of misbehaviour freezes a corridor without anybody's signature.`,
		Example: "  comity corridor freeze --ledger http://127.0.0.1:7001 --peer 5b0e... --out freeze.json",
		Args:    cobra.NoArgs,
	}
	action := entry.CorridorFreezes
	if !freeze {
		action = entry.CorridorThaws
		cmd.Use, cmd.Short = "thaw", "Propose to let payments cross a frozen corridor again"
		cmd.Long = `Propose to thaw a corridor. If evidence froze it, be sure first which history of the peer is the true one: evidence stays booked, and the next
observation must grow from the last.`
		cmd.Example = strings.ReplaceAll(cmd.Example, "freeze", "thaw")
	}
	p := ledgercmd.AddProposalFlags(cmd)
	peer := cmd.Flags().String("peer", "", "the peer's genesis hash (required)")
	_ = cmd.MarkFlagRequired("peer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		hash, err := peerHash(*peer)
		if err != nil {
			return err
		}
		if hash == nil {
			return cli.Usagef("--peer: want 64 lower-case hexadecimal digits")
		}
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		return p.Write(cmd, r.Genesis, &entry.Corridor{Header: header, Peer: *hash, Action: action}, nil)
	}
	return cmd
}

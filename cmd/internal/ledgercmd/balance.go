package ledgercmd

import (
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/logdir"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// books is what a replay of a log says about its totals.
type books struct {
	genesis *entry.Genesis
	day     settlement.Day
	at      *settlement.TrialBalance // where it was asked for
	cut     *settlement.TrialBalance // at the last cut-off; nil before the first
	final   uint64                   // entries that witnesses cosigned
}

// logSource is a log to be read: of a running ledger, or exported.
type logSource struct {
	genesis *entry.Genesis
	final   *proof.Final
	blocks  iter.Seq2[*settlement.Block, error]
}

func openLog(cmd *cobra.Command, address, dir string, want *entry.GenesisHash) (*logSource, error) {
	if (address == "") == (dir == "") {
		return nil, cli.Usagef("give --ledger or --log")
	}
	if address != "" {
		r, err := Dial(cmd.Context(), address, want)
		if err != nil {
			return nil, err
		}
		_, final, err := r.checkpoint(cmd.Context())
		return &logSource{r.Genesis, final, r.blocks(cmd.Context(), false)}, err
	}
	l, err := logdir.Open(dir)
	switch {
	case errors.Is(err, logdir.ErrFormat):
		return nil, cli.Exit(cli.Usage, err)
	case errors.Is(err, logdir.ErrDamaged):
		return nil, cli.Exit(cli.Unverified, err)
	case err != nil:
		return nil, err
	}
	if want != nil && l.Genesis().Hash() != *want {
		return nil, cli.Exit(cli.Unverified, fmt.Errorf("other_ledger: the log is of ledger %s, not %s", l.Genesis().Hash(), want))
	}
	final, err := checkCheckpoint(l.Genesis(), l.Checkpoint())
	return &logSource{l.Genesis(), final, l.Blocks()}, err
}

// books rebuilds the totals. All rules but the proofs are rechecked: no total rests on a proof. size is the log size at which the
// balance is taken, 0 for the end.
func (l *logSource) books(cmd *cobra.Command, size uint64) (*books, error) {
	out := &books{genesis: l.genesis, final: l.final.Size}
	bar := cli.NewProgress(cmd, "add up", int(l.final.Size))
	defer bar.Done()
	var r *replay.Replayer
	covered := false
	for block, err := range l.blocks {
		if err != nil {
			if errors.Is(err, logdir.ErrDamaged) {
				return nil, cli.Exit(cli.Unverified, err)
			}
			return nil, err
		}
		if err := cmd.Context().Err(); err != nil {
			return nil, err
		}
		bare := &settlement.Block{Height: block.Height, Time: block.Time, FirstIndex: block.FirstIndex, Entries: block.Entries}
		var before *settlement.TrialBalance
		if r == nil {
			r, err = replay.New(bare, replay.Config{Genesis: l.genesis.Hash()})
		} else {
			if cutsOff(block) {
				before = r.State().TrialBalance()
			}
			err = r.Apply(bare)
		}
		var broken *replay.Error
		if errors.As(err, &broken) {
			return nil, cli.Exit(cli.Unverified, err)
		}
		if err != nil {
			return nil, err
		}
		if before != nil {
			out.cut = before
		}
		s := r.State()
		if s.LogSize() == l.final.Size {
			if proof.Hash(s.LogRoot()) != l.final.Root {
				return nil, cli.Unverifiedf("root_mismatch: the entries do not hash to the root that the witnesses cosigned")
			}
			covered = true
		}
		if s.LogSize() == size {
			out.at = s.TrialBalance()
		}
		bar.Set(int(min(s.LogSize(), l.final.Size)), int(l.final.Size))
	}
	if !covered {
		return nil, cli.Unverifiedf("root_mismatch: no block ends at entry %d, where the cosigned checkpoint ends", l.final.Size)
	}
	if out.day = r.State().Day(); size == 0 {
		out.at = r.State().TrialBalance()
	}
	if out.at == nil {
		return nil, cli.RefusedAs("not_found", fmt.Errorf("no block of the log ends at entry %d", size))
	}
	if out.cut != nil && out.day.Size != 0 && out.cut.Hash() != out.day.Balance {
		return nil, cli.Unverifiedf("the trial balance at the cut-off is %x, the ledger's rules fixed %x", out.cut.Hash(), out.day.Balance)
	}
	return out, nil
}

// cutsOff tells whether a block holds a cut-off.
func cutsOff(b *settlement.Block) bool {
	for _, leaf := range b.Entries {
		if kind, err := entry.KindOf(leaf); err != nil || kind != entry.KindClose {
			continue
		}
		if e, err := entry.Decode(leaf); err == nil && e.(*entry.Close).Action == entry.DayCutOff {
			return true
		}
	}
	return false
}

// balanceJSON is the answer of `ledger balance --json`. Amounts are strings of minor units.
type balanceJSON struct {
	Genesis   string         `json:"genesis"`
	Name      string         `json:"name"`
	Height    uint64         `json:"height"`
	Time      string         `json:"time"`
	Size      uint64         `json:"size"`
	FinalSize uint64         `json:"final_size"`
	Root      string         `json:"root"`
	Hash      string         `json:"hash"`
	Day       *dayJSON       `json:"day"`
	Supply    []supplyJSON   `json:"supply"`
	Entries   []kindJSON     `json:"entries"`
	Keys      uint64         `json:"once_only_keys"`
	Holds     []holdRowJSON  `json:"holds"`
	Corridors []positionJSON `json:"corridors"`
}

type kindJSON struct {
	Kind  string `json:"kind"`
	Count uint64 `json:"count"`
}

type holdRowJSON struct {
	Condition string `json:"condition"`
	SizeClass string `json:"size_class,omitempty"` // none for an attested hold
	Age       string `json:"age"`
	Count     uint64 `json:"count"`
}

type positionJSON struct {
	Peer         string `json:"peer"`
	Name         string `json:"name"`
	Frozen       bool   `json:"frozen"`
	DecidedHere  string `json:"decided_here"`
	DecidedThere string `json:"decided_there"`
	Cap          string `json:"cap"`
	Claims       string `json:"claims"`
	Observed     uint64 `json:"observed_size"`
}

// dayJSON is how the business day stands at the end of the log.
type dayJSON struct {
	Date    string `json:"date"`
	State   string `json:"state"` // open, cut off or closed
	Size    uint64 `json:"size,omitempty"`
	Root    string `json:"root,omitempty"`
	Balance string `json:"balance,omitempty"`
}

func dayOf(d settlement.Day) *dayJSON {
	if d.Action == 0 {
		return nil
	}
	out := &dayJSON{Date: d.Date.String(), State: map[entry.CloseAction]string{entry.DayOpens: "open", entry.DayCutOff: "cut off", entry.DayCloses: "closed"}[d.Action]}
	if d.Size != 0 {
		out.Size, out.Root, out.Balance = d.Size, hex.EncodeToString(d.Root[:]), hex.EncodeToString(d.Balance[:])
	}
	return out
}

// conditionName gives the word for the type of a hold's condition.
func conditionName(c uint8) string {
	switch c {
	case entry.ConditionAttested:
		return "attested"
	case entry.ConditionDecidedHere:
		return "decided here"
	case entry.ConditionDecidedThere:
		return "decided there"
	}
	return "condition " + strconv.Itoa(int(c))
}

func (b *books) json() *balanceJSON {
	t, hash := b.at, b.at.Hash()
	out := &balanceJSON{Genesis: b.genesis.Hash().String(), Name: b.genesis.Name, Height: t.Height, Time: formatMillis(t.TimeMillis), Size: t.Size, FinalSize: min(b.final, t.Size),
		Root: hex.EncodeToString(t.Root[:]), Hash: hex.EncodeToString(hash[:]), Day: dayOf(b.day), Keys: t.Keys,
		Supply: supplyOf(b.genesis, &entry.State{Supply: t.Supply}), Entries: []kindJSON{}, Holds: []holdRowJSON{}, Corridors: []positionJSON{}}
	for _, row := range t.Entries {
		out.Entries = append(out.Entries, kindJSON{row.Kind.String(), row.Count})
	}
	for _, row := range t.Holds {
		h := holdRowJSON{Condition: conditionName(row.Condition), Age: row.Age.String(), Count: row.Count}
		if row.SizeClass != entry.LocalSizeClass {
			h.SizeClass = cli.MinorUnits(row.SizeClass)
		}
		out.Holds = append(out.Holds, h)
	}
	for _, row := range t.Corridors {
		out.Corridors = append(out.Corridors, positionJSON{row.Peer.String(), row.Name, row.Frozen, cli.MinorUnits(row.Here), cli.MinorUnits(row.There),
			cli.MinorUnits(row.Cap), cli.MinorUnits(row.Claims), row.Size})
	}
	return out
}

// csv writes one table: section, item, two columns of detail, and a value. Amounts are minor units.
func (b *books) csv(w io.Writer) error {
	j := b.json()
	rows := [][]string{{"section", "item", "detail", "age", "value"},
		{"log", "genesis", "", "", j.Genesis}, {"log", "height", "", "", strconv.FormatUint(j.Height, 10)}, {"log", "time", "", "", j.Time},
		{"log", "size", "", "", strconv.FormatUint(j.Size, 10)}, {"log", "root", "", "", j.Root}, {"log", "trial_balance", "", "", j.Hash}}
	if j.Day != nil {
		rows = append(rows, []string{"day", j.Day.Date, j.Day.State, "", j.Day.Balance})
	}
	for _, row := range j.Supply {
		rows = append(rows, []string{"supply", row.Asset, "issued", "", row.Issued}, []string{"supply", row.Asset, "redeemed", "", row.Redeemed}, []string{"supply", row.Asset, "outstanding", "", row.Outstanding})
	}
	for _, row := range j.Entries {
		rows = append(rows, []string{"entries", row.Kind, "", "", strconv.FormatUint(row.Count, 10)})
	}
	rows = append(rows, []string{"once_only_keys", "", "", "", strconv.FormatUint(j.Keys, 10)})
	for _, row := range j.Holds {
		rows = append(rows, []string{"holds", row.Condition, row.SizeClass, row.Age, strconv.FormatUint(row.Count, 10)})
	}
	for _, row := range j.Corridors {
		for _, x := range [][2]string{{"decided_here", row.DecidedHere}, {"decided_there", row.DecidedThere}, {"cap", row.Cap}, {"claims", row.Claims},
			{"observed_size", strconv.FormatUint(row.Observed, 10)}, {"frozen", strconv.FormatBool(row.Frozen)}} {
			rows = append(rows, []string{"corridor", row.Peer, x[0], "", x[1]})
		}
	}
	return csv.NewWriter(w).WriteAll(rows)
}

func (b *books) text(w io.Writer) {
	t, hash := b.at, b.at.Hash()
	fmt.Fprintf(w, "Trial balance of %q, genesis %s\n", b.genesis.Name, b.genesis.Hash())
	fmt.Fprintf(w, "height %d at %s, %d entries, %d of them final\n", t.Height, formatMillis(t.TimeMillis), t.Size, min(b.final, t.Size))
	fmt.Fprintf(w, "root %x\nSHA-256 of this balance %x\n", t.Root, hash)
	printDay(w, b.day)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...any) {
		for _, c := range cells {
			fmt.Fprintf(table, "%v\t", c)
		}
		fmt.Fprintln(table)
	}
	row("\nsupply", "issued", "redeemed", "outstanding")
	for _, a := range b.genesis.Assets {
		s := supplyRow(&entry.State{Supply: t.Supply}, a.ID)
		d := int(a.Decimals)
		row(a.Code, cli.Money(s.Issued, d, ""), cli.Money(s.Redeemed, d, ""), cli.Money(s.Issued-s.Redeemed, d, ""))
	}
	row("\nentries")
	for _, k := range t.Entries {
		row(k.Kind, k.Count)
	}
	row("once-only keys", t.Keys)
	if len(t.Holds) > 0 {
		row("\nopen holds", "size class", "age", "number")
	}
	for _, h := range t.Holds {
		class := "-"
		if h.SizeClass != entry.LocalSizeClass {
			class = cli.MinorUnits(zk.Amount(h.SizeClass))
		}
		row(conditionName(h.Condition), class, h.Age, h.Count)
	}
	if len(t.Corridors) > 0 {
		row("\ncorridor", "decided here", "decided there", "cap", "claims", "observed", "")
	}
	for _, c := range t.Corridors {
		state := ""
		if c.Frozen {
			state = "frozen"
		}
		row(c.Name, c.Here, c.There, c.Cap, c.Claims, c.Size, state)
	}
	_ = table.Flush() // w is the command's output, or a buffer of a test
}

func printDay(w io.Writer, d settlement.Day) {
	j := dayOf(d)
	if j == nil {
		fmt.Fprintln(w, "no business day was opened yet")
		return
	}
	fmt.Fprintf(w, "business day %s is %s\n", j.Date, j.State)
	if j.Size != 0 {
		fmt.Fprintf(w, "  over %d entries, root %s, trial balance %s\n", j.Size, j.Root, j.Balance)
	}
}

func balanceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "balance",
		Short: "Add a ledger up: supply, entries, holds by age, corridor positions",
		Long: `Print the trial balance of a running ledger or of an exported log: what was issued and redeemed of each currency, entries by kind, open holds by
condition, size class and age, where the ledger stands with each peer, and once-only keys used up. It is computed from the log, whose
every rule but the proofs is rechecked (comity ledger verify checks those), and it ends in one SHA-256, so two people with two copies can compare.

--cut-off takes it where the business day was cut off: this is the balance that a close names. --size takes it at any earlier block.`,
		Example: `  comity ledger balance --ledger http://127.0.0.1:7001
  comity ledger balance --log aurelia-2026-01-31 --cut-off --csv`,
		Args: cobra.NoArgs,
	}
	address := cmd.Flags().String("ledger", "", "address of a running ledger")
	dir := cmd.Flags().String("log", "", "folder of an exported log, in place of --ledger")
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	size := cmd.Flags().Uint64("size", 0, "log size at the end of the block where it is taken (default: the end)")
	cut := cmd.Flags().Bool("cut-off", false, "take it where the business day was cut off")
	asCSV := cmd.Flags().Bool("csv", false, "print it as CSV, amounts in minor units")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *cut && *size != 0 || *asCSV && *asJSON {
			return cli.Usagef("--cut-off and --size exclude each other, and so do --csv and --json")
		}
		want, err := ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		l, err := openLog(cmd, *address, *dir, want)
		if err != nil {
			return err
		}
		b, err := l.books(cmd, *size)
		if err != nil {
			return err
		}
		if *cut {
			if b.day.Size == 0 {
				return cli.RefusedAs(string(entry.DayNotCutOff), errors.New("the business day had no cut-off yet"))
			}
			b.at = b.cut
		}
		if *asCSV {
			return b.csv(cmd.OutOrStdout())
		}
		return cli.Print(cmd, *asJSON, b.json(), b.text)
	}
	return cmd
}

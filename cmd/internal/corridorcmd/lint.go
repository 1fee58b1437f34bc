package corridorcmd

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// findings is the answer of `corridor lint --json`.
type findings struct {
	Name      string `json:"name"`
	Quorum    int    `json:"quorum"`
	Witnesses int    `json:"witnesses"`
	Faulty    int    `json:"faulty"`
	// Colluding is how many witnesses it takes, with the log, to cosign two histories.
	Colluding int `json:"smallest_colluding_set"`
	// Operators is a smallest set of operators who run that many.
	Operators []string `json:"smallest_colluding_operators"`
	Warnings  []string `json:"warnings"`
}

// member is one witness as the linter sees it.
type member struct {
	name, operator string
	own            bool
}

// policy is a witness policy to judge.
type policy struct {
	name           string
	members        []member
	quorum, faulty int
	terms          *entry.CorridorTerms // of a corridor file; nil for a genesis, where no witness is anybody's own
}

// lint judges a policy. What it found is given beside a refusal too.
func (p *policy) lint() (*findings, error) {
	quorum, faulty := p.quorum, p.faulty
	n, own := len(p.members), 0
	operators := make([]string, n)
	for i, m := range p.members {
		operators[i] = m.operator
		if m.own {
			own++
		}
	}
	out := &findings{Name: p.name, Quorum: quorum, Witnesses: n, Faulty: faulty, Colluding: proof.SmallestColludingSet(n, quorum),
		Operators: proof.SmallestColludingOperators(operators, quorum), Warnings: []string{}}
	if out.Operators == nil {
		out.Operators = []string{}
	}
	warn := func(format string, args ...any) { out.Warnings = append(out.Warnings, fmt.Sprintf(format, args...)) }
	if faulty == 0 {
		warn("no faulty witness is allowed for: one that colludes with the log may suffice to show two histories")
	}
	if len(out.Operators) == 1 && n > 1 {
		warn("%s alone can cosign two histories", out.Operators[0])
	}
	if p.terms != nil {
		switch {
		case own == 0:
			warn("no witness is ours: everything rests on the word of others")
		case n-own >= quorum:
			warn("the quorum can be met without a witness of ours: then the peer's checkpoints are final there and cannot be observed here")
		}
	}
	switch {
	case quorum < 1 || quorum > n:
		return out, entry.Refuse(entry.CorridorInvalid, "a quorum of %d of %d witnesses: want 1 <= k <= n", quorum, n)
	case out.Colluding <= faulty:
		return out, entry.Refuse(entry.CorridorInvalid, "a quorum of %d of %d does not resist %d faulty witnesses: 2k-n = %d must exceed f", quorum, n, faulty, 2*quorum-n)
	}
	return out, nil
}

func (f *findings) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %d of %d witnesses, %d may be faulty\n", f.Name, f.Quorum, f.Witnesses, f.Faulty)
	if f.Colluding == 0 {
		fmt.Fprintln(w, "two quorums need not share a witness: the log can show two histories by itself")
	} else {
		fmt.Fprintf(w, "smallest colluding set: %d witness(es), run by %s\n", f.Colluding, strings.Join(f.Operators, " and "))
	}
	for _, warning := range f.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

func lintCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint FILE",
		Short: "Say how few witnesses could cheat together",
		Long: `Read a corridor file, or a ledger's genesis, and print the smallest set of witnesses that, with the log, could cosign two histories: 2k-n of n with a
quorum of k. Nobody less can. --operator says who runs which witness, so that the smallest set of operators is printed too; a witness that
is not named so is run by somebody of its own, and all of ours by us.

A policy that does not resist the number of faulty witnesses it states is refused as corridor_invalid.`,
		Example: `  comity corridor lint borealis.json --operator w1.borealis.example=bank --operator w2.borealis.example=bank`,
		Args:    cobra.ExactArgs(1),
	}
	runs := cmd.Flags().StringArray("operator", nil, "who runs a witness, as WITNESS=OPERATOR; repeat for more")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := policyOf(args[0])
		if err != nil {
			return err
		}
		for _, text := range *runs {
			witness, operator, ok := strings.Cut(text, "=")
			found := false
			for i := range p.members {
				if p.members[i].name == witness {
					p.members[i].operator, found = operator, true
				}
			}
			if !ok || operator == "" || !found {
				return cli.Usagef("--operator %q: want WITNESS=OPERATOR for a witness of %s", text, args[0])
			}
		}
		out, refusal := p.lint()
		if err := cli.Print(cmd, *asJSON, out, out.print); err != nil {
			return err
		}
		if refusal == nil && p.terms != nil {
			refusal = p.terms.Validate()
		}
		return refusal
	}
	return cmd
}

// policyOf reads the witness policy of a corridor file or a genesis. What is wrong with the policy of a corridor file is left to the
// linter; a genesis with a policy that is too weak is refused as it is read.
func policyOf(path string) (*policy, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if text := bytes.TrimSpace(b); !bytes.HasPrefix(text, []byte("{")) || bytes.Contains(text, []byte(`"registry_window_millis"`)) {
		g, err := cli.ReadGenesis(path)
		if err != nil {
			return nil, err
		}
		p := &policy{name: g.Name, quorum: int(g.Witnesses.Quorum), faulty: int(g.Witnesses.Faulty)}
		for _, w := range g.Witnesses.Members {
			p.members = append(p.members, member{w.Name, w.Name, false})
		}
		return p, nil
	}
	_, t, err := entry.ReadCorridorJSON(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p := &policy{name: t.Name, quorum: int(t.Quorum), faulty: int(t.Faulty), terms: t}
	for _, w := range t.Witnesses {
		m := member{w.Name, w.Name, w.Own}
		if w.Own {
			m.operator = "us"
		}
		p.members = append(p.members, m)
	}
	return p, nil
}

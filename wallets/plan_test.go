package wallets

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/comity-ledger/comity/zk"
)

func coinsOf(values ...zk.Amount) []coin {
	out := make([]coin, len(values))
	for i, v := range values {
		out[i] = coin{ref: i, value: v}
	}
	return out
}

func values(coins []coin) []zk.Amount {
	out := make([]zk.Amount, len(coins))
	for i, c := range coins {
		out[i] = c.value
	}
	return out
}

func TestChoicePrefersExactThenFewThenLittleChange(t *testing.T) {
	for name, tc := range map[string]struct {
		coins  []zk.Amount
		amount zk.Amount
		want   []zk.Amount
	}{
		"exact note":              {[]zk.Amount{10, 7, 5, 3}, 7, []zk.Amount{7}},
		"exact pair before one":   {[]zk.Amount{10, 7, 5, 3}, 8, []zk.Amount{5, 3}},
		"smallest single":         {[]zk.Amount{100, 50, 20}, 19, []zk.Amount{20}},
		"pair when none suffices": {[]zk.Amount{10, 7, 5}, 14, []zk.Amount{10, 5}},
		"three":                   {[]zk.Amount{4, 4, 4, 4}, 9, []zk.Amount{4, 4, 4}},
		"three with less change":  {[]zk.Amount{9, 8, 7, 2, 1}, 18, []zk.Amount{9, 8, 1}},
		"eight":                   {[]zk.Amount{1, 1, 1, 1, 1, 1, 1, 1}, 8, []zk.Amount{1, 1, 1, 1, 1, 1, 1, 1}},
		"nine do not fit":         {[]zk.Amount{1, 1, 1, 1, 1, 1, 1, 1, 1}, 9, nil},
		"not enough":              {[]zk.Amount{5, 5}, 11, nil},
		"largest values":          {[]zk.Amount{1 << 63, 1<<63 - 1}, 1<<64 - 1, []zk.Amount{1 << 63, 1<<63 - 1}},
	} {
		got, ok := pick(coinsOf(tc.coins...), tc.amount)
		if ok != (tc.want != nil) || len(got) != len(tc.want) {
			t.Errorf("%s: %v", name, values(got))
			continue
		}
		for i, v := range values(got) {
			if v != tc.want[i] {
				t.Errorf("%s: %v, want %v", name, values(got), tc.want)
				break
			}
		}
	}
}

func TestALegNeverMixesTrees(t *testing.T) {
	coins := []coin{{ref: 0, value: 5, tree: 0}, {ref: 1, value: 5, tree: 1}}
	if got, ok := pick(coins, 8); ok {
		t.Fatalf("picked %v", got)
	}
	legs := merges(coins, 8, 1)
	if len(legs) != 1 || len(legs[0]) != 1 || legs[0][0].tree != 0 {
		t.Fatalf("merges %v: want the note of the old tree to move", legs)
	}
}

// drawPurse draws a purse with notes in several programmes and trees, and rights over some of them.
func drawPurse(t *rapid.T) *purse {
	p := &purse{free: map[zk.ProgrammeID][]coin{}, busy: map[zk.ProgrammeID]zk.Amount{}, tree: 1}
	p.rights = Rights{Registered: true, Limit: ^zk.Amount(0)}
	for _, programme := range []zk.ProgrammeID{3, 5} {
		r := zk.Right{Programme: programme, MaySet: rapid.Bool().Draw(t, "set"), MayRelease: rapid.Bool().Draw(t, "release")}
		if r.MaySet || r.MayRelease {
			p.rights.List = append(p.rights.List, r)
		}
	}
	ref := 0
	for _, programme := range []zk.ProgrammeID{0, 3, 5} {
		n := rapid.IntRange(0, 40).Draw(t, "notes")
		if rapid.IntRange(0, 9).Draw(t, "dust") == 0 {
			n = 130
		}
		for range n {
			v := zk.Amount(rapid.Uint64Range(1, 1<<uint(rapid.IntRange(1, 40).Draw(t, "bits"))).Draw(t, "value"))
			p.free[programme] = append(p.free[programme], coin{ref: ref, value: v, tree: uint16(rapid.IntRange(0, 9).Draw(t, "tree") / 8)})
			ref++
		}
	}
	return p
}

// checkLeg holds what every planned leg must hold, whatever it is for.
func checkLeg(t *rapid.T, p *purse, l leg) {
	shape := l.circuit.Shape()
	if len(l.inputs) == 0 || len(l.inputs) > shape.Inputs || len(l.outputs) > shape.Outputs {
		t.Fatalf("%v leg with %d inputs, %d outputs", l.circuit, len(l.inputs), len(l.outputs))
	}
	in, ok := total(l.inputs)
	var out zk.Amount
	for _, o := range l.outputs {
		out += o.value
		if o.value == 0 {
			t.Fatal("a planned output of zero")
		}
		if !p.rights.hop(l.from, o.programme) {
			t.Fatalf("money of programme %d leaves to %d without the right", l.from, o.programme)
		}
	}
	if !ok || in != out {
		t.Fatalf("in %d, out %d", in, out)
	}
	for _, c := range l.inputs {
		if c.tree != l.inputs[0].tree {
			t.Fatal("a leg over two trees")
		}
	}
}

// checkRounds replays rounds on the purse and holds that no coin is used twice or before it exists.
func checkRounds(t *rapid.T, p *purse, rounds [][]leg) (paid zk.Amount) {
	p = p.clone()
	fresh := 0
	for _, round := range rounds {
		for _, l := range round {
			checkLeg(t, p, l)
			for _, c := range l.inputs {
				found := false
				for i, have := range p.free[l.from] {
					if have == c {
						p.free[l.from] = append(p.free[l.from][:i:i], p.free[l.from][i+1:]...)
						found = true
						break
					}
				}
				if !found {
					t.Fatalf("coin %v is spent twice or does not exist", c)
				}
			}
			for _, o := range l.outputs {
				if o.purpose == ToPayee {
					paid += o.value
				}
			}
		}
		p.apply(stripped(round), &fresh)
	}
	return paid
}

// stripped keeps the outputs of a round; its inputs are gone already.
func stripped(round []leg) []leg {
	out := make([]leg, len(round))
	for i, l := range round {
		out[i] = l
		out[i].inputs = nil
	}
	return out
}

// usable is what may end as money of programme to, computed apart from the planner.
func usable(p *purse, to zk.ProgrammeID) (sum zk.Amount) {
	for from, coins := range p.free {
		reach := from == to ||
			to == 0 && p.rights.MayRelease(from) ||
			from == 0 && p.rights.MaySet(to) ||
			from != 0 && to != 0 && p.rights.MayRelease(from) && p.rights.MaySet(to)
		if reach {
			s, _ := total(coins)
			sum += s
		}
	}
	return sum
}

func TestPaymentIsPlannedExactlyWhenFundsExist(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPurse(t)
		to := rapid.SampledFrom([]zk.ProgrammeID{0, 3, 5}).Draw(t, "to")
		have := usable(p, to)
		amount := zk.Amount(rapid.Uint64Range(1, uint64(have)+uint64(have)/8+2).Draw(t, "amount"))
		if have > 0 && rapid.Bool().Draw(t, "all") {
			amount = have
		}
		rounds, err := p.playPayment(amount, to)
		if (err == nil) != (amount <= have) {
			t.Fatalf("amount %d of %d: %v", amount, have, err)
		}
		if err != nil {
			return
		}
		if paid := checkRounds(t, p, rounds); paid != amount {
			t.Fatalf("paid %d, want %d", paid, amount)
		}
		for _, l := range rounds[len(rounds)-1] {
			if len(l.outputs) >= l.circuit.Shape().Outputs && l.outputs[len(l.outputs)-1].purpose == ToPayee {
				t.Fatal("no output of the payment is the wallet's own")
			}
		}
		last := rounds[len(rounds)-1]
		if len(last) != 1 || last[0].outputs[0].purpose != ToPayee || last[0].outputs[0].programme != to {
			t.Fatalf("the last round is %v", last)
		}
	})
}

func TestDisbursementIsPlannedExactlyWhenFundsExist(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPurse(t)
		to := rapid.SampledFrom([]zk.ProgrammeID{0, 3, 5}).Draw(t, "to")
		have := usable(p, to)
		var needs []need
		var sum zk.Amount
		for g := range rapid.IntRange(1, 70).Draw(t, "groups") {
			n := need{group: g, programme: to}
			for range rapid.SampledFrom([]int{1, 2, 15, 16, 17, 62, 63}).Draw(t, "payees") {
				a := zk.Amount(rapid.Uint64Range(1, uint64(have)/2000+2).Draw(t, "amount"))
				n.amounts = append(n.amounts, a)
				n.sum += a
			}
			sum += n.sum
			needs = append(needs, n)
		}
		rounds, err := p.playDisbursement(needs)
		if (err == nil) != (sum <= have) {
			t.Fatalf("sum %d of %d: %v", sum, have, err)
		}
		if err != nil {
			return
		}
		if paid := checkRounds(t, p, rounds); paid != sum {
			t.Fatalf("paid %d, want %d", paid, sum)
		}
		groups := map[int]int{}
		for _, round := range rounds {
			for _, l := range round {
				if l.group >= 0 {
					groups[l.group]++
				}
			}
		}
		for _, n := range needs {
			if groups[n.group] != 1 {
				t.Fatalf("group %d is paid %d times", n.group, groups[n.group])
			}
		}
	})
}

func TestAHundredAndFiftyNotesOfDustPayTogether(t *testing.T) {
	p := &purse{rights: Rights{Registered: true, Limit: ^zk.Amount(0)}, free: map[zk.ProgrammeID][]coin{}}
	for i := range 150 {
		p.free[0] = append(p.free[0], coin{ref: i, value: 1})
	}
	rounds, err := p.playPayment(150, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(rounds) > 4 {
		t.Fatalf("%d rounds", len(rounds))
	}
}

func TestWhatTheRegistryForbidsIsRefusedByName(t *testing.T) {
	may := Rights{Registered: true, Limit: 100, List: []zk.Right{{Programme: 3, MayRelease: true}}}
	for name, tc := range map[string]struct {
		rights Rights
		amount zk.Amount
		to     zk.ProgrammeID
		busy   zk.Amount
		want   Code
	}{
		"zero":            {may, 0, 0, 0, AmountZero},
		"unregistered":    {Rights{Limit: 100}, 1, 0, 0, OwnerUnknown},
		"frozen":          {Rights{Registered: true, Frozen: true, Limit: 100}, 1, 0, 0, OwnerFrozen},
		"over limit":      {may, 101, 0, 0, OverLimit},
		"at the limit":    {may, 100, 0, 0, ""},
		"earmarked":       {Rights{Registered: true, Limit: 100}, 90, 0, 0, ReleaseNotAllowed},
		"may not set":     {may, 90, 7, 0, SetNotAllowed},
		"nothing at all":  {Rights{Registered: true, Limit: 1000}, 900, 0, 0, InsufficientFunds},
		"waiting for own": {Rights{Registered: true, Limit: 1000}, 900, 0, 900, FundsInFlight},
	} {
		p := &purse{rights: tc.rights, free: map[zk.ProgrammeID][]coin{3: coinsOf(50, 50), 0: coinsOf(10)}, busy: map[zk.ProgrammeID]zk.Amount{0: tc.busy}}
		_, err := p.playPayment(tc.amount, tc.to)
		if CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

package wallets

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Rights is what the registry lets the wallet's owner do.
type Rights struct {
	Registered bool
	Frozen     bool
	Limit      zk.Amount // most that one leg moves to others
	List       []zk.Right
	Opened     map[zk.ProgrammeID]bool // programmes of the ledger; true while open
}

// MayRelease tells whether earmarked money of p may become money without a programme here.
func (r Rights) MayRelease(p zk.ProgrammeID) bool {
	_, ok := r.right(p, func(x zk.Right) bool { return x.MayRelease })
	return ok
}

// MaySet tells whether money without a programme may be earmarked for p here: the owner has the right, and the programme is open.
func (r Rights) MaySet(p zk.ProgrammeID) bool {
	return r.grantsSet(p) && !r.closed(p)
}

func (r Rights) grantsSet(p zk.ProgrammeID) bool {
	_, ok := r.right(p, func(x zk.Right) bool { return x.MaySet })
	return ok
}

func (r Rights) closed(p zk.ProgrammeID) bool { return r.Opened != nil && !r.Opened[p] }

// right finds the entry of the rights tree that grants want for p.
func (r Rights) right(p zk.ProgrammeID, want func(zk.Right) bool) (index int, ok bool) {
	for i, x := range r.List {
		if (x.Wildcard || x.Programme == p) && want(x) {
			return i, true
		}
	}
	return 0, false
}

// hop tells whether one leg may take money of programme from to programme to (zk/SPEC, statement 5).
func (r Rights) hop(from, to zk.ProgrammeID) bool {
	switch {
	case from == to:
		return true
	case to == 0:
		return r.MayRelease(from)
	case from == 0:
		return r.MaySet(to)
	}
	return false
}

// Purpose says what an output of a planned leg is for.
type Purpose uint8

// The purposes.
const (
	ToPayee  Purpose = iota + 1 // pays somebody
	ToChange                    // returns to the wallet
	ToMerge                     // the sum of merged notes, to the wallet
	ToFund                      // exactly what one group of a disbursement needs, to the wallet
)

// output is one output of a planned leg, before it has an address.
type output struct {
	purpose   Purpose
	value     zk.Amount
	programme zk.ProgrammeID
	line      int // ToPayee: index of the payee
}

// leg is one planned leg: which coins of which pool, and what comes out.
type leg struct {
	circuit zk.CircuitID
	from    zk.ProgrammeID
	inputs  []coin
	outputs []output
	group   int // of a disbursement, when the leg pays one; -1 otherwise
}

// circuitFor is the smallest circuit that takes so many inputs and outputs.
func circuitFor(inputs, outputs int) (zk.CircuitID, bool) {
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Consolidate, zk.Disburse16, zk.Disburse64} {
		if s := id.Shape(); inputs <= s.Inputs && outputs <= s.Outputs {
			return id, true
		}
	}
	return 0, false
}

// purse is the money of one asset, by programme. busy is what is reserved by, or will come back from, transactions in flight.
type purse struct {
	rights Rights
	free   map[zk.ProgrammeID][]coin
	busy   map[zk.ProgrammeID]zk.Amount
	tree   uint16 // the note tree that takes the next outputs
	asset  entry.Asset
}

// money prints an amount in the purse's currency, for refusals.
func (p *purse) money(a zk.Amount) string {
	return strings.TrimSpace(a.Format(int(p.asset.Decimals)) + " " + p.asset.Code)
}

// sources lists the programmes whose money can end as money of programme to, in the order in which it is used: to itself, then money
// without a programme, then earmarked money that may be released, ascending.
func (p *purse) sources(to zk.ProgrammeID) []zk.ProgrammeID {
	out := []zk.ProgrammeID{to}
	if to != 0 && p.rights.MaySet(to) {
		out = append(out, 0)
	}
	if to == 0 || p.rights.MaySet(to) {
		for _, from := range p.held() {
			if from != 0 && from != to && p.rights.MayRelease(from) {
				out = append(out, from)
			}
		}
	}
	return out
}

// held lists the programmes of which the purse has money, ascending.
func (p *purse) held() []zk.ProgrammeID {
	set := map[zk.ProgrammeID]bool{}
	for k, v := range p.free {
		if len(v) > 0 {
			set[k] = true
		}
	}
	for k, v := range p.busy {
		if v > 0 {
			set[k] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// amountOf adds up what is free of one programme; a sum beyond 64 bits counts as the largest amount.
func (p *purse) amountOf(from zk.ProgrammeID) zk.Amount {
	sum, ok := total(p.free[from])
	if !ok {
		return ^zk.Amount(0)
	}
	return sum
}

func addCapped(a, b zk.Amount) zk.Amount {
	if a+b < a {
		return ^zk.Amount(0)
	}
	return a + b
}

// mayPay refuses by name what the registry forbids whatever the notes are.
func (p *purse) mayPay(amount zk.Amount) error {
	switch {
	case amount == 0:
		return Refuse(AmountZero, "nothing to pay")
	case !p.rights.Registered:
		return Refuse(OwnerUnknown, "this wallet is not registered yet; 'comity wallet register-request' makes the request")
	case p.rights.Frozen:
		return Refuse(OwnerFrozen, "the registry has frozen this wallet")
	case amount > p.rights.Limit:
		return Refuse(OverLimit, "%s to others in one leg, the limit is %s", p.money(amount), p.money(p.rights.Limit))
	}
	return nil
}

// fundsError names why amount of programme to cannot be paid.
func (p *purse) fundsError(to zk.ProgrammeID, amount zk.Amount) error {
	var free, all, everything zk.Amount
	usable := p.sources(to)
	for _, from := range p.held() {
		f, b := p.amountOf(from), p.busy[from]
		everything = addCapped(everything, addCapped(f, b))
		if slices.Contains(usable, from) {
			free = addCapped(free, f)
			all = addCapped(all, addCapped(f, b))
		}
	}
	switch {
	case all >= amount:
		return Refuse(FundsInFlight, "%s is needed, %s is free and %s is in transactions that have not settled", p.money(amount), p.money(free), p.money(all-free))
	case everything >= amount && to != 0 && p.rights.grantsSet(to) && p.rights.closed(to):
		return Refuse(ProgrammeClosed, "%s of programme %d is needed and %s is there; it is closed, so no other money may be earmarked for it", p.money(amount), to, p.money(all))
	case everything >= amount && to != 0 && !p.rights.MaySet(to):
		return Refuse(SetNotAllowed, "%s of programme %d is needed and %s is there; other money may not be earmarked for it here", p.money(amount), to, p.money(all))
	case everything >= amount:
		return Refuse(ReleaseNotAllowed, "%s is needed, %s is there that may be used; the rest is earmarked and may not be released here",
			p.money(amount), p.money(all))
	}
	return Refuse(InsufficientFunds, "%s is needed, %s is there", p.money(amount), p.money(all))
}

// pay plans the next round of one payment. When done, the round is the one leg that pays; otherwise its legs go to the wallet itself
// and the payment is planned again when they have settled.
func (p *purse) pay(amount zk.Amount, to zk.ProgrammeID) (round []leg, done bool, err error) {
	if err := p.mayPay(amount); err != nil {
		return nil, false, err
	}
	for _, from := range p.sources(to) {
		if !p.rights.hop(from, to) {
			continue
		}
		if chosen, ok := pick(p.free[from], amount); ok {
			pays := output{purpose: ToPayee, value: amount, programme: to}
			return []leg{spend(chosen, from, -1, pays)}, true, nil
		}
	}
	round, err = p.gather(amount, to)
	return round, false, err
}

// hold plans the next round of a payment into a hold: one leg of at most two notes, or legs to the wallet itself that make one note of more.
func (p *purse) hold(amount zk.Amount, to zk.ProgrammeID) (round []leg, done bool, err error) {
	round, done, err = p.pay(amount, to)
	if err != nil || !done {
		return round, false, err
	}
	l := &round[0]
	if len(l.inputs) > zk.Hold.Shape().Inputs {
		sum, _ := total(l.inputs)
		return []leg{spend(l.inputs, l.from, -1, output{purpose: ToMerge, value: sum, programme: l.from})}, false, nil
	}
	l.circuit = zk.Hold
	return round, true, nil
}

// spend makes a leg from chosen coins, adding the change.
func spend(chosen []coin, from zk.ProgrammeID, group int, outputs ...output) leg {
	sum, _ := total(chosen)
	for _, o := range outputs {
		sum -= o.value
	}
	if sum > 0 {
		outputs = append(outputs, output{purpose: ToChange, value: sum, programme: from})
	}
	room := len(outputs)
	if sum == 0 && outputs[0].purpose == ToPayee {
		room++ // for the zero note to the wallet itself that carries the payment's tag (W3.6)
	}
	id, ok := circuitFor(len(chosen), room)
	if !ok {
		panic("wallets: planned a leg that no circuit takes")
	}
	return leg{circuit: id, from: from, inputs: chosen, outputs: outputs, group: group}
}

// gather plans legs to the wallet itself after which amount of programme to is nearer to one leg: merging notes within a programme, or
// moving money from another programme.
func (p *purse) gather(amount zk.Amount, to zk.ProgrammeID) ([]leg, error) {
	sources := p.sources(to)
	var free zk.Amount
	for _, from := range sources {
		free = addCapped(free, p.amountOf(from))
	}
	if free < amount {
		return nil, p.fundsError(to, amount)
	}
	// One programme is enough, and only its notes are too many or in several trees.
	for _, from := range sources {
		if p.rights.hop(from, to) && p.amountOf(from) >= amount {
			return p.mergeLegs(p.free[from], from, amount), nil
		}
	}
	// Several programmes together: move what is missing into the programme of the payment, through 0 where two steps are needed.
	var round []leg
	missing := amount - min(amount, p.amountOf(to))
	for _, from := range sources[1:] {
		if missing == 0 {
			break
		}
		have := p.amountOf(from)
		if have == 0 {
			continue
		}
		next := to
		if !p.rights.hop(from, to) {
			next = 0
		}
		want := min(missing, have)
		chosen, ok := pick(p.free[from], want)
		if !ok { // the largest eight of one tree now, the rest in a later round
			chosen = largest(p.free[from])
			want, _ = total(chosen)
			want = min(want, missing)
		}
		round = append(round, spend(chosen, from, -1, output{purpose: ToMerge, value: want, programme: next}))
		missing -= want
	}
	return round, nil
}

// mergeLegs makes the legs of one round of merges.
func (p *purse) mergeLegs(coins []coin, from zk.ProgrammeID, amount zk.Amount) []leg {
	var round []leg
	for _, inputs := range merges(coins, amount, p.tree) {
		sum, _ := total(inputs)
		round = append(round, spend(inputs, from, -1, output{purpose: ToMerge, value: sum, programme: from}))
	}
	return round
}

// largest takes up to eight of the largest coins of the tree that holds the largest one.
func largest(coins []coin) []coin {
	sorted := slices.Clone(coins)
	slices.SortFunc(sorted, byValue)
	var out []coin
	for _, c := range sorted {
		if c.tree == sorted[0].tree && len(out) < mergeInputs {
			out = append(out, c)
		}
	}
	return out
}

// redeem plans the next round of a redemption: like a payment whose payee is outside the ledger, of money of exactly programme from.
func (p *purse) redeem(amount zk.Amount, from zk.ProgrammeID) (round []leg, done bool, err error) {
	if err := p.mayPay(amount); err != nil {
		return nil, false, err
	}
	if chosen, ok := pick(p.free[from], amount); ok {
		sum, _ := total(chosen)
		l := leg{from: from, inputs: chosen, group: -1}
		if sum > amount {
			l.outputs = []output{{purpose: ToChange, value: sum - amount, programme: from}}
		}
		l.circuit, _ = circuitFor(len(chosen), len(l.outputs))
		return []leg{l}, true, nil
	}
	if p.amountOf(from) < amount {
		if addCapped(p.amountOf(from), p.busy[from]) >= amount {
			return nil, false, Refuse(FundsInFlight, "%s is needed and %s is free", p.money(amount), p.money(p.amountOf(from)))
		}
		return nil, false, Refuse(InsufficientFunds, "%s of programme %d is needed, %s is there", p.money(amount), from, p.money(p.amountOf(from)))
	}
	return p.mergeLegs(p.free[from], from, amount), false, nil
}

// need is one group of a disbursement that is not paid yet.
type need struct {
	group     int
	programme zk.ProgrammeID
	amounts   []zk.Amount // of its payees
	sum       zk.Amount
}

// disburse plans the next round of a disbursement: every group that a note can pay now is paid, and for the others notes of exactly
// their sums are made, many at a time. The round is empty when no group is left.
func (p *purse) disburse(needs []need) ([]leg, error) {
	byProgramme := map[zk.ProgrammeID][]need{}
	for _, n := range needs {
		if err := p.mayPay(n.sum); err != nil {
			return nil, err
		}
		byProgramme[n.programme] = append(byProgramme[n.programme], n)
	}
	var round []leg
	for _, to := range slices.Sorted(maps.Keys(byProgramme)) {
		legs, err := p.disburseTo(byProgramme[to], to)
		if err != nil {
			return nil, err
		}
		round = append(round, legs...)
		for _, l := range legs {
			p.take(l)
		}
	}
	return round, nil
}

// take removes a leg's inputs from what is free, and counts what comes back as busy.
func (p *purse) take(l leg) {
	p.free[l.from] = slices.DeleteFunc(slices.Clone(p.free[l.from]), func(c coin) bool {
		return slices.ContainsFunc(l.inputs, func(in coin) bool { return in.ref == c.ref })
	})
	for _, o := range l.outputs {
		if o.purpose != ToPayee {
			p.busy[o.programme] = addCapped(p.busy[o.programme], o.value)
		}
	}
}

// disburseTo plans one round for the groups of one programme.
func (p *purse) disburseTo(needs []need, to zk.ProgrammeID) ([]leg, error) {
	var sum zk.Amount
	for _, n := range needs {
		if sum+n.sum < sum {
			return nil, Refuse(AmountTooLarge, "the sum of the file passes 2^64-1 minor units")
		}
		sum += n.sum
	}
	// Notes of exactly a group's sum, made by an earlier round, in any programme from which one leg reaches to.
	var round []leg
	free := map[zk.ProgrammeID][]coin{}
	var direct []zk.ProgrammeID
	for _, from := range p.sources(to) {
		free[from] = slices.Clone(p.free[from])
		if p.rights.hop(from, to) {
			direct = append(direct, from)
		}
	}
	var open []need
	for _, n := range needs {
		paid := false
		for _, from := range direct {
			i := slices.IndexFunc(free[from], func(c coin) bool { return c.value == n.sum })
			if i < 0 {
				continue
			}
			round = append(round, payGroup(n, from, free[from][i]))
			free[from] = slices.Delete(free[from], i, i+1)
			sum -= n.sum
			paid = true
			break
		}
		if !paid {
			open = append(open, n)
		}
	}
	if len(open) == 0 {
		return round, nil
	}
	// One programme that holds enough for all that is left.
	for _, from := range direct {
		have, _ := total(free[from])
		if have >= sum {
			return append(round, p.fund(open, from, free[from])...), nil
		}
	}
	rest := &purse{rights: p.rights, free: free, busy: p.busy, tree: p.tree, asset: p.asset}
	more, err := rest.gather(sum, to)
	if err != nil {
		if CodeOf(err) == FundsInFlight && len(round) > 0 {
			return round, nil // this round brings change back
		}
		return nil, err
	}
	return append(round, more...), nil
}

// payGroup makes the leg that pays a group from one note.
func payGroup(n need, from zk.ProgrammeID, c coin) leg {
	outs := make([]output, len(n.amounts))
	for i, a := range n.amounts {
		outs[i] = output{purpose: ToPayee, value: a, programme: n.programme, line: i}
	}
	return spend([]coin{c}, from, n.group, outs...)
}

// fund plans legs for groups whose sum the coins of one programme cover together. Largest notes first, each pays a group at once when
// it can serve only one, or is split into notes of exactly the sums of as many groups as fit: one
// such leg funds 63 groups, which are then proven and sent without waiting for one another.
func (p *purse) fund(open []need, from zk.ProgrammeID, coins []coin) []leg {
	coins = slices.Clone(coins)
	slices.SortFunc(coins, byValue)
	open = slices.Clone(open)
	slices.SortStableFunc(open, func(a, b need) int { return cmp.Compare(b.sum, a.sum) })
	wide := zk.Disburse64.Shape().Outputs
	var round []leg
	var left []coin
	for _, c := range coins {
		var fits []need
		rest := c.value
		open = slices.DeleteFunc(open, func(n need) bool {
			if n.sum > rest || len(fits) == wide-1 {
				return false
			}
			rest -= n.sum
			fits = append(fits, n)
			return true
		})
		switch {
		case len(fits) == 0:
			left = append(left, c)
		case len(fits) == 1:
			round = append(round, payGroup(fits[0], from, c))
		default:
			outs := make([]output, len(fits))
			for i, n := range fits {
				outs[i] = output{purpose: ToFund, value: n.sum, programme: from, line: n.group}
			}
			round = append(round, spend([]coin{c}, from, -1, outs...))
		}
	}
	// Groups that no single note covers: several notes make one of the sum, or are merged first.
	for _, n := range open {
		chosen, ok := pick(left, n.sum)
		if !ok {
			if have, _ := total(left); have >= n.sum {
				legs := p.mergeLegs(left, from, n.sum)
				round = append(round, legs...)
			}
			break // a later round has the change of this one
		}
		left = slices.DeleteFunc(left, func(c coin) bool {
			return slices.ContainsFunc(chosen, func(in coin) bool { return in.ref == c.ref })
		})
		round = append(round, spend(chosen, from, -1, output{purpose: ToFund, value: n.sum, programme: from, line: n.group}))
	}
	if len(round) == 0 {
		// Enough together, yet no group and no merge fits what is left: impossible while the sum covers.
		panic("wallets: a funded disbursement has no next round")
	}
	return round
}

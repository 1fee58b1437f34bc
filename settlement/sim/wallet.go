package sim

import (
	"slices"

	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// wallet is an actor with notes. It scans the durable log and knows its own.
type wallet struct {
	name     string
	own      zk.Owner
	nk       zk.NullifierKey
	notes    map[zk.Position]zk.Note
	reserved map[zk.Position]bool
	frozen   bool
}

func (w *world) newWallet(name string) *wallet {
	x := &wallet{name: name, own: zk.Owner(w.rand.Field()), nk: zk.NullifierKeyFromElement(w.rand.Field().Element()),
		notes: make(map[zk.Position]zk.Note), reserved: make(map[zk.Position]bool)}
	w.wallets = append(w.wallets, x)
	return x
}

// free lists notes that no payment has reserved, in order of position.
func (x *wallet) free() []input {
	var out []input
	for at, note := range x.notes {
		if !x.reserved[at] {
			out = append(out, input{note, at})
		}
	}
	slices.SortFunc(out, func(a, b input) int { return int(int64(a.at.Index) - int64(b.at.Index)) })
	return out
}

// pick reserves up to n free notes of one asset and programme.
func (w *world) pick(x *wallet, n int) []input {
	free := x.free()
	if len(free) == 0 {
		return nil
	}
	first := free[w.rand.IntN(len(free))]
	picked := []input{first}
	for _, in := range free {
		if len(picked) < n && in.at != first.at && in.note.Asset == first.note.Asset && in.note.Programme == first.note.Programme {
			picked = append(picked, in)
		}
	}
	for _, in := range picked {
		x.reserved[in.at] = true
	}
	return picked
}

func sum(inputs []input) (total zk.Amount) {
	for _, in := range inputs {
		total += in.note.Value
	}
	return total
}

// plan is what a payment will do, whichever bytes say it in the end.
type plan struct {
	payer            *wallet
	circuit          zk.CircuitID
	asset            zk.AssetID
	programme        zk.ProgrammeID
	inputs           []input
	pay              []share
	issued, redeemed zk.Amount
}

type share struct {
	to     zk.Owner
	amount zk.Amount
}

// splits pays amounts that together are at most `total` to random wallets.
func (w *world) splits(total zk.Amount, n int) []share {
	var out []share
	for i := range n {
		amount := zk.Amount(w.rand.Uint64N(uint64(total)/uint64(n-i) + 1))
		total -= amount
		out = append(out, share{w.wallets[w.rand.IntN(len(w.wallets))].own, amount})
	}
	return out
}

// plansFor makes the legs of a new payment out of what a wallet has free.
func (w *world) plansFor(x *wallet) []plan {
	p := plan{payer: x, circuit: zk.Transfer}
	most, payees := 2, 1
	switch {
	case w.rand.Chance(0.12):
		p.circuit, most, payees = zk.Disburse16, 1, 1+w.rand.IntN(15)
	case w.rand.Chance(0.02):
		p.circuit, most, payees = zk.Disburse64, 1, 10+w.rand.IntN(40)
	case w.rand.Chance(0.12):
		p.circuit, most = zk.Consolidate, 8
	}
	p.inputs = w.pick(x, 1+w.rand.IntN(most))
	if p.inputs == nil {
		return nil
	}
	p.asset, p.programme = p.inputs[0].note.Asset, p.inputs[0].note.Programme
	p.pay = w.splits(sum(p.inputs), payees)
	plans := []plan{p}
	// Now and then a second payer joins with a leg of its own: both or neither.
	if other := w.wallets[w.rand.IntN(len(w.wallets))]; other != x && w.rand.Chance(0.15) {
		if in := w.pick(other, 2); in != nil {
			plans = append(plans, plan{payer: other, circuit: zk.Transfer, asset: in[0].note.Asset, programme: in[0].note.Programme,
				inputs: in, pay: []share{{x.own, sum(in)}}})
		}
	}
	return plans
}

// realise gives the notes of a plan: dummies fill the inputs, change and empty
// outputs the outputs.
func (w *world) realise(p plan) *opening {
	shape := p.circuit.Shape()
	o := &opening{payer: p.payer, asset: p.asset, programme: p.programme, inputs: append([]input(nil), p.inputs...)}
	for len(o.inputs) < shape.Inputs {
		dummy := zk.Note{Asset: p.asset, Programme: p.programme, Owner: p.payer.own, Rho: zk.Rho(w.rand.Field())}
		o.inputs = append(o.inputs, input{note: dummy, at: zk.Position{Index: uint32(w.rand.IntN(1000))}})
	}
	rest := sum(p.inputs) + p.issued - p.redeemed
	output := func(to zk.Owner, amount zk.Amount) {
		o.outputs = append(o.outputs, zk.Note{Value: amount, Asset: p.asset, Programme: p.programme, Owner: to, Rho: zk.Rho(w.rand.Field())})
	}
	for _, s := range p.pay {
		output(s.to, s.amount)
		rest -= s.amount
	}
	output(p.payer.own, rest)
	for len(o.outputs) < shape.Outputs {
		output(p.payer.own, 0)
	}
	return o
}

// newestAnchor is the last durable block; someAnchor may be an older one that
// has all inputs in its tree.
func (w *world) newestAnchor() uint64 { return uint64(len(w.model.anchors)) - 1 }

func (w *world) someAnchor(opens []*opening) uint64 {
	newest := w.newestAnchor()
	if w.rand.Chance(0.6) {
		return newest
	}
	oldest := newest
	for oldest > 0 && covers(w.model.anchors[oldest-1].TreeSize, opens) {
		oldest--
	}
	return oldest + uint64(w.rand.IntN(int(newest-oldest)+1))
}

func covers(size uint32, opens []*opening) bool {
	for _, o := range opens {
		for _, in := range o.inputs {
			if in.note.Value != 0 && in.at.Index >= size {
				return false
			}
		}
	}
	return true
}

// legOf makes the bytes of a leg that hides an opening.
func (w *world) legOf(p plan, o *opening) (leg legBytes) {
	leg.leg, leg.segment = ledgertest.Leg(w.rand, p.circuit, w.model.epoch)
	for i, in := range o.inputs {
		leg.leg.Nullifiers[i] = o.payer.nk.Nullify(in.note.Commitment(), in.at)
	}
	for i, note := range o.outputs {
		leg.leg.Commitments[i] = note.Commitment()
	}
	if level := p.circuit.Shape().SubtreeLevel; level > 0 {
		t := newPlainTree(level)
		for i, cm := range leg.leg.Commitments {
			t.set(uint64(i), zk.Root(cm))
		}
		leg.leg.SubtreeRoot = t.root()
	}
	if p.issued != 0 || p.redeemed != 0 {
		leg.leg.Asset, leg.leg.Programme, leg.leg.Issued, leg.leg.Redeemed = p.asset, p.programme, p.issued, p.redeemed
	}
	return leg
}

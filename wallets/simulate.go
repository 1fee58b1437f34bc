package wallets

import "github.com/comity-ledger/comity/zk"

// maxRounds bounds a plan. Merging n notes takes about log8(n) rounds and moving money between programmes two more.
const maxRounds = 64

// apply settles a round on the purse: inputs go, outputs to the wallet appear in the tree being filled.
func (p *purse) apply(round []leg, fresh *int) {
	for _, l := range round {
		used := make(map[int]bool, len(l.inputs))
		for _, c := range l.inputs {
			used[c.ref] = true
		}
		kept := make([]coin, 0, len(p.free[l.from]))
		for _, c := range p.free[l.from] {
			if !used[c.ref] {
				kept = append(kept, c)
			}
		}
		p.free[l.from] = kept
	}
	for _, l := range round {
		for _, o := range l.outputs {
			if o.purpose != ToPayee && o.value > 0 {
				*fresh--
				p.free[o.programme] = append(p.free[o.programme], coin{ref: *fresh, value: o.value, tree: p.tree})
			}
		}
	}
}

// clone copies the purse so that a plan can be played through.
func (p *purse) clone() *purse {
	c := &purse{rights: p.rights, tree: p.tree, asset: p.asset, free: make(map[zk.ProgrammeID][]coin, len(p.free)), busy: make(map[zk.ProgrammeID]zk.Amount, len(p.busy))}
	for k, v := range p.free {
		c.free[k] = append([]coin(nil), v...)
	}
	for k, v := range p.busy {
		c.busy[k] = v
	}
	return c
}

// play plans round after round on a copy of the purse until next says done, and returns all rounds.
func (p *purse) play(next func(*purse) (round []leg, done bool, err error)) (rounds [][]leg, err error) {
	p = p.clone()
	fresh := 0
	for range maxRounds {
		round, done, err := next(p.clone())
		if err != nil {
			return nil, err
		}
		if len(round) > 0 {
			rounds = append(rounds, round)
		}
		if done {
			return rounds, nil
		}
		p.apply(round, &fresh)
	}
	panic("wallets: a plan does not end")
}

// playPayment plans a whole payment.
func (p *purse) playPayment(value zk.Amount, to zk.ProgrammeID) ([][]leg, error) {
	return p.play(func(p *purse) ([]leg, bool, error) { return p.pay(value, to) })
}

// playDisbursement plans a whole disbursement.
func (p *purse) playDisbursement(needs []need) ([][]leg, error) {
	left := append([]need(nil), needs...)
	return p.play(func(p *purse) ([]leg, bool, error) {
		round, err := p.disburse(left)
		if err != nil {
			return nil, false, err
		}
		for _, l := range round {
			if l.group >= 0 {
				left = without(left, l.group)
			}
		}
		return round, len(left) == 0, nil
	})
}

func without(needs []need, group int) []need {
	out := make([]need, 0, len(needs))
	for _, n := range needs {
		if n.group != group {
			out = append(out, n)
		}
	}
	return out
}

package cross

import (
	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/settlement/entry"
)

// planner is the relayer of package bridge in the terms of this package.
type planner struct{ *bridge.Relay }

func newPlanner(ledgers []entry.GenesisHash) Planner {
	from := make(map[entry.GenesisHash]uint64)
	for _, l := range ledgers {
		from[l] = 0
	}
	return planner{bridge.NewRelay(from)}
}

func (p planner) Plan(nowMillis uint64) []Action {
	plan := p.Relay.Plan(bridge.Options{NowMillis: nowMillis, Fresh: true})
	if len(plan.Accusations) != 0 { // liars sign false heads here, which no ledger takes: no history forks
		panic("the relayer accuses an honest log")
	}
	var out []Action
	for _, o := range plan.Observes {
		out = append(out, Action{On: o.On, Peer: o.Peer, AtLeast: o.AtLeast})
	}
	for i := range plan.Resolves {
		r := &plan.Resolves[i]
		a := Action{On: r.On, Resolve: r.Entry(0, nil)}
		for _, leaf := range r.Peers {
			a.Peers = append(a.Peers, PeerLeaf{leaf.Ledger, leaf.Index, leaf.Size})
		}
		out = append(out, a)
	}
	return out
}

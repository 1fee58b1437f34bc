package bridge

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Accusation is evidence that a peer's log forked, for a ledger with an open corridor to it: its ledger freezes the corridor.
type Accusation struct {
	On, Peer entry.GenesisHash
	Evidence *proof.Evidence
}

// Entry makes the entry.
func (a *Accusation) Entry(expiryMillis uint64) *entry.Evidence {
	return &entry.Evidence{Header: entry.Header{Ledger: a.On, ExpiryMillis: expiryMillis}, Peer: a.Peer, Type: entry.EvidenceFork, Data: a.Evidence.Marshal()}
}

// Look compares what the ledgers observed of a mirror's log with the mirror (B6.7). Call it when the mirror's final head has moved. Earlier
// observations of a ledger need no look: the newest one was shown to begin with them.
func (r *Relay) Look(m *Mirror) error {
	for name, l := range r.logs {
		c := l.corridors[m.ledger]
		if name == m.ledger || c == nil || len(c.seen) == 0 {
			continue
		}
		newest := &c.seen[len(c.seen)-1]
		if newest.Size > m.final.Size || newest.looked {
			continue
		}
		newest.looked = true
		e, err := m.Fork(newest.signed)
		if CodeOf(err) == SignatureInvalid {
			continue // under a key that the log has elsewhere; that ledger answers for it
		}
		if err != nil {
			return err
		}
		r.Forked(m.ledger, e)
	}
	return nil
}

// Forked tells of evidence that a log forked; the first is kept. nil is none.
func (r *Relay) Forked(peer entry.GenesisHash, e *proof.Evidence) {
	if e != nil && r.forks[peer] == nil {
		r.forks[peer] = e
	}
}

// compare looks for a ledger that observed another root of the same size than the one that a ledger observed last.
func (r *Relay) compare(on, peer entry.GenesisHash) {
	c := r.logs[on].corridors[peer]
	last := &c.seen[len(c.seen)-1]
	for name, l := range r.logs {
		other := l.corridors[peer]
		if name == on || other == nil {
			continue
		}
		if s := other.at(last.Size); s != nil && s.Root != last.Root {
			r.Forked(peer, &proof.Evidence{Older: s.signed, Newer: last.signed, Root: last.Root})
		}
	}
}

// accuse lists whom to tell of forks: every ledger whose corridor is open, was not told before, and lists the keys that signed.
func (r *Relay) accuse() (out []Accusation) {
	for peer, e := range r.forks {
		for name, l := range r.logs {
			if c := l.corridors[peer]; c != nil && c.known && !c.frozen && !c.accused && e.Verify(c.terms.Origin, c.keys...) == nil {
				out = append(out, Accusation{name, peer, e})
			}
		}
	}
	slices.SortFunc(out, func(a, b Accusation) int {
		return cmp.Or(bytes.Compare(a.On[:], b.On[:]), bytes.Compare(a.Peer[:], b.Peer[:]))
	})
	return out
}

// Terms are those of a ledger's corridor to a peer; nil without one.
func (r *Relay) Terms(on, peer entry.GenesisHash) *entry.CorridorTerms {
	if l := r.logs[on]; l != nil && l.corridors[peer] != nil {
		return l.corridors[peer].terms
	}
	return nil
}

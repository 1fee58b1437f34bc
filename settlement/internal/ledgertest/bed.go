package ledgertest

import (
	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Bed is a ledger without a store, for tests of single rules: what is submitted
// is judged at once and settles at once. It panics on what a test cannot cause.
type Bed struct {
	*Ledger
	Rand     *Rand
	State    *settlement.State
	Verifier *StampVerifier
	Blocks   []*settlement.Block
	// Now is the wall clock in milliseconds.
	Now uint64
	// Parallel goes to Sequence.
	Parallel settlement.Parallel

	settled *settlement.Settled
	hashes  []tlog.Hash // stored hashes of the log, in tlog's order
	hashed  uint64      // leaves that they cover
}

// NewBed begins a ledger of its own.
func NewBed(seed uint64) *Bed { return BedOf(NewLedger(seed), seed) }

// BedOf begins a given ledger.
func BedOf(l *Ledger, seed uint64) *Bed {
	state, genesis, err := settlement.Begin(l.Genesis)
	must(err)
	b := &Bed{Ledger: l, Rand: NewRand(seed, "bed"), State: state, Verifier: &StampVerifier{Key: [32]byte{1}}, Blocks: []*settlement.Block{genesis},
		Now: Start + 1000, settled: settlement.NewSettled()}
	return b
}

// Tx is a transaction and what travels beside it.
type Tx struct {
	*entry.Transaction
	Segments [][]byte
}

// Tx begins a transaction with legs of these circuits, expiring a minute from
// now, not proven yet.
func (b *Bed) Tx(kind entry.Kind, circuits ...zk.CircuitID) *Tx {
	epoch, _ := b.State.Oversight()
	tx := &Tx{Transaction: &entry.Transaction{Type: kind, Header: b.Ledger.Header(b.Now+60_000, 0)}}
	if kind != entry.KindTransfer {
		tx.Sequence = b.State.NextSequence()
	}
	for _, id := range circuits {
		leg, segment := Leg(b.Rand, id, epoch)
		leg.Anchor = b.State.Height()
		tx.Legs, tx.Segments = append(tx.Legs, leg), append(tx.Segments, segment)
	}
	return tx
}

// Transfer is a proven transfer with one leg.
func (b *Bed) Transfer() *Tx { return b.Prove(b.Tx(entry.KindTransfer, zk.Transfer)) }

// Issue is a signed and proven issue.
func (b *Bed) Issue(asset zk.AssetID, programme zk.ProgrammeID, amount zk.Amount) *Tx {
	tx := b.Tx(entry.KindIssue, zk.Transfer)
	tx.Legs[0].Asset, tx.Legs[0].Programme, tx.Legs[0].Issued = asset, programme, amount
	return b.Prove(tx)
}

// Redeem is a signed and proven redemption.
func (b *Bed) Redeem(asset zk.AssetID, programme zk.ProgrammeID, amount zk.Amount) *Tx {
	tx := b.Tx(entry.KindRedeem, zk.Transfer)
	tx.Legs[0].Asset, tx.Legs[0].Programme, tx.Legs[0].Redeemed = asset, programme, amount
	return b.Prove(tx)
}

// Prove stamps every leg under the anchor that it names, and signs what needs
// signatures, after a test has changed the transaction to its liking.
func (b *Bed) Prove(tx *Tx) *Tx {
	ctx := tx.Ctx()
	_, key := b.State.Oversight()
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		anchor, known := b.Anchor(leg.Anchor)
		if !known {
			continue
		}
		public := leg.Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, key, ctx)
		leg.Proof = Stamp(b.Verifier.Key, [16]byte(b.Rand.Bytes(16)), &public)
	}
	if tx.Type != entry.KindTransfer {
		b.Sign(tx.Transaction, 0, 1)
	}
	return tx
}

// Signed signs an entry with two signers.
func (b *Bed) Signed(e entry.Entry) entry.Entry {
	b.Sign(e, 0, 1)
	return e
}

// Next is the header of a privileged entry with the next sequence number.
func (b *Bed) Next() entry.Header { return b.Ledger.Header(b.Now+60_000, b.State.NextSequence()) }

// Register is a signed entry that registers owners.
func (b *Bed) Register(limit zk.Amount, owners ...zk.Owner) entry.Entry {
	e := &entry.Register{Header: b.Next()}
	for _, own := range owners {
		e.Owners = append(e.Owners, entry.Registration{Owner: own, Limit: limit})
	}
	return b.Signed(e)
}

// Freeze is a signed entry that freezes or releases an owner.
func (b *Bed) Freeze(own zk.Owner, frozen bool) entry.Entry {
	return b.Signed(&entry.Freeze{Header: b.Next(), Owner: own, Frozen: frozen})
}

// OpenProgramme is a signed entry that opens or closes a programme.
func (b *Bed) OpenProgramme(id zk.ProgrammeID, status entry.ProgrammeStatus) entry.Entry {
	return b.Signed(b.Programme(b.Next(), id, status))
}

// Rotate is a signed entry that begins an oversight epoch.
func (b *Bed) Rotate(epoch uint32) entry.Entry { return b.Signed(b.Oversight(b.Next(), epoch)) }

// Anchor finds the anchor of a block.
func (b *Bed) Anchor(height uint64) (settlement.Anchor, bool) {
	if height >= uint64(len(b.Blocks)) {
		return settlement.Anchor{}, false
	}
	return b.Blocks[height].Anchor, true
}

// Decode encodes and decodes, as the way to the node does.
func (b *Bed) Decode(what any) (*settlement.Submission, error) {
	switch e := what.(type) {
	case *Tx:
		return settlement.Decode(e.Encode(), e.Segments)
	case []byte:
		return settlement.Decode(e, nil)
	case entry.Entry:
		return settlement.Decode(entry.Encode(e), nil)
	}
	panic("ledgertest: neither bytes nor an entry")
}

// Admit decodes, admits and proves one entry.
func (b *Bed) Admit(what any) (*settlement.Candidate, error) {
	sub, err := b.Decode(what)
	if err != nil {
		return nil, err
	}
	c, err := b.State.Admit(sub, b.State.LedgerTime(b.Now), b.Anchor)
	if err != nil {
		return nil, err
	}
	return c, settlement.Prove(b.Verifier, []*settlement.Candidate{c})[0]
}

// Submit admits entries one by one and settles those admitted in one block.
// Answers are parallel.
func (b *Bed) Submit(what ...any) []settlement.Result {
	out := make([]settlement.Result, len(what))
	var candidates []*settlement.Candidate
	var at []int
	for i, e := range what {
		c, err := b.Admit(e)
		if err == nil {
			candidates, at = append(candidates, c), append(at, i)
			continue
		}
		out[i] = settlement.Result{Refusal: err}
		if sub, decodeErr := b.Decode(e); decodeErr == nil {
			out[i] = settlement.Resolve(sub, err, b.settled)
		}
	}
	for i, r := range b.Settle(candidates...) {
		out[at[i]] = r
	}
	return out
}

// Settle sequences candidates into the next block, which becomes final.
func (b *Bed) Settle(candidates ...*settlement.Candidate) []settlement.Result {
	p, err := b.State.Sequence(candidates, b.State.LedgerTime(b.Now), b.settled, b.Parallel)
	must(err)
	b.State = p.Next()
	b.Blocks = append(b.Blocks, p.Block)
	ids := make(map[uint64]entry.ID)
	for _, r := range p.Results {
		ids[r.EntryIndex] = r.ID
	}
	for _, n := range p.Block.Nullifiers {
		b.settled.AddNullifier(n.Nullifier, settlement.Prior{ID: ids[n.EntryIndex], EntryIndex: n.EntryIndex, Height: p.Block.Height})
	}
	for _, u := range p.Block.Sequences {
		b.settled.AddSequence(u.Sequence, settlement.Prior{ID: ids[u.EntryIndex], EntryIndex: u.EntryIndex, Height: p.Block.Height})
	}
	return p.Results
}

// Owner draws an owner.
func (b *Bed) Owner() zk.Owner { return zk.Owner(b.Rand.Field()) }

// Settled is what the log says of everything that was ever submitted.
func (b *Bed) Settled() *settlement.Settled { return b.settled }

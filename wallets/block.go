package wallets

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// Block is one block of a ledger as it is streamed. The wallet believes nothing of it but what it can recompute.
type Block struct {
	Height     uint64
	TimeMillis uint64 // ledger time, milliseconds since the Unix epoch
	FirstIndex uint64 // log index of Entries[0]
	Entries    [][]byte
	Segments   [][]byte // payee ciphertexts of all legs, in the order of entries and legs
	// Checkpoint is a cosigned checkpoint that covers the block, or empty. It may be of a later size.
	Checkpoint []byte
}

// received is an output that the wallet could open.
type received struct {
	entry, leg, output int // which entry of the block, leg and output
	note               zk.Note
	memo               []byte
	hold               entry.HoldID // the hold whose resolution placed it; zero for an output of a transaction
}

// sealedIn lists the commitments that a leg's segment opens, in order: its outputs, and behind those of a hold its return note (W6.2).
func sealedIn(leg *entry.Leg) []zk.Commitment {
	if !leg.Circuit.Shape().Held {
		return leg.Commitments
	}
	return append(append(make([]zk.Commitment, 0, returnOutput+1), leg.Commitments...), leg.ReturnCommitment)
}

// Scanned is a block, decoded and tried with a wallet's view key. Scanning blocks is independent work, to be done by as many goroutines
// as there are cores; State.Apply takes the results in order.
type Scanned struct {
	block    *Block
	entries  []entry.Entry
	received []received
	err      error
}

// Height is that of the block.
func (s *Scanned) Height() uint64 { return s.block.Height }

// Transactions counts the block's transactions.
func (s *Scanned) Transactions() (n int) {
	for _, e := range s.entries {
		if _, ok := e.(*entry.Transaction); ok {
			n++
		}
	}
	return n
}

// Scan decodes a block and tries to open every output: one key agreement per leg, and one decryption per output whose view tag fits.
// An error (an entry that does not decode, a missing segment) is kept and reported by Apply.
func Scan(view keys.IncomingView, b *Block) *Scanned {
	s := &Scanned{block: b, entries: make([]entry.Entry, len(b.Entries))}
	at := 0
	for i, raw := range b.Entries {
		e, err := entry.Decode(raw)
		if err != nil {
			s.err = Refuse(LedgerLied, "entry %d of block %d: %v", i, b.Height, err)
			return s
		}
		s.entries[i] = e
		tx, ok := e.(*entry.Transaction)
		if !ok {
			continue
		}
		if at+len(tx.Legs) > len(b.Segments) {
			s.err = Refuse(LedgerLied, "block %d has %d ciphertext segments, fewer than legs", b.Height, len(b.Segments))
			return s
		}
		segments := b.Segments[at : at+len(tx.Legs)]
		at += len(tx.Legs)
		// A segment that the entry does not name would hide a payment from its payee.
		if err := tx.CheckSegments(segments); err != nil {
			s.err = Refuse(LedgerLied, "entry %d of block %d: %v", i, b.Height, err)
			return s
		}
		for l := range tx.Legs {
			opened, err := view.OpenSegment(segments[l], sealedIn(&tx.Legs[l]))
			if err != nil {
				continue // not readable by anybody: the payer's loss, and none of ours
			}
			for _, o := range opened {
				s.received = append(s.received, received{entry: i, leg: l, output: o.Index, note: o.Note, memo: o.Memo})
			}
		}
	}
	if at != len(b.Segments) {
		s.err = Refuse(LedgerLied, "block %d has %d ciphertext segments for %d legs", b.Height, len(b.Segments), at)
	}
	return s
}

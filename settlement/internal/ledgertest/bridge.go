package ledgertest

import (
	"crypto/ed25519"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// Key draws an Ed25519 key.
func (b *Bed) Key() (ed25519.PrivateKey, entry.SignerKey) {
	k := ed25519.NewKeyFromSeed(b.Rand.Bytes(ed25519.SeedSize))
	return k, public(k)
}

// Condition is one of the three that entry defines.
type Condition interface{ Condition() entry.Condition }

// Holding begins a transfer with a hold leg per condition, of a size class that
// only counts where another ledger sees the hold; not proven yet.
func (b *Bed) Holding(class uint64, conditions ...Condition) *Tx {
	circuits := make([]zk.CircuitID, len(conditions))
	for i := range circuits {
		circuits[i] = zk.Hold
	}
	tx := b.Tx(entry.KindTransfer, circuits...)
	for i, c := range conditions {
		leg := &tx.Legs[i]
		leg.Condition = c.Condition()
		if leg.Condition.Type != entry.ConditionAttested {
			leg.SizeClass = class
		}
	}
	return tx
}

// HoldID names the hold that a leg places.
func (tx *Tx) HoldID(leg int) entry.HoldID { return entry.HoldID{Tx: tx.ID(), Leg: uint8(leg)} }

// Plain is the header of an entry that anybody may send, expiring a minute from
// now.
func (b *Bed) Plain() entry.Header { return b.Ledger.Header(b.Now+60_000, 0) }

// Resolution resolves an open hold; what the reason asks for is still to be
// added.
func (b *Bed) Resolution(id entry.HoldID, outcome entry.Outcome, reason entry.Reason) *entry.Resolve {
	e := &entry.Resolve{Header: b.Plain(), Hold: id, Outcome: outcome, Reason: reason}
	if h, open := b.State.Hold(id); open {
		if e.Commitment = h.Return; outcome == entry.Posted {
			e.Commitment = h.Commitment
		}
	}
	return e
}

// Release voids a hold by its payee's key.
func (b *Bed) Release(id entry.HoldID, payee ed25519.PrivateKey) *entry.Resolve {
	e := b.Resolution(id, entry.Voided, entry.ReasonReleased)
	copy(e.Release[:], ed25519.Sign(payee, entry.ReleaseMessage(entry.IDOf(e))))
	return e
}

// Attest is a signed attestation, or the withdrawal of one.
func (b *Bed) Attest(id entry.HoldID, action entry.AttestAction, attestor int, key ed25519.PrivateKey, statement entry.Statement, document [32]byte) *entry.Attest {
	e := &entry.Attest{Header: b.Plain(), Hold: id, Action: action, Attestor: uint8(attestor), Statement: statement, Document: document}
	copy(e.Signature[:], ed25519.Sign(key, entry.AttestMessage(entry.IDOf(e))))
	return e
}

// Challenge is a signed challenge.
func (b *Bed) Challenge(id entry.HoldID, payer ed25519.PrivateKey) *entry.Attest {
	return b.Attest(id, entry.Challenges, entry.PayerAttestor, payer, 0, [32]byte{})
}

// Amend moves a hold's expiry, signed by both keys.
func (b *Bed) Amend(id entry.HoldID, until uint64, payer, payee ed25519.PrivateKey) *entry.Amend {
	e := &entry.Amend{Header: b.Plain(), Hold: id, Until: until}
	msg := entry.AmendMessage(entry.IDOf(e))
	copy(e.Payer[:], ed25519.Sign(payer, msg))
	copy(e.Payee[:], ed25519.Sign(payee, msg))
	return e
}

// ReadHashes reads stored hashes of the bed's log (tlog.HashReader).
func (b *Bed) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = b.hashes[at]
	}
	return out, nil
}

// hash brings the stored hashes up to the log.
func (b *Bed) hash() {
	for _, block := range b.Blocks {
		for i, leaf := range block.Entries {
			if n := block.FirstIndex + uint64(i); n >= b.hashed {
				more, err := tlog.StoredHashes(int64(n), leaf, b)
				must(err)
				b.hashes, b.hashed = append(b.hashes, more...), n+1
			}
		}
	}
}

// Leaf gives an entry of the log.
func (b *Bed) Leaf(index uint64) []byte {
	for _, block := range b.Blocks {
		if index >= block.FirstIndex && index < block.Size() {
			return block.Entries[index-block.FirstIndex]
		}
	}
	panic("ledgertest: no such entry")
}

// Find gives the log index of an entry of a client.
func (b *Bed) Find(id entry.ID) uint64 {
	for _, block := range b.Blocks {
		for i, leaf := range block.Entries {
			e, err := entry.Decode(leaf)
			must(err)
			if e.Head() != nil && entry.IDOf(e) == id {
				return block.FirstIndex + uint64(i)
			}
		}
	}
	panic("ledgertest: the log does not hold the entry")
}

// Proof shows an entry of the log, to a ledger that observed the log as it is.
func (b *Bed) Proof(id entry.ID) *entry.PeerProof {
	return b.ProofAt(b.head().Size, b.Find(id))
}

// head is that of the log that the bed shows, lies included.
func (b *Bed) head() proof.Head {
	last := b.Blocks[len(b.Blocks)-1]
	return proof.Head{Size: last.Size(), Root: last.Root}
}

// Lie is the ledger as it would show itself if its operator and its witness
// logged leaves that no rule let pass: a copy whose log goes on with them and
// ends in a state entry.
func (b *Bed) Lie(leaves ...entry.Entry) *Bed {
	liar := *b
	last := b.Blocks[len(b.Blocks)-1]
	block := &settlement.Block{Height: last.Height + 1, Time: last.Time, FirstIndex: last.Size()}
	for _, e := range leaves {
		block.Entries = append(block.Entries, entry.Encode(e))
	}
	block.Entries = append(block.Entries, last.Entries[len(last.Entries)-1])
	var log proof.Range
	for _, each := range b.Blocks {
		log = log.With(each.Entries...)
	}
	log = log.With(block.Entries...)
	block.Root = log.Root()
	liar.Blocks = append(slices.Clip(b.Blocks), block)
	liar.hashes = slices.Clip(b.hashes)
	return &liar
}

// ProofAt shows a leaf of the log under an earlier size.
func (b *Bed) ProofAt(size, index uint64) *entry.PeerProof {
	b.hash()
	path, err := proof.ProveInclusion(size, index, b)
	must(err)
	return &entry.PeerProof{Size: size, Index: index, Path: raw(path), Leaf: b.Leaf(index)}
}

func raw(path []proof.Hash) [][32]byte {
	out := make([][32]byte, len(path))
	for i := range path {
		out[i] = path[i]
	}
	return out
}

// Terms are what this ledger believes the peer by: its witness is run by this
// ledger's nation.
func (b *Bed) Terms(peer *Bed, limit uint64, classes ...uint64) *entry.CorridorTerms {
	g := peer.Genesis
	return &entry.CorridorTerms{Name: g.Name, Origin: g.Origin, LogKey: g.LogKey, Quorum: 1,
		Witnesses: []entry.CorridorWitness{{Name: g.Witnesses.Members[0].Name, Key: g.Witnesses.Members[0].Key, Own: true}},
		Treasury:  g.Policy, Cap: limit, SizeClasses: classes, StaleMillis: 600_000}
}

// Recognise is a signed entry that opens a corridor to a peer.
func (b *Bed) Recognise(peer *Bed, limit uint64, classes ...uint64) entry.Entry {
	return b.Signed(&entry.Corridor{Header: b.Next(), Peer: peer.Hash, Action: entry.CorridorSets, Terms: b.Terms(peer, limit, classes...)})
}

// FreezeCorridor is a signed entry that freezes or thaws a corridor.
func (b *Bed) FreezeCorridor(peer *Bed, frozen bool) entry.Entry {
	action := entry.CorridorThaws
	if frozen {
		action = entry.CorridorFreezes
	}
	return b.Signed(&entry.Corridor{Header: b.Next(), Peer: peer.Hash, Action: action})
}

// Checkpoint is the log's head, signed by the log and cosigned by its witness.
func (b *Bed) Checkpoint() []byte {
	head := b.head()
	signer, err := proof.NewLogSigner(b.Genesis.Origin, b.LogKey)
	must(err)
	witness, err := proof.NewCosigner(b.Genesis.Witnesses.Members[0].Name, b.WitnessKey)
	must(err)
	line, err := witness.Sign(proof.Checkpoint{Origin: b.Genesis.Origin, Head: head}, b.Now/1000)
	must(err)
	return append(signer.Sign(head), line...)
}

// Observe records the head of a peer's log, as it grew since this ledger
// observed it last.
func (b *Bed) Observe(peer *Bed) *entry.Observe {
	peer.hash()
	head := peer.head()
	size := head.Size
	e := &entry.Observe{Header: b.Plain(), Peer: peer.Hash, Size: size, Root: head.Root, Checkpoint: peer.Checkpoint(), State: peer.Leaf(size - 1)}
	for _, c := range b.State.Corridors(b.Now) {
		if c.Peer == peer.Hash && c.Size != 0 {
			path, err := proof.ProveConsistency(c.Size, size, peer)
			must(err)
			e.Consistency = raw(path)
		}
	}
	path, err := proof.ProveInclusion(size, size-1, peer)
	must(err)
	e.StatePath = raw(path)
	return e
}

// Override is an override that both treasuries and this ledger's oversight
// signed.
func (b *Bed) Override(peer *Bed, id entry.HoldID, outcome entry.Outcome) *entry.Override {
	e := &entry.Override{Header: b.Next(), Peer: peer.Hash, Hold: id, Outcome: outcome, Commitment: b.Resolution(id, outcome, entry.ReasonPeers).Commitment}
	b.SignOverride(peer, e)
	return e
}

// SignOverride signs an override after a test has changed it.
func (b *Bed) SignOverride(peer *Bed, e *entry.Override) {
	id := entry.IDOf(e)
	e.Treasury = nil
	for i := range int(peer.Genesis.Policy.Threshold) {
		s := entry.PolicySignature{Signer: uint8(i)}
		copy(s.Signature[:], ed25519.Sign(peer.Signers[i], entry.OverrideMessage(id)))
		e.Treasury = append(e.Treasury, s)
	}
	e.Oversight = zk.Sign(b.OversightKey, entry.OverrideField(id).Element(), b.Rand)
	b.Sign(e, 0, 1)
}

// Document is a signed entry about a document.
func (b *Bed) Document(action entry.DocumentAction, digest, former [32]byte) entry.Entry {
	return b.Signed(&entry.Document{Header: b.Next(), Action: action, Type: entry.StatementEndUse, Digest: digest, Former: former, Label: "End-use certificate"})
}

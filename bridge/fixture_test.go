package bridge

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// stream is a deterministic source of randomness.
type stream struct {
	name string
	n    uint64
	left []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.left) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.name), s.n))
			s.n++
			s.left = h[:]
		}
		p[i], s.left = s.left[0], s.left[1:]
	}
	return len(p), nil
}

func signer(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte("key " + name))
	return ed25519.NewKeyFromSeed(h[:])
}

func public(name string) entry.SignerKey {
	return must(entry.SignerKeyOf(signer(name).Public().(ed25519.PublicKey)))
}

func ledgerHash(name string) entry.GenesisHash { return sha256.Sum256([]byte("ledger " + name)) }

// aurelia, borealis and cordelia have 2, 3 and 0 decimals.
var (
	aurelia  = Ledger{"aurelia", ledgerHash("aurelia"), []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}}}
	borealis = Ledger{"borealis", ledgerHash("borealis"), []entry.Asset{{ID: 1, Code: "BOR", Decimals: 3}, {ID: 2, Code: "BOX", Decimals: 18}}}
	cordelia = Ledger{"cordelia", ledgerHash("cordelia"), []entry.Asset{{ID: 1, Code: "COR", Decimals: 0}}}
	nations  = []Ledger{aurelia, borealis, cordelia}
)

// addressOf is where somebody is paid on a ledger.
func addressOf(name string, l entry.GenesisHash) Address {
	w := must(keys.Derive(must(keys.NewSeed(&stream{name: name})), must(zk.NewScalar(&stream{name: "ask " + name})), l))
	return Address{w.Owner(), w.ViewKey()}
}

var rhos = &stream{name: "rho"}

func noteFor(m Money, owner zk.Owner) zk.Note {
	return zk.Note{Value: m.Amount, Asset: m.Asset, Programme: m.Programme, Owner: owner, Rho: must(zk.NewRho(rhos))}
}

// hopFixture is one hop from Aurelia to Borealis: 100.00 AUR become 200.000 BOR, without a spread.
func hopFixture() (*Request, *Quote, *Acceptance) {
	req := &Request{From: aurelia.Hash, To: borealis.Hash, Decider: borealis.Hash, FromAsset: 1, ToAsset: 1, Fixed: FixedPayee, Amount: 200_000,
		Payer: public("payer"), Payee: addressOf("payee", borealis.Hash)}
	q := &Quote{Request: req.ID(), Name: "Meridian", Provider: public("meridian"), PayerAmount: 10_000, PayeeAmount: 200_000, Mid: Ratio{2, 1},
		Receive: addressOf("meridian", aurelia.Hash), ExpiryMillis: 1_000_000, HoldMillis: 60_000, FromClass: 100_000, ToClass: 1_000_000, Nonce: [16]byte{7}}
	q.Sign(signer("meridian"))
	n := noteFor(req.pays(q), q.Receive.Owner)
	a := &Acceptance{Request: *req, Quote: *q, Followers: []Follower{{aurelia.Hash, n.Commitment(), &n}}}
	a.Sign(signer("payer"))
	return req, q, a
}

func sortFollowers(f []Follower) {
	slices.SortFunc(f, func(a, b Follower) int { return bytes.Compare(a.Ledger[:], b.Ledger[:]) })
}

// leaf builds a logged hold: a transfer of one hold leg with that payee commitment. Proof and ciphertexts are zero; no one here reads them.
func holdLeaf(l entry.GenesisHash, cm, ret zk.Commitment, c entry.Condition, class uint64, salt byte) (*entry.Transaction, entry.HoldID) {
	shape := zk.Hold.Shape()
	leg := entry.Leg{Circuit: zk.Hold, CircuitVersion: entry.CircuitVersion, OversightEpoch: 1, Sender: make([]zk.Field, shape.SenderFields()),
		Nullifiers: make([]zk.Nullifier, shape.Inputs), Commitments: make([]zk.Commitment, shape.Outputs), Cipher: make([][2]zk.Field, shape.Outputs),
		ReturnCommitment: ret, SizeClass: class, Condition: c}
	for i := range leg.Nullifiers {
		leg.Nullifiers[i] = zk.Nullifier{30: salt, 31: byte(i + 1)}
	}
	leg.Commitments[0] = cm
	if c.Type == entry.ConditionDecidedThere {
		leg.Peer = &entry.PeerProof{Size: 1, Leaf: []byte{1}}
	}
	tx := &entry.Transaction{Type: entry.KindTransfer, Header: entry.Header{Ledger: l, ExpiryMillis: 1 << 40}, Legs: []entry.Leg{leg}}
	return tx, entry.HoldID{Tx: tx.ID()}
}

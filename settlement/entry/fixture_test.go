package entry

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/big"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

// seeded is a deterministic stream, so that golden vectors stay what they are.
type seeded struct {
	name string
	n    uint64
	left []byte
}

func (s *seeded) Read(p []byte) (int, error) {
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

// fieldModulus is r, the order of the scalar field of BLS12-381 (gnark-crypto ecc/bls12-381/fr).
var fieldModulus, _ = new(big.Int).SetString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", 16)

func field(name string) (f zk.Field) {
	h := sha256.Sum256([]byte(name))
	h[0] &= 0x3f // below the modulus
	return zk.Field(h)
}

func edKey(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func edPublic(name string) SignerKey {
	k, err := SignerKeyOf(edKey(name).Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	return k
}

func scalar(t testing.TB, name string) zk.Scalar {
	t.Helper()
	s, err := zk.NewScalar(&seeded{name: name})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// genesisFixture is Aurelia: two of three signers, two of three witnesses.
func genesisFixture(t testing.TB) *Genesis {
	t.Helper()
	oversight := scalar(t, "oversight")
	g := &Genesis{
		Name: "Republic of Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: 1767225600000, Network: Development,
		Assets:    []Asset{{1, "AUR", 2}, {2, "AUX", 0}},
		Policy:    Policy{2, []SignerKey{edPublic("signer 0"), edPublic("signer 1"), edPublic("signer 2")}},
		LogKey:    edPublic("log"),
		Witnesses: WitnessPolicy{2, 0, []Witness{{"w1.example", edPublic("w1"), ConsistencyWitness}, {"w2.example", edPublic("w2"), ValidatingWitness}, {"w3.example", edPublic("w3"), ValidatingWitness}}},

		RegistryWindowMillis: 60000, MaxExpiryMillis: 3600000,
		OversightKey: oversight.Base(),
		Circuits: []Circuit{{zk.Transfer, 1, sha256.Sum256([]byte("vk 1"))}, {zk.Disburse16, 1, sha256.Sum256([]byte("vk 3"))},
			{zk.Disburse64, 1, sha256.Sum256([]byte("vk 4"))}, {zk.Consolidate, 1, sha256.Sum256([]byte("vk 5"))}},
	}
	g.OversightPossession = ProvePossession(oversight, OversightPossession(g.DraftHash(), GenesisOversightEpoch), &seeded{name: "nonce"})
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	return g
}

func legFixture(name string, id zk.CircuitID) Leg {
	l, ok := layoutOf(id)
	if !ok {
		panic(id)
	}
	leg := Leg{Circuit: id, CircuitVersion: CircuitVersion, OversightEpoch: 1, Epk: [2]zk.Field{field(name + " epk x"), field(name + " epk y")},
		Wrap: field(name + " wrap"), SegmentHash: SegmentHash([]byte(name)), Anchor: 41, Tree: 3}
	for i := range l.senders {
		leg.Sender = append(leg.Sender, field(fmt.Sprint(name, " sender ", i)))
	}
	for i := range l.inputs {
		leg.Nullifiers = append(leg.Nullifiers, zk.Nullifier(field(fmt.Sprint(name, " nullifier ", i))))
	}
	for i := range l.outputs {
		leg.Commitments = append(leg.Commitments, zk.Commitment(field(fmt.Sprint(name, " commitment ", i))))
		leg.Cipher = append(leg.Cipher, [2]zk.Field{field(fmt.Sprint(name, " c0 ", i)), field(fmt.Sprint(name, " c1 ", i))})
	}
	if l.subtree {
		leg.SubtreeRoot = zk.Root(field(name + " subtree"))
	}
	if l.held {
		leg.ReturnCommitment = zk.Commitment(field(name + " return"))
		leg.SizeClass = 1_000_000
		leg.Condition = (&DecidedHere{Until: 1 << 40, Followers: []Follower{{GenesisHash{9}, zk.Commitment{31: 5}}}}).Condition()
	}
	if _, err := (&seeded{name: name + " proof"}).Read(leg.Proof[:]); err != nil {
		panic(err)
	}
	return leg
}

func transferFixture(g *Genesis, ids ...zk.CircuitID) *Transaction {
	tx := &Transaction{Type: KindTransfer, Header: Header{Ledger: g.Hash(), ExpiryMillis: g.CreatedMillis + 60000}}
	for i, id := range ids {
		tx.Legs = append(tx.Legs, legFixture(fmt.Sprint("leg ", i), id))
	}
	return tx
}

func issueFixture(t testing.TB, g *Genesis) *Transaction {
	tx := transferFixture(g, zk.Transfer)
	tx.Type, tx.Sequence = KindIssue, 1
	tx.Legs[0].Asset, tx.Legs[0].Programme, tx.Legs[0].Issued = 1, 77, 123456
	signFixture(t, g, tx, "signer 2", "signer 0")
	return tx
}

// signFixture puts signatures into the entry in the order of signers.
func signFixture(t testing.TB, g *Genesis, e Entry, names ...string) {
	t.Helper()
	e.Head().Signatures = nil
	id := IDOf(e)
	for i := range g.Policy.Signers {
		for _, name := range names {
			if edPublic(name) == g.Policy.Signers[i] {
				s, err := g.Policy.SignAuthorisation(edKey(name), id)
				if err != nil {
					t.Fatal(err)
				}
				e.Head().Signatures = append(e.Head().Signatures, s)
			}
		}
	}
}

// entriesFixture has one entry of every kind and shape.
func entriesFixture(t testing.TB) map[string]Entry {
	t.Helper()
	g := genesisFixture(t)
	h := Header{Ledger: g.Hash(), ExpiryMillis: g.CreatedMillis + 5000, Sequence: 9}
	reader, oversight := scalar(t, "reader"), scalar(t, "oversight 2")
	redeem := transferFixture(g, zk.Consolidate)
	redeem.Type, redeem.Sequence = KindRedeem, 2
	redeem.Legs[0].Asset, redeem.Legs[0].Redeemed = 2, 1<<64-1
	out := map[string]Entry{
		"genesis":     g,
		"transfer":    transferFixture(g, zk.Transfer),
		"four legs":   transferFixture(g, zk.Transfer, zk.Disburse64, zk.Disburse16, zk.Consolidate),
		"hold":        transferFixture(g, zk.Hold),
		"disburse16":  transferFixture(g, zk.Disburse16),
		"disburse64":  transferFixture(g, zk.Disburse64),
		"consolidate": transferFixture(g, zk.Consolidate),
		"issue":       issueFixture(t, g),
		"redeem":      redeem,
		"register": &Register{h, []Registration{
			{zk.Owner(field("owner 1")), 1000000, nil},
			{zk.Owner(field("owner 2")), 1<<64 - 1, []zk.Right{{Programme: 77, MaySet: true}, {Programme: 78, MaySet: true, MayRelease: true}, {Wildcard: true, MayRelease: true}}},
		}},
		"freeze":   &Freeze{h, zk.Owner(field("owner 1")), true},
		"unfreeze": &Freeze{h, zk.Owner(field("owner 1")), false},
		"programme": &Programme{h, 77, "Field hospitals 2026", StatusOpen, reader.Base(),
			ProvePossession(reader, ReaderPossession(h.Ledger, 77), &seeded{name: "n1"})},
		"oversight": &Oversight{h, 2, oversight.Base(), ProvePossession(oversight, OversightPossession(h.Ledger, 2), &seeded{name: "n2"})},
		"state": &State{Height: 7, TimeMillis: g.CreatedMillis + 700, Tree: 1, TreeSize: 81, NoteRoot: zk.Root(field("note root")),
			RegistryRoot: zk.Root(field("registry root")), ReadersRoot: zk.Root(field("readers root")), RegistryLeaves: 2, OversightEpoch: 1,
			PolicyHash: g.Policy.Hash(), CircuitsHash: g.CircuitsHash(), Nullifiers: 12, NextSequence: 3, Supply: []Supply{{1, 5, 3}, {2, 0, 0}}},
	}
	maps.Copy(out, bridgeFixture(t, g))
	out["day opens"] = &Close{Header: h, Date: 20260131, Action: DayOpens}
	out["day cut-off"] = &Close{Header: h, Date: 20260131, Action: DayCutOff}
	out["day closes"] = &Close{Header: h, Date: 20260131, Action: DayCloses, Size: 4711, Root: Digest([]byte("log root")), Balance: Digest([]byte("trial balance"))}
	for name, e := range out {
		if e.Kind().Privileged() && name != "issue" {
			signFixture(t, g, e, "signer 0", "signer 1")
		}
	}
	return out
}

func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	if CodeOf(err) != want {
		t.Errorf("refused with %v, want %s", err, want)
	}
}

var (
	peerLedger = GenesisHash(sha256.Sum256([]byte("peer ledger")))
	holdID     = HoldID{ID(sha256.Sum256([]byte("held transaction"))), 2}
	paper      = Digest([]byte("delivery note 7"))
)

func peerProofFixture(name string, hashes int) PeerProof {
	p := PeerProof{Size: 1000, Index: 321, Leaf: []byte("leaf of " + name)}
	for i := range hashes {
		p.Path = append(p.Path, sha256.Sum256([]byte(fmt.Sprint(name, " hash ", i))))
	}
	return p
}

func attestedFixture() *Attested {
	return &Attested{Until: 1800000000000, Payer: edPublic("payer"), Payee: edPublic("payee"), Statement: StatementDelivery, Document: paper,
		Threshold: 2, Contested: 3, WindowMillis: 3600000, Attestors: []SignerKey{edPublic("customs"), edPublic("port"), edPublic("inspector")}}
}

func guaranteeFixture() *Attested { // the beneficiary demands payment by itself
	return &Attested{Until: 1800000000000, Payee: edPublic("beneficiary"), Statement: StatementDemand, Threshold: 1, Attestors: []SignerKey{edPublic("beneficiary")}}
}

func decidedHereFixture() *DecidedHere {
	return &DecidedHere{Until: 1800000000000, Followers: []Follower{{GenesisHash{1}, zk.Commitment(field("cm A"))}, {GenesisHash{2}, zk.Commitment(field("cm V"))}}}
}

func decidedThereFixture() *DecidedThere { return &DecidedThere{peerLedger, holdID, 1800000000000} }

func termsFixture() *CorridorTerms {
	return &CorridorTerms{Name: "Kingdom of Borealis", Origin: "ledger.borealis.example/log", LogKey: edPublic("peer log"), Quorum: 2, Faulty: 1,
		Witnesses: []CorridorWitness{{"aurelia.borealis.example", edPublic("our witness"), true}, {"borealis.example", edPublic("their witness"), false}},
		Treasury:  Policy{2, []SignerKey{edPublic("peer signer 0"), edPublic("peer signer 1"), edPublic("peer signer 2")}},
		Cap:       5000000, SizeClasses: []uint64{1000, 100000, 1000000}, StaleMillis: 600000}
}

// bridgeFixture has one entry of every kind and shape that holds, documents and corridors have.
func bridgeFixture(t testing.TB, g *Genesis) map[string]Entry {
	t.Helper()
	h := Header{Ledger: g.Hash(), ExpiryMillis: g.CreatedMillis + 5000}
	hp := h
	hp.Sequence = 9
	hold := func(c Condition, class uint64, peer *PeerProof) *Transaction {
		tx := transferFixture(g, zk.Hold)
		tx.Legs[0].Condition, tx.Legs[0].SizeClass, tx.Legs[0].Peer = c, class, peer
		return tx
	}
	p, q, bare := peerProofFixture("p", 3), peerProofFixture("q", 63), peerProofFixture("bare", 0)
	two := hold(decidedThereFixture().Condition(), 1000, &p)
	two.Legs = append(two.Legs, legFixture("leg 1", zk.Hold))
	payee, back := zk.Commitment(field("payee's")), zk.Commitment(field("return"))
	named := []Named{{GenesisHash{1}, holdID}, {GenesisHash{2}, HoldID{ID{7}, 0}}}
	attest := &Attest{Header: h, Hold: holdID, Action: Attests, Attestor: 1, Statement: StatementDelivery, Document: paper}
	copy(attest.Signature[:], ed25519.Sign(edKey("port"), AttestMessage(IDOf(attest))))
	challenge := &Attest{Header: h, Hold: holdID, Action: Challenges, Attestor: PayerAttestor}
	copy(challenge.Signature[:], ed25519.Sign(edKey("payer"), AttestMessage(IDOf(challenge))))
	released := &Resolve{Header: h, Hold: holdID, Outcome: Voided, Reason: ReasonReleased, Commitment: back}
	copy(released.Release[:], ed25519.Sign(edKey("payee"), ReleaseMessage(IDOf(released))))
	amend := &Amend{Header: h, Hold: holdID, Until: 1900000000000}
	copy(amend.Payer[:], ed25519.Sign(edKey("payer"), AmendMessage(IDOf(amend))))
	copy(amend.Payee[:], ed25519.Sign(edKey("payee"), AmendMessage(IDOf(amend))))
	terms := termsFixture()
	rotation := Rotation{Number: 1, Key: edPublic("peer log 2")}
	msg := RotationMessage(terms.Origin, 1, rotation.Key)
	copy(rotation.By[:], ed25519.Sign(edKey("peer log"), msg))
	copy(rotation.Accept[:], ed25519.Sign(edKey("peer log 2"), msg))
	observe := &Observe{Header: h, Peer: peerLedger, Size: 1000, Root: Digest([]byte("root")), Checkpoint: []byte("checkpoint"), State: []byte("state entry")}
	rotated := *observe
	rotated.Rotations, rotated.Consistency, rotated.StatePath = []Rotation{rotation}, p.Path, q.Path
	override := &Override{Header: hp, Peer: peerLedger, Hold: holdID, Outcome: Voided, Commitment: back}
	unsigned := *override
	unsigned.Outcome, unsigned.Commitment = Posted, payee
	override.Treasury = treasuryFixture(override, 0, 2)
	override.Oversight = zk.Sign(scalar(t, "oversight"), OverrideField(IDOf(override)).Element(), &seeded{name: "n3"})
	return map[string]Entry{
		"hold attested":      hold(attestedFixture().Condition(), LocalSizeClass, nil),
		"hold guarantee":     hold(guaranteeFixture().Condition(), LocalSizeClass, nil),
		"hold decided here":  hold(decidedHereFixture().Condition(), 1000, nil),
		"hold decided there": hold(decidedThereFixture().Condition(), 1000, &p),
		"two holds":          two,
		"resolve attested":   &Resolve{Header: h, Hold: holdID, Outcome: Posted, Reason: ReasonAttested, Commitment: payee},
		"resolve decider":    &Resolve{Header: h, Hold: holdID, Outcome: Posted, Reason: ReasonPeers, Commitment: payee, Named: named, Peers: []PeerProof{p, bare}},
		"resolve follower":   &Resolve{Header: h, Hold: holdID, Outcome: Voided, Reason: ReasonPeers, Commitment: back, Peers: []PeerProof{q}},
		"resolve expired":    &Resolve{Header: h, Hold: holdID, Outcome: Voided, Reason: ReasonExpired, Commitment: back},
		"resolve released":   released,
		"attest":             attest,
		"withdraw":           &Attest{Header: h, Hold: holdID, Action: Withdraws, Attestor: 0, Statement: StatementDelivery, Document: paper},
		"challenge":          challenge,
		"amend":              amend,
		"anchor":             &Document{hp, Anchors, DocumentContract, paper, [32]byte{}, "contract 2026/7"},
		"supersede":          &Document{hp, Supersedes, StatementEndUse, Digest([]byte("new")), paper, "certificate 12, corrected"},
		"revoke":             &Document{hp, Revokes, DocumentOther, paper, [32]byte{}, "withdrawn"},
		"corridor":           &Corridor{hp, peerLedger, CorridorSets, terms},
		"corridor freeze":    &Corridor{hp, peerLedger, CorridorFreezes, nil},
		"corridor thaw":      &Corridor{hp, peerLedger, CorridorThaws, nil},
		"observe":            observe,
		"observe rotated":    &rotated,
		"evidence":           &Evidence{h, peerLedger, EvidenceFork, []byte("comity/fork-evidence/v1\n...")},
		"evidence late":      &Evidence{h, peerLedger, EvidenceLate, p.Marshal()},
		"override":           override,
		"override bare":      &unsigned,
	}
}

// treasuryFixture is what these signers of the peer's treasury sign an override with.
func treasuryFixture(o *Override, signers ...uint8) []PolicySignature {
	var out []PolicySignature
	for _, n := range signers {
		s := PolicySignature{Signer: n}
		copy(s.Signature[:], ed25519.Sign(edKey(fmt.Sprint("peer signer ", n)), OverrideMessage(IDOf(o))))
		out = append(out, s)
	}
	return out
}

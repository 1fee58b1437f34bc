package settlement_test

import (
	"bytes"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// admitted is a candidate whose proofs nobody has checked, under the anchors
// given.
func admitted(t *testing.T, b *ledgertest.Bed, tx *ledgertest.Tx, anchors settlement.Anchors) *settlement.Candidate {
	t.Helper()
	sub, err := b.Decode(tx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.State.Admit(sub, b.Now, anchors)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sequenced tells whether a candidate counts as proven: Sequence panics on any
// other.
func sequenced(b *ledgertest.Bed, c *settlement.Candidate) (ok bool) {
	defer func() { ok = recover() == nil }()
	_, err := b.State.Sequence([]*settlement.Candidate{c}, b.Now, settlement.NewSettled(), nil)
	return err == nil
}

func TestAVoucherStandsForTheProofsOfItsEntry(t *testing.T) {
	b := ledgertest.NewBed(1)
	here, there := settlement.NewVouchers(b.Genesis, [32]byte{7}), settlement.NewVouchers(b.Genesis, [32]byte{7})
	for _, tx := range []*ledgertest.Tx{b.Transfer(), b.Prove(b.Tx(entry.KindTransfer, zk.Transfer, zk.Disburse16, zk.Disburse64)), b.Issue(ledgertest.AUR, 0, 5)} {
		proven := admitted(t, b, tx, b.Anchor)
		if here.Vouch(proven) != nil {
			t.Fatal("a voucher for proofs that nobody checked")
		}
		if err := settlement.Prove(b.Verifier, []*settlement.Candidate{proven})[0]; err != nil {
			t.Fatal(err)
		}
		voucher := here.Vouch(proven)
		if len(voucher) != settlement.VoucherSize {
			t.Fatalf("a voucher of %d bytes", len(voucher))
		}
		c := admitted(t, b, tx, b.Anchor)
		if sequenced(b, c) {
			t.Fatal("it counted as proven before")
		}
		if !there.Believe(c, voucher) || !sequenced(b, c) {
			t.Fatalf("a good voucher was not believed for a %s", tx.Type)
		}
	}
	bad := b.Transfer()
	bad.Legs[0].Proof[40] ^= 1
	c := admitted(t, b, bad, b.Anchor)
	if err := settlement.Prove(b.Verifier, []*settlement.Candidate{c})[0]; entry.CodeOf(err) != entry.ProofInvalid {
		t.Fatal(err)
	}
	if here.Vouch(c) != nil {
		t.Fatal("a voucher for a false proof")
	}
}

// TestNoOtherVoucherIsBelieved: whatever differs between what one node proved
// and what another admitted makes the voucher worthless.
func TestNoOtherVoucherIsBelieved(t *testing.T) {
	b := ledgertest.NewBed(1)
	vouchers := settlement.NewVouchers(b.Genesis, [32]byte{7})
	tx := b.Transfer()
	// vouch checks a transaction under whatever roots, as a node with another
	// state would, or one that lies.
	vouch := func(v *settlement.Vouchers, b *ledgertest.Bed, tx *ledgertest.Tx, anchors settlement.Anchors) []byte {
		c := admitted(t, b, tx, anchors)
		settlement.Prove(trusting{}, []*settlement.Candidate{c})
		return v.Vouch(c)
	}
	good := vouch(vouchers, b, tx, b.Anchor)
	other := b.Transfer()

	elsewhere := ledgertest.NewLedger(1)
	elsewhere.Genesis.Name = "Republic of Elsewhere"
	elsewhere.Without(0)
	second := ledgertest.BedOf(elsewhere, 1)

	forged := *tx.Transaction // the same effects, another proof
	forged.Legs = append([]entry.Leg{}, tx.Legs...)
	forged.Legs[0].Proof[0] ^= 1

	segments := *tx.Transaction
	segments.Legs = append([]entry.Leg{}, tx.Legs...)
	sealed := bytes.Clone(tx.Segments[0])
	sealed[0] ^= 1
	segments.Legs[0].SegmentHash = entry.SegmentHash(sealed)

	under := func(change func(a *settlement.Anchor)) settlement.Anchors {
		return func(height uint64) (settlement.Anchor, bool) {
			a, ok := b.Anchor(height)
			change(&a)
			return a, ok
		}
	}
	keys := *b.Genesis // the same ledger by name, another verifying key of the circuit
	keys.Circuits = append([]entry.Circuit{}, b.Genesis.Circuits...)
	keys.Circuits[0].Fingerprint[0] ^= 1

	for name, voucher := range map[string][]byte{
		"none":                    nil,
		"truncated":               good[:len(good)-1],
		"longer":                  append(bytes.Clone(good), 0),
		"one bit":                 append([]byte{good[0] ^ 1}, good[1:]...),
		"another key":             vouch(settlement.NewVouchers(b.Genesis, [32]byte{8}), b, tx, b.Anchor),
		"another ledger":          vouch(settlement.NewVouchers(elsewhere.Genesis, [32]byte{7}), b, tx, b.Anchor),
		"another ledger's entry":  vouch(settlement.NewVouchers(elsewhere.Genesis, [32]byte{7}), second, second.Transfer(), second.Anchor),
		"other verifying keys":    vouch(settlement.NewVouchers(&keys, [32]byte{7}), b, tx, b.Anchor),
		"replayed from another":   vouch(vouchers, b, other, b.Anchor),
		"another proof":           vouch(vouchers, b, &ledgertest.Tx{Transaction: &forged, Segments: tx.Segments}, b.Anchor),
		"other segments":          vouch(vouchers, b, &ledgertest.Tx{Transaction: &segments, Segments: [][]byte{sealed}}, b.Anchor),
		"another root of notes":   vouch(vouchers, b, tx, under(func(a *settlement.Anchor) { a.NoteRoot[31] ^= 1 })),
		"unknown to any node":     bytes.Repeat([]byte{0}, settlement.VoucherSize),
		"a voucher for two of it": append(bytes.Clone(good), good...),
	} {
		c := admitted(t, b, tx, b.Anchor)
		if vouchers.Believe(c, voucher) || sequenced(b, c) {
			t.Errorf("%s: it was believed", name)
		}
	}
	// And what the node that sequences sees otherwise than the one that proved.
	for name, change := range map[string]func(a *settlement.Anchor){
		"another root of notes": func(a *settlement.Anchor) { a.NoteRoot[31] ^= 1 },
	} {
		if c := admitted(t, b, tx, under(change)); vouchers.Believe(c, good) || sequenced(b, c) {
			t.Errorf("%s here: it was believed", name)
		}
	}
	if c := admitted(t, b, tx, b.Anchor); !vouchers.Believe(c, good) {
		t.Error("the good one was not believed")
	}
}

// trusting takes every proof for valid, as a node that lies would.
type trusting struct{}

func (trusting) VerifyBatch(jobs []settlement.Job) []error { return make([]error, len(jobs)) }

// TestEveryPublicInputIsUnderTheVoucher changes each of them by itself.
func TestEveryPublicInputIsUnderTheVoucher(t *testing.T) {
	b := ledgertest.NewBed(1)
	vouchers := settlement.NewVouchers(b.Genesis, [32]byte{7})
	tx := b.Prove(b.Tx(entry.KindTransfer, zk.Transfer))
	proven := admitted(t, b, tx, b.Anchor)
	settlement.Prove(b.Verifier, []*settlement.Candidate{proven})
	good := vouchers.Vouch(proven)
	n := 0
	for name, change := range map[string]func(p *zk.LegPublic){
		"note root":       func(p *zk.LegPublic) { p.NoteRoot[31] ^= 1 },
		"tree":            func(p *zk.LegPublic) { p.Tree++ },
		"registry root":   func(p *zk.LegPublic) { p.RegistryRoot[31] ^= 1 },
		"readers' root":   func(p *zk.LegPublic) { p.ReadersRoot[31] ^= 1 },
		"oversight key":   func(p *zk.LegPublic) { p.OversightKey = zk.Point{} },
		"context":         func(p *zk.LegPublic) { p.Ctx[31] ^= 1 },
		"asset":           func(p *zk.LegPublic) { p.Asset++ },
		"programme":       func(p *zk.LegPublic) { p.Programme++ },
		"issued":          func(p *zk.LegPublic) { p.Issued++ },
		"redeemed":        func(p *zk.LegPublic) { p.Redeemed++ },
		"epk x":           func(p *zk.LegPublic) { p.Epk[0][31] ^= 1 },
		"epk y":           func(p *zk.LegPublic) { p.Epk[1][31] ^= 1 },
		"wrap":            func(p *zk.LegPublic) { p.Wrap[31] ^= 1 },
		"sender":          func(p *zk.LegPublic) { p.Sender[0][31] ^= 1 },
		"nullifier":       func(p *zk.LegPublic) { p.Nullifiers[1][31] ^= 1 },
		"commitment":      func(p *zk.LegPublic) { p.Commitments[1][31] ^= 1 },
		"cipher":          func(p *zk.LegPublic) { p.Cipher[1][1][31] ^= 1 },
		"nothing changed": func(*zk.LegPublic) {},
	} {
		c := admitted(t, b, tx, b.Anchor)
		p := *c.Jobs[0].Public
		p.Sender, p.Nullifiers = append([]zk.Field{}, p.Sender...), append([]zk.Nullifier{}, p.Nullifiers...)
		p.Commitments, p.Cipher = append([]zk.Commitment{}, p.Commitments...), append([][2]zk.Field{}, p.Cipher...)
		change(&p)
		c.Jobs[0].Public = &p
		if got, want := vouchers.Believe(c, good), name == "nothing changed"; got != want {
			t.Errorf("%s: believed %v", name, got)
		}
		n++
	}
	if n < 17 {
		t.Fatal("too few inputs were changed")
	}
	c := admitted(t, b, tx, b.Anchor)
	c.Jobs = append(c.Jobs, c.Jobs[0])
	if vouchers.Believe(c, good) {
		t.Error("one proof more")
	}
	c.Jobs = nil
	if vouchers.Believe(c, good) {
		t.Error("one proof less")
	}
}

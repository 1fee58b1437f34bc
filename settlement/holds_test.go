package settlement_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// escrow is an attested hold with the secrets of everybody in it.
type escrow struct {
	*ledgertest.Bed
	id           entry.HoldID
	tx           *ledgertest.Tx
	rule         *entry.Attested
	payer, payee ed25519.PrivateKey
	attestors    []ed25519.PrivateKey
}

const escrowMillis = 100_000

// newEscrow places a hold that 2 of 3 attestors of a delivery decide; change
// alters its condition first.
func newEscrow(t testing.TB, b *ledgertest.Bed, change func(*entry.Attested)) *escrow {
	t.Helper()
	return newEscrowOf(t, &escrow{Bed: b}, change)
}

func newEscrowOf(t testing.TB, e *escrow, change func(*entry.Attested)) *escrow {
	t.Helper()
	e.build(change)
	if r := e.Submit(e.tx)[0]; r.Status != settlement.Accepted {
		t.Fatalf("the hold was %s: %v", r.Status, r.Refusal)
	}
	return e
}

// build draws keys and makes the transaction, without sending it.
func (e *escrow) build(change func(*entry.Attested)) {
	e.rule = &entry.Attested{Until: e.Now + escrowMillis, Statement: entry.StatementDelivery, Threshold: 2}
	e.payer, e.rule.Payer = e.Key()
	e.payee, e.rule.Payee = e.Key()
	for range 3 {
		key, public := e.Key()
		e.attestors, e.rule.Attestors = append(e.attestors, key), append(e.rule.Attestors, public)
	}
	if change != nil {
		change(e.rule)
	}
	e.tx = e.Prove(e.Holding(0, e.rule))
	e.id = e.tx.HoldID(0)
}

// windowed adds a challenge window of 10 s, after which all three are needed.
func windowed(rule *entry.Attested) { rule.WindowMillis, rule.Contested = 10_000, 3 }

var waybill, invoice = entry.Digest([]byte("waybill")), entry.Digest([]byte("invoice"))

func (e *escrow) attests(attestor int) *entry.Attest { return e.says(entry.Attests, attestor, waybill) }

func (e *escrow) says(action entry.AttestAction, attestor int, document [32]byte) *entry.Attest {
	return e.Attest(e.id, action, attestor, e.attestors[attestor], e.rule.Statement, document)
}

func (e *escrow) post() *entry.Resolve {
	r := e.Resolution(e.id, entry.Posted, entry.ReasonAttested)
	r.Commitment = e.tx.Legs[0].Commitments[0]
	return r
}

func (e *escrow) expire() *entry.Resolve {
	r := e.Resolution(e.id, entry.Voided, entry.ReasonExpired)
	r.Commitment = e.tx.Legs[0].ReturnCommitment
	return r
}

// placedIn lists the commitments that a block placed.
func placedIn(block *settlement.Block) []zk.Commitment {
	var out []zk.Commitment
	for _, p := range block.Commitments {
		out = append(out, p.Commitment)
	}
	return out
}

func last(b *ledgertest.Bed) *settlement.Block { return b.Blocks[len(b.Blocks)-1] }

// snapshotHolds requires that the state survives a snapshot bit for bit.
func snapshotHolds(t testing.TB, b *ledgertest.Bed) {
	t.Helper()
	s, err := settlement.Unmarshal(b.Genesis, b.State.Marshal(), last(b))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.Marshal(), b.State.Marshal()) {
		t.Error("a snapshot read back is another state")
	}
}

func TestHeldOutputIsPlacedWhenItIsResolvedAndNotBefore(t *testing.T) {
	for _, posted := range []bool{true, false} {
		e := newEscrow(t, ledgertest.NewBed(1), nil)
		leg := &e.tx.Legs[0]
		if got := placedIn(last(e.Bed)); len(got) != 1 || got[0] != leg.Commitments[1] {
			t.Fatalf("the hold placed %v, want its change alone", got)
		}
		if h, open := e.State.Hold(e.id); !open || h.Commitment != leg.Commitments[0] || h.Return != leg.ReturnCommitment || e.State.Entry().Holds != 1 {
			t.Fatalf("open %v: %+v", open, h)
		}
		snapshotHolds(t, e.Bed)
		want := leg.Commitments[0]
		if posted {
			wantAccepted(t, e.Submit(e.attests(0), e.attests(2), e.post())...)
		} else {
			want = leg.ReturnCommitment
			e.Now += escrowMillis
			wantAccepted(t, e.Submit(e.expire())...)
		}
		block := last(e.Bed)
		if got := block.Commitments; len(got) != 1 || got[0].Commitment != want || got[0].EntryIndex != block.Size()-2 {
			t.Errorf("the resolution placed %+v, want %s", got, want)
		}
		if _, open := e.State.Hold(e.id); open || e.State.Entry().Holds != 0 {
			t.Error("the resolved hold is still open")
		}
		snapshotHolds(t, e.Bed)
	}
}

func TestAttestedHoldWaitsForEnoughAttestorsOfOneDocument(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), nil)
	wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
	wantAccepted(t, e.Submit(e.attests(1))...)
	wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
	wantAccepted(t, e.Submit(e.says(entry.Attests, 0, invoice))...)
	wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
	snapshotHolds(t, e.Bed)
	wantAccepted(t, e.Submit(e.attests(2))...)
	if h, _ := e.State.Hold(e.id); h.Document != waybill || len(h.Attested) != 2 || h.Attested[0] != 1 || h.Attested[1] != 2 || h.ReadyAt != e.State.Time() {
		t.Errorf("the hold stands at %+v", h)
	}
	snapshotHolds(t, e.Bed)
	wantAccepted(t, e.Submit(e.post())...)
}

func TestWhatAttestorsMayNotDoIsRefused(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), func(rule *entry.Attested) { rule.Document = waybill })
	stranger, _ := e.Key()
	wantAccepted(t, e.Submit(e.attests(0))...)
	elsewhere := e.id
	elsewhere.Leg++
	borrowed := e.attests(1)
	borrowed.ExpiryMillis++ // another id under the same signature
	for name, c := range map[string]struct {
		what entry.Entry
		code entry.Code
	}{
		"no such hold":           {e.Attest(elsewhere, entry.Attests, 1, e.attestors[1], entry.StatementDelivery, waybill), entry.HoldUnknown},
		"no such attestor":       {e.Attest(e.id, entry.Attests, 3, stranger, entry.StatementDelivery, waybill), entry.AttestorUnknown},
		"stranger's key":         {e.Attest(e.id, entry.Attests, 1, stranger, entry.StatementDelivery, waybill), entry.AttestationInvalid},
		"another's key":          {e.Attest(e.id, entry.Attests, 1, e.attestors[2], entry.StatementDelivery, waybill), entry.AttestationInvalid},
		"signature of another":   {borrowed, entry.AttestationInvalid},
		"other statement":        {e.Attest(e.id, entry.Attests, 1, e.attestors[1], entry.StatementInspection, waybill), entry.AttestationInvalid},
		"other document":         {e.says(entry.Attests, 1, invoice), entry.AttestationInvalid},
		"attested before":        {func() entry.Entry { a := e.attests(0); a.ExpiryMillis++; return e.resign(a) }(), entry.AttestationRepeated},
		"nothing to withdraw":    {e.says(entry.Withdraws, 1, waybill), entry.AttestationRepeated},
		"no window":              {e.Challenge(e.id, e.payer), entry.ChallengeInvalid},
		"challenge of a no hold": {e.Challenge(elsewhere, e.payer), entry.HoldUnknown},
	} {
		before := e.State.Marshal()
		r := e.Submit(c.what)[0]
		wantCode(t, r, c.code)
		if t.Failed() {
			t.Fatal(name)
		}
		if h, _ := e.State.Hold(e.id); len(h.Attested) != 1 || len(before) == 0 {
			t.Errorf("%s changed the hold: %+v", name, h)
		}
	}
	other := newEscrow(t, e.Bed, nil)
	wantAccepted(t, e.Submit(other.says(entry.Attests, 0, invoice))...)
	wantCode(t, e.Submit(other.says(entry.Withdraws, 0, waybill))[0], entry.AttestationInvalid)
}

// resign signs an attestation again after a change.
func (e *escrow) resign(a *entry.Attest) *entry.Attest {
	copy(a.Signature[:], ed25519.Sign(e.attestors[a.Attestor], entry.AttestMessage(entry.IDOf(a))))
	return a
}

func TestHoldIsPostedStrictlyBeforeItsExpiryAndVoidedFromItOn(t *testing.T) {
	for _, c := range []struct {
		name       string
		ahead      int64 // expiry relative to ledger time
		post, void entry.Code
	}{
		{"one before", 1, "", entry.HoldNotExpired}, {"at expiry", 0, entry.HoldExpired, ""}, {"one after", -1, entry.HoldExpired, ""},
	} {
		for _, early := range []bool{false, true} { // admitted long before, sequenced then
			t.Run(c.name, func(t *testing.T) {
				e := newEscrow(t, ledgertest.NewBed(1), nil)
				wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
				post, void := e.post(), e.expire()
				post.ExpiryMillis, void.ExpiryMillis = e.rule.Until+5000, e.rule.Until+5000
				judge := func(what *entry.Resolve) settlement.Result {
					at := uint64(int64(e.rule.Until) - c.ahead)
					if !early {
						e.Now = at
						return e.Submit(what)[0]
					}
					sub, err := settlement.DecodeLogged(entry.Encode(what))
					if err != nil {
						t.Fatal(err)
					}
					candidate, err := e.State.Admit(sub, e.Now, e.Anchor)
					if err != nil {
						t.Fatal(err)
					}
					settlement.Prove(e.Verifier, []*settlement.Candidate{candidate})
					e.Now = at
					return e.Settle(candidate)[0]
				}
				for _, r := range []struct {
					what *entry.Resolve
					code entry.Code
				}{{void, c.void}, {post, c.post}} {
					got := judge(r.what)
					switch {
					case r.what == post && c.void == "":
						wantCode(t, got, entry.HoldResolved) // voided just now
					case r.code == "":
						wantAccepted(t, got)
					default:
						wantCode(t, got, r.code)
					}
				}
			})
		}
	}
	e := newEscrow(t, ledgertest.NewBed(1), nil)
	wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
	e.Now = e.rule.Until
	wantCode(t, e.Submit(e.post())[0], entry.HoldExpired)
	wantCode(t, e.Submit(e.attests(2))[0], entry.HoldExpired)
	wantCode(t, e.Submit(e.Amend(e.id, e.Now+1000, e.payer, e.payee))[0], entry.HoldExpired)
}

func TestNewHoldThatIsExpiredIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	for ahead, code := range map[uint64]entry.Code{0: entry.HoldExpired, 1: ""} {
		rule := &entry.Attested{Until: b.Now + ahead, Statement: entry.StatementDelivery, Threshold: 1}
		_, key := b.Key()
		rule.Attestors = []entry.SignerKey{key}
		r := b.Submit(b.Prove(b.Holding(0, rule)))[0]
		if code == "" {
			wantAccepted(t, r)
		} else {
			wantCode(t, r, code)
		}
	}
}

func TestResolutionThatDoesNotFitItsHoldIsRefused(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), nil)
	wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
	back, other, unknown, peers := e.post(), e.post(), e.post(), e.post()
	back.Commitment = e.tx.Legs[0].ReturnCommitment
	other.Commitment = zk.Commitment(e.Rand.Field())
	unknown.Hold.Leg++
	peers.Reason, peers.Peers = entry.ReasonPeers, []entry.PeerProof{*e.Proof(e.id.Tx)}
	paid := e.expire()
	paid.Commitment = e.tx.Legs[0].Commitments[0]
	for name, c := range map[string]struct {
		what *entry.Resolve
		code entry.Code
	}{
		"posts the return commitment": {back, entry.OutcomeInvalid}, "posts another commitment": {other, entry.OutcomeInvalid},
		"voids to the payee": {paid, entry.OutcomeInvalid}, "no such hold": {unknown, entry.HoldUnknown}, "a reason of other holds": {peers, entry.OutcomeInvalid},
	} {
		wantCode(t, e.Submit(c.what)[0], c.code)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	wantAccepted(t, e.Submit(e.post())...)
}

func TestChallengeWindow(t *testing.T) {
	t.Run("posted when it has passed", func(t *testing.T) {
		e := newEscrow(t, ledgertest.NewBed(1), windowed)
		wantCode(t, e.Submit(e.Challenge(e.id, e.payer))[0], entry.ChallengeInvalid) // nothing to challenge yet
		wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
		agreed := e.State.Time()
		for _, at := range []uint64{agreed, agreed + 9_999} {
			e.Now = at
			wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
		}
		wantCode(t, e.Submit(e.Challenge(e.id, e.payee))[0], entry.ChallengeInvalid)
		e.Now = agreed + 10_000
		wantCode(t, e.Submit(e.Challenge(e.id, e.payer))[0], entry.ChallengeInvalid)
		wantAccepted(t, e.Submit(e.post())...)
	})
	t.Run("challenged in its last millisecond", func(t *testing.T) {
		e := newEscrow(t, ledgertest.NewBed(1), windowed)
		wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
		e.Now = e.State.Time() + 9_999
		wantAccepted(t, e.Submit(e.Challenge(e.id, e.payer))...)
		snapshotHolds(t, e.Bed)
		if h, _ := e.State.Hold(e.id); !h.Challenged || h.ReadyAt != 0 {
			t.Errorf("challenged, the hold stands at %+v", h)
		}
		e.Now += 20_000 // however long they wait, two do not suffice any more
		wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
		again := e.Challenge(e.id, e.payer)
		wantCode(t, e.Submit(again)[0], entry.ChallengeInvalid)
		wantAccepted(t, e.Submit(e.attests(2), e.post())...) // three post at once
	})
	t.Run("challenged when all have attested", func(t *testing.T) {
		e := newEscrow(t, ledgertest.NewBed(1), windowed)
		wantAccepted(t, e.Submit(e.attests(0), e.attests(1), e.attests(2))...)
		wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
		wantAccepted(t, e.Submit(e.Challenge(e.id, e.payer), e.post())...)
	})
	t.Run("ends with the hold", func(t *testing.T) {
		e := newEscrow(t, ledgertest.NewBed(1), func(rule *entry.Attested) { windowed(rule); rule.WindowMillis = escrowMillis })
		wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
		e.Now = e.rule.Until
		wantCode(t, e.Submit(e.Challenge(e.id, e.payer))[0], entry.HoldExpired)
		wantAccepted(t, e.Submit(e.expire())...)
	})
}

func TestWithdrawnAttestationsDoNotCount(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), windowed)
	wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
	e.Now += 9_000
	wantAccepted(t, e.Submit(e.says(entry.Withdraws, 0, waybill))...)
	snapshotHolds(t, e.Bed)
	e.Now += 9_000
	wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
	wantAccepted(t, e.Submit(e.says(entry.Attests, 0, invoice))...) // it may change its mind
	wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
	wantAccepted(t, e.Submit(e.attests(2))...) // agreed again: the window begins anew
	agreed := e.State.Time()
	e.Now = agreed + 9_999
	wantCode(t, e.Submit(e.post())[0], entry.HoldNotReady)
	e.Now = agreed + 10_000
	wantAccepted(t, e.Submit(e.post())...)
}

func TestWindowOfAnotherDocumentBeginsAnew(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), func(rule *entry.Attested) { windowed(rule); rule.Threshold = 1 })
	wantAccepted(t, e.Submit(e.attests(0))...)
	first := e.State.Time()
	e.Now += 5_000
	wantAccepted(t, e.Submit(e.says(entry.Attests, 1, invoice))...)
	if h, _ := e.State.Hold(e.id); h.ReadyAt != first+10_000 || h.Document != waybill {
		t.Errorf("a second document moved the window: %+v", h)
	}
	wantAccepted(t, e.Submit(e.says(entry.Withdraws, 0, waybill))...)
	if h, _ := e.State.Hold(e.id); h.ReadyAt != e.State.Time()+10_000 || h.Document != invoice {
		t.Errorf("the other document took over the window: %+v", h)
	}
}

func TestExpiryIsAmendedByBothKeysTogether(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), nil)
	stranger, _ := e.Key()
	until := e.rule.Until + 50_000
	wantCode(t, e.Submit(e.Amend(e.id, until, e.payer, stranger))[0], entry.AttestationInvalid)
	wantCode(t, e.Submit(e.Amend(e.id, until, stranger, e.payee))[0], entry.AttestationInvalid)
	wantCode(t, e.Submit(e.Amend(e.id, until, e.payee, e.payer))[0], entry.AttestationInvalid)
	wantCode(t, e.Submit(e.Amend(e.id, e.Now, e.payer, e.payee))[0], entry.HoldExpired)
	gone := e.id
	gone.Leg = 3
	wantCode(t, e.Submit(e.Amend(gone, until, e.payer, e.payee))[0], entry.HoldUnknown)
	nobody := newEscrow(t, e.Bed, func(rule *entry.Attested) { rule.Payer = entry.SignerKey{} })
	wantCode(t, e.Submit(nobody.Amend(nobody.id, until, e.payer, e.payee))[0], entry.AttestorUnknown)

	amend := e.Amend(e.id, until, e.payer, e.payee)
	wantAccepted(t, e.Submit(amend)...)
	if r := e.Submit(amend)[0]; r.Status != settlement.SettledBefore {
		t.Errorf("a repeated amendment: %+v", r)
	}
	snapshotHolds(t, e.Bed)
	wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
	e.Now = e.rule.Until + 1 // past the first expiry, before the new one
	wantCode(t, e.Submit(e.expire())[0], entry.HoldNotExpired)
	wantAccepted(t, e.Submit(e.Amend(e.id, e.Now+10, e.payer, e.payee))...) // shorter again
	e.Now += 10
	wantCode(t, e.Submit(e.post())[0], entry.HoldExpired)
	wantAccepted(t, e.Submit(e.expire())...)
	wantCode(t, e.Submit(e.Amend(e.id, until, e.payer, e.payee))[0], entry.HoldUnknown)
}

func TestPayeeReleasesAtAnyTime(t *testing.T) {
	for name, ready := range map[string]bool{"at once": false, "when it could be posted": true} {
		e := newEscrow(t, ledgertest.NewBed(1), nil)
		if ready {
			wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
		}
		wantCode(t, e.Submit(e.Release(e.id, e.payer))[0], entry.AttestationInvalid)
		borrowed := e.Release(e.id, e.payee)
		borrowed.ExpiryMillis++
		wantCode(t, e.Submit(borrowed)[0], entry.AttestationInvalid)
		wantAccepted(t, e.Submit(e.Release(e.id, e.payee))...)
		if got := placedIn(last(e.Bed)); len(got) != 1 || got[0] != e.tx.Legs[0].ReturnCommitment {
			t.Errorf("%s: released to %v", name, got)
		}
	}
	nobody := newEscrow(t, ledgertest.NewBed(1), func(rule *entry.Attested) { rule.Payee = entry.SignerKey{} })
	wantCode(t, nobody.Submit(nobody.Release(nobody.id, nobody.payee))[0], entry.AttestorUnknown)
}

// TestBankGuarantee: the beneficiary's demand is all that the guarantee waits for.
func TestBankGuarantee(t *testing.T) {
	guarantee := func(t *testing.T) *escrow {
		b := ledgertest.NewBed(1)
		e := &escrow{Bed: b}
		return newEscrowOf(t, e, func(rule *entry.Attested) {
			rule.Statement, rule.Threshold = entry.StatementDemand, 1
			rule.Attestors = []entry.SignerKey{rule.Payee}
			e.attestors = []ed25519.PrivateKey{e.payee}
		})
	}
	t.Run("called", func(t *testing.T) {
		e := guarantee(t)
		wantAccepted(t, e.Submit(e.Amend(e.id, e.rule.Until+50_000, e.payer, e.payee))...)
		e.Now = e.rule.Until + 1
		wantAccepted(t, e.Submit(e.attests(0), e.post())...)
	})
	t.Run("expired", func(t *testing.T) {
		e := guarantee(t)
		e.Now = e.rule.Until
		wantCode(t, e.Submit(e.attests(0))[0], entry.HoldExpired)
		wantAccepted(t, e.Submit(e.expire())...)
	})
	t.Run("released", func(t *testing.T) {
		e := guarantee(t)
		wantAccepted(t, e.Submit(e.Release(e.id, e.payee))...)
		wantCode(t, e.Submit(e.attests(0))[0], entry.HoldUnknown)
	})
}

func TestHoldIsResolvedOnce(t *testing.T) {
	for name, order := range map[string][2]int{"post first": {0, 1}, "release first": {1, 0}} {
		for _, together := range []bool{true, false} { // in one block, in two
			e := newEscrow(t, ledgertest.NewBed(1), nil)
			wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
			both := []any{e.post(), e.Release(e.id, e.payee)}
			all := []any{both[order[0]], both[order[1]]}
			var results []settlement.Result
			placed := 0
			if together {
				results = e.Submit(all...)
				placed = len(last(e.Bed).Commitments)
			} else {
				for _, one := range all {
					results = append(results, e.Submit(one)...)
					placed += len(last(e.Bed).Commitments)
				}
			}
			wantAccepted(t, results[0])
			wantCode(t, results[1], entry.HoldResolved)
			if placed != 1 || t.Failed() {
				t.Fatalf("%s: %d outputs placed", name, placed)
			}
		}
	}
}

func TestTwoRelayersResolveOnce(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), nil)
	wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
	one, other := e.post(), e.post()
	other.ExpiryMillis++ // another relayer's clock: another id
	r := e.Submit(one, one, other)
	wantAccepted(t, r[0])
	wantCode(t, r[2], entry.HoldResolved)
	e.Now += escrowMillis // the entry has expired meanwhile, and so has the hold
	for _, repeat := range []settlement.Result{r[1], e.Submit(one)[0]} {
		if repeat.Status != settlement.SettledBefore || repeat.EntryIndex != r[0].EntryIndex || repeat.Height != r[0].Height {
			t.Errorf("a repeat was answered %+v, want the place of %+v", repeat, r[0])
		}
	}
	wantCode(t, e.Submit(other)[0], entry.Expired) // refused for what it is now: only a repeat is not
}

func TestRepeatedAttestationSettlesOnce(t *testing.T) {
	e := newEscrow(t, ledgertest.NewBed(1), nil)
	a := e.attests(0)
	r := e.Submit(a, a)
	wantAccepted(t, r[0])
	e.Now += escrowMillis
	for _, repeat := range []settlement.Result{r[1], e.Submit(a)[0]} {
		if repeat.Status != settlement.SettledBefore || repeat.EntryIndex != r[0].EntryIndex {
			t.Errorf("answered %+v", repeat)
		}
	}
	if block := e.Blocks[r[0].Height]; len(block.Nullifiers) != 1 || block.Nullifiers[0].Nullifier != entry.OnceKey(entry.IDOf(a)) {
		t.Errorf("keys of the block: %+v", block.Nullifiers)
	}
}

// TestHoldLivesWithinOneBlock: placed, attested and posted in entry order.
func TestHoldLivesWithinOneBlock(t *testing.T) {
	b := ledgertest.NewBed(1)
	e := &escrow{Bed: b}
	e.build(nil)
	all := []any{e.tx, e.attests(0), e.attests(1), e.post(), b.Transfer()}
	r := b.Submit(all[3], all[0]) // a resolution before its hold
	wantCode(t, r[0], entry.HoldUnknown)
	wantAccepted(t, r[1])

	b = ledgertest.NewBed(1)
	e = &escrow{Bed: b}
	e.build(nil)
	later := b.Transfer()
	wantAccepted(t, b.Submit(e.tx, e.attests(0), e.attests(1), e.post(), later)...)
	want := []zk.Commitment{e.tx.Legs[0].Commitments[1], e.tx.Legs[0].Commitments[0], later.Legs[0].Commitments[0], later.Legs[0].Commitments[1]}
	block := last(b)
	for i, cm := range want {
		if p := block.Commitments[i]; p.Commitment != cm || p.Position != (zk.Position{Index: uint32(i)}) {
			t.Errorf("output %d is %+v, want %s", i, p, cm)
		}
	}
	if keys := block.Nullifiers; len(keys) != 2+1+1+1+2 || keys[4].Nullifier != e.id.Key() || keys[4].EntryIndex != block.FirstIndex+3 {
		t.Errorf("keys of the block: %+v", keys)
	}
	if n := b.State.Entry(); n.Nullifiers != 7 || n.Holds != 0 {
		t.Errorf("%d keys, %d open holds", n.Nullifiers, n.Holds)
	}
}

func TestHoldsStandBesideOtherLegs(t *testing.T) {
	b := ledgertest.NewBed(1)
	_, key := b.Key()
	rule := &entry.Attested{Until: b.Now + 1000, Statement: entry.StatementMilestone, Threshold: 1, Attestors: []entry.SignerKey{key}}
	two := b.Prove(b.Holding(0, rule, rule))
	wantAccepted(t, b.Submit(two)...)
	if holds := b.State.Holds(); len(holds) != 2 || holds[0].ID != two.HoldID(0) || holds[1].ID != two.HoldID(1) {
		t.Errorf("two legs opened %+v", holds)
	}
	issue := b.Tx(entry.KindIssue, zk.Transfer, zk.Hold)
	issue.Legs[0].Asset, issue.Legs[0].Issued = ledgertest.AUR, 5
	issue.Legs[1].Condition = rule.Condition()
	wantAccepted(t, b.Submit(b.Prove(issue))...)
	held := b.Tx(entry.KindIssue, zk.Hold)
	held.Legs[0].Asset, held.Legs[0].Issued = ledgertest.AUR, 5
	held.Legs[0].Condition = rule.Condition()
	wantCode(t, b.Submit(b.Prove(held))[0], entry.KindMismatch)
	if s := b.State.Supply()[0]; s.Issued != 5 || b.State.OpenHolds() != 3 {
		t.Errorf("supply %+v, %d open holds", s, b.State.OpenHolds())
	}
}

func TestIdleLedgerGoesOnUntilItsHoldsHaveExpired(t *testing.T) {
	b := ledgertest.NewBed(1)
	e := newEscrow(t, b, func(rule *entry.Attested) { rule.Until = b.Now + 10*ledgertest.MaxExpiryMillis })
	b.Now = e.rule.Until - 1
	b.Settle()
	if !b.State.MayExpire(b.Now+1, 0) {
		t.Error("the ledger falls asleep one millisecond before a hold expires")
	}
	b.Now++
	b.Settle()
	if b.State.MayExpire(b.Now+1, 0) {
		t.Error("the ledger stays awake although every hold has expired")
	}
	wantAccepted(t, b.Submit(e.expire())...)
}

func TestLedgerWithACorridorNeverFallsAsleep(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantAccepted(t, b.Submit(b.Recognise(ledgertest.NewBed(2), 100, 10))...)
	b.Now += 1000 * ledgertest.MaxExpiryMillis
	b.Settle()
	if !b.State.MayExpire(b.Now+1, 0) {
		t.Error("its peers would take its silence for staleness for ever")
	}
	if b.State.MayExpire(b.Now, 0) {
		t.Error("a state entry is asked for although no time has passed")
	}
}

func TestDocumentIsAnchoredAndEndedOnce(t *testing.T) {
	b := ledgertest.NewBed(1)
	digest := func(n byte) [32]byte { return entry.Digest([]byte{n}) }
	anchor := b.Document(entry.Anchors, digest(1), [32]byte{})
	wantAccepted(t, b.Submit(anchor)...)
	wantCode(t, b.Submit(b.Document(entry.Anchors, digest(1), [32]byte{}))[0], entry.DocumentKnown)
	wantCode(t, b.Submit(b.Document(entry.Revokes, digest(2), [32]byte{}))[0], entry.DocumentUnknown)
	wantCode(t, b.Submit(b.Document(entry.Supersedes, digest(3), digest(2)))[0], entry.DocumentUnknown)
	wantAccepted(t, b.Submit(b.Document(entry.Supersedes, digest(2), digest(1)))...)
	wantCode(t, b.Submit(b.Document(entry.Supersedes, digest(3), digest(1)))[0], entry.DocumentEnded)
	wantCode(t, b.Submit(b.Document(entry.Revokes, digest(1), [32]byte{}))[0], entry.DocumentEnded)
	wantCode(t, b.Submit(b.Document(entry.Supersedes, digest(1), digest(2)))[0], entry.DocumentKnown)
	wantAccepted(t, b.Submit(b.Document(entry.Revokes, digest(2), [32]byte{}))...)
	wantCode(t, b.Submit(b.Document(entry.Revokes, digest(2), [32]byte{}))[0], entry.DocumentEnded)
	wantCode(t, b.Submit(b.Document(entry.Anchors, digest(2), [32]byte{}))[0], entry.DocumentKnown)
	b.Now += ledgertest.MaxExpiryMillis
	if r := b.Submit(anchor)[0]; r.Status != settlement.SettledBefore || r.Height != 1 {
		t.Errorf("a repeated anchor: %+v", r)
	}
	unsigned := b.Document(entry.Anchors, digest(9), [32]byte{})
	unsigned.Head().Signatures = unsigned.Head().Signatures[:1]
	wantCode(t, b.Submit(unsigned)[0], entry.SignaturesMissing)
	// An end may follow its beginning within a block.
	begin := b.Document(entry.Anchors, digest(4), [32]byte{})
	end := &entry.Document{Header: b.Next(), Action: entry.Revokes, Type: entry.DocumentOther, Digest: digest(4), Label: "Withdrawn"}
	end.Sequence++
	wantAccepted(t, b.Submit(begin, b.Signed(end))...)
}

// bedStore is a store that holds a bed's blocks, for look-ups.
type bedStore struct {
	settlement.Store
	bed *ledgertest.Bed
}

func (s bedStore) Spent(_ context.Context, keys []zk.Nullifier) ([]settlement.Hit, error) {
	hits := make([]settlement.Hit, len(keys))
	for i, key := range keys {
		for _, block := range s.bed.Blocks {
			for _, used := range block.Nullifiers {
				if used.Nullifier == key {
					hits[i] = settlement.Hit{Found: true, EntryIndex: used.EntryIndex, Height: block.Height}
				}
			}
		}
	}
	return hits, nil
}

func (s bedStore) Sequence(context.Context, uint64) (settlement.Hit, error) {
	return settlement.Hit{}, nil
}

func (s bedStore) Entry(_ context.Context, index uint64) ([]byte, uint64, error) {
	return s.bed.Leaf(index), 0, nil
}

func TestLookUpFindsKeysThatWereUsedAndThatAreNeeded(t *testing.T) {
	b := ledgertest.NewBed(1)
	anchor := b.Document(entry.Anchors, waybill, [32]byte{})
	wantAccepted(t, b.Submit(anchor)...)
	end, err := b.Admit(b.Document(entry.Revokes, waybill, [32]byte{}))
	if err != nil {
		t.Fatal(err)
	}
	twice := &entry.Document{Header: b.Next(), Action: entry.Anchors, Type: entry.DocumentOther, Digest: waybill, Label: "Waybill"}
	again, err := b.Admit(b.Signed(twice))
	if err != nil {
		t.Fatal(err)
	}
	for name, look := range map[string]func(*settlement.Candidate) (*settlement.Settled, error){
		"in the store": func(c *settlement.Candidate) (*settlement.Settled, error) {
			return settlement.LookUp(t.Context(), bedStore{bed: b}, []*settlement.Submission{c.Submission})
		},
		"in a pending block": func(c *settlement.Candidate) (*settlement.Settled, error) {
			return settlement.LookUp(t.Context(), emptyStore{}, []*settlement.Submission{c.Submission}, last(b))
		},
	} {
		judge := func(c *settlement.Candidate) settlement.Result {
			settled, err := look(c)
			if err != nil {
				t.Fatal(err)
			}
			p, err := b.State.Sequence([]*settlement.Candidate{c}, b.Now, settled, nil)
			if err != nil {
				t.Fatal(err)
			}
			return p.Results[0]
		}
		wantAccepted(t, judge(end))
		wantCode(t, judge(again), entry.DocumentKnown)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestWhatCannotSettleIsRefusedBeforeItsProofIsChecked(t *testing.T) {
	b := ledgertest.NewBed(1)
	rule := &entry.Attested{Until: b.Now, Statement: entry.StatementDelivery, Threshold: 1}
	_, key := b.Key()
	rule.Attestors = []entry.SignerKey{key}
	if _, err := b.Admit(b.Prove(b.Holding(0, rule))); entry.CodeOf(err) != entry.HoldExpired || b.Verifier.Count != 0 {
		t.Errorf("an expired hold: %v after %d proofs", err, b.Verifier.Count)
	}
	e := newEscrow(t, b, nil)
	stranger, _ := b.Key()
	if _, err := b.Admit(e.Attest(e.id, entry.Attests, 0, stranger, entry.StatementDelivery, waybill)); entry.CodeOf(err) != entry.AttestationInvalid {
		t.Errorf("a stranger's attestation: %v", err)
	}
}

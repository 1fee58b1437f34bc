package settlement_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

func wantCode(t *testing.T, r settlement.Result, want entry.Code) {
	t.Helper()
	if r.Status != settlement.Refused || entry.CodeOf(r.Refusal) != want {
		t.Errorf("answered %s (%v), want refusal %s", r.Status, r.Refusal, want)
	}
}

func wantAccepted(t *testing.T, results ...settlement.Result) {
	t.Helper()
	for _, r := range results {
		if r.Status != settlement.Accepted {
			t.Errorf("answered %s (%v), want accepted", r.Status, r.Refusal)
		}
	}
}

func TestHonestEntryOfEveryKindSettles(t *testing.T) {
	b := ledgertest.NewBed(1)
	own := b.Owner()
	wantAccepted(t, b.Submit(b.Register(100, own))...)
	wantAccepted(t, b.Submit(b.OpenProgramme(7, entry.StatusOpen))...)
	wantAccepted(t, b.Submit(b.Issue(ledgertest.AUR, 7, 500))...)
	wantAccepted(t, b.Submit(b.Redeem(ledgertest.AUR, 7, 500))...)
	wantAccepted(t, b.Submit(b.Freeze(own, true))...)
	wantAccepted(t, b.Submit(b.Freeze(own, false))...)
	wantAccepted(t, b.Submit(b.Rotate(2))...)
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Disburse16, zk.Disburse64, zk.Consolidate} {
		wantAccepted(t, b.Submit(b.Prove(b.Tx(entry.KindTransfer, id)))...)
	}
	wantAccepted(t, b.Submit(b.Prove(b.Tx(entry.KindTransfer, zk.Transfer, zk.Disburse16, zk.Consolidate, zk.Transfer)))...)
}

func TestEntryOfAnotherLedgerIsRefused(t *testing.T) {
	here, there := ledgertest.NewBed(1), ledgertest.NewBed(2)
	wantCode(t, here.Submit(there.Transfer())[0], entry.WrongLedger)
	wantCode(t, here.Submit(there.Register(5, there.Owner()))[0], entry.WrongLedger)
}

func TestSignaturesOfAnotherLedgerAreRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	sister := ledgertest.NewBed(1).Ledger // the same people sign for both
	e := &entry.Freeze{Header: b.Next(), Owner: b.Owner(), Frozen: true}
	e.Ledger[0] ^= 1
	sister.Sign(e, 0, 1)
	e.Ledger[0] ^= 1
	wantCode(t, b.Submit(entry.Entry(e))[0], entry.SignatureInvalid)
}

func TestEntryOfTheLedgerItselfIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantCode(t, b.Submit(b.Blocks[0].Entries[0])[0], entry.UnknownKind)
	wantCode(t, b.Submit(b.Blocks[0].Entries[1])[0], entry.UnknownKind)
}

func TestEntrySettlesStrictlyBeforeItsExpiry(t *testing.T) {
	for _, c := range []struct {
		name         string
		ahead        int64 // expiry relative to ledger time
		code         entry.Code
		atSequencing bool
	}{
		{"one before", 1, "", false}, {"at expiry", 0, entry.Expired, false}, {"one after", -1, entry.Expired, false},
		{"sequenced one before", 1, "", true}, {"sequenced at expiry", 0, entry.Expired, true}, {"sequenced one after", -1, entry.Expired, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := ledgertest.NewBed(1)
			tx := b.Tx(entry.KindTransfer, zk.Transfer)
			settleAt := b.Now
			if c.atSequencing {
				settleAt += 500
			}
			tx.ExpiryMillis = uint64(int64(settleAt) + c.ahead)
			b.Prove(tx)
			var r settlement.Result
			if c.atSequencing {
				candidate, err := b.Admit(tx)
				if err != nil {
					t.Fatal(err)
				}
				b.Now = settleAt
				r = b.Settle(candidate)[0]
			} else {
				r = b.Submit(tx)[0]
			}
			if c.code == "" {
				wantAccepted(t, r)
			} else {
				wantCode(t, r, c.code)
			}
		})
	}
}

func TestExpiryTooFarAheadIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	at := b.Tx(entry.KindTransfer, zk.Transfer)
	at.ExpiryMillis = b.Now + ledgertest.MaxExpiryMillis
	over := b.Tx(entry.KindTransfer, zk.Transfer)
	over.ExpiryMillis = at.ExpiryMillis + 1
	forever := b.Tx(entry.KindTransfer, zk.Transfer)
	forever.ExpiryMillis = math.MaxUint64
	r := b.Submit(b.Prove(at), b.Prove(over), b.Prove(forever))
	wantAccepted(t, r[0])
	wantCode(t, r[1], entry.ExpiryTooFar)
	wantCode(t, r[2], entry.ExpiryTooFar)
}

func TestExpiryTooFarIsJudgedAgainWhenTheClockFellBack(t *testing.T) {
	b := ledgertest.NewBed(1)
	b.Now += 5000
	tx := b.Tx(entry.KindTransfer, zk.Transfer)
	tx.ExpiryMillis = b.Now + ledgertest.MaxExpiryMillis
	c, err := b.Admit(b.Prove(tx))
	if err != nil {
		t.Fatal(err)
	}
	b.Now -= 1 // no block has pinned the later time
	wantCode(t, b.Settle(c)[0], entry.ExpiryTooFar)
}

func TestUnknownAssetIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantCode(t, b.Submit(b.Issue(99, 0, 5))[0], entry.UnknownAsset)
	wantCode(t, b.Submit(b.Redeem(99, 0, 5))[0], entry.UnknownAsset)
}

func TestUnknownProgrammeIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantCode(t, b.Submit(b.Issue(ledgertest.AUR, 7, 5))[0], entry.UnknownProgramme)
}

func TestClosedProgrammeTakesNoNewMoneyAndLetsOldMoneyOut(t *testing.T) {
	b := ledgertest.NewBed(1)
	b.Submit(b.OpenProgramme(7, entry.StatusOpen))
	wantAccepted(t, b.Submit(b.Issue(ledgertest.AUR, 7, 5))...)
	early, err := b.Admit(func() *ledgertest.Tx { // admitted while open
		tx := b.Tx(entry.KindIssue, zk.Transfer)
		tx.Legs[0].Asset, tx.Legs[0].Programme, tx.Legs[0].Issued = ledgertest.AUR, 7, 1
		tx.Sequence++
		return b.Prove(tx)
	}())
	if err != nil {
		t.Fatal(err)
	}
	wantAccepted(t, b.Submit(b.OpenProgramme(7, entry.StatusClosed))...)
	wantCode(t, b.Settle(early)[0], entry.ProgrammeClosed)
	wantCode(t, b.Submit(b.Issue(ledgertest.AUR, 7, 5))[0], entry.ProgrammeClosed)
	wantAccepted(t, b.Submit(b.Redeem(ledgertest.AUR, 7, 5))...)
}

func TestCircuitThatGenesisDoesNotListIsRefused(t *testing.T) {
	l := ledgertest.NewLedger(1)
	l.Without(zk.Consolidate)
	b := ledgertest.BedOf(l, 1)
	wantCode(t, b.Submit(b.Prove(b.Tx(entry.KindTransfer, zk.Consolidate)))[0], entry.UnknownCircuit)
}

func TestHoldIsRefusedForItsCondition(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantCode(t, b.Submit(b.Prove(b.Tx(entry.KindTransfer, zk.Hold)))[0], entry.ConditionUnknown)
}

func TestAnchorThatDoesNotExistIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	ahead := b.Transfer()
	ahead.Legs[0].Anchor = b.State.Height() + 1
	tree := b.Transfer()
	tree.Legs[0].Tree = 1
	r := b.Submit(ahead, tree)
	wantCode(t, r[0], entry.AnchorUnknown)
	wantCode(t, r[1], entry.AnchorUnknown)
}

func TestOldNoteRootIsAcceptedForEver(t *testing.T) {
	b := ledgertest.NewBed(1)
	for range 5 {
		wantAccepted(t, b.Submit(b.Transfer())...)
		b.Now += 1_000_000
	}
	tx := b.Tx(entry.KindTransfer, zk.Transfer)
	tx.Legs[0].Anchor = 1 // the registry has not changed since
	wantAccepted(t, b.Submit(b.Prove(tx))...)
}

// proveAt makes a transfer under an older block's roots.
func proveAt(b *ledgertest.Bed, height uint64) *ledgertest.Tx {
	tx := b.Tx(entry.KindTransfer, zk.Transfer)
	tx.Legs[0].Anchor = height
	return b.Prove(tx)
}

func TestOlderRegistryRootServesStrictlyWithinItsWindow(t *testing.T) {
	for _, c := range []struct {
		name  string
		after uint64
		code  entry.Code
	}{
		{"at once", 0, ""}, {"one before", ledgertest.WindowMillis - 1, ""}, {"at the end", ledgertest.WindowMillis, entry.RegistryRootStale},
		{"one after", ledgertest.WindowMillis + 1, entry.RegistryRootStale},
	} {
		for _, kind := range []string{"registry", "readers"} {
			t.Run(kind+" "+c.name, func(t *testing.T) {
				b := ledgertest.NewBed(1)
				change := func() entry.Entry {
					if kind == "readers" {
						return b.OpenProgramme(7, entry.StatusOpen)
					}
					return b.Register(5, b.Owner())
				}
				wantAccepted(t, b.Submit(change())...) // supersedes the roots of block 0
				early, err := b.Admit(proveAt(b, 0))
				if err != nil {
					t.Fatal(err)
				}
				b.Now += c.after
				sequenced := b.Settle(early)[0]
				submitted := b.Submit(proveAt(b, 0))[0]
				for _, r := range []settlement.Result{sequenced, submitted} {
					if c.code == "" {
						wantAccepted(t, r)
					} else {
						wantCode(t, r, c.code)
					}
				}
				wantAccepted(t, b.Submit(b.Transfer())...) // a new proof always helps
			})
		}
	}
}

func TestFreezeEndsTheWindowOfAllOlderRootsAtOnce(t *testing.T) {
	b := ledgertest.NewBed(1)
	own := b.Owner()
	b.Submit(b.Register(5, own))
	b.Submit(b.Register(5, b.Owner()))
	before := b.State.Height()
	admitted, err := b.Admit(b.Transfer())
	if err != nil {
		t.Fatal(err)
	}
	wantAccepted(t, b.Submit(b.Freeze(own, true))...)
	wantCode(t, b.Settle(admitted)[0], entry.RegistryRootStale)
	for height := uint64(0); height <= before; height++ {
		wantCode(t, b.Submit(proveAt(b, height))[0], entry.RegistryRootStale)
	}
	wantAccepted(t, b.Submit(b.Transfer())...)
}

func TestFreezeStopsWhatFollowsItInItsBlock(t *testing.T) {
	b := ledgertest.NewBed(1)
	own := b.Owner()
	b.Submit(b.Register(5, own))
	r := b.Submit(b.Transfer(), b.Freeze(own, true), b.Transfer())
	wantAccepted(t, r[0], r[1])
	wantCode(t, r[2], entry.RegistryRootStale)
}

func TestReleaseDoesNotReopenWindowsThatAFreezeEnded(t *testing.T) {
	b := ledgertest.NewBed(1)
	own, other := b.Owner(), b.Owner()
	b.Submit(b.Register(5, own)) // block 1
	b.Submit(b.Register(5, other))
	b.Submit(b.Freeze(own, true))
	b.Submit(b.Freeze(own, false))
	wantCode(t, b.Submit(proveAt(b, 1))[0], entry.RegistryRootStale)
	wantAccepted(t, b.Submit(proveAt(b, 2))[0]) // the very root that is in force again
}

func TestFreezeAndReleaseInOneBlockStillEndTheWindows(t *testing.T) {
	b := ledgertest.NewBed(1)
	own := b.Owner()
	b.Submit(b.Register(5, b.Owner()))
	b.Submit(b.Register(5, own))
	freeze := b.Freeze(own, true)
	release := &entry.Freeze{Header: b.Next(), Owner: own}
	release.Sequence++
	wantAccepted(t, b.Submit(freeze, b.Signed(release))...)
	wantCode(t, b.Submit(proveAt(b, 1))[0], entry.RegistryRootStale)
	wantAccepted(t, b.Submit(b.Transfer())...)
}

func TestFreezeThatChangesNothingIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	own := b.Owner()
	b.Submit(b.Register(5, own))
	wantCode(t, b.Submit(b.Freeze(b.Owner(), true))[0], entry.OwnerUnknown)
	wantCode(t, b.Submit(b.Freeze(own, false))[0], entry.OwnerActiveAlready)
	wantAccepted(t, b.Submit(b.Freeze(own, true))...)
	wantCode(t, b.Submit(b.Freeze(own, true))[0], entry.OwnerFrozenAlready)
}

func TestRegisteringAgainKeepsLeafAndStatus(t *testing.T) {
	b := ledgertest.NewBed(1)
	own := b.Owner()
	b.Submit(b.Register(5, b.Owner(), own))
	b.Submit(b.Freeze(own, true))
	wantAccepted(t, b.Submit(b.Register(9, own))...)
	got, known := b.State.Registered(own)
	if !known || got.Index != 1 || got.Leaf.Status != zk.Frozen || got.Leaf.Limit != 9 {
		t.Errorf("registered as %+v", got)
	}
}

func TestLegOfAnotherOversightEpochIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx := b.Tx(entry.KindTransfer, zk.Transfer)
	tx.Legs[0].OversightEpoch = 2
	wantCode(t, b.Submit(b.Prove(tx))[0], entry.OversightEpochStale)
	admitted, err := b.Admit(b.Transfer())
	if err != nil {
		t.Fatal(err)
	}
	old := b.Transfer()
	r := b.Submit(b.Rotate(2), b.Transfer())
	wantAccepted(t, r[0])
	wantCode(t, r[1], entry.OversightEpochStale) // rotated in the same block
	wantCode(t, b.Settle(admitted)[0], entry.OversightEpochStale)
	wantCode(t, b.Submit(old)[0], entry.OversightEpochStale)
	wantAccepted(t, b.Submit(b.Transfer())...)
}

func TestOversightEpochMustBeTheNextOne(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantCode(t, b.Submit(b.Rotate(3))[0], entry.OversightEpochStale)
	wantAccepted(t, b.Submit(b.Rotate(2))...)
	wantCode(t, b.Submit(b.Rotate(2))[0], entry.OversightEpochStale)
}

func TestSpentNoteIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	first := b.Transfer()
	wantAccepted(t, b.Submit(first)...)
	again := b.Tx(entry.KindTransfer, zk.Consolidate)
	again.Legs[0].Nullifiers[5] = first.Legs[0].Nullifiers[1]
	wantCode(t, b.Submit(b.Prove(again))[0], entry.NullifierSpent)
}

func TestOneOf64SpendersInABlockWins(t *testing.T) {
	b := ledgertest.NewBed(1)
	nf := zk.Nullifier(b.Rand.Field())
	var all []any
	for range 64 {
		tx := b.Tx(entry.KindTransfer, zk.Transfer)
		tx.Legs[0].Nullifiers[1] = nf
		all = append(all, b.Prove(tx))
	}
	won := 0
	for _, r := range b.Submit(all...) {
		if r.Status == settlement.Accepted {
			won++
			continue
		}
		wantCode(t, r, entry.NullifierSpent)
	}
	if won != 1 {
		t.Errorf("%d spenders won", won)
	}
}

func TestNullifierTwiceInOneEntryIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	inLeg := b.Tx(entry.KindTransfer, zk.Transfer)
	inLeg.Legs[0].Nullifiers[1] = inLeg.Legs[0].Nullifiers[0]
	acrossLegs := b.Tx(entry.KindTransfer, zk.Transfer, zk.Transfer)
	acrossLegs.Legs[1].Nullifiers[0] = acrossLegs.Legs[0].Nullifiers[1]
	r := b.Submit(b.Prove(inLeg), b.Prove(acrossLegs))
	wantCode(t, r[0], entry.NullifierRepeated)
	wantCode(t, r[1], entry.NullifierRepeated)
}

func TestRepeatIsAnsweredWithTheFirstPlace(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx, signed := b.Transfer(), b.Register(5, b.Owner())
	first := b.Submit(tx, signed)
	wantAccepted(t, first...)
	reproven := *tx
	reproven.Transaction = clone(t, tx.Transaction)
	reproven.Legs[0].Anchor = b.State.Height()
	b.Prove(&reproven) // another proof under newer roots
	broken := *tx
	broken.Transaction = clone(t, tx.Transaction)
	broken.Legs[0].Proof[17] ^= 1
	resigned := clone(t, signed.(*entry.Register))
	b.Sign(resigned, 1, 2)
	late := func() { b.Now += ledgertest.MaxExpiryMillis }
	for name, again := range map[string]any{"same bytes": tx, "other proof": &reproven, "bad proof under a good id": &broken,
		"privileged": signed, "other signers": entry.Entry(resigned)} {
		for _, when := range []func(){func() {}, late} {
			when()
			r := b.Submit(again)[0]
			want := first[0]
			if _, isTx := again.(*ledgertest.Tx); !isTx {
				want = first[1]
			}
			if r.Status != settlement.SettledBefore || r.EntryIndex != want.EntryIndex || r.Height != want.Height || r.ID != want.ID {
				t.Errorf("%s: answered %+v, want settled before at %d", name, r, want.EntryIndex)
			}
		}
	}
}

func clone[E entry.Entry](t *testing.T, e E) E {
	t.Helper()
	out, err := entry.Decode(entry.Encode(e))
	if err != nil {
		t.Fatal(err)
	}
	return out.(E)
}

func TestRepeatWithinABlockSettlesOnce(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx, signed := b.Transfer(), b.Register(5, b.Owner())
	r := b.Submit(tx, signed, tx, signed)
	wantAccepted(t, r[0], r[1])
	for i := range 2 {
		if r[2+i].Status != settlement.SettledBefore || r[2+i].EntryIndex != r[i].EntryIndex {
			t.Errorf("repeat %d answered %+v", i, r[2+i])
		}
	}
}

func TestBadProofUnderAGoodIDDoesNotPoisonIt(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx := b.Transfer()
	bad := *tx
	bad.Transaction = clone(t, tx.Transaction)
	bad.Legs[0].Proof[20] ^= 1
	wantCode(t, b.Submit(&bad)[0], entry.ProofInvalid)
	wantAccepted(t, b.Submit(tx)...)
}

func TestRerandomisedProofGivesTheSameID(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx := b.Transfer()
	id, proof := tx.ID(), tx.Legs[0].Proof
	b.Prove(tx)
	if tx.Legs[0].Proof == proof || tx.ID() != id {
		t.Errorf("proof changed: %v, id %s then %s", tx.Legs[0].Proof != proof, id, tx.ID())
	}
}

func TestLegMovedToAnotherTransactionIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	one := b.Transfer()
	expiry := *one
	expiry.Transaction = clone(t, one.Transaction)
	expiry.ExpiryMillis++
	joined := b.Transfer()
	joined.Legs, joined.Segments = append(joined.Legs, one.Legs[0]), append(joined.Segments, one.Segments[0])
	wantCode(t, b.Submit(&expiry)[0], entry.ProofInvalid)
	wantCode(t, b.Submit(joined)[0], entry.ProofInvalid)
	wantAccepted(t, b.Submit(one)...)
}

func TestEveryPublicInputIsBound(t *testing.T) {
	b := ledgertest.NewBed(1)
	b.Submit(b.OpenProgramme(7, entry.StatusOpen))
	for name, change := range map[string]func(*entry.Leg){
		"epk":         func(l *entry.Leg) { l.Epk[1] = b.Rand.Field() },
		"wrap":        func(l *entry.Leg) { l.Wrap = b.Rand.Field() },
		"sender":      func(l *entry.Leg) { l.Sender[1] = b.Rand.Field() },
		"nullifier":   func(l *entry.Leg) { l.Nullifiers[0] = zk.Nullifier(b.Rand.Field()) },
		"commitment":  func(l *entry.Leg) { l.Commitments[15] = zk.Commitment(b.Rand.Field()) },
		"ciphertext":  func(l *entry.Leg) { l.Cipher[0][1] = b.Rand.Field() },
		"subtree":     func(l *entry.Leg) { l.SubtreeRoot = zk.Root(b.Rand.Field()) },
		"segment":     func(l *entry.Leg) { l.SegmentHash = entry.SegmentHash([]byte("other")) },
		"anchor":      func(l *entry.Leg) { l.Anchor = 0 }, // other registry root, still in its window
		"proof bytes": func(l *entry.Leg) { l.Proof[30] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			tx := b.Prove(b.Tx(entry.KindTransfer, zk.Disburse16))
			change(&tx.Legs[0])
			if name == "segment" {
				tx.Segments[0] = []byte("other")
			}
			wantCode(t, b.Submit(tx)[0], entry.ProofInvalid)
		})
	}
}

func TestSegmentsMustBeThoseThatTheEntryNames(t *testing.T) {
	b := ledgertest.NewBed(1)
	missing, other, extra := b.Transfer(), b.Transfer(), b.Transfer()
	missing.Segments = nil
	other.Segments[0] = append([]byte{1}, other.Segments[0]...)
	extra.Segments = append(extra.Segments, []byte("more"))
	for _, tx := range []*ledgertest.Tx{missing, other, extra} {
		wantCode(t, b.Submit(tx)[0], entry.SegmentMismatch)
	}
}

func TestPrivilegedEntryNeedsTheSignaturesOfThePolicy(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*ledgertest.Bed, *entry.Freeze)
		code  entry.Code
	}{
		"none":    {func(_ *ledgertest.Bed, e *entry.Freeze) { e.Signatures = nil }, entry.SignaturesMissing},
		"one":     {func(_ *ledgertest.Bed, e *entry.Freeze) { e.Signatures = e.Signatures[:1] }, entry.SignaturesMissing},
		"unknown": {func(_ *ledgertest.Bed, e *entry.Freeze) { e.Signatures[1].Signer = 3 }, entry.SignerUnknown},
		"twice":   {func(_ *ledgertest.Bed, e *entry.Freeze) { e.Signatures[1] = e.Signatures[0] }, entry.SignerRepeated},
		"bad beside two good": {func(b *ledgertest.Bed, e *entry.Freeze) {
			b.Sign(e, 0, 1, 2)
			e.Signatures[2].Signature[0] ^= 1
		}, entry.SignatureInvalid},
		"of another entry": {func(b *ledgertest.Bed, e *entry.Freeze) {
			other := *e
			other.Owner = b.Owner()
			b.Sign(&other, 0, 1)
			e.Signatures = other.Signatures
		}, entry.SignatureInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := ledgertest.NewBed(1)
			own := b.Owner()
			b.Submit(b.Register(5, own))
			e := b.Freeze(own, true).(*entry.Freeze)
			c.spoil(b, e)
			wantCode(t, b.Submit(entry.Entry(e))[0], c.code)
			wantAccepted(t, b.Submit(b.Freeze(own, true))...)
		})
	}
}

func TestIssueWithoutSignaturesIsRefused(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx := b.Issue(ledgertest.AUR, 0, 5)
	tx.Signatures = nil
	wantCode(t, b.Submit(tx)[0], entry.SignaturesMissing)
}

func TestPolicySequenceHasNoGapsAndNoRepeats(t *testing.T) {
	b := ledgertest.NewBed(1)
	ahead := &entry.Register{Header: b.Next(), Owners: []entry.Registration{{Owner: b.Owner(), Limit: 1}}}
	ahead.Sequence++
	wantCode(t, b.Submit(b.Signed(ahead))[0], entry.SequenceGap)
	one, rival := b.Register(5, b.Owner()), b.Register(5, b.Owner()) // one number, two entries
	r := b.Submit(one, rival)
	wantAccepted(t, r[0])
	wantCode(t, r[1], entry.SequenceStale)
	wantCode(t, b.Submit(rival)[0], entry.SequenceStale)
	wantAccepted(t, b.Submit(b.Signed(ahead))...)
}

func TestSupplyNeverOverflows(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantAccepted(t, b.Submit(b.Issue(ledgertest.AUR, 0, math.MaxUint64))...)
	wantCode(t, b.Submit(b.Issue(ledgertest.AUR, 0, 1))[0], entry.SupplyOverflow)
	wantAccepted(t, b.Submit(b.Issue(ledgertest.AUX, 0, 1))...)
	// Redeeming all does not make room: totals only grow.
	wantAccepted(t, b.Submit(b.Redeem(ledgertest.AUR, 0, math.MaxUint64))...)
	wantCode(t, b.Submit(b.Issue(ledgertest.AUR, 0, 1))[0], entry.SupplyOverflow)
}

func TestPoolCounterNeverGoesNegative(t *testing.T) {
	b := ledgertest.NewBed(1)
	wantCode(t, b.Submit(b.Redeem(ledgertest.AUR, 0, 1))[0], entry.SupplyNegative)
	wantAccepted(t, b.Submit(b.Issue(ledgertest.AUR, 0, 10))...)
	wantCode(t, b.Submit(b.Redeem(ledgertest.AUX, 0, 1))[0], entry.SupplyNegative)
	wantCode(t, b.Submit(b.Redeem(ledgertest.AUR, 0, 11))[0], entry.SupplyNegative)
	two := b.Tx(entry.KindRedeem, zk.Transfer, zk.Transfer) // each is covered, both are not
	for i := range two.Legs {
		two.Legs[i].Asset, two.Legs[i].Redeemed = ledgertest.AUR, 6
	}
	wantCode(t, b.Submit(b.Prove(two))[0], entry.SupplyNegative)
	if s := b.State.Supply()[0]; s.Issued != 10 || s.Redeemed != 0 {
		t.Errorf("supply is %+v after refusals", s)
	}
	wantAccepted(t, b.Submit(b.Redeem(ledgertest.AUR, 0, 10))...)
}

func TestRefusedCandidateChangesNothing(t *testing.T) {
	build := func(withRefused bool) []byte {
		b := ledgertest.NewBed(1)
		own := b.Owner()
		good := []any{b.Register(5, own), b.Transfer()}
		bad := []any{b.Freeze(b.Owner(), true), b.Redeem(ledgertest.AUR, 0, 5), func() any {
			tx := b.Tx(entry.KindTransfer, zk.Transfer)
			tx.Legs[0].Nullifiers[0] = good[1].(*ledgertest.Tx).Legs[0].Nullifiers[0]
			return b.Prove(tx)
		}()}
		all := good
		if withRefused {
			all = append(append([]any{}, good...), bad...)
		}
		b.Submit(all...)
		return b.State.Marshal()
	}
	if !bytes.Equal(build(false), build(true)) {
		t.Error("refused candidates left a trace in the state")
	}
}

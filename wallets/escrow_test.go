package wallets

import (
	"crypto/ed25519"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

func TestEntriesOfAnEscrowAreSignedByWhoMay(t *testing.T) {
	g := testGenesis()
	k := testKeys(g, "k")
	payer, payee := must(k.HoldKey(keys.HoldPayer, "x")), must(k.HoldKey(keys.HoldPayee, "x"))
	inspector, stranger := must(k.HoldKey(keys.HoldPayee, "inspector")), must(k.HoldKey(keys.HoldPayee, "stranger"))
	other := must(k.HoldKey(keys.HoldPayee, "other inspector"))
	public := func(k ed25519.PrivateKey) entry.SignerKey { return must(publicOf(k)) }
	a := entry.Attested{Until: 9000, Payer: public(payer), Payee: public(payee), Statement: entry.StatementInspection, Threshold: 1, Contested: 2, WindowMillis: 500,
		Attestors: []entry.SignerKey{public(other), public(inspector)}}
	c, err := AttestedCondition(a)
	if err != nil || c.Type != entry.ConditionAttested {
		t.Fatal(err)
	}
	head := entry.Header{Ledger: g.Hash(), ExpiryMillis: 8000}
	hold := entry.HoldID{Tx: entry.ID{1}}
	report := entry.Digest([]byte("report"))
	signed := func(key entry.SignerKey, message []byte, sig [64]byte) {
		t.Helper()
		if !ed25519.Verify(key[:], message, sig[:]) {
			t.Error("the signature does not verify")
		}
	}

	e := must(Attest(head, hold, &a, report, inspector))
	if e.Attestor != 1 || e.Action != entry.Attests || e.Statement != a.Statement || e.Document != report {
		t.Errorf("%+v", e)
	}
	signed(a.Attestors[1], entry.AttestMessage(entry.IDOf(e)), e.Signature)
	w := must(Withdraw(head, hold, &a, report, inspector))
	if w.Action != entry.Withdraws || entry.IDOf(w) == entry.IDOf(e) {
		t.Errorf("%+v", w)
	}
	ch := must(Challenge(head, hold, &a, payer))
	signed(a.Payer, entry.AttestMessage(entry.IDOf(ch)), ch.Signature)
	am := Amend(head, hold, 9999)
	if missing, err := SignAmend(am, &a, payee); err != nil || !missing {
		t.Errorf("%t %v", missing, err)
	}
	if missing, err := SignAmend(am, &a, payer); err != nil || missing {
		t.Errorf("%t %v", missing, err)
	}
	signed(a.Payer, entry.AmendMessage(entry.IDOf(am)), am.Payer)
	signed(a.Payee, entry.AmendMessage(entry.IDOf(am)), am.Payee)
	r := must(Release(head, hold, &a, zk.Commitment{31: 5}, payee))
	signed(a.Payee, entry.ReleaseMessage(entry.IDOf(r)), r.Release)
	for _, e := range []entry.Entry{e, w, ch, am, r, Expire(head, hold, zk.Commitment{31: 5}), PostAttested(head, hold, zk.Commitment{31: 6})} {
		if _, err := entry.Decode(entry.Encode(e)); err != nil {
			t.Errorf("%s: %v", e.Kind(), err)
		}
	}

	fixed := a
	fixed.Document = entry.Digest([]byte("contract"))
	if e := must(Attest(head, hold, &fixed, [32]byte{}, inspector)); e.Document != fixed.Document {
		t.Error("the fixed document is not named")
	}
	plain := a
	plain.WindowMillis, plain.Contested, plain.Payer = 0, 0, entry.SignerKey{}
	bad := a
	bad.Threshold = 3
	for name, err := range map[string]error{
		string(entry.AttestorUnknown) + " stranger":      second(Attest(head, hold, &a, report, stranger)),
		string(entry.AttestationInvalid) + " nothing":    second(Attest(head, hold, &a, [32]byte{}, inspector)),
		string(entry.AttestationInvalid) + " another":    second(Attest(head, hold, &fixed, report, inspector)),
		string(entry.ChallengeInvalid) + " no window":    second(Challenge(head, hold, &plain, payer)),
		string(HoldKeyUnknown) + " challenge":            second(Challenge(head, hold, &a, payee)),
		string(HoldKeyUnknown) + " release":              second(Release(head, hold, &a, zk.Commitment{}, payer)),
		string(HoldKeyUnknown) + " amend":                second(SignAmend(am, &a, stranger)),
		string(HoldKeyUnknown) + " nobody may amend":     second(SignAmend(am, &plain, payer)),
		string(HoldKeyUnknown) + " no key":               second(Attest(head, hold, &a, report, nil)),
		string(entry.ConditionInvalid) + " three of two": second(AttestedCondition(bad)),
	} {
		code := string(CodeOf(err)) + string(entry.CodeOf(err))
		if code == "" || len(name) <= len(code) || name[:len(code)+1] != code+" " {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAGuaranteeIsCalledByItsBeneficiary(t *testing.T) {
	g := testGenesis()
	k := testKeys(g, "k")
	bank, buyer := must(k.HoldKey(keys.HoldPayer, "g")), must(k.HoldKey(keys.HoldPayee, "g"))
	a := Guarantee(5000, must(publicOf(bank)), must(publicOf(buyer)))
	if _, err := AttestedCondition(a); err != nil {
		t.Fatal(err)
	}
	head := entry.Header{Ledger: g.Hash(), ExpiryMillis: 8000}
	if e, err := Attest(head, entry.HoldID{}, &a, entry.Digest([]byte("demand")), buyer); err != nil || e.Statement != entry.StatementDemand {
		t.Fatal(err)
	}
	if _, err := Attest(head, entry.HoldID{}, &a, entry.Digest([]byte("demand")), bank); entry.CodeOf(err) != entry.AttestorUnknown {
		t.Fatalf("%v", err)
	}
	if _, err := Release(head, entry.HoldID{}, &a, zk.Commitment{}, buyer); err != nil {
		t.Fatal(err)
	}
}

func second[A any](_ A, err error) error { return err }

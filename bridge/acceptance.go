package bridge

import (
	"bytes"
	"crypto/ed25519"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Follower is a hold that will follow the decision. Its opening is given to whom it pays and to nobody else.
type Follower struct {
	Ledger     entry.GenesisHash
	Commitment zk.Commitment // of the payee's output; of Opening where there is one
	Opening    *zk.Note
}

// Acceptance takes a quote. To the provider of the last hop it means: place the deciding hold. To a provider before it: reserve your hold,
// and tell me its opening. It holds request and quote, so that a provider need remember only the quotes that were used.
type Acceptance struct {
	Request   Request
	Quote     Quote
	Followers []Follower // ascending by ledger; the one on Request.From with its opening. A provider before the last gets that one alone

	Signature [ed25519.SignatureSize]byte // by Request.Payer
}

func (a *Acceptance) body() []byte {
	b := append(make([]byte, 0, 1200), Version, byte(KindAcceptance))
	b = append(append(b, a.Request.Marshal()[2:]...), a.Quote.Marshal()[2:]...)
	b = append(b, uint8(len(a.Followers)))
	for i := range a.Followers {
		f := &a.Followers[i]
		b = append(b, f.Ledger[:]...)
		if f.Opening == nil {
			b = append(append(b, 0), f.Commitment[:]...)
		} else {
			b = putNote(append(b, 1), *f.Opening)
		}
	}
	return b
}

// Marshal gives the acceptance's bytes.
func (a *Acceptance) Marshal() []byte { return append(a.body(), a.Signature[:]...) }

// ID is SHA-256("comity/bridge-acceptance/v1" || bytes without the signature).
func (a *Acceptance) ID() ID { return hashID("comity/bridge-acceptance/v1", a.body()) }

// Sign signs the id with the payer's one-use key.
func (a *Acceptance) Sign(key ed25519.PrivateKey) {
	a.Signature = signID("comity/bridge-acceptance-sign/v1", a.ID(), key)
}

// ParseAcceptance reads what Marshal wrote, and only that. It verifies the signatures of payer and provider, and computes the commitments of
// openings.
func ParseAcceptance(b []byte) (*Acceptance, error) {
	r := open(b, KindAcceptance)
	a := &Acceptance{Request: *r.request(), Quote: *r.quote()}
	n := int(r.u8())
	if n < 1 || n > MaxHops {
		r.fail(Refuse(Malformed, "%d followers, want 1 to %d", n, MaxHops))
	}
	for i := 0; i < n && r.err == nil; i++ {
		f := Follower{Ledger: r.bytes32()}
		switch flag := r.u8(); flag {
		case 0:
			f.Commitment = zk.Commitment(r.field())
		case 1:
			if note := r.note(); r.err == nil {
				f.Opening, f.Commitment = &note, note.Commitment()
			}
		default:
			r.fail(Refuse(Malformed, "flag %d of a follower", flag))
		}
		a.Followers = append(a.Followers, f)
	}
	a.Signature = r.signature()
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := a.Validate(); err != nil {
		return nil, err
	}
	return a, nil
}

// Validate checks that request, quote, followers and signatures fit one another (B3.4).
func (a *Acceptance) Validate() error {
	if err := a.Request.Validate(); err != nil {
		return err
	}
	if err := a.Quote.Validate(); err != nil {
		return err
	}
	if a.Quote.Request != a.Request.ID() {
		return Refuse(QuoteMismatch, "the quote answers request %s", a.Quote.Request)
	}
	if a.Request.Fixed == FixedPayee && a.Quote.PayeeAmount != a.Request.Amount || a.Request.Fixed == FixedPayer && a.Quote.PayerAmount != a.Request.Amount {
		return Refuse(QuoteMismatch, "the quote changes the amount that the payer fixed")
	}
	if n := len(a.Followers); n < 1 || n > MaxHops {
		return Refuse(Malformed, "%d followers, want 1 to %d", n, MaxHops)
	}
	found := false
	for i := range a.Followers {
		f := &a.Followers[i]
		if i > 0 && bytes.Compare(a.Followers[i-1].Ledger[:], f.Ledger[:]) >= 0 {
			return Refuse(NonCanonical, "followers are not ascending by ledger")
		}
		if f.Opening != nil && f.Opening.Commitment() != f.Commitment {
			return Refuse(OpeningMismatch, "follower %s", f.Ledger)
		}
		switch {
		case f.Ledger == a.Request.Decider:
			return Refuse(FollowerMismatch, "the deciding ledger follows itself")
		case f.Ledger == a.Request.From && f.Opening == nil:
			return Refuse(FollowerMismatch, "no opening of the hold that pays the provider")
		case f.Ledger != a.Request.From && f.Opening != nil:
			return Refuse(FollowerMismatch, "an opening that is none of this provider's business")
		case f.Ledger == a.Request.From:
			found = true
			if err := checkNote(*f.Opening, a.Request.pays(&a.Quote), a.Quote.Receive.Owner); err != nil {
				return err
			}
		}
	}
	if !found {
		return Refuse(FollowerMismatch, "no hold on the ledger where the provider is paid")
	}
	if a.Request.Decider != a.Request.To && len(a.Followers) != 1 {
		return Refuse(FollowerMismatch, "a provider before the last is told of its own hold alone")
	}
	return verifyID("comity/bridge-acceptance-sign/v1", a.ID(), a.Request.Payer, a.Signature, "the acceptance")
}

// own is the follower that pays the provider.
func (a *Acceptance) own() *Follower {
	for i := range a.Followers {
		if a.Followers[i].Ledger == a.Request.From {
			return &a.Followers[i]
		}
	}
	return nil
}

// conditions are the followers as the deciding hold lists them.
func (a *Acceptance) conditions() []entry.Follower {
	out := make([]entry.Follower, len(a.Followers))
	for i, f := range a.Followers {
		out[i] = entry.Follower{Ledger: f.Ledger, Commitment: f.Commitment}
	}
	return out
}

// pays is what the provider is paid on From.
func (q *Request) pays(quote *Quote) Money {
	return Money{quote.PayerAmount, q.FromAsset, q.FromProgramme}
}

// gets is what the payee is paid on To.
func (q *Request) gets(quote *Quote) Money { return Money{quote.PayeeAmount, q.ToAsset, q.ToProgramme} }

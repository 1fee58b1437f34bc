package bridge

import (
	"bytes"
	"crypto/ed25519"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// MaxHoldMillis bounds how long a quote may keep money waiting: 31 days.
const MaxHoldMillis = 31 * 24 * 60 * 60 * 1000

// maxMillis is the last millisecond of the year 9999: sums of times below it do not overflow.
const maxMillis = 253402300799999

// Quote is a provider's signed answer to a request. It may be used once, before it expires.
type Quote struct {
	Request                  ID
	Name                     string          // of the provider, for people
	Provider                 entry.SignerKey // signs
	PayerAmount, PayeeAmount zk.Amount       // minor units
	Mid                      Ratio           // units of ToAsset for a unit of FromAsset (not minor units), before the spread
	SpreadBasisPoints        uint16          // what the provider keeps of it, in 1/10000
	Receive                  Address         // of the provider on From
	ExpiryMillis             uint64          // of the quote, Unix time
	HoldMillis               uint64          // longest time from acceptance to the expiry of the deciding hold
	FromClass, ToClass       uint64          // size classes of the two holds
	Nonce                    [16]byte

	Signature [ed25519.SignatureSize]byte
}

func (q *Quote) body() []byte {
	b := append(make([]byte, 0, 400), Version, byte(KindQuote))
	b = putText(append(b, q.Request[:]...), q.Name)
	b = put64(put64(append(b, q.Provider[:]...), uint64(q.PayerAmount)), uint64(q.PayeeAmount))
	b = put16(put64(put64(b, q.Mid.Num), q.Mid.Den), q.SpreadBasisPoints)
	b = put64(put64(putAddress(b, q.Receive), q.ExpiryMillis), q.HoldMillis)
	return append(put64(put64(b, q.FromClass), q.ToClass), q.Nonce[:]...)
}

// Marshal gives the quote's bytes.
func (q *Quote) Marshal() []byte { return append(q.body(), q.Signature[:]...) }

// ID is SHA-256("comity/bridge-quote/v1" || bytes without the signature).
func (q *Quote) ID() ID { return hashID("comity/bridge-quote/v1", q.body()) }

// Sign signs the id with the provider's key, which must be the one that the quote names.
func (q *Quote) Sign(key ed25519.PrivateKey) {
	q.Signature = signID("comity/bridge-quote-sign/v1", q.ID(), key)
}

// ParseQuote reads what Marshal wrote, and only that. It verifies the signature.
func ParseQuote(b []byte) (*Quote, error) {
	r := open(b, KindQuote)
	q := r.quote()
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return q, nil
}

func (r *reader) quote() *Quote {
	q := &Quote{Request: r.bytes32(), Name: r.text("name", MaxName), Provider: r.key(), PayerAmount: zk.Amount(r.u64()), PayeeAmount: zk.Amount(r.u64()),
		Mid: Ratio{r.u64(), r.u64()}, SpreadBasisPoints: r.u16(), Receive: r.address(), ExpiryMillis: r.u64(), HoldMillis: r.u64(),
		FromClass: r.u64(), ToClass: r.u64()}
	copy(q.Nonce[:], r.take(len(q.Nonce)))
	q.Signature = r.signature()
	return q
}

// Validate checks what the quote alone can tell, its signature included.
func (q *Quote) Validate() error {
	switch {
	case len(q.Name) > MaxName || !printable(q.Name):
		return Refuse(Malformed, "name: 1 to %d bytes of printable text", MaxName)
	case q.PayerAmount == 0 || q.PayeeAmount == 0:
		return Refuse(AmountZero, "a quote of %d for %d", q.PayeeAmount, q.PayerAmount)
	case q.Mid.Num == 0 || q.Mid.Den == 0 || q.SpreadBasisPoints >= basisPoints:
		return Refuse(Malformed, "rate %d/%d with a spread of %d basis points", q.Mid.Num, q.Mid.Den, q.SpreadBasisPoints)
	case q.ExpiryMillis > maxMillis:
		return Refuse(Malformed, "expiry %d", q.ExpiryMillis)
	case q.HoldMillis == 0 || q.HoldMillis > MaxHoldMillis:
		return Refuse(Malformed, "a hold of %d ms, want 1 to %d", q.HoldMillis, uint64(MaxHoldMillis))
	case uint64(q.PayerAmount) > q.FromClass || uint64(q.PayeeAmount) > q.ToClass || q.FromClass == entry.LocalSizeClass || q.ToClass == entry.LocalSizeClass:
		return Refuse(SizeClassMissing, "classes %d and %d for %d and %d", q.FromClass, q.ToClass, q.PayerAmount, q.PayeeAmount)
	}
	if err := checkKey(q.Provider); err != nil {
		return err
	}
	if err := q.Receive.Check(); err != nil {
		return err
	}
	return verifyID("comity/bridge-quote-sign/v1", q.ID(), q.Provider, q.Signature, "the quote")
}

// Check is what a payer does with a quote (B3.2): it answers the request, and its amounts follow from the rate that it shows by the rounding
// rule. The decimals are those of the two assets.
func (q *Quote) Check(req *Request, fromDecimals, toDecimals uint8) error {
	if q.Request != req.ID() {
		return Refuse(QuoteMismatch, "the quote answers request %s", q.Request)
	}
	rate, err := MinorRate(q.Mid, q.SpreadBasisPoints, fromDecimals, toDecimals)
	if err != nil {
		return err
	}
	payer, payee, err := rate.Amounts(req.Fixed, req.Amount)
	if err != nil {
		return err
	}
	if payer != q.PayerAmount || payee != q.PayeeAmount {
		return Refuse(QuoteMismatch, "the rate shown gives %d for %d, the quote says %d for %d", payee, payer, q.PayeeAmount, q.PayerAmount)
	}
	return nil
}

// Better tells whether quote a of one request is to be preferred over b: less to pay, or more to get; then the later expiry, then the
// smaller id of the provider's key (B3.3).
func Better(fixed Fixed, a, b *Quote) bool {
	switch {
	case fixed == FixedPayee && a.PayerAmount != b.PayerAmount:
		return a.PayerAmount < b.PayerAmount
	case fixed == FixedPayer && a.PayeeAmount != b.PayeeAmount:
		return a.PayeeAmount > b.PayeeAmount
	case a.ExpiryMillis != b.ExpiryMillis:
		return a.ExpiryMillis > b.ExpiryMillis
	case a.Provider != b.Provider:
		return bytes.Compare(a.Provider[:], b.Provider[:]) < 0
	}
	return bytes.Compare(a.Nonce[:], b.Nonce[:]) < 0
}

// Best gives the index of the best quote that can be taken at a time, Unix milliseconds, or no_quote with the reason of each.
func Best(req *Request, fromDecimals, toDecimals uint8, nowMillis uint64, quotes []*Quote) (int, error) {
	best, reasons := -1, ""
	for i, q := range quotes {
		err := q.Check(req, fromDecimals, toDecimals)
		if err == nil && nowMillis >= q.ExpiryMillis {
			err = Refuse(QuoteExpired, "at %d", q.ExpiryMillis)
		}
		switch {
		case err != nil:
			reasons += "; " + q.Name + ": " + err.Error()
		case best < 0 || Better(req.Fixed, q, quotes[best]):
			best = i
		}
	}
	if best < 0 {
		return 0, Refuse(NoQuote, "of %d quotes%s", len(quotes), reasons)
	}
	return best, nil
}

func signID(tag string, id ID, key ed25519.PrivateKey) (out [ed25519.SignatureSize]byte) {
	copy(out[:], ed25519.Sign(key, append([]byte(tag), id[:]...)))
	return out
}

func verifyID(tag string, id ID, key entry.SignerKey, sig [ed25519.SignatureSize]byte, what string) error {
	if !ed25519.Verify(key.Public(), append([]byte(tag), id[:]...), sig[:]) {
		return Refuse(SignatureInvalid, "%s is not signed by key %s", what, key)
	}
	return nil
}

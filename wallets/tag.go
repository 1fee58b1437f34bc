package wallets

import "crypto/sha256"

// Tag marks the wallet's own outputs of a payment with a hash of the payment's id. It travels in the memo of the change, which only the
// wallet can read, so that a wallet restored from an old copy of its folder still sees that an id was paid.
type Tag [16]byte

// tagMark begins the memo of a tagged output. It is a control character, which no reference holds.
const tagMark = 0x01

// TagOf is the tag of a payment id.
func TagOf(paymentID string) (t Tag) {
	h := sha256.Sum256([]byte("comity/payment-id/v1\x00" + paymentID))
	copy(t[:], h[:])
	return t
}

func (t Tag) memo() []byte { return append([]byte{tagMark}, t[:]...) }

func tagOf(memo []byte) (t Tag, ok bool) {
	if len(memo) < 1+len(t) || memo[0] != tagMark {
		return t, false
	}
	copy(t[:], memo[1:])
	return t, true
}

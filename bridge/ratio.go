package bridge

import (
	"math/bits"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// basisPoints is one whole.
const basisPoints = 10_000

// Ratio is an exact fraction.
type Ratio struct{ Num, Den uint64 }

// MinorRate is how many minor units of the payee's asset a minor unit of the payer's becomes: mid * (10000 - spread) / 10000 *
// 10^toDecimals / 10^fromDecimals, exactly and in lowest terms. It refuses rate_overflow when a term does not fit 64 bits (B2.2).
func MinorRate(mid Ratio, spread uint16, fromDecimals, toDecimals uint8) (Ratio, error) {
	if mid.Num == 0 || mid.Den == 0 || spread >= basisPoints || fromDecimals > entry.MaxDecimals || toDecimals > entry.MaxDecimals {
		return Ratio{}, Refuse(RateOverflow, "%d/%d, spread %d, decimals %d and %d", mid.Num, mid.Den, spread, fromDecimals, toDecimals)
	}
	num := []uint64{mid.Num, basisPoints - uint64(spread), 1}
	den := []uint64{mid.Den, basisPoints, 1}
	if toDecimals >= fromDecimals {
		num[2] = pow10(toDecimals - fromDecimals)
	} else {
		den[2] = pow10(fromDecimals - toDecimals)
	}
	for i := range num {
		for j := range den {
			g := gcd(num[i], den[j])
			num[i], den[j] = num[i]/g, den[j]/g
		}
	}
	n, ok1 := product(num)
	d, ok2 := product(den)
	if !ok1 || !ok2 {
		return Ratio{}, Refuse(RateOverflow, "%d/%d with %d and %d decimals", mid.Num, mid.Den, fromDecimals, toDecimals)
	}
	return Ratio{n, d}, nil
}

// PayerPays is what the payer pays for a fixed amount of the payee: the least amount that is worth it, rounded up (B2.3).
func (r Ratio) PayerPays(payee zk.Amount) (zk.Amount, error) { return scale(payee, r.Den, r.Num, true) }

// PayeeGets is what the payee gets for a fixed amount of the payer: rounded down, so less than one minor unit below the exact ratio (B2.3).
func (r Ratio) PayeeGets(payer zk.Amount) (zk.Amount, error) {
	return scale(payer, r.Num, r.Den, false)
}

// Amounts gives both amounts from the fixed one.
func (r Ratio) Amounts(fixed Fixed, amount zk.Amount) (payer, payee zk.Amount, err error) {
	payer, payee = amount, amount
	if fixed == FixedPayee {
		payer, err = r.PayerPays(amount)
	} else {
		payee, err = r.PayeeGets(amount)
	}
	return payer, payee, err
}

// scale is amount * num / den over a product of 128 bits, rounded up or down.
func scale(amount zk.Amount, num, den uint64, up bool) (zk.Amount, error) {
	if amount == 0 {
		return 0, Refuse(AmountZero, "the amount is zero")
	}
	hi, lo := bits.Mul64(uint64(amount), num)
	if hi >= den {
		return 0, Refuse(AmountTooLarge, "%d * %d / %d does not fit 64 bits", amount, num, den)
	}
	q, rest := bits.Div64(hi, lo, den)
	if up && rest != 0 {
		if q++; q == 0 {
			return 0, Refuse(AmountTooLarge, "%d * %d / %d does not fit 64 bits", amount, num, den)
		}
	}
	if q == 0 {
		return 0, Refuse(AmountZero, "%d * %d / %d is less than a minor unit", amount, num, den)
	}
	return zk.Amount(q), nil
}

func pow10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func product(factors []uint64) (uint64, bool) {
	p := uint64(1)
	for _, f := range factors {
		hi, lo := bits.Mul64(p, f)
		if hi != 0 {
			return 0, false
		}
		p = lo
	}
	return p, true
}

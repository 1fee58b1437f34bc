package zk

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Amount is money in minor units of its asset. There are no negative amounts and no fractions of a minor unit.
type Amount uint64

// AssetID names an asset of one ledger, by the asset table of its genesis.
type AssetID uint32

// ProgrammeID names an earmark; 0 is unrestricted money.
type ProgrammeID uint64

// MaxDecimals is the largest number of decimals an asset can have: 10^19 is the last power of ten in 64 bits.
const MaxDecimals = 19

// Why a text is not an amount.
var (
	ErrAmountSyntax   = errors.New("not an amount: want digits, and for a fraction one point and more digits")
	ErrAmountDecimals = errors.New("more decimals than the asset has")
	ErrAmountRange    = errors.New("amount does not fit 64 bits of minor units")
)

// ParseAmount reads an amount in major units, "1250.00" with two decimals being 125000 minor units. It takes plain digits with
// at most one point: no sign, no grouping, no exponent, no spaces, no superfluous leading zero, because a payment file that has
// them was made for another reader. Fewer decimals than the asset has are filled up; more are refused even when zero.
func ParseAmount(text string, decimals int) (Amount, error) {
	if decimals < 0 || decimals > MaxDecimals {
		return 0, fmt.Errorf("%w: %d decimals", ErrAmountDecimals, decimals)
	}
	whole, frac, point := strings.Cut(text, ".")
	if !allDigits(whole) || point && !allDigits(frac) || len(whole) > 1 && whole[0] == '0' {
		return 0, fmt.Errorf("%w: %.40q", ErrAmountSyntax, text)
	}
	if len(frac) > decimals {
		return 0, fmt.Errorf("%w: %.40q has %d, the asset %d", ErrAmountDecimals, text, len(frac), decimals)
	}
	v, err := strconv.ParseUint(whole+frac+strings.Repeat("0", decimals-len(frac)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %.40q", ErrAmountRange, text)
	}
	return Amount(v), nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Format writes the amount in major units with exactly that many decimals: the inverse of ParseAmount.
func (a Amount) Format(decimals int) string {
	digits := strconv.FormatUint(uint64(a), 10)
	if decimals <= 0 {
		return digits
	}
	if short := decimals + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	at := len(digits) - decimals
	return digits[:at] + "." + digits[at:]
}

// Plus adds, and reports false instead of wrapping around.
func (a Amount) Plus(b Amount) (Amount, bool) {
	sum := a + b
	return sum, sum >= a
}

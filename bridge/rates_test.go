package bridge

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

const goodRates = `from,to,numerator,denominator,spread_bp,minimum,maximum,hold_seconds,quote_seconds
# Aurelia's currency against those of its neighbours
aurelia/AUR,borealis/BOR,2,1,0,0.001,1000000.000,60,30
borealis/BOR,aurelia/AUR,10,21,25,1.00,1000.00,60,30

aurelia/AUR,cordelia/COR,150,1,0,1,100000,60,30
cordelia/COR,borealis/BOX,3,2,10,0.000000000000000001,1,60,30
`

func TestRatesFileIsRead(t *testing.T) {
	r, err := ParseRates([]byte(goodRates), nations)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.List()) != 4 {
		t.Fatal(len(r.List()))
	}
	rate, err := r.Find(Pair{Account{borealis.Hash, 1}, Account{aurelia.Hash, 1}})
	if err != nil {
		t.Fatal(err)
	}
	if rate.Mid != (Ratio{10, 21}) || rate.SpreadBasisPoints != 25 || rate.Minimum != 100 || rate.Maximum != 100_000 || rate.HoldMillis != 60_000 ||
		rate.QuoteMillis != 30_000 || rate.Minor != (Ratio{19, 400}) { // 10/21 * 9975/10000 / 10 in lowest terms
		t.Fatalf("%+v", rate)
	}
	if _, err := r.Find(Pair{Account{aurelia.Hash, 1}, Account{borealis.Hash, 2}}); CodeOf(err) != RateUnknown {
		t.Error(err)
	}
	if _, err := (*Rates)(nil).Find(rate.Pair); CodeOf(err) != RateUnknown {
		t.Error(err)
	}
}

func TestFalseRatesFilesAreRefusedWithTheirLines(t *testing.T) {
	good := "aurelia/AUR,borealis/BOR,2,1,0,0.001,1000000.000,60,30"
	for name, tc := range map[string]struct {
		line string
		want Code
	}{
		"unknown ledger":       {"atlantis/AUR,borealis/BOR,2,1,0,1,2,60,30", LedgerUnknown},
		"unknown currency":     {"aurelia/XXX,borealis/BOR,2,1,0,1,2,60,30", UnknownAsset},
		"no ledger":            {"AUR,borealis/BOR,2,1,0,1,2,60,30", RatesInvalid},
		"one ledger":           {"borealis/BOX,borealis/BOR,2,1,0,1,2,60,30", RatesInvalid},
		"zero numerator":       {"aurelia/AUR,cordelia/COR,0,1,0,1,2,60,30", RatesInvalid},
		"zero denominator":     {"aurelia/AUR,cordelia/COR,1,0,0,1,2,60,30", RatesInvalid},
		"decimal numerator":    {"aurelia/AUR,cordelia/COR,1.5,1,0,1,2,60,30", RatesInvalid},
		"negative":             {"aurelia/AUR,cordelia/COR,-1,1,0,1,2,60,30", RatesInvalid},
		"leading zero":         {"aurelia/AUR,cordelia/COR,01,1,0,1,2,60,30", RatesInvalid},
		"sign":                 {"aurelia/AUR,cordelia/COR,+1,1,0,1,2,60,30", RatesInvalid},
		"numerator of 65 bits": {"aurelia/AUR,cordelia/COR,18446744073709551616,1,0,1,2,60,30", RatesInvalid},
		"whole spread":         {"aurelia/AUR,cordelia/COR,1,1,10000,1,2,60,30", RatesInvalid},
		"minimum zero":         {"aurelia/AUR,cordelia/COR,1,1,0,0,2,60,30", RatesInvalid},
		"more decimals":        {"aurelia/AUR,cordelia/COR,1,1,0,1.5,2,60,30", RatesInvalid},
		"minimum above":        {"aurelia/AUR,cordelia/COR,1,1,0,3,2,60,30", RatesInvalid},
		"no hold":              {"aurelia/AUR,cordelia/COR,1,1,0,1,2,0,30", RatesInvalid},
		"hold for a year":      {"aurelia/AUR,cordelia/COR,1,1,0,1,2,31536000,30", RatesInvalid},
		"no quote":             {"aurelia/AUR,cordelia/COR,1,1,0,1,2,60,0", RatesInvalid},
		"a column less":        {"aurelia/AUR,cordelia/COR,1,1,0,1,2,60", RatesInvalid},
		"a column more":        {"aurelia/AUR,cordelia/COR,1,1,0,1,2,60,30,", RatesInvalid},
		"twice":                {"aurelia/AUR,borealis/BOR,3,1,0,1,2,60,30", RatesInvalid},
		"bad quotes":           {`aurelia/AUR,"cordelia/COR,1`, RatesInvalid},
		"rate overflows":       {"cordelia/COR,borealis/BOX,18446744073709551615,7,0,1,2,60,30", RateOverflow},
		"maximum overflows":    {"aurelia/AUR,cordelia/COR,1,1000,0,1,18446744073709551615,60,30", AmountTooLarge},
	} {
		_, err := ParseRates([]byte("# comment\n"+good+"\n"+tc.line+"\n"), nations)
		var bad *RatesError
		if !errors.As(err, &bad) || CodeOf(err) != RatesInvalid || bad.RefusalCode() != string(RatesInvalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(bad.Lines) != 1 || bad.Lines[0].Line != 3 || bad.Lines[0].Code != tc.want || !strings.Contains(bad.Error(), "line 3: ") {
			t.Errorf("%s: %+v, want %s", name, bad.Lines, tc.want)
		}
	}
	_, err := ParseRates([]byte("x\ny\n"+good), nations)
	var bad *RatesError
	if !errors.As(err, &bad) || len(bad.Lines) != 2 {
		t.Errorf("not every bad line is listed: %v", err)
	}
	for _, file := range []string{"", "# nothing\n", strings.Join(RateColumns, ",") + "\n", strings.Repeat("#", MaxRatesFile+1)} {
		if _, err := ParseRates([]byte(file), nations); CodeOf(err) != RatesInvalid {
			t.Errorf("%.20q: %v", file, err)
		}
	}
}

// exact gives payee's minor units for a payer's, as a fraction, straight from the definition.
func exact(mid Ratio, spread uint16, from, to uint8) *big.Rat {
	u := func(v uint64) *big.Int { return new(big.Int).SetUint64(v) }
	ten := func(n uint8) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }
	r := new(big.Rat).SetFrac(u(mid.Num), u(mid.Den))
	r.Mul(r, big.NewRat(basisPoints-int64(spread), basisPoints))
	return r.Mul(r, new(big.Rat).SetFrac(ten(to), ten(from)))
}

// checkRounding holds the rounding rule (B2.3) against exact fractions for one amount.
func checkRounding(t *testing.T, mid Ratio, spread uint16, from, to uint8, amount zk.Amount) {
	t.Helper()
	want := exact(mid, spread, from, to)
	rate, err := MinorRate(mid, spread, from, to)
	fits := want.Num().IsUint64() && want.Denom().IsUint64()
	if (err == nil) != fits || err != nil && CodeOf(err) != RateOverflow {
		t.Fatalf("%v %d %d %d: %v, fits %t", mid, spread, from, to, err, fits)
	}
	if err != nil {
		return
	}
	if want.Num().Uint64() != rate.Num || want.Denom().Uint64() != rate.Den {
		t.Fatalf("%v, want %v", rate, want)
	}
	a := new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(amount)))
	limit := new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 64))
	one := big.NewRat(1, 1)

	// Payer fixed: the payee gets what is exact, less a part of one minor unit.
	payee, err := rate.PayeeGets(amount)
	ideal := new(big.Rat).Mul(a, want)
	switch {
	case ideal.Cmp(limit) >= 0:
		if CodeOf(err) != AmountTooLarge {
			t.Fatalf("%d at %v: %v, %v", amount, rate, payee, err)
		}
	case ideal.Cmp(one) < 0:
		if CodeOf(err) != AmountZero {
			t.Fatalf("%d at %v: %v, %v", amount, rate, payee, err)
		}
	default:
		got := new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(payee)))
		short := new(big.Rat).Sub(ideal, got)
		if err != nil || short.Sign() < 0 || short.Cmp(one) >= 0 {
			t.Fatalf("%d at %v: the payee gets %d, short of %v: %v", amount, rate, payee, short, err)
		}
	}

	// Payee fixed: the payer pays what is exact, and a part of one minor unit more.
	payer, err := rate.PayerPays(amount)
	ideal = new(big.Rat).Quo(a, want)
	if up := new(big.Rat).Sub(limit, one); ideal.Cmp(up) > 0 {
		if CodeOf(err) != AmountTooLarge {
			t.Fatalf("%d at %v: %v, %v", amount, rate, payer, err)
		}
		return
	}
	over := new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(payer)))
	over.Sub(over, ideal)
	if err != nil || over.Sign() < 0 || over.Cmp(one) >= 0 {
		t.Fatalf("%d at %v: the payer pays %d, %v over: %v", amount, rate, payer, over, err)
	}
	// What the payer then pays buys the payee's amount by the same rule.
	if back, err := rate.PayeeGets(payer); err == nil && back < amount {
		t.Fatalf("%d at %v: %d buys only %d", amount, rate, payer, back)
	}
}

func TestRoundingAtEveryEdge(t *testing.T) {
	edges := []uint64{1, 2, 3, 7, 9, 10, 99, 100, 999, 1000, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}
	decimals := []uint8{0, 2, 3, 8, 18}
	for _, num := range edges {
		for _, den := range edges {
			for _, spread := range []uint16{0, 1, 9999} {
				for _, from := range decimals {
					for _, to := range decimals {
						for _, amount := range []zk.Amount{1, 999, 1000, 1 << 63, math.MaxUint64} {
							checkRounding(t, Ratio{num, den}, spread, from, to, amount)
						}
					}
				}
			}
		}
	}
	for _, bad := range []struct {
		mid      Ratio
		spread   uint16
		from, to uint8
	}{{Ratio{0, 1}, 0, 0, 0}, {Ratio{1, 0}, 0, 0, 0}, {Ratio{1, 1}, 10_000, 0, 0}, {Ratio{1, 1}, 0, 19, 0}, {Ratio{1, 1}, 0, 0, 19}} {
		if _, err := MinorRate(bad.mid, bad.spread, bad.from, bad.to); CodeOf(err) != RateOverflow {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := (Ratio{1, 1}).PayeeGets(0); CodeOf(err) != AmountZero {
		t.Error(err)
	}
}

func TestRoundingOfRandomRates(t *testing.T) {
	const seed = 20260101
	r := rand.New(rand.NewPCG(seed, 0))
	random := func() uint64 { return max(1, r.Uint64()>>r.IntN(64)) }
	for range 20_000 {
		checkRounding(t, Ratio{random(), random()}, uint16(r.IntN(basisPoints)), uint8(r.IntN(19)), uint8(r.IntN(19)), zk.Amount(random()))
	}
}

func TestRoundingByHand(t *testing.T) {
	zero := must(MinorRate(Ratio{150, 1}, 0, 2, 0)) // 1.00 AUR = 150 COR
	three := must(MinorRate(Ratio{1, 3}, 30, 0, 3)) // 1 COR = 0.333.. BOR less 0.3%
	for name, tc := range map[string]struct {
		got  zk.Amount
		want zk.Amount
	}{
		"0.01 AUR buy 1 COR, not 1.5":             {must(zero.PayeeGets(1)), 1},
		"0.02 AUR buy 3 COR":                      {must(zero.PayeeGets(2)), 3},
		"1 COR costs 0.01 AUR":                    {must(zero.PayerPays(1)), 1},
		"2 COR cost 0.02 AUR, not 0.0133":         {must(zero.PayerPays(2)), 2},
		"1 COR buys 0.332 BOR":                    {must(three.PayeeGets(1)), 332},
		"3 COR buy 0.997 BOR":                     {must(three.PayeeGets(3)), 997},
		"0.001 BOR costs a whole COR":             {must(three.PayerPays(1)), 1},
		"1.000 BOR costs 4 COR, since 3 are less": {must(three.PayerPays(1000)), 4},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %d", name, tc.got)
		}
	}
}

func FuzzRates(f *testing.F) {
	f.Add([]byte(goodRates))
	f.Add([]byte("\xef\xbb\xbfaurelia/AUR,borealis/BOX,2,1,0,1,1,60,30"))
	f.Add([]byte("\"\n,,,,,,,,"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := ParseRates(file, nations)
		if err != nil {
			var bad *RatesError
			if !errors.As(err, &bad) || len(bad.Lines) == 0 || CodeOf(err) != RatesInvalid {
				t.Fatal(err)
			}
			return
		}
		for _, rate := range r.List() {
			if got, err := r.Find(rate.Pair); err != nil || got != rate || rate.Minimum == 0 || rate.Minimum > rate.Maximum || rate.QuoteMillis == 0 {
				t.Fatalf("%+v, %v", rate, err)
			}
			if _, err := rate.Minor.PayerPays(rate.Maximum); err != nil {
				t.Fatal(err)
			}
		}
	})
}

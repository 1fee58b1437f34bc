package bridge

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

const (
	// MaxRatesFile is the longest rates file in bytes.
	MaxRatesFile = 1 << 20
	// MaxRates is the most rates of one file.
	MaxRates = 1000
)

// RateColumns are the columns of a rates file, in order.
var RateColumns = []string{"from", "to", "numerator", "denominator", "spread_bp", "minimum", "maximum", "hold_seconds", "quote_seconds"}

// Ledger is what a provider or payer knows of a ledger beforehand.
type Ledger struct {
	Name   string // one word, as files and commands call it
	Hash   entry.GenesisHash
	Assets []entry.Asset
}

// Asset finds an asset by its id.
func (l *Ledger) Asset(id zk.AssetID) (entry.Asset, error) {
	for _, a := range l.Assets {
		if a.ID == id {
			return a, nil
		}
	}
	return entry.Asset{}, Refuse(UnknownAsset, "%s lists no asset %d", l.Name, id)
}

// Account is an asset of a ledger.
type Account struct {
	Ledger entry.GenesisHash `json:"ledger"`
	Asset  zk.AssetID        `json:"asset"`
}

// Pair is one direction of one pair of currencies.
type Pair struct{ From, To Account }

// Rate is one line of a rates file.
type Rate struct {
	Pair
	Mid                      Ratio // units of To for a unit of From
	SpreadBasisPoints        uint16
	Minimum, Maximum         zk.Amount // what the payee may get, minor units
	HoldMillis, QuoteMillis  uint64
	Minor                    Ratio // minor units of To for a minor unit of From, after the spread
	FromDecimals, ToDecimals uint8
	FromCode, ToCode         string // of the assets, for people
	FromLedger, ToLedger     string // names, for people
}

// Rates is a parsed rates file.
type Rates struct {
	list  []Rate
	index map[Pair]int
}

// Find gives the rate of a pair, or rate_unknown.
func (r *Rates) Find(p Pair) (Rate, error) {
	if r != nil {
		if i, ok := r.index[p]; ok {
			return r.list[i], nil
		}
	}
	return Rate{}, Refuse(RateUnknown, "asset %d of %s for asset %d of %s", p.From.Asset, p.From.Ledger, p.To.Asset, p.To.Ledger)
}

// List gives the rates in the order of the file.
func (r *Rates) List() []Rate {
	if r == nil {
		return nil
	}
	return slices.Clone(r.list)
}

// BadLine is one line of a rates file that cannot be used.
type BadLine struct {
	Line   int    `json:"line"` // from 1
	Code   Code   `json:"code"`
	Reason string `json:"reason"`
}

// RatesError lists every bad line of a refused file. It is a Refusal with code RatesInvalid.
type RatesError struct{ Lines []BadLine }

// Error lists the lines, one below the other.
func (e *RatesError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d bad lines, no rate is used", RatesInvalid, len(e.Lines))
	for _, l := range e.Lines {
		fmt.Fprintf(&b, "\n  line %d: %s", l.Line, l.Reason)
	}
	return b.String()
}

// RefusalCode is RatesInvalid's name.
func (e *RatesError) RefusalCode() string { return string(RatesInvalid) }

// Unwrap makes CodeOf see the refusal.
func (e *RatesError) Unwrap() error { return &Refusal{Code: RatesInvalid} }

// ParseRates reads a rates file (B2.1): comma-separated lines with the columns of RateColumns, "#" begins a line of comment, and a first line
// that names the columns is skipped. An asset is written ledger/CODE. The whole file is checked before any rate is used: if a line is bad, the
// error is a *RatesError that lists all of them.
func ParseRates(file []byte, ledgers []Ledger) (*Rates, error) {
	if len(file) > MaxRatesFile {
		return nil, &RatesError{[]BadLine{{0, Oversize, fmt.Sprintf("%d bytes, the limit is %d", len(file), MaxRatesFile)}}}
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))))
	r.FieldsPerRecord = -1
	r.Comment = '#'
	out := &Rates{index: map[Pair]int{}}
	lines := map[Pair]int{}
	var bad []BadLine
	refuse := func(line int, err error) {
		code := CodeOf(err)
		if code == "" {
			code = RatesInvalid
		}
		bad = append(bad, BadLine{line, code, err.Error()})
	}
	for first := true; ; first = false {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			var p *csv.ParseError
			if !errors.As(err, &p) {
				return nil, fmt.Errorf("read rates: %w", err)
			}
			refuse(p.StartLine, p.Err)
			continue
		}
		line, _ := r.FieldPos(0)
		if first && slices.Equal(record, RateColumns) {
			continue
		}
		rate, err := parseRate(record, ledgers)
		if err != nil {
			refuse(line, err)
			continue
		}
		if at, twice := lines[rate.Pair]; twice {
			refuse(line, Refuse(RatesInvalid, "%s for %s stands in line %d already", record[0], record[1], at))
			continue
		}
		if len(out.list) == MaxRates {
			refuse(line, Refuse(Oversize, "more than %d rates", MaxRates))
			break
		}
		lines[rate.Pair], out.index[rate.Pair] = line, len(out.list)
		out.list = append(out.list, *rate)
	}
	if len(bad) == 0 && len(out.list) == 0 {
		refuse(0, Refuse(RatesInvalid, "no rate"))
	}
	if len(bad) > 0 {
		return nil, &RatesError{bad}
	}
	return out, nil
}

func parseRate(record []string, ledgers []Ledger) (*Rate, error) {
	if len(record) != len(RateColumns) {
		return nil, Refuse(RatesInvalid, "%d columns, want %d: %s", len(record), len(RateColumns), strings.Join(RateColumns, ","))
	}
	from, fromLedger, err := findAsset(record[0], ledgers)
	if err != nil {
		return nil, err
	}
	to, toLedger, err := findAsset(record[1], ledgers)
	if err != nil {
		return nil, err
	}
	if fromLedger.Hash == toLedger.Hash {
		return nil, Refuse(RatesInvalid, "both currencies are of %s", fromLedger.Name)
	}
	rate := &Rate{Pair: Pair{Account{fromLedger.Hash, from.ID}, Account{toLedger.Hash, to.ID}}, FromDecimals: from.Decimals, ToDecimals: to.Decimals,
		FromCode: from.Code, ToCode: to.Code, FromLedger: fromLedger.Name, ToLedger: toLedger.Name}
	number := func(i int, low, high uint64) uint64 {
		v, e := strconv.ParseUint(record[i], 10, 64)
		if e == nil && (strconv.FormatUint(v, 10) != record[i] || v < low || v > high) {
			e = errors.New("out of range, or not in its one form")
		}
		if e != nil && err == nil {
			err = Refuse(RatesInvalid, "%s %.40q: want an integer from %d to %d", RateColumns[i], record[i], low, high)
		}
		return v
	}
	amount := func(i int) zk.Amount {
		v, e := zk.ParseAmount(record[i], int(to.Decimals))
		if e == nil && v == 0 {
			e = errors.New("zero")
		}
		if e != nil && err == nil {
			err = Refuse(RatesInvalid, "%s: %v", RateColumns[i], e)
		}
		return v
	}
	rate.Mid = Ratio{number(2, 1, 1<<64-1), number(3, 1, 1<<64-1)}
	rate.SpreadBasisPoints = uint16(number(4, 0, basisPoints-1))
	rate.Minimum, rate.Maximum = amount(5), amount(6)
	rate.HoldMillis = number(7, 1, MaxHoldMillis/1000) * 1000
	rate.QuoteMillis = number(8, 1, MaxHoldMillis/1000) * 1000
	if err != nil {
		return nil, err
	}
	if rate.Minimum > rate.Maximum {
		return nil, Refuse(RatesInvalid, "the minimum is above the maximum")
	}
	if rate.Minor, err = MinorRate(rate.Mid, rate.SpreadBasisPoints, from.Decimals, to.Decimals); err != nil {
		return nil, err
	}
	for _, edge := range []zk.Amount{rate.Minimum, rate.Maximum} {
		if _, err := rate.Minor.PayerPays(edge); err != nil {
			return nil, err
		}
	}
	return rate, nil
}

func findAsset(text string, ledgers []Ledger) (entry.Asset, *Ledger, error) {
	name, code, ok := strings.Cut(text, "/")
	if !ok {
		return entry.Asset{}, nil, Refuse(RatesInvalid, "%.40q: want ledger/CODE", text)
	}
	for i := range ledgers {
		if ledgers[i].Name != name {
			continue
		}
		for _, a := range ledgers[i].Assets {
			if a.Code == code {
				return a, &ledgers[i], nil
			}
		}
		return entry.Asset{}, nil, Refuse(UnknownAsset, "%s lists no currency %.40q", name, code)
	}
	return entry.Asset{}, nil, Refuse(LedgerUnknown, "%.40q is no ledger that this provider serves", name)
}

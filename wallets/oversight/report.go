package oversight

import (
	"cmp"
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"strings"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Sum adds up amounts of one asset. It has 128 bits: turnover is not bounded by supply.
type Sum struct{ hi, lo uint64 }

func (s *Sum) add(v zk.Amount) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, uint64(v), 0)
	s.hi += carry
}

func (s *Sum) sum(t Sum) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, t.lo, 0)
	s.hi += t.hi + carry
}

func (s *Sum) sub(v zk.Amount) {
	var borrow uint64
	s.lo, borrow = bits.Sub64(s.lo, uint64(v), 0)
	s.hi -= borrow
}

// String gives minor units in decimal.
func (s Sum) String() string {
	if s.hi == 0 {
		return fmt.Sprint(s.lo)
	}
	n := new(big.Int).Lsh(new(big.Int).SetUint64(s.hi), 64)
	return n.Or(n, new(big.Int).SetUint64(s.lo)).String()
}

// MarshalText is String: amounts in JSON are strings of minor units.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Format gives the amount with decimals, and no separators.
func (s Sum) Format(decimals int) string {
	digits := s.String()
	if decimals == 0 {
		return digits
	}
	if pad := decimals + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	return digits[:len(digits)-decimals] + "." + digits[len(digits)-decimals:]
}

// By says what the rows of a report are.
type By string

// The kinds of rows.
const (
	// ByProgramme: what is paid counts for the programme of the inputs, what is received for that of the output.
	ByProgramme By = "programme"
	// ByAsset: one row per asset.
	ByAsset By = "asset"
	// ByWallet: what is issued, redeemed and paid counts for the sender, what is received for the payee.
	ByWallet By = "wallet"
	// ByDay: one row per UTC day of ledger time and asset.
	ByDay By = "day"
)

// ParseBy reads the name of a kind of rows.
func ParseBy(text string) (By, error) {
	switch by := By(text); by {
	case ByProgramme, ByAsset, ByWallet, ByDay:
		return by, nil
	}
	return "", fmt.Errorf("rows by %q: want programme, asset, wallet or day", text)
}

// Row is the total of one key in one asset.
type Row struct {
	Key      string `json:"key"`             // programme number, asset code, owner or day
	Label    string `json:"label,omitempty"` // a programme's name, or a caller's name for a wallet
	Asset    string `json:"asset"`           // its code
	Decimals int    `json:"decimals"`
	Issued   Sum    `json:"issued"`
	Redeemed Sum    `json:"redeemed"`
	Paid     Sum    `json:"paid"`     // value of outputs to others than the sender
	Payments int    `json:"payments"` // their number
	Received Sum    `json:"received"`
	Receipts int    `json:"receipts"` // number of payments received
	Held     Sum    `json:"held"`     // value that waits in open holds for others than the sender; not in paid
	Holds    int    `json:"holds"`    // their number
}

// Report totals the legs that opened, and says over which range of the log and what was left out.
type Report struct {
	Ledger       string     `json:"ledger"`
	Genesis      string     `json:"genesis"`
	From         uint64     `json:"from"` // first entry, always 0
	Size         uint64     `json:"size"` // entries read
	Root         string     `json:"root"` // of the log at that size, hexadecimal
	Height       uint64     `json:"height"`
	FinalSize    uint64     `json:"final_size"` // entries under a cosigned checkpoint; later ones are in the totals but not final
	Transactions int        `json:"transactions"`
	Legs         int        `json:"legs"`
	Payments     int        `json:"payments"`
	Opened       int        `json:"opened"`
	Unreadable   int        `json:"unreadable"`
	Mismatches   []Mismatch `json:"mismatches"`
	By           By         `json:"by"`
	Rows         []Row      `json:"rows"`
}

type rowKey struct {
	order string // sorts as the key should
	asset zk.AssetID
}

// Report totals what was opened. Issued and redeemed amounts are public, so those of legs that did not open count as well, except by wallet.
func (a *Audit) Report(by By) *Report {
	opened, unread, payments := a.counts()
	r := &Report{Ledger: a.Genesis.Name, Genesis: a.Genesis.Hash().String(), Size: a.Size, Root: hexRoot(a.Root), Height: a.Height, FinalSize: a.FinalSize,
		Transactions: a.Transactions, Legs: len(a.legs), Payments: payments, Opened: opened, Unreadable: unread,
		Mismatches: append([]Mismatch{}, a.Mismatches...), By: by, Rows: []Row{}}
	rows := map[rowKey]*Row{}
	get := func(day string, asset zk.AssetID, programme zk.ProgrammeID, owner zk.Owner) *Row {
		key := rowKey{asset: asset}
		row := Row{}
		switch by {
		case ByProgramme:
			key.order, row.Key, row.Label = fmt.Sprintf("%020d", uint64(programme)), fmt.Sprint(uint64(programme)), a.programmeName(programme)
		case ByAsset:
			row.Key = a.assetCode(asset)
		case ByWallet:
			key.order, row.Key = owner.String(), owner.String()
		case ByDay:
			key.order, row.Key = day, day
		}
		if rows[key] == nil {
			row.Asset = a.assetCode(asset)
			if known, ok := a.Genesis.Asset(asset); ok {
				row.Decimals = int(known.Decimals)
			}
			rows[key] = &row
		}
		return rows[key]
	}
	for i := range a.legs {
		l := &a.legs[i]
		var sender zk.Owner
		if l.Opened != nil {
			sender = l.Opened.Sender
		}
		if (l.Issued != 0 || l.Redeemed != 0) && (l.Opened != nil || by != ByWallet) {
			row := get(l.Day(), l.Asset, l.Programme, sender)
			row.Issued.add(l.Issued)
			row.Redeemed.add(l.Redeemed)
		}
		if l.Opened == nil {
			continue
		}
		source := a.sourceProgramme(l)
		for o := range l.Opened.Outputs {
			if !l.foreign(o) {
				continue
			}
			n, day := &l.Opened.Outputs[o], l.Day()
			if h := a.holdOf(l); h != nil && o == 0 {
				switch h.outcome {
				case entry.Posted:
					day = dayOf(h.millis) // that is when it was paid
				case entry.Voided:
					continue
				default:
					row := get(day, n.Asset, source, sender)
					row.Held.add(n.Value)
					row.Holds++
					continue
				}
			}
			paid := get(day, n.Asset, source, sender)
			paid.Paid.add(n.Value)
			paid.Payments++
			received := get(day, n.Asset, n.Programme, n.Owner)
			received.Received.add(n.Value)
			received.Receipts++
		}
	}
	order := make([]rowKey, 0, len(rows))
	for k := range rows {
		order = append(order, k)
	}
	slices.SortFunc(order, func(x, y rowKey) int { return cmp.Or(strings.Compare(x.order, y.order), cmp.Compare(x.asset, y.asset)) })
	for _, k := range order {
		r.Rows = append(r.Rows, *rows[k])
	}
	return r
}

// sourceProgramme is the programme of a leg's inputs.
func (a *Audit) sourceProgramme(l *Leg) zk.ProgrammeID {
	if l.Issued != 0 || l.Redeemed != 0 {
		return l.Programme
	}
	for _, at := range l.Opened.Spent {
		if from, output := a.note(at); from != nil && from.Opened != nil {
			return from.note(output).Programme
		}
	}
	if l.Access == ByReader {
		return l.reader
	}
	// The inputs lie in an epoch whose key was not given. A leg keeps the programme of its inputs unless a right lets it set or release one.
	for o := range l.Opened.Outputs {
		if p := l.Opened.Outputs[o].Programme; p != 0 {
			return p
		}
	}
	return 0
}

func (a *Audit) programmeName(id zk.ProgrammeID) string {
	for _, p := range a.Programmes {
		if p.ID == id {
			return p.Name
		}
	}
	return ""
}

func (a *Audit) assetCode(id zk.AssetID) string {
	if known, ok := a.Genesis.Asset(id); ok {
		return known.Code
	}
	return fmt.Sprintf("asset %d", uint32(id))
}

package oversight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// AssetSupply is the supply of one asset, counted in two ways.
type AssetSupply struct {
	Asset    string    `json:"asset"`
	Decimals int       `json:"decimals"`
	Issued   zk.Amount `json:"issued,string"`   // by issue entries
	Redeemed zk.Amount `json:"redeemed,string"` // by redeem entries
	Unspent  Sum       `json:"unspent"`         // value of every opened output that no leg spends
	Notes    int       `json:"notes"`           // their number, padding left out
	Held     Sum       `json:"held"`            // value that waits in open holds
	Holds    int       `json:"holds"`           // their number
}

// Supply is the outcome of the check of the money supply.
type Supply struct {
	Ledger     string        `json:"ledger"`
	Genesis    string        `json:"genesis"`
	From       uint64        `json:"from"`
	Size       uint64        `json:"size"`
	Root       string        `json:"root"`
	FinalSize  uint64        `json:"final_size"`
	Legs       int           `json:"legs"`
	Inputs     int           `json:"inputs"`
	Outputs    int           `json:"outputs"`
	Assets     []AssetSupply `json:"assets"`
	Mismatches []Mismatch    `json:"mismatches"` // those of the scan first
}

// Supply checks the money of the whole ledger without believing any proof: in every leg the notes spent, each looked up where the leg says it
// lies, and what is issued equal the outputs and what is redeemed; no note is spent twice; and per asset issued minus redeemed is what lies
// unspent or waits in an open hold. It needs the oversight secrets of every epoch that has legs, and is refused as KeysMissing without.
func (a *Audit) Supply() (*Supply, error) {
	if err := a.fullView(); err != nil {
		return nil, err
	}
	c := &count{a: a, spent: make([]uint64, len(a.legs)), out: &Supply{Ledger: a.Genesis.Name, Genesis: a.Genesis.Hash().String(), Size: a.Size,
		Root: hexRoot(a.Root), FinalSize: a.FinalSize, Legs: len(a.legs), Mismatches: append([]Mismatch{}, a.Mismatches...)}}
	for i := range a.legs {
		if a.legs[i].Opened != nil {
			c.leg(&a.legs[i])
		}
	}
	c.assets()
	return c.out, nil
}

// fullView refuses an audit that cannot see every leg.
func (a *Audit) fullView() error {
	var missing []string
	for i := range a.legs {
		l := &a.legs[i]
		if epoch := fmt.Sprint(l.Epoch); l.Access != ByOversight && !a.opened[l.Epoch] && !slices.Contains(missing, epoch) {
			missing = append(missing, epoch)
		}
	}
	any := false
	for _, given := range a.opened {
		any = any || given
	}
	if !any && len(missing) == 0 {
		missing = append(missing, fmt.Sprint(entry.GenesisOversightEpoch))
	}
	if len(missing) > 0 {
		return wallets.Refuse(KeysMissing, "supply needs the oversight key of every epoch; missing: %s", strings.Join(missing, ", "))
	}
	return nil
}

// count is the state of one supply check. spent has a bit per output of each leg; no circuit has more than 64.
type count struct {
	a     *Audit
	spent []uint64
	out   *Supply
}

func (c *count) mismatch(l *Leg, problem Problem, format string, args ...any) {
	c.out.Mismatches = append(c.out.Mismatches, Mismatch{problem, l.Height, l.Entry, l.Number, fmt.Sprintf(format, args...)})
}

// leg checks the inputs and the balance of one leg.
func (c *count) leg(l *Leg) {
	var in, out Sum
	complete := true
	earmark, known := l.Programme, l.Issued != 0 || l.Redeemed != 0
	for _, at := range l.Opened.Spent {
		c.out.Inputs++
		i, output, height, ok := c.a.notes.find(at)
		if !ok || height > l.anchor {
			c.mismatch(l, InputUnknown, "no output lay at tree %d, index %d when the leg was proven", at.Tree, at.Index)
			continue
		}
		from := &c.a.legs[i]
		if bit := uint64(1) << output; c.spent[i]&bit != 0 {
			c.mismatch(l, InputSpentTwice, "output %d of entry %d, leg %d is spent again", output, from.Entry, from.Number)
			continue
		} else {
			c.spent[i] |= bit
		}
		if from.Opened == nil {
			complete = false // named already, where it did not open
			continue
		}
		n := from.note(output)
		if n.Owner != l.Opened.Sender || n.Asset != l.AssetOf() {
			c.mismatch(l, InputForeign, "output %d of entry %d, leg %d has another owner or asset than the leg that spends it", output, from.Entry, from.Number)
			continue
		}
		if !known {
			earmark, known = n.Programme, true
		}
		if n.Programme != earmark {
			c.mismatch(l, ProgrammeDiffers, "output %d of entry %d, leg %d carries programme %d, the leg spends programme %d", output, from.Entry, from.Number,
				n.Programme, earmark)
		}
		in.add(n.Value)
	}
	if known {
		c.earmark(l, earmark)
	}
	c.out.Outputs += len(l.Opened.Outputs)
	for o := range l.Opened.Outputs {
		out.add(l.Opened.Outputs[o].Value)
	}
	in.add(l.Issued)
	out.add(l.Redeemed)
	if complete && in != out {
		c.mismatch(l, Unbalanced, "inputs and issue are %s minor units of %s, outputs and redemption %s", in, c.a.assetCode(l.AssetOf()), out)
	}
}

// earmark checks that outputs keep the programme of the inputs, drop it, or, where there was none, take on a single one. Whether the sender had
// the right to is in the registry, which replay checks.
func (c *count) earmark(l *Leg, p zk.ProgrammeID) {
	set := p
	for o := range l.Opened.Outputs {
		q := l.Opened.Outputs[o].Programme
		if q == 0 || q == set {
			continue
		}
		if set != 0 {
			c.mismatch(l, ProgrammeDiffers, "output %d carries programme %d, the leg spends programme %d", o, q, p)
			return
		}
		set = q
	}
}

// assets compares what lies unspent with what was issued and not redeemed.
func (c *count) assets() {
	for _, row := range c.a.supply {
		asset, _ := c.a.Genesis.Asset(row.Asset)
		s := AssetSupply{Asset: asset.Code, Decimals: int(asset.Decimals), Issued: row.Issued, Redeemed: row.Redeemed}
		for i := range c.a.legs {
			l := &c.a.legs[i]
			if l.Opened == nil || l.AssetOf() != row.Asset {
				continue
			}
			for o := range l.commits {
				if v := l.note(o).Value; v > 0 && c.spent[i]&(1<<o) == 0 && c.a.lies(l, o) {
					s.Unspent.add(v)
					s.Notes++
				}
			}
			if h := c.a.holdOf(l); h != nil && h.outcome == 0 {
				s.Held.add(l.note(0).Value)
				s.Holds++
			}
		}
		c.out.Assets = append(c.out.Assets, s)
		var left Sum
		left.add(row.Issued)
		left.sub(row.Redeemed)
		there := s.Unspent
		there.sum(s.Held)
		if left != there {
			waits := ""
			if s.Holds > 0 {
				waits = fmt.Sprintf(" and %s wait in holds", s.Held)
			}
			c.out.Mismatches = append(c.out.Mismatches, Mismatch{SupplyDiffers, c.a.Height, c.a.Size - 1, -1,
				fmt.Sprintf("%s: issued %d, redeemed %d, but %s lie unspent%s", asset.Code, row.Issued, row.Redeemed, s.Unspent, waits)})
		}
		// What the ledger itself says was compared, block by block, by the scan.
	}
}

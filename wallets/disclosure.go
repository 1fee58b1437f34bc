package wallets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// Disclosure shows one party that a payment was made: the opening of one output and the receipt of the entry that made it. Whoever reads
// it learns that payment and nothing else. It proves amount, currency, programme and payee; the reference is the payer's word.
type Disclosure struct {
	Ledger    entry.GenesisHash
	Leg       int
	Output    int
	Note      zk.Note
	Address   string // of the payee; checked against the note's owner
	Reference string // not proven
	Receipt   []byte
}

const disclosureFormat = "comity/disclosure/v1"

// MaxDisclosure is the most bytes of a disclosure that is looked at.
const MaxDisclosure = proof.MaxReceipt + 4096

type disclosureJSON struct {
	Format    string   `json:"format"`
	Ledger    string   `json:"ledger"`
	Leg       int      `json:"leg"`
	Output    int      `json:"output"`
	Value     string   `json:"value_minor_units"`
	Asset     uint32   `json:"asset"`
	Programme string   `json:"programme"`
	Owner     zk.Owner `json:"owner"`
	Rho       zk.Rho   `json:"rho"`
	Address   string   `json:"address,omitempty"`
	Reference string   `json:"reference_not_proven,omitempty"`
	Receipt   string   `json:"receipt"`
}

// Disclose opens one output of a settled transaction: a payment that this wallet made, or one that it received. output counts the outputs
// of the leg.
func (s *State) Disclose(o *Outbox, tx entry.ID, leg, output int, receipt []byte) (*Disclosure, error) {
	if _, ok := s.settled[tx]; !ok {
		return nil, Refuse(NotFound, "no settled transaction %s in this wallet", tx)
	}
	d := &Disclosure{Ledger: s.hash, Leg: leg, Output: output, Receipt: receipt}
	if a, ok := o.Attempt(tx); ok {
		for _, sent := range a.Outputs {
			if sent.Leg == leg && sent.Output == output {
				d.Note, d.Address, d.Reference = sent.Note, sent.To, sent.Memo
				return d, nil
			}
		}
	}
	for i := range s.held {
		if h := &s.held[i]; h.ResolvedBy == tx && leg == 0 && output == 0 {
			return s.discloseHold(o, d, h)
		}
	}
	at := s.settled[tx].Entry
	for i := range s.own {
		if n := &s.own[i]; n.Entry == at && n.Leg == leg && n.Output == output {
			d.Note = n.Note
			if printable(string(n.Memo)) {
				d.Reference = string(n.Memo)
			}
			return d, nil
		}
	}
	return nil, Refuse(NotFound, "this wallet cannot open output %d of leg %d of transaction %s", output, leg, tx)
}

// discloseHold opens what a resolution placed, for the payee or for the payer.
func (s *State) discloseHold(o *Outbox, d *Disclosure, h *Hold) (*Disclosure, error) {
	switch {
	case h.Outcome == entry.Voided && h.Mine:
		d.Note = h.Return
		return d, nil
	case h.Outcome == entry.Posted && h.Payee:
		d.Note = h.Note
		if printable(h.Reference) {
			d.Reference = h.Reference
		}
		return d, nil
	case h.Outcome == entry.Posted:
		if sent, ok := o.Held(h.ID); ok {
			d.Note, d.Address, d.Reference = sent.Note, sent.To, sent.Memo
			return d, nil
		}
	}
	return nil, Refuse(NotFound, "this wallet cannot open what the resolution of hold %s placed", h.ID)
}

// Marshal gives the disclosure as indented JSON, ending in a newline.
func (d *Disclosure) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(disclosureJSON{Format: disclosureFormat, Ledger: d.Ledger.String(), Leg: d.Leg, Output: d.Output,
		Value: strconv.FormatUint(uint64(d.Note.Value), 10), Asset: uint32(d.Note.Asset), Programme: strconv.FormatUint(uint64(d.Note.Programme), 10),
		Owner: d.Note.Owner, Rho: d.Note.Rho, Address: d.Address, Reference: d.Reference, Receipt: string(d.Receipt)}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode disclosure: %w", err)
	}
	return append(b, '\n'), nil
}

// ParseDisclosure reads what Marshal wrote. It judges nothing: Verify does.
func ParseDisclosure(b []byte) (*Disclosure, error) {
	if len(b) > MaxDisclosure {
		return nil, Refuse(DisclosureInvalid, "%d bytes, the limit is %d", len(b), MaxDisclosure)
	}
	var j disclosureJSON
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return nil, Refuse(DisclosureInvalid, "%v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, Refuse(DisclosureInvalid, "something follows the disclosure")
	}
	if j.Format != disclosureFormat {
		return nil, Refuse(DisclosureInvalid, "format %q, want %q", j.Format, disclosureFormat)
	}
	ledger, err := entry.ParseID(j.Ledger)
	if err != nil {
		return nil, Refuse(DisclosureInvalid, "ledger: %v", err)
	}
	value, err1 := strconv.ParseUint(j.Value, 10, 64)
	programme, err2 := strconv.ParseUint(j.Programme, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return nil, Refuse(DisclosureInvalid, "%v", err)
	}
	if !printable(j.Reference) {
		return nil, Refuse(DisclosureInvalid, "the reference does not print")
	}
	return &Disclosure{Ledger: entry.GenesisHash(ledger), Leg: j.Leg, Output: j.Output, Address: j.Address, Reference: j.Reference, Receipt: []byte(j.Receipt),
		Note: zk.Note{Value: zk.Amount(value), Asset: zk.AssetID(j.Asset), Programme: zk.ProgrammeID(programme), Owner: j.Owner, Rho: j.Rho}}, nil
}

// Proven is what a receipt or a disclosure proves.
type Proven struct {
	Entry      entry.Entry
	ID         entry.ID
	Index      uint64 // of the entry in the log
	Checkpoint *proof.Final
	Note       zk.Note       // of a disclosure
	Commitment zk.Commitment // of a disclosure
}

// VerifyReceipt checks a receipt offline: the entry is in the log that genesis names, under a checkpoint that its witness policy accepts.
func VerifyReceipt(g *entry.Genesis, receipt []byte) (*Proven, error) {
	policy, err := PolicyOf(g)
	if err != nil {
		return nil, err
	}
	r, err := proof.ParseReceipt(receipt)
	if err != nil {
		return nil, err
	}
	final, err := proof.VerifyReceipt(policy, r, 0)
	if err != nil {
		return nil, err
	}
	e, err := entry.Decode(r.Entry)
	if err != nil {
		return nil, fmt.Errorf("decode the receipted entry: %w", err)
	}
	if head := e.Head(); head != nil && head.Ledger != g.Hash() {
		return nil, Refuse(OtherLedger, "the entry belongs to ledger %s", head.Ledger)
	}
	return &Proven{Entry: e, ID: entry.IDOf(e), Index: r.Index, Checkpoint: final}, nil
}

// Verify checks a disclosure offline: its receipt, and that the opening is that of the output it names.
func (d *Disclosure) Verify(g *entry.Genesis) (*Proven, error) {
	hash := g.Hash()
	if d.Ledger != hash {
		return nil, Refuse(OtherLedger, "the disclosure is of ledger %s, the genesis given is %s", d.Ledger, hash)
	}
	p, err := VerifyReceipt(g, d.Receipt)
	if err != nil {
		return nil, err
	}
	placed, err := d.placed(p.Entry)
	if err != nil {
		return nil, err
	}
	p.Note, p.Commitment = d.Note, d.Note.Commitment()
	if placed != p.Commitment {
		return nil, Refuse(DisclosureInvalid, "the opening is not that of output %d in leg %d", d.Output, d.Leg)
	}
	if d.Address != "" {
		a, err := keys.ParseAddress(d.Address)
		if err != nil {
			return nil, Refuse(DisclosureInvalid, "payee: %v", err)
		}
		if a.Owner != d.Note.Owner || a.Ledger != LedgerPrefix(hash) {
			return nil, Refuse(DisclosureInvalid, "the payee's address is not that of the note's owner")
		}
	}
	return p, nil
}

// placed is the commitment that the entry made spendable at the place that the disclosure names. The output of a hold that waits is none:
// only the entry that posts it shows that it was paid.
func (d *Disclosure) placed(e entry.Entry) (cm zk.Commitment, err error) {
	none := func() (zk.Commitment, error) {
		return cm, Refuse(DisclosureInvalid, "the entry has no output %d in leg %d", d.Output, d.Leg)
	}
	switch e := e.(type) {
	case *entry.Transaction:
		if d.Leg < 0 || d.Leg >= len(e.Legs) || d.Output < 0 || d.Output >= len(e.Legs[d.Leg].Commitments) {
			return none()
		}
		leg := &e.Legs[d.Leg]
		if leg.Circuit.Shape().Held && d.Output == 0 {
			return cm, Refuse(DisclosureInvalid, "output 0 of leg %d waits in a hold; the entry that resolves it shows whether it was paid", d.Leg)
		}
		return leg.Commitments[d.Output], nil
	case *entry.Resolve:
		cm = e.Commitment
	case *entry.Override:
		cm = e.Commitment
	default:
		return cm, Refuse(DisclosureInvalid, "the receipted entry is a %s and moves no money", e.Kind())
	}
	if d.Leg != 0 || d.Output != 0 {
		return none()
	}
	return cm, nil
}

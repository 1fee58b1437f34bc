package wallets

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

const (
	// MaxLines is the most lines one disbursement file has.
	MaxLines = 1_000_000
	// MaxLineID is the longest line id in bytes.
	MaxLineID = 64
	// MaxReference is the longest reference in bytes: the largest memo.
	MaxReference = 512
)

// Columns are the columns of a disbursement file, in order.
var Columns = []string{"line_id", "address", "amount", "programme", "reference"}

// Line is one payment of a disbursement file.
type Line struct {
	ID        string
	To        keys.Address
	Amount    zk.Amount
	Programme zk.ProgrammeID
	Reference string
}

// BadLine is one line of a disbursement file that cannot be paid.
type BadLine struct {
	Line   int    `json:"line"` // of the file, from 1
	Code   Code   `json:"code"`
	Reason string `json:"reason"`
}

// FileError lists every bad line of a refused file. It is a Refusal with code BadFile.
type FileError struct{ Lines []BadLine }

// Error lists the lines, one below the other.
func (e *FileError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d bad lines, nothing was paid", BadFile, len(e.Lines))
	for _, l := range e.Lines {
		fmt.Fprintf(&b, "\n  line %d: %s", l.Line, l.Reason)
	}
	return b.String()
}

// RefusalCode is BadFile's name.
func (e *FileError) RefusalCode() string { return string(BadFile) }

// Unwrap makes CodeOf see the refusal.
func (e *FileError) Unwrap() error { return &Refusal{Code: BadFile} }

// Disbursement is a parsed file.
type Disbursement struct {
	Hash  [32]byte // SHA-256 of the file's bytes
	Asset entry.Asset
	Lines []Line
	Total zk.Amount
}

// Name identifies the file in the journal.
func (d *Disbursement) Name() string { return hex.EncodeToString(d.Hash[:16]) }

// Book is what a file is checked against.
type Book struct {
	Genesis *entry.Genesis
	Ledger  [8]byte // first bytes of the genesis hash, as in addresses
	Rights  Rights
}

// ParseDisbursement reads a file of comma-separated lines: line id, address, amount, programme, reference. A first line that names the
// columns is skipped. The whole file is read and checked before anything is paid: if any line is bad, the error is a *FileError that
// lists all of them.
func ParseDisbursement(file []byte, asset entry.Asset, book Book) (*Disbursement, error) {
	d := &Disbursement{Hash: sha256.Sum256(file), Asset: asset}
	r := csv.NewReader(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf")))))
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	var bad []BadLine
	refuse := func(line int, err error) {
		code := CodeOf(err)
		reason := err.Error()
		if code == "" {
			code = BadFile
		}
		bad = append(bad, BadLine{Line: line, Code: code, Reason: reason})
	}
	seen := map[string]int{}
	for first := true; ; first = false {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			var p *csv.ParseError
			line := 0
			if errors.As(err, &p) {
				line, err = p.StartLine, p.Err
			}
			refuse(line, err)
			if len(bad) > MaxLines {
				break
			}
			continue
		}
		line, _ := r.FieldPos(0)
		if first && len(record) > 1 && strings.EqualFold(strings.TrimSpace(record[1]), Columns[1]) {
			if err := checkHeader(record); err != nil {
				refuse(line, err)
			}
			continue
		}
		if len(d.Lines)+len(bad) >= MaxLines {
			refuse(line, Refuse(BadFile, "more than %d lines: split the file", MaxLines))
			break
		}
		l, err := parseLine(record, asset, book)
		if err == nil {
			if before, twice := seen[l.ID]; twice {
				err = Refuse(BadFile, "line id %q stands in line %d already", l.ID, before)
			}
		}
		if err != nil {
			refuse(line, err)
			continue
		}
		seen[l.ID] = line
		if d.Total+l.Amount < d.Total {
			refuse(line, Refuse(AmountTooLarge, "with this line the sum of the file passes 2^64-1 minor units"))
			continue
		}
		d.Total += l.Amount
		d.Lines = append(d.Lines, l)
	}
	if len(bad) > 0 {
		return nil, &FileError{Lines: bad}
	}
	if len(d.Lines) == 0 {
		return nil, &FileError{Lines: []BadLine{{Line: 1, Code: BadFile, Reason: "the file holds no payment"}}}
	}
	return d, nil
}

func checkHeader(record []string) error {
	if len(record) != len(Columns) {
		return Refuse(BadFile, "%d columns, want %s", len(record), strings.Join(Columns, ","))
	}
	for i, name := range record {
		if strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), " ", "_") != Columns[i] {
			return Refuse(BadFile, "column %d is %q, want %q", i+1, name, Columns[i])
		}
	}
	return nil
}

func parseLine(record []string, asset entry.Asset, book Book) (l Line, err error) {
	if len(record) != len(Columns) {
		return l, Refuse(BadFile, "%d columns, want %d: %s", len(record), len(Columns), strings.Join(Columns, ","))
	}
	l.ID = strings.Clone(strings.TrimSpace(record[0]))
	if l.ID == "" || len(l.ID) > MaxLineID || !printable(l.ID) {
		return l, Refuse(BadFile, "line id %q: want 1 to %d bytes of printable text", l.ID, MaxLineID)
	}
	if l.To, err = ParseAddress(strings.TrimSpace(record[1]), book.Genesis.Prefix, book.Ledger); err != nil {
		return l, err
	}
	if l.Amount, err = ParseAmount(strings.TrimSpace(record[2]), asset); err != nil {
		return l, err
	}
	if l.Amount > book.Rights.Limit {
		return l, Refuse(OverLimit, "%s in one payment, the limit is %s %s", l.Amount.Format(int(asset.Decimals)), book.Rights.Limit.Format(int(asset.Decimals)), asset.Code)
	}
	if l.Programme, err = ParseProgramme(strings.TrimSpace(record[3])); err != nil {
		return l, err
	}
	if l.Programme != 0 {
		if _, known := book.Rights.Opened[l.Programme]; !known {
			return l, Refuse(UnknownProgramme, "programme %d was not opened on this ledger", l.Programme)
		}
	}
	l.Reference = strings.Clone(strings.TrimSpace(record[4]))
	return l, CheckReference(l.Reference)
}

// ParseAmount reads an amount in the currency's own units, such as "12.50", and names what is wrong with it.
func ParseAmount(text string, asset entry.Asset) (zk.Amount, error) {
	if rest, negative := strings.CutPrefix(text, "-"); negative {
		if _, err := zk.ParseAmount(rest, int(asset.Decimals)); err == nil {
			return 0, Refuse(AmountNegative, "amount %q", text)
		}
	}
	a, err := zk.ParseAmount(text, int(asset.Decimals))
	switch {
	case errors.Is(err, zk.ErrAmountDecimals):
		return 0, Refuse(AmountDecimals, "amount %q: %s has %d decimals", text, asset.Code, asset.Decimals)
	case errors.Is(err, zk.ErrAmountRange):
		return 0, Refuse(AmountTooLarge, "amount %q does not fit 64 bits of minor units", text)
	case err != nil:
		return 0, Refuse(AmountSyntax, "amount %q: want digits and at most one point, such as 12.50", text)
	case a == 0:
		return 0, Refuse(AmountZero, "amount %q", text)
	}
	return a, nil
}

// ParseProgramme reads a programme number; empty text is 0, money without a programme.
func ParseProgramme(text string) (zk.ProgrammeID, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, Refuse(UnknownProgramme, "programme %q is not a number", text)
	}
	return zk.ProgrammeID(n), nil
}

// ParseAddress reads an address of this ledger.
func ParseAddress(text, prefix string, ledger [8]byte) (keys.Address, error) {
	a, err := keys.ParseAddress(text)
	if err != nil {
		return a, Refuse(AddressInvalid, "%v", err)
	}
	if a.Prefix != prefix || a.Ledger != ledger {
		return a, Refuse(AddressOther, "the address names ledger %s1..%x, this one is %s1..%x", a.Prefix, a.Ledger, prefix, ledger)
	}
	return a, nil
}

// CheckReference refuses a reference that does not fit a memo or does not print.
func CheckReference(text string) error {
	if len(text) > MaxReference || !printable(text) {
		return Refuse(ReferenceInvalid, "a reference is at most %d bytes of printable text", MaxReference)
	}
	return nil
}

// printable holds for text without control or formatting characters; the empty text is printable.
func printable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, c := range text {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}

// Group is the payees of one leg of a disbursement, as indices into its lines.
type Group struct {
	Lines     []int          `json:"lines"`
	Programme zk.ProgrammeID `json:"programme"`
	Sum       zk.Amount      `json:"sum"`
}

// Groups splits the lines into legs: in the order of the file, by programme, at most one payee fewer than the widest circuit has
// outputs, and no leg above the owner's limit. The split is kept in the journal, so that a resumed disbursement pays the same groups.
func (d *Disbursement) Groups(limit zk.Amount) []Group {
	wide := zk.Disburse64.Shape().Outputs - 1 // one output returns to the wallet and carries the tag (W3.6)
	var done []Group
	open := map[zk.ProgrammeID]int{} // programme -> group being filled
	for i, l := range d.Lines {
		g, ok := open[l.Programme]
		if !ok || len(done[g].Lines) == wide || l.Amount > limit-done[g].Sum {
			g = len(done)
			done = append(done, Group{Programme: l.Programme})
			open[l.Programme] = g
		}
		done[g].Lines = append(done[g].Lines, i)
		done[g].Sum += l.Amount
	}
	return done
}

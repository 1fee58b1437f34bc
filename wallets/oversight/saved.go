package oversight

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/tree"
)

// Refusals of a scan that goes on from a saved one.
const (
	// StateInvalid: the saved state is damaged, of another version, or was made with other keys or for another ledger.
	StateInvalid wallets.Code = "oversight_state_invalid"
	// LogRolledBack: the log's cosigned checkpoint covers less than was read before.
	LogRolledBack wallets.Code = "log_rolled_back"
	// HistoryDiffers: the log does not go on from what was read before. Somebody showed two histories.
	HistoryDiffers wallets.Code = "history_differs"
)

// Saved is what a scan had found at a cosigned checkpoint: the next scan goes on from there. It holds everything that the keys opened, in the
// clear, so whoever keeps it keeps it encrypted and authenticated. It holds no key.
type Saved struct {
	genesis *entry.Genesis
	head    proof.Head
	height  uint64
	body    []byte // what follows the head
	keys    [sha256.Size]byte
}

const savedHeader = "comity/oversight-state/v1\n"

// Genesis is that of the ledger whose log was read.
func (s *Saved) Genesis() *entry.Genesis { return s.genesis }

// Head is what was read, under a cosigned checkpoint.
func (s *Saved) Head() proof.Head { return s.head }

// Next is the height of the block to be read next.
func (s *Saved) Next() uint64 { return s.height }

// KeysID names a set of secrets, in any order, by their public halves.
func KeysID(secrets []zk.Scalar) [sha256.Size]byte {
	var all [][]byte
	for _, x := range secrets {
		b := x.Base().Bytes()
		all = append(all, b[:])
	}
	slices.SortFunc(all, bytes.Compare)
	return sha256.Sum256(append([]byte("comity/oversight-keys/v1"), bytes.Join(slices.CompactFunc(all, bytes.Equal), nil)...))
}

// ParseSaved reads the beginning of what a scan handed to Config.Save. Scan reads the rest.
func ParseSaved(b []byte) (*Saved, error) {
	rest, ok := bytes.CutPrefix(b, []byte(savedHeader))
	if !ok {
		return nil, wallets.Refuse(StateInvalid, "it does not begin with %q", savedHeader[:len(savedHeader)-1])
	}
	r := &reader{b: rest}
	s := &Saved{}
	raw := r.blob()
	copy(s.keys[:], r.take(sha256.Size))
	s.head.Size, s.height = r.u64(), r.u64()
	copy(s.head.Root[:], r.take(len(s.head.Root)))
	if r.bad {
		return nil, wallets.Refuse(StateInvalid, "it is cut short")
	}
	var err error
	if s.genesis, err = entry.DecodeGenesis(raw); err != nil {
		return nil, wallets.Refuse(StateInvalid, "genesis: %v", err)
	}
	s.body = r.b
	return s, nil
}

// registered is a key as it was registered, with or without a secret for it.
type registered struct {
	number uint64 // epoch or programme
	key    zk.Point
}

// save writes the state at the end of a chunk.
func (s *scanner) save() []byte {
	w := &writer{b: []byte(savedHeader)}
	w.blob(entry.Encode(s.a.Genesis))
	id := KeysID(s.c.Secrets)
	root := s.log.Root()
	w.raw(id[:])
	w.u64(s.log.Size)
	w.u64(s.blocks)
	w.raw(root[:])

	w.count(len(s.log.Nodes))
	for i := range s.log.Nodes {
		w.raw(s.log.Nodes[i][:])
	}
	w.u64(s.time)
	w.u64(s.sequence)
	w.u64(uint64(s.open))
	for _, list := range [][]registered{s.began, s.registered} {
		w.count(len(list))
		for _, x := range list {
			key := x.key.Bytes()
			w.u64(x.number)
			w.raw(key[:])
		}
	}
	w.u64(uint64(s.a.Transactions))
	w.count(len(s.a.Mismatches))
	for _, m := range s.a.Mismatches {
		w.text(string(m.Problem))
		w.u64(m.Height)
		w.u64(m.Entry)
		w.u64(uint64(int64(m.Leg)))
		w.text(m.Detail)
	}
	w.count(len(s.a.Programmes))
	for _, p := range s.a.Programmes {
		w.u64(uint64(p.ID))
		w.text(p.Name)
	}
	for _, row := range s.a.supply { // in the order of genesis
		w.u64(uint64(row.Issued))
		w.u64(uint64(row.Redeemed))
	}
	w.blob(entry.Encode(s.a.state))
	w.count(len(s.a.legs))
	for i := range s.a.legs {
		w.leg(&s.a.legs[i])
	}
	w.count(len(s.a.holds))
	for i := range s.a.holds {
		w.hold(&s.a.holds[i])
	}
	w.blob(s.a.notes.frontier.Marshal())
	w.count(len(s.a.notes.rows))
	for _, rows := range s.a.notes.rows {
		w.count(len(rows))
		for _, x := range rows {
			w.u64(uint64(x.base)<<32 | uint64(x.outputs)<<16 | uint64(x.first))
			w.u64(uint64(x.leg))
			w.u64(x.height)
		}
	}
	w.count(len(s.spent))
	for nf, index := range s.spent {
		w.raw(nf[:])
		w.u64(index)
	}
	return w.b
}

// restore takes up a saved state.
func (s *scanner) restore(from *Saved) error {
	invalid := func(format string, args ...any) error { return wallets.Refuse(StateInvalid, format, args...) }
	if hash := from.genesis.Hash(); s.c.Genesis != (entry.GenesisHash{}) && hash != s.c.Genesis {
		return invalid("it is of ledger %s, want %s", hash, s.c.Genesis)
	}
	if from.keys != KeysID(s.c.Secrets) {
		return invalid("it was made with other keys")
	}
	switch c := s.c.Checkpoint; {
	case c == nil:
		return wallets.Refuse(LogRolledBack, "the log has no cosigned checkpoint; %d entries were read under one", from.head.Size)
	case c.Size < from.head.Size:
		return wallets.Refuse(LogRolledBack, "the log's checkpoint covers %d entries, %d were read under an earlier one. Ask another node; if all say so, history was taken back", c.Size, from.head.Size)
	case c.Size == from.head.Size && c.Root != from.head.Root:
		return wallets.Refuse(HistoryDiffers, "two cosigned roots for %d entries: %v was read, now %v", c.Size, from.head.Root, c.Root)
	}
	r := &reader{b: from.body}
	s.from, s.a.Genesis = from, from.genesis
	s.log.Size, s.blocks = from.head.Size, from.height
	for range r.count(32) {
		s.log.Nodes = append(s.log.Nodes, proof.Hash(r.take(32)))
	}
	s.time, s.sequence, s.open = r.u64(), r.u64(), uint32(r.u64())
	for range r.count(72) {
		if n, key := r.u64(), r.point(); !r.bad {
			s.begins(uint32(n), key)
		}
	}
	for range r.count(72) {
		if n, key := r.u64(), r.point(); !r.bad {
			s.reads(zk.ProgrammeID(n), key)
		}
	}
	s.a.Transactions = int(r.u64())
	for range r.count(32) {
		s.a.Mismatches = append(s.a.Mismatches, Mismatch{Problem(r.text()), r.u64(), r.u64(), int(int64(r.u64())), r.text()})
	}
	for range r.count(12) {
		s.a.Programmes = append(s.a.Programmes, Programme{zk.ProgrammeID(r.u64()), r.text()})
	}
	for _, asset := range from.genesis.Assets {
		s.a.supply = append(s.a.supply, entry.Supply{Asset: asset.ID, Issued: zk.Amount(r.u64()), Redeemed: zk.Amount(r.u64())})
	}
	var err error
	if s.a.state, err = entry.DecodeState(r.blob()); err != nil {
		return invalid("state entry: %v", err)
	}
	for range r.count(100) {
		s.a.legs = append(s.a.legs, r.leg())
	}
	for range r.count(100) {
		h := r.hold()
		if h.leg >= len(s.a.legs) {
			r.bad = true
			break
		}
		s.a.holds = append(s.a.holds, h)
		s.a.byHold[h.id] = len(s.a.holds) - 1
	}
	if s.a.notes.frontier, err = tree.UnmarshalFrontier(r.blob()); err != nil {
		return invalid("note tree: %v", err)
	}
	s.a.notes.rows = nil
	for range r.count(4) {
		var rows []placedLeg
		for range r.count(24) {
			x, leg, height := r.u64(), r.u64(), r.u64()
			if leg >= uint64(len(s.a.legs)) {
				r.bad = true
				break
			}
			rows = append(rows, placedLeg{base: uint32(x >> 32), outputs: uint16(x >> 16), first: uint8(x), leg: int32(leg), height: height})
		}
		s.a.notes.rows = append(s.a.notes.rows, rows)
	}
	if n := len(s.a.notes.rows); n == 0 || n > math.MaxUint16+1 {
		r.bad = true
	} else {
		s.a.notes.number = uint16(n - 1)
	}
	for range r.count(40) {
		nf := zk.Nullifier(r.take(32))
		s.spent[nf] = r.u64()
	}
	if err := r.end(); err != nil {
		return invalid("%v", err)
	}
	for i := range s.a.legs {
		if s.a.legs[i].hold > len(s.a.holds) {
			return invalid("a leg names a hold that is not there")
		}
	}
	if s.log.Root() != from.head.Root {
		return invalid("its log does not have the root that it names")
	}
	if s.c.Checkpoint.Size == from.head.Size {
		s.final, s.a.FinalSize, s.saved = true, from.head.Size, true
	}
	return nil
}

// writer appends big-endian integers and counted bytes.
type writer struct{ b []byte }

func (w *writer) u64(v uint64)  { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) raw(b []byte)  { w.b = append(w.b, b...) }
func (w *writer) count(n int)   { w.b = binary.BigEndian.AppendUint32(w.b, uint32(n)) }
func (w *writer) blob(b []byte) { w.count(len(b)); w.raw(b) }
func (w *writer) text(s string) { w.blob([]byte(s)) }

func (w *writer) note(n *zk.Note) {
	w.u64(uint64(n.Value))
	w.u64(uint64(n.Asset))
	w.u64(uint64(n.Programme))
	w.raw(n.Owner[:])
	w.raw(n.Rho[:])
}

func (w *writer) position(p zk.Position) { w.u64(uint64(p.Tree)<<32 | uint64(p.Index)) }

func (w *writer) leg(l *Leg) {
	w.u64(l.Entry)
	w.u64(uint64(l.Number))
	w.u64(l.Height)
	w.u64(l.TimeMillis)
	w.raw(l.ID[:])
	w.u64(uint64(l.Kind)<<48 | uint64(l.Circuit)<<40 | uint64(l.Access)<<32 | uint64(l.Epoch))
	w.u64(uint64(l.Asset))
	w.u64(uint64(l.Programme))
	w.u64(uint64(l.Issued))
	w.u64(uint64(l.Redeemed))
	w.position(l.Base)
	w.u64(uint64(l.reader))
	w.u64(l.anchor)
	w.u64(uint64(l.hold))
	w.count(len(l.commits))
	for i := range l.commits {
		w.raw(l.commits[i][:])
	}
	o := l.Opened
	if o == nil {
		w.count(0)
		return
	}
	w.count(1)
	w.raw(o.Sender[:])
	w.count(len(o.Slots))
	for _, x := range o.Slots {
		w.u64(uint64(x))
	}
	w.count(len(o.Spent))
	for _, p := range o.Spent {
		w.position(p)
	}
	w.count(len(o.Outputs))
	for i := range o.Outputs {
		w.note(&o.Outputs[i])
	}
	if o.Return == nil {
		w.count(0)
	} else {
		w.count(1)
		w.note(o.Return)
	}
}

func (w *writer) hold(h *hold) {
	w.u64(uint64(h.leg))
	w.raw(h.id.Tx[:])
	override := uint64(0)
	if h.override {
		override = 1
	}
	w.u64(uint64(h.id.Leg)<<32 | uint64(h.condition.Type)<<24 | uint64(h.outcome)<<16 | uint64(h.reason)<<8 | override)
	w.blob(h.condition.Bytes)
	w.u64(h.sizeClass)
	w.u64(h.until)
	w.count(len(h.named))
	for _, n := range h.named {
		w.raw(n.Ledger[:])
		w.raw(n.Hold.Tx[:])
		w.u64(uint64(n.Hold.Leg))
	}
	w.u64(h.resolved)
	w.raw(h.by[:])
	w.u64(h.height)
	w.u64(h.millis)
	w.position(h.at)
}

// reader reads what a writer wrote. Once bad, it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

var zeros [64]byte

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		if n > len(zeros) {
			return nil
		}
		return zeros[:n]
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// count reads how many things of at least so many bytes follow.
func (r *reader) count(least int) int {
	n := int(binary.BigEndian.Uint32(r.take(4)))
	if n > len(r.b)/least {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return n
}

func (r *reader) blob() []byte {
	n := r.count(1)
	if r.bad {
		return nil
	}
	return bytes.Clone(r.take(n))
}

func (r *reader) text() string { return string(r.blob()) }

func (r *reader) end() error {
	if r.bad || len(r.b) != 0 {
		return errors.New("it is damaged")
	}
	return nil
}

func (r *reader) point() zk.Point {
	p, err := zk.ParsePoint(r.take(64))
	if err != nil {
		r.bad = true
	}
	return p
}

func (r *reader) note() zk.Note {
	n := zk.Note{Value: zk.Amount(r.u64()), Asset: zk.AssetID(r.u64()), Programme: zk.ProgrammeID(r.u64())}
	copy(n.Owner[:], r.take(32))
	copy(n.Rho[:], r.take(32))
	return n
}

func (r *reader) position() zk.Position {
	x := r.u64()
	return zk.Position{Tree: uint16(x >> 32), Index: uint32(x)}
}

func (r *reader) leg() Leg {
	l := Leg{Entry: r.u64(), Number: int(r.u64()), Height: r.u64(), TimeMillis: r.u64()}
	copy(l.ID[:], r.take(32))
	x := r.u64()
	l.Kind, l.Circuit, l.Access, l.Epoch = entry.Kind(x>>48), zk.CircuitID(x>>40), Access(x>>32), uint32(x)
	l.Asset, l.Programme, l.Issued, l.Redeemed = zk.AssetID(r.u64()), zk.ProgrammeID(r.u64()), zk.Amount(r.u64()), zk.Amount(r.u64())
	l.Base, l.reader, l.anchor, l.hold = r.position(), zk.ProgrammeID(r.u64()), r.u64(), int(r.u64())
	for range r.count(32) {
		l.commits = append(l.commits, zk.Commitment(r.take(32)))
	}
	if r.count(1) == 0 {
		return l
	}
	o := &keys.OpenedLeg{}
	copy(o.Sender[:], r.take(32))
	for range r.count(8) {
		o.Slots = append(o.Slots, uint32(r.u64()))
	}
	for range r.count(8) {
		o.Spent = append(o.Spent, r.position())
	}
	for range r.count(88) {
		o.Outputs = append(o.Outputs, r.note())
	}
	if r.count(1) == 1 {
		n := r.note()
		o.Return = &n
	}
	l.Opened = o
	return l
}

func (r *reader) hold() hold {
	h := hold{leg: int(r.u64())}
	copy(h.id.Tx[:], r.take(32))
	x := r.u64()
	h.id.Leg, h.condition.Type = uint8(x>>32), uint8(x>>24)
	h.outcome, h.reason, h.override = entry.Outcome(x>>16), entry.Reason(x>>8), x&1 == 1
	h.condition.Bytes = r.blob()
	h.sizeClass, h.until = r.u64(), r.u64()
	for range r.count(72) {
		n := entry.Named{}
		copy(n.Ledger[:], r.take(32))
		copy(n.Hold.Tx[:], r.take(32))
		n.Hold.Leg = uint8(r.u64())
		h.named = append(h.named, n)
	}
	h.resolved = r.u64()
	copy(h.by[:], r.take(32))
	h.height, h.millis, h.at = r.u64(), r.u64(), r.position()
	return h
}

package settlement

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 3

// ErrSnapshot says that bytes are not the snapshot of a state of this ledger.
// The caller replays from an earlier point instead.
var ErrSnapshot = errors.New("settlement: not a snapshot of this ledger's state")

// Marshal gives the state's one encoding: equal states have equal bytes, and
// replay from the log rebuilds them bit for bit. Spent nullifiers are not part
// of it (the store keeps them). All integers are big-endian.
func (s *State) Marshal() []byte {
	out := append([]byte{snapshotVersion}, s.rules.hash[:]...)
	out = put64(out, s.height, s.time, s.lastActivity, s.log.Size)
	for _, node := range s.log.Nodes {
		out = append(out, node[:]...)
	}
	out = binary.BigEndian.AppendUint16(out, s.notes.number)
	for _, root := range s.notes.sealed {
		out = append(out, root[:]...)
	}
	frontier := s.notes.frontier.Marshal()
	out = binary.BigEndian.AppendUint32(out, uint32(len(frontier)))
	out = append(out, frontier...)
	out = put64(out, s.nulls)
	for _, row := range s.supply {
		out = put64(out, uint64(row.Issued), uint64(row.Redeemed))
	}
	out = binary.BigEndian.AppendUint32(out, s.registry.size())
	for i := range s.registry.leaves {
		leaf := &s.registry.leaves[i]
		out = append(append(out, leaf.Owner[:]...), byte(leaf.Status))
		out = put64(out, uint64(leaf.Limit))
		out = append(out, leaf.Rights[:]...)
	}
	out = putWindows(out, s.registryWindows)
	out = binary.BigEndian.AppendUint16(out, uint16(len(s.programmes.rows)))
	for i := range s.programmes.rows {
		row := &s.programmes.rows[i]
		out = put64(out, uint64(row.ID))
		out = append(append(out, byte(len(row.Name))), row.Name...)
		key := row.Reader.Bytes()
		out = append(append(out, byte(row.Status)), key[:]...)
	}
	out = putWindows(out, s.readerWindows)
	out = binary.BigEndian.AppendUint32(out, s.oversightEpoch)
	key := s.oversightKey.Bytes()
	out = append(out, key[:]...)
	out = put64(out, s.nextSequence)
	out = binary.BigEndian.AppendUint32(out, uint32(s.holds.len()))
	s.holds.each(func(h *hold) { out = h.append(out) })
	out = s.corridors.append(out)
	out = append(binary.BigEndian.AppendUint32(out, uint32(s.day.Date)), byte(s.day.Action))
	out = append(append(put64(out, s.day.Size), s.day.Root[:]...), s.day.Balance[:]...)
	return put64(out, s.entries[1:]...)
}

// append gives a hold's bytes: what its leg says, and what was said about it.
func (h *hold) append(out []byte) []byte {
	out = put64(append(append(out, h.id.Tx[:]...), h.id.Leg), h.index, h.placedAt)
	out = put64(append(append(out, h.payee[:]...), h.back[:]...), h.class)
	out = binary.BigEndian.AppendUint16(append(out, h.coded.Type), uint16(len(h.coded.Bytes)))
	out = put64(append(out, h.coded.Bytes...), h.until)
	if h.coded.Type != entry.ConditionAttested {
		return out
	}
	challenged := byte(0)
	if h.challenged {
		challenged = 1
	}
	out = put64(append(append(out, challenged), h.agreed[:]...), h.agreedAt)
	out = append(out, byte(len(h.attested)))
	for _, a := range h.attested {
		out = append(append(out, a.attestor), a.document[:]...)
	}
	return out
}

func put64(out []byte, values ...uint64) []byte {
	for _, v := range values {
		out = binary.BigEndian.AppendUint64(out, v)
	}
	return out
}

func putWindows(out []byte, windows []window) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(windows)))
	for _, w := range windows {
		out = put64(append(out, w.root[:]...), w.until)
	}
	return out
}

// Unmarshal reads a snapshot of the ledger with this genesis and checks it
// against the block whose state it claims to be: state entry and log root must
// be the very same (L6.6). What neither covers (windows, frontier) is checked
// by the roots that the frontier gives, and by replay before the next
// checkpoint is signed.
func Unmarshal(genesis *entry.Genesis, snapshot []byte, block *Block) (*State, error) {
	s, err := unmarshal(genesis, snapshot)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	switch last := block.Entries[len(block.Entries)-1]; {
	case s.height != block.Height || s.log.Size != block.Size() || s.log.Root() != block.Root:
		return nil, fmt.Errorf("%w: height %d and size %d, the block has %d and %d", ErrSnapshot, s.height, s.log.Size, block.Height, block.Size())
	case !bytes.Equal(entry.Encode(s.Entry()), last):
		return nil, fmt.Errorf("%w: the state entry of block %d differs", ErrSnapshot, block.Height)
	case !bytes.Equal(s.Marshal(), snapshot):
		return nil, fmt.Errorf("%w: not canonical", ErrSnapshot)
	}
	return s, nil
}

func unmarshal(genesis *entry.Genesis, snapshot []byte) (*State, error) {
	r := &snapshotReader{rest: snapshot}
	if v := r.bytes(1); r.err == nil && v[0] != snapshotVersion {
		return nil, fmt.Errorf("version %d: %w", v[0], ErrNewerVersion)
	}
	s := &State{rules: newRulebook(genesis), registry: newRegistry(), programmes: newProgrammes()}
	if hash := r.hash(); r.err == nil && hash != s.rules.hash {
		return nil, ErrOtherLedger
	}
	s.height, s.time, s.lastActivity = r.u64(), r.u64(), r.u64()
	s.log.Size = r.u64()
	for range bits.OnesCount64(s.log.Size) {
		s.log.Nodes = append(s.log.Nodes, r.hash())
	}
	s.notes.number = r.u16()
	for range s.notes.number {
		if r.err != nil {
			break
		}
		s.notes.sealed = append(s.notes.sealed, zk.Root(r.field()))
	}
	s.readFrontier(r)
	s.nulls = r.u64()
	for _, a := range genesis.Assets {
		s.supply = append(s.supply, entry.Supply{Asset: a.ID, Issued: zk.Amount(r.u64()), Redeemed: zk.Amount(r.u64())})
	}
	s.readRegistry(r)
	s.registryWindows = r.windows()
	s.readProgrammes(r)
	s.readerWindows = r.windows()
	s.oversightEpoch = r.u32()
	s.oversightKey = r.point()
	s.nextSequence = r.u64()
	s.readHolds(r)
	s.corridors = readCorridors(r)
	s.readDay(r)
	if r.err == nil {
		r.err = s.checkInFlight()
	}
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%d trailing bytes", len(r.rest))
	}
	if r.err != nil {
		return nil, r.err
	}
	s.registryRoot, s.readersRoot = s.registry.root(), s.programmes.root()
	s.corridorsHash = s.corridors.hash()
	return s, nil
}

func (s *State) readFrontier(r *snapshotReader) {
	raw := r.bytes(int(r.u32()))
	if r.err != nil {
		return
	}
	frontier, err := tree.UnmarshalFrontier(raw)
	if err != nil {
		r.err = err
		return
	}
	s.notes.frontier, s.notes.root = frontier, frontier.Root()
}

func (s *State) readRegistry(r *snapshotReader) {
	for range r.count(registryCapacity, 73) {
		leaf := zk.RegistryLeaf{Owner: zk.Owner(r.field()), Status: zk.Status(r.bytes1()), Limit: zk.Amount(r.u64()), Rights: zk.Root(r.field())}
		if r.err != nil {
			return
		}
		at := s.registry.size()
		s.registry.index[leaf.Owner] = at
		s.registry.leaves = append(s.registry.leaves, leaf)
		s.registry.tree.Set(at, leaf.Hash())
	}
}

func (s *State) readProgrammes(r *snapshotReader) {
	for range r.u16() {
		e := entry.Programme{Programme: zk.ProgrammeID(r.u64())}
		e.Name = string(r.bytes(int(r.bytes1())))
		e.Status = entry.ProgrammeStatus(r.bytes1())
		e.Reader = r.point()
		if r.err != nil {
			return
		}
		if err := s.programmes.check(&e); err != nil {
			r.err = err
			return
		}
		s.programmes.set(&e)
	}
}

// readHolds reads the open holds. That they are in order, and whole, shows when
// the state is encoded again.
func (s *State) readHolds(r *snapshotReader) {
	for range r.count(maxHolds, holdFixed) {
		h := &hold{id: entry.HoldID{Tx: r.hash(), Leg: r.bytes1()}, index: r.u64(), placedAt: r.u64(),
			payee: zk.Commitment(r.field()), back: zk.Commitment(r.field()), class: r.u64()}
		h.coded.Type = r.bytes1()
		h.coded.Bytes = append([]byte(nil), r.bytes(int(r.u16()))...)
		h.until = r.u64()
		if r.err != nil {
			return
		}
		if h.rule, r.err = h.coded.Decode(); r.err != nil {
			return
		}
		if h.coded.Type == entry.ConditionAttested {
			h.challenged = r.bytes1() == 1
			h.agreed, h.agreedAt = r.hash(), r.u64()
			for range r.bytes1() {
				h.attested = append(h.attested, attestation{r.bytes1(), r.hash()})
			}
		}
		s.holds = s.holds.put(h)
	}
}

// readDay reads the business day and the number of entries of each kind, which
// must come to the size of the log.
func (s *State) readDay(r *snapshotReader) {
	s.day = Day{Date: entry.BusinessDate(r.u32()), Action: entry.CloseAction(r.bytes1()), Size: r.u64(), Root: r.hash(), Balance: r.hash()}
	sum := uint64(0)
	for kind := range s.entries[1:] {
		s.entries[kind+1] = r.u64()
		sum += s.entries[kind+1]
	}
	if r.err == nil && (s.day.Action > entry.DayCloses || sum != s.log.Size) {
		r.err = fmt.Errorf("business day in state %d, %d entries by kind in a log of %d", s.day.Action, sum, s.log.Size)
	}
}

// checkInFlight holds that corridors count exactly the open holds that cross
// them, or resolving one could take off what was never put on.
func (s *State) checkInFlight() error {
	counted := make(map[entry.GenesisHash]uint64)
	s.holds.each(func(h *hold) {
		for _, peer := range h.peers() {
			counted[peer] += h.class
		}
	})
	for _, row := range s.corridors.rows {
		if sum := counted[row.peer]; sum != row.inFlight {
			return fmt.Errorf("corridor %s: %d in flight, its open holds come to %d", row.peer, row.inFlight, sum)
		}
		delete(counted, row.peer)
	}
	for peer := range counted {
		return fmt.Errorf("a hold in flight to %s, to which there is no corridor", peer)
	}
	return nil
}

// holdFixed is the least that a hold takes in a snapshot, in bytes.
const holdFixed = 32 + 1 + 8 + 8 + 32 + 32 + 8 + 1 + 2 + 8

// snapshotReader takes values off a snapshot; the first failure sticks.
type snapshotReader struct {
	rest []byte
	err  error
}

func (r *snapshotReader) bytes(n int) []byte {
	if r.err == nil && n > len(r.rest) {
		r.err = errors.New("truncated")
	}
	if r.err != nil {
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

func (r *snapshotReader) bytes1() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *snapshotReader) u16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *snapshotReader) u32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *snapshotReader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *snapshotReader) hash() (h [32]byte) {
	copy(h[:], r.bytes(32))
	return h
}

func (r *snapshotReader) field() zk.Field {
	raw := r.bytes(32)
	if raw == nil {
		return zk.Field{}
	}
	f, err := zk.ParseField(raw)
	if err != nil {
		r.err = err
	}
	return f
}

func (r *snapshotReader) point() zk.Point {
	raw := r.bytes(64)
	if raw == nil {
		return zk.Point{}
	}
	p, err := zk.ParsePoint(raw)
	if err != nil {
		r.err = err
	}
	return p
}

// count reads a 32-bit count of rows of a known width, never more than the
// bytes at hand can hold.
func (r *snapshotReader) count(most, width int) int {
	n := int(r.u32())
	if r.err == nil && (n > most || n*width > len(r.rest)) {
		r.err = fmt.Errorf("%d rows", n)
	}
	if r.err != nil {
		return 0
	}
	return n
}

func (r *snapshotReader) windows() []window {
	var out []window
	for range r.count(1<<31, 40) {
		out = append(out, window{zk.Root(r.field()), r.u64()})
	}
	return out
}

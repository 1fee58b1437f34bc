package entry

import (
	"github.com/comity-ledger/comity/zk"
)

const (
	// MaxRegistrations is the most owners one register entry holds.
	MaxRegistrations = 256
	// MaxRights is the number of rights an owner can have: the leaves of its rights tree.
	MaxRights = zk.MaxRights
	// MaxName is the longest name of a ledger, programme or witness in bytes.
	MaxName = 64
)

// Register adds owners to the registry or replaces their limit and rights. A new owner takes the next free leaf and is active; a
// known one keeps leaf and status.
type Register struct {
	Header
	Owners []Registration
}

// A Registration is one owner's row.
type Registration struct {
	Owner  zk.Owner
	Limit  zk.Amount  // most that one leg moves to others, minor units of any asset
	Rights []zk.Right // at most MaxRights, in the order of the rights tree
}

// Freeze stops an owner from spending, or lets it spend again.
type Freeze struct {
	Header
	Owner  zk.Owner
	Frozen bool
}

// ProgrammeStatus says whether money can still be issued into a programme.
type ProgrammeStatus uint8

// The states of a programme.
const (
	StatusOpen   ProgrammeStatus = 1
	StatusClosed ProgrammeStatus = 2
)

// Programme opens a programme, changes its name or reader, or closes it.
type Programme struct {
	Header
	Programme  zk.ProgrammeID // not 0
	Name       string
	Status     ProgrammeStatus
	Reader     zk.Point     // reader key RK
	Possession zk.Signature // by RK over ReaderPossession
}

// Oversight begins the next oversight epoch with a new key.
type Oversight struct {
	Header
	Epoch      uint32 // the current epoch plus one
	Key        zk.Point
	Possession zk.Signature // by the key over OversightPossession
}

// Kind returns KindRegister.
func (*Register) Kind() Kind { return KindRegister }

// Kind returns KindFreeze.
func (*Freeze) Kind() Kind { return KindFreeze }

// Kind returns KindProgramme.
func (*Programme) Kind() Kind { return KindProgramme }

// Kind returns KindOversight.
func (*Oversight) Kind() Kind { return KindOversight }

// AppendWitness appends the policy signatures, which are all the witness data of a privileged entry without legs.
func (h *Header) AppendWitness(dst []byte) []byte { return appendSignatures(dst, h.Signatures) }

const (
	flagWildcard = 1 << iota
	flagSet
	flagRelease
)

func rightFlags(r zk.Right) (f uint8) {
	if r.Wildcard {
		f |= flagWildcard
	}
	if r.MaySet {
		f |= flagSet
	}
	if r.MayRelease {
		f |= flagRelease
	}
	return f
}

// AppendEffecting appends E.
func (e *Register) AppendEffecting(dst []byte) []byte {
	dst = e.appendHeader(dst, KindRegister)
	dst = put16(dst, uint16(len(e.Owners)))
	for i := range e.Owners {
		o := &e.Owners[i]
		dst = append(dst, o.Owner[:]...)
		dst = put64(dst, uint64(o.Limit))
		dst = append(dst, uint8(len(o.Rights)))
		for _, right := range o.Rights {
			dst = append(put64(dst, uint64(right.Programme)), rightFlags(right))
		}
	}
	return dst
}

func (e *Register) readBody(r *reader) {
	n := int(r.u16())
	if n < 1 || n > MaxRegistrations {
		r.fail(Refuse(Malformed, "%d registrations, want 1 to %d", n, MaxRegistrations))
	}
	if !r.has(n * (32 + 8 + 1)) {
		return
	}
	e.Owners = make([]Registration, n)
	for i := range e.Owners {
		o := &e.Owners[i]
		o.Owner = zk.Owner(r.field())
		o.Limit = zk.Amount(r.u64())
		rights := int(r.u8())
		if rights > MaxRights {
			r.fail(Refuse(Malformed, "%d rights, at most %d", rights, MaxRights))
		}
		if rights == 0 || !r.has(rights*9) {
			continue
		}
		o.Rights = make([]zk.Right, rights)
		for j := range o.Rights {
			o.Rights[j].Programme = zk.ProgrammeID(r.u64())
			f := r.u8()
			if f&^(flagWildcard|flagSet|flagRelease) != 0 {
				r.fail(Refuse(Malformed, "rights flags %#x", f))
			}
			o.Rights[j].Wildcard = f&flagWildcard != 0
			o.Rights[j].MaySet = f&flagSet != 0
			o.Rights[j].MayRelease = f&flagRelease != 0
		}
	}
}

// Validate checks counts, that no owner comes twice, and every owner's rights.
func (e *Register) Validate() error {
	if err := e.validateHeader(); err != nil {
		return err
	}
	if len(e.Owners) < 1 || len(e.Owners) > MaxRegistrations {
		return Refuse(Malformed, "%d registrations, want 1 to %d", len(e.Owners), MaxRegistrations)
	}
	seen := make(map[zk.Owner]bool, len(e.Owners))
	for i := range e.Owners {
		o := &e.Owners[i]
		if seen[o.Owner] {
			return Refuse(OwnerRepeated, "owner %s", o.Owner)
		}
		seen[o.Owner] = true
		if err := checkRights(o.Rights); err != nil {
			return err
		}
	}
	return nil
}

func checkRights(rights []zk.Right) error {
	if len(rights) > MaxRights {
		return Refuse(Malformed, "%d rights, at most %d", len(rights), MaxRights)
	}
	for i, right := range rights {
		switch {
		case !right.MaySet && !right.MayRelease:
			return Refuse(RightsInvalid, "a right that grants nothing")
		case right.Wildcard && right.Programme != 0:
			return Refuse(RightsInvalid, "a wildcard that names programme %d", right.Programme)
		case !right.Wildcard && right.Programme == 0:
			return Refuse(RightsInvalid, "a right for programme 0: money without a programme needs none")
		}
		for _, other := range rights[:i] {
			if other.Wildcard == right.Wildcard && other.Programme == right.Programme {
				return Refuse(RightsInvalid, "two rights for one programme, or two wildcards")
			}
		}
	}
	return nil
}

// AppendEffecting appends E.
func (e *Freeze) AppendEffecting(dst []byte) []byte {
	dst = append(e.appendHeader(dst, KindFreeze), e.Owner[:]...)
	if e.Frozen {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func (e *Freeze) readBody(r *reader) {
	e.Owner = zk.Owner(r.field())
	f := r.u8()
	if f > 1 {
		r.fail(Refuse(Malformed, "frozen flag %d", f))
	}
	e.Frozen = f == 1
}

// Validate checks the header; every owner and both flags are well formed.
func (e *Freeze) Validate() error { return e.validateHeader() }

// AppendEffecting appends E.
func (e *Programme) AppendEffecting(dst []byte) []byte {
	dst = put64(e.appendHeader(dst, KindProgramme), uint64(e.Programme))
	dst = append(putText(dst, e.Name), uint8(e.Status))
	return putSchnorr(putPoint(dst, e.Reader), e.Possession)
}

func (e *Programme) readBody(r *reader) {
	e.Programme = zk.ProgrammeID(r.u64())
	e.Name = r.text("programme name", MaxName)
	e.Status = ProgrammeStatus(r.u8())
	e.Reader = r.point()
	e.Possession = r.schnorr()
}

// Validate checks id, name and status, and the proof of possession (about 0.2 ms).
func (e *Programme) Validate() error {
	if err := e.validateHeader(); err != nil {
		return err
	}
	if e.Programme == 0 {
		return Refuse(Malformed, "programme 0 stands for money without a programme")
	}
	if len(e.Name) > MaxName || !printable(e.Name) {
		return Refuse(Malformed, "programme name: 1 to %d bytes of printable text, no space at either end", MaxName)
	}
	if e.Status != StatusOpen && e.Status != StatusClosed {
		return Refuse(Malformed, "programme status %d", e.Status)
	}
	if !CheckPossession(e.Reader, ReaderPossession(e.Ledger, e.Programme), e.Possession) {
		return Refuse(ReaderKeyInvalid, "the proof of possession of the reader key of programme %d does not verify", e.Programme)
	}
	return nil
}

// AppendEffecting appends E.
func (e *Oversight) AppendEffecting(dst []byte) []byte {
	dst = put32(e.appendHeader(dst, KindOversight), e.Epoch)
	return putSchnorr(putPoint(dst, e.Key), e.Possession)
}

func (e *Oversight) readBody(r *reader) {
	e.Epoch = r.u32()
	e.Key = r.point()
	e.Possession = r.schnorr()
}

// Validate checks the proof of possession (about 0.2 ms). Whether the epoch is the next one is for the ledger to say.
func (e *Oversight) Validate() error {
	if err := e.validateHeader(); err != nil {
		return err
	}
	if e.Epoch <= GenesisOversightEpoch {
		return Refuse(OversightEpochStale, "epoch %d, genesis holds epoch %d", e.Epoch, GenesisOversightEpoch)
	}
	if !CheckPossession(e.Key, OversightPossession(e.Ledger, e.Epoch), e.Possession) {
		return Refuse(OversightKeyInvalid, "the proof of possession of the oversight key of epoch %d does not verify", e.Epoch)
	}
	return nil
}

func (h *Header) validateHeader() error {
	if h.Sequence == 0 {
		return Refuse(SequenceStale, "policy sequence numbers begin at 1")
	}
	return checkSignatureOrder(h.Signatures)
}

// bodied is an entry of a client, other than a transaction, whose body follows the header. readBody reads the body and what the kind
// has of witness data before the policy signatures.
type bodied interface {
	Entry
	readHeader(*reader)
	readBody(*reader)
}

func decodeAdmin(b []byte, e bodied) (Entry, error) {
	r := reader{b: b[2:]}
	e.readHeader(&r)
	e.readBody(&r)
	e.Head().Signatures = readSignatures(&r)
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}

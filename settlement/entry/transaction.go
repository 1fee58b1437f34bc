package entry

import (
	"crypto/sha256"
	"crypto/sha512"

	"github.com/comity-ledger/comity/zk"
)

// CircuitVersion is the one layout of legs that this package reads. A later circuit version with other public inputs gets its own
// number here before any ledger lists it.
const CircuitVersion = 1

// MaxCondition is the longest condition of a hold in bytes.
const MaxCondition = 1024

// LocalSizeClass is the size class of a hold that no other ledger sees (SPEC 1.4).
const LocalSizeClass = 1<<64 - 1

// A Transaction moves value: kinds transfer, issue and redeem. Its legs settle all or none.
type Transaction struct {
	Type Kind // KindTransfer, KindIssue or KindRedeem
	Header
	Legs []Leg
}

// A Leg is one proof with its nullifiers and outputs. The lengths of its slices follow from the circuit's shape; everything up to
// SegmentHash is effecting data, the rest is witness data.
type Leg struct {
	Circuit          zk.CircuitID
	CircuitVersion   uint8
	OversightEpoch   uint32
	Asset            zk.AssetID     // 0 unless the leg issues or redeems
	Programme        zk.ProgrammeID // 0 unless the leg issues or redeems
	Issued, Redeemed zk.Amount
	Epk              [2]zk.Field // e*G; its form is proven by the circuit, so only canonical bytes are checked
	Wrap             zk.Field
	Sender           []zk.Field // 2, or 3 with more than 7 inputs
	Nullifiers       []zk.Nullifier
	Commitments      []zk.Commitment
	Cipher           [][2]zk.Field // c0, c1 of each output
	SubtreeRoot      zk.Root       // disbursements only
	ReturnCommitment zk.Commitment // holds only
	SizeClass        uint64        // holds only
	Condition        Condition     // holds only
	SegmentHash      [32]byte      // SHA-256 of the payee ciphertext segment that travels beside the entry

	Anchor uint64 // height of the block whose state entry gives the roots of the proof
	Tree   uint16 // note tree of the inputs
	Proof  zk.Proof
	Peer   *PeerProof // that the decider logged its hold; exactly when another ledger decides
}

// A Condition says when a hold is posted. The bytes of each type are defined with the rules that decide it.
type Condition struct {
	Type  uint8
	Bytes []byte
}

// SegmentHash is what a leg's effecting data keeps of its payee ciphertext segment: plain SHA-256.
func SegmentHash(segment []byte) [32]byte { return sha256.Sum256(segment) }

// Kind returns tx.Type.
func (tx *Transaction) Kind() Kind { return tx.Type }

// legLayout is what a circuit's shape says about a leg's bytes.
type legLayout struct {
	inputs, outputs, senders int
	subtree, held            bool
}

func layoutOf(id zk.CircuitID) (l legLayout, ok bool) {
	switch id {
	case zk.Transfer, zk.Hold, zk.Disburse16, zk.Disburse64, zk.Consolidate:
	default:
		return l, false
	}
	s := id.Shape()
	l = legLayout{inputs: s.Inputs, outputs: s.Outputs, senders: 2, subtree: s.SubtreeLevel > 0, held: s.Held}
	if s.Inputs > 7 {
		l.senders = 3
	}
	return l, true
}

const (
	legFixed   = 1 + 1 + 4 + 4 + 8 + 8 + 8 + 64 + 32 + 32 // up to wrap, and the segment hash
	legWitness = 8 + 2 + 384
)

// effecting is the length of a leg's effecting data without its condition's bytes.
func (l legLayout) effecting() int {
	n := legFixed + 32*l.senders + 32*l.inputs + (32+64)*l.outputs
	if l.subtree {
		n += 32
	}
	if l.held {
		n += 32 + 8 + 1 + 2
	}
	return n
}

// EffectingSize is the length of E in bytes.
func (tx *Transaction) EffectingSize() int {
	n := 2 + 32 + 8 + 8 + 1
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		n += legFixed + 32*(len(leg.Sender)+len(leg.Nullifiers)+len(leg.Commitments)+2*len(leg.Cipher))
		l, _ := layoutOf(leg.Circuit)
		if l.subtree {
			n += 32
		}
		if l.held {
			n += 32 + 8 + 1 + 2 + len(leg.Condition.Bytes)
		}
	}
	return n
}

// Size is the length of the entry, E and W, in bytes.
func (tx *Transaction) Size() int {
	n := tx.EffectingSize() + legWitness*len(tx.Legs) + 1 + policySignatureSize*len(tx.Signatures)
	for i := range tx.Legs {
		if p := tx.Legs[i].Peer; p != nil {
			n += p.size()
		}
	}
	return n
}

// AppendEffecting appends E: what happens, and nothing of why it may.
func (tx *Transaction) AppendEffecting(dst []byte) []byte {
	dst = tx.appendHeader(dst, tx.Type)
	dst = append(dst, uint8(len(tx.Legs)))
	for i := range tx.Legs {
		dst = tx.Legs[i].appendEffecting(dst)
	}
	return dst
}

func (leg *Leg) appendEffecting(dst []byte) []byte {
	l, _ := layoutOf(leg.Circuit)
	dst = append(dst, byte(leg.Circuit), leg.CircuitVersion)
	dst = put32(dst, leg.OversightEpoch)
	dst = put32(dst, uint32(leg.Asset))
	dst = put64(dst, uint64(leg.Programme))
	dst = put64(dst, uint64(leg.Issued))
	dst = put64(dst, uint64(leg.Redeemed))
	dst = append(append(dst, leg.Epk[0][:]...), leg.Epk[1][:]...)
	dst = append(dst, leg.Wrap[:]...)
	for i := range leg.Sender {
		dst = append(dst, leg.Sender[i][:]...)
	}
	for i := range leg.Nullifiers {
		dst = append(dst, leg.Nullifiers[i][:]...)
	}
	for i := range leg.Commitments {
		dst = append(dst, leg.Commitments[i][:]...)
	}
	for i := range leg.Cipher {
		dst = append(append(dst, leg.Cipher[i][0][:]...), leg.Cipher[i][1][:]...)
	}
	if l.subtree {
		dst = append(dst, leg.SubtreeRoot[:]...)
	}
	if l.held {
		dst = append(dst, leg.ReturnCommitment[:]...)
		dst = put64(dst, leg.SizeClass)
		dst = append(dst, leg.Condition.Type)
		dst = append(put16(dst, uint16(len(leg.Condition.Bytes))), leg.Condition.Bytes...)
	}
	return append(dst, leg.SegmentHash[:]...)
}

// AppendWitness appends W: anchors, proofs and policy signatures.
func (tx *Transaction) AppendWitness(dst []byte) []byte {
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		dst = put16(put64(dst, leg.Anchor), leg.Tree)
		dst = append(dst, leg.Proof[:]...)
		if leg.Peer != nil {
			dst = leg.Peer.append(dst)
		}
	}
	return appendSignatures(dst, tx.Signatures)
}

// Encode gives the entry's bytes E || W.
func (tx *Transaction) Encode() []byte {
	return tx.AppendWitness(tx.AppendEffecting(make([]byte, 0, tx.Size())))
}

// ID is the transaction id, SHA-256("comity/txid/v1" || E).
func (tx *Transaction) ID() ID {
	buf := append(make([]byte, 0, len(txidTag)+tx.EffectingSize()), txidTag...)
	return ID(sha256.Sum256(tx.AppendEffecting(buf)))
}

// Ctx is the field element that every leg's proof is bound to: SHA-512("comity/ctx/v1" || E) mod r.
func (tx *Transaction) Ctx() zk.Field {
	_, ctx := tx.Digests()
	return ctx
}

// Digests computes id and ctx over one encoding of E.
func (tx *Transaction) Digests() (ID, zk.Field) {
	buf := append(make([]byte, 0, len(txidTag)+tx.EffectingSize()), txidTag...)
	return digests(tx.AppendEffecting(buf))
}

// digests takes tag || E and overwrites the longer tag with the shorter one, so that E is written once.
func digests(tagged []byte) (ID, zk.Field) {
	id := ID(sha256.Sum256(tagged))
	cut := len(txidTag) - len(ctxTag)
	copy(tagged[cut:], ctxTag)
	return id, zk.FieldFromWide(sha512.Sum512(tagged[cut:]))
}

// Public fills in what the ledger adds to a leg (the roots of its anchor, the oversight key of its epoch, the transaction's ctx)
// and gives the public inputs of its proof. The slices are shared with the leg.
func (leg *Leg) Public(noteRoot, registryRoot, readersRoot zk.Root, oversightKey zk.Point, ctx zk.Field) zk.LegPublic {
	return zk.LegPublic{
		Circuit:          leg.Circuit,
		NoteRoot:         noteRoot,
		Tree:             leg.Tree,
		RegistryRoot:     registryRoot,
		ReadersRoot:      readersRoot,
		OversightKey:     oversightKey,
		Ctx:              ctx,
		Asset:            leg.Asset,
		Programme:        leg.Programme,
		Issued:           leg.Issued,
		Redeemed:         leg.Redeemed,
		Epk:              leg.Epk,
		Wrap:             leg.Wrap,
		Sender:           leg.Sender,
		Nullifiers:       leg.Nullifiers,
		Commitments:      leg.Commitments,
		Cipher:           leg.Cipher,
		SubtreeRoot:      leg.SubtreeRoot,
		ReturnCommitment: leg.ReturnCommitment,
		SizeClass:        leg.SizeClass,
	}
}

// DecodeTransaction reads a transfer, issue or redeem entry. The result shares no memory with b.
func DecodeTransaction(b []byte) (*Transaction, error) {
	k, err := KindOf(b)
	if err != nil {
		return nil, err
	}
	if k != KindTransfer && k != KindIssue && k != KindRedeem {
		return nil, Refuse(UnknownKind, "a %s entry is no transaction", k)
	}
	r := reader{b: b[2:]}
	tx := &Transaction{Type: k}
	tx.readHeader(&r)
	n := int(r.u8())
	if r.err == nil && (n < 1 || n > MaxLegs) {
		return nil, Refuse(Malformed, "%d legs, want 1 to %d", n, MaxLegs)
	}
	if r.err != nil {
		return nil, r.err
	}
	tx.Legs = make([]Leg, n)
	for i := range tx.Legs {
		tx.Legs[i].readEffecting(&r)
	}
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		leg.Anchor = r.u64()
		leg.Tree = r.u16()
		copy(leg.Proof[:], r.take(len(leg.Proof)))
		if leg.Condition.Type == ConditionDecidedThere && r.err == nil {
			leg.Peer = r.peerProof()
		}
	}
	tx.Signatures = readSignatures(&r)
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := tx.Validate(); err != nil {
		return nil, err
	}
	return tx, nil
}

func (leg *Leg) readEffecting(r *reader) {
	leg.Circuit = zk.CircuitID(r.u8())
	leg.CircuitVersion = r.u8()
	if r.err != nil {
		return
	}
	l, ok := layoutOf(leg.Circuit)
	if !ok || leg.CircuitVersion != CircuitVersion {
		r.fail(Refuse(UnknownCircuit, "circuit %d version %d", leg.Circuit, leg.CircuitVersion))
		return
	}
	if !r.has(l.effecting() - 2) { // before anything of that size is allocated
		return
	}
	leg.OversightEpoch = r.u32()
	leg.Asset = zk.AssetID(r.u32())
	leg.Programme = zk.ProgrammeID(r.u64())
	leg.Issued = zk.Amount(r.u64())
	leg.Redeemed = zk.Amount(r.u64())
	leg.Epk = [2]zk.Field{r.field(), r.field()}
	leg.Wrap = r.field()
	leg.Sender = make([]zk.Field, l.senders)
	for i := range leg.Sender {
		leg.Sender[i] = r.field()
	}
	leg.Nullifiers = make([]zk.Nullifier, l.inputs)
	for i := range leg.Nullifiers {
		leg.Nullifiers[i] = zk.Nullifier(r.field())
	}
	leg.Commitments = make([]zk.Commitment, l.outputs)
	for i := range leg.Commitments {
		leg.Commitments[i] = zk.Commitment(r.field())
	}
	leg.Cipher = make([][2]zk.Field, l.outputs)
	for i := range leg.Cipher {
		leg.Cipher[i] = [2]zk.Field{r.field(), r.field()}
	}
	if l.subtree {
		leg.SubtreeRoot = zk.Root(r.field())
	}
	if l.held {
		leg.ReturnCommitment = zk.Commitment(r.field())
		leg.SizeClass = r.u64()
		leg.Condition.Type = r.u8()
		n := int(r.u16())
		if n > MaxCondition {
			r.fail(Refuse(Oversize, "a condition of %d bytes, the limit is %d", n, MaxCondition))
			return
		}
		if n > 0 {
			leg.Condition.Bytes = append([]byte(nil), r.take(n)...)
		}
	}
	leg.SegmentHash = r.bytes32()
}

// Validate checks what a transaction's bytes alone can tell: its shape, that what it shows fits its kind, and that it does not
// spend one note twice. Decoding implies it; a wallet calls it on what it built.
func (tx *Transaction) Validate() error {
	if tx.Type != KindTransfer && tx.Type != KindIssue && tx.Type != KindRedeem {
		return Refuse(UnknownKind, "a %s entry is no transaction", tx.Type)
	}
	if len(tx.Legs) < 1 || len(tx.Legs) > MaxLegs {
		return Refuse(Malformed, "%d legs, want 1 to %d", len(tx.Legs), MaxLegs)
	}
	if tx.Type == KindTransfer && (tx.Sequence != 0 || len(tx.Signatures) != 0) {
		return Refuse(KindMismatch, "a transfer carries neither a policy sequence number nor policy signatures")
	}
	if tx.Type != KindTransfer && tx.Sequence == 0 {
		return Refuse(SequenceStale, "policy sequence numbers begin at 1")
	}
	shown := false
	for i := range tx.Legs {
		moved, err := tx.Legs[i].validate(tx.Type)
		if err != nil {
			return err
		}
		shown = shown || moved
	}
	if tx.Type != KindTransfer && !shown {
		return Refuse(AmountZero, "no leg of this %s entry shows an amount", tx.Type)
	}
	if err := tx.distinctNullifiers(); err != nil {
		return err
	}
	if err := checkSignatureOrder(tx.Signatures); err != nil {
		return err
	}
	if n := tx.Size(); n > MaxEntry {
		return Refuse(Oversize, "an entry of %d bytes, the limit is %d", n, MaxEntry)
	}
	return nil
}

// validate tells whether the leg issues or redeems, or why it may not stand in an entry of that kind.
func (leg *Leg) validate(k Kind) (shown bool, err error) {
	l, ok := layoutOf(leg.Circuit)
	if !ok || leg.CircuitVersion != CircuitVersion {
		return false, Refuse(UnknownCircuit, "circuit %d version %d", leg.Circuit, leg.CircuitVersion)
	}
	if len(leg.Sender) != l.senders || len(leg.Nullifiers) != l.inputs || len(leg.Commitments) != l.outputs || len(leg.Cipher) != l.outputs {
		return false, Refuse(Malformed, "a %s leg with %d sender fields, %d nullifiers, %d commitments, %d ciphertexts", leg.Circuit,
			len(leg.Sender), len(leg.Nullifiers), len(leg.Commitments), len(leg.Cipher))
	}
	if !l.subtree && leg.SubtreeRoot != (zk.Root{}) || !l.held && (leg.ReturnCommitment != (zk.Commitment{}) || leg.SizeClass != 0 ||
		leg.Condition.Type != 0 || len(leg.Condition.Bytes) != 0) {
		return false, Refuse(Malformed, "a %s leg holds fields that its circuit does not have", leg.Circuit)
	}
	if len(leg.Condition.Bytes) > MaxCondition {
		return false, Refuse(Oversize, "a condition of %d bytes, the limit is %d", len(leg.Condition.Bytes), MaxCondition)
	}
	if l.held {
		if err := leg.validateHold(); err != nil {
			return false, err
		}
	} else if leg.Peer != nil {
		return false, Refuse(Malformed, "a %s leg with a peer proof", leg.Circuit)
	}
	switch {
	case leg.Issued != 0 && leg.Redeemed != 0:
		return false, Refuse(IssueAndRedeem, "a leg issues %d and redeems %d", leg.Issued, leg.Redeemed)
	case leg.Issued == 0 && leg.Redeemed == 0:
		if leg.Asset != 0 || leg.Programme != 0 {
			return false, Refuse(KindMismatch, "a leg shows an asset or a programme without an amount")
		}
		return false, nil
	case k == KindIssue && leg.Issued != 0, k == KindRedeem && leg.Redeemed != 0:
		if leg.Asset == 0 {
			return false, Refuse(UnknownAsset, "asset 0 stands for a hidden asset")
		}
		return true, nil
	}
	return false, Refuse(KindMismatch, "a leg of a %s entry issues %d and redeems %d", k, leg.Issued, leg.Redeemed)
}

// validateHold checks that condition, size class and peer proof fit one another. A peer proof may still be missing: it is witness data,
// and the ledger asks for it.
func (leg *Leg) validateHold() error {
	if _, err := leg.Condition.Decode(); err != nil {
		return err
	}
	if (leg.Condition.Type == ConditionAttested) != (leg.SizeClass == LocalSizeClass) {
		return Refuse(ConditionInvalid, "size class %d with condition type %d", leg.SizeClass, leg.Condition.Type)
	}
	if leg.Peer == nil {
		return nil
	}
	if leg.Condition.Type != ConditionDecidedThere {
		return Refuse(Malformed, "a peer proof with condition type %d", leg.Condition.Type)
	}
	return leg.Peer.check()
}

// distinctNullifiers compares canonical bytes. With at most 4 legs of 8 inputs comparing pairs beats a map.
func (tx *Transaction) distinctNullifiers() error {
	for i := range tx.Legs {
		for a, nf := range tx.Legs[i].Nullifiers {
			for j := range i + 1 {
				others := tx.Legs[j].Nullifiers
				if j == i {
					others = others[:a]
				}
				for b := range others {
					if others[b] == nf {
						return Refuse(NullifierRepeated, "nullifier %s in legs %d and %d", nf, j, i)
					}
				}
			}
		}
	}
	return nil
}

// CheckSegments compares the payee ciphertext segments that travelled beside the entry with the hashes in it, one per leg in order.
func (tx *Transaction) CheckSegments(segments [][]byte) error {
	if len(segments) != len(tx.Legs) {
		return Refuse(SegmentMismatch, "%d segments for %d legs", len(segments), len(tx.Legs))
	}
	for i, s := range segments {
		if len(s) > MaxSegment {
			return Refuse(Oversize, "segment %d has %d bytes, the limit is %d", i, len(s), MaxSegment)
		}
		if SegmentHash(s) != tx.Legs[i].SegmentHash {
			return Refuse(SegmentMismatch, "segment %d has another hash than leg %d names", i, i)
		}
	}
	return nil
}

package bridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

const (
	// MaxBundle is the longest bundle in bytes.
	MaxBundle = 32 << 20
	// MaxBundleEntries is the most entries of one bundle; more go into another one.
	MaxBundleEntries = 4096

	bundleHeader = "comity/bundle/v1\n"
	maxPath      = 63
)

// A Bundle is settlement by file: what one ledger's log shows another, for a line that is cut. Nothing in it is secret, and nothing in it is
// believed: whoever imports it gets entries that the other ledger judges like any others (B7.1).
type Bundle struct {
	Of, For     entry.GenesisHash
	Since       uint64 // leaves that For is known to have observed; the consistency path begins there
	Checkpoint  []byte // of Of's log, signed by the log and its witnesses
	Consistency [][32]byte
	Rotations   []entry.Rotation // of the log key, since the corridor was opened
	State       []byte           // the last leaf under the checkpoint, a state entry
	StatePath   [][32]byte
	Entries     []BundleEntry // ascending by index
}

// BundleEntry is a leaf with its inclusion path under the bundle's checkpoint.
type BundleEntry struct {
	Index uint64
	Leaf  []byte
	Path  [][32]byte
}

// Marshal gives the bundle's bytes: header, fields, and the SHA-256 of all that stands before it. The checksum finds accidents; forgeries fail
// by the signatures.
func (b *Bundle) Marshal() []byte {
	out := append([]byte(bundleHeader), b.Of[:]...)
	out = put64(append(out, b.For[:]...), b.Since)
	out = putPath(putBlob(out, b.Checkpoint), b.Consistency)
	out = append(out, uint8(len(b.Rotations)))
	for i := range b.Rotations {
		r := &b.Rotations[i]
		out = append(append(append(put32(out, r.Number), r.Key[:]...), r.By[:]...), r.Accept[:]...)
	}
	out = putPath(putBlob(out, b.State), b.StatePath)
	out = put16(out, uint16(len(b.Entries)))
	for i := range b.Entries {
		e := &b.Entries[i]
		out = putPath(putBlob(put64(out, e.Index), e.Leaf), e.Path)
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// ParseBundle reads what Marshal wrote, and only that, and checks every path against the checkpoint's root. Who signed the checkpoint is for
// Verify, or for the ledger, to judge. It refuses oversize and bundle_invalid.
func ParseBundle(b []byte) (*Bundle, error) {
	if len(b) > MaxBundle {
		return nil, Refuse(Oversize, "a bundle of %d bytes, the limit is %d", len(b), MaxBundle)
	}
	body, ok := bytes.CutPrefix(b, []byte(bundleHeader))
	if !ok || len(body) < sha256.Size {
		return nil, Refuse(BundleInvalid, "it does not begin with %q", bundleHeader)
	}
	end := len(b) - sha256.Size
	if sha256.Sum256(b[:end]) != [sha256.Size]byte(b[end:]) {
		return nil, Refuse(BundleInvalid, "the checksum is another")
	}
	r := &reader{b: body[:len(body)-sha256.Size]}
	out := &Bundle{Of: r.bytes32(), For: r.bytes32(), Since: r.u64(), Checkpoint: r.blob(), Consistency: r.path()}
	if n := int(r.u8()); n > entry.MaxRotations {
		r.fail(Refuse(BundleInvalid, "%d rotations, at most %d", n, entry.MaxRotations))
	} else {
		for i := 0; i < n && r.err == nil; i++ {
			out.Rotations = append(out.Rotations, entry.Rotation{Number: r.u32(), Key: r.bytes32(), By: r.signature(), Accept: r.signature()})
		}
	}
	out.State, out.StatePath = r.blob(), r.path()
	n := int(r.u16())
	if n > MaxBundleEntries {
		r.fail(Refuse(BundleInvalid, "%d entries, at most %d", n, MaxBundleEntries))
	}
	for i := 0; i < n && r.err == nil; i++ {
		out.Entries = append(out.Entries, BundleEntry{Index: r.u64(), Leaf: r.blob(), Path: r.path()})
	}
	if err := r.end(); err != nil {
		return nil, Refuse(BundleInvalid, "%v", err)
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	return out, nil
}

// Validate checks that everything in the bundle lies under the root of its checkpoint.
func (b *Bundle) Validate() error {
	head, err := b.Head()
	if err != nil {
		return err
	}
	switch {
	case b.Of == b.For:
		return Refuse(BundleInvalid, "it is of the ledger that it is for")
	case b.Since > head.Size || len(b.Rotations) > entry.MaxRotations || len(b.Entries) > MaxBundleEntries:
		return Refuse(BundleInvalid, "since %d of %d leaves, %d rotations, %d entries", b.Since, head.Size, len(b.Rotations), len(b.Entries))
	case (b.Since == 0 || b.Since == head.Size) && len(b.Consistency) != 0 || len(b.Consistency) > maxPath:
		return Refuse(BundleInvalid, "a consistency path of %d hashes", len(b.Consistency))
	}
	if _, err := entry.DecodeState(b.State); err != nil {
		return Refuse(BundleInvalid, "state entry: %v", err)
	}
	if err := proof.VerifyInclusion(head, head.Size-1, proof.LeafHash(b.State), hashes(b.StatePath)); err != nil {
		return Refuse(BundleInvalid, "state entry: %v", err)
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		if i > 0 && e.Index <= b.Entries[i-1].Index {
			return Refuse(BundleInvalid, "entries are not ascending by index")
		}
		if len(e.Leaf) == 0 {
			return Refuse(BundleInvalid, "entry %d is empty", e.Index)
		}
		if err := proof.VerifyInclusion(head, e.Index, proof.LeafHash(e.Leaf), hashes(e.Path)); err != nil {
			return Refuse(BundleInvalid, "entry %d: %v", e.Index, err)
		}
	}
	return nil
}

// Head reads size and root of the checkpoint. Signatures are not judged.
func (b *Bundle) Head() (proof.Head, error) {
	i := bytes.LastIndex(b.Checkpoint, []byte("\n\n"))
	if i < 0 {
		return proof.Head{}, Refuse(BundleInvalid, "the checkpoint is no signed note")
	}
	c, err := proof.ParseCheckpoint(string(b.Checkpoint[:i+1]))
	if err != nil {
		return proof.Head{}, Refuse(BundleInvalid, "%v", err)
	}
	if c.Size == 0 {
		return proof.Head{}, Refuse(BundleInvalid, "the checkpoint covers nothing")
	}
	return c.Head, nil
}

// Verify checks the checkpoint's signatures against a policy: what a careful importer does before it troubles a ledger.
func (b *Bundle) Verify(p *proof.Policy) error {
	if _, err := p.Check(b.Checkpoint, 0); err != nil {
		return Refuse(BundleInvalid, "%v", err)
	}
	return nil
}

// An Importer turns bundles into entries for one ledger. It stands on a relay that has read the ledger's own log.
type Importer struct {
	own    entry.GenesisHash
	relay  *Relay
	proofs map[Leaf]entry.PeerProof // under the newest size that a bundle showed
	out    []*entry.Observe
}

// Leaf names an entry of a log.
type Leaf struct {
	Ledger entry.GenesisHash
	Index  uint64
}

// NewImporter takes a relay made for the ledger and its peers, to which the ledger's own log was added. The importer uses the relay up.
func NewImporter(own entry.GenesisHash, relay *Relay) *Importer {
	return &Importer{own: own, relay: relay, proofs: map[Leaf]entry.PeerProof{}}
}

// Add takes a bundle for the ledger. Bundles of one peer are added from the older to the newer.
func (m *Importer) Add(b *Bundle, expiryMillis uint64) error {
	if b.For != m.own || m.relay.logs[b.Of] == nil {
		return Refuse(BundleOther, "a bundle of %s for %s", b.Of, b.For)
	}
	if err := b.Validate(); err != nil {
		return err
	}
	head, err := b.Head()
	if err != nil {
		return err
	}
	c := m.relay.logs[m.own].corridor(b.Of)
	switch {
	case c.saw(head.Size):
	case head.Size < c.size:
		return Refuse(BundleInvalid, "it shows %d leaves, the ledger observed %d and not that many: export again", head.Size, c.size)
	case b.Since != c.size:
		return Refuse(BundleInvalid, "its consistency begins at %d leaves, the ledger observed %d", b.Since, c.size)
	default:
		e := &entry.Observe{Header: entry.Header{Ledger: m.own, ExpiryMillis: expiryMillis}, Peer: b.Of, Size: head.Size, Root: head.Root,
			Rotations: b.Rotations, Checkpoint: b.Checkpoint, Consistency: b.Consistency, State: b.State, StatePath: b.StatePath}
		m.out = append(m.out, e)
		c.observed(e)
	}
	for _, e := range b.Entries {
		if err := m.relay.Show(b.Of, e.Index, e.Leaf); err != nil {
			return Refuse(BundleInvalid, "entry %d: %v", e.Index, err)
		}
		m.proofs[Leaf{b.Of, e.Index}] = entry.PeerProof{Size: head.Size, Index: e.Index, Path: e.Path, Leaf: e.Leaf}
	}
	return nil
}

// Entries gives what is to be submitted to the ledger: observations first, in order, then resolutions, each with its proofs. What a bundle lacks
// the proof for is left out.
func (m *Importer) Entries(expiryMillis, nowMillis uint64) ([]*entry.Observe, []*entry.Resolve) {
	var resolves []*entry.Resolve
	plan := m.relay.Plan(Options{NowMillis: nowMillis})
	for i := range plan.Resolves {
		a := &plan.Resolves[i]
		if a.On != m.own {
			continue
		}
		peers := make([]entry.PeerProof, 0, len(a.Peers))
		for _, leaf := range a.Peers {
			if p, ok := m.proofs[Leaf{leaf.Ledger, leaf.Index}]; ok {
				peers = append(peers, p)
			}
		}
		if len(peers) == len(a.Peers) {
			resolves = append(resolves, a.Entry(expiryMillis, peers))
		}
	}
	return slices.Clone(m.out), resolves
}

// Proof gives the peer proof of a leaf that a bundle held, such as a hold that follows must carry of its deciding hold.
func (m *Importer) Proof(leaf Leaf) (entry.PeerProof, error) {
	p, ok := m.proofs[leaf]
	if !ok {
		return p, Refuse(BundleInvalid, "no proof of entry %d of %s", leaf.Index, leaf.Ledger)
	}
	return p, nil
}

func hashes(path [][32]byte) []proof.Hash {
	out := make([]proof.Hash, len(path))
	for i, h := range path {
		out[i] = h
	}
	return out
}

func putPath(dst []byte, path [][32]byte) []byte {
	dst = append(dst, uint8(len(path)))
	for i := range path {
		dst = append(dst, path[i][:]...)
	}
	return dst
}

func putBlob(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(b))), b...)
}

// blob reads bytes behind their length. They share the message's memory.
func (r *reader) blob() []byte {
	if n := int(r.u16()); n > 0 {
		return r.take(n)
	}
	return nil
}

func (r *reader) path() [][32]byte {
	n := int(r.u8())
	if n > maxPath {
		r.fail(Refuse(Malformed, "a path of %d hashes, at most %d", n, maxPath))
	}
	var path [][32]byte
	for i := 0; i < n && r.err == nil; i++ {
		path = append(path, r.bytes32())
	}
	return path
}

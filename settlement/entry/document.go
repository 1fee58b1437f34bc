package entry

import "github.com/comity-ledger/comity/zk"

// DocumentAction is what a document entry does.
type DocumentAction uint8

// The actions of a document entry.
const (
	Anchors    DocumentAction = 1
	Supersedes DocumentAction = 2 // anchors Digest and ends Former
	Revokes    DocumentAction = 3 // ends Digest
)

// String gives the verb.
func (a DocumentAction) String() string {
	switch a {
	case Anchors:
		return "anchors"
	case Supersedes:
		return "supersedes"
	case Revokes:
		return "revokes"
	}
	return "unknown"
}

// Document anchors a document by its digest, replaces it or takes it back.
type Document struct {
	Header
	Action DocumentAction
	Type   Statement
	Digest [32]byte // SHA-256 of the document
	Former [32]byte // the one that is superseded; zero otherwise
	Label  string   // at most MaxName bytes
}

// DocumentKey is used up when a document is anchored, so that one digest is anchored once.
func DocumentKey(digest [32]byte) zk.Nullifier { return onceKey("comity/document/v1", digest[:]) }

// DocumentEndKey is used up when a document is superseded or revoked.
func DocumentEndKey(digest [32]byte) zk.Nullifier {
	return onceKey("comity/document-end/v1", digest[:])
}

// Kind returns KindDocument.
func (*Document) Kind() Kind { return KindDocument }

// AppendEffecting appends E.
func (e *Document) AppendEffecting(dst []byte) []byte {
	dst = append(e.appendHeader(dst, KindDocument), byte(e.Action), byte(e.Type))
	return putText(append(append(dst, e.Digest[:]...), e.Former[:]...), e.Label)
}

func (e *Document) readBody(r *reader) {
	e.Action, e.Type = DocumentAction(r.u8()), Statement(r.u8())
	e.Digest, e.Former = r.bytes32(), r.bytes32()
	e.Label = r.text("label", MaxName)
}

// Validate checks that the fields fit the action.
func (e *Document) Validate() error {
	if err := e.validateHeader(); err != nil {
		return err
	}
	if e.Action < Anchors || e.Action > Revokes || e.Type < StatementDelivery || e.Type > DocumentOther {
		return Refuse(Malformed, "action %d, document type %d", e.Action, e.Type)
	}
	if len(e.Label) > MaxName || !printable(e.Label) {
		return Refuse(Malformed, "label: 1 to %d bytes of printable text, no space at either end", MaxName)
	}
	if e.Digest == ([32]byte{}) || (e.Action == Supersedes) != (e.Former != ([32]byte{})) || e.Former == e.Digest {
		return Refuse(Malformed, "digest %x, former %x in an entry that %s", e.Digest, e.Former, e.Action)
	}
	return nil
}

// Keys lists the once-only keys that an entry uses up: the nullifiers of a transaction, the key of a hold that is resolved, those of a
// document. They are kept and compared as nullifiers are. Nil for other privileged entries, whose sequence number serves.
func Keys(e Entry) []zk.Nullifier {
	switch e := e.(type) {
	case *Transaction:
		if len(e.Legs) == 1 {
			return e.Legs[0].Nullifiers
		}
		var keys []zk.Nullifier
		for i := range e.Legs {
			keys = append(keys, e.Legs[i].Nullifiers...)
		}
		return keys
	case *Resolve:
		return []zk.Nullifier{e.Hold.Key()}
	case *Override:
		return []zk.Nullifier{e.Hold.Key()}
	case *Attest, *Amend, *Observe, *Evidence:
		return []zk.Nullifier{OnceKey(IDOf(e))}
	case *Document:
		switch e.Action {
		case Anchors:
			return []zk.Nullifier{DocumentKey(e.Digest)}
		case Supersedes:
			return []zk.Nullifier{DocumentKey(e.Digest), DocumentEndKey(e.Former)}
		default:
			return []zk.Nullifier{DocumentEndKey(e.Digest)}
		}
	}
	return nil
}

// Needs lists the once-only keys that must have been used up before: a document is ended only after it was anchored.
func Needs(e Entry) []zk.Nullifier {
	if e, ok := e.(*Document); ok {
		switch e.Action {
		case Supersedes:
			return []zk.Nullifier{DocumentKey(e.Former)}
		case Revokes:
			return []zk.Nullifier{DocumentKey(e.Digest)}
		}
	}
	return nil
}

package settlement

import (
	"github.com/comity-ledger/comity/zk"
)

// InLaterTree gives the state as it would be after its open tree was sealed.
func (s *State) InLaterTree() *State {
	next := *s
	sealed := s.notes.root
	next.notes = newNoteTree()
	next.notes.number = s.notes.number + 1
	next.notes.sealed = append(append([]zk.Root(nil), s.notes.sealed...), sealed)
	return &next
}

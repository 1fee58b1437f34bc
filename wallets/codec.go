package wallets

import (
	"encoding/json"
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// stateVersion is the version of encoded states. Another version counts as absent: the stream rebuilds it.
const stateVersion = 2

type stateJSON struct {
	Version    int               `json:"version"`
	Genesis    entry.GenesisHash `json:"genesis"`
	Owner      zk.Owner          `json:"owner"`
	Blocks     uint64            `json:"blocks"`
	TimeMillis uint64            `json:"time"`
	LogSize    uint64            `json:"log_size"`
	LogNodes   [][]byte          `json:"log_nodes"`
	FinalSize  uint64            `json:"final_size"`
	FinalRoot  []byte            `json:"final_root"`
	FinalTime  uint64            `json:"final_time"`
	Checkpoint []byte            `json:"checkpoint,omitempty"`
	Ahead      []aheadJSON       `json:"ahead,omitempty"`
	Notes      notesJSON         `json:"notes"`
	Registry   []registryJSON    `json:"registry"`
	OwnRights  []zk.Right        `json:"own_rights,omitempty"`
	Programmes []programmeJSON   `json:"programmes"`
	Epoch      uint32            `json:"epoch"`
	Oversight  []byte            `json:"oversight"`
	Nullifiers uint64            `json:"nullifiers"`
	Sequence   uint64            `json:"sequence"`
	Supply     []entry.Supply    `json:"supply"`
	Own        []OwnNote         `json:"own"`
	Holds      uint32            `json:"holds,omitempty"`
	Held       []Hold            `json:"held,omitempty"`
	Settled    []settledJSON     `json:"settled"`
	Tags       []tagJSON         `json:"tags,omitempty"`
	History    []Movement        `json:"history"`
}

type aheadJSON struct {
	Size       uint64 `json:"size"`
	Root       []byte `json:"root"`
	Checkpoint []byte `json:"checkpoint,omitempty"`
}

type registryJSON struct {
	Owner  zk.Owner  `json:"o"`
	Frozen bool      `json:"f,omitempty"`
	Limit  zk.Amount `json:"l"`
	Rights zk.Root   `json:"r"`
}

type programmeJSON struct {
	ID     zk.ProgrammeID `json:"id"`
	Name   string         `json:"name"`
	Open   bool           `json:"open"`
	Reader []byte         `json:"reader"`
}

type settledJSON struct {
	ID entry.ID `json:"id"`
	Settled
}

type tagJSON struct {
	Tag Tag      `json:"tag"`
	ID  entry.ID `json:"id"`
}

// Encode gives the state's bytes for the folder. They hold what the wallet's view key sees, so they are stored encrypted.
func (s *State) Encode() ([]byte, error) {
	if s.broken != nil {
		return nil, fmt.Errorf("encode a state that met a contradiction: %w", s.broken)
	}
	j := stateJSON{Version: stateVersion, Genesis: s.hash, Owner: s.view.Owner(), Blocks: s.blocks, TimeMillis: s.timeMillis,
		LogSize: s.log.Size, FinalSize: s.watch.finalSize, FinalRoot: s.watch.finalRoot[:], FinalTime: s.watch.finalMillis, Checkpoint: s.watch.checkpoint,
		OwnRights: s.registry.ownRights, Epoch: s.epoch, Nullifiers: s.nullifiers, Sequence: s.sequence, Supply: s.supply, Own: s.own,
		Holds: s.holds, Held: s.held, History: s.history}
	for _, n := range s.log.Nodes {
		j.LogNodes = append(j.LogNodes, append([]byte(nil), n[:]...))
	}
	for _, h := range s.watch.ahead {
		j.Ahead = append(j.Ahead, aheadJSON{h.size, append([]byte(nil), h.root[:]...), h.checkpoint})
	}
	j.Notes = s.notes.encode()
	for _, row := range s.registry.rows {
		j.Registry = append(j.Registry, registryJSON{row.Owner, row.Status == zk.Frozen, row.Limit, row.Rights})
	}
	for _, p := range s.readers.rows {
		key := p.Reader.Bytes()
		j.Programmes = append(j.Programmes, programmeJSON{p.ID, p.Name, p.Open, key[:]})
	}
	ovk := s.ovk.Bytes()
	j.Oversight = ovk[:]
	for id, at := range s.settled {
		j.Settled = append(j.Settled, settledJSON{id, at})
	}
	for t, id := range s.tags {
		j.Tags = append(j.Tags, tagJSON{t, id})
	}
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("encode wallet state: %w", err)
	}
	return b, nil
}

// DecodeState reads what Encode wrote. The bytes come from the wallet's own encrypted file; whatever is wrong with them, the remedy is to
// read the ledger again.
func DecodeState(b []byte, g *entry.Genesis, view keys.FullView) (*State, error) {
	var j stateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("decode wallet state: %w", err)
	}
	s := NewState(g, view)
	if j.Version != stateVersion || j.Genesis != s.hash || j.Owner != view.Owner() {
		return nil, fmt.Errorf("decode wallet state: it is of version %d, ledger %s", j.Version, j.Genesis)
	}
	s.blocks, s.timeMillis, s.epoch, s.nullifiers, s.sequence, s.supply = j.Blocks, j.TimeMillis, j.Epoch, j.Nullifiers, j.Sequence, j.Supply
	s.own, s.history, s.holds, s.held = j.Own, j.History, j.Holds, j.Held
	s.log.Size = j.LogSize
	for _, n := range j.LogNodes {
		h, err := hash32(n)
		if err != nil {
			return nil, err
		}
		s.log.Nodes = append(s.log.Nodes, h)
	}
	var err error
	s.watch.finalSize, s.watch.finalMillis, s.watch.checkpoint = j.FinalSize, j.FinalTime, j.Checkpoint
	if s.watch.finalRoot, err = hash32(j.FinalRoot); err != nil {
		return nil, err
	}
	for _, h := range j.Ahead {
		root, err := hash32(h.Root)
		if err != nil {
			return nil, err
		}
		s.watch.ahead = append(s.watch.ahead, aheadHead{h.Size, root, h.Checkpoint})
	}
	if s.notes, err = decodeNotes(j.Notes); err != nil {
		return nil, err
	}
	for _, r := range j.Registry {
		row := zk.RegistryLeaf{Owner: r.Owner, Status: zk.Active, Limit: r.Limit, Rights: r.Rights}
		if r.Frozen {
			row.Status = zk.Frozen
		}
		s.registry.index[r.Owner] = len(s.registry.rows)
		s.registry.rows = append(s.registry.rows, row)
		if err := s.registry.set(len(s.registry.rows) - 1); err != nil {
			return nil, err
		}
	}
	s.registry.ownRights = j.OwnRights
	for _, p := range j.Programmes {
		reader, err := zk.ParsePoint(p.Reader)
		if err != nil {
			return nil, fmt.Errorf("decode wallet state: reader of programme %d: %w", p.ID, err)
		}
		s.readers.index[p.ID] = len(s.readers.rows)
		s.readers.rows = append(s.readers.rows, Programme{ID: p.ID, Name: p.Name, Open: p.Open, Reader: reader})
		if err := s.readers.setLeaf(len(s.readers.rows) - 1); err != nil {
			return nil, err
		}
	}
	if s.ovk, err = zk.ParsePoint(j.Oversight); err != nil {
		return nil, fmt.Errorf("decode wallet state: oversight key: %w", err)
	}
	for i := range s.own {
		s.byNullifier[s.own[i].Nullifier] = i
	}
	for i := range s.held {
		s.byHold[s.held[i].ID] = i
	}
	for _, r := range j.Settled {
		s.settled[r.ID] = r.Settled
	}
	for _, r := range j.Tags {
		s.tags[r.Tag] = r.ID
	}
	return s, nil
}

func hash32(b []byte) (h proof.Hash, err error) {
	if len(b) != len(h) {
		return h, fmt.Errorf("decode wallet state: a hash of %d bytes", len(b))
	}
	copy(h[:], b)
	return h, nil
}

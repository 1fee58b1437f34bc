package entry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// The JSON form of corridor terms is for people: a treasury writes and reviews it before it is proposed. What is signed is the binary
// form. Keys are lower-case hexadecimal, minor units decimal texts, because a JSON number loses digits above 2^53 in many readers.
type corridorJSON struct {
	Peer      string                `json:"peer"`
	Name      string                `json:"name"`
	Origin    string                `json:"origin"`
	LogKey    string                `json:"log_key"`
	Witnesses corridorWitnessesJSON `json:"witnesses"`
	Treasury  policyJSON            `json:"treasury"`
	Cap       string                `json:"cap"`
	Classes   []string              `json:"size_classes"`
	Stale     uint64                `json:"stale_millis"`
}

type corridorWitnessesJSON struct {
	Quorum  uint8                 `json:"quorum"`
	Faulty  uint8                 `json:"faulty"`
	Members []corridorWitnessJSON `json:"members"`
}

type corridorWitnessJSON struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	Own  bool   `json:"own"`
}

// JSON gives the form for people, indented, ending in a newline. It names the peer, because terms are worth nothing for another one.
func (t *CorridorTerms) JSON(peer GenesisHash) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	j := corridorJSON{Peer: peer.String(), Name: t.Name, Origin: t.Origin, LogKey: t.LogKey.String(),
		Witnesses: corridorWitnessesJSON{Quorum: t.Quorum, Faulty: t.Faulty}, Treasury: policyJSON{Threshold: t.Treasury.Threshold},
		Cap: strconv.FormatUint(t.Cap, 10), Stale: t.StaleMillis}
	for _, w := range t.Witnesses {
		j.Witnesses.Members = append(j.Witnesses.Members, corridorWitnessJSON{w.Name, w.Key.String(), w.Own})
	}
	for _, k := range t.Treasury.Signers {
		j.Treasury.Signers = append(j.Treasury.Signers, k.String())
	}
	for _, c := range t.SizeClasses {
		j.Classes = append(j.Classes, strconv.FormatUint(c, 10))
	}
	out, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write corridor terms: %w", err)
	}
	return append(out, '\n'), nil
}

// ParseCorridorJSON reads the form for people as strictly as [ParseGenesisJSON] does, and refuses terms that [CorridorTerms.Validate]
// refuses.
func ParseCorridorJSON(b []byte) (peer GenesisHash, t *CorridorTerms, err error) {
	if peer, t, err = ReadCorridorJSON(b); err == nil {
		err = t.Validate()
	}
	if err != nil {
		return GenesisHash{}, nil, err
	}
	return peer, t, nil
}

// ReadCorridorJSON reads the form for people and does not judge the terms: a linter shows what is wrong with them.
func ReadCorridorJSON(b []byte) (peer GenesisHash, t *CorridorTerms, err error) {
	refuse := func(format string, args ...any) (GenesisHash, *CorridorTerms, error) {
		return GenesisHash{}, nil, Refuse(CorridorInvalid, format, args...)
	}
	var j corridorJSON
	if err := strictJSON(b, &j); err != nil {
		return refuse("%v", err)
	}
	if peer, err = parseHex[GenesisHash]("peer", j.Peer); err != nil {
		return refuse("%v", err)
	}
	t = &CorridorTerms{Name: j.Name, Origin: j.Origin, Quorum: j.Witnesses.Quorum, Faulty: j.Witnesses.Faulty,
		Treasury: Policy{Threshold: j.Treasury.Threshold}, StaleMillis: j.Stale}
	if t.LogKey, err = parseHex[SignerKey]("log key", j.LogKey); err != nil {
		return refuse("%v", err)
	}
	for _, m := range j.Witnesses.Members {
		k, err := parseHex[SignerKey]("key of witness "+m.Name, m.Key)
		if err != nil {
			return refuse("%v", err)
		}
		t.Witnesses = append(t.Witnesses, CorridorWitness{m.Name, k, m.Own})
	}
	for _, s := range j.Treasury.Signers {
		k, err := parseHex[SignerKey]("treasury key", s)
		if err != nil {
			return refuse("%v", err)
		}
		t.Treasury.Signers = append(t.Treasury.Signers, k)
	}
	if t.Cap, err = parseUnits(j.Cap); err != nil {
		return refuse("cap: %v", err)
	}
	for _, s := range j.Classes {
		c, err := parseUnits(s)
		if err != nil {
			return refuse("size class: %v", err)
		}
		t.SizeClasses = append(t.SizeClasses, c)
	}
	return peer, t, nil
}

// parseUnits reads minor units in their one decimal form.
func parseUnits(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%q, want minor units as decimal digits", s)
	}
	return n, nil
}

// CorridorTerms fills in what this genesis says about its ledger as a peer: name, log, validating witnesses and treasury. own names
// the witnesses that the nation on the other side of the corridor runs. Consistency witnesses are left out: they vouch for no proof.
// The quorum is that of genesis when all its witnesses validate, else the smallest that resists as many faulty ones. Cap, size classes
// and staleness are the caller's to set.
func (g *Genesis) CorridorTerms(own ...string) (*CorridorTerms, error) {
	t := &CorridorTerms{Name: g.Name, Origin: g.Origin, LogKey: g.LogKey, Quorum: g.Witnesses.Quorum, Faulty: g.Witnesses.Faulty,
		Treasury: Policy{Threshold: g.Policy.Threshold, Signers: slices.Clone(g.Policy.Signers)}}
	found := 0
	for _, m := range g.Witnesses.Members {
		ours := slices.Contains(own, m.Name)
		if m.Kind == ValidatingWitness {
			t.Witnesses = append(t.Witnesses, CorridorWitness{m.Name, m.Key, ours})
		} else if ours {
			return nil, Refuse(CorridorInvalid, "witness %s of %s is a consistency witness: it checks no proof", m.Name, g.Name)
		}
		if ours {
			found++
		}
	}
	for i, name := range own {
		if slices.Contains(own[:i], name) {
			return nil, Refuse(CorridorInvalid, "witness %s is named twice", name)
		}
	}
	if found != len(own) {
		return nil, Refuse(CorridorInvalid, "the genesis of %s does not list every one of the witnesses %q", g.Name, own)
	}
	if n := len(t.Witnesses); n < len(g.Witnesses.Members) {
		k := (n+int(t.Faulty))/2 + 1
		if k > n {
			return nil, Refuse(CorridorInvalid, "%d validating witnesses of %s cannot resist %d faulty ones", n, g.Name, t.Faulty)
		}
		t.Quorum = uint8(k)
	}
	return t, nil
}

package entry

// CorridorAction is what a corridor entry does.
type CorridorAction uint8

// The actions of a corridor entry.
const (
	CorridorSets    CorridorAction = 1 // opens the corridor or replaces its terms
	CorridorFreezes CorridorAction = 2
	CorridorThaws   CorridorAction = 3
)

// String gives the verb.
func (a CorridorAction) String() string {
	switch a {
	case CorridorSets:
		return "sets"
	case CorridorFreezes:
		return "freezes"
	case CorridorThaws:
		return "thaws"
	}
	return "unknown"
}

const (
	// MaxSizeClasses is the most size classes of a corridor.
	MaxSizeClasses = 16
	// MinStaleMillis and MaxStaleMillis bound the time after which a corridor that saw nothing of its peer is stale.
	MinStaleMillis = 1000
	MaxStaleMillis = 30 * 24 * 60 * 60 * 1000
)

// Corridor opens a corridor to a peer ledger, changes its terms, freezes or thaws it.
type Corridor struct {
	Header
	Peer   GenesisHash
	Action CorridorAction
	Terms  *CorridorTerms // CorridorSets only
}

// CorridorTerms are what a ledger believes a peer by, and how much it lets be in flight.
type CorridorTerms struct {
	Name        string // of the peer, for people
	Origin      string // of the peer's log
	LogKey      SignerKey
	Quorum      uint8 // k validating witnesses must have cosigned, at least one Own among them
	Faulty      uint8 // f: 2k - n > f
	Witnesses   []CorridorWitness
	Treasury    Policy   // the peer's policy signers, for an override
	Cap         uint64   // minor units of size classes in flight, of any asset
	SizeClasses []uint64 // minor units, ascending
	StaleMillis uint64   // own ledger time since the last observation
}

// CorridorWitness is a validating witness of the peer's log.
type CorridorWitness struct {
	Name string
	Key  SignerKey
	Own  bool // run by this ledger's nation
}

// Kind returns KindCorridor.
func (*Corridor) Kind() Kind { return KindCorridor }

// AppendEffecting appends E.
func (e *Corridor) AppendEffecting(dst []byte) []byte {
	dst = append(append(e.appendHeader(dst, KindCorridor), e.Peer[:]...), byte(e.Action))
	if e.Terms != nil {
		dst = e.Terms.Append(dst)
	}
	return dst
}

// Append appends the bytes of the terms.
func (t *CorridorTerms) Append(dst []byte) []byte {
	dst = append(putText(putText(dst, t.Name), t.Origin), t.LogKey[:]...)
	dst = append(dst, t.Quorum, t.Faulty, uint8(len(t.Witnesses)))
	for _, w := range t.Witnesses {
		dst = append(append(putText(dst, w.Name), w.Key[:]...), bit(w.Own))
	}
	dst = put64(t.Treasury.append(dst), t.Cap)
	dst = append(dst, uint8(len(t.SizeClasses)))
	for _, c := range t.SizeClasses {
		dst = put64(dst, c)
	}
	return put64(dst, t.StaleMillis)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (e *Corridor) readBody(r *reader) {
	e.Peer = r.bytes32()
	e.Action = CorridorAction(r.u8())
	if e.Action == CorridorSets {
		e.Terms = r.terms()
	}
}

// ParseCorridorTerms reads what Append wrote from the front of b and gives the rest. It checks what Validate does.
func ParseCorridorTerms(b []byte) (*CorridorTerms, []byte, error) {
	r := &reader{b: b}
	t := r.terms()
	if r.err != nil {
		return nil, nil, r.err
	}
	if err := t.Validate(); err != nil {
		return nil, nil, err
	}
	return t, r.b, nil
}

func (r *reader) terms() *CorridorTerms {
	t := &CorridorTerms{Name: r.text("name", MaxName), Origin: r.text("origin", MaxOrigin), LogKey: r.bytes32(), Quorum: r.u8(), Faulty: r.u8()}
	n := int(r.u8())
	if n > MaxWitnesses {
		r.fail(Refuse(Malformed, "%d witnesses, at most %d", n, MaxWitnesses))
	}
	for i := 0; i < n && r.err == nil; i++ {
		w := CorridorWitness{Name: r.text("witness name", MaxOrigin), Key: r.bytes32()}
		own := r.u8()
		if own > 1 {
			r.fail(Refuse(Malformed, "flag %d of a witness", own))
		}
		w.Own = own == 1
		t.Witnesses = append(t.Witnesses, w)
	}
	t.Treasury.Threshold = r.u8()
	if n = int(r.u8()); n > MaxSigners {
		r.fail(Refuse(Malformed, "%d signers, at most %d", n, MaxSigners))
	}
	for i := 0; i < n && r.err == nil; i++ {
		t.Treasury.Signers = append(t.Treasury.Signers, r.bytes32())
	}
	t.Cap = r.u64()
	if n = int(r.u8()); n > MaxSizeClasses {
		r.fail(Refuse(Malformed, "%d size classes, at most %d", n, MaxSizeClasses))
	}
	for i := 0; i < n && r.err == nil; i++ {
		t.SizeClasses = append(t.SizeClasses, r.u64())
	}
	t.StaleMillis = r.u64()
	return t
}

// Validate checks the header, and the terms of an entry that sets them.
func (e *Corridor) Validate() error {
	if err := e.validateHeader(); err != nil {
		return err
	}
	switch {
	case e.Action < CorridorSets || e.Action > CorridorThaws:
		return Refuse(Malformed, "corridor action %d", e.Action)
	case (e.Action == CorridorSets) != (e.Terms != nil):
		return Refuse(Malformed, "an entry that %s a corridor, with terms: %t", e.Action, e.Terms != nil)
	case e.Peer == e.Ledger:
		return Refuse(CorridorInvalid, "a ledger has no corridor to itself")
	case e.Terms != nil:
		return e.Terms.Validate()
	}
	return nil
}

// Validate checks every rule of the terms by name: corridor_invalid (SPEC 1.13).
func (t *CorridorTerms) Validate() error {
	n := len(t.Witnesses)
	if len(t.Name) > MaxName || !printable(t.Name) || len(t.Origin) > MaxOrigin || !plainASCII(t.Origin) {
		return Refuse(CorridorInvalid, "name %q, origin %q", t.Name, t.Origin)
	}
	if n < 1 || n > MaxWitnesses || t.Quorum < 1 || int(t.Quorum) > n || 2*int(t.Quorum)-n <= int(t.Faulty) {
		return Refuse(CorridorInvalid, "a quorum of %d of %d witnesses does not resist %d faulty ones: want 1 <= k <= n and 2k-n > f", t.Quorum, n, t.Faulty)
	}
	keys := map[SignerKey]bool{t.LogKey: true}
	names := map[string]bool{t.Origin: true}
	own := false
	if err := t.LogKey.check(); err != nil {
		return Refuse(CorridorInvalid, "log key: %v", err)
	}
	for _, w := range t.Witnesses {
		if len(w.Name) > MaxOrigin || !plainASCII(w.Name) || names[w.Name] || keys[w.Key] {
			return Refuse(CorridorInvalid, "witness %q: a name without space and plus, no name or key twice", w.Name)
		}
		if err := w.Key.check(); err != nil {
			return Refuse(CorridorInvalid, "witness %q: %v", w.Name, err)
		}
		keys[w.Key], names[w.Name] = true, true
		own = own || w.Own
	}
	if !own {
		return Refuse(CorridorInvalid, "no witness of the peer's log is run by this ledger's nation")
	}
	if err := t.Treasury.Validate(); err != nil {
		return Refuse(CorridorInvalid, "treasury of the peer: %v", err)
	}
	for _, k := range t.Treasury.Signers {
		if keys[k] {
			return Refuse(CorridorInvalid, "key %s has two roles", k)
		}
	}
	if len(t.SizeClasses) < 1 || len(t.SizeClasses) > MaxSizeClasses {
		return Refuse(CorridorInvalid, "%d size classes, want 1 to %d", len(t.SizeClasses), MaxSizeClasses)
	}
	for i, c := range t.SizeClasses {
		if c == 0 || c == LocalSizeClass || i > 0 && c <= t.SizeClasses[i-1] {
			return Refuse(CorridorInvalid, "size classes ascend, from 1 to 2^64-2")
		}
	}
	if t.Cap < t.SizeClasses[0] {
		return Refuse(CorridorInvalid, "a cap of %d lets no hold through: the smallest size class is %d", t.Cap, t.SizeClasses[0])
	}
	if t.StaleMillis < MinStaleMillis || t.StaleMillis > MaxStaleMillis {
		return Refuse(CorridorInvalid, "stale after %d ms, want %d to %d", t.StaleMillis, MinStaleMillis, int64(MaxStaleMillis))
	}
	return nil
}

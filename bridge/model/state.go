package model

import "encoding/binary"

// The ledgers of a bridge world. The decider's holds are placed by the provider that pays the payee, and decide; the holds
// of the others follow. With one follower the world is one hop: A pays B. With two, V lies between them.
const (
	ledgerB = 0 // the decider
	ledgerA = 1 // follower 0: the payer's ledger
	ledgerV = 2 // follower 1: the vehicle
)

// What a hold on the decider says.
const (
	absent     = 0
	right      = 1 // pays the payee what was quoted, and lists the follower commitments that were agreed
	wrongPayee = 2 // pays somebody else, or another amount
	wrongListA = 3 // lists another commitment on A
	wrongListV = 4 // lists another commitment on V
)

// What a hold on a follower names as its decision: a hold on the decider, or one on some other ledger, whose decisions the
// adversary makes.
const elsewhere = 2

// Who placed a follower's hold.
const (
	bySender   = 0 // the payer on A, the first provider on V
	byStranger = 1 // anybody else
)

// Wealth of a ledger: who owns what outside its holds.
const (
	from    = 0 // on A the payer, on V the first provider, on B the provider that pays the payee
	to      = 1 // on A the first provider, on V the last one, on B the payee
	nowhere = 2 // strangers, and whoever a wrong commitment pays
)

// decided is a hold of the decider, "decided here".
type decided struct {
	form           uint8
	posted, voided uint8    // how often; both together at most once
	named          [2]uint8 // posted: the follower's hold that it names, plus 1
	untimely       bool     // it was posted at expiry or later, or voided before, by anything but an override
}

// followed is a hold of a follower, "decided there".
type followed struct {
	form           uint8 // right or wrongPayee: the agreed commitment or another
	names          uint8
	owner          uint8
	posted, voided uint8
	signed         uint8 // an override that the treasuries signed and that is not logged: posting or voiding
	overridden     uint8 // the override that resolved it
	claim          bool  // a late decision against the override is booked
}

const (
	posting = 1
	voiding = 2
	// improper marks an override that was signed while the decider was alive and undecided, or logged in a corridor that was not
	// frozen. The rules allow neither.
	improper = 4
)

// sender is the payer or the first provider, who places a hold on a follower.
type sender struct {
	heard  uint8    // volatile: the acceptance that it received and checked, plus 1
	signed [2]uint8 // journalled: which decider holds its signed transactions name, one set for each note it has had to spend
}

// events of the decider's log: a tick of its clock, and three for each of its holds.
const (
	tick      = 1
	placedB   = 2 // plus the hold
	postedB   = 4
	voidedB   = 6
	maxEvents = 12
)

// state of a bridge world. A log is kept as the facts it holds, plus the order of those events that some ledger has not
// observed yet: which events lie under an observed size is all that a peer proof can depend on.
type state struct {
	clock   [3]uint8
	dead    bool           // the decider answers nobody, and may come back
	dec     [2]decided     // holds on the decider
	fol     [2][2]followed // holds on the followers
	logB    [maxEvents]uint8
	lenB    uint8
	posF    [2]uint8    // how much of logB the follower has observed
	logF    [2][2]uint8 // placements on the follower that the decider has not observed
	lenF    [2]uint8
	staleF  [2]bool // the follower's observation of the decider is too old
	staleB  [2]bool // and the other way round
	frozenF [2]bool // the follower's corridor to the decider
	frozenB [2]bool // and the other way round
	send    [2]sender
	heardP  uint8 // volatile: the request that the deciding provider works on, plus 1
	signedP uint8 // journalled: its holds whose transactions are signed
	wealth  [3][3]uint8
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (d *decided) open() bool  { return d.form != absent && d.posted+d.voided == 0 }
func (f *followed) open() bool { return f.form != absent && f.posted+f.voided == 0 }

// log appends an event to the decider's log.
func (s *state) log(event uint8) {
	s.logB[s.lenB] = event
	s.lenB++
}

// observedB: follower f has observed an event of the decider that did happen.
func (s *state) observedB(f int, event uint8) bool {
	for _, e := range s.logB[s.posF[f]:s.lenB] {
		if e == event {
			return false
		}
	}
	return true
}

// peerTime is the decider's ledger time as follower f last observed it.
func (s *state) peerTime(f int) uint8 {
	t := s.clock[ledgerB]
	for _, e := range s.logB[s.posF[f]:s.lenB] {
		if e == tick {
			t--
		}
	}
	return t
}

// observedF: the decider has observed follower f's hold j, which is placed.
func (s *state) observedF(f, j int) bool {
	for _, e := range s.logF[f][:s.lenF[f]] {
		if int(e) == j {
			return false
		}
	}
	return true
}

// trim forgets the order of events that every follower has observed.
func (s *state) trim(followers int) {
	n := s.posF[0]
	if followers == 2 {
		n = min(n, s.posF[1])
	}
	if n == 0 {
		return
	}
	var rest [maxEvents]uint8
	copy(rest[:], s.logB[n:s.lenB])
	s.logB = rest
	s.lenB -= n
	for f := range followers {
		s.posF[f] -= n
	}
}

// slot gives the next free hold of follower f, or -1.
func (s *state) slot(f int, holds uint8) int {
	for j := range int(holds) {
		if s.fol[f][j].form == absent {
			return j
		}
	}
	return -1
}

// encode appends the state, each field in as many bits as its values need; followers that a world does not have are left out.
// TestEncodingLosesNothing.
func (s *state) encode(dst []byte, followers int) []byte {
	p := packer{bytes: dst}
	for _, c := range s.clock {
		p.put(c, 2)
	}
	p.put(bit(s.dead), 1)
	for i := range s.dec {
		d := &s.dec[i]
		p.put(d.form, 3)
		p.put(d.posted, 2)
		p.put(d.voided, 2)
		p.put(d.named[0], 2)
		p.put(d.named[1], 2)
		p.put(bit(d.untimely), 1)
	}
	p.put(s.heardP, 2)
	p.put(s.signedP, 2)
	p.put(s.lenB, 4)
	p.flush()
	for _, e := range s.logB[:s.lenB] {
		p.put(e, 3)
	}
	p.n = 3 * maxEvents
	p.flush()
	for f := range followers {
		for j := range s.fol[f] {
			h := &s.fol[f][j]
			p.put(h.form, 2)
			p.put(h.names, 2)
			p.put(h.owner, 1)
			p.put(h.posted, 2)
			p.put(h.voided, 2)
			p.put(h.signed, 3)
			p.put(h.overridden, 3)
			p.put(bit(h.claim), 1)
		}
		p.put(s.posF[f], 4)
		p.put(s.lenF[f], 2)
		p.put(s.logF[f][0], 1)
		p.put(s.logF[f][1], 1)
		p.put(bit(s.staleF[f]), 1)
		p.put(bit(s.staleB[f]), 1)
		p.put(bit(s.frozenF[f]), 1)
		p.put(bit(s.frozenB[f]), 1)
		p.put(s.send[f].heard, 2)
		p.put(s.send[f].signed[0], 2)
		p.put(s.send[f].signed[1], 2)
		p.flush()
	}
	for l := range 1 + followers {
		for _, v := range s.wealth[l] {
			p.put(v, 3)
		}
	}
	p.flush()
	if p.lost != 0 {
		panic("model: a number does not fit its field")
	}
	return p.bytes
}

// packer writes small numbers one after another, in bits: at most 64 of them between two flushes.
type packer struct {
	bytes []byte
	word  uint64
	n     int
	lost  uint8 // bits that did not fit their fields
}

func (p *packer) put(v uint8, width int) {
	p.lost |= v >> width
	p.word |= uint64(v) << (p.n & 63)
	p.n += width
}

// flush writes the bits, up to a whole byte.
func (p *packer) flush() {
	p.bytes = binary.LittleEndian.AppendUint64(p.bytes, p.word)[:len(p.bytes)+(p.n+7)/8]
	p.word, p.n = 0, 0
}

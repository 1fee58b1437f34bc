package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/comity-ledger/comity/settlement/proof"
)

// Config is what a journal needs.
type Config struct {
	Signer *proof.LogSigner
	Policy *proof.Policy
	// Witnesses says where the witnesses of the policy answer. One without an endpoint is not asked.
	Witnesses []Endpoint
	// Tiles holds the log's hashes up to any head that is passed to Cosign.
	Tiles Tiles
	// Signed is the newest head signed before this start, from the store; zero for a new ledger.
	Signed proof.Head
	// Saved is the newest cosigned checkpoint kept before this start; nil when there is none.
	Saved []byte
	// HTTP makes the requests; nil means the default transport. Redirects are never followed.
	HTTP *http.Client
	// Timeout bounds one request to one witness; 0 means 10 seconds. A validating witness may have to replay first.
	Timeout time.Duration
	// Now is the clock by which cosignatures must not lie in the future; nil means time.Now.
	Now func() time.Time
}

// Endpoint is where a witness answers: its submission prefix, without /add-checkpoint.
type Endpoint struct {
	Name string
	URL  string
}

// A Journal signs and publishes one ledger's checkpoints. It is safe for concurrent use. Close it to end its goroutines.
type Journal struct {
	config    Config
	witnesses []*remote
	stop      context.CancelFunc
	ctx       context.Context
	running   sync.WaitGroup
	turn      chan struct{} // holds one token: Cosign calls take turns

	mu     sync.Mutex          // guards what follows, and the fields of remotes below their own line
	signed proof.Head          // newest head signed
	round  *round              // what witnesses are asked for now; nil before the first
	latest Cosigned            // newest checkpoint with a quorum
	by     map[string]Cosigned // newest one with a quorum that a witness cosigned, by its name: a slow witness's may be older than latest
	moved  chan struct{}       // closed and replaced when latest or by changes
}

// remote is one witness as the ledger sees it. A goroutine of its own asks it, so that a slow one delays nobody.
type remote struct {
	Endpoint
	wake chan struct{} // a new round began

	// Guarded by Journal.mu.
	size uint64 // leaves of the tree it holds, as far as we know
	err  error  // why its last answer was no cosignature
}

// round collects cosignatures for one head.
type round struct {
	head       proof.Head
	checkpoint []byte              // as the log signed it, which is what witnesses are sent
	tally      *proof.Tally        // the cosignatures so far
	asked      map[*remote]verdict // answers that are final for this head
	enough     chan struct{}       // closed with a quorum, or when there cannot be one
	closed     bool
	final      *proof.Final // set with a quorum
}

type verdict int

const (
	cosigned verdict = iota + 1
	ahead            // holds a larger tree
	forked           // holds another history
)

// Cosigned is a final checkpoint.
type Cosigned struct {
	proof.Head
	Checkpoint []byte // as signed by the log and its witnesses
	Final      *proof.Final
}

// WitnessStatus is how a witness is doing.
type WitnessStatus struct {
	Name      string
	Size      uint64 // leaves of the newest tree it is known to hold
	LastError string // empty when its last answer was a cosignature
}

// New starts a journal. It contacts nobody before the first Cosign.
func New(c Config) (*Journal, error) {
	if c.Signer == nil || c.Policy == nil || c.Tiles == nil {
		return nil, errors.New("journal: want a signer, a policy and tiles")
	}
	policy := c.Policy.Config()
	if policy.Origin != c.Signer.Origin() || !slices.Equal(policy.LogKey[:], c.Signer.Public()) {
		return nil, errors.New("journal: the signer is not the log of the policy")
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a witness is where it is
	c.HTTP = &client
	j := &Journal{config: c, signed: c.Signed, turn: make(chan struct{}, 1), by: map[string]Cosigned{}, moved: make(chan struct{})}
	if f, err := c.Policy.Check(c.Saved, uint64(c.Now().Unix())); err == nil {
		j.keep(Cosigned{f.Head, c.Saved, f})
	}
	j.ctx, j.stop = context.WithCancel(context.Background())
	seen := map[string]bool{}
	for _, e := range c.Witnesses {
		if seen[e.Name] || !slices.ContainsFunc(policy.Witnesses, func(w proof.Witness) bool { return w.Name == e.Name }) {
			return nil, fmt.Errorf("journal: witness %q is not in the policy, or has two addresses", e.Name)
		}
		seen[e.Name] = true
		j.witnesses = append(j.witnesses, &remote{Endpoint: e, wake: make(chan struct{}, 1)})
	}
	for _, w := range j.witnesses {
		j.running.Add(1)
		go func() {
			defer j.running.Done()
			j.ask(w)
		}()
	}
	return j, nil
}

// Close ends all requests and waits for the journal's goroutines.
func (j *Journal) Close() error {
	j.stop()
	j.running.Wait()
	return nil
}

// Sign signs a head with the log's key alone. It refuses to go back, or to sign a second root for one size: whoever asks for that has
// lost entries, and a signature would be evidence against this ledger for ever.
func (j *Journal) Sign(head proof.Head) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.follows(head); err != nil {
		return nil, err
	}
	return j.config.Signer.Sign(head), nil
}

// follows makes a head the newest that may be signed. Called with mu held.
func (j *Journal) follows(head proof.Head) error {
	switch {
	case head.Size < j.signed.Size:
		return fmt.Errorf("%w: asked to sign %d leaves after %d", ErrWentBack, head.Size, j.signed.Size)
	case head.Size == j.signed.Size && head.Size > 0 && head.Root != j.signed.Root:
		return fmt.Errorf("%w: asked to sign a second root for %d leaves", ErrForked, head.Size)
	}
	j.signed = head
	return nil
}

// Cosign asks every witness to cosign the head and returns as soon as a quorum did. Witnesses that are slower go on in the
// background, and their cosignatures are added to Latest. When ctx ends first, or a quorum has become impossible, the error says
// why: proof.ErrQuorum, ErrBehindWitnesses or ErrForked. Calling again with the same head continues. A later head must have grown
// from an earlier one.
func (j *Journal) Cosign(ctx context.Context, head proof.Head) (*Cosigned, error) {
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r, err := j.begin(head)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.enough:
	case <-ctx.Done():
	case <-j.ctx.Done():
		return nil, ErrClosed
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.final == nil {
		return nil, j.why(r)
	}
	return &Cosigned{r.head, slices.Clone(r.tally.Signed()), r.final}, nil
}

// begin makes a round for the head the current one, or continues it.
func (j *Journal) begin(head proof.Head) (*round, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.follows(head); err != nil {
		return nil, err
	}
	if j.round == nil || j.round.head != head {
		signed := j.config.Signer.Sign(head)
		tally, err := j.config.Policy.Tally(signed) // which verifies it: a signature that was made wrongly must not leave this process
		if err != nil {
			return nil, fmt.Errorf("sign %d leaves: %w", head.Size, err)
		}
		j.round = &round{head: head, checkpoint: signed, tally: tally, asked: map[*remote]verdict{}, enough: make(chan struct{})}
	} else if j.round.closed && j.round.final == nil { // it was hopeless: ask those who refused once more
		j.round.closed, j.round.enough = false, make(chan struct{})
		maps.DeleteFunc(j.round.asked, func(_ *remote, v verdict) bool { return v != cosigned })
	}
	j.settle(j.round) // too few addresses for a quorum, or a clock that has moved on
	for _, w := range j.witnesses {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return j.round, nil
}

// Latest gives the newest checkpoint with a quorum, with all cosignatures that arrived; nil before the first.
func (j *Journal) Latest() *Cosigned {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.latest.Final == nil {
		return nil
	}
	out := j.latest
	out.Checkpoint = slices.Clone(out.Checkpoint)
	return &out
}

// Moved gives a channel that is closed when Latest, or what Wait waits for, has changed.
func (j *Journal) Moved() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.moved
}

// Wait returns the newest checkpoint with a quorum over at least size leaves whose cosigners are enough; nil lets any quorum do. A quorum
// forms without its slowest witnesses, so the newest that is enough may be older than Latest. It fails when ctx or the journal ends first.
func (j *Journal) Wait(ctx context.Context, size uint64, enough func(cosigners []string) bool) (*Cosigned, error) {
	for {
		j.mu.Lock()
		best, moved := Cosigned{}, j.moved
		for c := range j.candidates() {
			if c.Size >= size && (best.Final == nil || c.Size > best.Size) && (enough == nil || enough(c.cosigners())) {
				best = c
			}
		}
		j.mu.Unlock()
		if best.Final != nil {
			best.Checkpoint = slices.Clone(best.Checkpoint)
			return &best, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-j.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// Adopt keeps a final checkpoint that another node of this ledger collected, if it is newer than what is kept or has more cosignatures.
func (j *Journal) Adopt(checkpoint []byte) error {
	f, err := j.config.Policy.Check(checkpoint, uint64(j.config.Now().Unix()))
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	have := j.latest.Final
	if have == nil || f.Size > have.Size || f.Size == have.Size && len(f.Cosignatures) >= len(have.Cosignatures) {
		j.keep(Cosigned{f.Head, slices.Clone(checkpoint), f})
	}
	return nil
}

// candidates yields the newest checkpoint and the newest of each witness: by the time the slowest witness that is asked for has cosigned
// one, the faster ones have cosigned it as well. Called with mu held.
func (j *Journal) candidates() iter.Seq[Cosigned] {
	return func(yield func(Cosigned) bool) {
		if j.latest.Final != nil && !yield(j.latest) {
			return
		}
		for _, c := range j.by {
			if !yield(c) {
				return
			}
		}
	}
}

// cosigners names the witnesses that count.
func (c *Cosigned) cosigners() []string {
	names := make([]string, len(c.Final.Cosignatures))
	for i, s := range c.Final.Cosignatures {
		names[i] = s.Witness
	}
	return names
}

// keep remembers a checkpoint with a quorum. Called with mu held.
func (j *Journal) keep(c Cosigned) {
	if j.latest.Final == nil || c.Size >= j.latest.Size {
		j.latest = c
	}
	for _, s := range c.Final.Cosignatures {
		if have := j.by[s.Witness]; have.Final == nil || c.Size >= have.Size {
			j.by[s.Witness] = c
		}
	}
	close(j.moved)
	j.moved = make(chan struct{})
}

// Witnesses tells how each witness is doing.
func (j *Journal) Witnesses() []WitnessStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []WitnessStatus
	for _, w := range j.witnesses {
		s := WitnessStatus{Name: w.Name, Size: w.size}
		if w.err != nil {
			s.LastError = w.err.Error()
		}
		out = append(out, s)
	}
	return out
}

// settle ends a round that has its quorum, or cannot have one any more. Called with mu held.
func (j *Journal) settle(r *round) {
	f, err := r.tally.Final(uint64(j.config.Now().Unix()))
	if err == nil {
		r.final = f
		j.keep(Cosigned{r.head, r.tally.Signed(), f})
	}
	against := 0
	for _, v := range r.asked {
		if v != cosigned {
			against++
		}
	}
	hopeless := len(j.witnesses)-against < j.config.Policy.Quorum()
	if (r.final != nil || hopeless) && !r.closed {
		r.closed = true
		close(r.enough)
	}
}

// why says what a round without a quorum failed with. A single witness may lie, so "behind" and "forked" need more witnesses than
// may be faulty. Called with mu held.
func (j *Journal) why(r *round) error {
	var behind, fork int
	for _, v := range r.asked {
		switch v {
		case ahead:
			behind++
		case forked:
			fork++
		}
	}
	faulty := j.config.Policy.Config().Faulty
	switch {
	case fork > faulty:
		return fmt.Errorf("%w: %d witnesses hold another history than these %d leaves", ErrForked, fork, r.head.Size)
	case behind > faulty:
		return fmt.Errorf("%w: %d witnesses hold more than these %d leaves", ErrBehindWitnesses, behind, r.head.Size)
	}
	err := fmt.Errorf("%w: %d of %d witnesses for %d leaves", proof.ErrQuorum, r.tally.Len(), j.config.Policy.Quorum(), r.head.Size)
	for _, w := range j.witnesses {
		if r.asked[w] != cosigned && w.err != nil {
			err = fmt.Errorf("%w; %s: %w", err, w.Name, w.err)
		}
	}
	return err
}

const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// ask is the goroutine of one witness: it asks for the current round until there is an answer, pausing longer after each failure.
func (j *Journal) ask(w *remote) {
	pause := firstPause
	for {
		j.mu.Lock()
		r := j.round
		idle := r == nil || r.asked[w] != 0
		j.mu.Unlock()
		var timer <-chan time.Time
		if !idle {
			if j.askOnce(w, r) {
				pause = firstPause
				continue
			}
			timer = time.After(pause)
			pause = min(2*pause, maxPause)
		}
		select {
		case <-j.ctx.Done():
			return
		case <-w.wake:
			pause = firstPause
		case <-timer:
		}
	}
}

// askOnce asks a witness for one round and records the answer. It reports false when asking again later may help.
func (j *Journal) askOnce(w *remote, r *round) bool {
	lines, v, err := j.cosignature(w, r.head, r.checkpoint)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		if _, err = r.tally.Add(lines); err == nil && !r.tally.Has(w.Name) {
			err = errNoCosignature
		}
	}
	w.err = err
	if err != nil && v != ahead && v != forked {
		return false
	}
	if err == nil {
		w.size = r.head.Size
	}
	r.asked[w] = v
	j.settle(r)
	return true
}

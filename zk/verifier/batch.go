package verifier

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

const (
	// groupSize proofs share the squarings of one Miller loop (312 us alone, 212 us each among 8 or more). The value of a
	// group is kept, so that looking for a bad proof repeats Miller loops inside bad groups only.
	groupSize = 16
	// slabSize proofs share the inversions of their scalings.
	slabSize = 128
)

// batch is one call of verifyClaims.
type batch struct {
	claims []claim
	errs   []error // written by the one worker that holds the index
	a, za  []curve.G1Affine
	c      []curve.G1Affine
	b      []curve.G2Affine
	z      []weight
	groups []curve.GT // Miller value of claims [16g, 16g+16)
	stale  []bool     // the value of a group holds a proof that was refused later
	keys   []*VerifyingKey
	slot   []int          // index of a claim's key in keys
	inputs [][]fr.Element // per key: the sum of z * (1, x1, ..., xn)
	mu     sync.Mutex     // guards inputs
	free   chan *sums     // one per worker
	bad    atomic.Int64
}

// verifyClaims decides all claims. SPEC chapter 8 gives the equation.
func verifyClaims(claims []claim, random io.Reader, workers int) []error {
	n := len(claims)
	b := &batch{claims: claims, errs: make([]error, n)}
	if n == 0 {
		return b.errs
	}
	workers = max(1, min(workers, n))
	b.free = make(chan *sums, workers)
	for range workers {
		b.free <- new(sums)
	}
	if n < 3 {
		// A batch of two costs more than two single checks.
		b.each(n, func(i int, s *sums) { b.errs[i] = verifyOne(&claims[i], s) })
		return b.errs
	}

	b.a, b.za, b.c = make([]curve.G1Affine, n), make([]curve.G1Affine, n), make([]curve.G1Affine, n)
	b.b = make([]curve.G2Affine, n)
	b.z = make([]weight, n)
	groups := (n + groupSize - 1) / groupSize
	b.groups, b.stale = make([]curve.GT, groups), make([]bool, groups)
	b.findKeys()

	// The coins are drawn after the proofs are fixed, and before any goroutine starts: a reader need not be safe for
	// concurrent use.
	coins := &coins{r: random}
	for i := range b.z {
		b.z[i] = weight{coins.uint64(), coins.uint64()}
	}
	var vectors [][]uint8
	if n >= minTrialBatch {
		all := make([]uint8, trialGroups*2*n)
		for i := range all {
			all[i] = coins.vector()
		}
		for g := range trialGroups {
			vectors = append(vectors, all[g*2*n:(g+1)*2*n])
		}
	}
	if coins.err != nil {
		for i := range b.errs {
			b.errs[i] = fmt.Errorf("%w: %w", ErrRandomness, coins.err)
		}
		return b.errs
	}

	size := min(slabSize, (n+workers-1)/workers)
	size = (size + groupSize - 1) / groupSize * groupSize
	b.each((n+size-1)/size, func(i int, s *sums) { b.slab(i*size, min((i+1)*size, n), vectors == nil, s) })
	if vectors != nil {
		b.testSubgroups(vectors)
	}
	if b.holds() {
		return b.errs
	}
	b.isolate(0, n)
	return b.errs
}

// each runs f(0), ..., f(n-1) over the free workers and waits for all.
func (b *batch) each(n int, f func(i int, s *sums)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, cap(b.free)) {
		wg.Go(func() {
			s := <-b.free
			defer func() { b.free <- s }()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i, s)
			}
		})
	}
	wg.Wait()
}

func (b *batch) findKeys() {
	b.slot = make([]int, len(b.claims))
	for i := range b.claims {
		k := b.claims[i].key
		slot := -1
		for j := range b.keys {
			if b.keys[j] == k {
				slot = j
			}
		}
		if slot < 0 {
			slot = len(b.keys)
			b.keys = append(b.keys, k)
			b.inputs = append(b.inputs, make([]fr.Element, len(k.key.K)))
		}
		b.slot[i] = slot
	}
}

// slab decodes the proofs [lo, hi), scales their A, runs their Miller loops and adds up their weighted public inputs. A proof
// that is refused here takes no part in anything later: its points stay at infinity.
func (b *batch) slab(lo, hi int, exact bool, s *sums) {
	inputs := b.zeroInputs()
	var flat []fr.Element
	for i := lo; i < hi; i++ {
		var p Points
		if b.errs[i] = p.Decode(b.claims[i].proof); b.errs[i] != nil {
			continue
		}
		// B is tested point by point even in a batch; A and C only in a small one.
		if !p.B.IsInSubGroup() || exact && !(p.A.IsInSubGroup() && p.C.IsInSubGroup()) {
			b.errs[i] = ErrSubgroup
			continue
		}
		flat = b.claims[i].flatten(flat[:0])
		if len(flat) != b.claims[i].key.Inputs() {
			b.errs[i] = fmt.Errorf("%d public inputs instead of %d: %w", len(flat), b.claims[i].key.Inputs(), ErrShape)
			continue
		}
		b.a[i], b.b[i], b.c[i] = p.A, p.B, p.C
		weighInputs(inputs[b.slot[i]], flat, b.z[i].element())
	}
	b.mu.Lock()
	for k := range inputs {
		for j := range inputs[k] {
			b.inputs[k][j].Add(&b.inputs[k][j], &inputs[k][j])
		}
	}
	b.mu.Unlock()
	s.scale(b.za[lo:hi], b.a[lo:hi], b.z[lo:hi])
	for ; lo < hi; lo += groupSize {
		b.groups[lo/groupSize] = b.miller(lo, min(lo+groupSize, hi))
	}
}

func (b *batch) zeroInputs() [][]fr.Element {
	inputs := make([][]fr.Element, len(b.keys))
	for k := range inputs {
		inputs[k] = make([]fr.Element, len(b.inputs[k]))
	}
	return inputs
}

// weighInputs adds z * (1, flat...) to sum.
func weighInputs(sum, flat []fr.Element, z fr.Element) {
	sum[0].Add(&sum[0], &z)
	var t fr.Element
	for j := range flat {
		t.Mul(&z, &flat[j])
		sum[j+1].Add(&sum[j+1], &t)
	}
}

// miller multiplies the Miller loops of z*A and B over [lo, hi). Refused proofs are at infinity and count as one.
func (b *batch) miller(lo, hi int) curve.GT {
	f, err := curve.MillerLoop(b.za[lo:hi], b.b[lo:hi])
	if err != nil {
		panic(fmt.Sprintf("miller loop of slices of one length: %v", err))
	}
	return f
}

// testSubgroups tests all A and C at once, and one by one only if that fails.
func (b *batch) testSubgroups(vectors [][]uint8) {
	n := len(b.claims)
	points := make([]curve.G1Affine, 0, 2*n)
	points = append(append(points, b.a...), b.c...)
	var failed atomic.Bool
	b.each(len(vectors), func(g int, s *sums) {
		if !failed.Load() && !s.trialG1(points, vectors[g]) {
			failed.Store(true)
		}
	})
	if !failed.Load() {
		return
	}
	b.each(n, func(i int, _ *sums) {
		if b.errs[i] != nil || b.a[i].IsInSubGroup() && b.c[i].IsInSubGroup() {
			return
		}
		b.refuse(i, ErrSubgroup)
	})
}

// refuse takes a proof out of the batch after its group's Miller value was computed.
func (b *batch) refuse(i int, err error) {
	b.errs[i] = err
	b.bad.Add(1)
	b.mu.Lock()
	b.stale[i/groupSize] = true
	b.mu.Unlock()
	b.a[i], b.za[i], b.c[i], b.b[i] = curve.G1Affine{}, curve.G1Affine{}, curve.G1Affine{}, curve.G2Affine{}
}

// holds checks the equation of the whole batch, with the sums spread over the workers.
func (b *batch) holds() bool {
	if b.bad.Load() > 0 {
		return false // the sums of the public inputs hold refused proofs
	}
	sumC := make([][2]curve.G1Jac, len(b.keys))
	public := make([]curve.G1Affine, len(b.keys))
	points, z := b.gather(0, len(b.claims))
	b.each(3*len(b.keys), func(i int, s *sums) {
		k := i / 3
		switch i % 3 {
		case 0:
			sumC[k][0] = s.combine64(points[k], z[k], func(z weight) uint64 { return z.a })
		case 1:
			sumC[k][1] = s.combine64(points[k], z[k], func(z weight) uint64 { return z.b })
		case 2:
			public[k] = b.keys[k].publicSum(s, b.inputs[k])
		}
	})
	merged := make([]curve.G1Jac, len(b.keys))
	for k := range merged {
		merged[k] = joinHalves(sumC[k][0], sumC[k][1])
	}
	f := b.groups[0]
	for g := 1; g < len(b.groups); g++ {
		f.Mul(&f, &b.groups[g])
	}
	return b.equation(&f, merged, public, b.inputs)
}

// equation decides f * e(-sum of C, delta) * e(-sum of public inputs, gamma) * e(-sum of z * alpha, beta) = 1, the last three
// for every key.
func (b *batch) equation(f *curve.GT, sumC []curve.G1Jac, public []curve.G1Affine, inputs [][]fr.Element) bool {
	points := make([]curve.G1Affine, 0, 3*len(b.keys))
	fixed := make([]*lines, 0, 3*len(b.keys))
	for k, key := range b.keys {
		if inputs[k] == nil {
			continue
		}
		var c, alpha curve.G1Affine
		c.FromJacobian(&sumC[k])
		c.Neg(&c)
		public[k].Neg(&public[k])
		alpha.ScalarMultiplication(&key.negAlpha, bigInt(&inputs[k][0]))
		points = append(points, c, public[k], alpha)
		fixed = append(fixed, &key.delta, &key.gamma, &key.beta)
	}
	g, err := millerFixed(points, fixed)
	if err != nil {
		panic(fmt.Sprintf("miller loop of slices of one length: %v", err))
	}
	e := curve.FinalExponentiation(f, &g)
	return e.IsOne()
}

// gather returns the C points and weights of [lo, hi) by key; refused proofs are left out.
func (b *batch) gather(lo, hi int) ([][]curve.G1Affine, [][]weight) {
	points, z := make([][]curve.G1Affine, len(b.keys)), make([][]weight, len(b.keys))
	for i := lo; i < hi; i++ {
		if b.errs[i] == nil {
			k := b.slot[i]
			points[k], z[k] = append(points[k], b.c[i]), append(z[k], b.z[i])
		}
	}
	return points, z
}

// part checks the equation of the proofs [lo, hi) alone.
func (b *batch) part(lo, hi int, s *sums) bool {
	inputs := make([][]fr.Element, len(b.keys))
	var flat []fr.Element
	for i := lo; i < hi; i++ {
		if b.errs[i] != nil {
			continue
		}
		k := b.slot[i]
		if inputs[k] == nil {
			inputs[k] = make([]fr.Element, len(b.inputs[k]))
		}
		flat = b.claims[i].flatten(flat[:0])
		weighInputs(inputs[k], flat, b.z[i].element())
	}
	points, z := b.gather(lo, hi)
	sumC, public := make([]curve.G1Jac, len(b.keys)), make([]curve.G1Affine, len(b.keys))
	for k := range b.keys {
		if inputs[k] != nil {
			sumC[k] = s.combine(points[k], z[k])
			public[k] = b.keys[k].publicSum(s, inputs[k])
		}
	}
	var f curve.GT
	f.SetOne()
	for lo < hi {
		end := min(lo-lo%groupSize+groupSize, hi)
		whole := lo%groupSize == 0 && (end == lo+groupSize || end == len(b.claims))
		if g := lo / groupSize; whole && !b.stale[g] {
			f.Mul(&f, &b.groups[g])
		} else {
			m := b.miller(lo, end)
			f.Mul(&f, &m)
		}
		lo = end
	}
	return b.equation(&f, sumC, public, inputs)
}

// isolate names every bad proof of [lo, hi), a range that does not hold. It halves the range and looks into the halves that do
// not hold. A proof is refused only after its own exact check, so a valid one never is; and once an eighth of the batch has
// turned out bad, halving costs more than checking each, so it stops: no mix of proofs costs more than about four single
// verifications for each (Z8.15).
func (b *batch) isolate(lo, hi int) {
	s := <-b.free
	// Proofs refused for their subgroup are out of the batch by now: the rest may well hold.
	if b.bad.Load() == 0 || !b.part(lo, hi, s) {
		b.descend(lo, hi, s)
	}
	b.free <- s
}

func (b *batch) descend(lo, hi int, s *sums) {
	if hi-lo <= 2 || 8*b.bad.Load() > int64(len(b.claims)) {
		b.finish(lo, hi, s)
		return
	}
	// Halves end at group boundaries while they can, to use the values of whole groups.
	mid := (lo + hi) / 2
	if m := (mid + groupSize/2) / groupSize * groupSize; m > lo && m < hi {
		mid = m
	}
	if b.part(lo, mid, s) {
		b.descend(mid, hi, s) // then the other half does not hold
		return
	}
	var wg sync.WaitGroup
	select {
	case other := <-b.free:
		wg.Go(func() {
			b.descend(lo, mid, other)
			b.free <- other
		})
	default:
		b.descend(lo, mid, s)
	}
	if !b.part(mid, hi, s) {
		b.descend(mid, hi, s)
	}
	wg.Wait()
}

// finish checks every proof of [lo, hi) by itself.
func (b *batch) finish(lo, hi int, s *sums) {
	for i := lo; i < hi; i++ {
		if b.errs[i] != nil {
			continue
		}
		p := Points{A: b.a[i], B: b.b[i], C: b.c[i]}
		if err := b.claims[i].check(&p, s); err != nil {
			b.errs[i] = err
			b.bad.Add(1)
		}
	}
}

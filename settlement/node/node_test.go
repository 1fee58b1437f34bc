package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/pebblestore/pebbletest"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/storetest"
	"github.com/comity-ledger/comity/zk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a ledger with one witness or more, on a disk in memory that can crash and fail. Its bed stays at block 0, so every leg is proven against
// the anchor of block 0.
type rig struct {
	*ledgertest.Bed
	bed     sync.Mutex // guards the bed's random source
	disk    *pebbletest.Disk
	signer  *proof.LogSigner
	policy  *proof.Policy
	witness *witness   // the first one
	others  []*witness // the rest
	verify  settlement.Verifier
	clock   atomic.Uint64 // wall clock in milliseconds
	limits  Limits
	wrap    func(settlement.Store) settlement.Store // what the node is given in place of the disk's store; may be nil
}

func newRig(t testing.TB) *rig { return newRigWith(t, 1, 1) }

// newRigWith makes one whose checkpoints k of n witnesses make final.
func newRigWith(t testing.TB, k, n int) *rig {
	t.Helper()
	l := ledgertest.NewLedger(1)
	key := func(name string) (ed25519.PrivateKey, entry.SignerKey) {
		seed := make([]byte, ed25519.SeedSize)
		copy(seed, name)
		k := ed25519.NewKeyFromSeed(seed)
		public, err := entry.SignerKeyOf(k.Public().(ed25519.PublicKey))
		must(t, err)
		return k, public
	}
	logKey, logPublic := key("log")
	l.Genesis.LogKey = logPublic
	l.Genesis.Witnesses = entry.WitnessPolicy{Quorum: uint8(k)}
	cosigners := make([]*proof.Cosigner, n)
	for i := range cosigners {
		name := fmt.Sprintf("w%d.example", i+1)
		secret, public := key("witness " + name)
		l.Genesis.Witnesses.Members = append(l.Genesis.Witnesses.Members, entry.Witness{Name: name, Key: public, Kind: entry.ValidatingWitness})
		c, err := proof.NewCosigner(name, secret)
		must(t, err)
		cosigners[i] = c
	}
	l.Without(0) // genesis changed: a new proof of possession and a new hash
	r := &rig{Bed: ledgertest.BedOf(l, 1), disk: pebbletest.New(), limits: Limits{Idle: 20 * time.Millisecond, WitnessTimeout: time.Second}}
	r.verify = r.Verifier
	r.clock.Store(r.Now)
	var err error
	r.signer, err = proof.NewLogSigner(l.Genesis.Origin, logKey)
	must(t, err)
	r.policy, err = journal.PolicyOf(l.Genesis)
	must(t, err)
	r.witness = newWitness(t, cosigners[0], r.signer)
	for _, c := range cosigners[1:] {
		r.others = append(r.others, newWitness(t, c, r.signer))
	}
	store, err := r.disk.Create(t.Context(), r.Blocks[0])
	must(t, err)
	must(t, store.Close())
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running is a node and its store; stop ends both.
type running struct {
	*Node
	store settlement.Store
}

func (r *rig) start(t testing.TB, disk *pebbletest.Disk) *running {
	t.Helper()
	run, err := r.tryStart(t, disk)
	must(t, err)
	return run
}

func (r *rig) tryStart(t testing.TB, disk *pebbletest.Disk) (*running, error) {
	t.Helper()
	store, err := disk.Open(t.Context(), r.Hash)
	must(t, err)
	if r.wrap != nil {
		store = r.wrap(store)
	}
	n, err := Start(t.Context(), Config{
		Store: store, Verifier: r.verify, Signer: r.signer, Witnesses: r.endpoints(), HTTP: &http.Client{Transport: r}, Limits: r.limits,
		Now: func() time.Time { return time.UnixMilli(int64(r.clock.Load())) },
	})
	if err != nil {
		must(t, store.Close())
		return nil, err
	}
	return &running{n, store}, nil
}

func (r *rig) endpoints() (out []journal.Endpoint) {
	for _, w := range r.Genesis.Witnesses.Members {
		out = append(out, journal.Endpoint{Name: w.Name, URL: "http://" + w.Name})
	}
	return out
}

// RoundTrip reaches the witness that a request is for.
func (r *rig) RoundTrip(req *http.Request) (*http.Response, error) {
	for i, w := range append([]*witness{r.witness}, r.others...) {
		if req.URL.Host == r.Genesis.Witnesses.Members[i].Name {
			return w.RoundTrip(req)
		}
	}
	return nil, errors.New("no such host")
}

func (run *running) stop(t testing.TB) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := run.Stop(ctx)
	must(t, run.store.Close())
	return err
}

func (r *rig) transfer() *ledgertest.Tx {
	r.bed.Lock()
	defer r.bed.Unlock()
	return r.Transfer()
}

// rival spends what tx spends.
func (r *rig) rival(tx *ledgertest.Tx) *ledgertest.Tx {
	r.bed.Lock()
	defer r.bed.Unlock()
	other := r.Tx(entry.KindTransfer, zk.Transfer)
	other.Legs[0].Nullifiers[0] = tx.Legs[0].Nullifiers[0]
	return r.Prove(other)
}

// broken is a transfer whose proof does not verify.
func (r *rig) broken() *ledgertest.Tx {
	tx := r.transfer()
	tx.Legs[0].Proof[40] ^= 1
	return tx
}

// saved waits until the store holds a checkpoint over so many leaves, and returns it.
func (run *running) saved(t testing.TB, size uint64) []byte {
	t.Helper()
	for range 2000 {
		if have, raw, err := run.store.Checkpoint(t.Context()); err == nil && have >= size {
			return raw
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("no checkpoint over %d leaves was saved", size)
	return nil
}

func send(n *running, tx *ledgertest.Tx) (settlement.Result, error) {
	return n.Submit(context.Background(), tx.Encode(), tx.Segments)
}

// witness is a real one, reached without a network.
type witness struct {
	handler http.Handler
	down    atomic.Bool
}

type shelf struct{ m sync.Map }

func (s *shelf) Load(origin string) ([]byte, error) {
	if v, ok := s.m.Load(origin); ok {
		return v.([]byte), nil
	}
	return nil, nil
}

func (s *shelf) Save(origin string, state []byte) error {
	s.m.Store(origin, bytes.Clone(state))
	return nil
}

func newWitness(t testing.TB, c *proof.Cosigner, log *proof.LogSigner) *witness {
	t.Helper()
	w, err := journal.NewWitness(journal.WitnessConfig{Cosigner: c, Medium: &shelf{}, Logs: []journal.Log{{Origin: log.Origin(), Key: log.Public()}},
		Now: func() time.Time { return time.UnixMilli(ledgertest.Start) }})
	must(t, err)
	return &witness{handler: w.Handler()}
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	if w.down.Load() {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	server := req.Clone(req.Context())
	server.RequestURI = req.URL.Path
	w.handler.ServeHTTP(rec, server)
	return rec.Result(), req.Context().Err()
}

func TestAcceptedEntryIsDurableAndItsReceiptChecksOffline(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	tx := r.transfer()
	res, err := send(n, tx)
	if err != nil || res.Status != settlement.Accepted || res.EntryIndex != 2 || res.Height != 1 || res.ID != tx.ID() {
		t.Fatalf("submit: %+v, %v", res, err)
	}
	raw, err := n.Receipt(t.Context(), res.EntryIndex)
	must(t, err)
	receipt, err := proof.ParseReceipt(raw)
	must(t, err)
	if _, err := proof.VerifyReceipt(r.policy, receipt, uint64(r.clock.Load()/1000)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(receipt.Entry, tx.Encode()) {
		t.Fatal("the receipt is for other bytes")
	}
	if index, err := n.IndexOf(t.Context(), tx.ID()); err != nil || index != res.EntryIndex {
		t.Fatalf("index of the id: %d, %v", index, err)
	}
	if _, err := n.IndexOf(t.Context(), entry.ID{1}); !errors.Is(err, settlement.ErrNotFound) {
		t.Fatalf("index of an unknown id: %v", err)
	}
	if _, err := n.Receipt(t.Context(), 100); !errors.Is(err, settlement.ErrNotFound) {
		t.Fatalf("receipt beyond the log: %v", err)
	}
	s := n.Status()
	if s.Accepted != 1 || s.Size != 4 || s.FinalSize != 4 || s.Waiting != 0 || s.Proofs != 1 || s.Blocks != 1 || s.Proving == 0 || s.Storing == 0 || s.Admitting == 0 {
		t.Fatalf("status: %+v", s)
	}
	must(t, n.stop(t))
}

func TestRepeatIsAnsweredWithTheFirstPlace(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	tx := r.transfer()
	first, err := send(n, tx)
	must(t, err)
	check := func(what string, tx *ledgertest.Tx) {
		t.Helper()
		res, err := send(n, tx)
		if err != nil || res.Status != settlement.SettledBefore || res.EntryIndex != first.EntryIndex || res.Height != first.Height {
			t.Fatalf("%s: %+v, %v", what, res, err)
		}
	}
	check("the same bytes", tx)
	again := *tx.Transaction
	again.Legs = append([]entry.Leg{}, tx.Legs...)
	again.Legs[0].Proof[50] ^= 1
	check("a bad proof under the good id", &ledgertest.Tx{Transaction: &again, Segments: tx.Segments})
	must(t, n.stop(t))
	n = r.start(t, r.disk)
	check("after a restart", tx)
	r.clock.Add(120_000)
	check("after its expiry", tx)
	if p := n.Status().Proofs; p != 0 {
		t.Fatalf("%d proofs checked for repeats", p)
	}
	must(t, n.stop(t))
}

func TestOneOf64SpendersWinsAcrossARestart(t *testing.T) {
	r := newRig(t)
	first := r.transfer()
	rivals := []*ledgertest.Tx{first}
	for range 63 {
		rivals = append(rivals, r.rival(first))
	}
	n := r.start(t, r.disk)
	var won sync.Map
	race := func(list []*ledgertest.Tx) {
		var wg sync.WaitGroup
		for _, tx := range list {
			wg.Go(func() {
				switch res, err := send(n, tx); {
				case err == nil:
					won.Store(res.ID, res.EntryIndex)
				case entry.CodeOf(err) != entry.NullifierSpent:
					t.Errorf("a loser was told %v", err)
				}
			})
		}
		wg.Wait()
	}
	race(rivals[:32])
	must(t, n.stop(t))
	n = r.start(t, r.disk.Lose(0, 1))
	race(rivals)
	winners := 0
	won.Range(func(any, any) bool { winners++; return true })
	if winners != 1 {
		t.Fatalf("%d spenders won", winners)
	}
	must(t, n.stop(t))
}

// slow is a verifier that takes its time per proof.
type slow struct {
	settlement.Verifier
	each time.Duration
}

func (s slow) VerifyBatch(jobs []settlement.Job) []error {
	time.Sleep(time.Duration(len(jobs)) * s.each)
	return s.Verifier.VerifyBatch(jobs)
}

func TestFloodOfInvalidProofsMeetsBoundedQueuesAndHonestTrafficFlows(t *testing.T) {
	r := newRig(t)
	r.limits.Waiting, r.limits.Batch = 64, 16
	r.verify = slow{r.Verifier, time.Millisecond}
	n := r.start(t, r.disk)
	var later, invalid, worst atomic.Int64
	done := make(chan struct{})
	var flood sync.WaitGroup
	for range 96 {
		bad := r.broken() // made beforehand: 96 senders must outrun the verifier on any machine
		flood.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_, err := send(n, bad)
				switch entry.CodeOf(err) {
				case entry.TryLater:
					later.Add(1)
					time.Sleep(2 * time.Millisecond)
				case entry.ProofInvalid:
					invalid.Add(1)
				default:
					t.Errorf("an invalid proof was answered %v", err)
					return
				}
				for w := int64(n.Status().Waiting); w > worst.Load(); {
					worst.Store(w)
				}
			}
		})
	}
	for range 30 {
		tx := r.transfer()
		for {
			_, err := send(n, tx)
			if err == nil {
				break
			}
			if entry.CodeOf(err) != entry.TryLater {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	close(done)
	flood.Wait()
	if later.Load() == 0 || invalid.Load() == 0 {
		t.Fatalf("%d told to try later, %d invalid", later.Load(), invalid.Load())
	}
	// A submission that is turned away stands in the count for a moment.
	if worst.Load() > 64+96+1 {
		t.Fatalf("%d entries were inside the node", worst.Load())
	}
	if s := n.Status(); s.Accepted != 30 {
		t.Fatalf("%d accepted", s.Accepted)
	}
	must(t, n.stop(t))
}

func TestWaitingBytesAreBounded(t *testing.T) {
	r := newRig(t)
	r.limits.WaitingBytes = 300
	n := r.start(t, r.disk)
	if _, err := send(n, r.transfer()); entry.CodeOf(err) != entry.TryLater {
		t.Fatalf("more bytes than may wait: %v", err)
	}
	if n.waiting.Load() != 0 || n.bytes.Load() != 0 {
		t.Fatalf("%d entries of %d bytes are counted after all were answered", n.waiting.Load(), n.bytes.Load())
	}
	must(t, n.stop(t))
}

func TestLostQuorumIsABacklogThenTryLaterThenRecovery(t *testing.T) {
	r := newRig(t)
	r.limits.NotFinal = 40
	n := r.start(t, r.disk)
	_, err := send(n, r.transfer())
	must(t, err)
	if _, err := n.Receipt(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	r.witness.down.Store(true)
	accepted := 0
	for range 200 {
		if _, err = send(n, r.transfer()); err != nil {
			break
		}
		accepted++
	}
	if entry.CodeOf(err) != entry.TryLater || accepted < 10 || accepted > 41 {
		t.Fatalf("without a quorum: %d accepted, then %v", accepted, err)
	}
	// What is accepted is durable but not final.
	brief, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := n.Receipt(brief, n.Status().Size-1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("receipt without a quorum: %v", err)
	}
	r.witness.down.Store(false)
	long, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := n.Receipt(long, n.Status().Size-1); err != nil {
		t.Fatalf("receipt after the witness returned: %v", err)
	}
	if _, err := send(n, r.transfer()); err != nil {
		t.Fatalf("submit after recovery: %v", err)
	}
	must(t, n.stop(t))
}

func TestNodeRestoredFromAnOldBackupRefusesToStart(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	_, err := send(n, r.transfer())
	must(t, err)
	_, err = n.Receipt(t.Context(), 2)
	must(t, err)
	backup := r.disk.Lose(0, 1)
	res, err := send(n, r.transfer())
	must(t, err)
	_, err = n.Receipt(t.Context(), res.EntryIndex)
	must(t, err)
	must(t, n.stop(t))
	if _, err := r.tryStart(t, backup); !errors.Is(err, journal.ErrBehindWitnesses) {
		t.Fatalf("start from an old backup: %v", err)
	}
	must(t, r.start(t, r.disk).stop(t))
}

func TestSlowReaderGetsEveryBlock(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	const blocks = 60
	var read []uint64
	var reader sync.WaitGroup
	reader.Go(func() {
		for h := uint64(0); h <= blocks; h++ {
			if err := n.WaitBlock(context.Background(), h); err != nil {
				t.Error(err)
				return
			}
			b, err := n.Block(context.Background(), h)
			if err != nil {
				t.Error(err)
				return
			}
			read = append(read, b.Height)
			time.Sleep(2 * time.Millisecond)
		}
	})
	for range blocks {
		_, err := send(n, r.transfer())
		must(t, err)
	}
	reader.Wait()
	if len(read) != blocks+1 {
		t.Fatalf("%d blocks read", len(read))
	}
	must(t, n.stop(t))
}

func TestIdleLedgerLogsTimeWhileAnythingCanExpire(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	_, err := send(n, r.transfer())
	must(t, err)
	height := n.Status().State.Height
	r.clock.Add(61_000)
	must(t, n.WaitBlock(t.Context(), height+1))
	b, err := n.Block(t.Context(), height+1)
	if err != nil || len(b.Entries) != 1 || b.Time != r.clock.Load() {
		t.Fatalf("idle block: %+v, %v", b, err)
	}
	r.clock.Add(2 * ledgertest.MaxExpiryMillis)
	must(t, n.WaitBlock(t.Context(), height+2))
	r.clock.Add(10_000)
	time.Sleep(100 * time.Millisecond)
	if h := n.Status().State.Height; h != height+2 {
		t.Fatalf("height %d though nothing can expire any more", h)
	}
	must(t, n.stop(t))
}

func TestStopAnswersWhatIsInsideAndTakesNothingMore(t *testing.T) {
	r := newRig(t)
	r.verify = slow{r.Verifier, 2 * time.Millisecond}
	n := r.start(t, r.disk)
	var wg sync.WaitGroup
	for range 40 {
		tx := r.transfer()
		wg.Go(func() {
			if _, err := send(n, tx); err != nil && entry.CodeOf(err) != entry.TryLater {
				t.Errorf("in hand at the stop: %v", err)
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	must(t, n.stop(t))
	wg.Wait()
	if _, err := send(n, r.transfer()); entry.CodeOf(err) != entry.TryLater {
		t.Fatalf("submit after the stop: %v", err)
	}
	if !errors.Is(n.Err(), ErrStopped) {
		t.Fatalf("Err() = %v", n.Err())
	}
}

func TestFailingDiskStopsTheNodeAndAnswersNobody(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	_, err := send(n, r.transfer())
	must(t, err)
	n.saved(t, 4) // so that no checkpoint is being saved
	r.disk.Inject(storetest.FaultSync)
	tx := r.transfer()
	if _, err := send(n, tx); !errors.Is(err, ErrStopped) {
		t.Fatalf("submit onto a failing disk: %v", err)
	}
	<-n.Done()
	if !errors.Is(n.Err(), settlement.ErrInDoubt) {
		t.Fatalf("the node ended with %v", n.Err())
	}
	r.disk.Inject(storetest.FaultNone)
	if err := n.stop(t); !errors.Is(err, settlement.ErrInDoubt) {
		t.Fatalf("stop: %v", err)
	}
	// The next start decides; sending again is safe either way.
	n = r.start(t, r.disk.Lose(0, 1))
	if res, err := send(n, tx); err != nil {
		t.Fatalf("sent again: %+v, %v", res, err)
	}
	must(t, n.stop(t))
}

// TestAcknowledgedIsNeverLost cuts the power at writes picked at random under concurrent submissions. On every copy the node must start,
// and know every entry that was acknowledged by then at the place it was given.
func TestAcknowledgedIsNeverLost(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	type acknowledgement struct {
		tx  *ledgertest.Tx
		res settlement.Result
	}
	type lost struct {
		disk  *pebbletest.Disk
		known int
	}
	var mu sync.Mutex // guards what follows
	var acknowledged []acknowledgement
	var copies []lost
	const want = 60
	random := rand.New(rand.NewPCG(7, 7))
	r.disk.OnWrite(func() {
		mu.Lock()
		defer mu.Unlock()
		if len(copies) < want && random.IntN(5) == 0 {
			copies = append(copies, lost{r.disk.Lose([]int{0, 50, 100}[len(copies)%3], random.Uint64()), len(acknowledged)})
		}
	})
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(copies) >= want
	}
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for !enough() {
				tx := r.transfer()
				res, err := send(n, tx)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, acknowledgement{tx, res})
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	r.disk.OnWrite(nil)
	must(t, n.stop(t))
	r.witness.down.Store(true) // it has seen what the copies have not
	r.limits.StartWait = time.Millisecond
	t.Logf("%d acknowledged, %d copies", len(acknowledged), len(copies))
	for i, c := range copies {
		n := r.start(t, c.disk)
		for _, a := range acknowledged[:c.known] {
			res, err := send(n, a.tx)
			if err != nil || res.Status != settlement.SettledBefore || res.EntryIndex != a.res.EntryIndex || res.Height != a.res.Height {
				t.Fatalf("copy %d: acknowledged at %d, now %+v, %v", i, a.res.EntryIndex, res, err)
			}
		}
		if res, err := send(n, r.transfer()); err != nil || res.Status != settlement.Accepted {
			t.Fatalf("copy %d does not go on: %+v, %v", i, res, err)
		}
		must(t, n.stop(t))
	}
}

func TestMalformedAndForeignEntriesAreNamed(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	tx := r.transfer()
	foreign := r.transfer()
	foreign.Ledger[0] ^= 1
	future := r.transfer()
	future.Legs[0].Anchor = 1_000_000
	for want, sent := range map[entry.Code]func() (settlement.Result, error){
		entry.Malformed:       func() (settlement.Result, error) { return n.Submit(t.Context(), []byte{1}, nil) },
		entry.WrongLedger:     func() (settlement.Result, error) { return send(n, foreign) },
		entry.AnchorUnknown:   func() (settlement.Result, error) { return send(n, future) },
		entry.SegmentMismatch: func() (settlement.Result, error) { return n.Submit(t.Context(), tx.Encode(), [][]byte{{1}}) },
		entry.ProofInvalid:    func() (settlement.Result, error) { return send(n, r.broken()) },
		entry.UnknownKind:     func() (settlement.Result, error) { return n.Submit(t.Context(), r.Blocks[0].Entries[1], nil) },
	} {
		if _, err := sent(); entry.CodeOf(err) != want {
			t.Errorf("%s: %v", want, err)
		}
	}
	if n.Status().Size != 2 {
		t.Fatal("a refused entry left a trace in the log")
	}
	must(t, n.stop(t))
}

// instant accepts every proof at no cost.
type instant struct{}

func (instant) VerifyBatch(jobs []settlement.Job) []error { return make([]error, len(jobs)) }

// Question: how many entries does the node settle durably on a real disk when proofs cost nothing? It is the ceiling of everything but
// proofs: decoding, admission, look-ups, note tree, log, store, checkpoints.
// go test -run '^$' -bench Node ./settlement/node
func BenchmarkNode(b *testing.B) {
	for _, kind := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		b.Run(kind.String(), func(b *testing.B) {
			r := newRig(b)
			r.verify = instant{}
			opener, err := pebblestore.New(pebblestore.Config{Dir: b.TempDir() + "/ledger"})
			must(b, err)
			store, err := opener.Create(b.Context(), r.Blocks[0])
			must(b, err)
			n, err := Start(b.Context(), Config{Store: store, Verifier: r.verify, Signer: r.signer, HTTP: &http.Client{Transport: r},
				Witnesses: r.endpoints(), Now: func() time.Time { return time.UnixMilli(int64(r.clock.Load())) }})
			must(b, err)
			type item struct {
				leaf     []byte
				segments [][]byte
			}
			items := make([]item, b.N)
			for i := range items {
				tx := r.Tx(entry.KindTransfer, kind)
				items[i] = item{tx.Encode(), tx.Segments}
			}
			b.ResetTimer()
			start := time.Now()
			var next atomic.Int64
			var clients sync.WaitGroup
			for range 1024 {
				clients.Go(func() {
					for i := next.Add(1) - 1; i < int64(len(items)); i = next.Add(1) - 1 {
						if _, err := n.Submit(context.Background(), items[i].leaf, items[i].segments); err != nil {
							panic(fmt.Sprint(err))
						}
					}
				})
			}
			clients.Wait()
			elapsed := time.Since(start)
			b.StopTimer()
			s := n.Status()
			b.ReportMetric(float64(b.N)/elapsed.Seconds(), "entries/s")
			b.ReportMetric(float64(b.N*kind.Shape().Outputs)/elapsed.Seconds(), "outputs/s")
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
			b.ReportMetric(per(s.Admitting), "us-admit")
			b.ReportMetric(per(s.Sequencing), "us-sequence")
			b.ReportMetric(per(s.Storing), "us-store")
			b.ReportMetric(float64(b.N)/float64(max(s.Blocks, 1)), "entries/block")
			must(b, n.Stop(context.Background()))
			must(b, store.Close())
		})
	}
}

package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bridge/relayer"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// relayed is what a relayer did.
type relayed struct {
	Plans, Observes, Resolves, Batches int
	Refused                            map[string]int
}

// relaying is the relayer of comity bridge relay, in a process of its own.
type relaying struct {
	relayer *relayer.Relayer
	stop    context.CancelFunc
	wait    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	done   relayed
	before relayed
}

func newRelayer(c *config, nations []*nation) (*relaying, error) {
	r := &relaying{done: relayed{Refused: map[string]int{}}}
	cfg := relayer.Config{Fresh: true, Pace: c.Pace, Did: func(relayer.Did) {}, Failed: func(what string, on *relayer.Member, err error) {
		if err != nil {
			logger().Warn("the relayer met a problem", "doing", what, "on", on.Name, "error", err)
		}
	}}
	for i, n := range nations {
		policy, err := journal.PolicyOf(n.genesis)
		if err != nil {
			return nil, err
		}
		cfg.Members = append(cfg.Members, relayer.Member{Name: n.name, Genesis: n.genesis, Ledger: &reached{client: dial(c.URLs[i]), policy: policy, of: r}})
	}
	r.relayer = relayer.New(cfg)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	r.wait.Go(func() { r.relayer.Run(ctx, func() {}) })
	return r, nil
}

// reached is a ledger as the relayer reaches it over the RPC.
type reached struct {
	client ledgerv1connect.LedgerServiceClient
	policy *proof.Policy
	of     *relaying
}

// Blocks implements relayer.Ledger.
func (l *reached) Blocks(ctx context.Context, from uint64, follow bool) iter.Seq2[relayer.Block, error] {
	return func(yield func(relayer.Block, error) bool) {
		stream, err := l.client.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{FromHeight: from, StopAtHead: !follow, OmitSegments: true})
		if err != nil {
			yield(relayer.Block{}, err)
			return
		}
		defer stream.Close()
		for stream.Receive() {
			b := stream.Msg().GetBlock()
			if !yield(relayer.Block{Height: b.GetHeight(), FirstIndex: b.GetFirstIndex(), Entries: b.GetEntries()}, nil) {
				return
			}
		}
		if err := stream.Err(); err != nil {
			yield(relayer.Block{}, err)
		}
	}
}

// Checkpoint implements relayer.Ledger. A checkpoint counts once all its signatures hold.
func (l *reached) Checkpoint(ctx context.Context, size uint64, wait time.Duration, terms *entry.CorridorTerms) ([]byte, error) {
	request := &ledgerv1.GetCheckpointRequest{MinSize: size, WaitMillis: uint32(max(1, wait.Milliseconds()))}
	if terms != nil {
		quorum, own := &ledgerv1.WitnessSet{AtLeast: uint32(terms.Quorum)}, &ledgerv1.WitnessSet{AtLeast: 1}
		for _, w := range terms.Witnesses {
			if quorum.Names = append(quorum.Names, w.Name); w.Own {
				own.Names = append(own.Names, w.Name)
			}
		}
		request.Witnesses = []*ledgerv1.WitnessSet{quorum, own}
	}
	got, err := l.client.GetCheckpoint(ctx, request)
	if connect.CodeOf(err) == connect.CodeUnavailable { // nothing new meanwhile
		return nil, entry.Refuse(entry.TryLater, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	_, err = l.policy.Check(got.GetCheckpoint(), uint64(time.Now().Unix()))
	return got.GetCheckpoint(), err
}

// Entry implements relayer.Ledger.
func (l *reached) Entry(ctx context.Context, index uint64) ([]byte, error) {
	got, err := l.client.GetEntry(ctx, &ledgerv1.GetEntryRequest{EntryIndex: index})
	return got.GetEntry(), err
}

// Inclusion implements relayer.Ledger.
func (l *reached) Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error) {
	got, err := l.client.GetInclusion(ctx, &ledgerv1.GetInclusionRequest{EntryIndex: index, Size: size})
	return hashesOf(got.GetPath()), err
}

// Consistency implements relayer.Ledger.
func (l *reached) Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error) {
	got, err := l.client.GetConsistency(ctx, &ledgerv1.GetConsistencyRequest{OldSize: older, NewSize: newer})
	return hashesOf(got.GetPath()), err
}

func hashesOf(path [][]byte) [][32]byte {
	out := make([][32]byte, len(path))
	for i, h := range path {
		copy(out[i][:], h)
	}
	return out
}

// Submit implements relayer.Ledger, and counts.
func (l *reached) Submit(ctx context.Context, entries []entry.Entry) ([]relayer.Result, error) {
	request := &ledgerv1.SubmitBatchRequest{}
	observes := 0
	for _, e := range entries {
		request.Entries = append(request.Entries, &ledgerv1.SubmitRequest{Entry: entry.Encode(e)})
		if _, ok := e.(*entry.Observe); ok {
			observes++
		}
	}
	answer, err := l.client.SubmitBatch(ctx, request)
	r := l.of
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.Batches++
	r.done.Observes += observes
	r.done.Resolves += len(entries) - observes
	if err == nil && len(answer.GetResults()) != len(entries) {
		err = fmt.Errorf("%d results for %d entries", len(answer.GetResults()), len(entries))
	}
	if err != nil {
		r.done.Refused["call failed"]++
		return nil, err
	}
	out := make([]relayer.Result, len(entries))
	for i, got := range answer.GetResults() {
		out[i].Index = got.GetAccepted().GetEntryIndex()
		if refused := got.GetRefused(); refused != nil {
			out[i].Err = &entry.Refusal{Code: entry.Code(refused.GetCode()), Detail: refused.GetDetail()}
			r.done.Refused[refused.GetCode()]++
		}
	}
	return out, nil
}

func (r *relaying) url() string { return "" }

func (r *relaying) tell(command string) error { return fmt.Errorf("unknown command %q", command) }

func (r *relaying) measure(c *counters, begin bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.Plans = r.relayer.Plans()
	if begin {
		r.before = r.done
		r.before.Refused = maps.Clone(r.done.Refused)
	}
	b := &r.before
	c.Relayer = &relayed{r.done.Plans - b.Plans, r.done.Observes - b.Observes, r.done.Resolves - b.Resolves, r.done.Batches - b.Batches, map[string]int{}}
	for code, n := range r.done.Refused {
		if n -= b.Refused[code]; n > 0 {
			c.Relayer.Refused[code] = n
		}
	}
}

func (r *relaying) close() error {
	r.stop()
	r.wait.Wait()
	return nil
}

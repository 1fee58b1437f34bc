// Package client speaks to a ledger over its RPC. It maps messages to the types of wallets and session, and refusals back to their names;
// it retries nothing by itself except reads, because what may be sent again is for the session to know. It believes nothing it is told:
// what the stream says is checked by wallets.State against itself and against cosigned checkpoints.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"

	"github.com/comity-ledger/comity/proto/doors"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
)

// Client is a connection to one ledger. It is safe for concurrent use.
type Client struct {
	rpc ledgerv1connect.LedgerServiceClient
}

var _ session.Ledger = (*Client)(nil)

const (
	callTimeout   = 30 * time.Second
	submitTimeout = 60 * time.Second
	// maxMessage bounds one message of the ledger: the largest block of entries and segments with room to spare.
	maxMessage = 256 << 20
	readTries  = 4
	readPause  = 250 * time.Millisecond
)

// New makes a client for the ledger at a URL on this machine, such as http://127.0.0.1:7001.
func New(address string) (*Client, error) { return NewTLS(address, nil) }

// NewTLS makes a client for the ledger at a URL such as https://host.example:7001, with certificates. Without them (nil) only loopback addresses are
// accepted, over http.
func NewTLS(address string, certificates *doors.Client) (*Client, error) {
	h, base, err := doors.HTTP(address, certificates)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return NewWith(h, base), nil
}

// NewWith makes a client over a given HTTP client, for tests in memory.
func NewWith(h connect.HTTPClient, base string) *Client {
	options := []connect.ClientOption{connect.WithReadMaxBytes(maxMessage), connect.WithAcceptCompression("gzip", nil, nil)}
	if telemetry, err := otelconnect.NewInterceptor(); err == nil { // else a meter refused its instruments: calls go on unmeasured
		options = append(options, connect.WithInterceptors(telemetry))
	}
	return &Client{rpc: ledgerv1connect.NewLedgerServiceClient(h, base, options...)}
}

// fail turns an error of the RPC into a refusal by name where the ledger named one.
func fail(doing string, err error) error {
	var wire *connect.Error
	if errors.As(err, &wire) {
		for _, d := range wire.Details() {
			value, err := d.Value()
			if err != nil {
				continue
			}
			if detail, ok := value.(*ledgerv1.ErrorDetail); ok && detail.GetCode() != "" {
				return fmt.Errorf("%s: %w", doing, &entry.Refusal{Code: entry.Code(detail.GetCode()), Detail: detail.GetDetail()})
			}
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// read repeats a call without effects while the ledger cannot be reached.
func read[T any](ctx context.Context, doing string, call func(context.Context) (T, error)) (T, error) {
	pause := readPause
	for try := 1; ; try++ {
		one, cancel := context.WithTimeout(ctx, callTimeout)
		got, err := call(one)
		cancel()
		if err == nil {
			return got, nil
		}
		if connect.CodeOf(err) != connect.CodeUnavailable || doors.CodeOf(err) != "" || try == readTries || ctx.Err() != nil {
			return got, fail(doing, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return got, ctx.Err()
		}
		pause *= 2
	}
}

// Genesis fetches the ledger's genesis entry and checks it against its own hash. Which hash to expect is for the caller to know.
func (c *Client) Genesis(ctx context.Context) (*entry.Genesis, []byte, error) {
	got, err := read(ctx, "get genesis", func(ctx context.Context) (*ledgerv1.GetGenesisResponse, error) {
		return c.rpc.GetGenesis(ctx, &ledgerv1.GetGenesisRequest{})
	})
	if err != nil {
		return nil, nil, err
	}
	g, err := entry.DecodeGenesis(got.GetGenesis())
	if err != nil {
		return nil, nil, fmt.Errorf("decode genesis: %w", err)
	}
	if hash := g.Hash(); !bytes.Equal(hash[:], got.GetHash()) {
		return nil, nil, wallets.Refuse(wallets.LedgerLied, "the genesis hash is not that of the genesis entry")
	}
	return g, got.GetGenesis(), nil
}

// Head tells how far the ledger says it is.
func (c *Client) Head(ctx context.Context) (height, size uint64, err error) {
	got, err := read(ctx, "get status", func(ctx context.Context) (*ledgerv1.GetStatusResponse, error) {
		return c.rpc.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
	})
	if err != nil {
		return 0, 0, err
	}
	return got.GetHeight(), got.GetSize(), nil
}

// Checkpoint gives the newest cosigned checkpoint, or nothing.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	got, err := read(ctx, "get checkpoint", func(ctx context.Context) (*ledgerv1.GetCheckpointResponse, error) {
		return c.rpc.GetCheckpoint(ctx, &ledgerv1.GetCheckpointRequest{})
	})
	if err != nil {
		return nil, err
	}
	return got.GetCheckpoint(), nil
}

// WaitCheckpoint gives the newest cosigned checkpoint over at least size leaves, and its size, waiting up to wait for one; where witnesses
// are named, one that at least one of them cosigned. When there is none in time it is refused as try_later.
func (c *Client) WaitCheckpoint(ctx context.Context, size uint64, wait time.Duration, witnesses ...string) ([]byte, uint64, error) {
	if len(witnesses) == 0 {
		return c.waitCheckpoint(ctx, size, wait)
	}
	return c.waitCheckpoint(ctx, size, wait, &ledgerv1.WitnessSet{Names: witnesses, AtLeast: 1})
}

// WaitCheckpointFor is WaitCheckpoint for one that a corridor to this ledger accepts: cosigned by a quorum of the witnesses in its terms, and
// by at least one that the corridor's own nation runs.
func (c *Client) WaitCheckpointFor(ctx context.Context, size uint64, wait time.Duration, terms *entry.CorridorTerms) ([]byte, uint64, error) {
	quorum, own := &ledgerv1.WitnessSet{AtLeast: uint32(terms.Quorum)}, &ledgerv1.WitnessSet{AtLeast: 1}
	for _, w := range terms.Witnesses {
		quorum.Names = append(quorum.Names, w.Name)
		if w.Own {
			own.Names = append(own.Names, w.Name)
		}
	}
	return c.waitCheckpoint(ctx, size, wait, quorum, own)
}

func (c *Client) waitCheckpoint(ctx context.Context, size uint64, wait time.Duration, sets ...*ledgerv1.WitnessSet) ([]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	got, err := c.rpc.GetCheckpoint(ctx, &ledgerv1.GetCheckpointRequest{MinSize: max(size, 1), Witnesses: sets, WaitMillis: waitMillis(wait)})
	if err != nil {
		return nil, 0, fail("wait for a checkpoint", err)
	}
	return got.GetCheckpoint(), got.GetSize(), nil
}

// waitMillis is a wait as the ledger takes it, where 0 would mean the longest.
func waitMillis(wait time.Duration) uint32 { return uint32(max(1, min(wait.Milliseconds(), 30000))) }

// Blocks yields the blocks from a height up to the ledger's head. After a broken stream it goes on where it stopped.
func (c *Client) Blocks(ctx context.Context, from uint64) iter.Seq2[*wallets.Block, error] {
	return c.blocks(ctx, from, false)
}

// Entries is Blocks without the segments, which hold what is meant for payees alone.
func (c *Client) Entries(ctx context.Context, from uint64) iter.Seq2[*wallets.Block, error] {
	return c.blocks(ctx, from, true)
}

func (c *Client) blocks(ctx context.Context, from uint64, bare bool) iter.Seq2[*wallets.Block, error] {
	return func(yield func(*wallets.Block, error) bool) {
		pause := readPause
		for try := 1; ; try++ {
			next, done, err := c.stream(ctx, from, bare, yield)
			if done {
				return
			}
			if err == nil {
				return
			}
			if next > from {
				try, pause = 1, readPause
			}
			from = next
			if connect.CodeOf(err) != connect.CodeUnavailable || try == readTries || ctx.Err() != nil {
				yield(nil, fail("read blocks", err))
				return
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
			pause *= 2
		}
	}
}

// Leaves yields the blocks from a height on without their segments: up to the ledger's head or, with follow, those to come as well. It ends with the
// stream; who follows begins again where it broke.
func (c *Client) Leaves(ctx context.Context, from uint64, follow bool) iter.Seq2[*wallets.Block, error] {
	return func(yield func(*wallets.Block, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := c.rpc.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{FromHeight: from, StopAtHead: !follow, OmitSegments: true})
		if err != nil {
			yield(nil, fail("read blocks", err))
			return
		}
		defer s.Close()
		for s.Receive() {
			b := s.Msg().GetBlock()
			if !yield(&wallets.Block{Height: b.GetHeight(), TimeMillis: b.GetTimeMillis(), FirstIndex: b.GetFirstIndex(), Entries: b.GetEntries(), Checkpoint: b.GetCheckpoint()}, nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(nil, fail("read blocks", err))
		}
	}
}

// stream reads one stream. done means that the consumer wants no more.
func (c *Client) stream(ctx context.Context, from uint64, bare bool, yield func(*wallets.Block, error) bool) (next uint64, done bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.rpc.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{FromHeight: from, StopAtHead: true, OmitSegments: bare})
	if err != nil {
		return from, false, err
	}
	defer s.Close()
	for s.Receive() {
		b := s.Msg().GetBlock()
		if !yield(&wallets.Block{Height: b.GetHeight(), TimeMillis: b.GetTimeMillis(), FirstIndex: b.GetFirstIndex(), Entries: b.GetEntries(),
			Segments: b.GetSegments(), Checkpoint: b.GetCheckpoint()}, nil) {
			return from, true, nil
		}
		from++
	}
	return from, false, s.Err()
}

// Submit sends an entry once. The caller decides about sending it again.
func (c *Client) Submit(ctx context.Context, e []byte, segments [][]byte) (session.Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, submitTimeout)
	defer cancel()
	got, err := c.rpc.Submit(ctx, &ledgerv1.SubmitRequest{Entry: e, Segments: segments})
	if err != nil {
		return session.Accepted{}, fail("submit", err)
	}
	return session.Accepted{EntryIndex: got.GetEntryIndex(), Height: got.GetHeight(), Before: got.GetOutcome() == ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE}, nil
}

// BatchItem is one entry for SubmitBatch.
type BatchItem struct {
	Entry    []byte
	Segments [][]byte
}

// BatchResult is what became of one entry of a batch.
type BatchResult struct {
	Accepted session.Accepted
	Err      error // an *entry.Refusal
}

// SubmitBatch sends up to 1024 entries, each judged on its own; results stand in the order of the items.
func (c *Client) SubmitBatch(ctx context.Context, items []BatchItem) ([]BatchResult, error) {
	ctx, cancel := context.WithTimeout(ctx, submitTimeout)
	defer cancel()
	req := &ledgerv1.SubmitBatchRequest{}
	for _, i := range items {
		req.Entries = append(req.Entries, &ledgerv1.SubmitRequest{Entry: i.Entry, Segments: i.Segments})
	}
	got, err := c.rpc.SubmitBatch(ctx, req)
	if err != nil {
		return nil, fail("submit a batch", err)
	}
	if len(got.GetResults()) != len(items) {
		return nil, fmt.Errorf("submit a batch: %d results for %d entries", len(got.GetResults()), len(items))
	}
	out := make([]BatchResult, len(items))
	for i, r := range got.GetResults() {
		if a := r.GetAccepted(); a != nil {
			out[i].Accepted = session.Accepted{EntryIndex: a.GetEntryIndex(), Height: a.GetHeight(), Before: a.GetOutcome() == ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE}
			continue
		}
		out[i].Err = &entry.Refusal{Code: entry.Code(r.GetRefused().GetCode()), Detail: r.GetRefused().GetDetail()}
	}
	return out, nil
}

// Receipt gives the receipt of an entry, waiting up to wait for a cosigned checkpoint that covers it.
func (c *Client) Receipt(ctx context.Context, index uint64, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	got, err := c.rpc.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: index},
		WaitMillis: waitMillis(wait)})
	if err != nil {
		return nil, fail("get receipt", err)
	}
	return got.GetReceipt(), nil
}

// ReceiptOf gives the receipt of the entry that used up a key, a nullifier or the key of a hold, as Receipt does. Before any entry did it
// is refused as not_found.
func (c *Client) ReceiptOf(ctx context.Context, key zk.Nullifier, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	got, err := c.rpc.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Key{Key: key[:]}, WaitMillis: waitMillis(wait)})
	if err != nil {
		return nil, fail("get receipt", err)
	}
	return got.GetReceipt(), nil
}

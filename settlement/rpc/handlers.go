package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/proto/schema"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// maxWait is how long GetReceipt and GetCheckpoint wait where the request names no time, and the most that the schema lets one name.
const maxWait = 30 * time.Second

// waiting bounds a call that waits for witnesses: by the time asked for, and by the node's end.
func (h *handlers) waiting(ctx context.Context, millis uint32) (context.Context, func()) {
	wait := time.Duration(millis) * time.Millisecond
	if wait == 0 {
		wait = maxWait
	}
	bounded, cancel := context.WithTimeout(ctx, wait)
	forget := context.AfterFunc(h.server.stop, cancel) // a node that stops does not wait for witnesses
	return bounded, func() { forget(); cancel() }
}

// handlers translate. Each method reads its message, which keeps to the rules of the schema, calls the ledger and writes its answer; errors go
// through toConnect.
type handlers struct {
	server   *Server
	ledger   Ledger
	requests *schema.Rules
	genesis  *entry.Genesis
	first    *ledgerv1.GetGenesisResponse
	streams  *semaphore.Weighted
}

var _ ledgerv1connect.LedgerServiceHandler = (*handlers)(nil)

func newHandlers(s *Server, requests *schema.Rules) *handlers {
	genesis := s.cfg.Ledger.Genesis()
	hash := genesis.Hash()
	return &handlers{
		server: s, ledger: s.cfg.Ledger, requests: requests, genesis: genesis,
		first:   &ledgerv1.GetGenesisResponse{Genesis: entry.Encode(genesis), Hash: hash[:]},
		streams: semaphore.NewWeighted(s.cfg.Limits.Streams),
	}
}

// fail logs what is our own fault and returns the answer for the caller.
func (h *handlers) fail(ctx context.Context, what string, err error) error {
	wire := toConnect(err)
	if wire.Code() == connect.CodeInternal {
		h.server.cfg.Log.ErrorContext(ctx, what, "error", err)
	}
	return wire
}

func (h *handlers) GetGenesis(context.Context, *ledgerv1.GetGenesisRequest) (*ledgerv1.GetGenesisResponse, error) {
	return h.first, nil
}

func (h *handlers) GetStatus(ctx context.Context, _ *ledgerv1.GetStatusRequest) (*ledgerv1.GetStatusResponse, error) {
	status, err := h.ledger.Status(ctx)
	if err != nil {
		return nil, h.fail(ctx, "status", err)
	}
	out := &ledgerv1.GetStatusResponse{
		Height: status.State.Height, Size: status.Size, TimeMillis: status.State.TimeMillis, FinalSize: status.FinalSize,
		State: entry.Encode(status.State), NextSequence: status.State.NextSequence, Pending: status.Pending,
		Version: h.server.cfg.Version, UptimeSeconds: status.UptimeSeconds, OpenHolds: uint64(status.State.Holds),
	}
	if n := status.Node; n != nil {
		role := ledgerv1.NodeRole_NODE_ROLE_FOLLOWER
		if n.Leads {
			role = ledgerv1.NodeRole_NODE_ROLE_LEADER
		}
		out.Node = &ledgerv1.NodeStatus{Name: n.Name, Role: role, Leader: n.Leader, LeaderUrl: n.LeaderURL, LeaseEpoch: n.LeaseEpoch}
	}
	for _, c := range h.ledger.Corridors() {
		out.Corridors = append(out.Corridors, &ledgerv1.CorridorStatus{Peer: c.Peer[:], Name: c.Name, State: corridorStates[c.State], InFlight: c.InFlight,
			Cap: c.Cap, ObservedMillis: c.ObservedAt})
	}
	for _, asset := range h.genesis.Assets {
		supply := &ledgerv1.Supply{AssetId: uint32(asset.ID), Code: asset.Code, Decimals: uint32(asset.Decimals)}
		for _, s := range status.State.Supply {
			if s.Asset == asset.ID {
				supply.Issued, supply.Redeemed = uint64(s.Issued), uint64(s.Redeemed)
			}
		}
		out.Supply = append(out.Supply, supply)
	}
	for _, w := range status.Witnesses {
		out.Witnesses = append(out.Witnesses, &ledgerv1.WitnessStatus{Name: w.Name, Size: w.Size, LastError: w.LastError})
	}
	return out, nil
}

// submit hands one entry to the ledger, if its kind is one that the caller may bring.
func (h *handlers) submit(ctx context.Context, req *ledgerv1.SubmitRequest) (Accepted, error) {
	if c, _ := CallerFrom(ctx); !c.Has(submitters) {
		if kind, err := entry.KindOf(req.GetEntry()); err != nil {
			return Accepted{}, err
		} else if !c.brings(kind) {
			return Accepted{}, entry.Refuse(CodeRoleNotAllowed, "%s submits no %s", c.Name, kind)
		}
	}
	ctx, end := h.one(ctx, req)
	defer end()
	return h.ledger.Submit(ctx, req.GetEntry(), req.GetSegments())
}

var (
	// submitters may send entries of every kind.
	submitters = []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR, optionsv1.Role_ROLE_BANK}
	// relayed are the kinds that anybody may bring.
	relayed = []entry.Kind{entry.KindResolve, entry.KindAttest, entry.KindAmend, entry.KindObserve, entry.KindEvidence}
)

// brings reports whether a caller that is no submitter may submit a kind: a registrar what the policy signs, a provider its own payments and
// what relays, a peer what relays.
func (c Caller) brings(kind entry.Kind) bool {
	for _, role := range c.Roles {
		switch role {
		case optionsv1.Role_ROLE_REGISTRAR:
			if kind.Privileged() {
				return true
			}
		case optionsv1.Role_ROLE_PROVIDER:
			if kind == entry.KindTransfer || slices.Contains(relayed, kind) {
				return true
			}
		case optionsv1.Role_ROLE_PEER:
			if slices.Contains(relayed, kind) {
				return true
			}
		}
	}
	return false
}

func (h *handlers) Submit(ctx context.Context, req *ledgerv1.SubmitRequest) (*ledgerv1.SubmitResponse, error) {
	accepted, err := h.submit(ctx, req)
	if err != nil {
		return nil, h.fail(ctx, "submit", err)
	}
	return submitResponse(accepted), nil
}

func submitResponse(a Accepted) *ledgerv1.SubmitResponse {
	outcome := ledgerv1.Outcome_OUTCOME_ACCEPTED
	if a.Before {
		outcome = ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE
	}
	return &ledgerv1.SubmitResponse{Outcome: outcome, EntryIndex: a.EntryIndex, Height: a.Height, Id: a.ID[:]}
}

// SubmitBatch hands the entries to the node at once, so that they share verification batches and a block. An entry that met an
// internal error or an ended call is answered try_later: what became of it is unknown, and sending it again is always safe.
func (h *handlers) SubmitBatch(ctx context.Context, req *ledgerv1.SubmitBatchRequest) (*ledgerv1.SubmitBatchResponse, error) {
	entries := req.GetEntries()
	results := make([]*ledgerv1.SubmitResult, len(entries))
	var wait sync.WaitGroup
	for i, e := range entries {
		wait.Go(func() {
			var accepted Accepted
			err := h.requests.Check(e) // the schema leaves each member of a batch to be checked for itself
			if err == nil {
				accepted, err = h.submit(ctx, e)
			}
			if err == nil {
				results[i] = &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Accepted{Accepted: submitResponse(accepted)}}
				return
			}
			r := refusalOf(err)
			if r == nil {
				_ = h.fail(ctx, "submit", err)
				r = &entry.Refusal{Code: entry.TryLater, Detail: "nothing is known about this entry, send it again"}
			}
			results[i] = &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Refused{Refused: errorDetail(r)}}
		})
	}
	wait.Wait()
	return &ledgerv1.SubmitBatchResponse{Results: results}, nil
}

// StreamBlocks pulls: the next block is read from the store only when the last one was taken by the connection, so a slow reader
// costs one block of memory and the write deadline of the gate ends it.
func (h *handlers) StreamBlocks(ctx context.Context, req *ledgerv1.StreamBlocksRequest, stream *connect.ServerStream[ledgerv1.StreamBlocksResponse]) error {
	if c, _ := CallerFrom(ctx); !req.GetOmitSegments() && len(c.Roles) > 0 && !slices.ContainsFunc(c.Roles, func(r optionsv1.Role) bool { return r != optionsv1.Role_ROLE_PUBLIC }) {
		return toConnect(entry.Refuse(CodeRoleNotAllowed, "%s reads no ciphertexts: ask with omit_segments", c.Name))
	}
	if !h.streams.TryAcquire(1) {
		return toConnect(entry.Refuse(entry.TryLater, "too many streams are open"))
	}
	defer h.streams.Release(1)
	// Headers go out before the first block, so that a caller that waits for a new block knows it is connected.
	if err := stream.Send(nil); err != nil {
		return err
	}
	for height := req.GetFromHeight(); ; height++ {
		block, err := h.ledger.Block(ctx, height)
		if errors.Is(err, settlement.ErrNotFound) {
			if req.GetStopAtHead() {
				return nil
			}
			if err := h.ledger.WaitBlock(ctx, height); err != nil {
				return h.streamEnd(ctx, err)
			}
			block, err = h.ledger.Block(ctx, height)
		}
		if err != nil {
			return h.streamEnd(ctx, err)
		}
		message, err := h.blockMessage(ctx, block, req.GetOmitSegments())
		if err != nil {
			return h.streamEnd(ctx, err)
		}
		if err := stream.Send(&ledgerv1.StreamBlocksResponse{Block: message}); err != nil {
			return err
		}
	}
}

// streamEnd tells a reader to come back, whose stream ends because the node stops or the stream has lasted as long as it may.
func (h *handlers) streamEnd(ctx context.Context, err error) error {
	if h.server.stop.Err() != nil {
		return toConnect(entry.Refuse(entry.TryLater, "the node is stopping"))
	}
	if errors.Is(context.Cause(ctx), errBound) {
		return toConnect(entry.Refuse(entry.TryLater, "the stream has lasted as long as it may: ask again from the next height"))
	}
	return h.fail(ctx, "stream blocks", err)
}

func (h *handlers) blockMessage(ctx context.Context, b *settlement.Block, omitSegments bool) (*ledgerv1.Block, error) {
	m := &ledgerv1.Block{Height: b.Height, TimeMillis: b.Time, FirstIndex: b.FirstIndex, Entries: b.Entries}
	if !omitSegments {
		m.Segments = b.Segments
	}
	size, note, err := h.ledger.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if size >= b.Size() {
		m.Checkpoint = note
	}
	return m, nil
}

func (h *handlers) GetReceipt(ctx context.Context, req *ledgerv1.GetReceiptRequest) (*ledgerv1.GetReceiptResponse, error) {
	var index uint64
	switch which := req.GetEntry().(type) {
	case *ledgerv1.GetReceiptRequest_EntryIndex:
		index = which.EntryIndex
	case *ledgerv1.GetReceiptRequest_Id:
		var err error
		if index, err = h.ledger.IndexOf(ctx, entry.ID(which.Id)); err != nil {
			return nil, h.fail(ctx, "find entry", err)
		}
	case *ledgerv1.GetReceiptRequest_Key:
		key, err := zk.ParseNullifier(which.Key)
		if err != nil {
			return nil, toConnect(entry.Refuse(entry.NonCanonical, "key: %v", err))
		}
		hits, err := h.ledger.Spent(ctx, []zk.Nullifier{key})
		if err == nil && !hits[0].Found {
			err = settlement.ErrNotFound
		}
		if err != nil {
			return nil, h.fail(ctx, "find key", err)
		}
		index = hits[0].EntryIndex
	default:
		return nil, h.fail(ctx, "receipt", fmt.Errorf("an entry named by %T", which))
	}
	waiting, done := h.waiting(ctx, req.GetWaitMillis())
	defer done()
	receipt, err := h.ledger.Receipt(waiting, index)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, toConnect(entry.Refuse(entry.TryLater, "entry %d is not final yet", index))
	}
	if err != nil {
		return nil, h.fail(ctx, "receipt", err)
	}
	return &ledgerv1.GetReceiptResponse{Receipt: receipt, EntryIndex: index}, nil
}

func (h *handlers) GetCheckpoint(ctx context.Context, req *ledgerv1.GetCheckpointRequest) (*ledgerv1.GetCheckpointResponse, error) {
	enough, err := h.enough(req.GetWitnesses())
	if err != nil {
		return nil, toConnect(err)
	}
	out := &ledgerv1.GetCheckpointResponse{}
	if req.GetMinSize() == 0 && enough == nil {
		out.Size, out.Checkpoint, err = h.ledger.Checkpoint(ctx)
	} else {
		waiting, done := h.waiting(ctx, req.GetWaitMillis())
		defer done()
		out.Size, out.Checkpoint, err = h.ledger.WaitCheckpoint(waiting, req.GetMinSize(), enough)
		if err != nil && waiting.Err() != nil && ctx.Err() == nil {
			return nil, toConnect(entry.Refuse(entry.TryLater, "no such checkpoint over %d entries yet", req.GetMinSize()))
		}
	}
	if err != nil {
		return nil, h.fail(ctx, "checkpoint", err)
	}
	if out.Latest, err = h.ledger.LatestCheckpoint(ctx); err != nil {
		return nil, h.fail(ctx, "latest checkpoint", err)
	}
	return out, nil
}

// enough makes one condition of what a caller asks of the cosigners; nil asks nothing. What can never be is refused.
func (h *handlers) enough(sets []*ledgerv1.WitnessSet) (func(cosigners []string) bool, error) {
	var known []string
	for _, w := range h.genesis.Witnesses.Members {
		known = append(known, w.Name)
	}
	count := func(among, names []string) (n int) {
		for _, w := range among {
			if slices.Contains(names, w) {
				n++
			}
		}
		return n
	}
	for _, set := range sets {
		if n := count(known, set.GetNames()); uint64(n) < uint64(max(1, set.GetAtLeast())) {
			return nil, entry.Refuse(entry.Malformed, "genesis names %d of the witnesses, fewer than are to cosign", n)
		}
	}
	if len(sets) == 0 {
		return nil, nil
	}
	return func(cosigners []string) bool {
		for _, set := range sets {
			if count(cosigners, set.GetNames()) < int(max(1, set.GetAtLeast())) {
				return false
			}
		}
		return true
	}, nil
}

func (h *handlers) GetEntry(ctx context.Context, req *ledgerv1.GetEntryRequest) (*ledgerv1.GetEntryResponse, error) {
	leaf, height, err := h.ledger.Entry(ctx, req.GetEntryIndex())
	if err != nil {
		return nil, h.fail(ctx, "entry", err)
	}
	return &ledgerv1.GetEntryResponse{Entry: leaf, Height: height}, nil
}

func (h *handlers) GetInclusion(ctx context.Context, req *ledgerv1.GetInclusionRequest) (*ledgerv1.GetInclusionResponse, error) {
	path, err := h.ledger.Inclusion(ctx, req.GetEntryIndex(), req.GetSize())
	if err != nil {
		return nil, h.fail(ctx, "inclusion", err)
	}
	return &ledgerv1.GetInclusionResponse{Path: hashes(path)}, nil
}

func (h *handlers) GetConsistency(ctx context.Context, req *ledgerv1.GetConsistencyRequest) (*ledgerv1.GetConsistencyResponse, error) {
	path, err := h.ledger.Consistency(ctx, req.GetOldSize(), req.GetNewSize())
	if err != nil {
		return nil, h.fail(ctx, "consistency", err)
	}
	return &ledgerv1.GetConsistencyResponse{Path: hashes(path)}, nil
}

func hashes(path [][32]byte) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}

func (h *handlers) LookupNullifier(ctx context.Context, req *ledgerv1.LookupNullifierRequest) (*ledgerv1.LookupNullifierResponse, error) {
	nullifiers := make([]zk.Nullifier, len(req.GetNullifiers()))
	for i, b := range req.GetNullifiers() {
		var err error
		if nullifiers[i], err = zk.ParseNullifier(b); err != nil {
			return nil, toConnect(entry.Refuse(entry.NonCanonical, "nullifier %d: %v", i, err))
		}
	}
	hits, err := h.ledger.Spent(ctx, nullifiers)
	if err != nil {
		return nil, h.fail(ctx, "look up nullifiers", err)
	}
	out := &ledgerv1.LookupNullifierResponse{Results: make([]*ledgerv1.NullifierStatus, len(hits))}
	for i, hit := range hits {
		out.Results[i] = &ledgerv1.NullifierStatus{Spent: hit.Found, EntryIndex: hit.EntryIndex}
	}
	return out, nil
}

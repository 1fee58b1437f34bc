package witnesscmd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
)

// maxBlock bounds a block on the wire: 4,096 entries of the longest kind would take 256 MiB, and no ledger makes such blocks.
const maxBlock = 128 << 20

// follower replays a ledger's blocks as they come, ahead of the checkpoints over them.
type follower struct {
	validator *journal.Validator
	player    *player
	client    ledgerv1connect.LedgerServiceClient
	logger    *slog.Logger
}

func newFollower(g *entry.Genesis, h connect.HTTPClient, url string, workers int, logger *slog.Logger) (*follower, error) {
	verifier, err := circuits.Verifier(g, workers)
	if err != nil {
		return nil, err
	}
	p := &player{genesis: g, verifier: verifier}
	return &follower{
		validator: journal.NewValidator(p),
		player:    p,
		client:    ledgerv1connect.NewLedgerServiceClient(h, url, connect.WithReadMaxBytes(maxBlock)),
		logger:    logger,
	}, nil
}

// run follows the ledger until ctx ends or the log does not hold. A ledger that is away is asked again, first soon and then seldom.
func (f *follower) run(ctx context.Context) {
	const first, most = 100 * time.Millisecond, 2 * time.Second
	pause := first
	for ctx.Err() == nil {
		before := f.validator.Next()
		err := f.validator.Follow(ctx, f.blocks(ctx, before))
		if errors.Is(err, journal.ErrLogInvalid) {
			f.logger.Error("the ledger's log does not hold: nothing more is cosigned", "error", err)
			return
		}
		if f.validator.Next() > before {
			pause = first
		}
		if err != nil && ctx.Err() == nil {
			f.logger.Warn("following the ledger was interrupted", "next_height", f.validator.Next(), "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, most)
	}
}

// blocks streams the ledger's blocks from a height on, without the ciphertext segments, which replay does not need.
func (f *follower) blocks(ctx context.Context, from uint64) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := f.client.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{FromHeight: from, OmitSegments: true})
		if err != nil {
			yield(nil, err)
			return
		}
		defer stream.Close()
		for stream.Receive() {
			b := stream.Msg().GetBlock()
			if !yield(&settlement.Block{Height: b.GetHeight(), FirstIndex: b.GetFirstIndex(), Entries: b.GetEntries()}, nil) {
				return
			}
		}
		if err := stream.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// player is replay.Replayer as a validator drives it: it begins at block 0, and tells a log that does not hold from a machine that fails.
// Proofs under the checkpoint that this witness cosigned last were checked before that; a start takes them on trust, rechecks all
// the rest, and requires the log to pass through that very root.
type player struct {
	genesis  *entry.Genesis
	verifier settlement.Verifier
	checked  proof.Head // what this witness cosigned last
	trusting bool       // the block at hand ends at or before it
	replayer *replay.Replayer
}

// Apply implements journal.Replayer.
func (p *player) Apply(block *settlement.Block) error {
	p.trusting = block.Size() <= p.checked.Size
	err := p.apply(block)
	if err == nil {
		err = p.passes(block)
	}
	var wrong *replay.Error
	if errors.As(err, &wrong) {
		return fmt.Errorf("%w: %w", journal.ErrLogInvalid, err)
	}
	return err
}

// passes requires a block to end at the root that was cosigned, and none to end before and the next after it.
func (p *player) passes(block *settlement.Block) error {
	if block.FirstIndex >= p.checked.Size || block.Size() < p.checked.Size || p.Head() == p.checked {
		return nil
	}
	return &replay.Error{Height: block.Height, Index: block.FirstIndex, Err: fmt.Errorf("this witness cosigned another history of %d entries", p.checked.Size)}
}

// VerifyBatch implements settlement.Verifier for the replayer.
func (p *player) VerifyBatch(jobs []settlement.Job) []error {
	if p.trusting {
		return replay.Trusting{}.VerifyBatch(jobs)
	}
	return p.verifier.VerifyBatch(jobs)
}

func (p *player) apply(block *settlement.Block) error {
	if p.replayer != nil {
		return p.replayer.Apply(block)
	}
	// Block 0 follows from genesis, which this witness was given; the ledger's must be the same.
	_, begin, err := settlement.Begin(p.genesis)
	if err != nil {
		return err
	}
	came := *begin
	came.Height, came.FirstIndex, came.Entries = block.Height, block.FirstIndex, block.Entries
	if err := begin.Equal(&came); err != nil {
		return &replay.Error{Height: block.Height, Index: block.FirstIndex, Err: err}
	}
	p.replayer, err = replay.New(begin, replay.Config{Verifier: p, Genesis: p.genesis.Hash()})
	return err
}

// Head implements journal.Replayer.
func (p *player) Head() proof.Head {
	if p.replayer == nil {
		return proof.Head{Root: proof.EmptyRoot()}
	}
	s := p.replayer.State()
	return proof.Head{Size: s.LogSize(), Root: s.LogRoot()}
}

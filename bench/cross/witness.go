package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk/setup"
)

// validating is a validating witness: it streams its ledger's blocks, replays them with every proof, syncs what it cosigns, and answers
// the ledger over HTTP. "follow URL" tells it where the ledger is.
type validating struct {
	validator *journal.Validator
	folder    *journal.Folder
	listen    net.Listener
	server    *http.Server
	ctx       context.Context
	stop      context.CancelFunc
	wait      sync.WaitGroup
}

// replayer is replay's as a validator drives it: block 0 is known from genesis.
type replayer struct{ *replay.Replayer }

// Apply implements journal.Replayer.
func (r replayer) Apply(block *settlement.Block) error {
	if block.Height == 0 {
		return nil
	}
	err := r.Replayer.Apply(block)
	var wrong *replay.Error
	if errors.As(err, &wrong) {
		return fmt.Errorf("%w: %w", journal.ErrLogInvalid, err)
	}
	return err
}

// Head implements journal.Replayer.
func (r replayer) Head() proof.Head {
	s := r.State()
	return proof.Head{Size: s.LogSize(), Root: s.LogRoot()}
}

func newWitness(c *config, n *nation) (*validating, error) {
	_, first, err := settlement.Begin(n.genesis)
	if err != nil {
		return nil, err
	}
	set, err := setup.Verifier(0)
	if err != nil {
		return nil, err
	}
	play, err := replay.New(first, replay.Config{Verifier: proofs{set}, Genesis: n.hash})
	if err != nil {
		return nil, err
	}
	w := &validating{validator: journal.NewValidator(replayer{play})}
	cosigner, err := proof.NewCosigner(n.witnesses[c.Witness].name, n.witnesses[c.Witness].key)
	if err != nil {
		return nil, err
	}
	if w.folder, err = journal.OpenFolder(filepath.Join(c.Data, "state")); err != nil {
		return nil, err
	}
	serving, err := journal.NewWitness(journal.WitnessConfig{Cosigner: cosigner, Medium: w.folder,
		Logs: []journal.Log{{Origin: n.genesis.Origin, Key: n.genesis.LogKey.Public(), Validator: w.validator}}})
	if err != nil {
		return nil, errors.Join(err, w.folder.Close())
	}
	if w.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, w.folder.Close())
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.server = &http.Server{Handler: serving.Handler(), BaseContext: func(net.Listener) context.Context { return w.ctx }, ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	w.wait.Go(func() { _ = w.server.Serve(w.listen) }) // ends with Close
	return w, nil
}

func (w *validating) url() string { return "http://" + w.listen.Addr().String() }

func (w *validating) tell(command string) error {
	url, ok := strings.CutPrefix(command, "follow ")
	if !ok {
		return fmt.Errorf("unknown command %q", command)
	}
	w.wait.Go(func() {
		if err := w.validator.Follow(w.ctx, w.blocks(url)); err != nil && w.ctx.Err() == nil && connect.CodeOf(err) != connect.CodeUnavailable { // a ledger that stops
			logger().Error("the witness stops", "error", err)
		}
	})
	return nil
}

// blocks streams the ledger's blocks without the ciphertext segments, which replay does not need.
func (w *validating) blocks(url string) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		stream, err := dial(url).StreamBlocks(w.ctx, &ledgerv1.StreamBlocksRequest{OmitSegments: true})
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

func (w *validating) measure(*counters, bool) {}

func (w *validating) close() error {
	w.stop()
	err := w.server.Close()
	w.wait.Wait()
	return errors.Join(err, w.folder.Close())
}

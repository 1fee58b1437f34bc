package ledgercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/logdir"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
)

// blocks streams the blocks of a running ledger, from genesis to its newest one.
func (r *Remote) blocks(ctx context.Context, segments bool) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := r.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{StopAtHead: true, OmitSegments: !segments})
		if err != nil {
			yield(nil, cli.Answer("stream blocks", err))
			return
		}
		defer stream.Close()
		for stream.Receive() {
			b := stream.Msg().GetBlock()
			if !yield(&settlement.Block{Height: b.GetHeight(), Time: b.GetTimeMillis(), FirstIndex: b.GetFirstIndex(), Entries: b.GetEntries(), Segments: b.GetSegments()}, nil) {
				return
			}
		}
		if err := stream.Err(); err != nil {
			yield(nil, cli.Answer("stream blocks", err))
		}
	}
}

// checkpoint fetches the newest cosigned checkpoint and judges it.
func (r *Remote) checkpoint(ctx context.Context) ([]byte, *proof.Final, error) {
	answer, err := r.GetCheckpoint(ctx, &ledgerv1.GetCheckpointRequest{})
	if err != nil {
		return nil, nil, cli.Answer("ask for the checkpoint", err)
	}
	if len(answer.GetCheckpoint()) == 0 {
		return nil, nil, entry.Refuse(entry.TryLater, "no checkpoint is cosigned by the quorum of witnesses yet")
	}
	final, err := checkCheckpoint(r.Genesis, answer.GetCheckpoint())
	return answer.GetCheckpoint(), final, err
}

func checkCheckpoint(g *entry.Genesis, note []byte) (*proof.Final, error) {
	policy, err := journal.PolicyOf(g)
	if err != nil {
		return nil, fmt.Errorf("witness policy of genesis: %w", err)
	}
	final, err := policy.Check(note, uint64(time.Now().Unix()))
	if err != nil {
		return nil, cli.Unverifiedf("checkpoint: %w", err)
	}
	return final, nil
}

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the whole log of a ledger into a folder",
		Long: `Write the log of a running ledger, up to its newest cosigned checkpoint, into a new folder: checkpoint, tiles and entry bundles as any C2SP
tlog-tiles client reads them, and the payee ciphertexts. The folder is what comity ledger verify and comity oversight read,
and what a web server can publish.

The export checks that the entries hash to the checkpoint and the checkpoint to the witness policy. comity ledger verify checks
everything else.`,
		Example: "  comity ledger export --ledger http://127.0.0.1:7001 --out aurelia-2026-01-31",
		Args:    cobra.NoArgs,
	}
	address := LedgerFlag(cmd)
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	out := cmd.Flags().String("out", "", "the folder to create (required)")
	_ = cmd.MarkFlagRequired("out")
	without := cmd.Flags().Bool("without-segments", false, "leave the payee ciphertexts out")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		want, err := ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		r, err := Dial(cmd.Context(), *address, want)
		if err != nil {
			return err
		}
		note, final, err := r.checkpoint(cmd.Context())
		if err != nil {
			return err
		}
		bar := cli.NewProgress(cmd, "export", int(final.Size))
		err = logdir.Create(cmd.Context(), *out, note, r.blocks(cmd.Context(), !*without), !*without, bar.Set)
		bar.Done()
		switch {
		case errors.Is(err, logdir.ErrExists):
			return cli.Exit(cli.Usage, err)
		case errors.Is(err, logdir.ErrDamaged):
			return cli.Exit(cli.Unverified, err)
		case err != nil:
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"folder": *out, "genesis": r.Genesis.Hash().String(), "size": final.Size, "segments": !*without}, func(w io.Writer) {
			fmt.Fprintf(w, "%d entries of ledger %s in %s\n", final.Size, r.Genesis.Hash(), *out)
		})
	}
	return cmd
}

// verdict is the answer of `ledger verify --json`.
type verdict struct {
	Genesis     string       `json:"genesis"`
	Name        string       `json:"name"`
	Entries     uint64       `json:"entries"`
	Blocks      uint64       `json:"blocks"`
	Proofs      uint64       `json:"proofs"`
	Root        string       `json:"root"`
	Cosigned    []string     `json:"cosigned_by"`
	Segments    uint64       `json:"segments"`
	Supply      []supplyJSON `json:"supply"`
	NewerBlocks uint64       `json:"newer_blocks"` // replayed too, but not under the checkpoint yet
}

func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check a ledger from its log alone, trusting nobody who runs it",
		Long: `Check an exported log, or a running ledger, without trusting its operator: the checkpoint against the witness policy, every entry against
the checkpoint, every proof, signature, nullifier and root by replaying all rules from genesis, and every ciphertext segment against its
hash. Give --genesis, the hash you were told when you joined: without it the check is about some ledger, not about yours.

Exit code 5 means that the log does not hold; the message names the first entry that is wrong.`,
		Example: `  comity ledger verify --log aurelia-2026-01-31 --genesis 4f0c...
  comity ledger verify --ledger http://127.0.0.1:7001`,
		Args: cobra.NoArgs,
	}
	log := cmd.Flags().String("log", "", "folder of an exported log")
	address := cmd.Flags().String("ledger", "", "address of a running ledger, in place of --log")
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the log must have")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		want, err := ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		var g *entry.Genesis
		var final *proof.Final
		var blocks iter.Seq2[*settlement.Block, error]
		segments := true
		switch {
		case *log != "" && *address == "":
			l, err := logdir.Open(*log)
			switch {
			case errors.Is(err, logdir.ErrFormat):
				return cli.Exit(cli.Usage, err)
			case errors.Is(err, logdir.ErrDamaged):
				return cli.Exit(cli.Unverified, err)
			case err != nil:
				return err
			}
			g, blocks, segments = l.Genesis(), l.Blocks(), l.HasSegments()
			if final, err = checkCheckpoint(g, l.Checkpoint()); err != nil {
				return err
			}
		case *log == "" && *address != "":
			r, err := Dial(cmd.Context(), *address, want)
			if err != nil {
				return err
			}
			g = r.Genesis
			if _, final, err = r.checkpoint(cmd.Context()); err != nil {
				return err
			}
			blocks = r.blocks(cmd.Context(), true)
		default:
			return cli.Usagef("give --log or --ledger")
		}
		if want != nil && g.Hash() != *want {
			return cli.Exit(cli.Unverified, fmt.Errorf("other_ledger: the log is of ledger %s, not %s", g.Hash(), want))
		}
		verifier, err := circuits.Verifier(g, 0)
		if err != nil {
			return err
		}
		bar := cli.NewProgress(cmd, "verify", int(final.Size))
		out, state, err := verifyLog(cmd.Context(), g, final, blocks, segments, verifier, bar.Set)
		bar.Done()
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, out, func(w io.Writer) {
			fmt.Fprintf(w, "Holds: %q, genesis %s\n", out.Name, out.Genesis)
			fmt.Fprintf(w, "%d entries in %d blocks, %d proofs, %d segments\n", out.Entries, out.Blocks, out.Proofs, out.Segments)
			fmt.Fprintf(w, "root %s, cosigned by %v\n", out.Root, out.Cosigned)
			if out.NewerBlocks > 0 {
				fmt.Fprintf(w, "%d newer block(s) hold too, and wait for witnesses\n", out.NewerBlocks)
			}
			printSupply(w, g, state)
			if want == nil {
				fmt.Fprintln(w, "No --genesis was given: compare the genesis hash with the one you were told.")
			}
		})
	}
	return cmd
}

// verifyLog replays a log with every proof checked, those of many blocks in one batch, and compares its root with the checkpoint's where the
// checkpoint ends. Whatever else is wrong ends the log there, so that an earlier entry that does not hold is the one that is named.
func verifyLog(ctx context.Context, g *entry.Genesis, final *proof.Final, blocks iter.Seq2[*settlement.Block, error], segments bool, verifier settlement.Verifier,
	progress func(done, total int)) (*verdict, *entry.State, error) {
	counted := &counter{inner: verifier}
	passed := &passage{Index: replay.NewMemory()}
	out := &verdict{Genesis: g.Hash().String(), Name: g.Name}
	for _, c := range final.Cosignatures {
		out.Cosigned = append(out.Cosigned, c.Witness)
	}
	covered := false
	var ended error // why the log was not read to its end
	log := func(yield func(*settlement.Block, error) bool) {
		for block, err := range blocks {
			// Segments are no part of the log; entries hold their hashes, which replay does not look behind.
			if err == nil && segments {
				var n uint64
				if n, err = checkSegments(block); err != nil {
					err = cli.Exit(cli.Unverified, err)
				}
				out.Segments += n
			}
			if errors.Is(err, logdir.ErrDamaged) {
				err = cli.Exit(cli.Unverified, err)
			}
			if ended = err; err != nil {
				return
			}
			if !yield(&settlement.Block{Height: block.Height, Time: block.Time, FirstIndex: block.FirstIndex, Entries: block.Entries}, nil) {
				return
			}
			// The block has passed all rules, its proofs perhaps not yet.
			if covered {
				out.NewerBlocks++
				continue
			}
			out.Entries, out.Blocks, passed.claimed = passed.size, block.Height+1, block.Entries[len(block.Entries)-1]
			if passed.size == final.Size {
				if proof.Hash(passed.root) != final.Root {
					ended = cli.Unverifiedf("root_mismatch: the entries do not hash to the root that the witnesses cosigned")
					return
				}
				covered = true
			}
		}
	}
	_, err := replay.All(ctx, log, replay.Config{Verifier: counted, Index: passed, Genesis: g.Hash()}, func(_, entries uint64) {
		progress(int(min(entries, final.Size)), int(final.Size))
	})
	var broken *replay.Error
	switch {
	case errors.As(err, &broken):
		return nil, nil, cli.Exit(cli.Unverified, err)
	case ended != nil:
		return nil, nil, ended
	case err != nil:
		return nil, nil, err
	case !covered:
		return nil, nil, cli.Unverifiedf("root_mismatch: no block ends at entry %d, where the cosigned checkpoint ends", final.Size)
	}
	state, err := entry.DecodeState(passed.claimed)
	if err != nil {
		return nil, nil, err
	}
	out.Proofs, out.Root, out.Supply = counted.proofs, final.Root.String(), supplyOf(g, state)
	return out, state, nil
}

// passage is a replay's index that says how far the log has passed.
type passage struct {
	replay.Index
	size    uint64
	root    [32]byte
	claimed []byte // the state entry where the checkpoint ends, or of the newest block before that
}

// Add takes in a block that was rechecked.
func (p *passage) Add(block *settlement.Block) error {
	p.size, p.root = block.Size(), block.Root
	return p.Index.Add(block)
}

// counter counts the proofs that pass through a verifier.
type counter struct {
	inner  settlement.Verifier
	proofs uint64
}

func (c *counter) VerifyBatch(jobs []settlement.Job) []error {
	c.proofs += uint64(len(jobs))
	return c.inner.VerifyBatch(jobs)
}

// checkSegments compares the segments of a block with the hashes in its entries.
func checkSegments(b *settlement.Block) (uint64, error) {
	next := 0
	for i, leaf := range b.Entries {
		kind, err := entry.KindOf(leaf)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", b.FirstIndex+uint64(i), err)
		}
		if kind != entry.KindTransfer && kind != entry.KindIssue && kind != entry.KindRedeem {
			continue
		}
		tx, err := entry.DecodeTransaction(leaf)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", b.FirstIndex+uint64(i), err)
		}
		end := next + len(tx.Legs)
		if end > len(b.Segments) {
			return 0, fmt.Errorf("entry %d: its segments are missing", b.FirstIndex+uint64(i))
		}
		if err := tx.CheckSegments(b.Segments[next:end]); err != nil {
			return 0, fmt.Errorf("entry %d: %w", b.FirstIndex+uint64(i), err)
		}
		next = end
	}
	if next != len(b.Segments) {
		return 0, fmt.Errorf("block %d has %d segments, its legs are %d", b.Height, len(b.Segments), next)
	}
	return uint64(next), nil
}

func replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Rebuild the state from the log in a data folder, and compare",
		Long: `Rebuild everything from the log alone, with every proof checked, and compare each block, its roots and every row that follows from it with what the
data folder holds. The ledger must not be running. Use it after a restore, before the ledger takes payments again.`,
		Example: "  comity ledger replay --data aurelia",
		Args:    cobra.NoArgs,
	}
	data := cmd.Flags().String("data", "", "the data folder (required)")
	_ = cmd.MarkFlagRequired("data")
	var where storeFlags
	where.add(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f := folder(*data)
		g, err := f.readGenesis()
		if err != nil {
			return err
		}
		opener, err := where.opener(cmd, f, nil)
		if err != nil {
			return err
		}
		store, err := opener.Open(cmd.Context(), g.Hash())
		if err != nil {
			return named(fmt.Errorf("open store: %w", err))
		}
		defer store.Close()
		head, err := store.Head(cmd.Context())
		if err != nil {
			return named(err)
		}
		verifier, err := circuits.Verifier(g, 0)
		if err != nil {
			return err
		}
		bar := cli.NewProgress(cmd, "replay", int(head.Size))
		began := time.Now()
		state, err := replay.All(cmd.Context(), store.Blocks(cmd.Context(), 0), replay.Config{Verifier: verifier, Genesis: g.Hash()}, func(_, entries uint64) {
			bar.Set(int(entries), int(head.Size))
		})
		bar.Done()
		var broken *replay.Error
		if errors.As(err, &broken) {
			return cli.Exit(cli.Unverified, err)
		}
		if err != nil {
			return named(err)
		}
		if got := state.Head(head.Epoch); got != head {
			return cli.Unverifiedf("the log rebuilds to height %d and root %x, the data folder says height %d and root %x", got.Height, got.Root, head.Height, head.Root)
		}
		seconds := time.Since(began).Seconds()
		return cli.Print(cmd, *asJSON, map[string]any{"genesis": g.Hash().String(), "height": head.Height, "entries": head.Size, "root": fmt.Sprintf("%x", head.Root)}, func(w io.Writer) {
			fmt.Fprintf(w, "The log rebuilds to what the data folder holds: %d entries, height %d, %.1f s\n", head.Size, head.Height, seconds)
		})
	}
	return cmd
}

package bridgecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bridge/relayer"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/settlement/entry"
)

// relaying is a relayer as the command shows it.
type relaying struct {
	*relayer.Relayer
	say func(did)

	mu    sync.Mutex        // guards what follows
	faced map[string]string // the last error of each thing tried, so that it is said once
}

// did is one thing that a relayer did or could not do.
type did struct {
	Ledger  string `json:"ledger"`
	What    string `json:"what"` // "observed", "posted", "voided", "accused", "claimed" or "failed"
	Peer    string `json:"peer,omitempty"`
	Size    uint64 `json:"size,omitempty"`
	Hold    string `json:"hold,omitempty"`
	Entry   uint64 `json:"entry,omitempty"`
	Problem string `json:"problem,omitempty"`
}

func (d did) String() string {
	switch {
	case d.Problem != "":
		return fmt.Sprintf("%s: %s", d.Ledger, d.Problem)
	case d.What == "observed":
		return fmt.Sprintf("%s: observed %d entries of %s", d.Ledger, d.Size, d.Peer)
	case d.What == "accused":
		return fmt.Sprintf("%s: %s HAS FORKED: the evidence is entry %d, the corridor is frozen", d.Ledger, d.Peer, d.Entry)
	case d.What == "claimed":
		return fmt.Sprintf("%s: a late decision of %s is booked as a claim, entry %d", d.Ledger, d.Peer, d.Entry)
	}
	return fmt.Sprintf("%s: %s hold %s, entry %d", d.Ledger, d.What, d.Hold, d.Entry)
}

func newRelayer(ledgers []*ledger, fresh bool, say func(did)) *relaying {
	r := &relaying{say: say, faced: map[string]string{}}
	names := map[entry.GenesisHash]string{}
	cfg := relayer.Config{Fresh: fresh, Pace: relayPace, Did: func(d relayer.Did) { r.say(didOf(names, d)) },
		Failed: func(what string, on *relayer.Member, err error) {
			r.face(what+" "+on.Name, did{Ledger: on.Name, What: "failed"}, err)
		}}
	for _, l := range ledgers {
		names[l.hash] = l.name
		cfg.Members = append(cfg.Members, relayer.Member{Name: l.name, Genesis: l.genesis, Ledger: relayed{l}})
	}
	r.Relayer = relayer.New(cfg)
	return r
}

// relayPace is the shortest time between two observations of a peer on a ledger.
const relayPace = 20 * time.Millisecond

// didOf says what a relayer brought to a ledger.
func didOf(names map[entry.GenesisHash]string, d relayer.Did) did {
	out := did{Ledger: d.On.Name, Entry: d.Index}
	switch e := d.Entry.(type) {
	case *entry.Observe:
		out.What, out.Peer, out.Size, out.Entry = "observed", names[e.Peer], e.Size, 0
	case *entry.Resolve:
		out.What, out.Hold = e.Outcome.String(), e.Hold.String()
	case *entry.Evidence:
		out.What, out.Peer = "accused", names[e.Peer]
		if e.Type == entry.EvidenceLate {
			out.What = "claimed"
		}
	}
	return out
}

// relayed is a ledger as a relayer reaches it.
type relayed struct{ *ledger }

// Blocks implements relayer.Ledger.
func (l relayed) Blocks(ctx context.Context, from uint64, follow bool) iter.Seq2[relayer.Block, error] {
	return func(yield func(relayer.Block, error) bool) {
		for b, err := range l.Leaves(ctx, from, follow) {
			if err != nil {
				yield(relayer.Block{}, err)
				return
			}
			if !yield(relayer.Block{Height: b.Height, FirstIndex: b.FirstIndex, Entries: b.Entries}, nil) {
				return
			}
		}
	}
}

// Checkpoint implements relayer.Ledger.
func (l relayed) Checkpoint(ctx context.Context, size uint64, wait time.Duration, terms *entry.CorridorTerms) (signed []byte, err error) {
	if terms == nil {
		signed, _, err = l.WaitCheckpoint(ctx, size, wait)
	} else {
		signed, _, err = l.WaitCheckpointFor(ctx, size, wait, terms)
	}
	return signed, err
}

// face says an error when it is another one than the last time, and forgets it when there is none any more.
func (r *relaying) face(what string, d did, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		delete(r.faced, what)
	case errors.Is(err, context.Canceled), r.faced[what] == err.Error():
	default:
		r.faced[what] = err.Error()
		d.Problem = err.Error()
		r.say(d)
	}
}

// once relays until nothing is left to do.
func (r *relaying) once(ctx context.Context) error {
	if !r.Once(ctx) || ctx.Err() != nil {
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, problem := range r.faced {
		return cli.Exit(cli.Unavailable, errors.New(problem))
	}
	return cli.Exit(cli.Unavailable, errors.New("there is still something to relay: run the command again"))
}

// relayIdle is how long a relayer waits before it looks for a ledger again that was not there.
const relayIdle = time.Second

func relayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Carry proofs between ledgers, so that payments between them settle",
		Long: `Carry proofs between two or more ledgers: it follows their logs, shows each ledger the others' checkpoints, and submits the decisions that
follow. If a ledger signed two histories, it sends the evidence to every other one, which freezes its corridor. Anybody may relay. A relayer needs no key and no permission, is trusted with nothing, keeps nothing on disk, and may be killed at any
moment; several may run at once. Without any relayer payments wait, and those whose time is over return.

--once catches up and leaves.`,
		Example: "  comity bridge relay --ledger http://127.0.0.1:7001 --ledger http://127.0.0.1:7002",
		Args:    cobra.NoArgs,
	}
	ledgers := cmd.Flags().StringArray("ledger", nil, "address of a ledger, or NAME=URL; give two or more (required)")
	once := cmd.Flags().Bool("once", false, "catch up and leave")
	fresh := cmd.Flags().Bool("fresh", true, "show ledgers one another before their corridors grow stale, also when nothing waits")
	ready := cmd.Flags().String("ready-file", "", "write this file once all logs are read")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object per line, for programs")
	var seen telemetry.Options
	seen.AddFlags(cmd)
	_ = cmd.MarkFlagRequired("ledger")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		all, err := dialAll(ctx, *ledgers, 2)
		for said := false; transient(err) && !*once; said = true { // a relayer is started with the machine, perhaps before the ledgers
			if !said {
				fmt.Fprintf(cmd.ErrOrStderr(), "waiting for the ledgers: %v\n", err)
			}
			if err := pause(ctx, relayIdle); err != nil {
				return err
			}
			all, err = dialAll(ctx, *ledgers, 2)
		}
		if err != nil {
			return err
		}
		var mu sync.Mutex // guards the output
		r := newRelayer(all, *fresh && !*once, func(d did) {
			mu.Lock()
			defer mu.Unlock()
			printDid(cmd.OutOrStdout(), *asJSON, d)
		})
		tel, err := seen.Start(ctx, telemetry.Config{Service: "comity-relay", Stderr: cmd.ErrOrStderr(), Flags: cmd})
		if err != nil {
			return err
		}
		defer tel.Shutdown(ctx)
		if err := r.measure(); err != nil {
			return err
		}
		if *once {
			return r.once(ctx)
		}
		ctx, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		r.Run(ctx, func() {
			if *ready != "" {
				if err := cli.ReplaceFile(*ready, []byte("ready\n"), 0o644); err != nil {
					stop(err)
					return
				}
			}
			tel.Serving(telemetry.Serves{})
			fmt.Fprintf(cmd.ErrOrStderr(), "ready: relaying between %d ledgers\n", len(all))
		})
		if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	return cmd
}

func printDid(out io.Writer, asJSON bool, d did) {
	if asJSON {
		b, err := jsonLine(d)
		if err == nil {
			_, _ = out.Write(b)
		}
		return
	}
	fmt.Fprintln(out, d)
}

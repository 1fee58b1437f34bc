package bridgecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/client"
)

// relayer carries proofs between ledgers. Everything it knows it read from their logs, so it can be killed, started twice or begin anew.
type relayer struct {
	ledgers []*ledger
	byHash  map[entry.GenesisHash]*ledger
	heights map[entry.GenesisHash]uint64 // of the block to be read next
	relay   *bridge.Relay
	fresh   bool
	say     func(did)

	mu    sync.Mutex        // guards what follows
	faced map[string]string // the last error of each thing tried, so that it is said once
}

// did is one thing that a relayer did or could not do.
type did struct {
	Ledger  string `json:"ledger"`
	What    string `json:"what"` // "observed", "posted", "voided" or "failed"
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
	}
	return fmt.Sprintf("%s: %s hold %s, entry %d", d.Ledger, d.What, d.Hold, d.Entry)
}

func newRelayer(ledgers []*ledger, fresh bool, say func(did)) *relayer {
	r := &relayer{ledgers: ledgers, byHash: map[entry.GenesisHash]*ledger{}, heights: map[entry.GenesisHash]uint64{}, fresh: fresh, say: say, faced: map[string]string{}}
	from := map[entry.GenesisHash]uint64{}
	for _, l := range ledgers {
		r.byHash[l.hash] = l
		from[l.hash] = 0
	}
	r.relay = bridge.NewRelay(from)
	return r
}

// read reads a ledger's log up to its head.
func (r *relayer) read(ctx context.Context, l *ledger) error {
	for b, err := range l.Blocks(ctx, r.heights[l.hash]) {
		if err != nil {
			return err
		}
		if b.Height != r.heights[l.hash] {
			return fmt.Errorf("%s sends block %d for block %d", l.name, b.Height, r.heights[l.hash])
		}
		for i, leaf := range b.Entries {
			if err := r.relay.Add(l.hash, b.FirstIndex+uint64(i), leaf); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
		}
		r.heights[l.hash]++
	}
	return nil
}

// round reads all logs and does what can be done. busy tells that something was done, or is to be tried again soon.
func (r *relayer) round(ctx context.Context) (busy bool) {
	for _, l := range r.ledgers {
		err := r.read(ctx, l)
		r.face("read "+l.name, did{Ledger: l.name, What: "failed"}, err)
		busy = busy || err != nil
	}
	plan := r.relay.Plan(bridge.Options{NowMillis: uint64(time.Now().UnixMilli()), Fresh: r.fresh})
	var wait sync.WaitGroup
	var mu sync.Mutex // guards busy
	do := func(f func() bool) {
		wait.Go(func() {
			if f() {
				mu.Lock()
				busy = true
				mu.Unlock()
			}
		})
	}
	for _, o := range plan.Observes {
		do(func() bool { return r.observe(ctx, o) })
	}
	byLedger := map[entry.GenesisHash][]bridge.Resolve{}
	for _, a := range plan.Resolves {
		byLedger[a.On] = append(byLedger[a.On], a)
	}
	for on, list := range byLedger {
		do(func() bool { return r.resolve(ctx, r.byHash[on], list) })
	}
	wait.Wait()
	return busy
}

// relayWait is how long a relayer waits for a checkpoint before it looks at the logs again.
const relayWait = 5 * time.Second

func (r *relayer) observe(ctx context.Context, o bridge.Observe) bool {
	on, peer := r.byHash[o.On], r.byHash[o.Peer]
	brief, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	size, err := on.observe(brief, peer, o.AtLeast)
	r.face("observe "+on.name+" "+peer.name, did{Ledger: on.name, What: "failed"}, err)
	if err == nil {
		r.say(did{Ledger: on.name, What: "observed", Peer: peer.name, Size: size})
	}
	return true
}

// maxResolves is how many resolutions are sent to a ledger at once.
const maxResolves = 64

// resolve proves and sends resolutions to one ledger.
func (r *relayer) resolve(ctx context.Context, on *ledger, list []bridge.Resolve) (busy bool) {
	list = list[:min(len(list), maxResolves)]
	var items []client.BatchItem
	var sent []bridge.Resolve
	for _, a := range list {
		e, err := r.entry(ctx, on, a)
		r.face("prove "+a.Hold.String(), did{Ledger: on.name, What: "failed", Hold: a.Hold.String()}, err)
		if err == nil {
			items, sent = append(items, client.BatchItem{Entry: entry.Encode(e)}), append(sent, a)
		}
	}
	if len(items) == 0 {
		return true
	}
	results, err := r.submit(ctx, on, items, sent)
	r.face("send to "+on.name, did{Ledger: on.name, What: "failed"}, err)
	if err != nil {
		return true
	}
	for i, got := range results {
		a := sent[i]
		switch code := entry.CodeOf(got.Err); {
		case got.Err == nil:
			r.say(did{Ledger: on.name, What: a.Outcome.String(), Hold: a.Hold.String(), Entry: got.Accepted.EntryIndex})
		case code == entry.HoldResolved, code == entry.NullifierSpent, code == entry.HoldUnknown: // another relayer was faster
		default:
			r.face("resolve "+a.Hold.String(), did{Ledger: on.name, What: "failed", Hold: a.Hold.String()}, fmt.Errorf("hold %s: %w", a.Hold, got.Err))
		}
	}
	return true
}

// entry makes a resolution with its proofs.
func (r *relayer) entry(ctx context.Context, on *ledger, a bridge.Resolve) (*entry.Resolve, error) {
	var peers []entry.PeerProof
	for _, leaf := range a.Peers {
		peer := r.byHash[leaf.Ledger]
		p := entry.PeerProof{Size: leaf.Size, Index: leaf.Index}
		var err error
		if p.Leaf, err = peer.Entry(ctx, leaf.Index); err != nil {
			return nil, err
		}
		if p.Path, err = peer.Inclusion(ctx, leaf.Index, leaf.Size); err != nil {
			return nil, err
		}
		peers = append(peers, p)
	}
	return a.Entry(on.header(time.Now()).ExpiryMillis, peers), nil
}

// face says an error when it is another one than the last time, and forgets it when there is none any more.
func (r *relayer) face(what string, d did, err error) {
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

const (
	// relayIdle is how long a relayer rests when there was nothing to do and no ledger told of a new checkpoint.
	relayIdle = time.Second
	relayBusy = 100 * time.Millisecond
)

// follow relays until ctx ends. It is woken by new checkpoints, so that an idle relayer costs little and a payment does not wait for it.
func (r *relayer) follow(ctx context.Context) {
	wake := make(chan struct{}, 1)
	var watching sync.WaitGroup
	for _, l := range r.ledgers {
		watching.Go(func() {
			size := uint64(0)
			for ctx.Err() == nil {
				_, got, err := l.WaitCheckpoint(ctx, size+1, 20*time.Second)
				if err != nil {
					_ = pause(ctx, relayIdle)
					continue
				}
				size = got
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		})
	}
	defer watching.Wait()
	for ctx.Err() == nil {
		rest := relayIdle
		if r.round(ctx) {
			rest = relayBusy
		}
		t := time.NewTimer(rest)
		select {
		case <-t.C:
		case <-wake:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// onceRounds bounds the rounds of catching up: an observation opens the way to a resolution, whose decision must be observed in turn.
const onceRounds = 64

// once relays until nothing is left to do.
func (r *relayer) once(ctx context.Context) error {
	for range onceRounds {
		if !r.round(ctx) || ctx.Err() != nil {
			return ctx.Err()
		}
		if err := pause(ctx, relayBusy); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, problem := range r.faced {
		return cli.Exit(cli.Unavailable, errors.New(problem))
	}
	return cli.Exit(cli.Unavailable, errors.New("there is still something to relay: run the command again"))
}

func relayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Carry proofs between ledgers, so that payments between them settle",
		Long: `Carry proofs between two or more ledgers: it follows their logs, shows each ledger the others' checkpoints, and submits the decisions that
follow. Anybody may relay. A relayer needs no key and no permission, is trusted with nothing, keeps nothing on disk, and may be killed at any
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
		for _, l := range all {
			bar := cli.NewProgress(cmd, "Reading "+l.name, -1)
			err := r.read(ctx, l)
			bar.Done()
			if err != nil && (*once || !transient(err)) {
				return err
			}
		}
		if *once {
			return r.once(ctx)
		}
		if *ready != "" {
			if err := cli.ReplaceFile(*ready, []byte("ready\n"), 0o644); err != nil {
				return err
			}
		}
		tel.Serving(telemetry.Serves{})
		fmt.Fprintf(cmd.ErrOrStderr(), "ready: relaying between %d ledgers\n", len(all))
		r.follow(ctx)
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

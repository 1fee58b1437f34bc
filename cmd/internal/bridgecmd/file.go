package bridgecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/client"
)

// Settlement by file: for a mission whose line is cut, what a relayer would carry goes into a file and comes out of it on the other side. The
// file is not secret and is not believed.

// peerNamed finds a corridor of a ledger by the peer's name or genesis hash; without a name, the only one.
func peerNamed(ctx context.Context, l *ledger, name string) (client.Corridor, error) {
	all, err := l.Corridors(ctx)
	if err != nil {
		return client.Corridor{}, err
	}
	var names []string
	for _, c := range all {
		if c.Terms.Name == name || c.Peer.String() == name || name == "" && len(all) == 1 {
			return c, nil
		}
		names = append(names, c.Terms.Name)
	}
	return client.Corridor{}, cli.RefusedAs(string(entry.CorridorUnknown), fmt.Errorf("%s has no corridor to %q; it has %s", l.name, name, strings.Join(names, ", ")))
}

// readLog adds a ledger's whole log to a relay.
func readLog(ctx context.Context, cmd *cobra.Command, l *ledger, relay *bridge.Relay) error {
	bar := cli.NewProgress(cmd, "Reading "+l.name, -1)
	defer bar.Done()
	n := 0
	for b, err := range l.Blocks(ctx, 0) {
		if err != nil {
			return err
		}
		for i, leaf := range b.Entries {
			if err := relay.Add(l.hash, b.FirstIndex+uint64(i), leaf); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
		}
		n++
		bar.Set(n, -1)
	}
	return nil
}

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write what another ledger needs to know into a file",
		Long: `Write what another ledger needs to know of this one into a file: a cosigned checkpoint, the holds that concern the other ledger, and the decisions
that its holds wait for, each with its proof. It is what a relayer would carry, for a ledger that cannot be reached. Nothing in it is secret,
and a changed file is refused.

--since says how many entries of this ledger the other one has observed: its operator reads it off comity corridor list, or off the last
import. 0 is right for a corridor that never saw anything.`,
		Example: "  comity bridge export --ledger http://127.0.0.1:7002 --peer Aurelia --since 4711 --out borealis.bundle",
		Args:    cobra.NoArgs,
	}
	address := cmd.Flags().String("ledger", "", "address of the ledger whose log is exported (default: $"+ledgerEnv+")")
	peer := cmd.Flags().String("peer", "", "the other ledger, by the name of the corridor or by genesis hash (default: the only corridor)")
	since := cmd.Flags().Uint64("since", 0, "how many entries the other ledger has observed")
	out := cmd.Flags().StringP("out", "o", "", "the file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		text, err := given(*address, ledgerEnv, "ledger")
		if err != nil {
			return err
		}
		l, err := dial(ctx, text)
		if err != nil {
			return err
		}
		c, err := peerNamed(ctx, l, *peer)
		if err != nil {
			return err
		}
		relay := bridge.NewRelay(map[entry.GenesisHash]uint64{l.hash: 0})
		if err := readLog(ctx, cmd, l, relay); err != nil {
			return err
		}
		b, left, err := makeBundle(ctx, l, c.Peer, *since, relay.Export(l.hash, c.Peer, *since))
		if err != nil {
			return err
		}
		data := b.Marshal()
		if err := cli.WriteNewFile(*out, data, false); err != nil {
			return err
		}
		head, err := b.Head()
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"file": *out, "of": l.hash.String(), "for": c.Peer.String(), "since": b.Since, "size": head.Size, "entries": len(b.Entries),
			"left": left, "bytes": len(data)}, func(w io.Writer) {
			fmt.Fprintf(w, "%d entries of %s for %s under a checkpoint of %d entries: %s\n", len(b.Entries), l.name, c.Terms.Name, head.Size, *out)
			if left > 0 {
				fmt.Fprintf(w, "%d entries did not fit: export again after this file was imported\n", left)
			}
		})
	}
	return cmd
}

// makeBundle fetches what belongs into a bundle. left is how many entries did not fit, or are not final yet.
func makeBundle(ctx context.Context, l *ledger, peer entry.GenesisHash, since uint64, indexes []uint64) (b *bridge.Bundle, left int, err error) {
	atLeast := max(since, 1)
	if n := len(indexes); n > 0 {
		atLeast = max(atLeast, indexes[n-1]+1)
	}
	signed, size, err := l.WaitCheckpoint(ctx, atLeast, finalWait)
	if err != nil {
		return nil, 0, err
	}
	if since > size {
		return nil, 0, cli.Usagef("--since %d: the ledger has %d final entries", since, size)
	}
	head, err := headOf(signed)
	if err != nil || head.Size != size {
		return nil, 0, cli.Unverifiedf("%s gave a checkpoint that does not read as one of %d entries", l.name, size)
	}
	b = &bridge.Bundle{Of: l.hash, For: peer, Since: since, Checkpoint: signed}
	if since > 0 && since < size {
		if b.Consistency, err = l.Consistency(ctx, since, size); err != nil {
			return nil, 0, err
		}
	}
	if b.State, err = l.Entry(ctx, size-1); err != nil {
		return nil, 0, err
	}
	if b.StatePath, err = l.Inclusion(ctx, size-1, size); err != nil {
		return nil, 0, err
	}
	room := bridge.MaxBundle - 1<<16
	for i, index := range indexes {
		if index >= size || len(b.Entries) == bridge.MaxBundleEntries {
			left = len(indexes) - i
			break
		}
		e := bridge.BundleEntry{Index: index}
		if e.Leaf, err = l.Entry(ctx, index); err != nil {
			return nil, 0, err
		}
		if e.Path, err = l.Inclusion(ctx, index, size); err != nil {
			return nil, 0, err
		}
		if room -= len(e.Leaf) + 32*len(e.Path) + 16; room < 0 {
			left = len(indexes) - i
			break
		}
		b.Entries = append(b.Entries, e)
	}
	return b, left, b.Validate()
}

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Show a ledger what a file from another one says",
		Long: `Show a ledger what files from other ledgers say (comity bridge export): it observes their checkpoints, and every payment settles for which they
hold the decision. The ledger checks every signature and every proof; a file that was changed, or is for another ledger, is refused. Importing
twice does no harm. Files of one ledger are given from the older to the newer.`,
		Example: "  comity bridge import --ledger http://127.0.0.1:7001 borealis.bundle",
		Args:    cobra.MinimumNArgs(1),
	}
	address := cmd.Flags().String("ledger", "", "address of the ledger that is shown the files (default: $"+ledgerEnv+")")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		text, err := given(*address, ledgerEnv, "ledger")
		if err != nil {
			return err
		}
		l, err := dial(ctx, text)
		if err != nil {
			return err
		}
		from := map[entry.GenesisHash]uint64{l.hash: 0}
		var bundles []*bridge.Bundle
		for _, path := range args {
			b, err := readBundle(path)
			if err != nil {
				return err
			}
			if b.For != l.hash {
				return fmt.Errorf("%s: %w", path, bridge.Refuse(bridge.BundleOther, "it is for ledger %s, this is %s", b.For, l.hash))
			}
			from[b.Of] = 0
			bundles = append(bundles, b)
		}
		relay := bridge.NewRelay(from)
		if err := readLog(ctx, cmd, l, relay); err != nil {
			return err
		}
		m := bridge.NewImporter(l.hash, relay)
		expiry := l.header(time.Now()).ExpiryMillis
		for i, b := range bundles {
			if err := m.Add(b, expiry); err != nil {
				return fmt.Errorf("%s: %w", args[i], err)
			}
		}
		observes, resolves := m.Entries(expiry, uint64(time.Now().UnixMilli()))
		rows, err := sendImported(ctx, l, observes, resolves)
		if perr := cli.Print(cmd, *asJSON, map[string]any{"done": rows}, func(w io.Writer) {
			for _, d := range rows {
				fmt.Fprintln(w, d)
			}
			if len(rows) == 0 {
				fmt.Fprintln(w, "nothing new")
			}
		}); perr != nil {
			return perr
		}
		return err
	}
	return cmd
}

func readBundle(path string) (*bridge.Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, bridge.MaxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	b, err := bridge.ParseBundle(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// sendImported submits observations in order, then resolutions. What was known before is passed over.
func sendImported(ctx context.Context, l *ledger, observes []*entry.Observe, resolves []*entry.Resolve) ([]did, error) {
	rows := []did{}
	for _, e := range observes {
		_, err := l.Submit(ctx, entry.Encode(e), nil)
		switch entry.CodeOf(err) {
		case entry.PeerCheckpointOld: // somebody showed it more meanwhile
			continue
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, did{Ledger: l.name, What: "observed", Peer: e.Peer.String()[:16], Size: e.Size})
	}
	var failed error
	for _, e := range resolves {
		at, err := l.Submit(ctx, entry.Encode(e), nil)
		if err != nil {
			if ignoreLate(err) != nil {
				failed = errors.Join(failed, fmt.Errorf("hold %s: %w", e.Hold, err))
			}
			continue
		}
		rows = append(rows, did{Ledger: l.name, What: e.Outcome.String(), Hold: e.Hold.String(), Entry: at.EntryIndex})
	}
	return rows, failed
}

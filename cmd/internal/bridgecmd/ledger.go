package bridgecmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
)

// ledger is one ledger that a command of the bridge speaks to.
type ledger struct {
	*client.Client
	name    string // as files and flags call it; its address prefix unless a flag says otherwise
	genesis *entry.Genesis
	hash    entry.GenesisHash
}

// dial connects to a ledger given as URL or NAME=URL.
func dial(ctx context.Context, text string) (*ledger, error) {
	name, address, named := strings.Cut(text, "=")
	if !named {
		name, address = "", text
	}
	address, err := cli.LedgerURL(address)
	if err != nil {
		return nil, err
	}
	c, err := client.NewTLS(address, tlsfiles.From(ctx))
	if err != nil {
		return nil, err
	}
	g, _, err := c.Genesis(ctx)
	if err != nil {
		return nil, fmt.Errorf("ledger at %s: %w", address, err)
	}
	if name == "" {
		name = g.Prefix
	}
	if strings.ContainsAny(name, "/, =") {
		return nil, cli.Usagef("ledger name %q: want one word", name)
	}
	return &ledger{Client: c, name: name, genesis: g, hash: g.Hash()}, nil
}

// dialAll connects to several ledgers, no two of which may be one.
func dialAll(ctx context.Context, texts []string, least int) ([]*ledger, error) {
	if len(texts) < least {
		return nil, cli.Usagef("give --ledger at least %d times", least)
	}
	var out []*ledger
	for _, text := range texts {
		l, err := dial(ctx, text)
		if err != nil {
			return nil, err
		}
		for _, other := range out {
			if other.hash == l.hash || other.name == l.name {
				return nil, cli.Usagef("ledgers %s and %s are the same, or have one name: give NAME=URL", other.name, l.name)
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// known is what package bridge needs of the ledger.
func (l *ledger) known() bridge.Ledger {
	return bridge.Ledger{Name: l.name, Hash: l.hash, Assets: l.genesis.Assets}
}

// state reads the newest state entry and how many leaves the log has. It is the node's word.
func (l *ledger) state(ctx context.Context) (*entry.State, uint64, error) {
	_, size, err := l.Head(ctx)
	if err != nil {
		return nil, 0, err
	}
	leaf, err := l.Entry(ctx, size-1)
	if err != nil {
		return nil, 0, err
	}
	s, err := entry.DecodeState(leaf)
	if err != nil {
		return nil, 0, wallets.Refuse(wallets.LedgerLied, "entry %d of %s, its last, is no state entry: %v", size-1, l.name, err)
	}
	return s, size, nil
}

// header is that of an entry that anybody may send: it lives half as long as the ledger allows, ten minutes at most.
func (l *ledger) header(now time.Time) entry.Header {
	ttl := min(uint64(10*time.Minute/time.Millisecond), l.genesis.MaxExpiryMillis/2)
	return entry.Header{Ledger: l.hash, ExpiryMillis: uint64(now.UnixMilli()) + max(1, ttl)}
}

// final reads an entry under a checkpoint that the ledger's own witnesses cosigned, waiting up to wait for one.
func (l *ledger) final(ctx context.Context, index uint64, wait time.Duration) ([]byte, error) {
	raw, err := l.Receipt(ctx, index, wait)
	if err != nil {
		return nil, err
	}
	proven, err := wallets.VerifyReceipt(l.genesis, raw)
	if err != nil {
		return nil, cli.Exit(cli.Unverified, fmt.Errorf("receipt of entry %d of %s: %w", index, l.name, err))
	}
	if proven.Index != index {
		return nil, cli.Unverifiedf("%s gave the receipt of entry %d for entry %d", l.name, proven.Index, index)
	}
	return entry.Encode(proven.Entry), nil
}

// deciding reads a deciding hold from its ledger's log, under a cosigned checkpoint.
func (l *ledger) deciding(ctx context.Context, id entry.HoldID, wait time.Duration) (*bridge.Deciding, uint64, error) {
	index, err := l.placedAt(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	leaf, err := l.final(ctx, index, wait)
	if err != nil {
		return nil, 0, err
	}
	d, err := bridge.ReadDeciding(l.hash, id, leaf)
	return d, index, err
}

// placedAt gives the log index of the entry that placed an open hold. One that is decided is refused as hold_resolved.
func (l *ledger) placedAt(ctx context.Context, id entry.HoldID) (uint64, error) {
	h, done, err := l.Hold(ctx, id)
	switch {
	case err != nil:
		return 0, err
	case done != nil:
		return 0, entry.Refuse(entry.HoldResolved, "hold %s of %s was %s by entry %d", id, l.name, done.Outcome, done.Entry)
	}
	return h.Entry, nil
}

// corridor is what this ledger keeps about a peer.
func (l *ledger) corridor(ctx context.Context, peer entry.GenesisHash) (client.Corridor, error) {
	all, err := l.Corridors(ctx)
	if err != nil {
		return client.Corridor{}, err
	}
	for _, c := range all {
		if c.Peer == peer {
			return c, nil
		}
	}
	return client.Corridor{}, entry.Refuse(entry.CorridorUnknown, "%s has no corridor to ledger %s", l.name, peer)
}

// ownWitnesses names the witnesses of the peer's log that this ledger's nation runs.
func ownWitnesses(t *entry.CorridorTerms) (names []string) {
	for _, w := range t.Witnesses {
		if w.Own {
			names = append(names, w.Name)
		}
	}
	return names
}

const (
	observeWait  = 20 * time.Second
	observeTries = 12
	observePause = 300 * time.Millisecond
)

// observe makes this ledger see at least so many leaves of the peer's log, and gives the size that it saw last. Where others relay as well,
// whoever is faster wins and everybody goes on from there.
func (l *ledger) observe(ctx context.Context, peer *ledger, atLeast uint64) (uint64, error) {
	var last error
	for range observeTries {
		c, err := l.corridor(ctx, peer.hash)
		if err != nil {
			return 0, err
		}
		if c.Size >= atLeast {
			return c.Size, nil
		}
		e, err := observation(ctx, l, peer, c, atLeast, observeWait)
		if err != nil {
			return 0, fmt.Errorf("show %s to %s: %w", peer.name, l.name, err)
		}
		if _, err = l.Submit(ctx, entry.Encode(e), nil); err == nil {
			return e.Size, nil
		}
		last = err
		switch entry.CodeOf(err) {
		case "", entry.TryLater, entry.PeerCheckpointOld, entry.PeerCheckpointInvalid, entry.Expired:
			// Another relayer was faster, a cosignature is on its way, or the ledger is not there: look again.
		default:
			return 0, fmt.Errorf("show %s to %s: %w", peer.name, l.name, err)
		}
		if err := pause(ctx, observePause); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("show %s to %s: %w", peer.name, l.name, last)
}

// observation makes the entry by which a ledger observes a peer's newest cosigned checkpoint over at least so many leaves, and more than
// the ledger has seen.
func observation(ctx context.Context, on, of *ledger, c client.Corridor, atLeast uint64, wait time.Duration) (*entry.Observe, error) {
	signed, size, err := of.WaitCheckpoint(ctx, max(atLeast, c.Size+1), wait, ownWitnesses(c.Terms)...)
	if err != nil {
		return nil, err
	}
	head, err := headOf(signed)
	if err != nil || head.Size != size || size <= c.Size {
		return nil, wallets.Refuse(wallets.LedgerLied, "%s gave a checkpoint of %d leaves as one of %d: %v", of.name, head.Size, size, err)
	}
	e := &entry.Observe{Header: on.header(time.Now()), Peer: of.hash, Size: head.Size, Root: head.Root, Checkpoint: signed}
	if c.Size > 0 {
		if e.Consistency, err = of.Consistency(ctx, c.Size, size); err != nil {
			return nil, err
		}
	}
	if e.State, err = of.Entry(ctx, size-1); err != nil {
		return nil, err
	}
	if e.StatePath, err = of.Inclusion(ctx, size-1, size); err != nil {
		return nil, err
	}
	return e, nil
}

// headOf reads the tree head of a signed checkpoint. Its signatures are for the ledger to check that is shown it.
func headOf(signed []byte) (proof.Head, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return proof.Head{}, proof.ErrCheckpoint
	}
	c, err := proof.ParseCheckpoint(text + "\n")
	return c.Head, err
}

// prove shows this ledger the peer's leaf at an index: it observes the peer where it has not seen that far.
func (l *ledger) prove(ctx context.Context, peer *ledger, index uint64) (*entry.PeerProof, error) {
	size, err := l.observe(ctx, peer, index+1)
	if err != nil {
		return nil, err
	}
	p := &entry.PeerProof{Size: size, Index: index}
	if p.Leaf, err = peer.Entry(ctx, index); err != nil {
		return nil, err
	}
	if p.Path, err = peer.Inclusion(ctx, index, size); err != nil {
		return nil, err
	}
	return p, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transient tells that nothing is known about a call, or that it may be repeated: a ledger or a provider was not there, or time is needed.
func transient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	switch wallets.CodeOf(err) {
	case wallets.NotFinal, wallets.FundsInFlight:
		return true
	}
	var wire *connect.Error
	switch code, _ := cli.CodeOf(err); code {
	case cli.Unavailable:
		return true
	case cli.Failure:
		return errors.As(err, &wire) // an answer that says nothing
	}
	return false
}

// local tells that this machine is at fault, such as a full disk: nothing is helped by going on.
func local(err error) bool {
	code, _ := cli.CodeOf(err)
	return code == cli.Failure && !transient(err)
}

package ledgercmd

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/proto/doors"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// maxAnswer bounds what is read from a ledger in one message: a block of the largest batch with its segments.
const maxAnswer = 256 << 20

// Remote is a running ledger.
type Remote struct {
	ledgerv1connect.LedgerServiceClient
	Genesis *entry.Genesis
}

// Dial asks a ledger for its genesis. What the node says its hash is does not matter: the hash is computed from the bytes, and a
// caller that expects a ledger passes its hash.
func Dial(ctx context.Context, address string, want *entry.GenesisHash) (*Remote, error) {
	url, err := cli.LedgerURL(address)
	if err != nil {
		return nil, err
	}
	caller, url, err := doors.HTTP(url, tlsfiles.From(ctx))
	if err != nil {
		return nil, err
	}
	client := ledgerv1connect.NewLedgerServiceClient(caller, url,
		connect.WithReadMaxBytes(maxAnswer), connect.WithAcceptCompression("gzip", nil, nil))
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := client.GetGenesis(ctx, &ledgerv1.GetGenesisRequest{})
	if err != nil {
		return nil, cli.Answer("ask "+url+" for its genesis", err)
	}
	g, err := entry.DecodeGenesis(answer.GetGenesis())
	if err != nil {
		return nil, cli.Unverifiedf("%s sends a genesis that is none: %w", url, err)
	}
	if want != nil && g.Hash() != *want {
		return nil, cli.RefusedAs("other_ledger", fmt.Errorf("%s is ledger %s, not %s", url, g.Hash(), want))
	}
	return &Remote{LedgerServiceClient: client, Genesis: g}, nil
}

// ExpectFlag reads --genesis.
func ExpectFlag(text string) (*entry.GenesisHash, error) {
	if text == "" {
		return nil, nil
	}
	id, err := entry.ParseID(text)
	if err != nil {
		return nil, cli.Usagef("--genesis: want 64 lower-case hexadecimal digits")
	}
	h := entry.GenesisHash(id)
	return &h, nil
}

// Status asks for the status and decodes the state entry in it.
func (r *Remote) Status(ctx context.Context) (*ledgerv1.GetStatusResponse, *entry.State, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := r.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
	if err != nil {
		return nil, nil, cli.Answer("ask for the status", err)
	}
	state, err := entry.DecodeState(answer.GetState())
	if err != nil {
		return nil, nil, cli.Unverifiedf("the ledger sends a state entry that is none: %w", err)
	}
	return answer, state, nil
}

package client

import (
	"context"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/wallets"
)

// maxPath is the longest path in a tree of 2^63 leaves, and the longest consistency proof.
const maxPath = 64

// Entry gives the leaf at a log index. It is durable; who needs it final asks for a checkpoint that covers it.
func (c *Client) Entry(ctx context.Context, index uint64) ([]byte, error) {
	got, err := read(ctx, "get entry", func(ctx context.Context) (*ledgerv1.GetEntryResponse, error) {
		return c.rpc.GetEntry(ctx, &ledgerv1.GetEntryRequest{EntryIndex: index})
	})
	if err != nil {
		return nil, err
	}
	return got.GetEntry(), nil
}

// Inclusion gives the path from the leaf at index to the root of the log's first size leaves. It proves nothing by itself: check it with
// proof.VerifyInclusion under a root that is known to be the log's.
func (c *Client) Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error) {
	got, err := read(ctx, "get inclusion", func(ctx context.Context) (*ledgerv1.GetInclusionResponse, error) {
		return c.rpc.GetInclusion(ctx, &ledgerv1.GetInclusionRequest{EntryIndex: index, Size: size})
	})
	if err != nil {
		return nil, err
	}
	return path(got.GetPath())
}

// Consistency gives the proof that the log's first newer leaves begin with its first older ones, for proof.VerifyConsistency.
func (c *Client) Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error) {
	got, err := read(ctx, "get consistency", func(ctx context.Context) (*ledgerv1.GetConsistencyResponse, error) {
		return c.rpc.GetConsistency(ctx, &ledgerv1.GetConsistencyRequest{OldSize: older, NewSize: newer})
	})
	if err != nil {
		return nil, err
	}
	return path(got.GetPath())
}

func path(hashes [][]byte) ([][32]byte, error) {
	if len(hashes) > maxPath {
		return nil, wallets.Refuse(wallets.LedgerLied, "a path of %d hashes", len(hashes))
	}
	out := make([][32]byte, len(hashes))
	for i, h := range hashes {
		if len(h) != 32 {
			return nil, wallets.Refuse(wallets.LedgerLied, "a hash of %d bytes in a path", len(h))
		}
		out[i] = [32]byte(h)
	}
	return out, nil
}

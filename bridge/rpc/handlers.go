package rpc

import (
	"context"
	"log/slog"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bridge"
	bridgev1 "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Offers is what a provider tells everybody.
type Offers struct {
	Provider entry.SignerKey // signs its quotes
	Name     string
	Pairs    []Pair
}

// Pair is one direction of one pair of currencies.
type Pair struct {
	FromLedger, ToLedger entry.GenesisHash
	FromAsset, ToAsset   zk.AssetID
	Mid                  bridge.Ratio // units of the asset paid out for a unit (not minor unit) of the one paid in, before the spread
	SpreadBasisPoints    uint16
	Least, Most          zk.Amount // of what the payee is paid, minor units
	Receive              bridge.Address
}

// handlers translate between messages, which keep to the rules of the schema, and the provider's methods.
type handlers struct {
	provider Provider
	log      *slog.Logger
}

func (h *handlers) fail(ctx context.Context, what string, err error) error {
	wire := toConnect(err)
	if wire.Code() == connect.CodeInternal {
		h.log.ErrorContext(ctx, what, "error", err)
	}
	return wire
}

func (h *handlers) GetOffers(ctx context.Context, _ *bridgev1.GetOffersRequest) (*bridgev1.GetOffersResponse, error) {
	o, err := h.provider.Offers(ctx)
	if err != nil {
		return nil, h.fail(ctx, "offers", err)
	}
	out := &bridgev1.GetOffersResponse{Provider: o.Provider[:], Name: o.Name}
	for _, p := range o.Pairs {
		out.Offers = append(out.Offers, &bridgev1.Offer{
			FromLedger: p.FromLedger[:], FromAsset: uint32(p.FromAsset), ToLedger: p.ToLedger[:], ToAsset: uint32(p.ToAsset),
			MidNumerator: p.Mid.Num, MidDenominator: p.Mid.Den, SpreadBasisPoints: uint32(p.SpreadBasisPoints),
			Least: uint64(p.Least), Most: uint64(p.Most), ReceiveOwner: p.Receive.Owner[:], ReceiveViewKey: p.Receive.ViewKey[:],
		})
	}
	return out, nil
}

func (h *handlers) Quote(ctx context.Context, req *bridgev1.QuoteRequest) (*bridgev1.QuoteResponse, error) {
	b, err := h.provider.Quote(ctx, req.GetRequest())
	if err != nil {
		return nil, h.fail(ctx, "quote", err)
	}
	return &bridgev1.QuoteResponse{Quote: b}, nil
}

func (h *handlers) Reserve(ctx context.Context, req *bridgev1.ReserveRequest) (*bridgev1.ReserveResponse, error) {
	b, err := h.provider.Reserve(ctx, req.GetAcceptance())
	if err != nil {
		return nil, h.fail(ctx, "reserve", err)
	}
	return &bridgev1.ReserveResponse{Reservation: b}, nil
}

func (h *handlers) Accept(ctx context.Context, req *bridgev1.AcceptRequest) (*bridgev1.AcceptResponse, error) {
	b, err := h.provider.Accept(ctx, req.GetAcceptance())
	if err != nil {
		return nil, h.fail(ctx, "accept", err)
	}
	return &bridgev1.AcceptResponse{Placement: b}, nil
}

func (h *handlers) Proceed(ctx context.Context, req *bridgev1.ProceedRequest) (*bridgev1.ProceedResponse, error) {
	b, err := h.provider.Proceed(ctx, req.GetProceed())
	if err != nil {
		return nil, h.fail(ctx, "proceed", err)
	}
	return &bridgev1.ProceedResponse{Placement: b}, nil
}

func (h *handlers) GetPayment(ctx context.Context, req *bridgev1.GetPaymentRequest) (*bridgev1.GetPaymentResponse, error) {
	b, err := h.provider.Payment(ctx, [32]byte(req.GetQuote()))
	if err != nil {
		return nil, h.fail(ctx, "payment", err)
	}
	return &bridgev1.GetPaymentResponse{Status: b}, nil
}

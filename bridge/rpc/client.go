package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/proto/doors"
	bridgev1 "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/bridge/v1/bridgev1connect"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// Client speaks to one provider. It repeats nothing by itself and believes nothing: the messages are signed, and the logs decide. It is
// safe for concurrent use.
type Client struct {
	rpc bridgev1connect.BridgeServiceClient
}

const (
	readTimeout  = 30 * time.Second
	placeTimeout = 150 * time.Second // a hold is proven and logged meanwhile
	maxAnswer    = 1 << 20
	// maxPairs bounds the offers that a client keeps of one provider.
	maxPairs = 1024
)

// NewClient makes a client for the provider at a URL on this machine, such as http://127.0.0.1:7001.
func NewClient(address string) (*Client, error) { return NewClientTLS(address, nil) }

// NewClientTLS makes a client for the provider at a URL such as https://host.example:7001, with certificates. Without them (nil) only loopback addresses are
// accepted, over http.
func NewClientTLS(address string, certificates *doors.Client) (*Client, error) {
	h, base, err := doors.HTTP(address, certificates)
	if err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	return NewClientWith(h, base), nil
}

// NewClientWith makes a client over a given HTTP client, for tests in memory.
func NewClientWith(h connect.HTTPClient, base string) *Client {
	options := []connect.ClientOption{connect.WithReadMaxBytes(maxAnswer), connect.WithAcceptCompression("gzip", nil, nil)}
	if telemetry, err := otelconnect.NewInterceptor(); err == nil { // else a meter refused its instruments: calls go on unmeasured
		options = append(options, connect.WithInterceptors(telemetry))
	}
	return &Client{rpc: bridgev1connect.NewBridgeServiceClient(h, base, options...)}
}

// call runs one call under its time limit and gives its error the name that the provider gave it.
func call[T any](ctx context.Context, doing string, timeout time.Duration, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	got, err := do(ctx)
	if err == nil {
		return got, nil
	}
	var wire *connect.Error
	if errors.As(err, &wire) {
		for _, d := range wire.Details() {
			value, err := d.Value()
			if detail, ok := value.(*ledgerv1.ErrorDetail); err == nil && ok && detail.GetCode() != "" {
				return got, fmt.Errorf("%s: %w", doing, &Refusal{detail.GetCode(), strings.TrimPrefix(detail.GetDetail(), detail.GetCode()+": ")})
			}
		}
	}
	return got, fmt.Errorf("%s: %w", doing, err)
}

// Offers asks who the provider is and what it serves.
func (c *Client) Offers(ctx context.Context) (Offers, error) {
	got, err := call(ctx, "get offers", readTimeout, func(ctx context.Context) (*bridgev1.GetOffersResponse, error) {
		return c.rpc.GetOffers(ctx, &bridgev1.GetOffersRequest{})
	})
	if err != nil {
		return Offers{}, err
	}
	key, err := entry.SignerKeyOf(got.GetProvider())
	if err != nil {
		return Offers{}, fmt.Errorf("get offers: the provider's key: %w", err)
	}
	if !printable(got.GetName()) {
		return Offers{}, refusef(Malformed, "the provider's name cannot be printed")
	}
	o := Offers{Provider: key, Name: got.GetName()}
	if len(got.GetOffers()) > maxPairs {
		return Offers{}, refusef(Oversize, "the provider offers %d pairs, at most %d are read", len(got.GetOffers()), maxPairs)
	}
	for _, p := range got.GetOffers() {
		owner, err := zk.ParseField(p.GetReceiveOwner())
		if err != nil || len(p.GetFromLedger()) != 32 || len(p.GetToLedger()) != 32 || len(p.GetReceiveViewKey()) != 32 || p.GetMidNumerator() == 0 ||
			p.GetMidDenominator() == 0 || p.GetSpreadBasisPoints() >= 10_000 {
			return Offers{}, refusef(Malformed, "an offer without ledgers, rate or address")
		}
		pair := Pair{
			FromLedger: entry.GenesisHash(p.GetFromLedger()), ToLedger: entry.GenesisHash(p.GetToLedger()),
			FromAsset: zk.AssetID(p.GetFromAsset()), ToAsset: zk.AssetID(p.GetToAsset()),
			Mid: bridge.Ratio{Num: p.GetMidNumerator(), Den: p.GetMidDenominator()}, SpreadBasisPoints: uint16(p.GetSpreadBasisPoints()),
			Least: zk.Amount(p.GetLeast()), Most: zk.Amount(p.GetMost()),
			Receive: bridge.Address{Owner: zk.Owner(owner), ViewKey: keys.ViewKey(p.GetReceiveViewKey())},
		}
		if err := pair.Receive.Check(); err != nil {
			return Offers{}, fmt.Errorf("get offers: %w", err)
		}
		o.Pairs = append(o.Pairs, pair)
	}
	return o, nil
}

// Quote asks for a signed quote.
func (c *Client) Quote(ctx context.Context, request []byte) ([]byte, error) {
	got, err := call(ctx, "ask for a quote", readTimeout, func(ctx context.Context) (*bridgev1.QuoteResponse, error) {
		return c.rpc.Quote(ctx, &bridgev1.QuoteRequest{Request: request})
	})
	return got.GetQuote(), err
}

// Reserve asks a provider on the way for the opening of what it is paid on the next ledger.
func (c *Client) Reserve(ctx context.Context, acceptance []byte) ([]byte, error) {
	got, err := call(ctx, "reserve", placeTimeout, func(ctx context.Context) (*bridgev1.ReserveResponse, error) {
		return c.rpc.Reserve(ctx, &bridgev1.ReserveRequest{Acceptance: acceptance})
	})
	return got.GetReservation(), err
}

// Accept uses the quote up.
func (c *Client) Accept(ctx context.Context, acceptance []byte) ([]byte, error) {
	got, err := call(ctx, "accept the quote", placeTimeout, func(ctx context.Context) (*bridgev1.AcceptResponse, error) {
		return c.rpc.Accept(ctx, &bridgev1.AcceptRequest{Acceptance: acceptance})
	})
	return got.GetPlacement(), err
}

// Proceed tells a provider on the way where the deciding hold is.
func (c *Client) Proceed(ctx context.Context, proceed []byte) ([]byte, error) {
	got, err := call(ctx, "proceed", placeTimeout, func(ctx context.Context) (*bridgev1.ProceedResponse, error) {
		return c.rpc.Proceed(ctx, &bridgev1.ProceedRequest{Proceed: proceed})
	})
	return got.GetPlacement(), err
}

// Payment asks what became of a quote.
func (c *Client) Payment(ctx context.Context, quote [32]byte) ([]byte, error) {
	got, err := call(ctx, "ask for the payment", readTimeout, func(ctx context.Context) (*bridgev1.GetPaymentResponse, error) {
		return c.rpc.GetPayment(ctx, &bridgev1.GetPaymentRequest{Quote: quote[:]})
	})
	return got.GetStatus(), err
}

// printable holds for a name that shows as itself on a terminal.
func printable(s string) bool {
	return len(s) <= bridge.MaxName && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}

package bridgecmd

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"sort"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// routeFlags say from which currency to which, over which, and what.
type routeFlags struct {
	ledger, toLedger, to, amount, fixed    *string
	asset, toAsset, programme, toProgramme *string
	via, viaAsset, providers               *[]string
}

func addRouteFlags(cmd *cobra.Command) routeFlags {
	f := cmd.Flags()
	r := routeFlags{
		ledger:      f.String("ledger", "", "address of the payer's ledger, or NAME=URL (default: $"+ledgerEnv+")"),
		toLedger:    f.String("to-ledger", "", "address of the payee's ledger, or NAME=URL (required)"),
		via:         f.StringArray("via", nil, "address of a ledger on the way, whose currency is the vehicle; its provider and the next one are found by their offers"),
		viaAsset:    f.StringArray("via-asset", nil, "currency code on the ledger of --via (default: its only one)"),
		providers:   f.StringArray("provider", nil, "address of a provider; repeat to choose among several (required)"),
		to:          f.String("to", "", "address of the payee (required)"),
		amount:      f.String("amount", "", "amount in the units of the fixed side's currency, such as 12.50 (required)"),
		fixed:       f.String("fixed", "payee", `whose amount it is: "payee" gets exactly that, or "payer" pays exactly that`),
		asset:       f.String("asset", "", "currency code of the payer (default: the ledger's only one)"),
		toAsset:     f.String("to-asset", "", "currency code of the payee (default: the ledger's only one)"),
		programme:   f.String("programme", "", "programme of the payer's money (default: none)"),
		toProgramme: f.String("to-programme", "", "programme that the payee's money carries (default: none)"),
	}
	for _, name := range []string{"to-ledger", "provider", "to", "amount"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return r
}

// ledgerEnv stands for --ledger, as for wallets.
const ledgerEnv = "COMITY_LEDGER"

// route is what the flags mean: ledgers and currencies from the payer's to the payee's, and an order without an id.
type route struct {
	ledgers []*ledger
	assets  []entry.Asset
	order   bridge.Order
	to      string
}

// last is the index of the payee's stop.
func (r *route) last() int { return len(r.ledgers) - 1 }

// money prints an amount of a stop.
func (r *route) money(stop int, a zk.Amount) string {
	return cli.Money(a, int(r.assets[stop].Decimals), r.assets[stop].Code)
}

func (f routeFlags) read(ctx context.Context, payerLedger string) (*route, error) {
	texts := append(append([]string{payerLedger}, *f.via...), *f.toLedger)
	if len(texts) > bridge.MaxHops+1 {
		return nil, cli.Usagef("%d ledgers, at most %d are on one way", len(texts), bridge.MaxHops+1)
	}
	if len(*f.viaAsset) > len(*f.via) {
		return nil, cli.Usagef("--via-asset without --via")
	}
	ledgers, err := dialAll(ctx, texts, 2)
	if err != nil {
		return nil, err
	}
	r := &route{ledgers: ledgers, to: *f.to}
	for i, l := range ledgers {
		code, programme := "", ""
		switch {
		case i == 0:
			code, programme = *f.asset, *f.programme
		case i == r.last():
			code, programme = *f.toAsset, *f.toProgramme
		case i-1 < len(*f.viaAsset):
			code = (*f.viaAsset)[i-1]
		}
		asset, err := cli.AssetOf(l.genesis, code)
		if err != nil {
			return nil, err
		}
		p, err := wallets.ParseProgramme(programme)
		if err != nil {
			return nil, err
		}
		r.assets = append(r.assets, asset)
		r.order.Route = append(r.order.Route, bridge.Stop{Ledger: l.hash, Asset: asset.ID, Programme: p, Decimals: asset.Decimals})
	}
	at := r.last()
	switch *f.fixed {
	case "payee":
		r.order.Fixed, r.order.Limit = bridge.FixedPayee, math.MaxUint64
	case "payer":
		r.order.Fixed, r.order.Limit, at = bridge.FixedPayer, 1, 0
	default:
		return nil, cli.Usagef(`--fixed %q: want "payee" or "payer"`, *f.fixed)
	}
	if r.order.Amount, err = wallets.ParseAmount(*f.amount, r.assets[at]); err != nil {
		return nil, err
	}
	end := ledgers[r.last()]
	address, err := wallets.ParseAddress(*f.to, end.genesis.Prefix, wallets.LedgerPrefix(end.hash))
	if err != nil {
		return nil, err
	}
	r.order.Payee = bridge.Address{Owner: address.Owner, ViewKey: address.ViewKey}
	r.order.Seed = make([]byte, 32)
	if _, err := rand.Read(r.order.Seed); err != nil {
		return nil, fmt.Errorf("draw the payment's key: %w", err)
	}
	return r, nil
}

// seller is a provider that a payer speaks to.
type seller struct {
	*rpc.Client
	url    string
	offers rpc.Offers
}

// askSellers asks every provider for its offers. One that does not answer is told in problems; none at all is an error.
func askSellers(ctx context.Context, urls []string) (sellers []*seller, problems []string, err error) {
	found := make([]*seller, len(urls))
	failed := make([]error, len(urls))
	var wait sync.WaitGroup
	for i, url := range urls {
		wait.Go(func() {
			address, err := cli.LedgerURL(url)
			if err != nil {
				failed[i] = err
				return
			}
			c, err := rpc.NewClientTLS(address, tlsfiles.From(ctx))
			if err != nil {
				failed[i] = err
				return
			}
			offers, err := c.Offers(ctx)
			found[i], failed[i] = &seller{c, address, offers}, err
		})
	}
	wait.Wait()
	var last error
	for i, s := range found {
		switch {
		case failed[i] != nil:
			problems = append(problems, fmt.Sprintf("%s: %v", urls[i], failed[i]))
			last = fmt.Errorf("provider %s: %w", urls[i], failed[i])
		case slices.ContainsFunc(sellers, func(o *seller) bool { return o.offers.Provider == s.offers.Provider }):
		default:
			sellers = append(sellers, s)
		}
	}
	if len(sellers) == 0 {
		return nil, problems, last
	}
	return sellers, problems, nil
}

// bid is one provider's quote for a hop, or why it gives none.
type bid struct {
	seller  *seller
	quote   *bridge.Quote
	problem error
}

// quoted is a whole way with its quotes: requests and quotes per hop, and every bid, best first.
type quoted struct {
	requests []*bridge.Request
	quotes   []*bridge.Quote
	sellers  []*seller
	bids     [][]bid
}

// ask gathers quotes for every hop: last to first where the payee's amount is fixed, first to last otherwise, because each amount follows
// from the one before.
func ask(ctx context.Context, o *bridge.Order, sellers []*seller) (*quoted, error) {
	n := len(o.Route) - 1
	q := &quoted{requests: make([]*bridge.Request, n), quotes: make([]*bridge.Quote, n), sellers: make([]*seller, n), bids: make([][]bid, n)}
	only := make([]*seller, n) // payer fixed: the provider to which the hop before pays
	for step := range n {
		hop := step
		if o.Fixed == bridge.FixedPayee {
			hop = n - 1 - step
		}
		amount, payee := o.Amount, o.Payee
		candidates := sellers
		if only[hop] != nil {
			candidates = []*seller{only[hop]}
		}
		switch {
		case o.Fixed == bridge.FixedPayee && hop < n-1:
			amount, payee = q.quotes[hop+1].PayerAmount, q.quotes[hop+1].Receive
			candidates = others(sellers, q.sellers[hop+1]) // one key has one open quote with a provider
		case o.Fixed == bridge.FixedPayer:
			if hop > 0 {
				amount = q.quotes[hop-1].PayeeAmount
			}
			if hop < n-1 {
				next, receive, err := bestOffer(sellers, o.Route[hop+1], o.Route[hop+2])
				if err != nil {
					return nil, err
				}
				only[hop+1], payee = next, receive
				candidates = others(candidates, next)
			}
		}
		if candidates = serving(candidates, o.Route[hop], o.Route[hop+1]); len(candidates) == 0 {
			return nil, bridge.Refuse(bridge.NoQuote, "no provider offers asset %d of ledger %s for asset %d of ledger %s", o.Route[hop+1].Asset, o.Route[hop+1].Ledger,
				o.Route[hop].Asset, o.Route[hop].Ledger)
		}
		req := o.Request(hop, amount, payee)
		bids, err := askHop(ctx, req, o.Route[hop].Decimals, o.Route[hop+1].Decimals, candidates)
		q.bids[hop] = bids
		if err != nil {
			return q, fmt.Errorf("hop %d of %d: %w", hop+1, n, err)
		}
		q.requests[hop], q.quotes[hop], q.sellers[hop] = req, bids[0].quote, bids[0].seller
	}
	return q, nil
}

func others(all []*seller, without *seller) []*seller {
	return slices.DeleteFunc(slices.Clone(all), func(s *seller) bool { return s == without })
}

// serving keeps the providers that offer the pair.
func serving(all []*seller, from, to bridge.Stop) []*seller {
	return slices.DeleteFunc(slices.Clone(all), func(s *seller) bool {
		return !slices.ContainsFunc(s.offers.Pairs, func(p rpc.Pair) bool { return covers(p, from, to) })
	})
}

func covers(p rpc.Pair, from, to bridge.Stop) bool {
	return p.FromLedger == from.Ledger && p.FromAsset == from.Asset && p.ToLedger == to.Ledger && p.ToAsset == to.Asset
}

// bestOffer finds the provider that gives most for the payer's money between two stops, by its offer.
func bestOffer(sellers []*seller, from, to bridge.Stop) (*seller, bridge.Address, error) {
	var best *seller
	var receive bridge.Address
	var top *big.Rat
	for _, s := range sellers {
		for _, p := range s.offers.Pairs {
			if !covers(p, from, to) {
				continue
			}
			rate := new(big.Rat).SetFrac(new(big.Int).SetUint64(p.Mid.Num), new(big.Int).SetUint64(p.Mid.Den))
			rate.Mul(rate, big.NewRat(10_000-int64(p.SpreadBasisPoints), 10_000))
			if top == nil || rate.Cmp(top) > 0 {
				best, receive, top = s, p.Receive, rate
			}
		}
	}
	if best == nil {
		return nil, receive, bridge.Refuse(bridge.NoQuote, "no provider offers asset %d of %s for asset %d of %s", to.Asset, to.Ledger, from.Asset, from.Ledger)
	}
	return best, receive, nil
}

// askHop asks the providers at once. Usable quotes stand first, the best of them at the front.
func askHop(ctx context.Context, req *bridge.Request, fromDecimals, toDecimals uint8, sellers []*seller) ([]bid, error) {
	bids := make([]bid, len(sellers))
	var wait sync.WaitGroup
	for i, s := range sellers {
		wait.Go(func() {
			bids[i].seller = s
			raw, err := s.Quote(ctx, req.Marshal())
			if err == nil {
				bids[i].quote, err = bridge.ParseQuote(raw)
			}
			if err == nil {
				err = bids[i].quote.Check(req, fromDecimals, toDecimals)
			}
			now := uint64(time.Now().UnixMilli())
			switch q := bids[i].quote; {
			case err != nil:
			case q.Provider != s.offers.Provider:
				err = bridge.Refuse(bridge.QuoteMismatch, "the quote is signed by another key than the offers name")
			case now >= q.ExpiryMillis:
				err = bridge.Refuse(bridge.QuoteExpired, "at %s; compare the clocks", cli.Stamp(q.ExpiryMillis))
			}
			bids[i].problem = err
		})
	}
	wait.Wait()
	sort.SliceStable(bids, func(i, j int) bool {
		a, b := bids[i], bids[j]
		if (a.problem == nil) != (b.problem == nil) {
			return a.problem == nil
		}
		return a.problem == nil && bridge.Better(req.Fixed, a.quote, b.quote)
	})
	if len(bids) == 0 || bids[0].problem != nil {
		var reasons string
		for _, b := range bids {
			reasons += fmt.Sprintf("; %s: %v", b.seller.offers.Name, b.problem)
		}
		code := bridge.NoQuote
		for _, b := range bids {
			if transient(b.problem) {
				return bids, cli.Exit(cli.Unavailable, bridge.Refuse(code, "of %d providers%s", len(bids), reasons))
			}
		}
		return bids, bridge.Refuse(code, "of %d providers%s", len(bids), reasons)
	}
	return bids, nil
}

// price is what a quote costs beside the rate without spread, in the payer's minor units of the hop.
func price(q *bridge.Quote, from, to entry.Asset) (spread zk.Amount, err error) {
	mid, err := bridge.MinorRate(q.Mid, 0, from.Decimals, to.Decimals)
	if err != nil {
		return 0, err
	}
	fair, err := mid.PayerPays(q.PayeeAmount)
	if err != nil || fair > q.PayerAmount {
		return 0, err
	}
	return q.PayerAmount - fair, nil
}

// bidRow is one offer as it is shown.
type bidRow struct {
	Hop      int    `json:"hop"`
	Provider string `json:"provider"`
	Key      string `json:"key"`
	URL      string `json:"url"`
	Quote    string `json:"quote,omitempty"`
	Pays     string `json:"pays,omitempty"` // minor units
	PaysIn   string `json:"pays_asset,omitempty"`
	Gets     string `json:"gets,omitempty"`
	GetsIn   string `json:"gets_asset,omitempty"`
	Rate     string `json:"rate,omitempty"` // before the spread, units for a unit
	SpreadBP uint16 `json:"spread_bp"`
	Spread   string `json:"spread,omitempty"` // minor units of what is paid
	Expires  string `json:"expires,omitempty"`
	Hold     uint64 `json:"hold_seconds,omitempty"`
	Problem  string `json:"problem,omitempty"`
	text     [3]string
}

// rows lists the bids, best first per hop.
func (r *route) rows(q *quoted) []bidRow {
	rows := []bidRow{}
	for hop, bids := range q.bids {
		from, to := r.assets[hop], r.assets[hop+1]
		for _, b := range bids {
			row := bidRow{Hop: hop + 1, Provider: b.seller.offers.Name, Key: b.seller.offers.Provider.String(), URL: b.seller.url}
			if b.problem != nil {
				row.Problem = b.problem.Error()
				rows = append(rows, row)
				continue
			}
			x := b.quote
			spread, _ := price(x, from, to) // a quote that was checked has a rate
			row.Quote, row.Pays, row.PaysIn, row.Gets, row.GetsIn = x.ID().String(), cli.MinorUnits(x.PayerAmount), from.Code, cli.MinorUnits(x.PayeeAmount), to.Code
			row.Rate, row.SpreadBP, row.Spread = rateText(x.Mid), x.SpreadBasisPoints, cli.MinorUnits(spread)
			row.Expires, row.Hold = cli.Stamp(x.ExpiryMillis), x.HoldMillis/1000
			row.text = [3]string{r.money(hop, x.PayerAmount), r.money(hop+1, x.PayeeAmount), r.money(hop, spread)}
			rows = append(rows, row)
		}
	}
	return rows
}

// rateText prints a ratio: exactly where six decimals suffice, with its first digits otherwise.
func rateText(r bridge.Ratio) string {
	x := new(big.Rat).SetFrac(new(big.Int).SetUint64(r.Num), new(big.Int).SetUint64(r.Den))
	text := x.FloatString(6)
	if back, ok := new(big.Rat).SetString(text); ok && back.Cmp(x) == 0 {
		return text
	}
	return "about " + text
}

func (r *route) print(out io.Writer, q *quoted) {
	t := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(t, "HOP\tPROVIDER\tPAYS\tGETS\tRATE\tSPREAD\tEXPIRES IN\tMONEY WAITS AT MOST")
	for _, row := range r.rows(q) {
		if row.Problem != "" {
			fmt.Fprintf(t, "%d\t%s\t%s\n", row.Hop, row.Provider, row.Problem)
			continue
		}
		expires, _ := time.Parse(time.RFC3339, row.Expires)
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s (%d.%02d%%)\t%s\t%s\n", row.Hop, row.Provider, row.text[0], row.text[1], row.Rate, row.text[2], row.SpreadBP/100, row.SpreadBP%100,
			time.Until(expires).Round(time.Second), time.Duration(row.Hold)*time.Second)
	}
	t.Flush()
}

func quoteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quote",
		Short: "Ask providers what a payment to another ledger costs",
		Long: `Ask providers what a payment to another ledger costs. Every offer is shown with its rate, its spread and its expiry, the best first. Asking binds
nobody and needs no wallet.

With --via the payment goes over the currency of another ledger: one provider sells it for the payer's money, the next one buys it.`,
		Example: `  comity bridge quote --ledger http://127.0.0.1:7001 --to-ledger http://127.0.0.1:7002 --provider http://127.0.0.1:7101 --provider http://127.0.0.1:7102 \
    --to bor1... --amount 1500.000
  comity bridge quote --ledger http://127.0.0.1:7001 --to-ledger http://127.0.0.1:7002 --provider http://127.0.0.1:7101 --to bor1... --amount 750.00 --fixed payer`,
		Args: cobra.NoArgs,
	}
	f := addRouteFlags(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ledger, err := given(*f.ledger, ledgerEnv, "ledger")
		if err != nil {
			return err
		}
		r, err := f.read(cmd.Context(), ledger)
		if err != nil {
			return err
		}
		sellers, problems, err := askSellers(cmd.Context(), *f.providers)
		warn(cmd, problems)
		if err != nil {
			return err
		}
		r.order.ID, r.order.DeadlineMillis = "quote", math.MaxUint64
		q, err := ask(cmd.Context(), &r.order, sellers)
		if q == nil {
			return err
		}
		best := map[string]any{}
		if err == nil {
			best = map[string]any{"pays": cli.MinorUnits(q.quotes[0].PayerAmount), "pays_asset": r.assets[0].Code,
				"gets": cli.MinorUnits(q.quotes[len(q.quotes)-1].PayeeAmount), "gets_asset": r.assets[r.last()].Code}
		}
		if perr := cli.Print(cmd, *asJSON, map[string]any{"offers": r.rows(q), "best": best}, func(out io.Writer) {
			r.print(out, q)
			if err == nil && len(q.quotes) > 1 {
				fmt.Fprintf(out, "in all: %s for %s\n", r.money(r.last(), q.quotes[len(q.quotes)-1].PayeeAmount), r.money(0, q.quotes[0].PayerAmount))
			}
		}); perr != nil {
			return perr
		}
		return err
	}
	return cmd
}

// warn tells which providers did not answer while others did.
func warn(cmd *cobra.Command, problems []string) {
	for _, p := range problems {
		fmt.Fprintf(cmd.ErrOrStderr(), "no answer from provider %s\n", p)
	}
}

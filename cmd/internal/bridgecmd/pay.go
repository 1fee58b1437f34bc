package bridgecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

const walletEnv = "COMITY_WALLET"

func given(flag, env, name string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if v := os.Getenv(env); v != "" {
		return v, nil
	}
	return "", cli.Usagef("--%s is needed (or $%s)", name, env)
}

// payer carries one payment of an open wallet from step to step. What it does next follows from the payment's records alone, so a payer that
// is killed at any moment goes on where it was.
type payer struct {
	*route
	wallet  *walletcmd.Wallet
	book    *payments
	pay     *bridge.Payment
	context paymentContext
	relays  bool // carries its own proofs while it waits
	tell    func(string)
	clients map[entry.SignerKey]*rpc.Client
}

// openWallet opens the payer's wallet and its book.
func openWallet(cmd *cobra.Command, dir, ledger string, passphrase cli.Passphrase) (*walletcmd.Wallet, *payments, error) {
	secret, err := passphrase.Read(cmd, "Passphrase", false)
	if err != nil {
		return nil, nil, err
	}
	w, err := walletcmd.OpenWallet(cmd.Context(), dir, ledger, secret)
	if err != nil {
		return nil, nil, err
	}
	b, err := openPayments(w, dir)
	if err != nil {
		w.Close()
		return nil, nil, err
	}
	return w, b, nil
}

// order is the wallet's order for the payer's hold. It has the payment's id, so that a wallet asked twice places once.
func (x *payer) order(p *bridge.Placing) *wallets.Order {
	return &wallets.Order{ID: x.pay.Order.ID, To: p.Payee.Text(x.ledgers[0].genesis.Prefix, x.ledgers[0].hash), Asset: p.Money.Asset, Amount: p.Money.Amount,
		Programme: p.Money.Programme, CreatedMillis: x.context.Created}
}

func (x *payer) decider() *ledger { return x.ledgers[x.last()] }

func (x *payer) clock(ctx context.Context) (bridge.Clock, error) {
	c := bridge.Clock{Now: uint64(time.Now().UnixMilli())}
	s, _, err := x.decider().state(ctx)
	if err == nil {
		c.Decider = s.TimeMillis
	}
	return c, err
}

func (x *payer) provider(ctx context.Context, key entry.SignerKey) (*rpc.Client, error) {
	if c := x.clients[key]; c != nil {
		return c, nil
	}
	url, ok := x.context.Providers[key.String()]
	if !ok {
		return nil, bridge.Refuse(bridge.QuoteMismatch, "nothing is known of where provider %s answers", key)
	}
	c, err := rpc.NewClientTLS(url, tlsfiles.From(ctx))
	if err == nil {
		x.clients[key] = c
	}
	return c, err
}

const (
	payPause  = 300 * time.Millisecond
	findPause = 2 * time.Second
	finalWait = 30 * time.Second
)

// errQuote ends a run at the step that needs a person: choosing a quote.
var errQuote = errors.New("the payment has no quote yet")

// run takes the payment from step to step until it is done, until what is left can be left to others (unless wait), or until it cannot go on.
// A step that fails for want of a ledger or a provider is tried again as long as the payment allows it.
func (x *payer) run(ctx context.Context, wait bool) error {
	said := ""
	for {
		c, err := x.clock(ctx)
		if err != nil && x.pay.Stage != bridge.PayPlaced {
			if !transient(err) {
				return err
			}
			x.tell("waiting for " + x.decider().name)
		}
		todo := x.pay.Next(c)
		switch todo.Step {
		case bridge.StepDone:
			return nil
		case bridge.StepQuote:
			return errQuote
		case bridge.StepAwait:
			if !wait {
				return nil
			}
		}
		if step := string(todo.Step); step != said {
			said = step
			x.tell(steps[todo.Step])
		}
		err = x.traced(ctx, todo, c)
		switch {
		case err == nil && todo.Step != bridge.StepAwait && todo.Step != bridge.StepFindHold:
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil, transient(err):
		case local(err):
			return err
		case todo.Step == bridge.StepPlace, todo.Step == bridge.StepFindHold, todo.Step == bridge.StepAwait:
			x.tell(err.Error()) // the hold may be logged: only the log ends the payment from here on
		default:
			return x.giveUp(err)
		}
		rest := payPause
		if todo.Step == bridge.StepFindHold {
			rest = findPause
		}
		if err := pause(ctx, rest); err != nil {
			return err
		}
	}
}

// steps say to people what is being done.
var steps = map[bridge.Step]string{
	bridge.StepReserve: "reserving the money", bridge.StepPromise: "asking a provider on the way to reserve", bridge.StepAccept: "waiting for the provider's hold",
	bridge.StepProceed: "waiting for the hold of a provider on the way", bridge.StepPlace: "placing the payment", bridge.StepFindHold: "looking for the payment in the log",
	bridge.StepAwait: "waiting for the decision", bridge.StepGiveUp: "giving up",
}

// giveUp ends a payment of which nothing is locked, for a reason that does not pass, and gives that reason back.
func (x *payer) giveUp(cause error) error {
	code := bridge.Code(rpc.CodeOf(cause))
	if code == "" {
		return cause
	}
	record, err := x.pay.GiveUp(code)
	if err := x.book.add(x.pay, record, err); err != nil {
		return errors.Join(cause, err)
	}
	if err := x.wallet.Unreserve(x.pay.Order.ID); err != nil {
		return errors.Join(cause, err)
	}
	return nil
}

// record makes a record of the payment durable.
func (x *payer) record(record []byte, err error) error { return x.book.add(x.pay, record, err) }

func (x *payer) step(ctx context.Context, todo bridge.Todo, c bridge.Clock) error {
	switch todo.Step {
	case bridge.StepReserve:
		draft, err := x.wallet.Reserve(ctx, x.order(todo.Placing), nil)
		if err != nil {
			return err
		}
		return x.record(x.pay.Reserved(draft.Opening()))
	case bridge.StepPromise:
		p, err := x.provider(ctx, todo.Provider)
		if err != nil {
			return err
		}
		raw, err := p.Reserve(ctx, todo.Message)
		if err != nil {
			return err
		}
		m, err := bridge.ParseReservation(raw)
		if err != nil {
			return err
		}
		return x.record(x.pay.Promise(m))
	case bridge.StepAccept:
		return x.cover(ctx, todo)
	case bridge.StepProceed:
		p, err := x.provider(ctx, todo.Provider)
		if err != nil {
			return err
		}
		raw, err := p.Proceed(ctx, todo.Message)
		if err != nil {
			return err
		}
		m, err := bridge.ParsePlacement(raw)
		if err != nil {
			return err
		}
		return x.record(x.pay.Follow(m))
	case bridge.StepPlace:
		if err := x.record(x.pay.BeginPlacing(c)); err != nil {
			return err
		}
		return x.place(ctx, todo)
	case bridge.StepFindHold:
		return x.find(ctx)
	case bridge.StepAwait:
		return x.await(ctx)
	case bridge.StepGiveUp:
		record, err := x.pay.GiveUp(todo.Code)
		if err := x.book.add(x.pay, record, err); err != nil {
			return err
		}
		return x.wallet.Unreserve(x.pay.Order.ID)
	}
	return fmt.Errorf("unknown step %q", todo.Step)
}

// cover has the last provider place its hold, and reads that hold in the deciding ledger's log.
func (x *payer) cover(ctx context.Context, todo bridge.Todo) error {
	p, err := x.provider(ctx, todo.Provider)
	if err != nil {
		return err
	}
	raw, err := p.Accept(ctx, todo.Message)
	if err != nil {
		return err
	}
	m, err := bridge.ParsePlacement(raw)
	if err != nil {
		return err
	}
	deciding, _, err := x.decider().deciding(ctx, m.Hold, finalWait)
	if err != nil {
		return err
	}
	c, err := x.clock(ctx)
	if err != nil {
		return err
	}
	return x.record(x.pay.Covered(m, deciding, c))
}

// place has the wallet place the payer's hold, with the proof that the deciding one is logged.
func (x *payer) place(ctx context.Context, todo bridge.Todo) error {
	attach := func(tx *entry.Transaction) error {
		index, err := x.decider().placedAt(ctx, x.pay.Cover.Hold)
		if err != nil {
			return err
		}
		tx.Legs[0].Peer, err = x.ledgers[0].prove(ctx, x.decider(), index)
		return err
	}
	held, err := x.wallet.HoldBefore(ctx, x.order(todo.Placing), func(h *wallets.HoldDraft) (entry.Condition, uint64, error) {
		if h.Opening() != *x.pay.Opening {
			return entry.Condition{}, 0, bridge.Refuse(bridge.OpeningMismatch, "the ledger's oversight key changed after the reservation")
		}
		return todo.Placing.Condition, todo.Placing.SizeClass, nil
	}, attach, todo.Expiry, finalWait, nil)
	if err != nil {
		return err
	}
	return x.record(x.pay.Placed(held.Hold))
}

// find looks for a hold whose transaction has expired: it is in the log, or never will be.
func (x *payer) find(ctx context.Context) error {
	if err := x.wallet.Sync(ctx, nil); err != nil {
		return err
	}
	id := x.pay.Order.ID
	order, known := x.wallet.Outbox().Order(id)
	if !known { // it was never built
		return x.record(x.pay.NotPlaced(bridge.DeadlinePassed))
	}
	switch p := x.wallet.State().PaymentOf(x.wallet.Outbox(), order); p.Stage {
	case wallets.Done:
		if err := x.wallet.WaitFinal(ctx, p.Settled.Entry, finalWait); err != nil {
			return err
		}
		return x.record(x.pay.Placed(entry.HoldID{Tx: p.Attempt.TxID}))
	case wallets.Dead:
		if err := x.record(x.pay.NotPlaced(bridge.DeadlinePassed)); err != nil {
			return err
		}
		return x.wallet.Unreserve(id)
	}
	return nil
}

// await reads the payer's log for the outcome, and carries the proofs of its own payment meanwhile.
func (x *payer) await(ctx context.Context) error {
	if err := x.wallet.Sync(ctx, nil); err != nil {
		return err
	}
	h, ok := x.wallet.State().HoldOf(x.pay.Hold)
	if !ok {
		return wallets.Refuse(wallets.NotFound, "hold %s is not in the log of %s", x.pay.Hold, x.ledgers[0].name)
	}
	if h.Outcome != 0 {
		return x.record(x.pay.Settled(h.Outcome))
	}
	if !x.relays {
		return nil
	}
	return x.push(ctx, h)
}

// push relays this payment alone: the deciding ledger is shown the holds that follow, the payer's ledger the decision. Others may be faster.
func (x *payer) push(ctx context.Context, mine wallets.Hold) error {
	d := x.decider()
	h, done, err := d.Hold(ctx, x.pay.Cover.Hold)
	if err != nil {
		return err
	}
	if done == nil {
		e := &entry.Resolve{Header: d.header(time.Now()), Hold: h.ID}
		if uint64(time.Now().UnixMilli()) >= x.pay.Until {
			e.Outcome, e.Reason, e.Commitment = entry.Voided, entry.ReasonExpired, h.Return
		} else {
			e.Outcome, e.Reason, e.Commitment = entry.Posted, entry.ReasonPeers, h.Commitment
			if e.Named, e.Peers, err = x.followers(ctx); err != nil {
				return err
			}
		}
		if _, err = d.Submit(ctx, entry.Encode(e), nil); err != nil {
			return ignoreLate(err)
		}
		return nil
	}
	a := x.ledgers[0]
	p, err := a.prove(ctx, d, done.Entry)
	if err != nil {
		return err
	}
	e := &entry.Resolve{Header: a.header(time.Now()), Hold: x.pay.Hold, Outcome: entry.Voided, Reason: entry.ReasonPeers, Commitment: mine.ReturnCommitment,
		Peers: []entry.PeerProof{*p}}
	decision, err := entry.Decode(p.Leaf)
	if err != nil {
		return err
	}
	if r, ok := decision.(*entry.Resolve); ok && r.Outcome == entry.Posted && slices.Contains(r.Named, entry.Named{Ledger: a.hash, Hold: x.pay.Hold}) {
		e.Outcome, e.Commitment = entry.Posted, mine.Commitment
	}
	if _, err = a.Submit(ctx, entry.Encode(e), nil); err != nil {
		return ignoreLate(err)
	}
	return nil
}

// ignoreLate takes no offence at another relayer that was faster, or at a decision that is not due yet.
func ignoreLate(err error) error {
	switch entry.CodeOf(err) {
	case entry.HoldResolved, entry.HoldUnknown, entry.NullifierSpent, entry.HoldNotExpired, entry.PeerSizeUnknown:
		return nil
	}
	return err
}

// followers proves every hold that follows to the deciding ledger, ascending by ledger.
func (x *payer) followers(ctx context.Context) (named []entry.Named, peers []entry.PeerProof, err error) {
	type follower struct {
		on   *ledger
		hold entry.HoldID
	}
	all := []follower{{x.ledgers[0], x.pay.Hold}}
	for i, m := range x.pay.Followed {
		all = append(all, follower{x.ledgers[i+1], m.Hold})
	}
	slices.SortFunc(all, func(a, b follower) int { return slices.Compare(a.on.hash[:], b.on.hash[:]) })
	for _, f := range all {
		index, err := f.on.placedAt(ctx, f.hold)
		if err != nil {
			return nil, nil, err
		}
		p, err := x.decider().prove(ctx, f.on, index)
		if err != nil {
			return nil, nil, err
		}
		named, peers = append(named, entry.Named{Ledger: f.on.hash, Hold: f.hold}), append(peers, *p)
	}
	return named, peers, nil
}

func payCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pay",
		Short: "Pay an address on another ledger",
		Long: `Pay an address on another ledger: ask the providers, show what the best offer costs with its spread, and ask for approval. Then the provider's
money is locked for the payee, this wallet checks that under a cosigned checkpoint, locks its own for the provider, and one decision moves
both. If it does not come in time, both return.

--limit is the most that may be paid (or, with --fixed payer, the least that the payee must get); without it the price that was shown and
approved is the limit. --payment-id makes the command safe to repeat: the same id pays once, however often the command runs and wherever
it was interrupted. --no-wait leaves once the money is locked; then a relayer settles it, and comity bridge status tells.

Exit codes: 0 paid (or locked, with --no-wait), 3 with payment_returned when the money came back, 3 with the reason when it was given up
before anything was locked, 4 with payment_pending when the outcome is not known yet.`,
		Example: `  comity bridge pay --wallet ministry --ledger http://127.0.0.1:7001 --to-ledger http://127.0.0.1:7002 --provider http://127.0.0.1:7101 \
    --to bor1... --amount 1500.000 --payment-id invoice-12`,
		Args: cobra.NoArgs,
	}
	f := addRouteFlags(cmd)
	wallet := cmd.Flags().String("wallet", "", "the payer's wallet folder (default: $"+walletEnv+")")
	limit := cmd.Flags().String("limit", "", "the most that is paid, or with --fixed payer the least that the payee gets")
	id := cmd.Flags().String("payment-id", "", "your id for this payment (default: a new one)")
	deadline := cmd.Flags().Duration("deadline", 2*time.Minute, "how long to try; nothing is locked afterwards")
	noWait := cmd.Flags().Bool("no-wait", false, "leave once the money is locked")
	relays := cmd.Flags().Bool("relay", true, "carry the payment's own proofs while waiting, as a relayer would")
	yes := cmd.Flags().Bool("yes", false, "pay without asking")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		dir, err := given(*wallet, walletEnv, "wallet")
		if err != nil {
			return err
		}
		address, err := given(*f.ledger, ledgerEnv, "ledger")
		if err != nil {
			return err
		}
		if *deadline <= 0 {
			return cli.Usagef("--deadline wants more than 0")
		}
		r, err := f.read(ctx, address)
		if err != nil {
			return err
		}
		if *limit != "" {
			at := 0
			if r.order.Fixed == bridge.FixedPayer {
				at = r.last()
			}
			if r.order.Limit, err = wallets.ParseAmount(*limit, r.assets[at]); err != nil {
				return fmt.Errorf("--limit: %w", err)
			}
		}
		if r.order.ID = *id; *id == "" {
			r.order.ID = uuid.NewString()
			fmt.Fprintf(cmd.ErrOrStderr(), "payment id %s\n", r.order.ID)
		}
		if err := wallets.CheckPaymentID(r.order.ID); err != nil {
			return err
		}
		w, book, err := openWallet(cmd, dir, plainURL(address), passphrase)
		if err != nil {
			return err
		}
		defer w.Close()
		defer book.Close()
		bar := cli.NewProgress(cmd, "Paying", -1)
		defer bar.Done()
		x := &payer{route: r, wallet: w, book: book, relays: *relays, tell: bar.Describe, clients: map[entry.SignerKey]*rpc.Client{}}
		if x.pay, err = book.find(r.order.ID); err != nil {
			return err
		}
		if x.pay != nil {
			if err := same(&x.pay.Order, &r.order); err != nil {
				return err
			}
			x.context = book.context[r.order.ID]
		} else {
			r.order.DeadlineMillis = uint64(time.Now().Add(*deadline).UnixMilli())
		}
		if x.pay == nil || x.pay.Stage == bridge.PayOrdered {
			bar.Describe("Asking the providers")
			if err := x.choose(cmd, *f.providers, *yes, *limit == "", *asJSON, f); err != nil {
				return err
			}
		}
		err = x.run(ctx, !*noWait)
		bar.Done()
		return x.report(cmd, *asJSON, *noWait, err)
	}
	return cmd
}

// plainURL takes the name off NAME=URL.
func plainURL(text string) string {
	for i, c := range text {
		if c == '=' {
			return text[i+1:]
		}
	}
	return text
}

// same refuses a payment id that stands for something else.
func same(was, now *bridge.Order) error {
	if !slices.Equal(was.Route, now.Route) || was.Fixed != now.Fixed || was.Amount != now.Amount || was.Payee != now.Payee {
		return bridge.Refuse(bridge.PaymentConflict, "payment %q was ordered with another route, amount or payee", was.ID)
	}
	return nil
}

// choose asks the providers, has the payer approve, and writes the payment and its quotes down.
func (x *payer) choose(cmd *cobra.Command, urls []string, yes, approveLimit, asJSON bool, f routeFlags) error {
	ctx := cmd.Context()
	sellers, problems, err := askSellers(ctx, urls)
	warn(cmd, problems)
	if err != nil {
		return err
	}
	o := &x.ordered().Order
	q, err := ask(ctx, o, sellers)
	if q != nil && !asJSON {
		x.print(cmd.OutOrStdout(), q)
	}
	if err != nil {
		return err
	}
	pays, gets := q.quotes[0].PayerAmount, q.quotes[len(q.quotes)-1].PayeeAmount
	if o.Fixed == bridge.FixedPayee && pays > o.Limit || o.Fixed == bridge.FixedPayer && gets < o.Limit {
		return bridge.Refuse(bridge.PriceTooHigh, "%s for %s", x.money(0, pays), x.money(x.last(), gets))
	}
	if err := cli.Confirm(cmd, fmt.Sprintf("Pay %s, so that the payee gets %s?", x.money(0, pays), x.money(x.last(), gets)), yes); err != nil {
		return err
	}
	if x.pay == nil {
		if approveLimit {
			if o.Limit = pays; o.Fixed == bridge.FixedPayer {
				o.Limit = gets
			}
		}
		c := paymentContext{Providers: map[string]string{}, To: x.to, Created: uint64(time.Now().UnixMilli())}
		for _, s := range sellers {
			c.Providers[s.offers.Provider.String()] = s.url
		}
		for i, text := range append(append([]string{*f.ledger}, *f.via...), *f.toLedger) {
			if text == "" {
				text = os.Getenv(ledgerEnv)
			}
			c.Ledgers = append(c.Ledgers, x.ledgers[i].name+"="+plainURL(text))
			c.Codes = append(c.Codes, x.assets[i].Code)
		}
		if x.pay, err = x.book.begin(*o, c); err != nil {
			return err
		}
		x.context = c
	}
	c, err := x.clock(ctx)
	if err != nil {
		return err
	}
	return x.record(x.pay.Choose(q.requests, q.quotes, c))
}

// ordered is the payment as it was ordered, or the order that it begins with.
func (x *payer) ordered() *bridge.Payment {
	if x.pay != nil {
		return x.pay
	}
	return &bridge.Payment{Order: x.route.order}
}

// status is a payment as it is shown.
type status struct {
	ID       string   `json:"payment_id"`
	Status   string   `json:"status"` // "settled", "returned", "given_up" or "pending"
	Stage    string   `json:"stage"`
	Reason   string   `json:"reason,omitempty"`
	Pays     string   `json:"pays,omitempty"` // minor units
	PaysIn   string   `json:"pays_asset"`
	Gets     string   `json:"gets,omitempty"`
	GetsIn   string   `json:"gets_asset"`
	To       string   `json:"to"`
	Provider []string `json:"providers,omitempty"`
	Quotes   []string `json:"quotes,omitempty"`
	Hold     string   `json:"hold,omitempty"`          // the payer's, on its own ledger
	Deciding string   `json:"deciding_hold,omitempty"` // the provider's, on the payee's ledger
	Until    string   `json:"until,omitempty"`
	Created  string   `json:"created"`
	money    [2]string
}

// statusOf describes a payment.
func statusOf(p *bridge.Payment, c paymentContext) status {
	last := len(p.Order.Route) - 1
	s := status{ID: p.Order.ID, Status: "pending", Stage: string(p.Stage), Reason: string(p.GaveUp), PaysIn: c.Codes[0], GetsIn: c.Codes[last], To: c.To, Created: cli.Stamp(c.Created)}
	switch p.Stage {
	case bridge.PayPosted:
		s.Status = "settled"
	case bridge.PayVoided:
		s.Status = "returned"
	case bridge.PayGivenUp:
		s.Status = "given_up"
	}
	if len(p.Quotes) > 0 {
		pays, gets := p.Quotes[0].PayerAmount, p.Quotes[len(p.Quotes)-1].PayeeAmount
		s.Pays, s.Gets = cli.MinorUnits(pays), cli.MinorUnits(gets)
		s.money = [2]string{cli.Money(pays, int(p.Order.Route[0].Decimals), c.Codes[0]), cli.Money(gets, int(p.Order.Route[last].Decimals), c.Codes[last])}
		for _, q := range p.Quotes {
			s.Provider, s.Quotes = append(s.Provider, q.Name), append(s.Quotes, q.ID().String())
		}
	}
	if p.Cover != nil {
		s.Deciding, s.Until = p.Cover.Hold.String(), cli.Stamp(p.Until)
	}
	if p.Hold != (entry.HoldID{}) {
		s.Hold = p.Hold.String()
	}
	return s
}

// The names of outcomes that are no success, for scripts.
const (
	paymentReturned = "payment_returned"
	paymentPending  = "payment_pending"
)

// outcome gives a payment's exit code.
func (s status) outcome(locked bool) error {
	switch {
	case s.Status == "returned":
		return cli.RefusedAs(paymentReturned, fmt.Errorf("payment %s was not decided in time: the money is back", s.ID))
	case s.Status == "given_up":
		return cli.RefusedAs(s.Reason, fmt.Errorf("payment %s was given up before anything was locked", s.ID))
	case s.Status == "pending" && !(locked && s.Stage == string(bridge.PayPlaced)):
		return &cli.Error{Code: cli.Unavailable, Name: paymentPending, Err: fmt.Errorf("payment %s is %s", s.ID, s.Stage)}
	}
	return nil
}

func (s status) print(out io.Writer) {
	switch s.Status {
	case "settled":
		fmt.Fprintf(out, "paid %s: the payee got %s\n", s.money[0], s.money[1])
	case "returned":
		fmt.Fprintf(out, "returned: %s is back, the payee got nothing\n", s.money[0])
	case "given_up":
		fmt.Fprintf(out, "given up: %s; nothing was locked\n", s.Reason)
	default:
		fmt.Fprintf(out, "pending: %s", s.Stage)
		if s.money[0] != "" {
			fmt.Fprintf(out, ", %s for %s", s.money[0], s.money[1])
		}
		if s.Until != "" {
			fmt.Fprintf(out, ", decided by %s", s.Until)
		}
		fmt.Fprintln(out)
	}
}

// report prints where the payment stands; an error of the way there decides the exit code only where the payment has no outcome.
func (x *payer) report(cmd *cobra.Command, asJSON, noWait bool, err error) error {
	s := statusOf(x.pay, x.context)
	if perr := cli.Print(cmd, asJSON, s, s.print); perr != nil {
		return perr
	}
	if err != nil && s.Status == "pending" {
		return errors.Join(s.outcome(noWait), err)
	}
	return s.outcome(noWait)
}

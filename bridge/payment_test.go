package bridge

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// upTo drives a payment of two hops until it reaches a stage, with nobody relaying.
func upTo(t testing.TB, stage_ PaymentStage, followed int) (*world, *payer, []*provider) {
	t.Helper()
	w, p, providers := stage("payer", FixedPayee, 20_000, "aurelia", "cordelia", "borealis")
	r := newRelayer(w)
	for range 50 {
		if p.pay.Stage == stage_ && len(p.pay.Followed) == followed && (stage_ != PayReserved || len(p.pay.Promised) == 1) {
			return w, p, providers
		}
		if err := p.step(false); err != nil {
			t.Fatal(err)
		}
		r.read()
		if p.pay.Stage == PayCovered {
			if err := r.run(); err != nil { // the followers' ledgers must have seen the deciding hold
				t.Fatal(err)
			}
		}
	}
	t.Fatalf("never %s", stage_)
	return nil, nil, nil
}

func TestFalseOrdersAreRefused(t *testing.T) {
	_, p, _ := stage("payer", FixedPayee, 20_000, "aurelia", "borealis")
	for name, tc := range map[string]struct {
		change func(*Order)
		want   Code
	}{
		"as it should be":   {func(*Order) {}, ""},
		"no id":             {func(o *Order) { o.ID = "" }, Malformed},
		"one stop":          {func(o *Order) { o.Route = o.Route[:1] }, Malformed},
		"six stops":         {func(o *Order) { o.Route = append(o.Route, make([]Stop, 4)...) }, Malformed},
		"ledger twice":      {func(o *Order) { o.Route = append(o.Route, o.Route[0]) }, Malformed},
		"no side":           {func(o *Order) { o.Fixed = 0 }, Malformed},
		"zero":              {func(o *Order) { o.Amount = 0 }, AmountZero},
		"no limit":          {func(o *Order) { o.Limit = 0 }, AmountZero},
		"no deadline":       {func(o *Order) { o.DeadlineMillis = 0 }, Malformed},
		"short seed":        {func(o *Order) { o.Seed = o.Seed[1:] }, Malformed},
		"no asset":          {func(o *Order) { o.Route[0].Asset = 0 }, UnknownAsset},
		"many decimals":     {func(o *Order) { o.Route[0].Decimals = 19 }, UnknownAsset},
		"unusable view key": {func(o *Order) { o.Payee.ViewKey = [32]byte{} }, AddressInvalid},
	} {
		o := p.pay.Order
		o.Route = append([]Stop(nil), o.Route...)
		tc.change(&o)
		if _, err := StartPayment(o); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestAPayerTakesOnlyQuotesThatFit(t *testing.T) {
	_, good, _ := upTo(t, PayChosen, 0)
	for name, tc := range map[string]struct {
		change func(o *Order, requests []*Request, quotes []*Quote)
		now    uint64
		want   Code
	}{
		"as they should be": {nil, 1_000_000, ""},
		"at the limit":      {func(o *Order, _ []*Request, q []*Quote) { o.Limit = q[0].PayerAmount }, 1_000_000, ""},
		"above the limit":   {func(o *Order, _ []*Request, q []*Quote) { o.Limit = q[0].PayerAmount - 1 }, 1_000_000, PriceTooHigh},
		"expired":           {nil, 1_030_000, QuoteExpired},
		"after deadline":    {nil, 1_045_000, DeadlinePassed},
		"one missing":       {func(_ *Order, r []*Request, q []*Quote) { r[1], q[1] = r[0], q[0] }, 1_000_000, ChainMismatch},
		"swapped":           {func(_ *Order, r []*Request, q []*Quote) { r[0], r[1], q[0], q[1] = r[1], r[0], q[1], q[0] }, 1_000_000, ChainMismatch},
		"pays another provider": {func(_ *Order, r []*Request, q []*Quote) {
			r[0].Payee = addressOf("thief", r[0].To)
			q[0].Request = r[0].ID()
			q[0].Sign(signer("provider0"))
		}, 1_000_000, ChainMismatch},
		"pays another payee": {func(_ *Order, r []*Request, q []*Quote) {
			r[1].Payee = addressOf("thief", r[1].To)
			q[1].Request = r[1].ID()
			q[1].Sign(signer("provider1"))
		}, 1_000_000, ChainMismatch},
		"another decider": {func(_ *Order, r []*Request, q []*Quote) {
			r[0].Decider = r[0].To
			q[0].Request = r[0].ID()
			q[0].Sign(signer("provider0"))
		}, 1_000_000, ChainMismatch},
		"dearer than shown": {func(_ *Order, _ []*Request, q []*Quote) { q[0].PayerAmount++; q[0].Sign(signer("provider0")) }, 1_000_000, QuoteMismatch},
		"unsigned":          {func(_ *Order, _ []*Request, q []*Quote) { q[0].ExpiryMillis++ }, 1_000_000, SignatureInvalid},
		"waits too short":   {func(_ *Order, _ []*Request, q []*Quote) { q[0].HoldMillis--; q[0].Sign(signer("provider0")) }, 1_000_000, ChainMismatch},
	} {
		p := must(ReplayPayment(good.records[:1]))
		requests, quotes := []*Request{}, []*Quote{}
		for i := range good.pay.Quotes {
			r, q := *good.pay.Requests[i], *good.pay.Quotes[i]
			requests, quotes = append(requests, &r), append(quotes, &q)
		}
		if tc.change != nil {
			tc.change(&p.Order, requests, quotes)
		}
		if _, err := p.Choose(requests, quotes, Clock{Now: tc.now}); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	p := must(ReplayPayment(good.records[:1]))
	p.Order.Fixed = FixedPayer
	if _, err := p.Choose(good.pay.Requests, good.pay.Quotes, Clock{}); CodeOf(err) != ChainMismatch {
		t.Error(err)
	}
	if _, err := p.Choose(nil, nil, Clock{}); CodeOf(err) != ChainMismatch {
		t.Error(err)
	}
	if _, err := good.pay.Choose(good.pay.Requests, good.pay.Quotes, Clock{}); CodeOf(err) != StepInvalid {
		t.Error(err)
	}
	_, fixed, _ := stage("payer", FixedPayer, 20_000, "aurelia", "borealis")
	fixed.pay.Order.Limit = 1 << 30
	if err := fixed.choose(); CodeOf(err) != PriceTooHigh {
		t.Errorf("the payee gets less than approved: %v", err)
	}
}

func TestAPayerChecksItsOwnReservation(t *testing.T) {
	_, p, _ := upTo(t, PayChosen, 0)
	want, owner := p.pay.Requests[0].pays(p.pay.Quotes[0]), p.pay.Quotes[0].Receive.Owner
	other := want
	other.Amount--
	if _, err := p.pay.Reserved(noteFor(other, owner)); CodeOf(err) != AmountMismatch {
		t.Error(err)
	}
	if _, err := p.pay.Reserved(noteFor(want, addressOf("thief", aurelia.Hash).Owner)); CodeOf(err) != PayeeMismatch {
		t.Error(err)
	}
	n := noteFor(want, owner)
	if err := p.add(p.pay.Reserved(n)); err != nil {
		t.Fatal(err)
	}
	if rec, err := p.pay.Reserved(n); rec != nil || err != nil {
		t.Error("reserved twice", err)
	}
	if _, err := p.pay.Reserved(noteFor(want, owner)); CodeOf(err) != StepInvalid {
		t.Errorf("a second output: %v", err)
	}
}

func TestAPayerChecksEveryReservation(t *testing.T) {
	_, good, _ := upTo(t, PayReserved, 0)
	n := len(good.records) - 1 // before the promise
	m := *good.pay.Promised[0]
	for name, tc := range map[string]struct {
		change func(*Reservation)
		by     string
		want   Code
	}{
		"as it should be":   {func(*Reservation) {}, "provider0", ""},
		"for another quote": {func(m *Reservation) { m.Quote[0] ^= 1 }, "provider0", QuoteMismatch},
		"by another":        {func(*Reservation) {}, "provider1", SignatureInvalid},
		"other amount":      {func(m *Reservation) { m.Opening.Value++ }, "provider0", AmountMismatch},
		"earmarked":         {func(m *Reservation) { m.Opening.Programme = 5 }, "provider0", AmountMismatch},
		"pays itself":       {func(m *Reservation) { m.Opening.Owner = addressOf("provider0", ledgerHash("cordelia")).Owner }, "provider0", PayeeMismatch},
	} {
		p := must(ReplayPayment(good.records[:n]))
		c := m
		tc.change(&c)
		c.Sign(signer(tc.by))
		if _, err := p.Promise(&c); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := good.pay.Promise(&m); CodeOf(err) != StepInvalid {
		t.Error(err)
	}
}

func TestAPayerChecksTheDecidingHold(t *testing.T) {
	w, good, _ := upTo(t, PayCovered, 0)
	n := len(good.records) - 1
	m := *good.pay.Cover
	now := Clock{Now: w.now}
	for name, tc := range map[string]struct {
		change func(*Placement, *Deciding)
		by     string
		clock  Clock
		want   Code
	}{
		"as it should be":   {nil, "provider1", now, ""},
		"for another quote": {func(m *Placement, _ *Deciding) { m.Quote[0] ^= 1 }, "provider1", now, QuoteMismatch},
		"by another":        {nil, "provider0", now, SignatureInvalid},
		"another ledger":    {func(m *Placement, _ *Deciding) { m.Ledger = aurelia.Hash }, "provider1", now, ConditionMismatch},
		"another hold":      {func(m *Placement, _ *Deciding) { m.Hold.Leg = 1 }, "provider1", now, ConditionMismatch},
		"other commitment":  {func(_ *Placement, d *Deciding) { d.Commitment[31] ^= 1 }, "provider1", now, OpeningMismatch},
		"other rho":         {func(m *Placement, _ *Deciding) { m.Opening.Rho = zk.Rho{31: 1} }, "provider1", now, OpeningMismatch},
		"short amount": {func(m *Placement, d *Deciding) {
			m.Opening.Value--
			d.Commitment = m.Opening.Commitment()
		}, "provider1", now, AmountMismatch},
		"pays itself": {func(m *Placement, d *Deciding) {
			m.Opening.Owner = addressOf("provider1", ledgerHash("borealis")).Owner
			d.Commitment = m.Opening.Commitment()
		}, "provider1", now, PayeeMismatch},
		"waits for one more": {func(_ *Placement, d *Deciding) {
			d.Followers = append(d.Followers, entry.Follower{Ledger: ledgerHash("dorado")})
		}, "provider1", now, ConditionMismatch},
		"waits for one less":       {func(_ *Placement, d *Deciding) { d.Followers = d.Followers[:1] }, "provider1", now, ConditionMismatch},
		"waits for another output": {func(_ *Placement, d *Deciding) { d.Followers[0].Commitment[31] ^= 1 }, "provider1", now, ConditionMismatch},
		"another expiry":           {func(m *Placement, _ *Deciding) { m.Until++ }, "provider1", now, ConditionMismatch},
		"too near":                 {nil, "provider1", Clock{Now: m.Until - 999}, ExpiryTooNear},
		"too near there":           {nil, "provider1", Clock{Now: w.now, Decider: m.Until - 999}, ExpiryTooNear},
		"just in time":             {nil, "provider1", Clock{Now: m.Until - 1000}, ""},
		"too far": {func(m *Placement, d *Deciding) {
			m.Until = w.now + 61_001
			d.Until = m.Until
		}, "provider1", now, ExpiryTooFar},
	} {
		p := must(ReplayPayment(good.records[:n]))
		c, d := m, must(w.deciding(m.Ledger, m.Hold))
		if tc.change != nil {
			tc.change(&c, d)
		}
		c.Sign(signer(tc.by))
		if _, err := p.Covered(&c, d, tc.clock); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if rec, err := good.pay.Covered(&m, nil, now); rec != nil || err != nil {
		t.Error("covered twice", err)
	}
	if _, err := must(ReplayPayment(good.records[:n-1])).Covered(&m, nil, now); CodeOf(err) != StepInvalid {
		t.Errorf("covered before the reservation: %v", err)
	}
}

func TestADecidingHoldIsReadStrictly(t *testing.T) {
	w, p, _ := upTo(t, PayPlaced, 1)
	decider, own := w.ledger(p.pay.Cover.Ledger), w.ledgers[0]
	leaf := decider.leaves[decider.holds[p.pay.Cover.Hold].index]
	follower := own.leaves[own.holds[p.pay.Hold].index]
	if d, err := ReadDeciding(decider.Hash, p.pay.Cover.Hold, leaf); err != nil || d.Until != p.pay.Until || len(d.Followers) != 2 {
		t.Fatal(err)
	}
	other := p.pay.Cover.Hold
	other.Leg = 1
	for name, tc := range map[string]struct {
		ledger entry.GenesisHash
		id     entry.HoldID
		leaf   []byte
	}{
		"of another ledger": {own.Hash, p.pay.Cover.Hold, leaf},
		"another id":        {decider.Hash, entry.HoldID{Tx: entry.ID{1}}, leaf},
		"another leg":       {decider.Hash, other, leaf},
		"a state entry":     {decider.Hash, p.pay.Cover.Hold, decider.leaves[0]},
		"a follower":        {own.Hash, p.pay.Hold, follower},
		"garbage":           {decider.Hash, p.pay.Cover.Hold, leaf[1:]},
	} {
		if _, err := ReadDeciding(tc.ledger, tc.id, tc.leaf); CodeOf(err) != ConditionMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPayerChecksTheHoldsOnTheWay(t *testing.T) {
	_, good, _ := upTo(t, PayCovered, 1)
	n := len(good.records) - 1
	m := *good.pay.Followed[0]
	for name, tc := range map[string]struct {
		change func(*Placement)
		by     string
		want   Code
	}{
		"as it should be":   {func(*Placement) {}, "provider0", ""},
		"for another quote": {func(m *Placement) { m.Quote[0] ^= 1 }, "provider0", QuoteMismatch},
		"by another":        {func(*Placement) {}, "provider1", SignatureInvalid},
		"another ledger":    {func(m *Placement) { m.Ledger = borealis.Hash }, "provider0", ConditionMismatch},
		"another expiry":    {func(m *Placement) { m.Until++ }, "provider0", ConditionMismatch},
		"another opening":   {func(m *Placement) { m.Opening.Rho = zk.Rho{31: 1} }, "provider0", OpeningMismatch},
	} {
		p := must(ReplayPayment(good.records[:n]))
		c := m
		tc.change(&c)
		c.Sign(signer(tc.by))
		if _, err := p.Follow(&c); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if _, err := p.BeginPlacing(Clock{Now: 1_000_000}); CodeOf(err) != StepInvalid {
			t.Errorf("placed before the providers on the way: %v", err)
		}
	}
	if _, err := good.pay.Follow(&m); CodeOf(err) != StepInvalid {
		t.Error(err)
	}
}

func TestNothingIsPlacedTooLate(t *testing.T) {
	_, p, _ := upTo(t, PayCovered, 1)
	until, deadline := p.pay.Until, p.pay.Order.DeadlineMillis
	if deadline >= until-1000 {
		t.Fatal("the deadline is to come first")
	}
	for name, tc := range map[string]struct {
		deadline uint64
		clock    Clock
		want     Code
	}{
		"before its deadline":     {deadline, Clock{Now: deadline - 1}, ""},
		"at its deadline":         {deadline, Clock{Now: deadline}, DeadlinePassed},
		"at the margin":           {1 << 50, Clock{Now: until - 1000}, ""},
		"within the margin":       {1 << 50, Clock{Now: until - 999}, ExpiryTooNear},
		"within the margin there": {1 << 50, Clock{Decider: until - 999}, ExpiryTooNear},
		"after the expiry":        {1 << 50, Clock{Now: until + 1}, ExpiryTooNear},
	} {
		q := must(ReplayPayment(p.records))
		q.Order.DeadlineMillis = tc.deadline
		rec, err := q.BeginPlacing(tc.clock)
		if CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		todo := q.Next(tc.clock)
		if (tc.want == "") != (todo.Step == StepPlace) || tc.want != "" && (todo.Step != StepGiveUp || todo.Code != tc.want) {
			t.Errorf("%s: next is %+v", name, todo)
		}
		if err != nil {
			continue
		}
		if todo.Expiry != min(until, tc.deadline) {
			t.Errorf("%s: the transaction lives until %d", name, todo.Expiry)
		}
		if err := q.Add(rec); err != nil {
			t.Fatal(err)
		}
		// From here on it cannot be given up, and is not built any more once its expiry has come.
		if _, err := q.GiveUp(Cancelled); CodeOf(err) != StepInvalid {
			t.Errorf("%s: given up while it may be logged: %v", name, err)
		}
		if rec, err := q.BeginPlacing(Clock{Now: 1 << 60}); rec != nil || err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s := q.Next(Clock{Now: todo.Expiry - 1}).Step; s != StepPlace {
			t.Errorf("%s: %s", name, s)
		}
		if s := q.Next(Clock{Now: todo.Expiry}).Step; s != StepFindHold {
			t.Errorf("%s: %s", name, s)
		}
	}
}

func TestAPayerGivesUpInTime(t *testing.T) {
	_, p, _ := upTo(t, PayReserved, 0)
	at := func(records int, now uint64) Todo {
		q := must(ReplayPayment(p.records[:records]))
		q.Order.DeadlineMillis = 1 << 50
		return q.Next(Clock{Now: now})
	}
	for name, tc := range map[string]struct {
		records int
		now     uint64
		step    Step
		code    Code
	}{
		"chosen":                {2, 1_029_999, StepReserve, ""},
		"chosen, expired":       {2, 1_030_000, StepGiveUp, QuoteExpired},
		"reserved":              {3, 1_000_000, StepPromise, ""},
		"reserved, answer lost": {3, 1_089_999, StepPromise, ""},
		"reserved, hold over":   {3, 1_090_000, StepGiveUp, QuoteExpired},
		"promised":              {4, 1_000_000, StepAccept, ""},
		"promised, answer lost": {4, 1_089_999, StepAccept, ""},
		"promised, hold over":   {4, 1_090_000, StepGiveUp, QuoteExpired},
	} {
		if got := at(tc.records, tc.now); got.Step != tc.step || got.Code != tc.code {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for n := 1; n <= len(p.records); n++ {
		q := must(ReplayPayment(p.records[:n]))
		if got := q.Next(Clock{Now: q.Order.DeadlineMillis}); got.Step != StepGiveUp || got.Code != DeadlinePassed {
			t.Errorf("after %d records at the deadline: %+v", n, got)
		}
		rec, err := q.GiveUp("")
		if err != nil || q.Add(rec) != nil || q.GaveUp != Cancelled || q.Next(Clock{}).Step != StepDone {
			t.Errorf("after %d records: %v %+v", n, err, q.Next(Clock{}))
		}
		if rec, err := q.GiveUp(""); rec != nil || err != nil {
			t.Error("given up twice", err)
		}
	}
}

// TestAKilledPayerSaysTheSameAgain replays a payment after every record: the next message is the same bytes.
func TestAKilledPayerSaysTheSameAgain(t *testing.T) {
	w, p, _ := upTo(t, PayPlaced, 1)
	live := &Payment{}
	for n, rec := range p.records {
		if err := live.Add(rec); err != nil {
			t.Fatal(err)
		}
		again := must(ReplayPayment(p.records[:n+1]))
		if a, b := live.Next(Clock{Now: w.now}), again.Next(Clock{Now: w.now}); !reflect.DeepEqual(a, b) {
			t.Fatalf("after %d records: %+v, then %+v", n, a, b)
		}
		if !reflect.DeepEqual(live, again) {
			t.Fatalf("after %d records the payment differs", n)
		}
	}
	if rec, err := p.pay.Placed(p.pay.Hold); rec != nil || err != nil {
		t.Error("placed twice", err)
	}
	for _, err := range []error{
		second(p.pay.Placed(entry.HoldID{Tx: entry.ID{9}})), second(p.pay.NotPlaced(DeadlinePassed)), second(p.pay.GiveUp(Cancelled)),
		second(p.pay.Settled(0)), second(p.pay.Covered(&Placement{}, nil, Clock{})), second(p.pay.BeginPlacing(Clock{})),
	} {
		if CodeOf(err) != StepInvalid {
			t.Error(err)
		}
	}
	if err := p.add(p.pay.Settled(entry.Posted)); err != nil || p.pay.Stage != PayPosted {
		t.Fatal(err)
	}
	if rec, err := p.pay.Settled(entry.Posted); rec != nil || err != nil {
		t.Error(err)
	}
	if _, err := p.pay.Settled(entry.Voided); CodeOf(err) != StepInvalid {
		t.Errorf("posted and voided: %v", err)
	}
	for n := range p.records { // no record follows on itself, or on a later one
		if err := must(ReplayPayment(p.records)).Add(p.records[n]); CodeOf(err) != JournalInvalid {
			t.Errorf("record %d twice: %v", n, err)
		}
		if n > 0 {
			if _, err := ReplayPayment(append(append([][]byte(nil), p.records[:n-1]...), p.records[n])); CodeOf(err) != JournalInvalid {
				t.Errorf("record %d without the one before: %v", n, err)
			}
		}
	}
	if _, err := ReplayPayment(nil); CodeOf(err) != JournalInvalid {
		t.Error(err)
	}
	changed := bytes.Replace(p.records[0], []byte(`"amount":20000`), []byte(`"amount":20001`), 1)
	if _, err := ReplayPayment([][]byte{changed, p.records[1]}); CodeOf(err) != JournalInvalid {
		t.Errorf("another order's quotes: %v", err)
	}
}

func second[A any](_ A, err error) error { return err }

func FuzzPaymentRecord(f *testing.F) {
	_, p, _ := upTo(f, PayPlaced, 1)
	for _, r := range p.records {
		f.Add(r)
	}
	f.Add([]byte(`{"settled":1}`))
	f.Add([]byte(`{"gave_up":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for n := range len(p.records) + 1 {
			q := &Payment{}
			for _, r := range p.records[:n] {
				if err := q.Add(r); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.Add(b); err != nil {
				if CodeOf(err) != JournalInvalid {
					t.Fatal(err)
				}
				continue
			}
			q.Next(Clock{Now: 1_000_000})
			q.Next(Clock{Now: 1 << 63})
		}
	})
}

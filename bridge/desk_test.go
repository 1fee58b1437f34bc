package bridge

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

const testRates = `aurelia/AUR,borealis/BOR,2,1,50,0.010,5000.000,60,30
borealis/BOR,aurelia/AUR,1,2,50,0.01,5000.00,60,30
aurelia/AUR,cordelia/COR,150,1,50,1,500000,60,30
cordelia/COR,borealis/BOR,1,75,50,0.010,5000.000,60,30
`

// newDesk is a provider with wallets on every ledger, 1,000 units of everything, and corridors everywhere.
func newDesk(name string, records ...[]byte) *Desk {
	c := DeskConfig{Name: name, Key: signer(name), Receive: map[entry.GenesisHash]Address{}, Exposure: map[Account]zk.Amount{}, MaxQuotes: 3}
	for _, l := range nations {
		c.Receive[l.Hash] = addressOf(name, l.Hash)
		for _, a := range l.Assets {
			c.Exposure[Account{l.Hash, a.ID}] = 1 << 40
		}
	}
	d := must(NewDesk(c, records))
	settle(d)
	return d
}

func settle(d *Desk) {
	d.SetRates(must(ParseRates([]byte(testRates), nations)))
	for _, a := range nations {
		for _, b := range nations {
			if a.Hash != b.Hash {
				d.SetCorridor(Corridor{a.Hash, b.Hash}, []uint64{100, 100_000, 10_000_000})
			}
		}
		for _, asset := range a.Assets {
			d.SetStock(Account{a.Hash, asset.ID}, 1_000_000)
		}
	}
}

func requestFor(payer string, fixed Fixed, amount zk.Amount) *Request {
	return &Request{From: aurelia.Hash, To: borealis.Hash, Decider: borealis.Hash, FromAsset: 1, ToAsset: 1, Fixed: fixed, Amount: amount,
		Payer: public(payer), Payee: addressOf("payee", borealis.Hash)}
}

func acceptanceOf(payer string, req *Request, q *Quote, others ...Follower) *Acceptance {
	n := noteFor(req.pays(q), q.Receive.Owner)
	a := &Acceptance{Request: *req, Quote: *q, Followers: append([]Follower{{req.From, n.Commitment(), &n}}, others...)}
	sortFollowers(a.Followers)
	a.Sign(signer(payer))
	return a
}

var nonces = &stream{name: "nonces"}

func TestADeskQuotes(t *testing.T) {
	d := newDesk("meridian")
	req := requestFor("payer", FixedPayee, 199_000)
	q, err := d.Quote(req, 1000, nonces)
	if err != nil {
		t.Fatal(err)
	}
	if q.PayerAmount != 10_000 || q.PayeeAmount != 199_000 || q.ExpiryMillis != 31_000 || q.HoldMillis != 60_000 || q.FromClass != 100_000 || q.ToClass != 10_000_000 {
		t.Fatalf("%+v", q)
	}
	if err := q.Check(req, 2, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseQuote(q.Marshal()); err != nil {
		t.Fatal(err)
	}
	if again, err := d.Quote(req, 2000, nonces); err != nil || again.ID() != q.ID() {
		t.Fatalf("a repeated request got another quote: %v", err)
	}
	if fixed, err := d.Quote(requestFor("other", FixedPayer, 10_000), 1000, nonces); err != nil || fixed.PayeeAmount != 199_000 || fixed.PayerAmount != 10_000 {
		t.Fatalf("%+v, %v", fixed, err)
	}
	if p := d.position(req.payeeAccount()); p.Quoted != 398_000 {
		t.Fatalf("%+v", p)
	}
	if p := d.Inventory(31_000)[0]; p.Quoted != 0 {
		t.Fatal("an expired quote still counts")
	}
}

func TestADeskRefusesToQuote(t *testing.T) {
	big := func(d *Desk) { d.SetStock(Account{borealis.Hash, 1}, 1<<40) }
	for name, tc := range map[string]struct {
		prepare func(*Desk)
		change  func(*Request)
		want    Code
	}{
		"no rate":           {func(d *Desk) { d.SetRates(nil) }, nil, RateUnknown},
		"other asset":       {nil, func(r *Request) { r.ToAsset = 2 }, RateUnknown},
		"ledger unknown":    {nil, func(r *Request) { r.From = ledgerHash("atlantis") }, LedgerUnknown},
		"programme":         {nil, func(r *Request) { r.FromProgramme = 7 }, UnknownProgramme},
		"earmark lost":      {func(d *Desk) { d.config.Carry = []Carry{{aurelia.Hash, borealis.Hash, 7, 9}} }, func(r *Request) { r.FromProgramme = 7 }, UnknownProgramme},
		"earmark kept":      {func(d *Desk) { d.config.Carry = []Carry{{aurelia.Hash, borealis.Hash, 7, 9}} }, func(r *Request) { r.FromProgramme, r.ToProgramme = 7, 9 }, ""},
		"below minimum":     {nil, func(r *Request) { r.Amount = 9 }, AmountBelow},
		"at minimum":        {nil, func(r *Request) { r.Amount = 10 }, ""},
		"above maximum":     {big, func(r *Request) { r.Amount = 5_000_001 }, AmountAbove},
		"at maximum":        {big, func(r *Request) { r.Amount = 5_000_000 }, ""},
		"overflow":          {big, func(r *Request) { r.Amount = 1<<64 - 1; r.Fixed = FixedPayer }, AmountTooLarge},
		"no corridor":       {func(d *Desk) { d.SetCorridor(Corridor{borealis.Hash, aurelia.Hash}, nil) }, nil, LedgerUnknown},
		"no corridor back":  {func(d *Desk) { d.SetCorridor(Corridor{aurelia.Hash, borealis.Hash}, nil) }, nil, LedgerUnknown},
		"no class":          {func(d *Desk) { d.SetCorridor(Corridor{borealis.Hash, aurelia.Hash}, []uint64{199_999}) }, nil, SizeClassMissing},
		"exact class":       {func(d *Desk) { d.SetCorridor(Corridor{borealis.Hash, aurelia.Hash}, []uint64{200_000}) }, nil, ""},
		"stock untold":      {func(d *Desk) { delete(d.stock, Account{borealis.Hash, 1}) }, nil, InventoryShort},
		"stock short":       {func(d *Desk) { d.SetStock(Account{borealis.Hash, 1}, 199_999) }, nil, InventoryShort},
		"stock enough":      {func(d *Desk) { d.SetStock(Account{borealis.Hash, 1}, 200_000) }, nil, ""},
		"over exposure":     {func(d *Desk) { d.config.Exposure[Account{borealis.Hash, 1}] = 199_999 }, nil, ExposureLimit},
		"at exposure":       {func(d *Desk) { d.config.Exposure[Account{borealis.Hash, 1}] = 200_000 }, nil, ""},
		"key of open quote": {func(d *Desk) { must(d.Quote(requestFor("payer", FixedPayee, 100), 500, nonces)) }, nil, QuoteOpen},
		"full": {func(d *Desk) {
			for i := range 3 {
				must(d.Quote(requestFor(fmt.Sprint(i), FixedPayee, 100), 500, nonces))
			}
		}, nil, QuotesFull},
		"full of expired": {func(d *Desk) {
			for i := range 3 {
				must(d.Quote(requestFor(fmt.Sprint(i), FixedPayee, 100), 0, nonces))
			}
			d.Inventory(1 << 30)
		}, nil, ""},
		"open quotes bind stock": {func(d *Desk) { must(d.Quote(requestFor("other", FixedPayee, 800_001), 500, nonces)) }, nil, InventoryShort},
		"open quotes bind exposure": {func(d *Desk) {
			d.config.Exposure[Account{borealis.Hash, 1}] = 300_000
			must(d.Quote(requestFor("other", FixedPayee, 100_001), 500, nonces))
		}, nil, ExposureLimit},
	} {
		d := newDesk("meridian")
		if tc.prepare != nil {
			tc.prepare(d)
		}
		req := requestFor("payer", FixedPayee, 200_000)
		if tc.change != nil {
			tc.change(req)
		}
		if _, err := d.Quote(req, 1000, nonces); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// journalled is a desk whose records are kept, as a provider's folder keeps them.
type journalled struct {
	*Desk
	records [][]byte
}

func (j *journalled) add(record []byte, err error) error {
	if err == nil && record != nil {
		j.records = append(j.records, record)
		err = j.Add(record)
	}
	return err
}

func TestADealOfTheLastProvider(t *testing.T) {
	j := &journalled{Desk: newDesk("meridian")}
	req := requestFor("payer", FixedPayee, 199_000)
	q := must(j.Quote(req, 1000, nonces))
	a := acceptanceOf("payer", req, q)
	clock := Clock{Now: 30_999, Decider: 20_000}

	rec, p, err := j.Accept(a, clock)
	if err != nil || j.add(rec, nil) != nil {
		t.Fatal(err)
	}
	here, err := p.Condition.Decode()
	if err != nil || !reflect.DeepEqual(here, &entry.DecidedHere{Until: 90_999, Followers: a.conditions()}) {
		t.Fatalf("%+v, %v", here, err)
	}
	if p.Ledger != borealis.Hash || p.Money != (Money{199_000, 1, 0}) || p.Payee != req.Payee || p.SizeClass != q.ToClass || p.Until != 90_999 {
		t.Fatalf("%+v", p)
	}
	// The same acceptance again, long after the quote expired, means the same hold.
	rec, again, err := j.Accept(a, Clock{Now: 1 << 40})
	if err != nil || rec != nil || !reflect.DeepEqual(again, p) {
		t.Fatalf("%v %+v", err, again)
	}
	if _, _, err := j.Accept(acceptanceOf("payer", req, q), clock); CodeOf(err) != QuoteUsed {
		t.Fatalf("another hold for a used quote: %v", err)
	}
	if _, err := j.Quote(requestFor("payer", FixedPayee, 500), 1_000_000, nonces); CodeOf(err) != QuoteOpen {
		t.Fatalf("a second quote for a used key: %v", err)
	}
	account := req.payeeAccount()
	if pos := j.position(account); pos.Promised != 199_000 || pos.Quoted != 0 || pos.Waiting != 0 {
		t.Fatalf("%+v", pos)
	}

	note := noteFor(p.Money, p.Payee.Owner)
	hold := entry.HoldID{Tx: entry.ID{9}}
	wrong := note
	wrong.Value--
	if _, err := j.Placed(q.ID(), hold, wrong); CodeOf(err) != AmountMismatch {
		t.Fatal(err)
	}
	if _, err := j.Placement(q.ID()); CodeOf(err) != StepInvalid {
		t.Fatal(err)
	}
	if _, err := j.Decided(q.ID(), entry.Posted); CodeOf(err) != StepInvalid {
		t.Fatal(err)
	}
	if err := j.add(j.Placed(q.ID(), hold, note)); err != nil {
		t.Fatal(err)
	}
	if rec, err := j.Placed(q.ID(), hold, note); err != nil || rec != nil {
		t.Fatal("placed twice", err)
	}
	if _, err := j.Placed(q.ID(), entry.HoldID{Tx: entry.ID{8}}, note); CodeOf(err) != StepInvalid {
		t.Fatal(err)
	}
	if _, err := j.Fail(q.ID(), DeadlinePassed); CodeOf(err) != StepInvalid {
		t.Fatalf("a placed deal was failed: %v", err)
	}
	m := must(j.Placement(q.ID()))
	if m.Verify(j.Provider()) != nil || m.Hold != hold || m.Opening != note || m.Until != 90_999 {
		t.Fatalf("%+v", m)
	}
	if pos := j.position(account); pos.Promised != 0 || pos.Waiting != 199_000 || pos.Stock != 801_000 {
		t.Fatalf("%+v", pos)
	}
	if pos := j.position(req.payerAccount()); pos.Incoming != 10_000 {
		t.Fatalf("%+v", pos)
	}
	if err := j.add(j.Decided(q.ID(), entry.Posted)); err != nil {
		t.Fatal(err)
	}
	if rec, err := j.Decided(q.ID(), entry.Posted); err != nil || rec != nil {
		t.Fatal("decided twice", err)
	}
	if _, err := j.Decided(q.ID(), entry.Voided); CodeOf(err) != StepInvalid {
		t.Fatalf("posted and voided: %v", err)
	}
	if pos := j.position(account); pos.Waiting != 0 || pos.Stock != 801_000 || pos.Paid != 199_000 {
		t.Fatalf("%+v", pos)
	}
	if pos := j.position(req.payerAccount()); pos.Incoming != 0 || pos.Stock != 1_010_000 || pos.Received != 10_000 {
		t.Fatalf("%+v", pos)
	}
	if s := must(j.Status(q.ID())); s.Stage != StagePosted || s.Hold != hold {
		t.Fatalf("%+v", s)
	}
	if len(j.Unfinished()) != 0 {
		t.Fatal("a finished deal is unfinished")
	}
}

func TestAVoidedHoldComesBack(t *testing.T) {
	j := &journalled{Desk: newDesk("meridian")}
	req := requestFor("payer", FixedPayee, 199_000)
	q := must(j.Quote(req, 1000, nonces))
	rec, p, err := j.Accept(acceptanceOf("payer", req, q), Clock{Now: 1000})
	if err := j.add(rec, err); err != nil {
		t.Fatal(err)
	}
	if err := j.add(j.Placed(q.ID(), entry.HoldID{Tx: entry.ID{9}}, noteFor(p.Money, p.Payee.Owner))); err != nil {
		t.Fatal(err)
	}
	if err := j.add(j.Decided(q.ID(), entry.Voided)); err != nil {
		t.Fatal(err)
	}
	if pos := j.position(req.payeeAccount()); pos.Stock != 1_000_000 || pos.Paid != 0 || pos.Waiting != 0 {
		t.Fatalf("%+v", pos)
	}
	if pos := j.position(req.payerAccount()); pos.Stock != 1_000_000 || pos.Received != 0 {
		t.Fatalf("%+v", pos)
	}
}

func TestADeskRefusesToAccept(t *testing.T) {
	third := Follower{cordelia.Hash, noteFor(Money{1, 1, 0}, addressOf("x", cordelia.Hash).Owner).Commitment(), nil}
	for name, tc := range map[string]struct {
		prepare func(*Desk)
		accept  func(req *Request, q *Quote) *Acceptance
		now     uint64
		want    Code
	}{
		"a moment before expiry": {nil, nil, 30_999, ""},
		"at expiry":              {nil, nil, 31_000, QuoteExpired},
		"of another provider": {nil, func(req *Request, q *Quote) *Acceptance {
			q.Provider, q.Receive = public("zephyr"), addressOf("zephyr", req.From)
			q.Sign(signer("zephyr"))
			return acceptanceOf("payer", req, q)
		}, 1000, QuoteMismatch},
		"forged amounts": {nil, func(req *Request, q *Quote) *Acceptance {
			q.PayerAmount = 1
			return acceptanceOf("payer", req, q)
		}, 1000, SignatureInvalid},
		"by another key":  {nil, func(req *Request, q *Quote) *Acceptance { return acceptanceOf("thief", req, q) }, 1000, SignatureInvalid},
		"spent meanwhile": {func(d *Desk) { d.SetStock(Account{borealis.Hash, 1}, 198_999) }, nil, 1000, InventoryShort},
		"just enough":     {func(d *Desk) { d.SetStock(Account{borealis.Hash, 1}, 199_000) }, nil, 1000, ""},
		"corridor gone":   {func(d *Desk) { d.SetCorridor(Corridor{borealis.Hash, aurelia.Hash}, nil) }, nil, 1000, SizeClassMissing},
		"class dropped":   {func(d *Desk) { d.SetCorridor(Corridor{borealis.Hash, aurelia.Hash}, []uint64{1 << 50}) }, nil, 1000, SizeClassMissing},
		"chain behind":    {nil, func(req *Request, q *Quote) *Acceptance { return acceptanceOf("payer", req, q, third) }, 1000, ""},
		"chain behind without corridor": {func(d *Desk) { d.SetCorridor(Corridor{borealis.Hash, cordelia.Hash}, nil) },
			func(req *Request, q *Quote) *Acceptance { return acceptanceOf("payer", req, q, third) }, 1000, SizeClassMissing},
	} {
		d := newDesk("meridian")
		req := requestFor("payer", FixedPayee, 199_000)
		q := *must(d.Quote(req, 1000, nonces))
		if tc.prepare != nil {
			tc.prepare(d)
		}
		var a *Acceptance
		if tc.accept != nil {
			a = tc.accept(req, &q)
		} else {
			a = acceptanceOf("payer", req, &q)
		}
		if _, _, err := d.Accept(a, Clock{Now: tc.now}); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if _, _, err := d.Reserve(a, Clock{Now: tc.now}); tc.want == "" && CodeOf(err) != StepInvalid {
			t.Errorf("%s: the last provider reserves: %v", name, err)
		}
	}
}

// chainHop is the first hop of Aurelia to Cordelia to Borealis, at provider meridian; the next provider is zephyr.
func chainHop(d *Desk) (*Request, *Quote, *Acceptance) {
	req := &Request{From: aurelia.Hash, To: cordelia.Hash, Decider: borealis.Hash, FromAsset: 1, ToAsset: 1, Fixed: FixedPayee, Amount: 14_925,
		Payer: public("payer"), Payee: addressOf("zephyr", cordelia.Hash)}
	q := must(d.Quote(req, 1000, nonces))
	return req, q, acceptanceOf("payer", req, q)
}

func TestAProviderOnTheWay(t *testing.T) {
	j := &journalled{Desk: newDesk("meridian")}
	req, q, a := chainHop(j.Desk)
	id := q.ID()
	if _, _, err := j.Accept(a, Clock{Now: 1000}); CodeOf(err) != StepInvalid {
		t.Fatalf("a provider on the way decides: %v", err)
	}
	rec, p, err := j.Reserve(a, Clock{Now: 1000})
	if err := j.add(rec, err); err != nil {
		t.Fatal(err)
	}
	if p.Ledger != cordelia.Hash || p.Money != (Money{14_925, 1, 0}) || p.Condition.Type != 0 {
		t.Fatalf("%+v", p)
	}
	if _, err := j.Reservation(id); CodeOf(err) != StepInvalid {
		t.Fatal(err)
	}
	note := noteFor(p.Money, p.Payee.Owner)
	thief := noteFor(p.Money, addressOf("thief", cordelia.Hash).Owner)
	if _, err := j.Reserved(id, thief); CodeOf(err) != PayeeMismatch {
		t.Fatal(err)
	}
	if err := j.add(j.Reserved(id, note)); err != nil {
		t.Fatal(err)
	}
	if rec, err := j.Reserved(id, note); err != nil || rec != nil {
		t.Fatal("reserved twice", err)
	}
	if _, err := j.Reserved(id, noteFor(p.Money, p.Payee.Owner)); CodeOf(err) != OpeningMismatch {
		t.Fatal(err)
	}
	res := must(j.Reservation(id))
	if res.Verify(j.Provider()) != nil || res.Opening != note {
		t.Fatal("reservation")
	}
	if rec, _, err := j.Reserve(a, Clock{Now: 1 << 40}); err != nil || rec != nil {
		t.Fatal("reserved again", err)
	}

	followers := []entry.Follower{{Ledger: aurelia.Hash, Commitment: a.Followers[0].Commitment}, {Ledger: cordelia.Hash, Commitment: note.Commitment()}}
	if bytes.Compare(aurelia.Hash[:], cordelia.Hash[:]) > 0 {
		followers[0], followers[1] = followers[1], followers[0]
	}
	hold := entry.HoldID{Tx: entry.ID{5}}
	deciding := func(change func(*Deciding)) *Deciding {
		c := &Deciding{Ledger: borealis.Hash, Hold: hold, Until: 60_000, Followers: append([]entry.Follower(nil), followers...)}
		if change != nil {
			change(c)
		}
		return c
	}
	m := &Proceed{Quote: id, Hold: hold}
	m.Sign(signer("payer"))
	for name, tc := range map[string]struct {
		d     *Deciding
		clock Clock
		want  Code
	}{
		"of another ledger":           {deciding(func(c *Deciding) { c.Ledger = cordelia.Hash }), Clock{Now: 2000}, ConditionMismatch},
		"another hold":                {deciding(func(c *Deciding) { c.Hold.Leg = 1 }), Clock{Now: 2000}, ConditionMismatch},
		"does not wait for the payer": {deciding(func(c *Deciding) { c.Followers[0].Commitment[31] ^= 1 }), Clock{Now: 2000}, ConditionMismatch},
		"does not wait for us":        {deciding(func(c *Deciding) { c.Followers[1].Commitment[31] ^= 1 }), Clock{Now: 2000}, ConditionMismatch},
		"waits for one":               {deciding(func(c *Deciding) { c.Followers = c.Followers[:1] }), Clock{Now: 2000}, ConditionMismatch},
		"too near":                    {deciding(nil), Clock{Now: 50_001}, ExpiryTooNear},
		"too near there":              {deciding(nil), Clock{Now: 2000, Decider: 50_001}, ExpiryTooNear},
		"just in time":                {deciding(nil), Clock{Now: 50_000, Decider: 49_000}, ""},
		"too far":                     {deciding(func(c *Deciding) { c.Until = 72_001 }), Clock{Now: 2000}, ExpiryTooFar},
		"just near enough":            {deciding(func(c *Deciding) { c.Until = 72_000 }), Clock{Now: 2000}, ""},
	} {
		if _, _, err := j.Proceed(m, tc.d, tc.clock); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	forged := *m
	forged.Sign(signer("meridian"))
	if _, _, err := j.Proceed(&forged, deciding(nil), Clock{Now: 2000}); CodeOf(err) != SignatureInvalid {
		t.Fatal(err)
	}
	if _, err := j.Placed(id, hold, note); CodeOf(err) != StepInvalid {
		t.Fatalf("placed without a deciding hold: %v", err)
	}
	rec, p, err = j.Proceed(m, deciding(nil), Clock{Now: 2000})
	if err := j.add(rec, err); err != nil {
		t.Fatal(err)
	}
	there, err := p.Condition.Decode()
	if err != nil || !reflect.DeepEqual(there, &entry.DecidedThere{Ledger: borealis.Hash, Hold: hold, Until: 60_000}) || p.Until != 60_000 || p.SizeClass != q.ToClass {
		t.Fatalf("%+v, %v", there, err)
	}
	if rec, again, err := j.Proceed(m, deciding(nil), Clock{Now: 1 << 40}); err != nil || rec != nil || !reflect.DeepEqual(again, p) {
		t.Fatal("again", err)
	}
	second := &Proceed{Quote: id, Hold: entry.HoldID{Tx: entry.ID{6}}}
	second.Sign(signer("payer"))
	if _, _, err := j.Proceed(second, deciding(func(c *Deciding) { c.Hold = second.Hold }), Clock{Now: 2000}); CodeOf(err) != QuoteUsed {
		t.Fatalf("a second deciding hold: %v", err)
	}
	own := entry.HoldID{Tx: entry.ID{7}}
	if err := j.add(j.Placed(id, own, note)); err != nil {
		t.Fatal(err)
	}
	if m := must(j.Placement(id)); m.Ledger != cordelia.Hash || m.Hold != own || m.Until != 60_000 {
		t.Fatalf("%+v", m)
	}
	if err := j.add(j.Decided(id, entry.Posted)); err != nil {
		t.Fatal(err)
	}
	if pos := j.position(req.payerAccount()); pos.Received != q.PayerAmount {
		t.Fatalf("%+v", pos)
	}

	// A provider that is killed after any record resumes as the same desk.
	for n := range len(j.records) + 1 {
		resumed := newDesk("meridian", j.records[:n]...)
		deals := resumed.Unfinished()
		if n == 0 || n == len(j.records) {
			if len(deals) != 0 {
				t.Fatalf("after %d records: %d deals", n, len(deals))
			}
			continue
		}
		if len(deals) != 1 || (deals[0].Work() != nil) != (n == 1 || n == 3) {
			t.Fatalf("after %d records: %+v", n, deals)
		}
		if n == 3 && !reflect.DeepEqual(deals[0].Work(), p) {
			t.Fatalf("another hold after a crash: %+v", deals[0].Work())
		}
	}
}

func TestAFailedDealStaysUsed(t *testing.T) {
	j := &journalled{Desk: newDesk("meridian")}
	req := requestFor("payer", FixedPayee, 199_000)
	q := must(j.Quote(req, 1000, nonces))
	a := acceptanceOf("payer", req, q)
	rec, _, err := j.Accept(a, Clock{Now: 1000})
	if err := j.add(rec, err); err != nil {
		t.Fatal(err)
	}
	if n := len(j.Overdue(Clock{Now: 60_999})); n != 0 {
		t.Fatal(n)
	}
	if ids := j.Overdue(Clock{Decider: 61_000}); len(ids) != 1 || ids[0] != q.ID() {
		t.Fatal(ids)
	}
	if err := j.add(j.Fail(q.ID(), DeadlinePassed)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.Accept(a, Clock{Now: 1000}); CodeOf(err) != DeadlinePassed {
		t.Fatalf("a failed deal was begun again: %v", err)
	}
	if _, err := j.Placed(q.ID(), entry.HoldID{}, noteFor(req.gets(q), req.Payee.Owner)); CodeOf(err) != StepInvalid {
		t.Fatal(err)
	}
	if pos := j.position(req.payeeAccount()); pos.Promised != 0 {
		t.Fatalf("%+v", pos)
	}
	if _, err := j.Status(ID{1}); CodeOf(err) != QuoteUnknown {
		t.Fatal(err)
	}
}

func TestAKilledProviderResumes(t *testing.T) {
	j := &journalled{Desk: newDesk("meridian")}
	var ids []ID
	for i := range 4 {
		payer := fmt.Sprint("payer", i)
		req := requestFor(payer, FixedPayee, 10_000)
		q := must(j.Quote(req, 1000, nonces))
		rec, p, err := j.Accept(acceptanceOf(payer, req, q), Clock{Now: 1000})
		if err := j.add(rec, err); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, q.ID())
		if i == 0 {
			continue
		}
		if err := j.add(j.Placed(q.ID(), entry.HoldID{Tx: entry.ID{byte(i)}}, noteFor(p.Money, p.Payee.Owner))); err != nil {
			t.Fatal(err)
		}
		if i >= 2 {
			if err := j.add(j.Decided(q.ID(), entry.Outcome(i-1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := Account{borealis.Hash, 1}
	stages := []Stage{StageAccepted, StagePlaced, StagePosted, StageVoided}
	for name, records := range map[string][][]byte{"replayed": j.records, "compacted": j.Compact(0), "compacted later": j.Compact(1 << 40)} {
		again := newDesk("meridian", records...)
		got, want := again.position(a), j.position(a)
		got.Stock, want.Stock = 0, 0 // told anew
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if len(again.Unfinished()) != 2 || again.Unfinished()[0].ID != ids[0] {
			t.Errorf("%s: %d unfinished", name, len(again.Unfinished()))
		}
		for i, id := range ids {
			s, err := again.Status(id)
			if gone := name == "compacted later" && stages[i].Done(); gone {
				if CodeOf(err) != QuoteUnknown {
					t.Errorf("%s: deal %d: %v", name, i, err)
				}
			} else if err != nil || s.Stage != stages[i] {
				t.Errorf("%s: deal %d is %v, %v", name, i, s, err)
			}
		}
	}
	// Whatever order or damage a journal has, no record is taken that does not follow.
	for name, records := range map[string][][]byte{
		"no acceptance":  j.records[2:3],
		"accepted twice": {j.records[0], j.records[0]},
		"placed twice":   {j.records[1], j.records[2], j.records[2]},
		"decided twice":  {j.records[3], j.records[4], j.records[5], j.records[5]},
		"decided early":  {j.records[3], j.records[5]},
		"unknown field":  {[]byte(`{"new":{}}`)},
		"empty":          {[]byte(`{}`)},
		"two values":     {append(bytes.Clone(j.records[0]), j.records[1]...)},
		"torn":           {j.records[0][:50]},
		"changed":        {bytes.Replace(j.records[0], []byte("A"), []byte("B"), 1), j.records[1]},
	} {
		if _, err := NewDesk(j.config, records); CodeOf(err) != JournalInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewDesk(DeskConfig{Name: "x", Key: signer("other"), Receive: j.config.Receive, MaxQuotes: 1}, j.records); CodeOf(err) != JournalInvalid {
		t.Errorf("another provider's journal: %v", err)
	}
}

func TestAQuoteOutlivesARestart(t *testing.T) {
	d := newDesk("meridian")
	req := requestFor("payer", FixedPayee, 199_000)
	q := must(d.Quote(req, 1000, nonces))
	again := newDesk("meridian") // killed: it remembers no open quote, and honours its signature
	if _, p, err := again.Accept(acceptanceOf("payer", req, q), Clock{Now: 2000}); err != nil || p.Money.Amount != 199_000 {
		t.Fatal(err)
	}
}

func TestADeskIsSilentAboutItsKey(t *testing.T) {
	d := newDesk("meridian")
	for _, s := range []string{fmt.Sprint(d.config), fmt.Sprintf("%v", d.config), fmt.Sprintf("%+v", d.config), fmt.Sprintf("%#v", d.config)} {
		if s != "[desk of meridian]" {
			t.Error(s)
		}
	}
	if len(d.Offers()) != 4 || d.Offers()[0].Receive != addressOf("meridian", aurelia.Hash) {
		t.Error("offers")
	}
	for name, c := range map[string]func(*DeskConfig){
		"no name": func(c *DeskConfig) { c.Name = "" }, "no key": func(c *DeskConfig) { c.Key = nil }, "no quotes": func(c *DeskConfig) { c.MaxQuotes = 0 },
		"one ledger": func(c *DeskConfig) { c.Receive = nil },
	} {
		bad := d.config
		c(&bad)
		if _, err := NewDesk(bad, nil); err == nil {
			t.Error(name)
		}
	}
}

func FuzzDeskRecord(f *testing.F) {
	j := &journalled{Desk: newDesk("meridian")}
	req, q, a := chainHop(j.Desk)
	rec, p, err := j.Reserve(a, Clock{Now: 1000})
	if err := j.add(rec, err); err != nil {
		f.Fatal(err)
	}
	if err := j.add(j.Reserved(q.ID(), noteFor(p.Money, req.Payee.Owner))); err != nil {
		f.Fatal(err)
	}
	for _, r := range j.records {
		f.Add(r)
	}
	f.Add([]byte(`{"decided":{"quote":"` + q.ID().String() + `","outcome":1}}`))
	f.Add([]byte(`{"carried":{"ledger":"AA==","asset":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := must(NewDesk(j.config, j.records))
		if err := d.Add(b); err != nil && CodeOf(err) != JournalInvalid {
			t.Fatal(err)
		}
		for _, deal := range d.Unfinished() {
			deal.Work()
		}
		d.Inventory(0)
		if _, err := NewDesk(j.config, d.Compact(0)); err != nil {
			t.Fatalf("what was taken does not replay: %v", err)
		}
	})
}

package bridge

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// TestRefusalsStandInTheSpec holds the table of SPEC.md and Codes together.
func TestRefusalsStandInTheSpec(t *testing.T) {
	spec := string(must(os.ReadFile("SPEC.md")))
	seen := map[Code]bool{}
	for _, m := range Codes() {
		if seen[m.Code] {
			t.Errorf("%s is listed twice", m.Code)
		}
		seen[m.Code] = true
		if !strings.Contains(spec, "| `"+string(m.Code)+"` | "+m.Text+" |") {
			t.Errorf("SPEC.md lacks: | `%s` | %s |", m.Code, m.Text)
		}
	}
	if n := strings.Count(spec, "\n| `"); n != len(seen) {
		t.Errorf("SPEC.md lists %d refusals, the code has %d", n, len(seen))
	}
}

// codec is one kind of message for the tests that hold for all.
type codec struct {
	bytes []byte
	parse func([]byte) (interface{ Marshal() []byte }, error)
}

func codecs() map[string]codec {
	req, q, a := hopFixture()
	n := noteFor(req.gets(q), req.Payee.Owner)
	res := &Reservation{Quote: q.ID(), Opening: n}
	res.Sign(signer("meridian"))
	pl := &Placement{Quote: q.ID(), Ledger: borealis.Hash, Hold: entry.HoldID{Tx: entry.ID{1}, Leg: 3}, Opening: n, Until: 5}
	pl.Sign(signer("meridian"))
	pr := &Proceed{Quote: q.ID(), Hold: entry.HoldID{Tx: entry.ID{1}}}
	pr.Sign(signer("payer"))
	st := &Status{Quote: q.ID(), Stage: StagePlaced, Hold: entry.HoldID{Tx: entry.ID{1}}}
	return map[string]codec{
		"request":     {req.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return ParseRequest(b) }},
		"quote":       {q.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return ParseQuote(b) }},
		"acceptance":  {a.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return ParseAcceptance(b) }},
		"reservation": {res.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return ParseReservation(b) }},
		"placement":   {pl.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return ParsePlacement(b) }},
		"proceed":     {pr.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return ParseProceed(b) }},
		"status":      {st.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return ParseStatus(b) }},
	}
}

func TestEveryMessageHasOneEncoding(t *testing.T) {
	for name, c := range codecs() {
		m, err := c.parse(c.bytes)
		if err != nil || !bytes.Equal(m.Marshal(), c.bytes) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range c.bytes {
			if _, err := c.parse(c.bytes[:i]); CodeOf(err) == "" {
				t.Fatalf("%s cut to %d bytes: %v", name, i, err)
			}
		}
		for what, tc := range map[string]struct {
			b    []byte
			want Code
		}{
			"trailing":      {append(bytes.Clone(c.bytes), 0), Malformed},
			"other version": {append([]byte{2}, c.bytes[1:]...), UnsupportedVersion},
			"other kind":    {append([]byte{1, 99}, c.bytes[2:]...), UnknownKind},
			"long":          {make([]byte, MaxMessage+1), Oversize},
		} {
			if _, err := c.parse(tc.b); CodeOf(err) != tc.want {
				t.Errorf("%s, %s: %v, want %s", name, what, err, tc.want)
			}
		}
	}
}

// TestNoSignedByteCanChange flips every bit of the signed messages: either the parser or the signature notices.
func TestNoSignedByteCanChange(t *testing.T) {
	_, q, a := hopFixture()
	for name, c := range codecs() {
		if name == "request" || name == "status" {
			continue // not signed by themselves: the quote and the acceptance bind the request
		}
		for i := range c.bytes {
			b := bytes.Clone(c.bytes)
			b[i] ^= 1 << (i % 8)
			m, err := c.parse(b)
			if err != nil {
				continue
			}
			switch m := m.(type) {
			case *Reservation:
				err = m.Verify(q.Provider)
			case *Placement:
				err = m.Verify(q.Provider)
			case *Proceed:
				err = m.Verify(a.Request.Payer)
			}
			if CodeOf(err) == "" {
				t.Fatalf("%s with byte %d changed passes", name, i)
			}
		}
	}
}

func TestFalseRequestsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Request)
		want   Code
	}{
		"one ledger":           {func(r *Request) { r.To = r.From }, Malformed},
		"payer's decides":      {func(r *Request) { r.Decider = r.From }, Malformed},
		"no asset":             {func(r *Request) { r.ToAsset = 0 }, UnknownAsset},
		"no side":              {func(r *Request) { r.Fixed = 3 }, Malformed},
		"zero":                 {func(r *Request) { r.Amount = 0 }, AmountZero},
		"key of small order":   {func(r *Request) { r.Payer = entry.SignerKey{1} }, NonCanonical},
		"view key small order": {func(r *Request) { r.Payee.ViewKey = [32]byte{} }, AddressInvalid},
		"owner above modulus":  {func(r *Request) { r.Payee.Owner = zk.Owner(bytes.Repeat([]byte{0xff}, 32)) }, NonCanonical},
	} {
		r, _, _ := hopFixture()
		tc.change(r)
		if _, err := ParseRequest(r.Marshal()); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

func TestFalseQuotesAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Quote)
		want   Code
	}{
		"free":             {func(q *Quote) { q.PayerAmount = 0 }, AmountZero},
		"no name":          {func(q *Quote) { q.Name = "" }, Malformed},
		"name with escape": {func(q *Quote) { q.Name = "a\x1b[2J" }, Malformed},
		"rate over zero":   {func(q *Quote) { q.Mid.Den = 0 }, Malformed},
		"spread of all":    {func(q *Quote) { q.SpreadBasisPoints = 10_000 }, Malformed},
		"no hold":          {func(q *Quote) { q.HoldMillis = 0 }, Malformed},
		"never expires":    {func(q *Quote) { q.ExpiryMillis = 1 << 63 }, Malformed},
		"hold for ever":    {func(q *Quote) { q.HoldMillis = MaxHoldMillis + 1 }, Malformed},
		"class too small":  {func(q *Quote) { q.ToClass = 199_999 }, SizeClassMissing},
		"local class":      {func(q *Quote) { q.FromClass = entry.LocalSizeClass }, SizeClassMissing},
	} {
		_, q, _ := hopFixture()
		tc.change(q)
		q.Sign(signer("meridian"))
		if _, err := ParseQuote(q.Marshal()); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	_, q, _ := hopFixture()
	q.Sign(signer("other"))
	if _, err := ParseQuote(q.Marshal()); CodeOf(err) != SignatureInvalid {
		t.Error(err)
	}
}

func TestAPayerRecomputesTheQuote(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Request, *Quote)
		want   Code
	}{
		"as it should be":       {func(*Request, *Quote) {}, ""},
		"payer charged 1 more":  {func(_ *Request, q *Quote) { q.PayerAmount++ }, QuoteMismatch},
		"payee gets 1 less":     {func(_ *Request, q *Quote) { q.PayeeAmount-- }, QuoteMismatch},
		"hidden spread":         {func(_ *Request, q *Quote) { q.PayerAmount = 10_051 }, QuoteMismatch},
		"shown spread":          {func(_ *Request, q *Quote) { q.SpreadBasisPoints, q.PayerAmount = 50, 10_051 }, ""},
		"other rate shown":      {func(_ *Request, q *Quote) { q.Mid.Num = 3 }, QuoteMismatch},
		"for another request":   {func(r *Request, _ *Quote) { r.Amount++ }, QuoteMismatch},
		"request of other side": {func(r *Request, q *Quote) { r.Fixed = FixedPayer; q.Request = r.ID() }, QuoteMismatch},
	} {
		r, q, _ := hopFixture()
		tc.change(r, q)
		if err := q.Check(r, 2, 3); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

func TestFalseAcceptancesAreRefused(t *testing.T) {
	other := noteFor(Money{10_000, 1, 0}, addressOf("meridian", aurelia.Hash).Owner)
	for name, tc := range map[string]struct {
		change func(*Acceptance)
		want   Code
	}{
		"as it should be": {func(*Acceptance) {}, ""},
		"request changed": {func(a *Acceptance) { a.Request.Payee = addressOf("thief", borealis.Hash) }, QuoteMismatch},
		"other amount":    {func(a *Acceptance) { a.Followers[0].Opening.Value--; recommit(a) }, AmountMismatch},
		"other asset":     {func(a *Acceptance) { a.Followers[0].Opening.Asset++; recommit(a) }, AmountMismatch},
		"earmarked":       {func(a *Acceptance) { a.Followers[0].Opening.Programme = 7; recommit(a) }, AmountMismatch},
		"pays the payer": {func(a *Acceptance) {
			a.Followers[0].Opening.Owner = addressOf("payer", aurelia.Hash).Owner
			recommit(a)
		}, PayeeMismatch},
		"no opening":         {func(a *Acceptance) { a.Followers[0].Opening = nil }, FollowerMismatch},
		"other ledger alone": {func(a *Acceptance) { a.Followers = []Follower{{cordelia.Hash, other.Commitment(), nil}} }, FollowerMismatch},
		"opening of another ledger": {func(a *Acceptance) {
			a.Followers = append(a.Followers, Follower{cordelia.Hash, other.Commitment(), &other})
			sortFollowers(a.Followers)
		}, FollowerMismatch},
		"decider follows": {func(a *Acceptance) {
			a.Followers = append(a.Followers, Follower{borealis.Hash, other.Commitment(), nil})
			sortFollowers(a.Followers)
		}, FollowerMismatch},
		"ledger twice": {func(a *Acceptance) { a.Followers = append(a.Followers, a.Followers[0]) }, NonCanonical},
		"with a chain behind": {func(a *Acceptance) {
			a.Followers = append(a.Followers, Follower{cordelia.Hash, other.Commitment(), nil})
			sortFollowers(a.Followers)
		}, ""},
		"none": {func(a *Acceptance) { a.Followers = nil }, Malformed},
	} {
		_, _, a := hopFixture()
		tc.change(a)
		a.Sign(signer("payer"))
		if _, err := ParseAcceptance(a.Marshal()); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	_, _, a := hopFixture()
	a.Sign(signer("meridian"))
	if _, err := ParseAcceptance(a.Marshal()); CodeOf(err) != SignatureInvalid {
		t.Error(err)
	}
	_, _, a = hopFixture()
	a.Followers[0].Commitment[31] ^= 1
	a.Sign(signer("payer"))
	if err := a.Validate(); CodeOf(err) != OpeningMismatch {
		t.Error(err)
	}
}

func recommit(a *Acceptance) { a.Followers[0].Commitment = a.Followers[0].Opening.Commitment() }

func TestAnOpeningIsComparedWithWhatWasAgreed(t *testing.T) {
	owner, want := addressOf("payee", borealis.Hash).Owner, Money{5, 1, 9}
	n := noteFor(want, owner)
	cm := n.Commitment()
	with := func(change func(*zk.Note)) zk.Note { m := n; change(&m); return m }
	for name, tc := range map[string]struct {
		n    zk.Note
		cm   zk.Commitment
		want Code
	}{
		"right":                 {n, cm, ""},
		"of another commitment": {n, with(func(m *zk.Note) { m.Value++ }).Commitment(), OpeningMismatch},
		"other rho":             {with(func(m *zk.Note) { m.Rho = zk.Rho{31: 1} }), cm, OpeningMismatch},
		"other amount":          {with(func(m *zk.Note) { m.Value++ }), with(func(m *zk.Note) { m.Value++ }).Commitment(), AmountMismatch},
		"other asset":           {with(func(m *zk.Note) { m.Asset++ }), with(func(m *zk.Note) { m.Asset++ }).Commitment(), AmountMismatch},
		"earmark lost":          {with(func(m *zk.Note) { m.Programme = 0 }), with(func(m *zk.Note) { m.Programme = 0 }).Commitment(), AmountMismatch},
		"pays another":          {with(func(m *zk.Note) { m.Owner = zk.Owner{31: 1} }), with(func(m *zk.Note) { m.Owner = zk.Owner{31: 1} }).Commitment(), PayeeMismatch},
	} {
		if err := CheckOpening(tc.n, tc.cm, want, owner); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

func TestTheBestQuoteIsChosen(t *testing.T) {
	quote := func(name string, spread uint16, expiry uint64) *Quote {
		req, q, _ := hopFixture()
		rate := must(MinorRate(q.Mid, spread, 2, 3))
		q.Name, q.Provider, q.SpreadBasisPoints, q.ExpiryMillis = name, public(name), spread, expiry
		q.PayerAmount = must(rate.PayerPays(req.Amount))
		q.Sign(signer(name))
		return q
	}
	req, _, _ := hopFixture()
	first, second := "p", "q"
	if p, q := public(first), public(second); bytes.Compare(p[:], q[:]) > 0 {
		first, second = second, first
	}
	cheap, dear := quote(second, 10, 900), quote(first, 20, 900)
	late, tied := quote(second, 10, 950), quote(first, 10, 900)
	dead, forged := quote("x", 0, 700), quote("y", 10, 900)
	forged.PayerAmount--
	for name, tc := range map[string]struct {
		quotes []*Quote
		want   *Quote
	}{
		"lowest amount":         {[]*Quote{dear, cheap}, cheap},
		"then the later expiry": {[]*Quote{tied, late, cheap}, late},
		"then the smaller key":  {[]*Quote{cheap, tied}, tied},
		"no dead one":           {[]*Quote{dead, dear}, dear},
		"no forged one":         {[]*Quote{forged, dear}, dear},
		"none":                  {[]*Quote{forged, dead}, nil},
	} {
		i, err := Best(req, 2, 3, 700, tc.quotes)
		if tc.want == nil {
			if CodeOf(err) != NoQuote {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil || tc.quotes[i] != tc.want {
			t.Errorf("%s: %d, %v", name, i, err)
		}
	}
	a, b := *cheap, *cheap
	a.PayeeAmount++
	if !Better(FixedPayer, &a, &b) || Better(FixedPayer, &b, &a) {
		t.Error("more for the payee is not preferred")
	}
}

func TestIDsOfKindsDiffer(t *testing.T) {
	req, q, a := hopFixture()
	ids := map[ID]bool{req.ID(): true, q.ID(): true, a.ID(): true}
	if len(ids) != 3 {
		t.Fatal("ids collide")
	}
	if got, err := ParseID(q.ID().String()); err != nil || got != q.ID() {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "00", strings.ToUpper(q.ID().String()), q.ID().String() + "0"} {
		if _, err := ParseID(bad); CodeOf(err) != Malformed {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Whatever parses is written back byte for byte; whatever does not is refused by name.
func FuzzMessages(f *testing.F) {
	all := codecs()
	for _, c := range all {
		f.Add(c.bytes)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, c := range all {
			m, err := c.parse(b)
			if err != nil {
				if CodeOf(err) == "" {
					t.Fatalf("%s refused without a name: %v", name, err)
				}
				continue
			}
			if !bytes.Equal(m.Marshal(), b) {
				t.Fatalf("%s: %x is written back as %x", name, b, m.Marshal())
			}
			if again, err := c.parse(m.Marshal()); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("%s: read back as %+v, %v", name, again, err)
			}
		}
	})
}

package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/comity-ledger/comity/zk"
)

// counting is a reader of a fixed stream: recorded vectors need the same "randomness" for ever.
type counting struct{ n byte }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

var genesis = [32]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}

func walletFrom(t testing.TB, seed byte, ledger [32]byte) Wallet {
	t.Helper()
	ask, err := zk.NewScalar(&counting{seed})
	if err != nil {
		t.Fatal(err)
	}
	w, err := Derive(SeedFromBytes([32]byte{seed}), ask, ledger)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func randomRho(t testing.TB) zk.Rho {
	t.Helper()
	rho, err := zk.NewRho(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return rho
}

// Z3.2
func TestOneSeedSharesNoKeyBetweenLedgers(t *testing.T) {
	a, b := walletFrom(t, 1, genesis), walletFrom(t, 1, [32]byte{9})
	if a.NK().Bytes() == b.NK().Bytes() || a.Hedge() == b.Hedge() || a.ViewKey() == b.ViewKey() || a.Owner() == b.Owner() {
		t.Error("two ledgers share a key")
	}
	if c := walletFrom(t, 2, genesis); a.NK().Bytes() == c.NK().Bytes() || a.ViewKey() == c.ViewKey() {
		t.Error("two seeds share a key")
	}
	if c := walletFrom(t, 1, genesis); a.Owner() != c.Owner() || a.ViewKey() != c.ViewKey() {
		t.Error("derivation is not deterministic")
	}
	if a.Owner() != zk.OwnerOf(a.AK(), a.NK()) {
		t.Error("owner")
	}
	watching, err := DeriveWatching(SeedFromBytes([32]byte{1}), a.AK(), genesis)
	if err != nil || watching.CanSpend() || !a.CanSpend() || watching.Owner() != a.Owner() || !watching.Spending().IsZero() {
		t.Error("a watching wallet can spend, or is another wallet")
	}
	if _, err := Derive(SeedFromBytes([32]byte{1}), zk.Scalar{}, genesis); err == nil {
		t.Error("no spending key passed")
	}
	if _, err := DeriveWatching(SeedFromBytes([32]byte{1}), zk.Point{}, genesis); err == nil {
		t.Error("no public key passed")
	}
	if _, err := Derive(Seed{}, a.Spending(), genesis); err == nil {
		t.Error("no seed passed")
	}
	if _, err := NewSeed(bytes.NewReader(nil)); err == nil {
		t.Error("no randomness passed")
	}
	if s, err := NewSeed(rand.Reader); err != nil || s.Bytes() == [32]byte{} {
		t.Error("seed")
	}
}

func TestKeysAreSilent(t *testing.T) {
	w := walletFrom(t, 77, genesis)
	seed := SeedFromBytes([32]byte{77, 78, 79, 80, 81, 82, 83, 84})
	holder := struct {
		W Wallet
		w Wallet
		F FullView
		f FullView
		I IncomingView
		i IncomingView
		S Seed
		s Seed
	}{w, w, w.FullView(), w.FullView(), w.IncomingView(), w.IncomingView(), seed, seed}
	var buf bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&buf, nil))
	log.Info("keys", "w", w, "f", w.FullView(), "i", w.IncomingView(), "s", seed, "all", holder)
	js, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{fmt.Sprintf("%v %+v %#v %s", holder, holder, holder, seed), fmt.Sprintf("%v %#v %s", w, w, w), fmt.Sprintf("%v %#v", w.FullView(), w.IncomingView()), string(js), buf.String()}
	nk, hedge, ask, sb := w.NK().Bytes(), w.Hedge(), w.Spending().Bytes(), seed.Bytes()
	vk := w.s.view.Bytes()
	for _, text := range texts {
		for _, secret := range [][]byte{nk[:], hedge[:], ask[:], vk, sb[:8]} {
			if strings.Contains(text, hex.EncodeToString(secret)) || strings.Contains(text, strings.Trim(fmt.Sprint(secret), "[]")) {
				t.Errorf("a secret shows in %q", text)
			}
		}
	}
}

// Z3.3
func TestAddressRoundTrips(t *testing.T) {
	w := walletFrom(t, 3, genesis)
	a := w.Address("aur", genesis)
	got, err := ParseAddress(a.String())
	if err != nil || got != a || !strings.HasPrefix(a.String(), "aur1") {
		t.Fatalf("%v %v", got, err)
	}
	if up, err := ParseAddress(strings.ToUpper(a.String())); err != nil || up != a {
		t.Errorf("upper case: %v", err)
	}
	js, err := json.Marshal(a)
	var back Address
	if err != nil || json.Unmarshal(js, &back) != nil || back != a {
		t.Errorf("JSON %s: %v", js, err)
	}
	// Any one changed character is found.
	text := a.String()
	for i := range text {
		c := byte('q')
		if text[i] == 'q' {
			c = 'p'
		}
		if _, err := ParseAddress(text[:i] + string(c) + text[i+1:]); err == nil {
			t.Errorf("changed character %d passed", i)
		}
	}
}

func TestFalseAddressesAreRefusedByName(t *testing.T) {
	w := walletFrom(t, 3, genesis)
	good := w.Address("aur", genesis)
	payload := func(kind byte, own []byte, vk []byte) string {
		b := append([]byte{kind}, good.Ledger[:]...)
		return encodeBech32m("aur", append(append(b, own...), vk...))
	}
	high := bytes.Repeat([]byte{0xff}, 32)
	lowOrder, _ := hex.DecodeString("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f") // p - 1
	order8, _ := hex.DecodeString("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
	prime, _ := hex.DecodeString("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
	topBit := bytes.Clone(good.ViewKey[:])
	topBit[31] |= 0x80
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":           {"", ErrBech32m},
		"no separator":    {"aur", ErrBech32m},
		"too long":        {strings.Repeat("a", 2000), ErrBech32m},
		"mixed case":      {good.String()[:10] + strings.ToUpper(good.String()[10:]), ErrBech32m},
		"cut":             {good.String()[:len(good.String())-1], ErrBech32m},
		"kind":            {payload(2, good.Owner[:], good.ViewKey[:]), ErrAddressKind},
		"no payload":      {encodeBech32m("aur", nil), ErrAddressKind},
		"short":           {payload(kindAddress, good.Owner[:], good.ViewKey[:31]), ErrAddressLength},
		"long":            {payload(kindAddress, good.Owner[:], append(good.ViewKey[:], 0)), ErrAddressLength},
		"owner":           {payload(kindAddress, high, good.ViewKey[:]), ErrAddressOwner},
		"zero view key":   {payload(kindAddress, good.Owner[:], make([]byte, 32)), ErrAddressViewKey},
		"order 2":         {payload(kindAddress, good.Owner[:], lowOrder), ErrAddressViewKey},
		"order 8":         {payload(kindAddress, good.Owner[:], order8), ErrAddressViewKey},
		"not below p":     {payload(kindAddress, good.Owner[:], prime), ErrAddressViewKey},
		"top bit":         {payload(kindAddress, good.Owner[:], topBit), ErrAddressViewKey},
		"incoming view":   {w.IncomingView().Export("aur"), ErrAddressKind},
		"full view":       {w.FullView().Export("aur"), ErrAddressKind},
		"bech32, not m":   {"A12UEL5L", ErrBech32m},
		"dirty padding":   {encodeWords("aur", []byte{0, 1}), ErrBech32m},
		"useless padding": {encodeWords("aur", []byte{0, 0, 0}), ErrBech32m},
	} {
		if _, err := ParseAddress(c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// BIP-350, test vectors of the checksum.
func TestBIP350Vectors(t *testing.T) {
	for _, text := range []string{
		"A1LQFN3A", "a1lqfn3a", "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
		"abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
		"11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
		"split1checkupstagehandshakeupstreamerranterredcaperredlc445v", "?1v759aa",
	} {
		hrp, words, err := decodeWords(text, 90)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if again := encodeWords(hrp, words); again != strings.ToLower(text) {
			t.Errorf("%q came back as %q", text, again)
		}
	}
	for _, text := range []string{
		"\x201xj0phk", "\x7f1g6xzxy", "\x801vctc34", "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
		"qyrz8wqd2c9m", "1qyrz8wqd2c9m", "y1b0jsk6g", "lt1igcx5c0", "in1muywd", "mm1crxm3i", "au1s5cgom", "M1VUXWEZ", "16plkw9", "1p2gdwpf",
		"A12UEL5L", "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w", // bech32 of BIP-173
	} {
		if _, _, err := decodeWords(text, 90); !errors.Is(err, ErrBech32m) {
			t.Errorf("%q passed: %v", text, err)
		}
	}
}

func TestBytesAndTextAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "data")
		hrp := rapid.StringMatching(`[a-z]{1,10}`).Draw(t, "hrp")
		h, d, err := decodeBech32m(encodeBech32m(hrp, data))
		if err != nil || h != hrp || !bytes.Equal(d, data) {
			t.Fatal(h, d, err)
		}
	})
}

// Z3.5
func TestViewKeysRoundTrip(t *testing.T) {
	w := walletFrom(t, 5, genesis)
	full, incoming := w.FullView(), w.IncomingView()
	f, prefix, err := ParseFullView(full.Export("aur"))
	if err != nil || prefix != "aur" || f.Owner() != w.Owner() || f.NK().Bytes() != w.NK().Bytes() || f.Incoming().ViewKey() != w.ViewKey() || f.Ledger() != [8]byte(genesis[:8]) {
		t.Fatalf("full: %v", err)
	}
	i, prefix, err := ParseIncomingView(incoming.Export("aur"))
	if err != nil || prefix != "aur" || i.Owner() != w.Owner() || i.ViewKey() != w.ViewKey() || i.Ledger() != f.Ledger() || i.IsZero() || f.IsZero() {
		t.Fatalf("incoming: %v", err)
	}
	if cm := (zk.Note{}).Commitment(); f.Nullify(cm, zk.Position{}) != w.Nullify(cm, zk.Position{}) {
		t.Error("nullifier")
	}
	if w.IsZero() || !(Wallet{}).IsZero() || w.Ledger() != genesis {
		t.Error("wallet")
	}
	high := append(append([]byte{kindFull}, make([]byte, 72)...), bytes.Repeat([]byte{0xff}, 32)...)
	owner := append(append([]byte{kindIncoming}, make([]byte, 8)...), bytes.Repeat([]byte{0xff}, 64)...)
	for name, text := range map[string]string{
		"empty": "", "address": w.Address("aur", genesis).String(), "other kind": incoming.Export("aur"), "no prefix": full.Export(""), "hrp": encodeBech32m("aurivk", full.incoming.payload(kindFull)),
		"short": encodeBech32m("aurfvk", full.incoming.payload(kindFull)), "nullifier key above the order": encodeBech32m("aurfvk", high),
	} {
		if _, _, err := ParseFullView(text); !errors.Is(err, ErrViewText) {
			t.Errorf("full, %s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "address": w.Address("aur", genesis).String(), "other kind": full.Export("aur"), "owner above the order": encodeBech32m("aurivk", owner),
		"long": encodeBech32m("aurivk", append(incoming.payload(kindIncoming), 0)), "short": encodeBech32m("aurivk", incoming.payload(kindIncoming)[:72]),
	} {
		if _, _, err := ParseIncomingView(text); !errors.Is(err, ErrViewText) {
			t.Errorf("incoming, %s: %v", name, err)
		}
	}
}

func payment(t testing.TB, to Wallet, value zk.Amount, memo string) SealOutput {
	return SealOutput{To: to.ViewKey(), Note: zk.Note{Value: value, Asset: 978, Programme: 7, Owner: to.Owner(), Rho: randomRho(t)}, Memo: []byte(memo)}
}

func commitmentsOf(outs []SealOutput) (cms []zk.Commitment) {
	for _, o := range outs {
		cms = append(cms, o.Note.Commitment())
	}
	return cms
}

// Z5.1 to Z5.5
func TestPayeeOpensItsOutputsAlone(t *testing.T) {
	a, b, stranger := walletFrom(t, 1, genesis), walletFrom(t, 2, genesis), walletFrom(t, 3, genesis)
	outs := []SealOutput{payment(t, a, 100, "rent"), payment(t, b, 200, ""), payment(t, a, 300, "ends in zero\x00"), {Note: zk.Note{Value: 1}}}
	cms := commitmentsOf(outs)
	for class := uint8(1); class < 4; class++ {
		seg, err := SealSegment(rand.Reader, class, outs)
		if err != nil || len(seg) != SegmentSize(class, 4) {
			t.Fatalf("%d bytes, %v", len(seg), err)
		}
		got, err := a.IncomingView().OpenSegment(seg, cms)
		if err != nil || len(got) != 2 || got[0].Index != 0 || got[1].Index != 2 || got[0].Note != outs[0].Note || string(got[0].Memo) != "rent" || string(got[1].Memo) != "ends in zero\x00" {
			t.Fatalf("class %d: %v %v", class, got, err)
		}
		got, err = b.FullView().OpenSegment(seg, cms)
		if err != nil || len(got) != 1 || got[0].Index != 1 || got[0].Memo != nil {
			t.Fatalf("class %d: %v %v", class, got, err)
		}
		if got, err = stranger.IncomingView().OpenSegment(seg, cms); err != nil || len(got) != 0 {
			t.Fatalf("a stranger opened %v, %v", got, err)
		}
	}
}

func TestMovedOrForgedCiphertextIsIgnored(t *testing.T) {
	a := walletFrom(t, 1, genesis)
	outs := []SealOutput{payment(t, a, 100, ""), payment(t, a, 100, "")}
	cms := commitmentsOf(outs)
	seg, err := SealSegment(rand.Reader, 0, outs)
	if err != nil {
		t.Fatal(err)
	}
	view := a.IncomingView()
	open := func(seg []byte, cms []zk.Commitment) int {
		got, err := view.OpenSegment(seg, cms)
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	if open(seg, cms) != 2 {
		t.Fatal("own payment")
	}
	if open(seg, []zk.Commitment{cms[1], cms[0]}) != 0 {
		t.Error("a ciphertext opened beside another commitment")
	}
	size := (len(seg) - segmentHeader) / 2
	swapped := append(bytes.Clone(seg[:segmentHeader]), seg[segmentHeader+size:]...)
	swapped = append(swapped, seg[segmentHeader:segmentHeader+size]...)
	if open(swapped, []zk.Commitment{cms[1], cms[0]}) != 0 {
		t.Error("a ciphertext opened in another place")
	}
	for i := 1; i < len(seg); i++ {
		bad := bytes.Clone(seg)
		bad[i] ^= 1
		if got, err := view.OpenSegment(bad, cms); err == nil && len(got) == 2 {
			t.Errorf("byte %d can be changed", i)
		}
	}
	// The payer encrypts an amount that the commitment does not hold: another's owner, a larger value.
	lie := outs[0]
	lie.Note.Value++
	seg, _ = SealSegment(rand.Reader, 0, []SealOutput{lie})
	if open(seg, []zk.Commitment{cms[0]}) != 0 {
		t.Error("a false amount was believed")
	}
	foreign := outs[0]
	foreign.Note.Owner = walletFrom(t, 2, genesis).Owner()
	seg, _ = SealSegment(rand.Reader, 0, []SealOutput{foreign})
	if open(seg, []zk.Commitment{foreign.Note.Commitment()}) != 0 {
		t.Error("a note of another owner was believed")
	}
}

func TestMalformedSegmentsAreRefused(t *testing.T) {
	a := walletFrom(t, 1, genesis)
	outs := []SealOutput{payment(t, a, 100, "")}
	cms := commitmentsOf(outs)
	seg, _ := SealSegment(rand.Reader, 0, outs)
	zeroKey := bytes.Clone(seg)
	copy(zeroKey[1:33], make([]byte, 32))
	class := bytes.Clone(seg)
	class[0] = 4
	for name, bad := range map[string][]byte{"empty": nil, "cut": seg[:len(seg)-1], "long": append(bytes.Clone(seg), 0), "class": class, "header": seg[:20], "small-order key": zeroKey} {
		if _, err := a.IncomingView().OpenSegment(bad, cms); !errors.Is(err, ErrSegment) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.IncomingView().OpenSegment(seg, nil); !errors.Is(err, ErrSegment) {
		t.Error("wrong number of outputs passed")
	}
	if _, err := SealSegment(rand.Reader, 4, outs); !errors.Is(err, ErrMemoClass) {
		t.Error(err)
	}
	outs[0].Memo = make([]byte, 33)
	if _, err := SealSegment(rand.Reader, 1, outs); !errors.Is(err, ErrMemoSize) {
		t.Error(err)
	}
	outs[0].Memo, outs[0].To = nil, ViewKey{1}
	if _, err := SealSegment(rand.Reader, 1, outs); !errors.Is(err, ErrAddressViewKey) {
		t.Error(err)
	}
	if _, err := SealSegment(bytes.NewReader(nil), 1, outs); err == nil {
		t.Error("no randomness passed")
	}
	if SegmentSize(9, 1) != 0 || SegmentSize(0, -1) != 0 {
		t.Error("size of nothing")
	}
}

// leg seals a leg of a circuit with outputs drawn at random.
func leg(t testing.TB, c zk.CircuitID, ovk, reader zk.Point, e zk.Scalar) (*zk.LegPublic, []zk.Note, []uint32, zk.Owner) {
	shape := c.Shape()
	payer := walletFrom(t, 9, genesis)
	l := &zk.LegPublic{Circuit: c, Tree: 3, OversightKey: ovk}
	var slots []uint32
	for i := range shape.Inputs {
		l.Nullifiers = append(l.Nullifiers, zk.Nullifier(randomRho(t)))
		slots = append(slots, uint32(i%2*(1000+i)))
	}
	var outs []zk.Note
	for i := range shape.Outputs {
		outs = append(outs, zk.Note{Value: zk.Amount(i * 1000), Asset: 978, Programme: 7, Owner: walletFrom(t, byte(i%3), genesis).Owner()})
	}
	if err := SealLeg(l, e, reader, payer.Owner(), slots, outs); err != nil {
		t.Fatal(err)
	}
	return l, outs, slots, payer.Owner()
}

func scalar(t testing.TB) zk.Scalar {
	s, err := zk.NewScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Z6.1 to Z6.6
func TestOversightAndReaderOpenEveryCircuit(t *testing.T) {
	ovk, rk, e, other := scalar(t), scalar(t), scalar(t), scalar(t)
	for _, c := range zk.Circuits() {
		l, outs, slots, payer := leg(t, c, ovk.Base(), rk.Base(), e)
		for who, open := range map[string]func() (*OpenedLeg, error){
			"oversight": func() (*OpenedLeg, error) { return OpenAsOversight(ovk, l) },
			"reader":    func() (*OpenedLeg, error) { return OpenAsReader(rk, l) },
		} {
			o, err := open()
			if err != nil {
				t.Fatalf("%v, %s: %v", c, who, err)
			}
			if o.Sender != payer || fmt.Sprint(o.Slots) != fmt.Sprint(slots) || fmt.Sprint(o.Outputs) != fmt.Sprint(outs) || (o.Return != nil) != c.Shape().Held {
				t.Fatalf("%v, %s: opened %+v", c, who, o)
			}
			if o.Return != nil && (o.Return.Owner != payer || o.Return.Value != outs[0].Value || o.Return.Commitment() != l.ReturnCommitment) {
				t.Errorf("return note %+v", o.Return)
			}
			spent := 0
			for _, s := range slots {
				if s > 0 {
					if o.Spent[spent] != (zk.Position{Tree: 3, Index: s - 1}) {
						t.Errorf("%v: spent %v", c, o.Spent)
					}
					spent++
				}
			}
			if spent != len(o.Spent) {
				t.Errorf("%v: %d spent", c, len(o.Spent))
			}
		}
		if _, err := OpenAsOversight(other, l); err == nil {
			t.Errorf("%v: a foreign key opened it", c)
		}
		if _, err := OpenAsReader(other, l); err == nil {
			t.Errorf("%v: a foreign reader opened it", c)
		}
		if _, err := OpenAsReader(ovk, l); err == nil {
			t.Errorf("%v: the reader's wrap opened with the oversight key", c)
		}
	}
}

func TestEveryFalseCiphertextIsFound(t *testing.T) {
	ovk, e := scalar(t), scalar(t)
	bump := func(f *zk.Field) { *f = zk.Field(randomRho(t)) }
	for name, c := range map[string]struct {
		circuit zk.CircuitID
		change  func(l *zk.LegPublic)
		want    error
	}{
		"packed": {zk.Transfer, func(l *zk.LegPublic) { bump(&l.Cipher[0][0]) }, ErrCipher},
		"amount": {zk.Transfer, func(l *zk.LegPublic) {
			x, one := l.Cipher[0][0].Element(), zk.Field{31: 1}.Element()
			x.Add(&x, &one)
			l.Cipher[0][0] = zk.FieldFromElement(x)
		}, ErrCommitment},
		"owner":        {zk.Transfer, func(l *zk.LegPublic) { bump(&l.Cipher[1][1]) }, ErrCommitment},
		"moved":        {zk.Transfer, func(l *zk.LegPublic) { l.Cipher[0], l.Cipher[1] = l.Cipher[1], l.Cipher[0] }, ErrCipher},
		"commitment":   {zk.Transfer, func(l *zk.LegPublic) { l.Commitments[1] = zk.Commitment(randomRho(t)) }, ErrCommitment},
		"sender slots": {zk.Transfer, func(l *zk.LegPublic) { bump(&l.Sender[1]) }, ErrSender},
		"epk":          {zk.Transfer, func(l *zk.LegPublic) { l.Epk = scalar(t).Base().Fields() }, ErrCipher},
		"epk off":      {zk.Transfer, func(l *zk.LegPublic) { bump(&l.Epk[0]) }, zk.ErrPointNotOnCurve},
		"nullifier":    {zk.Transfer, func(l *zk.LegPublic) { l.Nullifiers[0] = zk.Nullifier(randomRho(t)) }, ErrCipher},
		"subtree":      {zk.Disburse16, func(l *zk.LegPublic) { l.SubtreeRoot = zk.Root(randomRho(t)) }, ErrSubtree},
		"return":       {zk.Hold, func(l *zk.LegPublic) { l.ReturnCommitment = zk.Commitment(randomRho(t)) }, ErrReturn},
		"shape":        {zk.Transfer, func(l *zk.LegPublic) { l.Sender = l.Sender[:1] }, zk.ErrShape},
		"circuit":      {zk.Transfer, func(l *zk.LegPublic) { l.Circuit = 9 }, zk.ErrShape},
	} {
		l, _, _, _ := leg(t, c.circuit, ovk.Base(), ovk.Base(), e)
		c.change(l)
		if _, err := OpenAsOversight(ovk, l); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Z6.5: a payer who sets e to zero shows its payment to the world, and cannot hide it from oversight.
func TestIdentityEphemeralKeyOpens(t *testing.T) {
	ovk := scalar(t)
	l, outs, _, _ := leg(t, zk.Transfer, ovk.Base(), ovk.Base(), scalar(t))
	identity := [2]zk.Field{{}, {31: 1}}
	x, y := identity[0].Element(), identity[1].Element()
	k := zk.Hash("kdf", x, y, x, y, l.Nullifiers[0].Element())
	l.Epk = identity
	for i := range outs {
		lanes := zk.Lanes(k, uint64(i))
		outs[i].Rho = zk.RhoFromElement(lanes[2])
		l.Commitments[i] = outs[i].Commitment()
		l.Cipher[i] = [2]zk.Field{mask(outs[i].Packed(), lanes[0]), mask(outs[i].Owner.Element(), lanes[1])}
	}
	lanes := zk.Lanes(k, SenderIndex)
	l.Sender = []zk.Field{mask(outs[0].Owner.Element(), lanes[0]), mask(zk.PackSlots([]uint32{1, 0})[0], lanes[1])}
	if o, err := OpenAsOversight(ovk, l); err != nil || o.Outputs[1] != outs[1] {
		t.Fatalf("%v", err)
	}
}

// Z6.1
func TestLegSecretDependsOnEverything(t *testing.T) {
	nfs := []zk.Nullifier{{31: 1}, {31: 2}}
	base := func(hedge byte, nfs []zk.Nullifier, plain [][]byte, seed byte) [32]byte {
		e, err := HedgedE([32]byte{hedge}, nfs, plain, &counting{seed})
		if err != nil {
			t.Fatal(err)
		}
		return e.Bytes()
	}
	all := map[[32]byte]string{}
	for name, e := range map[string][32]byte{
		"base": base(1, nfs, [][]byte{{1}, {2}}, 1), "hedge": base(2, nfs, [][]byte{{1}, {2}}, 1), "nullifier": base(1, nfs[:1], [][]byte{{1}, {2}}, 1), "plaintext": base(1, nfs, [][]byte{{1}, {3}}, 1),
		"boundary": base(1, nfs, [][]byte{{1, 2}, {}}, 1), "randomness": base(1, nfs, [][]byte{{1}, {2}}, 2),
	} {
		if was, ok := all[e]; ok {
			t.Errorf("%s and %s give one e", was, name)
		}
		all[e] = name
	}
	if _, err := HedgedE([32]byte{}, nfs, nil, bytes.NewReader(nil)); err == nil {
		t.Error("no randomness passed")
	}
	for name, err := range map[string]error{
		"no e":      second(OversightKey(zk.Scalar{}, scalar(t).Base(), nfs[0])),
		"no ovk":    second(OversightKey(scalar(t), zk.Point{}, nfs[0])),
		"no reader": second(WrapKey(scalar(t), zk.Point{})),
		"no secret": second(OversightKeyFromSecret(zk.Scalar{}, [2]zk.Field{}, nfs[0])),
		"unwrap":    second(UnwrapKey(zk.Scalar{}, [2]zk.Field{}, zk.Field{})),
	} {
		if err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func TestRecordedVectors(t *testing.T) {
	w := walletFrom(t, 42, genesis)
	nk, hedge, ask := w.NK().Bytes(), w.Hedge(), w.Spending().Bytes()
	seed := [32]byte{42}
	note := zk.Note{Value: 125000, Asset: 978, Programme: 7, Owner: w.Owner(), Rho: zk.Rho{31: 5}}
	seg, err := SealSegment(&counting{100}, 1, []SealOutput{{To: w.ViewKey(), Note: note, Memo: []byte("invoice 7")}})
	if err != nil {
		t.Fatal(err)
	}
	ovk, err := zk.NewScalar(&counting{7})
	if err != nil {
		t.Fatal(err)
	}
	e, err := HedgedE(hedge, []zk.Nullifier{{31: 1}, {31: 2}}, [][]byte{{1}, {2}}, &counting{8})
	if err != nil {
		t.Fatal(err)
	}
	l := &zk.LegPublic{Circuit: zk.Hold, Tree: 3, OversightKey: ovk.Base(), Nullifiers: []zk.Nullifier{{31: 1}, {31: 2}}}
	if err := SealLeg(l, e, ovk.Base(), w.Owner(), []uint32{5, 0}, []zk.Note{note, {Asset: 978, Programme: 7, Owner: w.Owner()}}); err != nil {
		t.Fatal(err)
	}
	ovkBytes, eBytes := ovk.Bytes(), e.Bytes()
	got, err := json.MarshalIndent(map[string]any{
		"genesis": hex.EncodeToString(genesis[:]), "seed": hex.EncodeToString(seed[:]), "ask": hex.EncodeToString(ask[:]), "nk": hex.EncodeToString(nk[:]), "hedge": hex.EncodeToString(hedge[:]),
		"vk": hex.EncodeToString(w.s.view.Bytes()), "view_key": hex.EncodeToString(w.s.view.PublicKey().Bytes()), "owner": w.Owner(),
		"address": w.Address("aur", genesis).String(), "full_view": w.FullView().Export("aur"), "incoming_view": w.IncomingView().Export("aur"),
		"segment": map[string]any{"class": 1, "value": 125000, "asset": 978, "programme": 7, "rho": note.Rho, "memo": "invoice 7", "commitment": note.Commitment(), "bytes": hex.EncodeToString(seg)},
		"oversight": map[string]any{"ovk_secret": hex.EncodeToString(ovkBytes[:]), "e": hex.EncodeToString(eBytes[:]), "nullifiers": l.Nullifiers, "epk": l.Epk, "wrap": l.Wrap, "sender": l.Sender,
			"slots": []int{5, 0}, "commitments": l.Commitments, "cipher": l.Cipher, "return_commitment": l.ReturnCommitment},
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const file = "../testdata/keys.json"
	if os.Getenv("COMITY_RECORD") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("recorded vectors changed; now:\n%s", got)
	}
}

func FuzzParseAddress(f *testing.F) {
	w := walletFrom(f, 3, genesis)
	f.Add(w.Address("aur", genesis).String())
	f.Add(w.IncomingView().Export("aur"))
	f.Add("A1LQFN3A")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err == nil && a.String() != strings.ToLower(text) {
			t.Fatal("a second text of one address")
		}
	})
}

func FuzzParseView(f *testing.F) {
	w := walletFrom(f, 3, genesis)
	f.Add(w.FullView().Export("aur"))
	f.Add(w.IncomingView().Export("aur"))
	f.Fuzz(func(t *testing.T, text string) {
		if v, prefix, err := ParseFullView(text); err == nil && v.Export(prefix) != strings.ToLower(text) {
			t.Fatal("a second text of one full view")
		}
		if v, prefix, err := ParseIncomingView(text); err == nil && v.Export(prefix) != strings.ToLower(text) {
			t.Fatal("a second text of one incoming view")
		}
	})
}

func FuzzOpenSegment(f *testing.F) {
	w := walletFrom(f, 3, genesis)
	outs := []SealOutput{payment(f, w, 5, "x"), payment(f, w, 6, "")}
	for class := uint8(1); class < 4; class++ {
		seg, err := SealSegment(&counting{1}, class, outs)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seg, 2)
	}
	cms := append(commitmentsOf(outs), make([]zk.Commitment, 62)...)
	f.Fuzz(func(t *testing.T, seg []byte, n int) {
		if n < 0 || n > len(cms) {
			return
		}
		got, _ := w.IncomingView().OpenSegment(seg, cms[:n])
		for _, o := range got {
			if o.Note.Commitment() != cms[o.Index] {
				t.Fatal("an opened note is not that of its commitment")
			}
		}
	})
}

func BenchmarkOpenForeignTransfer(b *testing.B) {
	w, other := walletFrom(b, 1, genesis), walletFrom(b, 2, genesis)
	outs := []SealOutput{payment(b, w, 1, ""), payment(b, w, 2, "")}
	seg, err := SealSegment(rand.Reader, 0, outs)
	if err != nil {
		b.Fatal(err)
	}
	cms, view := commitmentsOf(outs), other.IncomingView()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := view.OpenSegment(seg, cms); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenAsOversight(b *testing.B) {
	for _, c := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		b.Run(c.String(), func(b *testing.B) {
			ovk := scalar(b)
			l, _, _, _ := leg(b, c, ovk.Base(), ovk.Base(), scalar(b))
			for b.Loop() {
				if _, err := OpenAsOversight(ovk, l); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

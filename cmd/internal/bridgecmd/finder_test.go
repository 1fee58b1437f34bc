package bridgecmd

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// finder looks for secrets in whatever was said, in every form in which a program might say them. Each text is read once, however many there are.
type finder struct {
	forms map[[prefix]byte][]form
	count int
}

// prefix is the length, in bytes, of the shortest form.
const prefix = 6

// form is one way to say a secret.
type form struct {
	secret, how string
	shape       []byte
	number      bool // counts only where no digit stands beside it
}

func (f *finder) add(secret, how, shape string, number bool) {
	if len(shape) < prefix {
		panic("too short to look for: " + secret)
	}
	if f.forms == nil {
		f.forms = map[[prefix]byte][]form{}
	}
	key := [prefix]byte([]byte(shape))
	f.forms[key] = append(f.forms[key], form{secret, how, []byte(shape), number})
	f.count++
}

// text adds a secret that is a text: a passphrase, a reference.
func (f *finder) text(name, secret string) {
	f.add(name, "as it is", secret, false)
	f.add(name, "in hexadecimal", hex.EncodeToString([]byte(secret)), false)
	f.add(name, "in capital hexadecimal", strings.ToUpper(hex.EncodeToString([]byte(secret))), false)
	f.add(name, "in base64", strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="), false)
	f.add(name, "in URL base64", strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(secret)), "="), false)
	f.add(name, "as a list of bytes", strings.Trim(fmt.Sprint([]byte(secret)), "[]"), false)
}

// bytes adds a secret that is bytes, a number or a key, in both orders of bytes.
func (f *finder) bytes(name string, secret []byte) {
	f.text(name, string(secret))
	f.add(name, "in decimal", new(big.Int).SetBytes(secret).String(), true)
	back := slices.Clone(secret)
	slices.Reverse(back)
	f.text(name+", backwards", string(back))
	f.add(name+", backwards", "in decimal", new(big.Int).SetBytes(back).String(), true)
}

// amount adds an amount in minor units, as people and programs write it.
func (f *finder) amount(name string, minor uint64, decimals int) {
	plain := fmt.Sprint(minor)
	whole, rest := plain[:len(plain)-decimals], plain[len(plain)-decimals:]
	f.add(name, "in minor units", plain, true)
	f.add(name, "in units", whole+"."+rest, true)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	f.add(name, "as people write it", whole+"."+rest, true)
}

func digit(b byte) bool { return '0' <= b && b <= '9' }

// find names what a text gives away, each thing once.
func (f *finder) find(text []byte) (found []string) {
	for i := 0; i+prefix <= len(text); i++ {
		for _, form := range f.forms[[prefix]byte(text[i:])] {
			end := i + len(form.shape)
			if !bytes.HasPrefix(text[i:], form.shape) || form.number && (i > 0 && digit(text[i-1]) || end < len(text) && digit(text[end])) {
				continue
			}
			if what := form.secret + " " + form.how; !slices.Contains(found, what) {
				found = append(found, what)
			}
		}
	}
	return found
}

// bites plants every form of every secret into a text and requires it to be found there.
func (f *finder) bites(t *testing.T) {
	t.Helper()
	for _, forms := range f.forms {
		for _, form := range forms {
			text := slices.Concat([]byte("level=INFO msg=\"all is well\" x="), form.shape, []byte(" y=1\n"))
			if !slices.Contains(f.find(text), form.secret+" "+form.how) {
				t.Errorf("planted and not found: %s %s", form.secret, form.how)
			}
		}
	}
}

func TestTheFinderBites(t *testing.T) {
	var f finder
	f.text("passphrase", "correct horse")
	f.bytes("key", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 250, 251, 252})
	f.amount("amount", 123456789, 2)
	f.bites(t)
	for text, want := range map[string]int{
		"paid 1,234,567.89 AUR": 1, "paid 1234567.89": 1, "paid=123456789 ": 1, "paid 0123456789": 0, "paid 1234567890": 0, "paid 1234567.890": 0,
		"key=010203040506070809fafbfc": 1, "key=010203040506070809FAFBFC": 1, "key=fcfbfa090807060504030201": 1, "key=010203040506070809fafb": 0,
		"[1 2 3 4 5 6 7 8 9 250 251 252]": 1, "Y29ycmVjdCBob3JzZQ==": 2, "correct horses": 1, "nothing": 0, "": 0,
	} {
		if got := f.find([]byte(text)); len(got) != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

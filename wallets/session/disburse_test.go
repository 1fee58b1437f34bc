package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// payroll makes a file of n lines, one payee each, line i paying i+1 minor units.
func (w *world) payroll(n int) (file []byte, payees []keys.Wallet, total zk.Amount) {
	var b strings.Builder
	b.WriteString("line_id,address,amount,programme,reference\n")
	for i := range n {
		k := w.keys(fmt.Sprint("payee ", i))
		payees = append(payees, k)
		fmt.Fprintf(&b, "L%d,%s,0.%02d,,wage %d\n", i, w.to(k), i%99+1, i)
		total += zk.Amount(i%99 + 1)
	}
	return []byte(b.String()), payees, total
}

func (w *world) parse(s *session.Session, file []byte) (*wallets.Disbursement, error) {
	if err := s.Sync(context.Background(), nil); err != nil {
		return nil, err
	}
	return wallets.ParseDisbursement(file, w.genesis.Assets[0], wallets.Book{Genesis: w.genesis, Ledger: wallets.LedgerPrefix(w.genesis.Hash()), Rights: s.State().Rights()})
}

// run begins or resumes the disbursement of a file.
func (w *world) run(seed string, file []byte) (*session.Session, *wallets.DisbursementOrder, error) {
	s := w.open(w.ministry, w.disk, seed)
	d, err := w.parse(s, file)
	if err != nil {
		return s, nil, err
	}
	order, _, err := s.BeginDisbursement("wages", d)
	if err != nil {
		return s, nil, err
	}
	return s, order, s.Disburse(context.Background(), order, nil, nil)
}

func (w *world) wantPaid(payees []keys.Wallet) {
	w.t.Helper()
	for i, k := range payees {
		if got, want := w.sum(k, 1, 0), zk.Amount(i%99+1); got != want {
			w.t.Fatalf("payee %d has %d, want %d", i, got, want)
		}
	}
}

func TestEveryLineIsPaidOnce(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, 63, 64, 130} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, 3000, 3000, 900)
			file, payees, total := w.payroll(n)
			s, order, err := w.run("a", file)
			if err != nil {
				t.Fatal(err)
			}
			if n > 20 {
				payees = payees[:20] // reading the whole ledger as everybody takes long; the sum below covers the rest
			}
			w.wantPaid(payees)
			w.want(w.ministry, 0, 6900-total)
			for i, l := range s.Lines(order) {
				if l.Status != "settled" || l.Line != fmt.Sprint("L", i) || l.Commitment == "" || l.Entry == 0 {
					t.Fatalf("%+v", l)
				}
			}
			// The same again pays nothing.
			if _, _, err := w.run("b", file); err != nil {
				t.Fatal(err)
			}
			w.want(w.ministry, 0, 6900-total)
		})
	}
}

func TestKillAtEveryStepOfADisbursementPaysEveryLineOnce(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld(t, 50, 50, 50, 50, 50, 50, 50, 50, 50, 2600)
		file, payees, total := w.payroll(70)
		w.disk.countdown = n
		_, _, err := w.run("a", file)
		killed := errors.Is(err, errKilled)
		if err != nil && !killed {
			t.Fatalf("step %d: %v", n, err)
		}
		w.disk.dead, w.disk.countdown = false, -1
		s, order, err := w.run(fmt.Sprint("b", n), file)
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		w.want(w.ministry, 0, 3050-total)
		for _, l := range s.Lines(order) {
			if l.Status != "settled" {
				t.Fatalf("step %d: %+v", n, l)
			}
		}
		w.wantPaid(payees[:2])
		if got := w.sum(payees[69], 1, 0); got != 70 {
			t.Fatalf("step %d: the last payee has %d", n, got)
		}
		if !killed {
			if n < 8 {
				t.Fatalf("only %d steps", n)
			}
			return
		}
	}
}

func TestAnswersLostDuringADisbursementPayEveryLineOnce(t *testing.T) {
	w := newWorld(t, 5000)
	file, payees, total := w.payroll(70)
	n := 0
	w.after = func() error {
		if n++; n%2 == 1 {
			return errors.New("connection reset")
		}
		return nil
	}
	if _, _, err := w.run("a", file); err != nil {
		t.Fatal(err)
	}
	w.wantPaid(payees[:3])
	w.want(w.ministry, 0, 5000-total)
}

func TestADisbursementKeepsToItsFile(t *testing.T) {
	w := newWorld(t, 5000)
	file, _, _ := w.payroll(3)
	if _, _, err := w.run("a", file); err != nil {
		t.Fatal(err)
	}
	changed := []byte(strings.Replace(string(file), "0.01", "0.02", 1))
	if _, _, err := w.run("b", changed); wallets.CodeOf(err) != wallets.FileChanged {
		t.Fatalf("%v", err)
	}
	w.disk = newDisk() // an older copy of the folder
	if _, _, err := w.run("c", file); wallets.CodeOf(err) != wallets.PaymentIDSettled {
		t.Fatalf("%v", err)
	}
}

func TestAFolderOlderThanTheDisbursementsPaymentsPaysNobodyAgain(t *testing.T) {
	w := newWorld(t, 9000)
	file, payees, _ := w.payroll(130)
	w.disk.countdown = 4 // begun, and little more
	if _, _, err := w.run("a", file); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	w.disk.dead, w.disk.countdown = false, -1
	old := &disk{records: append([][]byte(nil), w.disk.records...), countdown: -1}
	if _, _, err := w.run("b", file); err != nil {
		t.Fatal(err)
	}
	w.disk = old
	if _, _, err := w.run("c", file); wallets.CodeOf(err) != wallets.PaymentIDSettled {
		t.Fatalf("%v", err)
	}
	w.wantPaid(payees[:5])
}

func TestADisbursementWithoutFundsPaysNobody(t *testing.T) {
	w := newWorld(t, 50)
	file, payees, _ := w.payroll(70)
	if _, _, err := w.run("a", file); wallets.CodeOf(err) != wallets.InsufficientFunds {
		t.Fatalf("%v", err)
	}
	if got := w.sum(payees[0], 1, 0); got != 0 || len(w.disk.records) != 0 {
		t.Fatalf("paid %d, %d records", got, len(w.disk.records))
	}
}

func TestGroupsKeepToTheLimit(t *testing.T) {
	w := newWorld(t, 5000)
	w.register(w.ministry, 100)
	file, payees, total := w.payroll(30)
	s, order, err := w.run("a", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range order.Groups {
		if g.Sum > 100 {
			t.Fatalf("a group of %d", g.Sum)
		}
	}
	w.wantPaid(payees[:5])
	w.want(w.ministry, 0, 5000-total)
	_ = s
	over := []byte("line_id,address,amount,programme,reference\nA," + w.to(w.supplier) + ",1.01,,\n")
	if _, err := w.parse(s, over); wallets.CodeOf(err) != wallets.BadFile || !strings.Contains(err.Error(), "over_limit") {
		t.Fatalf("%v", err)
	}
}

func TestABadFileListsAllItsBadLines(t *testing.T) {
	w := newWorld(t, 5000)
	s := w.open(w.ministry, w.disk, "a")
	good := w.to(w.supplier)
	file := strings.Join([]string{
		"Line ID,Address,Amount,Programme,Reference",
		"1," + good + ",1.00,,fine",
		"2," + good + ",0,,",
		"3," + good + ",-1,,",
		"4," + good + ",1.001,,",
		"5," + good + ",1,5,",
		"6,aur1qqqq,1,,",
		"1," + good + ",1,,twice",
		"8," + good + ",1,,a\tb",
		"9," + good + ",1",
		"10," + good + ",1,x,",
		"11," + good + ",99999999999999999999,,",
		`12,"` + good + `"x,1,,`,
		"13," + w.keys("x").Address("aur", [32]byte{9}).String() + ",1,,",
		"," + good + ",1,,",
		"15," + good + ",2.00,,fine",
	}, "\n")
	_, err := w.parse(s, []byte(file))
	var bad *wallets.FileError
	if !errors.As(err, &bad) || wallets.CodeOf(err) != wallets.BadFile {
		t.Fatalf("%v", err)
	}
	want := map[int]wallets.Code{3: wallets.AmountZero, 4: wallets.AmountNegative, 5: wallets.AmountDecimals, 6: wallets.UnknownProgramme, 7: wallets.AddressInvalid,
		8: wallets.BadFile, 9: wallets.ReferenceInvalid, 10: wallets.BadFile, 11: wallets.UnknownProgramme, 12: wallets.AmountTooLarge, 13: wallets.BadFile,
		14: wallets.AddressOther, 15: wallets.BadFile}
	for _, l := range bad.Lines {
		if want[l.Line] != l.Code {
			t.Errorf("line %d: %s %s", l.Line, l.Code, l.Reason)
		}
		delete(want, l.Line)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

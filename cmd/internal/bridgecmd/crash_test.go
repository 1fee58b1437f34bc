package bridgecmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// crashPayments is how many payments the crash test makes; with -short it makes eight. CI runs it by itself with fifty.
var crashPayments = flag.Int("payments", 12, "payments of the crash test")

// crash is the crypto-real path under SIGKILL: two ledgers with their witnesses, a provider, a relayer and several payers, all processes of
// their own with real proofs.
type crash struct {
	*pair
	seed uint64

	mu    sync.Mutex             // guards what follows
	rng   *rand.Rand             // of the killer
	kills map[string]int         // by what was killed
	now   map[string]*os.Process // the payers' commands that run now
}

const (
	payers = 3
	// mostOrdering is how long payments are begun on a machine that is busy with other things, for each of them; the test is about those
	// that were.
	mostOrdering = 6 * time.Second
	// leastPayments is how many there must be for the test to show anything.
	leastPayments = 6
)

// Every process is killed at random moments, again and again, while payments go on. At the end each payment settled on both sides or on
// neither, none was made twice, and the money adds up.
func TestKillsAtRandomMomentsLoseNothing(t *testing.T) {
	count := *crashPayments
	if testing.Short() {
		count = min(count, 8)
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("COMITY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COMITY_SEED=%d, %d payments", seed, count)
	began := time.Now()
	w := newWorld(t)
	c := &crash{pair: &pair{world: w, a: w.found("aurelia", "AUR", 2), b: w.found("borealis", "BOR", 3)}, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
		kills: map[string]int{}, now: map[string]*os.Process{}}
	c.a.corridor(c.b)
	c.b.corridor(c.a)
	const funds, stock = 10_000_000, 5_000_000
	for i := range payers {
		c.a.wallet(fmt.Sprint("payer", i), funds)
	}
	c.a.wallet("desk-a")
	c.b.wallet("desk-b", stock, stock, stock)
	c.payee = c.b.wallet("payee")
	w.write("rates.csv", strings.Replace(testRates, ",45,20", ",60,45", 1))
	c.providerPort = freePort()
	c.startCrashProvider()
	c.startRelay("relay")
	t.Logf("founded in %v", time.Since(began).Round(time.Millisecond))

	chaos, calm := context.WithCancel(context.Background())
	var killer, working sync.WaitGroup
	killer.Go(func() { c.kill(chaos) })
	rows := make([]status, count)
	for i := range payers {
		working.Go(func() {
			for n := i; n < count && time.Since(began) < max(time.Minute, time.Duration(count)*mostOrdering); n += payers {
				rows[n] = c.payOnce(fmt.Sprint("payer", i), n)
			}
		})
	}
	working.Wait()
	calm()
	killer.Wait()
	if t.Failed() {
		return
	}
	t.Logf("all ordered after %v, killed %v", time.Since(began).Round(time.Millisecond), c.kills)
	c.finish(rows)
	t.Logf("all done after %v", time.Since(began).Round(time.Millisecond))
	c.check(rows, funds, 3*stock)
}

func (c *crash) startCrashProvider() {
	c.provider = c.start("provider", "bridge", "provider", "--ledger", "aurelia="+c.a.url()+",wallet="+c.path("desk-a"), "--ledger", "borealis="+c.b.url()+",wallet="+c.path("desk-b"),
		"--rates", c.path("rates.csv"), "--name", "Meridian", "--data", c.path("desk"), "--listen", fmt.Sprintf("127.0.0.1:%d", c.providerPort))
}

// amount is what the payee of a payment gets, in minor units: no two are equal, nor what is paid for them, so that a payment made twice shows.
func amount(n int) zk.Amount { return zk.Amount(100_000 + 200*n) }

// payOnce pays until the payment is locked, or was given up; a payer that is killed is started again with the same command.
func (c *crash) payOnce(wallet string, n int) status {
	id := fmt.Sprint("payment-", n)
	args := []string{"bridge", "pay", "--wallet", c.path(wallet), "--ledger", c.a.url(), "--to-ledger", c.b.url(), "--provider", c.provider, "--to", c.payee,
		"--amount", fmt.Sprintf("%d.%03d", amount(n)/1000, amount(n)%1000), "--payment-id", id, "--yes", "--json", "--no-wait", "--deadline", "75s"}
	for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		cmd := c.command(ctx, args...)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Start(); err != nil {
			c.t.Error(err)
			cancel()
			return status{}
		}
		c.mu.Lock()
		c.now[wallet] = cmd.Process
		c.mu.Unlock()
		err := cmd.Wait()
		c.mu.Lock()
		delete(c.now, wallet)
		c.mu.Unlock()
		cancel()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		var row status
		switch known := json.Unmarshal(out.Bytes(), &row) == nil; {
		case code == 0 && known, code == 3 && known:
			return row
		case code == -1 || code == 4, bytes.Contains(errOut.Bytes(), []byte("no_quote")): // killed, or somebody else was; a desk that starts quotes nothing yet
			time.Sleep(100 * time.Millisecond)
		default:
			c.t.Errorf("%s: exit %d: %s%s", id, code, out.String(), errOut.String())
			return row
		}
	}
	c.t.Errorf("%s is not locked after four minutes", id)
	return status{}
}

// kill kills something at random moments and starts it again, until it is told to stop; then everything runs.
func (c *crash) kill(ctx context.Context) {
	starts := map[string]func(){"aurelia-ledger": c.a.startLedger, "borealis-ledger": c.b.startLedger, "aurelia-witness": c.a.startWitness, "borealis-witness": c.b.startWitness,
		"provider": c.startCrashProvider, "relay": func() { c.startRelay("relay") }}
	victims := []string{"aurelia-ledger", "borealis-ledger", "aurelia-witness", "borealis-witness", "provider", "provider", "relay", "relay", "payer", "payer", "payer"}
	for {
		c.mu.Lock()
		victim := victims[c.rng.IntN(len(victims))]
		calm := time.Duration(500+c.rng.IntN(3500)) * time.Millisecond
		dead := time.Duration(c.rng.IntN(800)) * time.Millisecond
		which := fmt.Sprint("payer", c.rng.IntN(payers))
		c.mu.Unlock()
		if pause(ctx, calm) != nil {
			return
		}
		if victim == "payer" {
			c.mu.Lock()
			if p := c.now[which]; p != nil {
				_ = p.Kill()
				c.kills[victim]++
			}
			c.mu.Unlock()
			continue
		}
		c.process(victim).kill()
		c.mu.Lock()
		c.kills[victim]++
		c.mu.Unlock()
		time.Sleep(dead)
		starts[victim]()
	}
}

// finish waits until every payment that is locked is decided.
func (c *crash) finish(rows []status) {
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
		open := 0
		for i := range payers {
			var all struct{ Payments []status }
			c.ok(&all, "bridge", "status", "--all", "--wallet", c.path(fmt.Sprint("payer", i)), "--ledger", c.a.url())
			for _, row := range all.Payments {
				var n int
				if _, err := fmt.Sscanf(row.ID, "payment-%d", &n); err != nil || n >= len(rows) {
					c.t.Fatalf("a payment %q", row.ID)
				}
				rows[n] = row
				if row.Status == "pending" {
					open++
				}
			}
		}
		if open == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d payments are still open", open)
		}
	}
}

// check reads both ledgers and holds them against what the payers were told.
func (c *crash) check(rows []status, funds, stock zk.Amount) {
	t := c.t
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(time.Second) { // holds of the provider without a follower still expire
		if len(must(c.a.client.Holds(context.Background())))+len(must(c.b.client.Holds(context.Background()))) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("holds are still open")
		}
	}
	if code := c.process("provider").stop(); code != 0 {
		t.Errorf("the provider ended with %d", code)
	}
	counts := map[string]int{}
	var paid, got zk.Amount
	want := map[zk.Amount]bool{}
	begun := 0
	for n, row := range rows {
		if row.ID == "" {
			continue // the time was over
		}
		begun++
		counts[row.Status]++
		if row.Status == "settled" {
			pays, gets := parse(t, row.Pays), parse(t, row.Gets)
			if gets != amount(n) {
				t.Errorf("payment %d got %d", n, gets)
			}
			paid, got = paid+pays, got+gets
			want[gets] = true
		}
		// Both or neither: the hold that decides and the hold that follows have one outcome.
		deciding, mine := c.outcome(c.b, row.Deciding), c.outcome(c.a, row.Hold)
		switch row.Status {
		case "settled":
			if deciding != entry.Posted || mine != entry.Posted {
				t.Errorf("payment %d is settled: the deciding hold %s, the payer's %s", n, deciding, mine)
			}
		case "returned":
			if deciding != entry.Voided || mine != entry.Voided {
				t.Errorf("payment %d is returned: the deciding hold %s, the payer's %s", n, deciding, mine)
			}
		case "given_up":
			if deciding == entry.Posted || row.Hold != "" {
				t.Errorf("payment %d was given up: the deciding hold %s, a payer's hold %q", n, deciding, row.Hold)
			}
		default:
			t.Errorf("payment %d is %s", n, row.Status)
		}
	}
	t.Logf("%d payments: %v; killed %v", begun, counts, c.kills)
	if begun < leastPayments || counts["settled"]*4 < begun {
		t.Errorf("only %d of %d payments settled: the test shows little", counts["settled"], begun)
	}
	// Once: the payee was paid each amount that settled, and nothing else.
	payee, held, holds := c.b.balance("payee")
	seen := map[zk.Amount]bool{}
	for _, h := range holds {
		if h.Outcome != entry.Posted {
			continue
		}
		if seen[h.Amount()] || !want[h.Amount()] {
			t.Errorf("the payee was paid %d twice, or though nobody paid it", h.Amount())
		}
		seen[h.Amount()] = true
	}
	if len(seen) != counts["settled"] || payee != got || held != 0 {
		t.Errorf("the payee got %d payments of %d, want %d of %d", len(seen), payee, counts["settled"], got)
	}
	// The money adds up on both ledgers.
	var left zk.Amount
	for i := range payers {
		owned, held, mine := c.a.balance(fmt.Sprint("payer", i))
		if left += owned; held != 0 {
			t.Errorf("payer %d still holds %d", i, held)
		}
		once(t, mine)
	}
	deskA, heldA, _ := c.a.balance("desk-a")
	deskB, heldB, _ := c.b.balance("desk-b")
	if left != payers*funds-paid || deskA != paid || heldA != 0 {
		t.Errorf("on Aurelia the payers own %d and the provider %d: paid were %d of %d", left, deskA, paid, payers*funds)
	}
	if deskB != stock-got || heldB != 0 {
		t.Errorf("on Borealis the provider owns %d: paid were %d of %d", deskB, got, stock)
	}
}

// once refuses two holds that paid.
func once(t testing.TB, holds []wallets.Hold) {
	seen := map[zk.Amount]bool{}
	for _, h := range holds {
		if h.Mine && h.Outcome == entry.Posted {
			if seen[h.Amount()] {
				t.Errorf("a payer paid %d twice", h.Amount())
			}
			seen[h.Amount()] = true
		}
	}
}

// outcome is what a ledger says of a hold; 0 for one that was never named.
func (c *crash) outcome(n *nation, text string) entry.Outcome {
	if text == "" {
		return 0
	}
	_, done, err := n.client.Hold(context.Background(), must(entry.ParseHoldID(text)))
	if err != nil {
		c.t.Errorf("hold %s: %v", text, err)
		return 0
	}
	if done == nil {
		return 0
	}
	return done.Outcome
}

func parse(t testing.TB, minor string) zk.Amount {
	v, err := strconv.ParseUint(minor, 10, 64)
	if err != nil {
		t.Errorf("amount %q", minor)
	}
	return zk.Amount(v)
}

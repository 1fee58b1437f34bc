package session_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// TestSeededWorldPaysEveryOrderOnce lets four wallets pay one another at random while answers are lost, nodes refuse what is right, wallets are
// killed and registry and oversight key change. A model that knows nothing of notes says what everybody must have in the end.
func TestSeededWorldPaysEveryOrderOnce(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playWorld(t, seed) })
	}
}

type job struct {
	from  int
	order *wallets.Order
	terms *entry.Attested // of a payment into a hold
}

// do pays the order, or places its hold.
func (j job) do(t *testing.T, s *session.Session) (session.Held, error) {
	if j.terms == nil {
		r, err := s.Pay(t.Context(), j.order, 0, nil)
		return session.Held{Result: r}, err
	}
	return s.Hold(t.Context(), j.order, func(*wallets.HoldDraft) (entry.Condition, uint64, error) {
		c, err := wallets.AttestedCondition(*j.terms)
		return c, entry.LocalSizeClass, err
	}, nil, 0, nil)
}

func resolveHold(t *testing.T, l *ledger, s *session.Session, held session.Held, a *entry.Attested, outcome entry.Outcome) {
	t.Helper()
	h, ok := s.State().HoldOf(held.Hold)
	if !ok {
		t.Fatalf("hold %s is not known", held.Hold)
	}
	head := entry.Header{Ledger: l.genesis.Hash(), ExpiryMillis: l.now + 600_000}
	if outcome == entry.Voided {
		submit(t, s, must(wallets.Release(head, h.ID, a, h.ReturnCommitment, edKey("payee"))))
		return
	}
	submit(t, s, must(wallets.Attest(head, h.ID, a, entry.Digest([]byte("done")), edKey("inspector"))))
	submit(t, s, wallets.PostAttested(head, h.ID, h.Commitment))
}

func playWorld(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	l := newLedger(t)
	const people = 4
	var who [people]keys.Wallet
	var disks [people]*disk
	var model [people]zk.Amount
	for i := range who {
		who[i], disks[i] = l.keys(fmt.Sprint("person ", i)), newDisk()
		l.register(who[i], unlimited)
	}
	for i := range who {
		for range 1 + r.IntN(4) {
			a := zk.Amount(1 + r.IntN(500))
			l.issue(who[i], 1, 0, a)
			model[i] += a
		}
	}
	epoch := uint32(1)
	trouble := 0
	l.after = func() error {
		if trouble > 0 && r.IntN(4) == 0 {
			trouble--
			return errors.New("connection reset")
		}
		return nil
	}
	l.reject = func([]byte) error {
		if trouble == 0 {
			return nil
		}
		switch r.IntN(12) {
		case 0:
			trouble--
			return entry.Refuse(entry.TryLater, "busy")
		case 1:
			trouble--
			return entry.Refuse(entry.ProofInvalid, "a node that lies")
		case 2:
			trouble--
			epoch++
			key := scalar(fmt.Sprint("oversight ", epoch))
			l.admin(&entry.Oversight{Epoch: epoch, Key: key.Base(), Possession: entry.ProvePossession(key, entry.OversightPossession(l.genesis.Hash(), epoch), &stream{name: "n"})})
		case 3:
			trouble--
			l.register(l.keys(fmt.Sprint("newcomer ", l.now)), 1)
			l.idle(120000)
		case 4:
			trouble--
			l.idle(700000) // past every expiry
		}
		return nil
	}
	var open []job
	faults := 0
	for n := range 25 {
		from, to := r.IntN(people), r.IntN(people)
		if model[from] == 0 {
			continue
		}
		amount := zk.Amount(1 + r.Uint64N(uint64(model[from])))
		j := job{from: from, order: &wallets.Order{ID: fmt.Sprint("order ", n), To: who[to].Address(l.genesis.Prefix, l.genesis.Hash()).String(), Asset: 1, Amount: amount}}
		outcome := entry.Posted
		if r.IntN(3) == 0 {
			j.terms = &entry.Attested{Until: l.now + 100*day, Statement: entry.StatementMilestone, Threshold: 1, Attestors: []entry.SignerKey{signer("inspector")},
				Payee: signer("payee")}
			if r.IntN(2) == 0 {
				outcome = entry.Voided
			}
		}
		if outcome == entry.Posted {
			model[from] -= amount
			model[to] += amount
		}
		open = append(open, j)
		// Orders are finished before their money is counted on, as a bank's would be.
		trouble = r.IntN(4)
		faults += trouble
		if r.IntN(2) == 0 {
			disks[from].countdown = r.IntN(12)
		}
		var last error
		for try := 0; ; try++ {
			if try == 60 {
				t.Fatalf("seed %d: %s does not settle: %v", seed, j.order.ID, last)
			}
			s := l.open(who[from], disks[from], fmt.Sprint(seed, n, try))
			held, err := j.do(t, s)
			last = err
			disks[from].dead, disks[from].countdown = false, -1
			if err == nil {
				if j.terms != nil {
					trouble = 0
					resolveHold(t, l, s, held, j.terms, outcome)
				}
				break
			}
			faults++
		}
	}
	trouble = 0
	// Everything again: nothing may move.
	for i, j := range open {
		again, err := j.do(t, l.open(who[j.from], disks[j.from], fmt.Sprint(seed, "again", i)))
		if err != nil || !again.Again {
			t.Fatalf("seed %d: %s was paid again, %v", seed, j.order.ID, err)
		}
	}
	for i := range who {
		s := l.open(who[i], newDisk(), "count")
		if err := s.Sync(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		all, _ := s.State().Balances(s.Outbox())
		var sum zk.Amount
		for _, b := range all {
			sum += b.Amount
		}
		if sum != model[i] {
			t.Fatalf("seed %d: person %d has %d, the model says %d", seed, i, sum, model[i])
		}
	}
	t.Logf("seed %d: %d orders, %d faults", seed, len(open), faults)
}

var _ session.Ledger = (*ledger)(nil)

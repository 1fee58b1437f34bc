package journal

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// late makes a witness answer after a while.
func late(h http.Handler, d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d)
		h.ServeHTTP(w, r)
	})
}

// oneOf asks for one of these witnesses, all for all of them.
func oneOf(names ...string) func([]string) bool {
	return func(by []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(by, n) })
	}
}

func all(names ...string) func([]string) bool {
	return func(by []string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(by, n) })
	}
}

func TestSlowWitnessIsWaitedForByNameWhileRoundsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		const slow = "w3.example"
		r.net.set(slow, late(witness(t, slow, r.shelves[slow]).Handler(), time.Second))
		if _, err := r.Cosign(t.Context(), r.at(t, 5)); err != nil {
			t.Fatal(err)
		}
		answer := make(chan *Cosigned, 1)
		go func() {
			c, err := r.Wait(t.Context(), 5, oneOf(slow))
			if err != nil {
				t.Error(err)
			}
			answer <- c
		}()
		// The quorum of the others goes on without it, again and again.
		for size := uint64(6); size < 15; size++ {
			if _, err := r.Cosign(t.Context(), r.at(t, size)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if c, err := r.Wait(t.Context(), 14, nil); err != nil || c.Size != 14 || slices.Contains(c.cosigners(), slow) {
			t.Errorf("any quorum: %+v, %v", c, err)
		}
		brief, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if c, err := r.Wait(brief, 1, oneOf(slow)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before its answer: %+v, %v", c, err)
		}
		time.Sleep(100 * time.Millisecond)
		c := <-answer
		if f, err := r.config.Policy.Check(c.Checkpoint, 1800000000); err != nil || f.Size != 5 || !slices.Contains(c.cosigners(), slow) {
			t.Errorf("its first cosignature: %+v, %v", c, err)
		}
		if c, err := r.Wait(t.Context(), 1, oneOf("w1.example", slow)); err != nil || c.Size != 14 {
			t.Errorf("either of two witnesses: %+v, %v", c, err)
		}
		if c, err := r.Wait(t.Context(), 1, all("w1.example", "w2.example", slow)); err != nil || c.Size != 5 {
			t.Errorf("all three witnesses: %+v, %v", c, err)
		}
		moved := r.Moved()
		time.Sleep(2 * time.Second) // by now it has cosigned the newest, too
		<-moved
		if c := r.Latest(); c.Size != 14 || len(c.cosigners()) != 3 {
			t.Errorf("latest: %d leaves by %v", c.Size, c.cosigners())
		}
	})
}

func TestSavedCheckpointServesBeforeAnyWitnessAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		head := r.at(t, 5)
		if _, err := r.Cosign(t.Context(), head); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		saved := r.Latest().Checkpoint
		r.close(t)
		if _, err := r.Wait(t.Context(), 6, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("waiting in a closed journal: %v", err)
		}
		c := r.config
		c.Saved, c.Signed = saved, head
		restart := func(c Config) *Journal {
			j, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		j := restart(c)
		if got, err := j.Wait(t.Context(), 5, oneOf("w2.example")); err != nil || string(got.Checkpoint) != string(saved) || j.Latest().Size != 5 {
			t.Errorf("%+v, %v", got, err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		c.Saved = c.Signer.Sign(head) // without a quorum it is nothing
		j = restart(c)
		if j.Latest() != nil {
			t.Error("a checkpoint without a quorum is final after a restart")
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

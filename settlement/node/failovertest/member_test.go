// Package failovertest runs several nodes of one ledger as processes of their own over a PostgreSQL server, and kills, stops and replaces
// them under load. Proofs are stamps, so that two processors are enough for all of it.
package failovertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/pgstore"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/rpc"
)

// What a process is told by its environment.
const (
	envName    = "COMITY_TEST_MEMBER" // its name; the test binary is a node where it is set
	envStore   = "COMITY_TEST_STORE"
	envWitness = "COMITY_TEST_WITNESS"
	envBase    = "COMITY_TEST_BASE" // when the ledger began, by this machine's clock, in milliseconds
	envListen  = "COMITY_TEST_LISTEN"
	envBlind   = "COMITY_TEST_BLIND" // name of a node to which every proof is false
)

const (
	seed  = 41
	lease = 2 * time.Second
)

func TestMain(m *testing.M) {
	if name := os.Getenv(envName); name != "" {
		if err := member(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

// clock is the ledger's wall clock: it began one second before base.
func clock(base int64) func() time.Time {
	return func() time.Time { return time.UnixMilli(ledgertest.Start + 1000 + time.Now().UnixMilli() - base) }
}

// verifier knows the stamps of the test's bed.
func verifier() *ledgertest.StampVerifier { return &ledgertest.StampVerifier{Key: [32]byte{1}} }

// member is the process of one node.
func member(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	base, err := strconv.ParseInt(os.Getenv(envBase), 10, 64)
	if err != nil {
		return err
	}
	l := ledgertest.NewLedger(seed)
	signer, err := proof.NewLogSigner(l.Genesis.Origin, l.LogKey)
	if err != nil {
		return err
	}
	opener, err := pgstore.New(pgstore.Config{URL: os.Getenv(envStore), IdleTimeout: lease / 2})
	if err != nil {
		return err
	}
	store, err := opener.Open(ctx, l.Hash)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", os.Getenv(envListen))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	checks := verifier()
	if os.Getenv(envBlind) == name {
		checks.Key[1]++
	}
	m, err := node.Join(ctx, node.MemberConfig{
		Node: node.Config{Store: store, Verifier: checks, Recheck: verifier(), Signer: signer, Now: clock(base), Log: log,
			Witnesses: []journal.Endpoint{{Name: l.Genesis.Witnesses.Members[0].Name, URL: os.Getenv(envWitness)}}},
		Name: name, URL: "http://" + listener.Addr().String(), Lease: lease, Forwarded: rpc.Forwarded,
		Forward: forwarder(&http.Client{Timeout: 10 * time.Second}, name),
	})
	if err != nil {
		return err
	}
	server, err := rpc.New(rpc.Config{Ledger: served{m}, Version: "test", Log: log})
	if err != nil {
		return err
	}
	serving, end := context.WithCancel(ctx)
	defer end()
	go func() {
		<-m.Done()
		end()
	}()
	served := server.Serve(serving, listener)
	bounded, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(served, m.Stop(bounded), store.Close())
}

// forwarder hands entries of the node called name to others, as a node's own program does.
func forwarder(h *http.Client, name string) func(ctx context.Context, url string, entries []node.Forwarded) ([]node.Answer, error) {
	forward := rpc.Forward(h, name)
	return func(ctx context.Context, url string, entries []node.Forwarded) ([]node.Answer, error) {
		sent := make([]rpc.Sent, len(entries))
		for i, e := range entries {
			sent[i] = rpc.Sent{Entry: e.Leaf, Segments: e.Segments, Lane: e.Lane, Voucher: e.Voucher, TraceParent: e.TraceParent}
		}
		got, err := forward(ctx, url, sent)
		answers := make([]node.Answer, len(got))
		for i, j := range got {
			status := settlement.Accepted
			if j.Before {
				status = settlement.SettledBefore
			}
			answers[i] = node.Answer{Result: settlement.Result{Status: status, ID: j.ID, EntryIndex: j.EntryIndex, Height: j.Height}, Err: j.Err}
		}
		return answers, err
	}
}

// served is a member as the network edge sees it.
type served struct{ *node.Member }

func (s served) Submit(ctx context.Context, leaf []byte, segments [][]byte) (rpc.Accepted, error) {
	r, err := s.Member.Submit(node.WithVoucher(node.WithCaller(ctx, rpc.Lane(ctx)), rpc.Voucher(ctx)), leaf, segments)
	if errors.Is(err, node.ErrStopped) {
		err = entry.Refuse(entry.TryLater, "the node is stopping")
	}
	return rpc.Accepted{ID: r.ID, EntryIndex: r.EntryIndex, Height: r.Height, Before: r.Status == settlement.SettledBefore}, err
}

func (s served) Status(context.Context) (rpc.Status, error) {
	n := s.Member.Status()
	return rpc.Status{State: n.State, Size: n.Size, FinalSize: n.FinalSize, Pending: n.Waiting}, nil
}

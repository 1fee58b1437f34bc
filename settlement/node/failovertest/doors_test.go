package failovertest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/authority"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/pgstore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/rpc"
	"github.com/comity-ledger/comity/wallets/client"
)

// pki is an authority and its files.
type pki struct {
	t  *testing.T
	by *authority.Authority
	ca string
}

func newPKI(t *testing.T, ledger entry.GenesisHash) *pki {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	by, err := authority.New(doors.Ledger(ledger), key, time.Now(), time.Hour)
	must(t, err)
	p := &pki{t: t, by: by, ca: filepath.Join(t.TempDir(), "ca.pem")}
	must(t, os.WriteFile(p.ca, by.Certificate(), 0o600))
	return p
}

// files are a certificate and its key.
func (p *pki) files(role doors.Role, name string) (cert, key string) {
	p.t.Helper()
	public, private, err := authority.NewKey()
	must(p.t, err)
	text, err := p.by.Issue(authority.Request{Role: role, Name: name, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Key: public, Lifetime: time.Hour}, time.Now())
	must(p.t, err)
	dir := p.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(p.t, errors.Join(os.WriteFile(cert, text, 0o600), os.WriteFile(key, private, 0o600)))
	return cert, key
}

func (p *pki) http(role doors.Role, name string) *http.Client {
	p.t.Helper()
	cert, key := p.files(role, name)
	c, err := doors.NewClient(doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{p.ca}})
	must(p.t, err)
	h := &http.Client{Transport: doors.Transport(c), Timeout: 20 * time.Second}
	p.t.Cleanup(h.CloseIdleConnections)
	return h
}

// arrival is a submission as a node's program got it from the edge.
type arrival struct {
	id        entry.ID
	caller    string
	lane      string
	voucher   bool
	forwarded bool
}

// guarded is a node behind mutual TLS.
type guarded struct {
	member *node.Member
	url    string
	proofs atomic.Int64 // checked here

	mu   sync.Mutex // guards what follows
	came []arrival
	cut  bool                     // its way to other nodes
	told func(e []node.Forwarded) // what it forwards, before it does; may be nil
	out  func(context.Context, string, []node.Forwarded) ([]node.Answer, error)
}

func (g *guarded) VerifyBatch(jobs []settlement.Job) []error {
	g.proofs.Add(int64(len(jobs)))
	return verifier().VerifyBatch(jobs)
}

func (g *guarded) forward(ctx context.Context, url string, entries []node.Forwarded) ([]node.Answer, error) {
	g.mu.Lock()
	cut, told := g.cut, g.told
	g.mu.Unlock()
	if told != nil {
		told(entries)
	}
	if cut {
		return nil, errors.New("no way")
	}
	return g.out(ctx, url, entries)
}

func (g *guarded) arrivals() []arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]arrival(nil), g.came...)
}

// door is a guarded node as the edge sees it.
type door struct {
	served
	g *guarded
}

func (d door) Submit(ctx context.Context, leaf []byte, segments [][]byte) (rpc.Accepted, error) {
	a := arrival{lane: rpc.Lane(ctx), voucher: len(rpc.Voucher(ctx)) > 0, forwarded: rpc.Forwarded(ctx)}
	if c, ok := rpc.CallerFrom(ctx); ok {
		a.caller = c.Name
	}
	if e, err := entry.Decode(leaf); err == nil {
		a.id = entry.IDOf(e)
	}
	d.g.mu.Lock()
	d.g.came = append(d.g.came, a)
	d.g.mu.Unlock()
	return d.served.Submit(ctx, leaf, segments)
}

// guard starts a node of the rig's ledger in this process, known to the others by a certificate of a role.
func (r *rig) guard(p *pki, name string, role doors.Role) *guarded {
	t := r.t
	t.Helper()
	g := &guarded{}
	l := ledgertest.NewLedger(seed)
	signer, err := proof.NewLogSigner(l.Genesis.Origin, l.LogKey)
	must(t, err)
	opener, err := pgstore.New(pgstore.Config{URL: r.url})
	must(t, err)
	store, err := opener.Open(t.Context(), l.Hash)
	must(t, err)
	cert, key := p.files(doors.Operator, name)
	guard, err := doors.NewServer(doors.ServerConfig{Cert: cert, Key: key, ClientCAs: []string{p.ca}, Ledgers: []doors.Ledger{doors.Ledger(l.Hash)}})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g.url = "https://" + listener.Addr().String()
	g.out = forwarder(p.http(role, name), name)
	g.member, err = node.Join(t.Context(), node.MemberConfig{
		Node: node.Config{Store: store, Verifier: g, Signer: signer, Now: clock(r.base),
			Witnesses: []journal.Endpoint{{Name: l.Genesis.Witnesses.Members[0].Name, URL: r.witness}}},
		Name: name, URL: g.url, Lease: time.Minute, Forwarded: rpc.Forwarded, Forward: g.forward,
	})
	must(t, err)
	server, err := rpc.New(rpc.Config{Ledger: door{served{g.member}, g}, Version: "test", Doors: guard})
	must(t, err)
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		end()
		bounded, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		must(t, errors.Join(<-ended, g.member.Stop(bounded), store.Close()))
	})
	return g
}

// TestForwardingOverMutualTLS: a bank submits at a node that follows. The leader hears of it from that node, in the bank's name, and its
// answer comes back.
func TestForwardingOverMutualTLS(t *testing.T) {
	r := newRig(t)
	p := newPKI(t, r.bed.Hash)
	leader := r.guard(p, "one", doors.Operator)
	follower := r.guard(p, "two", doors.Operator)
	if !leader.member.Role().Leads || follower.member.Role().Leads {
		t.Fatal("the roles are not as the test wants them")
	}
	bank := client.NewWith(p.http(doors.Bank, "first"), follower.url)
	tx := r.transfer(nil)
	got, err := bank.Submit(t.Context(), tx.Encode(), tx.Segments)
	if err != nil || got.Before {
		t.Fatalf("%+v, %v", got, err)
	}
	if index, there := r.audit(t)[tx.ID()]; !there || index != got.EntryIndex {
		t.Errorf("it is at %d of the log (%v), and was answered with %d", index, there, got.EntryIndex)
	}
	want := arrival{id: tx.ID(), caller: "operator/two", lane: "bank/first", voucher: true, forwarded: true}
	if came := leader.arrivals(); len(came) != 1 || came[0] != want {
		t.Errorf("the leader was told %+v, want %+v", came, want)
	}
	if came := follower.arrivals(); len(came) != 1 || came[0] != (arrival{id: tx.ID(), caller: "bank/first", lane: "bank/first"}) {
		t.Errorf("the follower was told %+v", came)
	}
	if follower.proofs.Load() != 1 || leader.proofs.Load() != 0 {
		t.Errorf("%d proofs were checked by the follower, %d by the leader", follower.proofs.Load(), leader.proofs.Load())
	}
	// What the leader refuses comes back by its name and in its words.
	r.mu.Lock()
	far := r.bed.Tx(entry.KindTransfer, 1)
	far.ExpiryMillis += 1 << 40
	r.bed.Prove(far)
	r.mu.Unlock()
	_, err = bank.Submit(t.Context(), far.Encode(), far.Segments)
	_, own := client.NewWith(p.http(doors.Bank, "first"), leader.url).Submit(t.Context(), far.Encode(), far.Segments)
	if entry.CodeOf(err) != entry.ExpiryTooFar || entry.CodeOf(own) != entry.ExpiryTooFar {
		t.Errorf("an expiry too far ahead: %v; at the leader %v", err, own)
	}
	// A false proof goes no further than the node where it came in.
	before := len(leader.arrivals())
	bad := r.transfer(nil)
	bad.Legs[0].Proof[40] ^= 1
	if _, err := bank.Submit(t.Context(), bad.Encode(), bad.Segments); entry.CodeOf(err) != entry.ProofInvalid {
		t.Errorf("a false proof: %v", err)
	}
	if after := len(leader.arrivals()); after != before {
		t.Error("a false proof reached the leader")
	}
}

// TestOnlyNodesForward: without the role of a node, nothing that is said of an entry is believed, not even a voucher that is good.
func TestOnlyNodesForward(t *testing.T) {
	r := newRig(t)
	p := newPKI(t, r.bed.Hash)
	leader := r.guard(p, "one", doors.Operator)
	follower := r.guard(p, "two", doors.Operator)
	// A node whose certificate is a witness's may not submit at the leader: of its clients' entries nothing is known.
	outsider := r.guard(p, "three", doors.Witness)
	tx := r.transfer(nil)
	if _, err := client.NewWith(p.http(doors.Bank, "first"), outsider.url).Submit(t.Context(), tx.Encode(), tx.Segments); entry.CodeOf(err) != entry.TryLater {
		t.Errorf("a node with a witness's certificate: %v", err)
	}
	if came := leader.arrivals(); len(came) != 0 {
		t.Errorf("the leader was told %+v", came)
	}
	// A good voucher, caught on its way.
	var caught []node.Forwarded
	follower.mu.Lock()
	follower.cut = true
	follower.told = func(e []node.Forwarded) { caught = append(caught, e...) }
	follower.mu.Unlock()
	if _, err := client.NewWith(p.http(doors.Bank, "first"), follower.url).Submit(t.Context(), tx.Encode(), tx.Segments); entry.CodeOf(err) != entry.TryLater {
		t.Fatalf("without a way to the leader: %v", err)
	}
	if len(caught) != 1 || len(caught[0].Voucher) != settlement.VoucherSize {
		t.Fatalf("caught: %+v", caught)
	}
	// A bank brings it, as a node would, and in another's name.
	caught[0].Lane = "bank/second"
	answers, err := forwarder(p.http(doors.Bank, "thief"), "two")(t.Context(), leader.url, caught)
	if err != nil || answers[0].Err != nil || answers[0].Result.ID != tx.ID() {
		t.Fatalf("a bank submits: %+v, %v", answers, err)
	}
	if came := leader.arrivals(); len(came) != 1 || came[0] != (arrival{id: tx.ID(), caller: "bank/thief", lane: "bank/thief", forwarded: true}) {
		t.Errorf("the leader was told %+v", came)
	}
	if leader.proofs.Load() != 1 {
		t.Errorf("%d proofs were checked by the leader, want 1", leader.proofs.Load())
	}
	// What claims to be forwarded is not forwarded again, whoever says so.
	follower.mu.Lock()
	follower.cut = false
	follower.mu.Unlock()
	other := r.transfer(nil)
	answers, err = forwarder(p.http(doors.Bank, "thief"), "one")(t.Context(), follower.url, []node.Forwarded{{Leaf: other.Encode(), Segments: other.Segments}})
	if err != nil || entry.CodeOf(answers[0].Err) != entry.TryLater {
		t.Errorf("forwarded to a node that follows: %+v, %v", answers, err)
	}
}

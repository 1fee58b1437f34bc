package journal

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement/proof"
)

const origin = "ledger.aurelia.example/log"

func edKey(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func edPublic(name string) (k [32]byte) {
	copy(k[:], edKey(name).Public().(ed25519.PublicKey))
	return k
}

func signer(t testing.TB) *proof.LogSigner {
	t.Helper()
	s, err := proof.NewLogSigner(origin, edKey("log"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func policy(t testing.TB, quorum int, names ...string) *proof.Policy {
	t.Helper()
	c := proof.Config{Origin: origin, LogKey: edPublic("log"), Quorum: quorum}
	for _, name := range names {
		c.Witnesses = append(c.Witnesses, proof.Witness{Name: name, Key: edPublic(name)})
	}
	p, err := proof.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// memory is a growing log whose hashes are read as tiles, as from a store.
type memory struct {
	mu     sync.Mutex
	hashes []proof.Hash
	size   uint64
}

func (m *memory) ReadHashes(indexes []int64) ([]proof.Hash, error) {
	out := make([]proof.Hash, len(indexes))
	for i, n := range indexes {
		if n >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no hash %d", n)
		}
		out[i] = m.hashes[n]
	}
	return out, nil
}

func (m *memory) Tile(_ context.Context, level uint8, index uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.size>>(8*uint(level)) - min(m.size>>(8*uint(level)), index*256)
	if have == 0 {
		return nil, errors.New("no tile")
	}
	return tlog.ReadTileData(tlog.Tile{H: 8, L: int(level), N: int64(index), W: int(min(have, 256))}, m)
}

// grow adds leaves up to size and gives the head. Leaves from fork on differ between logs of different names.
func (m *memory) grow(t testing.TB, size uint64, name string, fork uint64) proof.Head {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; m.size < size; m.size++ {
		leaf := fmt.Sprint("leaf ", m.size)
		if m.size >= fork {
			leaf += name
		}
		hs, err := tlog.StoredHashes(int64(m.size), []byte(leaf), m)
		if err != nil {
			t.Fatal(err)
		}
		m.hashes = append(m.hashes, hs...)
	}
	root, err := proof.RootAt(size, m)
	if err != nil {
		t.Fatal(err)
	}
	return proof.Head{Size: size, Root: root}
}

func honest(t testing.TB, size uint64) (*memory, proof.Head) {
	m := &memory{}
	return m, m.grow(t, size, "", size)
}

// shelf is a Medium in memory. fail makes the next Save fail; lost says whether it wrote before failing.
type shelf struct {
	mu     sync.Mutex
	states map[string][]byte
	saves  int
	fail   error
	wrote  bool
}

func (s *shelf) Load(origin string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[origin], nil
}

func (s *shelf) Save(origin string, state []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saves++
	err := s.fail
	s.fail = nil
	if err != nil && !s.wrote {
		return err
	}
	if s.states == nil {
		s.states = map[string][]byte{}
	}
	s.states[origin] = state
	return err
}

func witness(t testing.TB, name string, medium Medium) *Witness {
	t.Helper()
	c, err := proof.NewCosigner(name, edKey(name))
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWitness(WitnessConfig{Cosigner: c, Medium: medium, Now: func() time.Time { return time.Unix(1800000000, 0) },
		Logs: []Log{{Origin: origin, Key: edKey("log").Public().(ed25519.PublicKey)}}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// network hands requests to handlers in this process by host name. A missing host is a witness that is down.
type network struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
	calls atomic.Int64
}

func (n *network) set(host string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]http.Handler{}
	}
	n.hosts[host] = h
}

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	n.calls.Add(1)
	n.mu.Lock()
	h := n.hosts[req.URL.Host]
	n.mu.Unlock()
	if h == nil {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	served := make(chan struct{})
	go func() {
		defer close(served)
		h.ServeHTTP(rec, req)
	}()
	select {
	case <-served:
		return rec.Result(), nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// post sends a request to a handler and gives status, content type and body.
func post(h http.Handler, body []byte) (int, string, []byte) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", io.NopCloser(newReader(body))))
	return rec.Code, rec.Header().Get("Content-Type"), rec.Body.Bytes()
}

func newReader(b []byte) io.Reader { return &reader{b} }

type reader struct{ b []byte }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// ask makes the body that an honest ledger sends to a witness that holds old leaves.
func ask(t testing.TB, m *memory, old, size uint64) []byte {
	t.Helper()
	path, err := proof.ProveConsistency(old, size, HashReader(t.Context(), m))
	if err != nil {
		t.Fatal(err)
	}
	root, err := proof.RootAt(size, HashReader(t.Context(), m))
	if err != nil {
		t.Fatal(err)
	}
	return (&request{old, path, signer(t).Sign(proof.Head{Size: size, Root: root})}).marshal()
}

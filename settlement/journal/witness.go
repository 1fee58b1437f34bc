package journal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/comity-ledger/comity/settlement/proof"
)

// Medium keeps, for each log, the state a witness must not lose: the checkpoint it cosigned last.
type Medium interface {
	// Load returns what Save kept last for that origin, or nil when there never was anything.
	Load(origin string) ([]byte, error)
	// Save replaces the state in one step. When it returns nil the new state survives a loss of power; when it fails, or the process
	// ends inside, Load gives the old state or the new one, whole.
	Save(origin string, state []byte) error
}

// Checker decides whether a witness may cosign a head beyond its being consistent. A *Validator is one.
type Checker interface {
	// Reach returns nil when the head was checked, an error wrapping ErrLogInvalid when it must not be cosigned, and any other
	// error when it cannot say yet.
	Reach(ctx context.Context, head proof.Head) error
}

// Log is a log that a witness knows.
type Log struct {
	Origin string
	Key    ed25519.PublicKey
	// Validator makes the witness validating for this log; nil leaves it a consistency witness.
	Validator Checker
}

// WitnessConfig is what a witness needs.
type WitnessConfig struct {
	Cosigner *proof.Cosigner
	Logs     []Log
	Medium   Medium
	// Now is the time of cosignatures; nil means time.Now.
	Now func() time.Time
	// OnFork is told of portable evidence that a log forked; nil drops it.
	OnFork func(origin string, e *proof.Evidence)
	// Logger gets a line per refused request; nil drops them.
	Logger *slog.Logger
}

// ErrStateDamaged: the stored state of a log is torn or not signed by the log. A witness that began anew instead would cosign a fork.
var ErrStateDamaged = errors.New("witness_state_damaged")

// A Witness cosigns checkpoints of the logs it knows, per C2SP tlog-witness. It is safe for concurrent use.
type Witness struct {
	config WitnessConfig
	logs   map[string]*witnessed
	slots  chan struct{} // bounds requests in hand
}

// witnessed is a log and what was cosigned of it.
type witnessed struct {
	Log

	mu         sync.Mutex // guards what follows; held from the check of the old size until the new state is durable
	head       proof.Head
	checkpoint []byte // as the log signed it; nil before the first
	doubt      bool   // the last Save failed: the medium may hold either state
}

const maxInHand = 64

// NewWitness loads the state of every log. It fails with ErrStateDamaged rather than forget one.
func NewWitness(c WitnessConfig) (*Witness, error) {
	if c.Cosigner == nil || c.Medium == nil || len(c.Logs) == 0 {
		return nil, errors.New("witness: want a cosigner, a medium and a log")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Witness{config: c, logs: map[string]*witnessed{}, slots: make(chan struct{}, maxInHand)}
	for _, l := range c.Logs {
		if len(l.Key) != ed25519.PublicKeySize || w.logs[l.Origin] != nil {
			return nil, fmt.Errorf("witness: log %q has no Ed25519 key or is listed twice", l.Origin)
		}
		state := &witnessed{Log: l, head: proof.Head{Root: proof.EmptyRoot()}}
		if err := w.load(state); err != nil {
			return nil, err
		}
		w.logs[l.Origin] = state
	}
	return w, nil
}

const stateHeader = "comity/witness-state/v1 "

// encodeState puts a checksum before a checkpoint, so that a torn file shows.
func encodeState(checkpoint []byte) []byte {
	sum := sha256.Sum256(checkpoint)
	return append([]byte(stateHeader+hex.EncodeToString(sum[:])+"\n"), checkpoint...)
}

func decodeState(b []byte) ([]byte, error) {
	line, checkpoint, _ := bytes.Cut(b, []byte("\n"))
	if !bytes.Equal(encodeState(checkpoint), b) || len(line) == 0 {
		return nil, ErrStateDamaged
	}
	return checkpoint, nil
}

// load reads a log's state. Called with mu held, or before anybody else can.
func (w *Witness) load(l *witnessed) error {
	b, err := w.config.Medium.Load(l.Origin)
	if err != nil {
		return fmt.Errorf("load the state of %s: %w", l.Origin, err)
	}
	if b == nil {
		l.head, l.checkpoint, l.doubt = proof.Head{Root: proof.EmptyRoot()}, nil, false
		return nil
	}
	checkpoint, err := decodeState(b)
	if err != nil {
		return fmt.Errorf("load the state of %s: %w", l.Origin, err)
	}
	c, err := proof.OpenLog(l.Origin, l.Key, checkpoint)
	if err != nil {
		return fmt.Errorf("load the state of %s: %w: %w", l.Origin, ErrStateDamaged, err)
	}
	l.head, l.checkpoint, l.doubt = c.Head, checkpoint, false
	return nil
}

// Head is the largest tree of a log that this witness cosigned.
func (w *Witness) Head(origin string) (proof.Head, bool) {
	l, ok := w.logs[origin]
	if !ok {
		return proof.Head{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, true
}

// refusal is an answer other than 200. The names are those of SPEC 2.7.
type refusal struct {
	status int
	name   string
	err    error
	size   uint64 // 409 only: the tree this witness holds
}

func (r *refusal) Error() string { return r.name + ": " + r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status int, name, format string, args ...any) *refusal {
	return &refusal{status: status, name: name, err: fmt.Errorf(format, args...)}
}

// addCheckpoint is the request POST /add-checkpoint: it returns the signature line, or why there is none.
func (w *Witness) addCheckpoint(ctx context.Context, body []byte) ([]byte, *refusal) {
	req, err := parseRequest(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "request_malformed", "%w", err)
	}
	origin, _, _ := strings.Cut(string(req.checkpoint), "\n")
	l, ok := w.logs[origin]
	if !ok {
		return nil, refuse(http.StatusNotFound, "origin_unknown", "this witness does not know %s", oneLine([]byte(origin)))
	}
	c, err := proof.OpenLog(l.Origin, l.Key, req.checkpoint)
	if errors.Is(err, proof.ErrLogSignature) {
		return nil, refuse(http.StatusForbidden, "log_signature_invalid", "%w", err)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "request_malformed", "%w", err)
	}
	if req.old > c.Size {
		return nil, refuse(http.StatusBadRequest, "request_malformed", "old size %d of a tree of %d leaves", req.old, c.Size)
	}
	// Cheap answers come before the replay, and the same check again after it, under the lock that the new state is written in.
	if r := w.compare(l, req, c); r != nil {
		return nil, r
	}
	if l.Validator != nil {
		switch err := l.Validator.Reach(ctx, c.Head); {
		case errors.Is(err, ErrLogInvalid):
			return nil, refuse(http.StatusUnprocessableEntity, "log_invalid", "%w", err)
		case err != nil:
			return nil, refuse(http.StatusServiceUnavailable, "not_replayed_yet", "%w", err)
		}
	}
	return w.record(l, req, c)
}

// compare checks a request against the state: old size, roots, consistency.
func (w *Witness) compare(l *witnessed, req *request, c proof.Checkpoint) *refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w.compareLocked(l, req, c)
}

func (w *Witness) compareLocked(l *witnessed, req *request, c proof.Checkpoint) *refusal {
	if l.doubt {
		if err := w.load(l); err != nil {
			l.doubt = true
			return refuse(http.StatusInternalServerError, "state_unavailable", "%w", err)
		}
		l.doubt = true // until a Save succeeds: what was read may not be durable
	}
	if c.Size == l.head.Size && c.Size > 0 && c.Root != l.head.Root {
		w.fork(l, req.checkpoint)
		return &refusal{http.StatusConflict, "root_conflict", fmt.Errorf("a second root for %d leaves", c.Size), l.head.Size}
	}
	if req.old != l.head.Size {
		return &refusal{http.StatusConflict, "size_conflict", fmt.Errorf("old size %d, this witness holds %d", req.old, l.head.Size), l.head.Size}
	}
	if err := proof.VerifyConsistency(l.head, c.Head, req.path); err != nil {
		return refuse(http.StatusUnprocessableEntity, "consistency_invalid", "%w", err)
	}
	return nil
}

// record makes the checkpoint this witness's newest, durably, and only then cosigns it. The lock spans all of it, or two requests
// could overtake each other and roll the state back (C2SP tlog-witness, the race it describes).
func (w *Witness) record(l *witnessed, req *request, c proof.Checkpoint) ([]byte, *refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := w.compareLocked(l, req, c); r != nil {
		return nil, r
	}
	if c.Head != l.head || l.checkpoint == nil || l.doubt {
		if err := w.config.Medium.Save(l.Origin, encodeState(req.checkpoint)); err != nil {
			l.doubt = true
			return nil, refuse(http.StatusInternalServerError, "state_unavailable", "%w", err)
		}
		l.head, l.checkpoint, l.doubt = c.Head, req.checkpoint, false
	}
	line, err := w.config.Cosigner.Sign(c, uint64(w.config.Now().Unix()))
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, "state_unavailable", "%w", err)
	}
	return line, nil
}

// fork keeps evidence that a log signed two roots for one size. Called with the log's mu held.
func (w *Witness) fork(l *witnessed, checkpoint []byte) {
	e, err := proof.NewEvidence(l.Origin, l.Key, l.checkpoint, checkpoint, nil)
	if err != nil {
		return
	}
	w.config.Logger.Error("the log forked", "origin", l.Origin, "size", l.head.Size)
	if w.config.OnFork != nil {
		w.config.OnFork(l.Origin, e)
	}
}

// Handler serves POST /add-checkpoint.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.serve)
	return mux
}

func (w *Witness) serve(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Cache-Control", "no-store")
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxRequest))
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		w.answer(rw, refuse(http.StatusRequestEntityTooLarge, "request_malformed", "more than %d bytes", maxRequest))
		return
	}
	if err != nil {
		w.answer(rw, refuse(http.StatusBadRequest, "request_malformed", "read: %w", err))
		return
	}
	select { // only now: a client that sends slowly holds no place
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	default:
		w.answer(rw, refuse(http.StatusServiceUnavailable, "try_later", "%d requests in hand", maxInHand))
		return
	}
	line, refused := w.addCheckpoint(r.Context(), body)
	if refused != nil {
		w.answer(rw, refused)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = rw.Write(line) // a lost answer costs nothing: the request may be repeated
}

func (w *Witness) answer(rw http.ResponseWriter, r *refusal) {
	level := slog.LevelInfo
	if r.status == http.StatusInternalServerError || r.name == "log_invalid" || r.name == "consistency_invalid" {
		level = slog.LevelError
	}
	w.config.Logger.Log(context.Background(), level, "refused a checkpoint", "name", r.name, "reason", r.err.Error())
	if r.status == http.StatusConflict {
		rw.Header().Set("Content-Type", sizeType)
		rw.WriteHeader(r.status)
		_, _ = io.WriteString(rw, strconv.FormatUint(r.size, 10)+"\n")
		return
	}
	if r.status == http.StatusServiceUnavailable {
		rw.Header().Set("Retry-After", "1")
	}
	http.Error(rw, r.Error(), r.status)
}

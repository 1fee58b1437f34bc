package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/rig"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// pair is a ledger's two nodes.
type pair struct {
	leader, follower *process
	height           uint64 // block that transfers are proven under
}

// process is a node.
type process struct {
	cmd    *exec.Cmd
	client ledgerv1connect.LedgerServiceClient
	said   bytes.Buffer
}

// with runs both nodes for as long as do takes.
func (o *options) with(ctx context.Context, f *rig.Founded, witness string, everything bool, do func(*pair) error) (err error) {
	p := &pair{height: f.State.Height()}
	if p.leader, err = o.start(ctx, f, witness, "one", everything); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.leader.stop()) }()
	if p.follower, err = o.start(ctx, f, witness, "two", everything); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.follower.stop()) }()
	for _, n := range []*process{p.leader, p.follower} {
		s, err := n.client.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		if leads := s.GetNode().GetRole() == ledgerv1.NodeRole_NODE_ROLE_LEADER; leads != (n == p.leader) {
			return fmt.Errorf("node %s leads: %v", s.GetNode().GetName(), leads)
		}
	}
	return do(p)
}

func (o *options) start(ctx context.Context, f *rig.Founded, witness, name string, everything bool) (*process, error) {
	ready := filepath.Join(o.folder, name+".ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, o.program, "ledger", "run", "--data", f.Dir, "--passphrase-file", filepath.Join(f.Dir, "passphrase"), "--store", f.Store,
		"--listen", "127.0.0.1:0", "--ready-file", ready, "--witness", dataset.WitnessName+"="+witness, "--node-name", name, fmt.Sprintf("--verify-everything=%v", everything))}
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COMITY_") }), "GOMAXPROCS=1")
	p.cmd.Stderr = &p.said
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.program, err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if url, err := os.ReadFile(ready); err == nil && bytes.HasSuffix(url, []byte("\n")) {
			h := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.workers, DisableCompression: true}}
			p.client = ledgerv1connect.NewLedgerServiceClient(h, strings.TrimSpace(string(url)), connect.WithAcceptCompression("gzip", nil, nil))
			return p, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("node %s does not answer", name), p.stop())
		}
	}
}

func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when the process is over
	if err := p.cmd.Wait(); err != nil {
		said := p.said.String()
		return fmt.Errorf("a node ended: %w: %s", err, said[max(0, len(said)-2000):])
	}
	return nil
}

// turn sends transfers one way and books what that took.
func (p *pair) turn(ctx context.Context, o *options, w *way, items []dataset.Item) error {
	items = slices.Clone(items)
	for i := range items {
		if err := items[i].AnchorAt(p.height); err != nil {
			return err
		}
	}
	var to []*process
	if w.leader {
		to = append(to, p.leader)
	}
	if w.follower {
		to = append(to, p.follower)
	}
	before, err := p.used()
	if err != nil {
		return err
	}
	start := time.Now()
	calls := make(chan []dataset.Item, len(items)/o.batch+1)
	for part := range slices.Chunk(items, o.batch) {
		calls <- part
	}
	close(calls)
	var mu sync.Mutex
	var failed error
	var wait sync.WaitGroup
	for i := range o.workers {
		wait.Go(func() {
			for part := range calls {
				again, err := send(ctx, to[i%len(to)].client, part)
				mu.Lock()
				w.spent.again += again
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	if failed != nil {
		return failed
	}
	w.spent.elapsed += time.Since(start)
	if err := p.even(ctx); err != nil {
		return err
	}
	after, err := p.used()
	if err != nil {
		return err
	}
	w.spent.transfers += len(items)
	w.spent.leader += after[0] - before[0]
	w.spent.follower += after[1] - before[1]
	return nil
}

// send settles entries in one call, and what is put off in another.
func send(ctx context.Context, client ledgerv1connect.LedgerServiceClient, items []dataset.Item) (again int, err error) {
	for len(items) > 0 {
		req := &ledgerv1.SubmitBatchRequest{}
		for i := range items {
			req.Entries = append(req.Entries, &ledgerv1.SubmitRequest{Entry: items[i].Entry, Segments: items[i].Segments})
		}
		got, err := client.SubmitBatch(ctx, req)
		if err != nil {
			return again, fmt.Errorf("submit: %w", err)
		}
		var later []dataset.Item
		for i, r := range got.GetResults() {
			switch refused := r.GetRefused(); {
			case refused == nil:
			case entry.Code(refused.GetCode()) == entry.TryLater:
				later = append(later, items[i])
			default:
				return again, fmt.Errorf("a transfer was refused: %s: %s", refused.GetCode(), refused.GetDetail())
			}
		}
		if again += len(later); len(later) > 0 {
			time.Sleep(20 * time.Millisecond)
		}
		items = later
	}
	return again, nil
}

// even waits until the follower has applied what the leader wrote, and everything is final.
func (p *pair) even(ctx context.Context) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		a, err1 := p.leader.client.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
		b, err2 := p.follower.client.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if a.GetHeight() == b.GetHeight() && a.GetFinalSize() == a.GetSize() {
			return nil
		}
	}
	return errors.New("the follower does not catch up")
}

// used is the processor time of the leader and of the follower.
func (p *pair) used() (out [2]time.Duration, err error) {
	for i, n := range []*process{p.leader, p.follower} {
		u, err := rig.Look(n.cmd.Process.Pid)
		if err != nil {
			return out, err
		}
		out[i] = u.CPU
	}
	return out, nil
}

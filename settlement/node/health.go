package node

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// The checks of health and readiness, by name. METRICS.md says what each means.
const (
	// CheckProve, CheckSequence, CheckCosign, CheckKeep and CheckFollow: the stage is busy with one thing for longer than stuckAfter.
	CheckProve    = "stage_prove"
	CheckSequence = "stage_sequence"
	CheckCosign   = "stage_cosign"
	CheckKeep     = "stage_keep"
	CheckFollow   = "stage_follow"
	// CheckEnded: the node has ended by itself and the process goes on.
	CheckEnded = "ended"
	// CheckStopping: the node takes nothing in any more.
	CheckStopping = "stopping"
	// CheckStore: the store does not answer.
	CheckStore = "store"
	// CheckFenced: another node has taken the ledger over.
	CheckFenced = "fenced"
	// CheckClock: the wall clock is behind the ledger's last block, so that ledger time stands still.
	CheckClock = "clock"
	// CheckBlocks: entries wait and nothing is answered.
	CheckBlocks = "blocks"
	// CheckBacklog: a queue is nearly full.
	CheckBacklog = "backlog"
	// CheckQuorum: so much is not final that nothing more is taken in.
	CheckQuorum = "quorum"
	// CheckLeader: no node of the ledger sequences, as far as this one knows.
	CheckLeader = "leader"
)

const (
	// stuckAfter is more than any stage may take for one thing: stages bound what they wait for by 30 s.
	stuckAfter = time.Minute
	// unanswered is how long entries may wait while no entry is answered.
	unanswered = 10 * time.Second
	// clockBehind is how far the wall clock may be behind the last block, milliseconds.
	clockBehind = 5000
)

// pulse tells since when a stage is busy with one thing.
type pulse struct{ since atomic.Int64 } // nanoseconds on the node's own clock; 0 while it waits for work

func (p *pulse) begin() { p.since.Store(ticks()) }
func (p *pulse) end()   { p.since.Store(0) }

func (p *pulse) stuck(now int64) bool {
	since := p.since.Load()
	return since != 0 && now-since > int64(stuckAfter)
}

var origin = time.Now()

// ticks is a clock that only goes forward, whatever somebody does to the wall clock; never 0.
func ticks() int64 { return int64(time.Since(origin)) + 1 }

// pulses are those of all stages.
type pulses struct {
	prove, sequence, write, cosign, keep, follow pulse // sequence and write are of the one stage that sequences

	asked    atomic.Int64 // when the node last went from idle to having an entry
	answered atomic.Int64 // when it last answered one
}

// Live names the stages that have stopped moving. It does not wait.
func (n *Node) Live() (failed []string) {
	now := ticks()
	for _, s := range []struct {
		name  string
		pulse *pulse
	}{{CheckProve, &n.pulses.prove}, {CheckSequence, &n.pulses.sequence}, {CheckSequence, &n.pulses.write}, {CheckCosign, &n.pulses.cosign}, {CheckKeep, &n.pulses.keep}, {CheckFollow, &n.pulses.follow}} {
		if s.pulse.stuck(now) && !slices.Contains(failed, s.name) {
			failed = append(failed, s.name)
		}
	}
	if cause := context.Cause(n.ctx); cause != nil && !errors.Is(cause, ErrStopped) {
		failed = append(failed, CheckEnded)
	}
	return failed
}

// Ready names why the node should be sent no entries now. It asks the store, within ctx.
func (n *Node) Ready(ctx context.Context) (failed []string) {
	select {
	case <-n.down:
		return []string{CheckStopping}
	case <-n.ctx.Done():
		return []string{CheckStopping}
	default:
	}
	head, err := n.cfg.Store.Head(ctx)
	switch {
	case err != nil:
		failed = append(failed, CheckStore)
	case n.seq != nil && head.Epoch != n.measures.epoch.Load():
		failed = append(failed, CheckFenced)
	}
	state := n.state.Load()
	if n.wall()+clockBehind < state.Time() {
		failed = append(failed, CheckClock)
	}
	if n.waiting.Load() > 0 && ticks()-max(n.pulses.asked.Load(), n.pulses.answered.Load()) > int64(unanswered) {
		failed = append(failed, CheckBlocks)
	}
	if n.waiting.Load() > int64(n.cfg.Limits.Waiting)*9/10 || n.bytes.Load() > n.cfg.Limits.WaitingBytes/10*9 {
		failed = append(failed, CheckBacklog)
	}
	if state.LogSize() > n.final.Load()+n.cfg.Limits.NotFinal {
		failed = append(failed, CheckQuorum)
	}
	return failed
}

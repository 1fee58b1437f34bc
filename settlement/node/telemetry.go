package node

import (
	"context"
	"fmt"
	"math"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/comity-ledger/comity/settlement"
)

// meter is of whatever provider the process installed; none costs nothing.
func meter() metric.Meter { return otel.Meter("github.com/comity-ledger/comity/settlement/node") }

// observe offers the counters of Status, and holds and corridors, to a meter. The returned function ends that.
func (n *Node) observe(meter metric.Meter) (func() error, error) {
	var failed error
	gauge := func(name, unit, what string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
		if err != nil && failed == nil {
			failed = err
		}
		return g
	}
	counter := func(name, unit, what string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
		if err != nil && failed == nil {
			failed = err
		}
		return c
	}
	size := gauge("comity.log.entries", "{entry}", "durable entries of the log")
	final := gauge("comity.log.final_entries", "{entry}", "entries under the newest cosigned checkpoint")
	waiting := gauge("comity.node.waiting", "{entry}", "entries inside the node that are not durable yet")
	accepted := counter("comity.node.accepted", "{entry}", "entries accepted")
	refused := counter("comity.node.refused", "{entry}", "entries refused")
	proofs := counter("comity.node.proofs", "{proof}", "proofs checked")
	batches := counter("comity.node.batches", "{batch}", "batches of proofs checked")
	blocks := counter("comity.node.blocks", "{block}", "blocks written")
	holds := gauge("comity.holds.open", "{hold}", "holds that are not decided")
	flight := gauge("comity.corridor.in_flight", "{minor_unit}", "size classes of the open holds of a corridor")
	limit := gauge("comity.corridor.cap", "{minor_unit}", "the most that may be in flight over a corridor")
	condition := gauge("comity.corridor.state", "1", "0 active, 1 stale, 2 frozen")
	observed := gauge("comity.corridor.observed", "s", "ledger time since the peer was observed; absent before the first time")
	claims := gauge("comity.corridor.claims", "{minor_unit}", "size classes of holds that a peer decided against an override")
	stage := counter("comity.node.stage_time", "ns", "time inside each stage")
	if failed != nil {
		return nil, fmt.Errorf("make instruments: %w", failed)
	}
	named := func(name string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("stage", name)))
	}
	admitting, proving, sequencing, storing, cosigning := named("admit"), named("prove"), named("sequence"), named("store"), named("cosign")
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		state := n.state.Load()
		o.ObserveInt64(size, int64(state.LogSize()))
		o.ObserveInt64(final, int64(n.final.Load()))
		o.ObserveInt64(waiting, n.waiting.Load())
		o.ObserveInt64(accepted, int64(n.stages.accepted.Load()))
		o.ObserveInt64(refused, int64(n.stages.refused.Load()))
		o.ObserveInt64(proofs, int64(n.stages.proofs.Load()))
		o.ObserveInt64(batches, int64(n.stages.batches.Load()))
		o.ObserveInt64(blocks, int64(n.stages.blocks.Load()))
		o.ObserveInt64(holds, int64(state.OpenHolds()))
		now := state.LedgerTime(n.wall())
		for _, c := range state.Corridors(now) {
			peer := metric.WithAttributeSet(attribute.NewSet(attribute.String("peer", c.Peer.String()), attribute.String("name", c.Name)))
			o.ObserveInt64(flight, capped(c.InFlight), peer)
			o.ObserveInt64(limit, capped(c.Cap), peer)
			o.ObserveInt64(condition, map[string]int64{settlement.CorridorStale: 1, settlement.CorridorFrozen: 2}[c.State], peer)
			if c.ObservedAt != 0 {
				o.ObserveInt64(observed, capped((now-min(now, c.ObservedAt))/1000), peer)
			}
			o.ObserveInt64(claims, capped(c.Claims), peer)
		}
		o.ObserveInt64(stage, n.stages.admitting.Load(), admitting)
		o.ObserveInt64(stage, n.stages.proving.Load(), proving)
		o.ObserveInt64(stage, n.stages.sequencing.Load(), sequencing)
		o.ObserveInt64(stage, n.stages.storing.Load(), storing)
		o.ObserveInt64(stage, n.stages.cosigned.Load(), cosigning)
		return nil
	}, size, final, waiting, accepted, refused, proofs, batches, blocks, holds, flight, limit, condition, observed, claims, stage)
	if err != nil {
		return nil, fmt.Errorf("register instruments: %w", err)
	}
	return registration.Unregister, nil
}

// capped fits an amount into what instruments take.
func capped(v uint64) int64 { return int64(min(v, math.MaxInt64)) }

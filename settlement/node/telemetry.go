package node

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// observe offers the counters of Status to whatever meter provider the process installed (none costs nothing). The returned function ends
// that.
func (n *Node) observe() (func() error, error) {
	meter := otel.Meter("github.com/comity-ledger/comity/settlement/node")
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
		o.ObserveInt64(stage, n.stages.admitting.Load(), admitting)
		o.ObserveInt64(stage, n.stages.proving.Load(), proving)
		o.ObserveInt64(stage, n.stages.sequencing.Load(), sequencing)
		o.ObserveInt64(stage, n.stages.storing.Load(), storing)
		o.ObserveInt64(stage, n.stages.cosigned.Load(), cosigning)
		return nil
	}, size, final, waiting, accepted, refused, proofs, batches, blocks, stage)
	if err != nil {
		return nil, fmt.Errorf("register instruments: %w", err)
	}
	return registration.Unregister, nil
}

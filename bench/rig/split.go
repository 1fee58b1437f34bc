package rig

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// Where the node's processor time goes, read off a CPU profile of its process.
const (
	verification = "verification"
	storage      = "storage"
	hashing      = "hashing"
	rules        = "rules"
	network      = "network"
	encryption   = "encryption"
	telemetry    = "telemetry"
	telling      = "runtime"
)

// Kinds is the order of a report.
var Kinds = []string{verification, hashing, storage, network, encryption, rules, telemetry, telling}

// classes decide what a sample belongs to: the first class that any function on its stack falls under. The order matters:
// verification hashes nothing that should count as hashing, and a handler that decodes an entry applies rules.
var classes = []struct {
	kind     string
	packages []string
}{
	{verification, []string{"comity/zk/verifier"}},
	{telemetry, []string{"go.opentelemetry.io", "prometheus/client", "settlement/node.(*measures)", "settlement/node.(*journey)", "settlement/node.(*Node).told",
		"settlement/node.(*Node).dismissed", "cmd/internal/telemetry", "connectrpc.com/otelconnect.(*instrument"}},
	{storage, []string{"comity/settlement/pebblestore", "cockroachdb/pebble", "comity/settlement/nullset"}},
	{hashing, []string{"comity/zk/tree", "comity/zk.permute", "comity/zk.Hash", "crypto/sha256", "crypto/sha512", "crypto/internal/fips140/sha", "comity/settlement/proof"}},
	{encryption, []string{"crypto/tls"}},
	{network, []string{"comity/settlement/rpc."}},
	{rules, []string{"comity/settlement", "comity/zk"}},
	{network, []string{"net/http", "connectrpc.com", "google.golang.org/protobuf", "internal/poll", "net.(", "comity/proto"}},
}

// Split adds up a CPU profile by kind.
func Split(r io.Reader) (map[string]time.Duration, error) {
	p, err := profile.Parse(r)
	if err != nil {
		return nil, fmt.Errorf("read the node's profile: %w", err)
	}
	value := -1
	for i, t := range p.SampleType {
		if t.Type == "cpu" && t.Unit == "nanoseconds" {
			value = i
		}
	}
	if value < 0 {
		return nil, fmt.Errorf("the node's profile has no processor time")
	}
	out := map[string]time.Duration{}
	for _, s := range p.Sample {
		out[kindOf(s)] += time.Duration(s.Value[value])
	}
	return out, nil
}

func kindOf(s *profile.Sample) string {
	// rpc is entered through net/http and calls into the ledger: what the ledger does below a handler is not the network's.
	var names []string
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function != nil {
				names = append(names, line.Function.Name)
			}
		}
	}
	return classify(names)
}

// classify takes the functions of a stack, leaf first.
func classify(names []string) string {
	inLedger := false
	for _, name := range names {
		if strings.Contains(name, "comity/settlement/rpc.") {
			break // what called the handler says nothing more
		}
		if strings.Contains(name, "comity/settlement") || strings.Contains(name, "comity/zk") {
			inLedger = true
		}
	}
	for _, c := range classes {
		if c.kind == network && inLedger {
			continue
		}
		for _, name := range names {
			for _, p := range c.packages {
				if strings.Contains(name, p) && !(c.kind == rules && strings.Contains(name, "comity/settlement/rpc.")) {
					return c.kind
				}
			}
		}
	}
	return telling
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/rpc"
)

// dropFlag makes the process a server that drops what it receives.
const dropFlag = "-drop"

// dropConfig is what such a process is told.
type dropConfig struct {
	Genesis       []byte
	Cert, Key, CA string // empty: in the clear
}

// dropped is a ledger that says of every entry that it is durable, and forgets it.
type dropped struct {
	rpc.Ledger // nothing else is called
	genesis    *entry.Genesis
}

// Genesis implements rpc.Ledger.
func (d dropped) Genesis() *entry.Genesis { return d.genesis }

// Status implements rpc.Ledger.
func (d dropped) Status(context.Context) (rpc.Status, error) {
	return rpc.Status{State: &entry.State{}, FinalSize: 1}, nil
}

// Corridors implements rpc.Ledger.
func (d dropped) Corridors() []settlement.Corridor { return nil }

// Submit implements rpc.Ledger.
func (d dropped) Submit(_ context.Context, leaf []byte, segments [][]byte) (rpc.Accepted, error) {
	return rpc.Accepted{}, nil
}

// runDrop is that process. It serves until stdin ends.
func runDrop(stdin io.Reader, stdout io.Writer) error {
	in := json.NewDecoder(bufio.NewReader(stdin))
	var cfg dropConfig
	if err := in.Decode(&cfg); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	genesis, err := entry.DecodeGenesis(cfg.Genesis)
	if err != nil {
		return err
	}
	config := rpc.Config{Ledger: dropped{genesis: genesis}, Version: "bench"}
	scheme := "http://"
	if cfg.Cert != "" {
		scheme = "https://"
		if config.Doors, err = doors.NewServer(doors.ServerConfig{Cert: cfg.Cert, Key: cfg.Key, ClientCAs: []string{cfg.CA}, Ledgers: []doors.Ledger{doors.Ledger(genesis.Hash())}}); err != nil {
			return err
		}
	}
	server, err := rpc.New(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	if err := json.NewEncoder(stdout).Encode(scheme + listener.Addr().String()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stdin)
	stop()
	return errors.Join(err, <-served)
}

// receiving sends to a server that drops, in the clear and over mutual TLS.
func (b *bench) receiving(ctx context.Context, k *staged, row func(string, *staged, spell)) error {
	for _, tls := range []bool{false, true} {
		s, err := b.received(ctx, k, tls)
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		name := "receiving, in the clear"
		if tls {
			name = "receiving, mutual TLS"
		}
		row(name, k, s)
	}
	return nil
}

func (b *bench) received(ctx context.Context, k *staged, tls bool) (s spell, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cfg := dropConfig{Genesis: b.data.Genesis}
	genesis, err := entry.DecodeGenesis(b.data.Genesis)
	if err != nil {
		return s, err
	}
	var guard *rig.Certificates
	if tls {
		if guard, err = rig.Certify(doors.Ledger(genesis.Hash()), filepath.Join(b.work, "drop-tls")); err != nil {
			return s, err
		}
		cfg.Cert, cfg.Key = guard.Pair("node")
		cfg.CA = guard.CA()
	}
	cmd := exec.CommandContext(ctx, self, dropFlag)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := cmd.Start(); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, in.Close(), cmd.Wait()) }()
	var url string
	if err := errors.Join(json.NewEncoder(in).Encode(cfg), json.NewDecoder(out).Decode(&url)); err != nil {
		return s, err
	}
	d, err := rig.Connect(url, guard, 8)
	if err != nil {
		return s, err
	}
	for s.wall < b.stage {
		before, err := rig.Look(cmd.Process.Pid)
		if err != nil {
			return s, err
		}
		start := time.Now()
		o, err := d.Run(ctx, k.items, peak(max(1, 32/max(1, k.payments/32))))
		if err != nil {
			return s, err
		}
		after, err := rig.Look(cmd.Process.Pid)
		if err != nil {
			return s, err
		}
		s.n, s.wall, s.cpu = s.n+o.Accepted(), s.wall+time.Since(start), s.cpu+after.CPU-before.CPU
	}
	return s, nil
}

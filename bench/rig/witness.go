package rig

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Witness runs the one witness of a data set's ledger in this process: a consistency witness, with its folder on disk. It is another party, so
// its time is not the node's.
func Witness(set *dataset.Set, dir string) (url string, stop func(), err error) {
	genesis, err := entry.DecodeGenesis(set.Genesis)
	if err != nil {
		return "", nil, err
	}
	secrets, err := dataset.SecretsOf(set.Seed)
	if err != nil {
		return "", nil, err
	}
	cosigner, err := proof.NewCosigner(dataset.WitnessName, secrets.Witness)
	if err != nil {
		return "", nil, err
	}
	folder, err := journal.OpenFolder(dir)
	if err != nil {
		return "", nil, err
	}
	w, err := journal.NewWitness(journal.WitnessConfig{
		Cosigner: cosigner, Medium: folder, Logs: []journal.Log{{Origin: genesis.Origin, Key: genesis.LogKey.Public()}},
	})
	if err != nil {
		return "", nil, errors.Join(err, folder.Close())
	}
	url, end, err := serve(w.Handler())
	if err != nil {
		return "", nil, errors.Join(err, folder.Close())
	}
	return url, func() { end(); _ = folder.Close() }, nil
}

// serve answers HTTP on a loopback port until end is called.
func serve(h http.Handler) (url string, end func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		_ = server.Serve(listener) // ends with Close
		close(done)
	}()
	return "http://" + listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

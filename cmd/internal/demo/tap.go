package demo

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// tap is a wire between a relayer and a ledger. It passes everything on, and does one thing before it passes on the answer to a batch of
// entries: so the story can kill a relayer at the worst moment, when the ledger has decided and the relayer has not heard of it.
type tap struct {
	url    string
	server *http.Server
	before atomic.Pointer[func()]
}

func newTap(ledger string) (*tap, error) {
	target, err := url.Parse(ledger)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{url: "http://" + listener.Addr().String()}
	silent := log.New(io.Discard, "", 0) // a relayer that is killed leaves its answer half-read
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1, // streams
		ModifyResponse: func(r *http.Response) error {
			if do := t.before.Load(); do != nil && strings.HasSuffix(r.Request.URL.Path, "/SubmitBatch") {
				(*do)()
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:     silent,
	}
	t.server = &http.Server{Handler: proxy, ReadHeaderTimeout: 5 * time.Second, ErrorLog: silent}
	go func() { _ = t.server.Serve(listener) }() // ends with close
	return t, nil
}

func (t *tap) close() {
	if t != nil {
		_ = t.server.Close()
	}
}

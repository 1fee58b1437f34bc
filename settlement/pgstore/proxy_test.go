package pgstore

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between a store and its server and cuts connections at a byte.
type proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	plan  plan              // guarded by mu
	up    int               // bytes that went to the server; guarded by mu
	down  int               // bytes that came back; guarded by mu
	conns map[net.Conn]bool // guarded by mu
}

// plan says where to cut: after so many bytes to the server (cutUp) or from it
// (cutDown); negative means never. What had still to go to the server when the
// client was cut off goes there after late, if that is set, as packets do that
// were on their way.
type plan struct {
	cutUp, cutDown int
	late           time.Duration
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, plan: plan{-1, -1, 0}, conns: make(map[net.Conn]bool)}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// set begins a plan and counts from zero.
func (p *proxy) set(next plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.up, p.down = next, 0, 0
}

func (p *proxy) counts() (up, down int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up, p.down
}

// cut ends every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { p.pump(server, client, true) })
		p.wg.Go(func() { p.pump(client, server, false) })
	}
}

// pump moves bytes until a side ends or the plan cuts.
func (p *proxy) pump(dst, src net.Conn, up bool) {
	defer func() {
		_ = dst.Close()
		_ = src.Close()
		p.mu.Lock()
		delete(p.conns, dst)
		delete(p.conns, src)
		p.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			allowed, late, cut := p.pass(n, up)
			if _, err := dst.Write(buf[:allowed]); err != nil {
				return
			}
			if cut {
				if late > 0 && up {
					_ = src.Close() // the client is off
					time.Sleep(late)
					_, _ = dst.Write(buf[allowed:n])
					// The server answers to nobody; let it finish.
					_ = dst.SetReadDeadline(time.Now().Add(time.Second))
					_, _ = io.Copy(io.Discard, dst)
				}
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass counts bytes and says how many of them still go through.
func (p *proxy) pass(n int, up bool) (allowed int, late time.Duration, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	count, limit := &p.up, p.plan.cutUp
	if !up {
		count, limit = &p.down, p.plan.cutDown
	}
	before := *count
	*count += n
	if limit < 0 || *count <= limit {
		return n, 0, false
	}
	late = p.plan.late
	p.plan = plan{-1, -1, 0} // once
	return max(limit-before, 0), late, true
}

// mutable makes connections on which, while it is set, nothing is heard.
type mutable struct {
	mu   sync.Mutex
	mute bool // guarded by mu
}

func (m *mutable) set(mute bool) {
	m.mu.Lock()
	m.mute = mute
	m.mu.Unlock()
}

func (m *mutable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &muteConn{c, m}, nil
}

type muteConn struct {
	net.Conn
	of *mutable
}

// Write swallows what is sent while the line is mute.
func (c *muteConn) Write(b []byte) (int, error) {
	c.of.mu.Lock()
	mute := c.of.mute
	c.of.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	maxHeaderBytes = 16 << 10
	maxScrapes     = 4 // answers of /metrics being made at once

	idleLeast = time.Second // a connection that was used just now is about to be used again
	connBytes = 16 << 10    // of one: two buffers and a goroutine's stack
)

// DrainTimeout is what the requests in flight at the end have at most.
const DrainTimeout = 3 * time.Second

// front is one life of the listener: what Run makes, and its handlers.
type front struct {
	*Service
	conn     *bus.Conn
	server   *http.Server
	draining chan struct{} // closed when the gateway is asked to stop

	mu    sync.Mutex
	fresh map[net.Conn]struct{}  // connections that have not sent a byte
	idle  map[net.Conn]time.Time // connections between two requests, and since when
}

func newFront(s *Service, c *bus.Conn) *front {
	f := &front{Service: s, conn: c, draining: make(chan struct{}), fresh: map[net.Conn]struct{}{}, idle: map[net.Conn]time.Time{}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	f.server = &http.Server{
		Handler:                      f.handler(),
		ReadHeaderTimeout:            s.cfg.HeaderTimeout,
		ReadTimeout:                  s.cfg.ReadTimeout,
		WriteTimeout:                 s.cfg.WriteTimeout,
		IdleTimeout:                  s.cfg.IdleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		Protocols:                    protocols,
		DisableGeneralOptionsHandler: true,
		ConnState:                    f.track,
		// What clients do wrong on the wire is no concern of the owner.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if s.certs != nil {
		f.server.TLSConfig = s.certs.config()
	}
	return f
}

// serve works until ctx ends or the listener breaks.
func (f *front) serve(ctx context.Context, ln net.Listener) error {
	served := make(chan error, 1)
	go func() {
		if f.certs != nil {
			served <- f.server.ServeTLS(ln, "", "")
		} else {
			served <- f.server.Serve(ln)
		}
	}()
	f.log.Info("listening", "address", ln.Addr().String(), "url", f.URL())
	if f.certs != nil && f.certs.open() {
		f.log.Warn("everybody on this machine may read the gateway's private key", "file", f.certs.keyFile, "hint", "chmod o-rwx it")
	}
	if host, _, err := splitListen(f.cfg.Listen); err == nil && !isLoopback(host) {
		f.log.Warn("the network can reach the gateway: it answers whoever has a token", "address", ln.Addr().String())
	}
	select {
	case err := <-served:
		f.drain(ctx)
		return fmt.Errorf("serve %s: %w", f.cfg.Listen, err)
	case <-ctx.Done():
	}
	f.drain(ctx)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", f.cfg.Listen, err)
	}
	return nil
}

// drain ends the waiting, lets requests finish, and cuts what is left.
func (f *front) drain(ctx context.Context) {
	close(f.draining)
	f.dropFresh()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DrainTimeout)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		f.log.Warn("requests were cut off", "err", errors.Join(err, f.server.Close()))
	}
	f.awaitStreams(ctx)
}

// awaitStreams waits for the sockets, which the server no longer knows: whoever
// holds every slot is alone.
func (f *front) awaitStreams(ctx context.Context) {
	held := 0
	defer func() {
		for range held {
			<-f.streams
		}
	}()
	for range cap(f.streams) {
		select {
		case f.streams <- struct{}{}:
			held++
		case <-ctx.Done():
			f.log.Warn("sockets were cut off", "err", ctx.Err())
			return
		}
	}
}

// enterStream takes a slot for a request that lasts; leave gives it back.
func (f *front) enterStream() (leave func(), err error) {
	select {
	case <-f.draining:
		return nil, stopping()
	default:
	}
	select {
	case f.streams <- struct{}{}:
		return func() { <-f.streams }, nil
	default:
		return nil, bus.Errorf(bus.CodeBusy, "%d streams and sockets are open", cap(f.streams)).WithHint("close one, or raise gateway.max_streams")
	}
}

func stopping() *refusal {
	return &refusal{status: http.StatusServiceUnavailable, code: bus.CodeUnavailable, expected: true, retryAfter: time.Second,
		message: "the gateway is stopping", hint: "try again"}
}

// track knows the connections that have not said anything yet: Shutdown would
// wait five seconds for their first byte.
func (f *front) track(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state == http.StateIdle {
		f.idle[c] = time.Now()
	} else {
		delete(f.idle, c)
	}
	if state != http.StateNew {
		delete(f.fresh, c)
		return
	}
	select {
	case <-f.draining:
		_ = c.Close() // the client sees a stop, not an answer
	default:
		f.fresh[c] = struct{}{}
	}
}

// dropIdle closes the connections that clients keep for a next request, and returns
// about how many bytes that frees. A client opens another when it needs one.
func (f *front) dropIdle() (freed int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c, since := range f.idle {
		if time.Since(since) >= f.every.idle {
			_ = c.Close() // nothing is asked on it
			delete(f.idle, c)
			freed += connBytes
		}
	}
	return freed
}

func (f *front) dropFresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.fresh {
		_ = c.Close() // nothing was asked on it
	}
}

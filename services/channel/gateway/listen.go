// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// listen opens the address and remembers which port it got: a room that is
// started again must be found where it was.
func (s *Service) listen(ctx context.Context) (*limitedListener, error) {
	host, port, err := splitListen(s.cfg.Listen)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	address := net.JoinHostPort(host, port)
	if s.bound != "" {
		address = s.bound
	}
	var lc net.ListenConfig
	open, err := lc.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: %w", address, ErrPortInUse)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	ln, ok := open.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("listen on %s: a %T is not TCP", address, open)
	}
	s.bound = ln.Addr().String()
	return newLimitedListener(ln, s.cfg.MaxConnections, &s.meter.connections), nil
}

// localAddress makes of an address listened on one that can be connected to.
// All addresses of both families are listened on as one, and 127.0.0.1 is
// among them where ::1 may be switched off.
func localAddress(bound string) string {
	ap, err := netip.ParseAddrPort(bound)
	if err != nil || !ap.Addr().IsUnspecified() {
		return bound
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
}

// limitedListener accepts a connection when there is room for it. Those beyond
// wait in the kernel's queue, which is bounded too.
type limitedListener struct {
	*net.TCPListener
	slots  chan struct{}
	open   *atomic.Int64
	closed chan struct{}
	once   sync.Once
}

func newLimitedListener(ln *net.TCPListener, limit int, open *atomic.Int64) *limitedListener {
	return &limitedListener{TCPListener: ln, slots: make(chan struct{}, limit), open: open, closed: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.AcceptTCP()
	if err != nil {
		<-l.slots
		return nil, err
	}
	l.open.Add(1)
	return &limitedConn{TCPConn: c, release: sync.OnceFunc(func() {
		l.open.Add(-1)
		<-l.slots
	})}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

// limitedConn gives its slot back when it is closed. It stays a TCP connection
// to net/http, which closes only its sending side first, so that a refusal
// arrives before the reset.
type limitedConn struct {
	*net.TCPConn
	release func()
}

func (c *limitedConn) Close() error {
	err := c.TCPConn.Close()
	c.release()
	return err
}

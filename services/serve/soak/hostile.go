// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go"
)

// What a hostile crowd does, all at once. The rates bound what it writes to the disk,
// not what it may try.
const (
	floodWorkers = 24                    // each message in a session of its own
	hugePerSec   = 40                    // of the longest text there may be
	hugeSessions = 500                   // that they are in: more than there are turns at one time
	hugeConns    = 48                    // on which they wait for each other, and not the others for them
	fatWorkers   = 12                    // send completions as large as a body may be
	tooLargeEach = 50 * time.Millisecond // between two bodies that are too large
	dribblers    = 24                    // send a body byte by byte: more than there are slots for bodies
	deafStreams  = 24                    // event streams that nobody reads
	deafReaders  = 24                    // histories that nobody reads
	deafAskers   = 32                    // ask for a completion as a stream, and never read it
	deafBus      = 12                    // listeners on the bus that read nothing
	deafFor      = 20 * time.Second      // then they try again
)

// hostile does everything until ctx ends.
func (s *speaker) hostile(ctx context.Context) {
	huge := strings.Repeat("much ado about nothing; ", hugeBytes/24)
	var group sync.WaitGroup
	group.Go(func() {
		began := time.Now().UnixNano()
		s.hurry(ctx, floodWorkers, 1<<62, "", func(n int64) (string, string) { return fmt.Sprintf("h-%d-%d", began, n), "who are you?" })
	})
	group.Go(func() {
		s.over(hugeConns).paced(ctx, hugePerSec, func(n int) (string, string) { return fmt.Sprintf("huge-%d", n%hugeSessions), huge })
	})
	fat, large := fatCompletion(), s.over(fatWorkers)
	for range fatWorkers {
		group.Go(func() { again(ctx, func(ctx context.Context) error { return large.complete(ctx, fat) }) })
	}
	group.Go(func() {
		tooLarge := strings.Repeat("x", 300<<10)
		for sleep(ctx, tooLargeEach) {
			_, _ = s.say(ctx, "too-large", tooLarge, "") // refused and counted, or cut off while it is sent
		}
	})
	for range dribblers {
		group.Go(func() {
			again(ctx, func(ctx context.Context) error {
				err := s.dribble(ctx)
				sleep(ctx, deafFor/4)
				return err
			})
		})
	}
	for range deafStreams {
		group.Go(func() { again(ctx, func(ctx context.Context) error { return s.deaf(ctx, "/v1/events?since=1h") }) })
	}
	for n := range deafReaders {
		group.Go(func() {
			again(ctx, func(ctx context.Context) error {
				return s.deaf(ctx, fmt.Sprintf("/v1/sessions/huge-%d/messages?limit=100", n))
			})
		})
	}
	for n := range deafAskers {
		group.Go(func() {
			again(ctx, func(ctx context.Context) error {
				return s.ask(ctx, "/v1/chat/completions", fmt.Appendf(nil, `{"model":"blufio","stream":true,"user":"deaf-%d","messages":[{"role":"user","content":"tell me a long story"}]}`, n))
			})
		})
	}
	for range deafBus {
		group.Go(func() { again(ctx, s.deafOnBus) })
	}
	group.Wait()
}

// again does it over and over; that it fails is expected.
func again(ctx context.Context, do func(context.Context) error) {
	for ctx.Err() == nil {
		if err := do(ctx); err != nil {
			sleep(ctx, tryAgain)
		}
	}
}

// dial opens a plain connection to the gateway that ends with ctx or after deafFor.
func (s *speaker) dial(ctx context.Context) (net.Conn, context.Context, func(), error) {
	u, err := url.Parse(s.d.at().Gateway)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, deafFor)
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return c, ctx, func() { cancel(); _ = c.Close() }, nil
}

func (s *speaker) head(method, path string, length int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, path, strings.TrimPrefix(s.d.at().Gateway, "http://"), s.token)
	if length > 0 {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", length)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// dribble announces a large body and sends a little of it now and then.
func (s *speaker) dribble(ctx context.Context) error {
	c, ctx, done, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer done()
	const length = 200 << 10
	if _, err := c.Write(append(s.head(http.MethodPost, "/v1/messages", length), bytes.Repeat([]byte(" "), length/2)...)); err != nil {
		return err
	}
	for sleep(ctx, time.Second) {
		if _, err := c.Write([]byte(" ")); err != nil {
			return err
		}
	}
	return nil
}

// fatCompletion is a request of as many bytes as a body may have, in many messages.
func fatCompletion() []byte {
	const each = 1000
	message := `{"role":"user","content":"` + strings.Repeat("x", each) + `"}`
	return []byte(`{"model":"blufio","messages":[` + strings.Repeat(message+",", 250<<10/len(message)-1) + message + `]}`)
}

// complete sends a completion. It has no id before its reply: it is noted when that is
// there. Whether one that failed was accepted is not known.
func (s *speaker) complete(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.d.at().Gateway+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	var a answer
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return err
	}
	s.book.accept(strings.TrimPrefix(a.ID, "chatcmpl-"))
	return nil
}

// deaf asks for something and reads only whether it comes.
func (s *speaker) deaf(ctx context.Context, path string) error { return s.ask(ctx, path, nil) }

// ask is deaf with a body, if there is one.
func (s *speaker) ask(ctx context.Context, path string, body []byte) error {
	c, ctx, done, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer done()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10) // so that little is hidden in the kernel
	}
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	if _, err := c.Write(append(s.head(method, path, len(body)), body...)); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(deafFor))
	line, err := bufio.NewReaderSize(c, 64).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.Contains(line, " 200 ") {
		return errors.New(strings.TrimSpace(line))
	}
	<-ctx.Done()
	return nil
}

// deafOnBus listens to every event and stops reading.
func (s *speaker) deafOnBus(ctx context.Context) error {
	device, err := embedded.LoadDevice(s.d.dir)
	if err != nil {
		return err
	}
	ears := &ears{closed: make(chan struct{})}
	nc, err := nats.Connect(s.d.at().Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), nats.NoReconnect(), nats.SetCustomDialer(ears))
	if err != nil {
		return err
	}
	defer nc.Close()
	if _, err := nc.Subscribe(bus.Prefix+"evt.>", func(*nats.Msg) {}); err != nil {
		return err
	}
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		return err
	}
	ears.cover()
	sleep(ctx, deafFor)
	return nil
}

// ears dial connections whose reading can be stopped for good.
type ears struct {
	mu      sync.Mutex
	covered bool
	closed  chan struct{}
	once    sync.Once
}

func (e *ears) cover() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.covered = true
}

func (e *ears) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, 5*time.Second)
	return &ear{c, e}, err
}

type ear struct {
	net.Conn
	of *ears
}

func (e *ear) Read(p []byte) (int, error) {
	e.of.mu.Lock()
	covered := e.of.covered
	e.of.mu.Unlock()
	if covered {
		<-e.of.closed
		return 0, net.ErrClosed
	}
	return e.Conn.Read(p)
}

func (e *ear) Close() error {
	e.of.once.Do(func() { close(e.of.closed) })
	return e.Conn.Close()
}

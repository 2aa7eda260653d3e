// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
)

// dribble announces a body of so many bytes and sends the head and given ones of it.
func (r *rig) dribble(token string, length, given int) net.Conn {
	r.t.Helper()
	c := r.dial()
	fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n%s",
		length, token, strings.Repeat(" ", given))
	return c
}

// status reads an answer's.
func status(t *testing.T, c net.Conn) int {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body) // it may be cut off: the client was not done
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Three times as many senders as there are slots for bodies send half of a large one
// and then nothing. Whoever sends a small one does not notice; whoever sends a large
// one waits until they are cut off, which is long before read_timeout.
func TestDribblersHoldUpNobody(t *testing.T) {
	const within = 4 * time.Second
	r := start(t, func(c *Config) { c.ReadTimeout = within })
	r.answering("answered", "yes")
	token, began := r.token("slow", "chat"), time.Now()
	var cut sync.WaitGroup
	for n := range 3 * Defaults().MaxBodies {
		length := 200 << 10
		if n%4 == 0 {
			length = smallBody // for these there is no need of a slot
		}
		c := r.dribble(token, length, length/2)
		cut.Go(func() {
			if got := status(t, c); got != http.StatusRequestTimeout {
				t.Errorf("a slow sender of %d bytes: %d", length, got)
			}
		})
	}
	bustest.Eventually(t, "all slots for large bodies are taken", func() bool { return len(r.service.large) == cap(r.service.large) })
	if a := r.post("/v1/messages", "hello"); a.status != 202 || len(r.service.large) != cap(r.service.large) {
		t.Errorf("a small message: %d %s, with %d large bodies", a.status, a.body, len(r.service.large))
	}
	if a := r.post("/v1/messages", strings.Repeat("hello ", 10<<10)); a.status != 202 {
		t.Errorf("a large message: %d %s", a.status, a.body)
	}
	if took := time.Since(began); took > within-time.Second {
		t.Errorf("it took %s, as long as if everybody had all the time there is", took)
	}
	if n := len(r.service.bodies); n > cap(r.service.large) {
		t.Errorf("%d slots are taken", n)
	}
	cut.Wait()
	if l, b := len(r.service.large), len(r.service.bodies); l != 0 || b != 0 {
		t.Errorf("%d and %d slots stay", l, b)
	}
}

// A large body that keeps coming is read to its end, whatever its head says of its
// size, and its request may wait longer than a part of it had.
func TestSteadyBodyArrives(t *testing.T) {
	r := start(t, func(c *Config) { c.ReadTimeout, c.MaxBodyBytes = 8*time.Second, 64<<10 })
	slow := 2
	r.agent.set(func() {
		r.agent.received = func(string) {
			if slow--; slow >= 0 {
				time.Sleep(600 * time.Millisecond) // more than a part's time
			}
		}
	})
	text := `{"text":"` + strings.Repeat("x", 40<<10) + `"}`
	for name, head := range map[string]string{"of known size": fmt.Sprintf("Content-Length: %d", len(text)), "in chunks": "Transfer-Encoding: chunked"} {
		c := r.dial()
		fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\nAuthorization: Bearer %s\r\n\r\n", head, r.token("me", "chat"))
		for rest := text; rest != ""; time.Sleep(20 * time.Millisecond) { // the sender's pace is what is tested
			n := min(4<<10, len(rest))
			if strings.HasPrefix(head, "Transfer") {
				fmt.Fprintf(c, "%x\r\n%s\r\n", n, rest[:n])
			} else {
				fmt.Fprint(c, rest[:n])
			}
			rest = rest[n:]
		}
		if strings.HasPrefix(head, "Transfer") {
			fmt.Fprint(c, "0\r\n\r\n")
		}
		if got := status(t, c); got != http.StatusAccepted {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, text := range []string{"", "x", strings.Repeat("x", smallBody-11), strings.Repeat("x", smallBody-10), strings.Repeat("x", smallBody)} {
		want := 202
		if text == "" {
			want = 400
		}
		if a := r.post("/v1/messages?wait=200ms", text); a.status != want {
			t.Errorf("%d bytes: %d %s", len(text), a.status, a.body)
		}
	}
}

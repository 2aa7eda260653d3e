// SPDX-License-Identifier: MIT OR Apache-2.0

// Package fakellm is a server that speaks two vendors' real wire, for tests of
// whatever asks a model. Nothing in it thinks: it answers from a script.
//
//	fake := fakellm.NewOpenAI(t) // or NewAnthropic(t)
//	fake.Script(fakellm.Limited("2"), fakellm.Says("Hello."))
//	cfg.BaseURL = fake.URL()
//	…
//	fake.Requests() // what was asked
//	fake.Bills()    // what it would be paid
//
// Outside a test, [Start] opens both vendors at one address.
//
// The formats are those of "Chat Completions" in OpenAI's API reference
// (https://platform.openai.com/docs/api-reference/chat) and of Anthropic's
// "Messages", "Streaming messages", "Errors" and "Prompt caching"
// (https://platform.claude.com/docs). A question that the vendor would refuse is
// refused: a field it does not know, a tool's result that nothing asked for, a
// wrong key. So are the vendors' fields that blufio has no use for.
//
// Every answer that is begun is billed, also one that breaks off: by the script's
// count, or, for an answer that is Metered, by the bytes that went over the wire
// and the prompt cache that the vendor would have. See meter.go.
package fakellm

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Vendors are both vendors at one address.
type Vendors struct {
	OpenAI    *OpenAI
	Anthropic *Anthropic
	host      *host
}

// Start opens both at an address such as "127.0.0.1:0". Without a script they say
// "ok".
func Start(listen string) (*Vendors, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	h := &host{stop: make(chan struct{})}
	v := &Vendors{OpenAI: &OpenAI{vendor: newVendor(h)}, Anthropic: &Anthropic{vendor: newVendor(h)}, host: h}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", v.OpenAI.answer)
	mux.HandleFunc("POST /v1/messages", v.Anthropic.answer)
	mux.HandleFunc("GET /v1/models", v.list)
	h.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: mux, ConnState: h.count}}
	h.server.Start()
	return v, nil
}

// Close ends stalled answers and stops the server.
func (v *Vendors) Close() {
	close(v.host.stop)
	v.host.server.Close()
}

// start opens a server that lives until the end of the test.
func start(t testing.TB) *Vendors {
	t.Helper()
	v, err := Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// host is the HTTP server.
type host struct {
	server *httptest.Server
	stop   chan struct{} // closed at the end: stalled answers end

	mu    sync.Mutex
	conns int
}

func (h *host) count(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		h.mu.Lock()
		h.conns++
		h.mu.Unlock()
	}
}

// Question is what both vendors are asked alike.
type Question struct {
	Model   string
	Text    string   // what the user said last
	Results []string // of tools, where the question ends with them
	Tools   []string // names of what is on offer
}

// vendor is what both have. Its methods may be called from many goroutines.
type vendor struct {
	host *host

	mu      sync.Mutex
	key     string
	script  []Answer
	reply   func(Question) Answer
	twist   func(Answer) Answer
	latency time.Duration
	listing listing
	asked   int
	bills   []Bill
	billed  int
	cache   cache
	keep    int // requests and bills, the latest; 0 is all
}

func newVendor(h *host) *vendor {
	return &vendor{host: h, reply: func(Question) Answer { return Says("ok") }, cache: newCache()}
}

// RequireKey refuses, from now on, every question without this API key.
func (v *vendor) RequireKey(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.key = key
}

// Script appends answers, given in turn, one for each question.
func (v *vendor) Script(answers ...Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.script = append(v.script, answers...)
}

// Always sets the answer when the script is over.
func (v *vendor) Always(a Answer) { v.Reply(func(Question) Answer { return a }) }

// Reply sets who answers when the script is over.
func (v *vendor) Reply(reply func(Question) Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reply = reply
}

// Twist changes every answer before it is given; nil leaves them alone.
func (v *vendor) Twist(twist func(Answer) Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.twist = twist
}

// Latency is how long every answer takes to begin.
func (v *vendor) Latency(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.latency = d
}

// Connections returns how many connections there have been.
func (v *vendor) Connections() int {
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	return v.host.conns
}

// Die stops the server: connections to it are refused.
func (v *vendor) Die() {
	v.host.server.CloseClientConnections()
	_ = v.host.server.Listener.Close() // Close closes it again
}

// next returns the answer to a question, the key that it needs, and its number.
func (v *vendor) next(q Question) (Answer, string, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	var a Answer
	if len(v.script) > 0 {
		a = v.script[0]
		v.script = v.script[1:]
	} else {
		a = v.reply(q)
	}
	if v.twist != nil {
		a = v.twist(a)
	}
	return a, v.key, v.asked
}

// wait lets the latency pass.
func (v *vendor) wait(r *http.Request) {
	v.mu.Lock()
	d := v.latency
	v.mu.Unlock()
	v.pass(r, d)
}

// pass lets some time pass, unless whoever asked has gone.
func (v *vendor) pass(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-v.host.stop:
	}
}

// bill notes what an answer costs, before it is given: whoever dies while
// reading it has to pay nevertheless.
func (v *vendor) bill(model string, a Answer, c counted) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.billed++
	v.bills = latest(v.bills, Bill{Model: model, Usage: a.Usage.usage(), Whole: a.finished(), Prompt: c.total, Seen: c.read}, v.keep)
}

// Keep bounds, from now on, how many requests and bills are remembered: the latest
// n. A long run would fill the memory with them.
func (v *vendor) Keep(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keep = n
}

// latest appends one and drops the first when there are more than n.
func latest[T any](all []T, one T, n int) []T {
	if all = append(all, one); n > 0 && len(all) > n {
		all = slices.Delete(all, 0, len(all)-n)
	}
	return all
}

// Bills returns what has been billed so far, oldest first.
func (v *vendor) Bills() []Bill {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.bills)
}

// CacheFrom sets how many tokens a prompt needs to be cached; the vendors' own
// bounds are 1024 and more.
func (v *vendor) CacheFrom(tokens int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.least = tokens
}

func (v *vendor) meter(model string, pieces []piece) counted {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cache.meter(model, pieces)
}

// bearer is the key of an Authorization header.
func bearer(h http.Header) string { return strings.TrimPrefix(h.Get("Authorization"), "Bearer ") }

// Billed is how many answers have been billed, also those that Keep let go.
func (v *vendor) Billed() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.billed
}

// Expire forgets what prompts were asked: the vendors keep them for minutes only.
func (v *vendor) Expire() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.cache.seen)
}

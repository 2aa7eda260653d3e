// SPDX-License-Identifier: MIT OR Apache-2.0

package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func TestNotPublic(t *testing.T) {
	for addr, want := range map[string]string{ // "" is public
		"8.8.8.8": "", "1.1.1.1": "", "100.63.255.255": "", "100.128.0.0": "", "172.15.255.255": "", "172.32.0.0": "", "198.17.255.255": "", "223.255.255.255": "",
		"2606:4700:4700::1111": "", "2a00:1450:4001::1": "", "2001:200::1": "",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.0.1": "private",
		"127.0.0.1": "this machine", "127.8.8.8": "this machine", "0.0.0.0": "this network", "0.1.2.3": "this network",
		"169.254.169.254": "clouds", "100.100.100.200": "inner network", "168.63.129.16": "cloud", "192.0.0.192": "protocol",
		"192.0.2.1": "documentation", "198.51.100.1": "documentation", "203.0.113.1": "documentation", "198.18.0.1": "benchmarks", "198.19.255.255": "benchmarks",
		"192.88.99.1": "6to4", "224.0.0.1": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "broadcast",
		"::": "this network", "::1": "this machine", "fc00::1": "private", "fd00:ec2::254": "private", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"fec0::1": "reserved", "ff02::1": "multicast", "2001:db8::1": "documentation", "3fff::1": "documentation", "2002:a00:1::": "6to4",
		"2001::1": "protocol", "2001:2::1": "protocol", "100::1": "reserved", "4000::1": "reserved", "5f00::1": "reserved",
		"::ffff:8.8.8.8": "", "::ffff:10.0.0.1": "private", "::ffff:127.0.0.1": "this machine", "::ffff:169.254.169.254": "clouds", "::127.0.0.1": "reserved",
		"64:ff9b::8.8.8.8": "", "64:ff9b::10.0.0.1": "private", "64:ff9b::7f00:1": "this machine", "64:ff9b::a9fe:a9fe": "clouds", "64:ff9b:1::8.8.8.8": "reserved",
	} {
		if got := notPublic(netip.MustParseAddr(addr)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

func TestParseAllowed(t *testing.T) {
	a, err := ParseAllowed([]string{"NAS.local.", "192.168.1.7/24", "fd12::1", "::ffff:10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"nas.local": true, "Nas.Local.": true, "x.nas.local": false, "192.168.1.200": true, "192.168.2.1": false,
		"fd12::1": true, "[fd12::1]": true, "fd12::2": false, "10.0.0.1": true, "::ffff:192.168.1.9": true, "fd12::1%eth0": true} {
		if got := a.host(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	for _, bad := range []string{"", "http://nas", "nas:80", "*.local", "10.0.0.0/99", "a b", "fe80::1%eth0"} {
		if _, err := ParseAllowed([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// names is a DNS server whose answers a test decides: one address for each
// question of a name, the last one for ever.
type names struct {
	conn  net.PacketConn
	addrs map[string][]string
	asked map[string]int
}

func newNames(t *testing.T, addrs map[string][]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{conn: conn, addrs: addrs, asked: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (n *names) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if size > 12 {
			_, _ = n.conn.WriteTo(n.answer(buf[:size]), from)
		}
	}
}

// answer makes the message of RFC 1035 section 4 that answers question q.
func (n *names) answer(q []byte) []byte {
	var labels []string
	end := 12
	for q[end] != 0 {
		labels = append(labels, string(q[end+1:end+1+int(q[end])]))
		end += 1 + int(q[end])
	}
	end += 5
	name, kind := strings.ToLower(strings.Join(labels, ".")), binary.BigEndian.Uint16(q[end-4:])
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
	list := n.addrs[name]
	if list == nil {
		out[3] |= 3 // no such name
		return out
	}
	addr := netip.MustParseAddr(list[min(n.asked[name], len(list)-1)])
	if kind == 1 && addr.Is4() || kind == 28 && addr.Is6() {
		n.asked[name]++
		out[7] = 1
		out = append(out, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(addr.BitLen()/8))
		out = append(out, addr.AsSlice()...)
	}
	return out
}

// counted is a TLS server on this machine that counts who reaches it.
func counted(t *testing.T) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	hits := new(atomic.Int32)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		fmt.Fprint(w, "inside")
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s, hits
}

func allow(t *testing.T, list ...string) Allowed {
	t.Helper()
	a, err := ParseAllowed(list)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// public is a client whose requests go to no proxy.
func public(o Options) *http.Client {
	o.Public, o.Setting = true, "tools.allow"
	if o.proxy == nil {
		o.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	return New(o)
}

// Names, literals and addresses in disguise that lead into a private network are
// refused before anything is sent; the list lets through what it names.
func TestPublicRefusesPrivate(t *testing.T) {
	s, hits := counted(t)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resolver := newNames(t, map[string][]string{"inside.test": {"127.0.0.1"}, "six.test": {"::1"}, "cloud.test": {"169.254.169.254"}, "example.com": {"127.0.0.1"}})
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "inside.test", "six.test", "cloud.test", "169.254.169.254", "10.0.0.1", "0.0.0.0", "[fd00:ec2::254]"} {
		var p *PrivateError
		_, err := do(t, public(Options{resolver: resolver}), "GET", "https://"+host+":"+port+"/", "", nil)
		if !errors.As(err, &p) || canonical(p.Host) != canonical(host) || !strings.Contains(p.Hint(), "tools.allow") || !strings.Contains(p.Error(), "not on the public internet") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Fatalf("%d requests arrived", n)
	}
	for host, list := range map[string]string{"127.0.0.1": "127.0.0.0/8", "example.com": "example.com", "EXAMPLE.com": "127.0.0.1"} {
		c := public(Options{resolver: resolver, Allow: allow(t, list)})
		trust(c, s)
		if got, err := do(t, c, "GET", "https://"+host+":"+port+"/", "", nil); err != nil || got != "inside" {
			t.Errorf("%s, allowed by %s: %q, %v", host, list, got, err)
		}
	}
}

// A name that leads elsewhere when it is asked again is judged again.
func TestRebinding(t *testing.T) {
	s, hits := counted(t)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c := public(Options{Allow: allow(t, "127.0.0.1"), resolver: newNames(t, map[string][]string{"example.com": {"127.0.0.1", "127.0.0.2"}})})
	trust(c, s)
	if got, err := do(t, c, "GET", "https://example.com:"+port, "", nil); err != nil || got != "inside" {
		t.Fatalf("%q, %v", got, err)
	}
	c.CloseIdleConnections()
	var p *PrivateError
	if _, err := do(t, c, "GET", "https://example.com:"+port, "", nil); !errors.As(err, &p) || p.Addr.String() != "127.0.0.2" {
		t.Errorf("%v", err)
	}
	if n := hits.Load(); n != 1 {
		t.Errorf("%d requests arrived", n)
	}
}

func TestPublicRedirects(t *testing.T) {
	outside, _ := counted(t)
	inside, hits := counted(t)
	_, outPort, _ := net.SplitHostPort(outside.Listener.Addr().String())
	_, inPort, _ := net.SplitHostPort(inside.Listener.Addr().String())
	resolver := newNames(t, map[string][]string{"example.com": {"127.0.0.1"}, "inside.test": {"127.0.0.1"}})
	for name, to := range map[string]string{"address": "https://127.0.0.1:" + inPort, "name": "https://inside.test:" + inPort, "localhost": "https://localhost:" + inPort} {
		c := public(Options{resolver: resolver, Allow: allow(t, "example.com")})
		trust(c, outside)
		var p *PrivateError
		if got, err := do(t, c, "GET", "https://example.com:"+outPort+"/?to="+url.QueryEscape(to), "", nil); !errors.As(err, &p) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}

func TestPublicNeedsTLS(t *testing.T) {
	here := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "plain") })
	var p *PlaintextError
	for _, u := range []string{here, "http://localhost:1/", "http://example.com/"} {
		if _, err := do(t, public(Options{AllowPlaintext: true}), "GET", u, "", nil); !errors.As(err, &p) || !strings.Contains(p.Hint(), `to tools.allow`) {
			t.Errorf("%s: %v", u, err)
		}
	}
	if got, err := do(t, public(Options{Allow: allow(t, "127.0.0.1")}), "GET", here, "", nil); err != nil || got != "plain" {
		t.Errorf("allowed: %q, %v", got, err)
	}
}

// A proxy on this machine is used, but not asked for what is private or unknown
// here.
func TestPublicThroughAProxy(t *testing.T) {
	var asked atomic.Int32
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != http.MethodConnect {
			_, _ = io.WriteString(w, "proxied "+r.Host)
			return
		}
		w.WriteHeader(http.StatusTeapot)
	})
	o := Options{resolver: newNames(t, map[string][]string{"inside.test": {"10.0.0.1"}, "example.com": {"93.184.215.14"}}),
		proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy) }}
	for _, host := range []string{"127.0.0.1", "10.0.0.1", "inside.test", "nowhere.test", "169.254.169.254", "[::1]"} {
		var p *PrivateError
		if _, err := do(t, public(o), "GET", "https://"+host+"/", "", nil); !errors.As(err, &p) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Fatalf("the proxy was asked %d times", n)
	}
	for _, host := range []string{"example.com", "93.184.215.14"} {
		if _, err := do(t, public(o), "GET", "https://"+host+"/", "", nil); err == nil || !strings.Contains(err.Error(), "teapot") {
			t.Errorf("%s did not reach the proxy: %v", host, err)
		}
	}
	o.Allow = allow(t, "nas.local")
	if got, err := do(t, public(o), "GET", "http://nas.local/", "", nil); err != nil || got != "proxied nas.local" {
		t.Errorf("allowed: %q, %v", got, err)
	}
}

func FuzzParseAllowed(f *testing.F) {
	for _, s := range []string{"nas.local", "10.0.0.0/8", "::1", "fe80::1%e", "[::1]", "a/b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAllowed([]string{s})
		if err == nil && len(a.hosts) == 1 && !a.host(s) {
			t.Errorf("%q does not allow itself", s)
		}
	})
}

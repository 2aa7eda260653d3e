// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Config is the section [gateway].
type Config struct {
	Listen         string        `koanf:"listen" doc:"Address and port of the HTTP gateway; port 0 is any free one. Another address than loopback needs tls_cert and tls_key, or behind_proxy."`
	TLSCert        string        `koanf:"tls_cert" doc:"PEM file with the certificate chain; read again when it changes."`
	TLSKey         string        `koanf:"tls_key" doc:"PEM file with the certificate's private key."`
	BehindProxy    bool          `koanf:"behind_proxy" doc:"A reverse proxy in front adds TLS and checks the Host and Origin of requests."`
	MetricsOpen    bool          `koanf:"metrics_open" doc:"Let anyone who can connect read /metrics. On a loopback address without a proxy it is open anyway."`
	MaxBodyBytes   int           `koanf:"max_body_bytes" live:"true" doc:"Largest request body." min:"1024" max:"1048576"`
	MaxBodies      int           `koanf:"max_bodies" doc:"Bodies read and handed over at once; more wait. Small ones need no place while they come. The next sixteenth of a large one has to come within a sixteenth of read_timeout." min:"2" max:"1000"`
	MaxConnections int           `koanf:"max_connections" doc:"Connections served at once; more wait to be accepted." min:"1" max:"10000"`
	MaxWaiters     int           `koanf:"max_waiters" doc:"Requests that may wait for a reply at once; more are answered without waiting." min:"1" max:"10000"`
	MaxWait        time.Duration `koanf:"max_wait" live:"true" doc:"Longest time a request may wait for a reply (?wait=)." min:"1s" max:"10m"`
	MaxAnswer      time.Duration `koanf:"max_answer" doc:"Longest time a chat completion or a socket waits for a reply." min:"1s" max:"1h"`
	MaxStreams     int           `koanf:"max_streams" doc:"Event streams and sockets open at once; one more is told to try again later." min:"1" max:"1000"`
	HeaderTimeout  time.Duration `koanf:"header_timeout" doc:"Time a client has to send the head of a request." min:"100ms" max:"1m"`
	ReadTimeout    time.Duration `koanf:"read_timeout" doc:"Time a client has to send a whole request." min:"100ms" max:"10m"`
	WriteTimeout   time.Duration `koanf:"write_timeout" doc:"Time a client has to take an answer, beside what it waited for." min:"1s" max:"10m"`
	IdleTimeout    time.Duration `koanf:"idle_timeout" doc:"How long a connection is kept open between requests." min:"1s" max:"1h"`
	TokenRate      int           `koanf:"token_rate" live:"true" doc:"Requests and socket frames a minute that a token may make, a minute's worth of them at once, unless it is issued with another --rate; 0 is no limit." min:"0" max:"1000000"`
	MaxTokens      int           `koanf:"max_tokens" doc:"Tokens that may be valid at once; no more are issued." min:"1" max:"10000"`
	MaxAuthDelay   time.Duration `koanf:"max_auth_delay" doc:"Longest delay of the answer to a bad token. It doubles with each failure from one address." min:"1ms" max:"30s"`
}

// Defaults returns the configuration of an installation that sets nothing.
func Defaults() Config {
	return Config{
		Listen:         "127.0.0.1:3000",
		MaxBodyBytes:   256 << 10,
		MaxBodies:      10,
		MaxConnections: 256,
		MaxWaiters:     128,
		MaxWait:        time.Minute,
		MaxAnswer:      10 * time.Minute,
		MaxStreams:     32,
		HeaderTimeout:  5 * time.Second,
		ReadTimeout:    30 * time.Second,
		WriteTimeout:   30 * time.Second,
		IdleTimeout:    time.Minute,
		TokenRate:      6000,
		MaxTokens:      1024,
		MaxAuthDelay:   2 * time.Second,
	}
}

// bodyCopies is how many times a body is there at once: while it is read it grows
// by copying, then come its messages, one of them being decoded, their texts, what is
// made of them, and that encoded for the bus.
const bodyCopies = 8

// Bytes is the most memory, in bytes, that requests can hold at once with this
// configuration: buffers and heads of all connections, the bodies from their first
// byte until their message is handed over, what waits for the clients of streams
// to be taken, and the tokens.
func (c Config) Bytes() int64 {
	const perConnection = connBytes + maxHeaderBytes + 2*smallBody // and the head, and a body that is read without a slot
	perStream := max(maxPendingBytes, 2*int64(c.MaxBodyBytes))     // events waiting, or a frame being read
	return int64(c.MaxConnections)*perConnection + int64(c.MaxBodies)*bodyCopies*int64(c.MaxBodyBytes) +
		int64(c.MaxWaiters)*maxUnsent + int64(c.MaxStreams)*perStream + 2*int64(c.MaxTokens)*passBytes
}

// largeBodies is how many of the bodies may be large.
func (c Config) largeBodies() int { return c.MaxBodies * 3 / 4 }

// ErrPortInUse means that another program holds the address of Config.Listen.
// The error that wraps it names the address.
var ErrPortInUse = errors.New("address already in use")

// ConfigError is a configuration the gateway does not start with.
type ConfigError struct {
	Key     string // below [gateway], "listen"
	Message string
	Hint    string
}

func (e *ConfigError) Error() string { return "gateway." + e.Key + ": " + e.Message }

// Check reports what no bound of a single key can say. Files are not looked at.
func (c Config) Check(report func(key, message, hint string)) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		missing := "tls_key"
		if c.TLSCert == "" {
			missing = "tls_cert"
		}
		report(missing, "tls_cert and tls_key go together, and it is not set", "set both, or neither")
	}
	host, _, err := splitListen(c.Listen)
	if err != nil {
		report("listen", err.Error(), `write it like "127.0.0.1:3000"`)
		return
	}
	if !isLoopback(host) && !c.tls() && !c.BehindProxy {
		report("listen", fmt.Sprintf("%q can be reached from other machines, and tokens and messages would travel in the clear", c.Listen),
			"set tls_cert and tls_key, or behind_proxy = true if a proxy adds TLS, or listen on 127.0.0.1")
	}
}

// CheckFiles tells whether the certificate can be used.
func (c Config) CheckFiles(report func(key string, err error, hint string)) {
	if !c.tls() {
		return
	}
	const hint = "both files must be PEM and readable by the daemon's user"
	for _, f := range []struct{ key, path string }{{"tls_cert", c.TLSCert}, {"tls_key", c.TLSKey}} {
		if _, err := os.ReadFile(f.path); err != nil {
			report(f.key, err, hint)
			return
		}
	}
	if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
		report("tls_cert", fmt.Errorf("read certificate %s with key %s: %w", c.TLSCert, c.TLSKey, err), hint)
	}
}

// validate returns the first problem that Check finds.
func (c Config) validate() error {
	var first *ConfigError
	c.Check(func(key, message, hint string) {
		if first == nil {
			first = &ConfigError{Key: key, Message: message, Hint: hint}
		}
	})
	if first != nil {
		return first
	}
	return nil
}

func (c Config) tls() bool { return c.TLSCert != "" && c.TLSKey != "" }

// private reports whether only programs of this machine can send requests.
func (c Config) private() bool {
	host, _, err := splitListen(c.Listen)
	return err == nil && isLoopback(host) && !c.BehindProxy
}

func splitListen(listen string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(listen)
	if err != nil {
		return "", "", fmt.Errorf("%q is not an address with a port", listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", fmt.Errorf("%q: the port is not a number from 0 to 65535", listen)
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		host = "127.0.0.1" // whatever the resolver thinks
	}
	return host, port, nil
}

// isLoopback reports whether host, a name or an address with or without
// brackets, always means this machine.
func isLoopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}

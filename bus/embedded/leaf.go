// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const (
	leafReconnect = time.Second // also what keeps a lost connection's messages apart from the next one's
	leafDial      = 5 * time.Second
	maxCAFile     = 1 << 20

	schemePlain = "nats-leaf"
	schemeTLS   = "tls"
	leafPort    = "7422" // NATS's own default
)

// LeafConfig says which hub to join.
type LeafConfig struct {
	URL      string // nats-leaf://host:port, or tls://host:port
	SeedFile string // the seed of the user key that the hub knows, mode 0600
	CAFile   string // certificates that the hub's is signed by; "" is the system's
	Node     string // this daemon's name on the hub, one subject word
}

// Leaf is a hub to join. It connects the account LEAF, and nothing else, to one
// account of the hub. Nothing is exported to LEAF or from it: what the hub
// publishes is heard by the one who connects with ConnectLeaf, and only what that
// one publishes is heard on the hub.
//
// A Leaf never prints its seed.
type Leaf struct {
	node   string
	id     string // of this run
	room   *Device
	remote func() *server.RemoteLeafOpts // a function value: fmt prints no bytes of it
}

// LoadLeaf reads the key file and makes ready to join. Errors about the file are
// *KeyError.
func LoadLeaf(cfg LeafConfig) (*Leaf, error) {
	if !isWord(cfg.Node) {
		return nil, fmt.Errorf("join hub: the name %q is not 1 to 64 of a-z 0-9 - _", cfg.Node)
	}
	at, err := ParseLeafURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	seed, err := readSeed(cfg.SeedFile)
	if err != nil {
		return nil, err
	}
	secure, err := leafTLS(at, cfg.CAFile)
	if err != nil {
		return nil, err
	}
	room, err := ephemeral()
	if err != nil {
		return nil, err
	}
	remote := &server.RemoteLeafOpts{
		LocalAccount: accountLeaf, URLs: []*url.URL{at}, Nkey: seed,
		TLS: secure != nil, TLSConfig: secure, TLSTimeout: leafDial.Seconds(),
		DialTimeout: leafDial, FirstInfoTimeout: leafDial,
		// Every account answers $SYS questions about itself, and would tell
		// the hub of the daemon's connections. The others nobody in LEAF says
		// or hears; that they do not cross holds even if somebody once did.
		DenyImports: []string{bus.NodeInner, "$SYS.>", "$SRV.>", "$JS.API.>"},
		DenyExports: []string{bus.NodeInner, "$SYS.>", "$SRV.>", "$JS.API.>"},
	}
	public := room.PublicKey()
	return &Leaf{node: cfg.Node, id: public[len(public)-12:], room: room, remote: func() *server.RemoteLeafOpts { c := *remote; return &c }}, nil
}

// CheckLeafFiles looks at the files that joining a hub takes.
func CheckLeafFiles(cfg LeafConfig) (seed, ca error) {
	_, seed = readSeed(cfg.SeedFile)
	if at, err := ParseLeafURL(cfg.URL); err == nil {
		_, ca = leafTLS(at, cfg.CAFile)
	}
	return seed, ca
}

// ParseLeafURL reads the address of a hub. Without TLS it must be on this machine.
func ParseLeafURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the hub's address %q is not like tls://host:port", redactedURL(u, err))
	case u.Scheme != schemePlain && u.Scheme != schemeTLS:
		return nil, fmt.Errorf("the hub's address begins with %s://, and needs tls:// or, on this machine, nats-leaf://", u.Scheme)
	case u.Scheme == schemePlain && !onThisMachine(u.Hostname()):
		return nil, fmt.Errorf("the hub at %s is not on this machine: it needs tls://, for without it the network reads along", u.Host)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), leafPort)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// redactedURL is what may be said of an address that cannot be read: it may hold
// a password.
func redactedURL(u *url.URL, err error) string {
	if err != nil {
		return "…"
	}
	return u.Redacted()
}

func onThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// leafTLS is nil for a hub without.
func leafTLS(at *url.URL, caFile string) (*tls.Config, error) {
	if at.Scheme != schemeTLS {
		return nil, nil
	}
	c := &tls.Config{ServerName: at.Hostname(), MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return c, nil
	}
	info, err := os.Stat(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the hub's certificates: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxCAFile {
		return nil, fmt.Errorf("read the hub's certificates: %s is no file of certificates", caFile)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the hub's certificates: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the hub's certificates: %s holds none", caFile)
	}
	return c, nil
}

// readSeed reads the seed of a user key from a private file.
func readSeed(path string) (string, error) {
	text, err := readKey(path, os.Geteuid())
	if err == nil {
		defer clear(text)
		var pair nkeys.KeyPair
		if pair, err = nkeys.FromSeed(bytes.TrimSpace(text)); err == nil {
			defer pair.Wipe()
			var public string
			if public, err = pair.PublicKey(); err == nil && nkeys.IsValidPublicUserKey(public) {
				return string(bytes.TrimSpace(text)), nil
			}
		}
		err = &KeyError{Path: path, Problem: "the file does not hold the seed of a user key (SU…)", Err: err,
			Fix: "make one with `nk -gen user`, and tell the hub its public key"}
	}
	var key *KeyError
	if errors.As(err, &key) {
		key.Key = "hub key"
		if errors.Is(key.Err, os.ErrNotExist) {
			key.Fix = "name the file with bus.leaf.seed_file"
		}
	}
	return "", err
}

// join adds the hub to the server's options; without one it changes nothing.
func (l *Leaf) join(o *server.Options) *server.Options {
	if l == nil {
		return o
	}
	// A hub takes two leaves of one server name for one that came back, and
	// cuts the first one off.
	o.ServerName += "-" + l.node + "-" + l.id
	o.JetStreamDomain = l.domain()
	o.LeafNode.ReconnectInterval = leafReconnect
	o.LeafNode.Remotes = []*server.RemoteLeafOpts{l.remote()}
	return o
}

// permissions are those of the one who speaks with the hub: what a daemon has to say.
func (l *Leaf) permissions() *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Deny: []string{bus.NodeInner, "$SYS.>", "$SRV.>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{
			bus.NodeSubject(l.node, "ctl.>"), bus.NodeClaim(l.node), bus.NodesHello, bus.NodeHere("*"), bus.NodeInbox(l.node) + ".>",
		}},
	}
}

// domain keeps the daemon's JetStream apart from the hub's: neither answers for
// the other.
func (l *Leaf) domain() string {
	if l == nil {
		return ""
	}
	return "blufio-" + l.node
}

// Seed is the private key itself: what takes secrets out of text has to know it.
func (l *Leaf) Seed() string { return l.remote().Nkey }

// Node is the daemon's name on the hub, ID that of this run.
func (l *Leaf) Node() string { return l.node }

// ID tells this run from every other daemon on the hub.
func (l *Leaf) ID() string { return l.id }

// String returns the name only.
func (l *Leaf) String() string { return "leaf " + l.node }

// ConnectLeaf connects, in process, to the account that the hub is joined to.
func (s *Server) ConnectLeaf(opts ...nats.Option) (*nats.Conn, error) {
	l := s.cfg.Leaf
	if l == nil {
		return nil, errors.New("connect to the hub: there is none")
	}
	return s.connect(l.room, "_INBOX.node.", l.node, opts)
}

// Leaf is the hub to join, nil for none.
func (s *Server) Leaf() *Leaf { return s.cfg.Leaf }

// HubConnected reports whether the hub is joined now.
func (s *Server) HubConnected() bool { return s.ns.NumLeafNodes() > 0 }

// SPDX-License-Identifier: MIT OR Apache-2.0

package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// PrivateError refuses to connect to what is not on the public internet.
type PrivateError struct {
	Host    string     // as it was asked for
	Addr    netip.Addr // that it stands for; the zero value when its name is not known here
	Kind    string     // "a private address"; "" with the zero Addr
	Setting string     // the list that would allow it, may be ""
}

func (e *PrivateError) Error() string {
	switch {
	case !e.Addr.IsValid():
		return fmt.Sprintf("%s is not a name that is known here, and what a proxy would make of it is not known either", e.Host)
	case e.Host == e.Addr.String():
		return fmt.Sprintf("%s is not on the public internet: it is %s", e.Host, e.Kind)
	}
	return fmt.Sprintf("%s is not on the public internet: it stands for %s, %s", e.Host, e.Addr, e.Kind)
}

// Hint says what to do about it.
func (e *PrivateError) Hint() string {
	if e.Setting == "" {
		return "use an address on the public internet"
	}
	return fmt.Sprintf("add %q to %s to allow it", e.Host, e.Setting)
}

// Allowed are hosts and networks that [Options.Public] does not speak of.
type Allowed struct {
	hosts    []string // lower case, without a final dot
	prefixes []netip.Prefix
}

// ParseAllowed reads host names, addresses and networks ("nas.local",
// "192.168.1.7", "fd12:3456::/48").
func ParseAllowed(list []string) (Allowed, error) {
	var out Allowed
	for _, item := range list {
		name := canonical(item)
		if p, err := netip.ParsePrefix(name); err == nil {
			out.prefixes = append(out.prefixes, p.Masked())
		} else if a, err := netip.ParseAddr(name); err == nil && a.Zone() == "" {
			out.prefixes = append(out.prefixes, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		} else if name == "" || strings.ContainsFunc(name, notInName) {
			return Allowed{}, fmt.Errorf("%q is neither a host name nor an address nor a network", item)
		} else {
			out.hosts = append(out.hosts, name)
		}
	}
	return out, nil
}

// notInName finds what no host name has: a port, a scheme, a star.
func notInName(r rune) bool { return r <= ' ' || strings.ContainsRune(":/*@?#[]%,", r) }

// canonical is a host without brackets, capitals and the root's dot.
func canonical(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// host reports whether a name or an address as it stands in a URL is allowed.
func (a Allowed) host(host string) bool {
	name := canonical(host)
	if addr, err := netip.ParseAddr(name); err == nil {
		return a.addr(addr)
	}
	return slices.Contains(a.hosts, name)
}

func (a Allowed) addr(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // a prefix contains no address with a zone
	return slices.ContainsFunc(a.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// special are the ranges that are no one's on the public internet, by IANA's
// registries of special-purpose addresses (RFC 6890), and 168.63.129.16, where
// Azure keeps what other clouds have at 169.254.169.254.
var special = ranges(
	"0.0.0.0/8", "this network", "10.0.0.0/8", "a private address", "100.64.0.0/10", "an address of a provider's inner network",
	"127.0.0.0/8", "this machine", "169.254.0.0/16", "a link-local address, where clouds keep their secrets",
	"172.16.0.0/12", "a private address", "192.0.0.0/24", "a protocol's address", "192.0.2.0/24", "an address for documentation",
	"192.88.99.0/24", "a 6to4 relay", "192.168.0.0/16", "a private address", "198.18.0.0/15", "an address for benchmarks",
	"198.51.100.0/24", "an address for documentation", "203.0.113.0/24", "an address for documentation",
	"224.0.0.0/4", "a multicast address", "240.0.0.0/4", "a reserved or broadcast address", "168.63.129.16/32", "the cloud's own service",
	"::/128", "this network", "::1/128", "this machine", "fc00::/7", "a private address", "fe80::/10", "a link-local address",
	"ff00::/8", "a multicast address", "2001::/23", "a protocol's address", "2001:db8::/32", "an address for documentation",
	"2002::/16", "a 6to4 address", "3fff::/20", "an address for documentation",
)

// specialRange is a range and what an address in it is.
type specialRange struct {
	prefix netip.Prefix
	kind   string
}

func ranges(pairs ...string) (out []specialRange) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, specialRange{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return out
}

var (
	unicast = netip.MustParsePrefix("2000::/3") // all of IPv6 that is given out so far
	nat64   = netip.MustParsePrefix("64:ff9b::/96")
)

// notPublic says what an address is that is not on the public internet, "" for
// one that is. An address that carries another (IPv4-mapped, NAT64) is as public
// as that one: networks without IPv4 reach all of it so.
func notPublic(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, s := range special {
		if s.prefix.Contains(addr) {
			return s.kind
		}
	}
	if addr.Is6() && !unicast.Contains(addr) {
		return "a reserved address"
	}
	return ""
}

// checkAddr decides whether host may be reached at addr.
func (o Options) checkAddr(host string, addr netip.Addr) error {
	if !o.Public || o.Allow.host(host) || o.Allow.addr(addr) {
		return nil
	}
	if kind := notPublic(addr); kind != "" {
		return &PrivateError{Host: host, Addr: addr.Unmap(), Kind: kind, Setting: o.Setting}
	}
	return nil
}

// checkProxied decides about a request that a proxy will make. The name is looked
// up here and every address has to be public; one that is not known here is
// refused, for it may be one of the proxy's own network.
func (o Options) checkProxied(ctx context.Context, u *url.URL) error {
	host := u.Hostname()
	if !o.Public || o.Allow.host(host) {
		return nil
	}
	if addr, err := netip.ParseAddr(canonical(host)); err == nil {
		return o.checkAddr(host, addr)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Connect)
	defer cancel()
	addrs, err := o.resolver.LookupNetIP(ctx, "ip", host)
	if ctx.Err() != nil {
		return fmt.Errorf("look up %s: %w", host, ctx.Err())
	}
	if err != nil || len(addrs) == 0 {
		return &PrivateError{Host: host, Setting: o.Setting}
	}
	for _, addr := range addrs {
		if err := o.checkAddr(host, addr); err != nil {
			return err
		}
	}
	return nil
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// Bounds of one key, so that a leaked one cannot keep others out.
const (
	keyConns = 8       // connections at the same time
	keySubs  = 256     // subscriptions of one connection
	allConns = 1 << 20 // more than there are
)

// What AddKey and RemoveKey find.
var (
	ErrUnknownKey = errors.New("no such key")
	ErrKnownKey   = errors.New("it is let in already")
)

// maxFormer is how many keys that are out have a name in denials.
const maxFormer = 512

// keyring decides who gets on. Users in the server's options would do for that, but
// changing them reloads everything: it takes all accounts apart and puts them together
// again under way, and switches off a JetStream that was switched on at run time.
type keyring struct {
	now func() time.Time

	// names of the keys in holders. The server tells of refusals with locks of its own
	// held, and within Check: to find a name then must not wait for mu.
	names  sync.Map
	former sync.Map // names of keys that are out, at most maxFormer
	outs   []string // the keys of former, the oldest first; under mu

	// wiring is held while the account of a key is wired, and while JetStream comes on: it
	// brings its API into every account that it finds without, and one that is half wired
	// would ask it past the stream's account, and be told that it has no JetStream. It is
	// taken before mu.
	wiring sync.Mutex

	mu      sync.RWMutex
	holders map[string]*holder // by public key
	ns      *server.Server
	house   *server.Account
	edge    *server.Account
	free    []*slot // accounts made for keys that are gone
	made    int     // accounts made for keys, ever
}

// holder is one who may get on.
type holder struct {
	account   *server.Account
	allowed   *server.Permissions // nil: everything
	inProcess bool                // not over the network
	key       Key                 // zero for the device and the process's own
	slot      *slot               // nil for those in HOUSE
	retired   bool                // gets on no more
	until     time.Time           // does not get on before; see guard

	mu   sync.Mutex
	seen time.Time
}

// slot is an account for one key at a time. The server does not forget accounts, so
// they are used again.
type slot struct {
	account *server.Account
	number  int
}

var _ server.Authentication = (*keyring)(nil)

// Check reports whether the client may get on, and if so gives it its account and its
// permissions. The server calls it once for every connection.
func (r *keyring) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT {
		return false
	}
	// The lock is held until the client is in its account: whoever removes the key
	// after that finds the connection there.
	r.mu.RLock()
	defer r.mu.RUnlock()
	opts := c.GetOpts()
	h := r.holders[opts.Nkey]
	if h == nil || h.retired || !proves(opts.Nkey, opts.Sig, c.GetNonce()) {
		return false
	}
	if h.inProcess && (c.RemoteAddress() == nil || c.RemoteAddress().Network() != "pipe") {
		return false
	}
	now := r.now()
	if now.Before(h.until) {
		return false
	}
	user := &server.User{Account: h.account, Permissions: h.allowed}
	if end := h.key.Expires; !end.IsZero() {
		if !now.Before(end) {
			return false
		}
		// The keeper of the keys removes it on time; this holds also if nobody does.
		user.ConnectionDeadline = time.Now().Add(end.Sub(now))
	}
	c.RegisterUser(user)
	h.mu.Lock()
	h.seen = now
	h.mu.Unlock()
	return true
}

// name is that of a key that gets on, "" for any other and for the device. It waits for
// nobody: the server may ask it, by way of its log, within Check.
func (r *keyring) name(public string) string {
	name, _ := r.names.Load(public)
	text, _ := name.(string)
	return text
}

// proves reports whether the signature of the challenge is that of the public key.
func proves(public, signature string, nonce []byte) bool {
	if len(nonce) == 0 {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		if sig, err = base64.StdEncoding.DecodeString(signature); err != nil { // older clients
			return false
		}
	}
	pub, err := nkeys.FromPublicKey(public)
	return err == nil && pub.Verify(nonce, sig) == nil
}

// admit lets the device and the process's own connections in.
func (r *keyring) admit(public string, h *holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holders[public] = h
}

// retire lets nobody in with the key any more; who is on stays until it is removed.
func (r *keyring) retire(public string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.holders[public]; h != nil {
		h.retired = true
	}
}

// retired are the keys that were.
func (r *keyring) retired() (public []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for p, h := range r.holders {
		if h.retired {
			public = append(public, p)
		}
	}
	return public
}

// add lets a key in.
func (r *keyring) add(k Key) (*holder, error) {
	if !nkeys.IsValidPublicUserKey(k.Public) || !bus.ValidToken(k.Name) || k.Inbox == "" {
		return nil, fmt.Errorf("add key %q: it is not a user's public key with a name and an inbox", k.Name)
	}
	r.wiring.Lock()
	defer r.wiring.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holders[k.Public] != nil {
		return nil, fmt.Errorf("add key %q: %w", k.Name, ErrKnownKey)
	}
	h := &holder{key: k, allowed: k.permissions(), account: r.house}
	if k.Role != bus.RoleOperator {
		s, err := r.takeSlot()
		if err != nil {
			return nil, fmt.Errorf("add key %q: %w", k.Name, err)
		}
		r.ns.UpdateAccountClaims(s.account, k.wiring())
		h.slot, h.account = s, s.account
	}
	r.holders[k.Public] = h
	r.names.Store(k.Public, k.Name)
	return h, nil
}

// takeSlot returns an account that no key uses.
func (r *keyring) takeSlot() (*slot, error) {
	if n := len(r.free); n > 0 {
		s := r.free[n-1]
		r.free = r.free[:n-1]
		return s, nil
	}
	account, err := r.ns.RegisterAccount(fmt.Sprintf("KEY%d", r.made+1))
	if err != nil {
		return nil, fmt.Errorf("register account: %w", err)
	}
	r.made++
	s := &slot{account: account, number: r.made}
	r.ns.UpdateAccountClaims(account, emptyWiring())
	for _, subject := range servedSubjects {
		if err := r.edge.AddServiceImport(account, s.subject(subject), subject); err != nil {
			return nil, fmt.Errorf("import %s: %w", subject, err)
		}
	}
	return s, nil
}

// subject is where, in the desk's account, the holder of the slot's key is asked.
func (s *slot) subject(asked string) string { return fmt.Sprintf("slot.%d.%s", s.number, asked) }

// remove shuts the key out and ends its connections, and nobody else's.
func (r *keyring) remove(public string) error {
	r.wiring.Lock()
	defer r.wiring.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.holders[public]
	if h == nil {
		return fmt.Errorf("remove key: %w", ErrUnknownKey)
	}
	delete(r.holders, public)
	r.names.Delete(public)
	r.left(public, h.key.Name)
	err := r.disconnect(h, public)
	if h.slot != nil {
		r.ns.UpdateAccountClaims(h.slot.account, emptyWiring())
		r.free = append(r.free, h.slot)
	}
	return err
}

// left notes the name of a key that is out. mu is held.
func (r *keyring) left(public, name string) {
	if _, known := r.former.Swap(public, name); known || name == "" {
		return
	}
	if r.outs = append(r.outs, public); len(r.outs) > maxFormer {
		r.former.Delete(r.outs[0])
		r.outs = slices.Delete(r.outs, 0, 1)
	}
}

// formerName is that of a key that is out, "" for any other. It waits for nobody.
func (r *keyring) formerName(public string) string {
	name, _ := r.former.Load(public)
	text, _ := name.(string)
	return text
}

// disconnect ends the connections that were made with the key.
func (r *keyring) disconnect(h *holder, public string) error {
	conns, err := r.ns.Connz(&server.ConnzOptions{Account: h.account.GetName(), Username: true, Limit: allConns})
	if err != nil {
		return fmt.Errorf("find connections: %w", err)
	}
	for _, c := range conns.Conns {
		if c.AuthorizedUser == public {
			_ = r.ns.DisconnectClientByID(c.Cid) // it may have gone by itself
		}
	}
	return nil
}

// lastSeen is when a connection was last made with the key; zero if never.
func (r *keyring) lastSeen(public string) time.Time {
	r.mu.RLock()
	h := r.holders[public]
	r.mu.RUnlock()
	if h == nil {
		return time.Time{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

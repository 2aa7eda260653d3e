// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// Key is a bus key that was issued. Its holder gets on with the seed, which only the
// holder has.
type Key struct {
	Public   string    // as NATS writes it, "U…"
	Name     string    // a subject word; a channel's or a tool's own name
	Role     string    // one of bus.Roles
	AllowSub []string  // subjects below evt, or of msg.delta, with wildcards; of an observer none is all facts
	AllowPub []string  // subjects of calls, with wildcards
	Inbox    string    // a random subject word that no other key has
	Expires  time.Time // zero: not by itself
}

// InboxPrefix is the only inbox prefix the key may listen on.
func (k Key) InboxPrefix() string { return "_INBOX." + k.Inbox }

// Rights is what a key may do: all of it, as subjects with wildcards.
type Rights struct {
	Publish   []string
	Subscribe []string
	Answers   bool // it may answer, once each, what it is asked on a subject it listens on
}

// Rights says what the key may publish and subscribe to.
func (k Key) Rights() Rights {
	r := Rights{Subscribe: []string{k.InboxPrefix() + ".>"}}
	if k.Role == bus.RoleOperator {
		p := operatorPermissions(k.InboxPrefix())
		return Rights{Publish: p.Publish.Allow, Subscribe: p.Subscribe.Allow}
	}
	r.Subscribe = append(r.Subscribe, k.hears()...)
	r.Publish = append(k.reads(), k.calls()...)
	switch k.Role {
	case bus.RoleChannel:
		r.Publish = append(r.Publish, channelCalls...)
		r.Subscribe = append(r.Subscribe, k.serves()...)
		r.Answers = true
	case bus.RoleTool:
		r.Subscribe = append(r.Subscribe, k.serves()...)
		r.Answers = true
	}
	return r
}

// permissions are the rights in the server's terms. They say no more than the account
// does; but what they refuse, the server tells.
func (k Key) permissions() *server.Permissions {
	if k.Role == bus.RoleOperator {
		return operatorPermissions(k.InboxPrefix())
	}
	r := k.Rights()
	p := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: r.Publish},
		Subscribe: &server.SubjectPermission{Allow: r.Subscribe},
	}
	if len(r.Publish) == 0 {
		p.Publish.Deny = []string{">"} // an empty list would permit all
	}
	if r.Answers {
		p.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: deskLongest}
	}
	return p
}

// facts are the patterns of facts that the key may hear and read again.
func (k Key) facts() []string {
	if k.Role == bus.RoleObserver && len(k.AllowSub) == 0 {
		return []string{eventSubjects}
	}
	return slices.DeleteFunc(slices.Clone(k.AllowSub), func(s string) bool { return !bus.Covers(eventSubjects, s) })
}

// all reports whether the key may hear every fact.
func (k Key) all() bool { return slices.Contains(k.facts(), eventSubjects) }

// hears are the patterns of the house's subjects that the key may listen on.
func (k Key) hears() []string {
	heard := k.facts()
	for _, s := range k.AllowSub {
		if bus.Covers(deltaSubjects, s) {
			heard = append(heard, s)
		}
	}
	if k.Role == bus.RoleChannel {
		heard = append(heard, bus.Prefix+"msg.delta."+k.Name)
	}
	return widest(heard)
}

// imports are the same for the account: no two of them match the same subject, for
// each would bring the message once more.
func (k Key) imports() []string {
	if k.all() {
		return k.hears()
	}
	var subjects []string
	for _, pattern := range k.hears() {
		if !bus.Covers(eventSubjects, pattern) {
			subjects = append(subjects, pattern)
			continue
		}
		subjects = append(subjects, bus.FactsOf(pattern)...)
	}
	return widest(subjects)
}

// widest leaves out what others cover.
func widest(subjects []string) []string {
	var kept []string
	for i, s := range subjects {
		covered := false
		for n, other := range subjects {
			covered = covered || n != i && bus.Covers(other, s) && (other != s || n < i)
		}
		if !covered {
			kept = append(kept, s)
		}
	}
	return kept
}

// calls are the rooms' calls that the key may make, besides those that its role brings.
func (k Key) calls() []string {
	var all []string
	for _, pattern := range k.AllowPub {
		for _, subject := range bus.Calls(pattern) {
			if k.Role != bus.RoleChannel || !slices.Contains(channelCalls, subject) {
				all = append(all, subject)
			}
		}
	}
	return widest(all)
}

// channelCalls go to the desk, which lets a channel speak of its own messages only.
var channelCalls = []string{
	bus.MessageReceive.Spec().Subject(), bus.MessageGet.Spec().Subject(), bus.MessageCancel.Spec().Subject(),
}

// serves are the subjects on which the house asks the holder of the key.
func (k Key) serves() []string {
	switch k.Role {
	case bus.RoleChannel:
		return []string{bus.Prefix + "msg.send." + k.Name}
	case bus.RoleTool:
		return []string{bus.Prefix + "tool." + k.Name}
	}
	return nil
}

// The part of JetStream's API that reads (its subjects are those of the vendor's ADR-1
// and ADR-31). Making a consumer, and asking about the stream with a key that may not
// see all of it, go to the desk.
const (
	apiInfo       = "$JS.API.INFO"
	apiStreamInfo = "$JS.API.STREAM.INFO." + streamName
	apiCreate     = "$JS.API.CONSUMER.CREATE." + streamName
)

// readExports are what a key may ask of the stream past the desk, and how many answers
// there may be.
var readExports = map[string]server.ServiceRespType{
	apiInfo:                                          server.Singleton,
	"$JS.API.STREAM.NAMES":                           server.Singleton,
	"$JS.API.STREAM.LIST":                            server.Singleton,
	apiStreamInfo:                                    server.Singleton,
	"$JS.API.STREAM.MSG.GET." + streamName:           server.Singleton,
	"$JS.API.DIRECT.GET." + streamName:               server.Streamed,
	"$JS.API.DIRECT.GET." + streamName + ".>":        server.Streamed,
	"$JS.API.CONSUMER.INFO." + streamName + ".*":     server.Singleton,
	"$JS.API.CONSUMER.DELETE." + streamName + ".*":   server.Singleton,
	"$JS.API.CONSUMER.MSG.NEXT." + streamName + ".*": server.Streamed,
	"$JS.ACK." + streamName + ".>":                   server.Singleton,
	"$JS.FC." + streamName + ".>":                    server.Singleton,
}

// onlyForAll are those of readExports that show any event, or tell which there are: they
// are for keys that may hear all.
var onlyForAll = []string{
	"$JS.API.STREAM.LIST",
	"$JS.API.STREAM.MSG.GET." + streamName, "$JS.API.DIRECT.GET." + streamName, "$JS.API.DIRECT.GET." + streamName + ".>",
}

// direct are the key's questions to the stream that need no look.
func (k Key) direct() []string {
	if len(k.facts()) == 0 {
		return nil
	}
	var subjects []string
	for s := range readExports {
		if k.all() || s != apiStreamInfo && !slices.Contains(onlyForAll, s) {
			subjects = append(subjects, s)
		}
	}
	slices.Sort(subjects)
	return subjects
}

// looked are its questions to the stream that the desk looks at first.
func (k Key) looked() []string {
	switch {
	case len(k.facts()) == 0:
		return nil
	case k.all():
		return []string{apiCreate, apiCreate + ".>"}
	}
	return []string{apiCreate, apiCreate + ".>", apiStreamInfo}
}

// reads are all its questions to the stream.
func (k Key) reads() []string { return append(k.direct(), k.looked()...) }

// wiring is what the key's own account takes from the others and what it offers.
func (k Key) wiring() *jwt.AccountClaims {
	c := emptyWiring()
	stream := func(from string, subjects ...string) {
		for _, s := range subjects {
			c.Imports.Add(&jwt.Import{Type: jwt.Stream, Account: from, Subject: jwt.Subject(s)})
		}
	}
	service := func(from string, subjects ...string) {
		for _, s := range subjects {
			c.Imports.Add(&jwt.Import{Type: jwt.Service, Account: from, Subject: jwt.Subject(s)})
		}
	}
	stream(accountHouse, k.imports()...)
	service(accountHouse, k.calls()...)
	service(accountWatch, k.direct()...)
	if len(k.facts()) > 0 {
		stream(accountWatch, k.InboxPrefix()+".>")
	} else {
		service(accountWatch, apiInfo) // else the server would bring in JetStream's whole API for this account
	}
	asked := k.looked()
	if k.Role == bus.RoleChannel {
		asked = append(asked, channelCalls...)
	}
	for _, s := range asked {
		c.Imports.Add(&jwt.Import{Type: jwt.Service, Account: accountEdge, Subject: jwt.Subject(deskSubject(k.Inbox, s)), LocalSubject: jwt.RenamingSubject(s)})
	}
	return c
}

// emptyWiring is that of an account that nobody uses: it offers the subjects on which
// the desk asks, and there is nobody to answer.
func emptyWiring() *jwt.AccountClaims {
	c := jwt.NewAccountClaims("KEY")
	c.Limits.Conn, c.Limits.Subs, c.Limits.LeafNodeConn = keyConns, keySubs, 0
	for _, s := range servedSubjects {
		c.Exports.Add(&jwt.Export{Type: jwt.Service, Subject: jwt.Subject(s), ResponseType: jwt.ResponseTypeSingleton, ResponseThreshold: deskLongest})
	}
	return c
}

// servedSubjects are those of all channels and tools.
var servedSubjects = []string{bus.Prefix + "msg.send.*", bus.Prefix + "tool.*"}

// deskSubject is where a question of the key arrives in the desk's account.
func deskSubject(token, subject string) string { return deskPrefix + token + "." + subject }

const (
	deskPrefix   = "desk."
	deskSubjects = deskPrefix + ">"
)

// deskQuestion takes it apart again.
func deskQuestion(subject string) (token, asked string, ok bool) {
	token, asked, ok = strings.Cut(strings.TrimPrefix(subject, deskPrefix), ".")
	return token, asked, ok
}

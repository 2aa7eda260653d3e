// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/offline"
	"github.com/blufio/blufio/services/config"
)

// People is the section [people]: who is one person on several channels. What is
// remembered belongs to a person. That is an owner on one channel, "telegram:12345",
// for an owner of the same name elsewhere may be somebody else; and where this section
// gives several such places a name, it is the name.
type People map[string]config.StringList

const (
	maxPersonName = 64  // bytes
	maxPeople     = 100 // a household, or a small office
	maxPlaces     = 20  // of one person
)

// place is where a person is known: an owner on a channel.
func place(channel, owner string) string { return channel + ":" + owner }

// splitPlace is the opposite of place.
func splitPlace(text string) (channel, owner string, ok bool) {
	channel, owner, ok = strings.Cut(text, ":")
	return channel, owner, ok && channel != "" && owner != ""
}

// Check reports what is wrong, by keys below the section.
func (p People) Check(report func(key, message, hint string)) {
	if len(p) > maxPeople {
		report("", fmt.Sprintf("%d people are more than %d", len(p), maxPeople), "")
		return
	}
	named := map[string]string{} // who has a place
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !goodPerson(name) {
			report("", fmt.Sprintf("%q cannot be a name", name), "letters, digits, - and _ make one")
			continue
		}
		switch n := len(p[name]); {
		case n == 0:
			report(name, "it has no place", `write it like ["telegram:12345", "terminal:owner"]`)
		case n > maxPlaces:
			report(name, fmt.Sprintf("it has %d places; at most %d can be", n, maxPlaces), "")
		}
		for _, at := range p[name] {
			if message, hint := checkPlace(at); message != "" {
				report(name, message, hint)
				continue
			}
			if other, ok := named[at]; ok {
				report(name, fmt.Sprintf("%q is there twice, also under %s", at, other), "a place belongs to one person")
				continue
			}
			named[at] = name
		}
	}
}

// goodPerson keeps names apart from places, and writable as a bare key.
func goodPerson(name string) bool {
	return name != "" && len(name) <= maxPersonName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

// checkPlace tells what is wrong with a place. A channel that is none of the daemon's
// own may be a program with a key, unless it looks like a slip of the fingers.
func checkPlace(text string) (message, hint string) {
	channel, owner, ok := splitPlace(text)
	switch {
	case !ok:
		return fmt.Sprintf("%q is no place", text), `write it like "telegram:12345": a channel, a colon, and who that is there`
	case !bus.ValidToken(channel):
		return fmt.Sprintf("%q is no channel", channel), "there are " + strings.Join(ownChannels(), ", ") + ", and channels with a key of their own"
	case len(owner) > maxOwner || !printable(owner):
		return fmt.Sprintf("%q names nobody", text), fmt.Sprintf("an owner has 1 to %d bytes of printable text", maxOwner)
	case slices.Contains(ownChannels(), channel):
		return "", ""
	}
	if near := config.Nearest(channel, ownChannels()); near != "" {
		return fmt.Sprintf("there is no channel %q", channel), fmt.Sprintf("did you mean %q?", near)
	}
	return "", ""
}

// ownChannels are the channels of the daemon's own that people speak on.
func ownChannels() []string {
	return slices.DeleteFunc(slices.Clone(bus.MessageSend.Spec().Heard), func(c string) bool { return c == bus.DoctorChannel })
}

// byPlace is the name of whoever has a place.
func (p People) byPlace() map[string]string {
	out := map[string]string{}
	for name, places := range p {
		for _, at := range places {
			out[at] = name
		}
	}
	return out
}

// person is whose what is remembered in a session is.
func (s *Service) person(key sessionKey) string { return s.personAt(place(key.channel, key.owner)) }

func (s *Service) personAt(at string) string {
	if name, ok := s.named[at]; ok {
		return name
	}
	return at
}

// who answers whose a place is. A name of [people] is a person too.
func (s *Service) who(_ context.Context, q bus.PersonQuery) (bus.Person, error) {
	name := s.personAt(q.Name)
	places := slices.Clone([]string(s.people[name]))
	if places == nil {
		if _, _, ok := splitPlace(name); !ok {
			return bus.Person{}, bus.Errorf(bus.CodeNotFound, "there is no person %.80q", q.Name).
				WithHint(`name one of [people] in blufio.toml, or a place like "telegram:12345"`)
		}
		places = []string{name}
	}
	return bus.Person{Name: name, Places: places}, nil
}

// source is where a fact comes from that the turn keeps: without a model it is what the
// person said, word for word.
func (t *turn) source() string {
	if t.provider == offline.Name {
		return bus.RecallPerson
	}
	return bus.RecallModel
}

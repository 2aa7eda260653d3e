// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/config"
)

func TestPeopleAreChecked(t *testing.T) {
	many := agent.People{}
	for n := range 101 {
		many[fmt.Sprint("p", n)] = config.StringList{fmt.Sprint("telegram:", n)}
	}
	for name, c := range map[string]struct {
		people agent.People
		want   string // "": nothing is wrong
	}{
		"none":            {nil, ""},
		"two":             {agent.People{"me": {"telegram:12345", "terminal:owner"}, "ann": {"gateway:ann"}}, ""},
		"a group":         {agent.People{"us": {"telegram:-100123"}}, ""},
		"owner with :":    {agent.People{"me": {"gateway:a:b"}}, ""},
		"outside":         {agent.People{"me": {"smsgate:+4930"}}, ""},
		"slip":            {agent.People{"me": {"telegrm:12345"}}, `me: there is no channel "telegrm"; did you mean "telegram"?`},
		"no channel":      {agent.People{"me": {"a phone:12345"}}, `me: "a phone" is no channel; there are gateway, telegram, terminal`},
		"no owner":        {agent.People{"me": {"telegram:"}}, `me: "telegram:" is no place`},
		"no colon":        {agent.People{"me": {"12345"}}, `me: "12345" is no place`},
		"long owner":      {agent.People{"me": {"gateway:" + strings.Repeat("x", 129)}}, "names nobody"},
		"no place":        {agent.People{"me": {}}, "me: it has no place"},
		"under two names": {agent.People{"me": {"telegram:1"}, "ann": {"telegram:1"}}, `me: "telegram:1" is there twice, also under ann`},
		"twice":           {agent.People{"me": {"telegram:1", "telegram:1"}}, `me: "telegram:1" is there twice, also under me`},
		"name like place": {agent.People{"telegram:1": {"telegram:1"}}, `"telegram:1" cannot be a name`},
		"too many":        {many, "101 people are more than 100"},
		"too many places": {agent.People{"me": slices.Repeat(config.StringList{"telegram:1"}, 21)}, "21 places"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			c.people.Check(func(key, message, hint string) { got = append(got, key+": "+message+"; "+hint) })
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) == 0 || !strings.Contains(got[0], c.want)) {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

// The command line asks whose a place is.
func TestWhoAPersonIs(t *testing.T) {
	r := newRig(t, echo)
	r.people = agent.People{"me": {"telegram:12345", "terminal:owner"}}
	r.start()
	for query, want := range map[string]bus.Person{
		"me":             {Name: "me", Places: []string{"telegram:12345", "terminal:owner"}},
		"terminal:owner": {Name: "me", Places: []string{"telegram:12345", "terminal:owner"}},
		"gateway:owner":  {Name: "gateway:owner", Places: []string{"gateway:owner"}},
	} {
		got, err := bus.PersonGet.Ask(t.Context(), r.ask, bus.PersonQuery{Name: query})
		if err != nil || got.Name != want.Name || !slices.Equal(got.Places, want.Places) {
			t.Errorf("%s: %+v, %v", query, got, err)
		}
	}
	_, err := bus.PersonGet.Ask(t.Context(), r.ask, bus.PersonQuery{Name: "you"})
	wantCode(t, err, bus.CodeNotFound)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package faithful

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestItems(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"hello, how are you?", nil},
		{"Please meet Hannah's sister at the station.", []string{"4 Hannah"}},
		{"Hannah is my sister. Then Hannah left, and so did Tom Berger.", []string{"4 Hannah", "4 Tom Berger"}},
		{"it costs 38.50 or 1,200 for 12 people", []string{"2 38.50", "2 1,200", "2 12"}},
		{"see you on 3 March, 2026-04-05 or May 7th, 2026 at 14:30", []string{"1 2026-04-05", "1 3 March", "1 May 7th, 2026", "2 14:30"}},
		{"am 3.4.2026 und am 12. Mai", []string{"1 3.4.2026", "1 12. Mai"}},
		{"the place is \"Golden Bridge\", run `make test` there", []string{"3 Golden Bridge", "3 make test"}},
		{"We agreed on " + strings.Repeat("it or so, ", 100) + "on blue tiles for the kitchen.", nil},
		{"We agreed on blue tiles for the kitchen.", []string{"0 We agreed on blue tiles for the kitchen."}},
		{"Ich habe das Auto und die Katze in den Garten gebracht, der Herr Müller ist da.", []string{"4 Herr Müller"}},
		{"1. milk\n2. eggs\n3) 500 g flour", []string{"2 500"}},
		{"look:\n```go\nvar Answer = 42\n```\nand then 7 more", []string{"2 7"}},
		{"the 3rd of May", []string{"1 3rd of May"}},
		{"call me at 555, then call at 555", []string{"2 555"}},
	} {
		var got []string
		for _, it := range Items(tt.text) {
			got = append(got, fmt.Sprint(int(it.Kind), " ", it.Text))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		text, summary string
		missing       string
	}{
		{"it costs 38.50 at Golden Bridge", "The dinner at golden bridge was 38,50.", ""},
		{"it costs 38.50", "The dinner was expensive.", "38.50"},
		{"it costs 38.50", "The dinner was 138.50.", "38.50"},
		{"I moved to Lyon", "They live in Leon now.", "Lyon"},
		{"my dog Al barks", "He also barks.", "Al"},
		{"meet me on 3 March", "They meet on 2026-03-03.", ""},
		{"meet me on 3 March", "They meet on March 4.", "3 March"},
		{"we need 3 chairs and 12 plates", "They need three chairs and twelve plates.", ""},
		{"run 5km on Monday", "Runs 5 km each Monday.", ""},
		{"the password hint is \"blue horse\"", "The hint is a blue horse.", ""},
		{"the password hint is \"blue horse\"", "The hint is a horse.", "blue horse"},
		{"We decided to paint the kitchen yellow.", "The kitchen will be painted yellow.", ""},
		{"We decided to paint the kitchen yellow.", "Colours were talked about.", "We decided to paint the kitchen yellow."},
		{"wir treffen uns am 12. Mai", "They meet on 12 May.", ""},
		{"the train leaves at 14:30", "The train leaves at 14:35.", "14:30"},
	} {
		var got []string
		for _, it := range Missing(Items(tt.text), tt.summary) {
			got = append(got, it.Text)
		}
		if strings.Join(got, " | ") != tt.missing {
			t.Errorf("%q as %q: %q is missing, want %q", tt.text, tt.summary, got, tt.missing)
		}
	}
}

// A pasted table does not make a summary impossible: what matters more, and was said
// later, comes first.
func TestItemsAreBounded(t *testing.T) {
	var table strings.Builder
	for n := range 500 {
		fmt.Fprintf(&table, "row %d is %d\n", n, n*7919)
	}
	items := Items(table.String(), "We agreed on oak, and it has to be there by 5 May, for 1999 euros")
	if len(items) != MaxItems || items[0].Kind != Decision || items[1].Kind != Date || items[2].Text != "1999" {
		t.Errorf("%d items: %+v", len(items), items[:3])
	}
}

// Whatever comes, a text says all of itself.
func FuzzItems(f *testing.F) {
	for _, s := range []string{"We agreed on Tom at 14:30 for \"x y\"", "3.3.", "12 de mayo", "«  »", "A1.b2,", "İstanbul’s", "``` `` `", "\xff1\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		items := Items(s, s)
		if len(items) > MaxItems {
			t.Errorf("%d items", len(items))
		}
		for _, it := range items {
			if it.Text == "" || len(it.Text) > maxText {
				t.Errorf("%q has %+v", s, it)
			}
		}
		Missing(items, s)
		for _, it := range Missing(items, s) {
			if it.Kind != Decision && it.Kind != Date && it.Kind != Quoted {
				t.Errorf("%q lacks %+v of itself", s, it)
			}
		}
	})
}

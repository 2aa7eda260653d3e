// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Kinds of questions.
const (
	verbatim   = "verbatim"
	hasty      = "verbatim, misspelt"
	near       = "paraphrase, one word in common"
	far        = "paraphrase, no word in common"
	update     = "update"
	contradict = "contradiction"
	distractor = "distractor"
)

var kinds = []string{verbatim, hasty, near, far, update, contradict, distractor}

// fact is what a model keeps of what was said.
type fact struct{ text, about string }

// turn is what the person says, and what is answered.
type turn struct {
	day         int
	text, reply string
	keep        *fact // nil: nothing worth keeping
}

// question is asked when all turns are over.
type question struct {
	kind, text string
	want       string   // the value that is right now
	old        []string // values that were right before
}

// plan is a conversation and what is asked about it.
type plan struct {
	turns     []turn
	questions []question
}

// perDay is how many turns a day has; between two days the provider's cache is gone.
const perDay = 10

// planter makes a plan.
type planter struct {
	r     *rand.Rand
	used  map[string]bool // names and numbers, each once
	early []turn          // what is told first
	late  []turn          // what changes it
	plan  plan
}

// newPlan makes the conversation of a seed: all facts are told in the first four fifths, each in a turn of its own, at random
// among turns that tell nothing. What changes a fact comes after it.
func newPlan(seed uint64, turns int) (plan, error) {
	p := &planter{r: rand.New(rand.NewPCG(seed, 10)), used: map[string]bool{}}
	share := min(float64(turns)/500, 1)
	order := p.r.Perm(len(things))
	order = order[:max(6, int(share*float64(len(things))))]
	for i, n := range order {
		switch i % 12 { // 5 stay as they are, 4 are updated, 3 contradicted
		case 0, 2, 4, 7, 10:
			p.stable(things[n])
		case 1, 5, 8, 11:
			p.changed(things[n], update)
		default:
			p.changed(things[n], contradict)
		}
	}
	for i, f := range families[:max(1, int(share*float64(len(families))))] {
		p.crowd(f, 8, 2+i%2)
	}
	for i := range int(share * 60) {
		text := strings.ReplaceAll(p.one(opinions[i%len(opinions):][:1]), "{v}", p.value(aName))
		p.early = append(p.early, turn{text: text, keep: &fact{text: text}})
	}
	return p.plan, p.lay(turns)
}

// stable plants a fact that stays, and asks for it in four ways.
func (p *planter) stable(t thing) {
	v := p.value(t.value)
	p.tell(&p.early, t.fact, v, t.about)
	p.ask(verbatim, t.verbatim, v)
	p.ask(hasty, p.misspelt(t.verbatim), v)
	p.ask(near, t.near, v)
	p.ask(far, t.far, v)
}

// misspelt is a text typed in haste: in each word of five letters and more two neighbouring ones have changed places.
func (p *planter) misspelt(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		letters := []byte(w)
		n := len(strings.TrimRight(w, "?,."))
		if n < 5 {
			continue
		}
		for { // the first and the last stay
			at := 1 + p.r.IntN(n-3)
			if letters[at] != letters[at+1] {
				letters[at], letters[at+1] = letters[at+1], letters[at]
				break
			}
		}
		words[i] = string(letters)
	}
	return strings.Join(words, " ")
}

// changed plants a fact that is told anew, as a change or as if nothing had been said before. A model calls a fact by the same
// name as before three times of four.
func (p *planter) changed(t thing, kind string) {
	before, now := p.value(t.value), p.value(t.value)
	p.tell(&p.early, t.fact, before, t.about)
	about := t.about
	if p.r.IntN(4) == 0 {
		about = t.other
	}
	text := t.again
	if kind == contradict {
		text = t.fact
	}
	p.tell(&p.late, text, now, about)
	asked := t.verbatim
	if p.r.IntN(2) == 0 {
		asked = t.near
	}
	p.ask(kind, asked, now, before)
}

// crowd plants a fact about so many people, and asks for some.
func (p *planter) crowd(f family, people, asked int) {
	for i := range people {
		who, v := p.value(aName), p.value(f.value)
		named := strings.NewReplacer("{who}", who)
		p.tell(&p.early, named.Replace(f.fact), v, named.Replace(f.about))
		if i < asked {
			p.ask(distractor, named.Replace(f.asked), v)
		}
	}
}

func (p *planter) tell(to *[]turn, text, value, about string) {
	text = strings.ReplaceAll(text, "{v}", value)
	*to = append(*to, turn{text: text, keep: &fact{text, about}})
}

func (p *planter) ask(kind, text, want string, old ...string) {
	p.plan.questions = append(p.plan.questions, question{kind, text, want, old})
}

// lay puts what is told among turns that tell nothing.
func (p *planter) lay(turns int) error {
	told, early := len(p.early)+len(p.late), turns*3/5
	if len(p.early) > early || len(p.late) > turns/5 || told > turns {
		return fmt.Errorf("%d facts do not fit into %d turns", told, turns)
	}
	out := make([]turn, turns)
	place := func(list []turn, from, to int) {
		for i, at := range p.r.Perm(to - from)[:len(list)] {
			out[from+at] = list[i]
		}
	}
	place(p.early, 0, early)
	place(p.late, early, turns*4/5)
	for i := range out {
		t := &out[i]
		t.day = i / perDay
		if t.keep == nil {
			t.text = p.chatter()
			t.reply = p.reply(6 + p.r.IntN(10))
			continue
		}
		t.text = p.around(t.text)
		t.reply = p.reply(1 + p.r.IntN(3))
	}
	p.plan.turns = out
	p.r.Shuffle(len(p.plan.questions), func(i, j int) {
		p.plan.questions[i], p.plan.questions[j] = p.plan.questions[j], p.plan.questions[i]
	})
	return nil
}

// value makes one that occurs nowhere else.
func (p *planter) value(k kind) string {
	for {
		v := p.try(k)
		if !p.used[v] {
			p.used[v] = true
			return v
		}
	}
}

func (p *planter) try(k kind) string {
	months := []string{"January", "March", "April", "June", "July", "September", "October", "December"}
	switch k {
	case aCode:
		return fmt.Sprint(10_000 + p.r.IntN(90_000))
	case aDate:
		return fmt.Sprintf("%d %s %d", 1+p.r.IntN(28), months[p.r.IntN(len(months))], 1940+p.r.IntN(95))
	case aTime:
		return fmt.Sprintf("%02d:%02d", 5+p.r.IntN(17), p.r.IntN(60))
	case aPlate:
		return fmt.Sprintf("%c%c-%c %d", 'A'+p.r.IntN(26), 'A'+p.r.IntN(26), 'A'+p.r.IntN(26), 1000+p.r.IntN(9000))
	}
	var b strings.Builder
	for range 2 + p.r.IntN(2) {
		b.WriteByte("bdfgklmnprstvz"[p.r.IntN(14)])
		b.WriteByte("aeiou"[p.r.IntN(5)])
	}
	b.WriteByte("lnrskm"[p.r.IntN(6)])
	return strings.ToUpper(b.String()[:1]) + b.String()[1:]
}

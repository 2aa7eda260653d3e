// SPDX-License-Identifier: MIT OR Apache-2.0

package static

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
)

func vectors(t testing.TB, texts ...string) [][]float32 {
	t.Helper()
	v, err := New().Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func near(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// wantNearest wants the right text nearer to a question than the two others, by a margin, and returns how near it is.
func wantNearest(t *testing.T, margin float64, question, right, wrong, other string) float64 {
	t.Helper()
	v := vectors(t, question, right, wrong, other)
	a, b, c := near(v[0], v[1]), near(v[0], v[2]), near(v[0], v[3])
	t.Logf("%.3f, %.3f, %.3f", a, b, c)
	if a < max(b, c)+margin {
		t.Errorf("%q is at %.3f, others at %.3f and %.3f", right, a, b, c)
	}
	return a
}

// Of three texts the one that shares words, or parts of them, is the nearest.
func TestNearest(t *testing.T) {
	for _, c := range []struct{ question, right, wrong, other string }{
		{"Where does my sister live?", "My sister Anna lives in Oslo", "My brother Tom works in Rome", "The train to Rome leaves at nine"},
		{"allergies", "She is allergic to penicillin", "The meeting is on Monday", "He likes to swim"},
		{"When is the dentist's appointment?", "appointment with the dentist on 3 March at 10", "dinner with Tom on 3 May", "the car needs new tires"},
		{"dnetits appointement", "appointment with the dentist on 3 March at 10", "dinner at the pavement cafe on 3 May", "the tent is in the basement"},
		{"faverite restarant", "My favourite restaurant is the Lantern", "The restart of the favourites list failed", "His rate is fair"},
		{"passwort vom wlan", "Das WLAN-Passwort hängt am Router", "Der Router steht im Keller", "Morgen regnet es"},
		{"Lieblingsfarbe", "Meine Lieblingsfarben sind Blau und Grün", "Ich wohne in Berlin", "Der Hund heißt Rex"},
		{"cafe preferido", "Mi café preferido está en la plaza", "La plaza está cerca", "Tengo dos hermanos"},
		{"где живёт мама", "Мама живет в Казани", "Папа работает в Москве", "Завтра будет дождь"},
		{"妹妹住在哪里", "我的妹妹住在上海", "我的车是红色的", "明天下雨"},
		{"東京の天気", "明日の東京の天気は雨です", "私は猫が好きです", "会議は三時です"},
		{"서울에 사는 친구", "내 친구는 서울에서 산다", "오늘은 비가 온다", "고양이를 좋아한다"},
		{"แมวของฉันชื่ออะไร", "แมวของฉันชื่อมะลิ", "พรุ่งนี้ฝนตก", "ประชุมตอนเช้า"},
	} {
		t.Run(c.question, func(t *testing.T) {
			wantNearest(t, 0.05, c.question, c.right, c.wrong, c.other)
		})
	}
}

// What English words are about brings texts near that share none of them, and leaves alone what they say.
func TestRelated(t *testing.T) {
	for _, c := range []struct{ question, right, wrong, other string }{
		{"Who takes care of my sibling?", "A nurse looks after my sister", "A plumber was at the office", "Anna drives a bus"},
		{"What must our puppy not eat?", "Chocolate makes the dog ill", "The train was late again", "Tom sold the house"},
		{"Which medicine did the physician prescribe?", "The doctor gave me pills", "The teacher gave me homework", "The bank gave me a card"},
		{"How do I unlock the bicycle?", "The bike has a combination lock, 4711", "The tram stops at the museum", "A parcel is at the post"},
	} {
		t.Run(c.question, func(t *testing.T) {
			right := wantNearest(t, 0.1, c.question, c.right, c.wrong, c.other)
			if same := Alike(c.question, c.right); same > right {
				t.Errorf("in their words alone they are at %.3f", same)
			}
		})
	}
	for _, w := range []string{"dogs", "puppies", "jogging", "planned", "baked", "driving", "restarant", "faverite", "alergic"} {
		if len(related().of([]rune(w))) == 0 {
			t.Errorf("%q is in no group", w)
		}
	}
}

// The list is as its head says.
func TestRelatedList(t *testing.T) {
	in := map[string]int{}
	lines := 0
	for line := range strings.Lines(relatedText) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		lines++
		if len(words) < 4 {
			t.Errorf("%q has less than four words", line)
		}
		once := map[string]bool{}
		for _, w := range words {
			if strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" || Common(w) || once[w] {
				t.Errorf("%q in %q: twice, no word, or one that says nothing", w, line)
			}
			once[w] = true
			in[w]++
		}
	}
	for w, n := range in {
		if n > mostGroups {
			t.Errorf("%q is in %d groups", w, n)
		}
		if got := len(related().of([]rune(w))); len(w) >= relatedLeast && got != n {
			t.Errorf("%q is found in %d groups, and is in %d: another word has its hash", w, got, n)
		}
	}
	if lines < 100 {
		t.Errorf("%d groups", lines)
	}
}

// Length 1, but for what has nothing in it.
func TestLength(t *testing.T) {
	for text, want := range map[string]float64{"": 0, " ?!… ": 0, "\xff\xfe": 0, "a": 1, "日": 1, strings.Repeat("many words and more ", 5000): 1, strings.Repeat("x", 100000): 1} {
		v := vectors(t, text)[0]
		if got := near(v, v); len(v) != Dim || math.Abs(got-want) > 1e-5 {
			t.Errorf("%.20q: %d numbers, length %v, want %v", text, len(v), got, want)
		}
	}
}

// The same text is the same vector on every machine and in every version of this name.
func TestSameEverywhere(t *testing.T) {
	const text = "Zoë's café: 2 cats, 東京, живёт!"
	a, b := vectors(t, text)[0], vectors(t, text)[0]
	if !slices.Equal(a, b) {
		t.Error("two vectors of one text differ")
	}
	for _, at := range []struct {
		place int
		value float64
	}{{33, -0.487363}, {121, 0.268050}, {29, 0.243681}, {104, 0.243681}, {112, -0.243681}, {160, 0.243681}} {
		if math.Abs(float64(a[at.place])-at.value) > 1e-5 {
			t.Errorf("the vector changed (%d is %.6f, was %.6f): give it another name", at.place, a[at.place], at.value)
		}
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New().Embed(ctx, []string{"a"}); err == nil {
		t.Error("a canceled context is no error")
	}
}

func BenchmarkEmbed(b *testing.B) {
	const sentence = "My sister Anna moved to Oslo in 2019 and works as a nurse at the university hospital there."
	for name, text := range map[string]string{"sentence": sentence, "4KB": strings.Repeat(sentence, 45)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				vectors(b, text)
			}
		})
	}
}

func FuzzEmbed(f *testing.F) {
	f.Add("a sentence")
	f.Add("日本語 \xff żółć")
	f.Fuzz(func(t *testing.T, text string) {
		v := vector(text, true)
		if sum := near(v, v); !(sum == 0 || math.Abs(sum-1) < 1e-4) {
			t.Errorf("length %v", sum)
		}
	})
}

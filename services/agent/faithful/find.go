// SPDX-License-Identifier: MIT OR Apache-2.0

package faithful

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const month = `(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?` +
	`|januar|jänner|februar|märz|mai|juni|juli|oktober|dezember|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre` +
	`|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)`

const (
	codeFence  = "```"
	openQuotes = "\"“„«「`"

	// maxSentence bounds what can decide anything, in bytes: what is longer was pasted, and
	// has no full stops.
	maxSentence = 1000
)

var (
	fence    = regexp.MustCompile("(?s)" + codeFence + ".*?(" + codeFence + "|$)")
	bullet   = regexp.MustCompile(`(?m)^\s*\d{1,2}[.)]\s`)
	quoted   = regexp.MustCompile("\"([^\"\n]{2,60})\"|“([^”\n]{2,60})”|„([^“”\n]{2,60})[“”]|«\\s*([^»\n]{2,60}?)\\s*»|「([^」\n]{1,60})」|`([^`\n]{2,60})`")
	number   = regexp.MustCompile(`[\p{L}]*\p{Nd}[\p{L}\p{Nd}.,:/'’_-]*`)
	sentence = regexp.MustCompile(`[^.!?\n]+(?:[.!?]\d[^.!?\n]*)*[.!?]?`)
	decides  = regexp.MustCompile(`(?i)\b(decided|agreed|let's (?:go with|take|do)|we(?:'ll| will) (?:go with|take|use)|i(?:'ll| will) take|going with|settled on|chose|instead|changed my mind|no longer|not any ?more|from now on|cancel(?:l?ed)?` +
		`|entschieden|beschlossen|vereinbart|ab jetzt|ab sofort|nicht mehr|stattdessen|décidé|convenu|désormais|plutôt que|decidido|acordado|a partir de ahora)\b`)

	iso     = regexp.MustCompile(`\b(?:\d{4})-(\d{1,2})-(\d{1,2})\b`)
	dotted  = regexp.MustCompile(`\b(\d{1,2})\.\s?(\d{1,2})\.(?:\s?(?:19|20)\d\d\b)?`)
	dayOf   = regexp.MustCompile(`(?i)\b(\d{1,2})(?:st|nd|rd|th|er|\.)?\s+(?:of\s+|de\s+)?` + month + `\b\.?(?:,?\s+(?:de\s+)?\d{4}\b)?`)
	monthOf = regexp.MustCompile(`(?i)\b` + month + `\.?\s+(\d{1,2})(?:st|nd|rd|th)?\b(?:,?\s+\d{4}\b)?`)
)

// numerals are words for small numbers.
var numerals = map[string]string{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
	"eleven": "11", "twelve": "12", "first": "1", "second": "2", "third": "3", "half": "0.5"}

// months by their first three letters, in four languages.
var months = map[string]int{"jan": 1, "jän": 1, "ene": 1, "feb": 2, "fév": 2, "mar": 3, "mär": 3, "apr": 4, "abr": 4, "avr": 4, "may": 5, "mai": 5, "jun": 6,
	"jul": 7, "aug": 8, "ago": 8, "aoû": 8, "sep": 9, "oct": 10, "okt": 10, "nov": 11, "dec": 12, "dez": 12, "déc": 12, "dic": 12}

func monthNumber(name string) int {
	r := []rune(strings.ToLower(name))
	if strings.HasPrefix(string(r), "juil") {
		return 7
	}
	if strings.HasPrefix(string(r), "juin") {
		return 6
	}
	return months[string(r[:min(len(r), 3)])]
}

// dates finds days of the year, and returns the text without them.
func dates(text string) (found []Item, rest string) {
	for _, form := range []struct {
		re    *regexp.Regexp
		named bool // the month is a name
		day   int  // the group that is the day; the other is the month
	}{{iso, false, 2}, {dotted, false, 1}, {dayOf, true, 1}, {monthOf, true, 2}} {
		text = form.re.ReplaceAllStringFunc(text, func(whole string) string {
			groups := form.re.FindStringSubmatch(whole)
			if groups == nil { // a boundary that was there is not: it cannot be told
				return whole
			}
			d, _ := strconv.Atoi(groups[form.day])
			m, _ := strconv.Atoi(groups[3-form.day])
			if form.named {
				m = monthNumber(groups[3-form.day])
			}
			if d < 1 || d > 31 || m < 1 || m > 12 {
				return whole
			}
			found = append(found, Item{Kind: Date, Text: strings.TrimSpace(whole), key: fmt.Sprintf("date %d-%d", m, d)})
			return " "
		})
	}
	return found, text
}

func quotes(text string) (found []Item) {
	for _, groups := range quoted.FindAllStringSubmatch(text, -1) {
		inner := strings.TrimSpace(strings.Join(groups[1:], "")) // one of them matched
		if inner != "" {
			found = append(found, Item{Kind: Quoted, Text: inner, key: strings.TrimRight(fold(inner), ".,!?")})
		}
	}
	return found
}

// numbers finds the words with digits. How thousands and fractions are parted makes no
// difference.
func numbers(text string) (found []Item) {
	for _, w := range number.FindAllString(text, -1) {
		w = strings.TrimRight(w, ".,:/'’_-")
		key := strings.Map(func(r rune) rune {
			if strings.ContainsRune(".,'’", r) {
				return -1
			}
			return unicode.ToLower(r)
		}, w)
		found = append(found, Item{Kind: Number, Text: w, key: key})
	}
	return found
}

// leading are the digits that a number begins with.
func leading(key string) string {
	i := strings.IndexFunc(key, func(r rune) bool { return !unicode.IsDigit(r) })
	if i < 0 {
		return key
	}
	return key[:i]
}

// unit takes a short unit off a number: 5km is 5.
func unit(key string) string {
	if digits := leading(key); digits != "" && utf8.RuneCountInString(key[len(digits):]) <= 4 && strings.IndexFunc(key[len(digits):], notLetter) < 0 {
		return digits
	}
	return key
}

func notLetter(r rune) bool { return !unicode.IsLetter(r) }

// decisions finds sentences that decide something.
func decisions(text string) (found []Item) {
	for _, s := range sentence.FindAllString(text, -1) {
		s = strings.TrimSpace(s)
		if len(s) > maxSentence || !decides.MatchString(strings.ReplaceAll(s, "’", "'")) {
			continue
		}
		var words []string
		for _, w := range strings.FieldsFunc(fold(decides.ReplaceAllString(s, " ")), notWord) {
			if utf8.RuneCountInString(w) >= 4 && !common[w] {
				words = append(words, stem(w))
			}
		}
		if len(words) > 0 && len(words) <= 25 {
			found = append(found, Item{Kind: Decision, Text: s[:min(len(s), maxText)], key: strings.Join(words, " ")})
		}
	}
	return found
}

// common are longer words that say nothing by themselves.
var common = map[string]bool{"that": true, "this": true, "with": true, "have": true, "will": true, "would": true, "from": true, "about": true, "then": true, "them": true,
	"they": true, "there": true, "what": true, "when": true, "your": true, "been": true, "were": true, "just": true, "also": true, "really": true, "think": true}

// names finds words with a capital that do not begin a sentence. Where nouns have one
// too, only two such words in a row are a name.
func names(text string, large bool) (found []Item) {
	var row []string
	end := func() {
		if len(row) > 1 || len(row) == 1 && !large {
			name := strings.Join(row, " ")
			found = append(found, Item{Kind: Name, Text: name, key: fold(name)})
		}
		row = nil
	}
	begins := true // a sentence
	for _, w := range strings.Fields(text) {
		bare := strings.TrimFunc(w, notWord)
		bare, _, _ = strings.Cut(strings.ReplaceAll(bare, "’", "'"), "'") // Hannah's
		if capital(bare) && !begins && !strings.ContainsFunc(w[:strings.Index(w, bare)], isOpening) {
			row = append(row, bare)
		} else {
			end()
		}
		if begins = strings.ContainsAny(w[len(w)-1:], ".!?:") || strings.HasSuffix(w, "…"); begins || strings.ContainsAny(w[len(w)-1:], ",;)\"") {
			end()
		}
	}
	end()
	return found
}

func isOpening(r rune) bool { return r == '"' || r == '“' || r == '„' || r == '«' }

// capital reports whether a word is written as a name is.
func capital(word string) bool {
	r := []rune(word)
	return len(r) > 1 && unicode.IsUpper(r[0]) && strings.IndexFunc(word, func(r rune) bool { return unicode.IsDigit(r) }) < 0
}

// german reports whether a text is in a language that writes nouns with a capital.
func german(text string) bool {
	words := strings.FieldsFunc(strings.ToLower(text), notWord)
	n := 0
	for _, w := range words {
		switch w {
		case "der", "die", "das", "und", "ist", "nicht", "ein", "eine", "ich", "zu", "den", "dem", "wir", "auf", "mit":
			n++
		}
	}
	return n*8 > len(words)
}

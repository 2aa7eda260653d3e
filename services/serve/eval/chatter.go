// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import "strings"

// What is said beside the facts: it speaks of the same things, so that words alone do not give a fact away, and tells nothing
// that anybody asks for.
var (
	openings = []string{"Good morning.", "One more thing.", "By the way,", "Listen,", "Before I forget it:", "A question:", "So,", "Well,", "Hm.", "Today was long."}
	requests = []string{
		"how do I get rid of limescale in the {noun}?", "write me two lines of thanks to the people of the {noun}.", "what would you do about the {noun}?",
		"is it normal that the {noun} makes a noise?", "can you explain to me how one chooses a good {noun}?", "make a list of what to check before one buys a {noun}.",
		"I am tired and do not want to hear of the {noun} today.", "tell me something cheerful about a {noun}.", "what is a polite way to complain about a {noun}?",
		"how much should one spend on a {noun}?", "translate into simple words what a {noun} is for.", "compare a {noun} with a {noun} for me.",
	}
	nouns = []string{"boiler", "dentist", "car", "train", "restaurant", "passport", "cat", "gym", "project", "bank", "coffee machine", "novel", "school", "insurance", "bike",
		"piano", "printer", "dog", "street", "server", "wine", "kitchen", "phone", "garage", "parking space", "tea", "firm", "locker", "holiday", "garden", "window", "sofa", "lamp",
		"recipe", "walk", "meeting", "letter", "invoice", "password", "key", "birthday party", "landlord", "neighbour", "appointment", "wifi"}
	sentences = []string{
		"That depends on how often you use the {noun}.", "Most people look at the price first, and regret it when the {noun} has to be repaired.", "I would begin with the simplest thing.",
		"Write down what bothers you, and sort it by how much it costs you.", "A {noun} lasts longer when somebody cares for it once in a while.", "There are three ways, and the second one is the cheapest.",
		"If the {noun} is older than ten years, a new one pays for itself.", "Ask two people who know about it, and compare what they say.", "It helps to take a photo before you touch anything.",
		"The rule is to change one thing at a time and then to wait.", "You could also leave it for a week, for many such things end by themselves.", "In the end it is a matter of taste.",
		"With a {noun} it is much the same as with a {noun}.", "Keep the receipt, it may be needed.", "I can remind you of it if you tell me when.", "A short and friendly message works best.",
	}
	thanks = []string{"Noted.", "All right.", "Good to know.", "Thank you, I will keep that in mind.", "Understood."}
)

// one picks a text, and fills it in.
func (p *planter) one(list []string) string {
	text := list[p.r.IntN(len(list))]
	for strings.Contains(text, "{noun}") {
		text = strings.Replace(text, "{noun}", nouns[p.r.IntN(len(nouns))], 1)
	}
	return text
}

func (p *planter) chatter() string {
	text := p.one(openings) + " " + p.one(requests)
	for range p.r.IntN(3) {
		text += " " + p.one(sentences)
	}
	return text
}

// around puts a fact between words that say nothing.
func (p *planter) around(text string) string {
	if p.r.IntN(2) == 0 {
		text = p.one(openings) + " " + text
	}
	if p.r.IntN(3) == 0 {
		text += " And " + p.one(requests)
	}
	return text
}

func (p *planter) reply(n int) string {
	text := p.one(thanks)
	for range n {
		text += " " + p.one(sentences)
	}
	return text
}

// SPDX-License-Identifier: MIT OR Apache-2.0

// Package recall is the room that keeps facts about people for long, and finds those that have to do with a text.
//
//	add.go         a fact is kept: once for each id, merged with what says the same, in place of what was known about the same
//	background.go  vectors are made, and what says nearly the same is merged then
//	search.go      words.go, near.go, rank.go: a search, by words and by vectors
//	forget.go      facts go, and nothing of them is left
//	evict.go       the least valuable goes, beyond recall.max_entries
//	transfer.go    pages, and an import
//	engine.go      which embedder is used
//	shelf.go       the vectors in memory
//	state.go       status, health, metrics, shedding
//
// # What a fact is
//
// A text of one person, its owner, with a source, an importance and a time. What it is about, in a few words, is its subject:
// a new fact about the same makes history of the old one, which is kept and listed, and not found. The same words merge at
// once. Nearly the same merge when the vector is there, if numbers, names and denials are the same; the older entry
// stays, and the id of the newer leads to it.
//
// # Vectors
//
// A fact is committed before its vector is made, so an add takes no longer than a commit. The background takes a quarter of one core. A
// vector is stored with the name of its embedder; with another name all are made anew, and a stop in between costs the
// batch under way. In memory they are held by the package index, read when a search first needs them. A model that cannot be opened is a
// problem in status and doctor, and is tried again every minute; words alone are searched meanwhile.
//
// # A search
//
// The best by words (BM25; a subject counts double, and words that very many facts have do not count) and those whose vectors are
// near enough are merged by the reciprocals of their places. Importance raises a score, age lowers it, down to a quarter. Of
// the best those are taken that say something new. Each weight is in the configuration.
//
// # Forgetting
//
// Rows, words, vectors and the index go in one transaction, with zeros written over them, then the vector in memory; then the
// write-ahead log is emptied, as soon as nobody reads from it. So it is done for whatever is deleted here, for a page that is split
// leaves a copy too. What was said before is not picked out of conversations any more. Events carry no texts. Backups that were made before have what was forgotten later.
package recall

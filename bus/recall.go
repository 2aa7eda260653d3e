// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// Where a fact comes from.
const (
	RecallPerson  = "person"  // who asked for it to be remembered
	RecallModel   = "model"   // which thought it worth remembering
	RecallSession = "session" // taken from a conversation that had ended
)

// What found a fact.
const (
	RecallByWords  = "words"
	RecallByVector = "vector"
	RecallByBoth   = "both"
)

// Bounds of what recall takes.
const (
	RecallMaxText   = 4 << 10   // bytes of a fact
	RecallMaxAbout  = 200       // bytes of what it is about
	RecallMaxID     = 200       // bytes of an id, and of an owner
	RecallMaxQuery  = 32 << 10  // bytes of a question; what is beyond the first few hundred words is not looked for
	RecallMaxHits   = 100       // in one answer
	RecallMaxBatch  = 100       // entries in one import
	RecallPageMax   = 100       // entries in one page
	RecallPageBytes = 512 << 10 // of facts in one page, answer or import, as JSON
)

// RecallEntry is a fact that is kept. An older one of the same owner about the same thing is history: SupersededBy
// says what replaced it, and no search finds it.
type RecallEntry struct {
	ID           string    `json:"id"`
	Owner        string    `json:"owner"` // the person it belongs to: "telegram:12345", or a name of [people]
	Text         string    `json:"text"`
	About        string    `json:"about"`      // what it is about, in a few words; may be empty
	Source       string    `json:"source"`     // person, model or session
	Importance   float64   `json:"importance"` // 0 to 1
	At           time.Time `json:"at"`         // when it was said last
	Seen         int       `json:"seen"`       // how often it was said
	SupersededBy string    `json:"superseded_by,omitempty"`
}

// RecallQuery asks for what is known that has to do with a text.
type RecallQuery struct {
	Owner    string `json:"owner"` // "": everybody's, which only an operator asks for
	Text     string `json:"text"`
	Limit    int    `json:"limit,omitempty"`     // 1 to [RecallMaxHits], default 5
	MaxBytes int    `json:"max_bytes,omitempty"` // of the texts together; 0: no bound of its own. A fact that does not fit is left out, a shorter one may follow
}

// RecallHits answers it, best first; it is empty when nothing has to do with the text.
type RecallHits struct {
	Hits     []RecallHit `json:"hits"`
	Embedder string      `json:"embedder"` // whose vectors were compared; "": words alone
}

// RecallHit is one fact that was found.
type RecallHit struct {
	RecallEntry
	Score float64 `json:"score"` // larger is better; comparable within one answer
	By    string  `json:"by"`    // words, vector or both
}

// RecallAdd is a fact to keep. The same ID again adds nothing and gets the same answer.
type RecallAdd struct {
	ID         string    `json:"id"` // chosen by who adds: the same for the same call
	Owner      string    `json:"owner"`
	Text       string    `json:"text"`
	About      string    `json:"about,omitempty"` // it supersedes what was known of the same owner about the same
	Source     string    `json:"source"`
	Importance float64   `json:"importance"` // 0 to 1
	At         time.Time `json:"at"`         // zero: now
}

// RecallAdded is what became of it.
type RecallAdded struct {
	Entry      RecallEntry `json:"entry"`
	Merged     bool        `json:"merged"`     // it was known: Entry is the older one, seen once more
	Superseded []string    `json:"superseded"` // ids of what it replaced, now history
}

// RecallPageQuery asks for a page of the facts, the oldest first.
type RecallPageQuery struct {
	Owner   string `json:"owner,omitempty"`   // "": everybody's
	About   string `json:"about,omitempty"`   // only what is about this
	History bool   `json:"history,omitempty"` // also what was superseded
	After   string `json:"after,omitempty"`   // the Next of the page before
	Limit   int    `json:"limit,omitempty"`   // 1 to [RecallPageMax], default 50
}

// RecallPage answers it. Next is absent on the last page.
type RecallPage struct {
	Entries []RecallEntry `json:"entries"`
	Next    string        `json:"next,omitempty"`
}

// RecallForget names facts to forget for good, with the history of each.
type RecallForget struct {
	Owner string   `json:"owner"`         // whose they are; "": anybody's, which only an operator asks for
	IDs   []string `json:"ids,omitempty"` // at most 100
	All   bool     `json:"all,omitempty"` // everything of Owner, which may then not be "", or some thousand facts of it: nothing is left when Count is 0; IDs are empty
}

// RecallForgotten says what is gone.
type RecallForgotten struct {
	Count   int      `json:"count"`   // with history
	Unknown []string `json:"unknown"` // of the ids: there is no such fact of this owner
}

// RecallBatch are entries of an export, to be kept here too. What is known already, by ID or by text, is left as it is.
type RecallBatch struct {
	Entries []RecallEntry `json:"entries"` // at most [RecallMaxBatch]
}

// RecallImported answers it.
type RecallImported struct {
	Added int `json:"added"`
	Known int `json:"known"`
}

// RecallStatusQuery asks how recall stands.
type RecallStatusQuery struct{}

// Kinds of embedders.
const (
	RecallBuiltIn = "built-in"
	RecallLocal   = "model"  // in recall.model_dir
	RecallServer  = "server" // of [recall.server]
	RecallNone    = "none"   // what is configured does not work, or not yet: words alone
)

// RecallStatus answers it.
type RecallStatus struct {
	Enabled    bool   `json:"enabled"`
	Embedder   string `json:"embedder"`          // name of the vectors that are compared; "" without
	Kind       string `json:"kind"`              // built-in, model, server or none
	Problem    string `json:"problem,omitempty"` // why it is none
	Entries    int64  `json:"entries"`           // that are found
	History    int64  `json:"history"`           // that were superseded
	Limit      int64  `json:"limit"`             // of both together
	Pending    int64  `json:"pending"`           // entries whose vectors are still to be made
	Indexed    int64  `json:"indexed"`           // vectors in memory; they are read when they are needed
	IndexBytes int64  `json:"index_bytes"`
	IndexLimit int64  `json:"index_limit_bytes"`
}

// RecallAddedFact: a fact was kept, or said once more.
type RecallAddedFact struct {
	Time   time.Time `json:"time"`
	ID     string    `json:"id"`
	Owner  string    `json:"owner"`
	Source string    `json:"source"`
	Merged bool      `json:"merged"` // it was known
	Bytes  int       `json:"bytes"`  // of its text, which no event carries: forgetting would not reach it
}

// RecallSupersededFact: a fact replaced others.
type RecallSupersededFact struct {
	Time  time.Time `json:"time"`
	Owner string    `json:"owner"`
	ID    string    `json:"id"`  // of the new one
	Old   []string  `json:"old"` // now history
}

// RecallForgottenFact: facts were forgotten, at somebody's word.
type RecallForgottenFact struct {
	Time  time.Time `json:"time"`
	Owner string    `json:"owner"`
	IDs   []string  `json:"ids"` // at most 100 of them
	Count int       `json:"count"`
}

// RecallEvictedFact: facts of one owner were given up, for there were more than recall.max_entries.
type RecallEvictedFact struct {
	Time    time.Time `json:"time"`
	Owner   string    `json:"owner"`
	IDs     []string  `json:"ids"` // at most 100 of them
	Count   int       `json:"count"`
	History int       `json:"history"` // of Count, that had been superseded before
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// Bill is what one answer costs.
type Bill struct {
	Model string
	Usage bus.Usage
	Whole bool // the script gives it to its end; else what comes is billed

	// What the prompt is by the meter, whatever the script counts: its tokens, and how
	// many of them are a beginning that was asked before and marked to be cached.
	Prompt, Seen int64
}

// SeenShare is how much of all prompts had been asked before, from 0 to 1.
func SeenShare(bills []Bill) float64 {
	var prompt, seen int64
	for _, b := range bills {
		prompt, seen = prompt+b.Prompt, seen+b.Seen
	}
	return float64(seen) / float64(max(1, prompt))
}

// promptTokens is how large the prompt in a question's body is: the bytes of its
// system prompt, messages and tools, as they went over the wire, four to a token.
func promptTokens(body []byte) int64 {
	var parts struct{ System, Messages, Tools json.RawMessage }
	if err := json.Unmarshal(body, &parts); err != nil {
		return 0 // it was refused
	}
	return llm.EstimateTokens(len(parts.System) + len(parts.Messages) + len(parts.Tools))
}

// Usage is what the server says it counted. Prompt includes Cached and Written.
type Usage struct{ Prompt, Cached, Written, Completion int64 }

// usage is u as the ledger has it.
func (u Usage) usage() bus.Usage {
	return bus.Usage{Input: u.Prompt - u.Cached - u.Written, CacheRead: u.Cached, CacheWrite: u.Written, Output: u.Completion}
}

// piece is a part of a prompt: a tool, a message, a block of one.
type piece struct {
	data   []byte
	marked bool // the prompt is cached up to here
}

func newPiece(of string, v any, marked bool) piece {
	data, err := json.Marshal([]any{of, v})
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return piece{data, marked}
}

// counted is a prompt in tokens, four bytes each.
type counted struct{ total, read, written int64 }

// cache knows prompts by the hashes of their beginnings. As the vendor documents
// it, a marked piece finds what ends there or up to lookBack pieces before, and
// whatever is marked is written.
type cache struct {
	seen  map[[sha256.Size]byte]bool
	least int64
}

const (
	lookBack  = 20
	maxCached = 10_000 // then it forgets everything
)

func newCache() cache { return cache{seen: map[[sha256.Size]byte]bool{}, least: 1024} }

func (c *cache) meter(model string, pieces []piece) counted {
	var out counted
	hash := sha256.Sum256([]byte(model))
	hashes, upTo := make([][sha256.Size]byte, len(pieces)), make([]int64, len(pieces))
	last := -1
	for i, p := range pieces {
		hash = sha256.Sum256(append(hash[:], p.data...))
		out.total += llm.EstimateTokens(len(p.data))
		hashes[i], upTo[i] = hash, out.total
		if p.marked && out.total >= c.least {
			last = i
		}
	}
	for i, p := range pieces {
		for j := i; p.marked && j >= 0 && j > i-lookBack; j-- {
			if c.seen[hashes[j]] {
				out.read = max(out.read, upTo[j])
				break
			}
		}
	}
	if last >= 0 {
		out.written = max(0, upTo[last]-out.read)
	}
	c.learn(pieces, hashes, upTo)
	return out
}

func (c *cache) learn(pieces []piece, hashes [][sha256.Size]byte, upTo []int64) {
	if len(c.seen) > maxCached {
		clear(c.seen)
	}
	for i, p := range pieces {
		if p.marked && upTo[i] >= c.least {
			c.seen[hashes[i]] = true
		}
	}
}

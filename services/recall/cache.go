// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// entryBytes is what an entry of the cache takes beside its vector, about.
const entryBytes = 256

// cache keeps the vectors of the last questions, within a bound in bytes; none of the built-in embedder's. It holds hashes of
// the questions, not their texts.
type cache struct {
	max int64

	mu    sync.Mutex
	bytes int64
	order list.List // of *cached, the last used first
	byKey map[[32]byte]*list.Element
}

type cached struct {
	key    [32]byte
	vector []float32
}

func (c *cached) bytes() int64 { return entryBytes + 4*int64(len(c.vector)) }

func newCache(max int64) *cache { return &cache{max: max, byKey: map[[32]byte]*list.Element{}} }

func cacheKey(embedder, text string) [32]byte { return sha256.Sum256([]byte(embedder + "\x00" + text)) }

func (c *cache) get(embedder, text string) []float32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.byKey[cacheKey(embedder, text)]
	if at == nil {
		return nil
	}
	c.order.MoveToFront(at)
	return at.Value.(*cached).vector
}

func (c *cache) put(embedder, text string, vector []float32) {
	e := &cached{cacheKey(embedder, text), vector}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[e.key] != nil || e.bytes() > c.max {
		return
	}
	c.byKey[e.key] = c.order.PushFront(e)
	c.bytes += e.bytes()
	for c.bytes > c.max {
		oldest := c.order.Remove(c.order.Back()).(*cached)
		delete(c.byKey, oldest.key)
		c.bytes -= oldest.bytes()
	}
}

// reset forgets everything and returns how many bytes that frees.
func (c *cache) reset() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	freed := c.bytes
	c.bytes, c.byKey = 0, map[[32]byte]*list.Element{}
	c.order.Init()
	return freed
}

func (c *cache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

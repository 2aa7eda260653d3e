// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"strings"

	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/internal/logring"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// boundedPercent is the share of the memory limit that all byte bounds may take
// together. What the control group allows is known only at run time.
const boundedPercent = 60

// bounded is something whose memory has a bound.
type bounded struct {
	what  string
	bytes int64
	lower []string // keys that make it less; none: it is fixed
}

// bounds are all of them, those that grow with the configuration first. What waits for
// clients of the bus is not among them: see ARCHITECTURE.md.
func (c Config) bounds() []bounded {
	return []bounded{
		{"requests", c.Gateway.Bytes(), []string{"gateway.max_body_bytes", "gateway.max_bodies", "gateway.max_streams", "gateway.max_waiters", "gateway.max_connections"}},
		{"pictures", c.Agent.PictureBytes(), []string{"agent.pictures_mb"}},
		{"files and results of tools", c.Agent.MaterialBytes(), []string{"agent.material_mb"}},
		{"fetched pages", c.Tools.Bytes(), []string{"tools.max_fetches", "tools.http_kb"}},
		{"vectors of facts", c.Recall.Bytes(), []string{"recall.index_mb"}},
		{"the database's caches", c.databaseOptions().Bytes(), []string{"memory.database_cache_kb"}},
		{"summaries of conversations", agent.SummaryBytes, nil},
		{"answers being shown", telegram.DraftBytes, nil},
		{"the log's end", logring.MaxBytes, nil},
	}
}

// databaseOptions are what the configuration says of the store.
func (c Config) databaseOptions() sqlite.Options {
	return sqlite.Options{CacheKiB: c.Memory.DatabaseKB}
}

// checkBytes reports byte bounds that do not fit into the memory limit.
func (c Config) checkBytes(report func(key, message, hint string)) {
	var sum int64
	var parts, keys []string
	for _, b := range c.bounds() {
		sum += b.bytes
		keys = append(keys, b.lower...)
		if mib := (b.bytes + 1<<19) >> 20; mib > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", b.what, mib))
		}
	}
	if limit := int64(c.Memory.LimitMB) << 20; sum > limit/100*boundedPercent {
		report("memory.limit_mb", fmt.Sprintf("what has a bound may take %d MiB together (%s), more than %d %% of it", sum>>20, strings.Join(parts, ", "), boundedPercent),
			fmt.Sprintf("raise it to %d, or lower ", sum*100/boundedPercent>>20+1)+strings.Join(keys[:len(keys)-1], ", ")+" or "+keys[len(keys)-1])
	}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import "fmt"

// Config is the section [memory].
type Config struct {
	LimitMB         int `koanf:"limit_mb" doc:"Memory the process may take, in MiB of its resident set; its control group's limit counts beside it, for what the kernel cannot get back, and the nearer of the two decides. All that has a bound (requests, pictures, the caches of the database …) may take 60 % of it together, as installed 119 MiB: less than 199 asks for smaller bounds, and blufio config validate names them." min:"32" max:"1048576"`
	DatabaseKB      int `koanf:"database_cache_kb" doc:"Cache of each of the database's three connections, in KiB; it takes up to twice that." min:"64" max:"1048576"`
	WarnPercent     int `koanf:"warn_percent" live:"true" doc:"Percent of the limit at which caches are worth shedding." min:"10" max:"99"`
	CriticalPercent int `koanf:"critical_percent" live:"true" doc:"Percent of the limit at which memory is about to run out." min:"11" max:"100"`
}

// Defaults are 200 MiB, with a warning at 80 % and critical at 95 %.
func Defaults() Config {
	return Config{LimitMB: 200, DatabaseKB: 1024, WarnPercent: 80, CriticalPercent: 95}
}

// Check reports thresholds in the wrong order.
func (c Config) Check(report func(key, message, hint string)) {
	if c.CriticalPercent <= c.WarnPercent {
		report("critical_percent", fmt.Sprintf("must be above warn_percent, which is %d", c.WarnPercent), "")
	}
}

// validate is Check for those who build the room.
func (c Config) validate() error {
	if c.LimitMB <= 0 || c.WarnPercent <= hysteresis || c.CriticalPercent <= c.WarnPercent {
		return fmt.Errorf("read memory thresholds: limit %d MB, warn %d %%, critical %d %%", c.LimitMB, c.WarnPercent, c.CriticalPercent)
	}
	return nil
}

// limit is the configured limit in bytes.
func (c Config) limit() int64 { return int64(c.LimitMB) << 20 }

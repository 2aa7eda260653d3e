// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-SYS-002", Title: "There is memory left",
		Why:      "near its limit blufio begins no new conversations, and the system ends a process whose control group takes more than it may",
		Fix:      "raise memory.limit_mb or the control group's limit, or give blufio less to do",
		Problems: []string{"memory_critical", "memory_unreadable"},
		Run:      s.probeMemory,
	}, {
		ID: "BLF-SYS-003", Title: "Memory is where it should be", Deep: true,
		Why: "what grows without end is seen here first",
		Fix: "compare it with an earlier run; if a part only grows, please report it",
		Run: s.probeParts,
	}, {
		ID: "BLF-SYS-005", Title: "The control group leaves room", Deep: true,
		Why:      "its limit counts, whatever the configuration says",
		Fix:      "raise the control group's limit",
		Problems: []string{"memory_limit_unreadable"},
		Run:      s.probeGroup,
	}, {
		ID: "BLF-SYS-008", Title: "Memory does not grow from day to day", Deep: true,
		Why: "what grows a little every day ends at the limit; warned is when even the lowest hour of the last twelve is half as much again, and 16 MiB, above " +
			"the middle hour of the first day on record (at most thirty days ago, at least one; the same version, its models' fixed weight left out)",
		Fix: "if you have not given it more to do since, please report it with `blufio bugreport`; a restart helps meanwhile",
		Run: s.probeGrowth,
	}}
}

func (s *Service) probeMemory(context.Context) services.Result {
	r := s.last()
	seen := r.taken(s.cfg)
	switch {
	case r.err != nil:
		return services.Fail("the memory of the process is not known: %v", r.err).WithFix("mount /proc where blufio runs")
	case r.Pressure == bus.PressureCritical:
		return services.Fail("%s", seen)
	case r.Pressure == bus.PressureWarn:
		return services.Warn("%s", seen)
	}
	return services.OK("%s", seen)
}

// probeParts tells the parts: the Go heap, what lies outside of it (that is SQLite, for
// the most part), the program's own pages, and the most there ever was.
func (s *Service) probeParts(context.Context) services.Result {
	content, err := fs.ReadFile(s.deps.Root, statusFile)
	if err != nil {
		return services.Skip("the parts are not known: %v", err)
	}
	r := s.last()
	anonymous, _ := parseAnonymous(content)
	file, _ := sized(content, "RssFile:")
	peak, _ := sized(content, "VmHWM:")
	limit := s.cfg.limit() // the control group's is not held against what is resident
	seen := fmt.Sprintf("Go %d MiB (live %d), database and other %d MiB, program %d MiB; at most %d MiB resident since the start, memory.limit_mb is %d",
		r.resident>>20, r.live>>20, max(0, anonymous-r.resident)>>20, file>>20, peak>>20, limit>>20)
	if peak > limit {
		return services.Info("%s", seen)
	}
	return services.OK("%s", seen)
}

func (s *Service) probeGroup(context.Context) services.Result {
	found, err := findGroup(s.deps.Root)
	limit := found.limit
	switch {
	case err != nil:
		return services.Warn("its limit cannot be read: %v", err).WithFix("make /sys/fs/cgroup readable; memory.limit_mb holds meanwhile")
	case limit == 0:
		return services.OK("it has no limit; memory.limit_mb holds: %d MiB", s.cfg.LimitMB)
	case limit < s.cfg.limit():
		return services.Info("it allows %d MiB, less than memory.limit_mb, which is %d; the nearer one counts", limit>>20, s.cfg.LimitMB)
	}
	return services.OK("it allows %d MiB, memory.limit_mb is %d", limit>>20, s.cfg.LimitMB)
}

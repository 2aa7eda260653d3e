// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"

	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-RCL-001", Title: "The embedder that is configured is in use",
		Why:      "without it facts are found by their words alone, or by parts of words",
		Fix:      "check recall.model_dir, or [recall.server]",
		Problems: []string{"embedder_failed"},
		Run:      s.probeEmbedder,
	}}
}

func (s *Service) probeEmbedder(context.Context) services.Result {
	return services.Skip("not built yet")
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"fmt"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-RCL-001", Title: "Facts are found by their meaning",
		Why:      "without vectors a fact is found only by words that it has in common with the question",
		Fix:      "check recall.model_dir, or [recall.server]",
		Problems: []string{"embedder_failed"},
		Run:      s.probeEmbedder,
	}, {
		ID: "BLF-RCL-002", Title: "There is room for the facts",
		Why:      "beyond their bounds facts of little value are given up, or found by their words alone",
		Fix:      "raise recall.max_entries or recall.index_mb, or forget some with `blufio recall forget`",
		Problems: []string{"index_full"},
		Run:      s.probeRoom,
	}, {
		ID: "BLF-RCL-003", Title: "The embedding model loads", Deep: true,
		Why: "one that is damaged makes no vectors, or useless ones",
		Fix: "fetch the model's files again, or check [recall.server]",
		Run: s.probeModel,
	}}
}

// inUse is the embedder in words.
func (e *engaged) inUse() string {
	switch e.kind {
	case bus.RecallLocal:
		return "a model, " + e.Name()
	case bus.RecallServer:
		return "a server, " + e.Name()
	}
	return "the built-in embedder, by words, parts of words and English words that are related"
}

func (s *Service) probeEmbedder(ctx context.Context) services.Result {
	st, err := s.status(ctx, bus.RecallStatusQuery{})
	e := s.engine.get()
	switch {
	case err != nil:
		return services.Fail("%v", err)
	case !st.Enabled:
		return services.Skip("recall is switched off")
	case st.Problem != "":
		return services.Warn("%s does not work: %s", s.cfg.configured(), st.Problem).WithFix("check %s; it is tried again every minute", s.cfg.setting())
	case e == nil:
		return services.Info("%s is being opened", s.cfg.configured())
	case st.Pending > 0:
		return services.Info("%s; %d of %d vectors are still to be made", e.inUse(), st.Pending, st.Entries)
	}
	return services.OK("%s", e.inUse())
}

func (s *Service) probeRoom(ctx context.Context) services.Result {
	st, err := s.status(ctx, bus.RecallStatusQuery{})
	if err != nil {
		return services.Fail("%v", err)
	}
	seen := fmt.Sprintf("%d facts and %d of history, of at most %d; %.1f of %d MiB of vectors in memory", st.Entries, st.History, st.Limit, float64(st.IndexBytes)/(1<<20), st.IndexLimit>>20)
	if _, _, left := s.shelf.state(); left > 0 {
		return services.Warn("%s; %d facts found no room there", seen, left).WithFix("raise recall.index_mb, or lower recall.max_entries")
	}
	if (st.Entries+st.History)*20 >= st.Limit*19 {
		return services.Info("%s", seen)
	}
	return services.OK("%s", seen)
}

func (s *Service) probeModel(ctx context.Context) services.Result {
	switch {
	case !s.cfg.Enable:
		return services.Skip("recall is switched off")
	case s.cfg.ModelDir == "" && !s.cfg.Server.On():
		return services.Skip("none is configured: the built-in embedder has no model")
	}
	e := s.engine.get()
	if e == nil { // look at it anew
		fresh, err := s.cfg.open(ctx, s.d, s.meter)
		if err != nil {
			return services.Fail("%s: %v", s.cfg.configured(), err)
		}
		if err := closed(fresh); err != nil {
			return services.Fail("%v", err)
		}
		return services.OK("%s works now; it is in use within a minute", s.cfg.configured())
	}
	if err := e.Probe(ctx); err != nil {
		return services.Fail("%s: %v", s.cfg.configured(), err)
	}
	return services.OK("%s makes vectors of %d numbers", s.cfg.configured(), e.Dim())
}

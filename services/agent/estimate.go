// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"fmt"

	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// tokens estimates those of a text, for the model that is usually asked.
func (s *Service) tokens(text string) int64 {
	m := s.models.List[0]
	return s.meter.Scaled(m.String(), llm.Tokens(m.Name, text))
}

// estimate is how many tokens a question of the agent has, uncorrected. Those of its
// beginning, which is always the same, are counted once.
func (s *Service) estimate(m *manner, req llm.Request) int64 {
	n := m.staticTokens(req.Model, req.System, req.Tools)
	for _, said := range req.Messages {
		n += said.Tokens(req.Model)
	}
	return n
}

// staticTokens are those of the static zone, for the model that is usually asked.
func (s *Service) staticTokens() int64 {
	m, manner := s.models.List[0], s.manner.Load()
	return s.meter.Scaled(m.String(), manner.staticTokens(m.Name, manner.system, s.specs))
}

func (m *manner) staticTokens(model, system string, tools []llm.ToolSpec) int64 {
	if n, ok := m.static.Load(model); ok {
		return n.(int64)
	}
	n := llm.Request{Model: model, System: system, Tools: tools}.Tokens()
	m.static.Store(model, n)
	return n
}

// learn corrects the estimates for a model by what its provider has counted of a question.
func (s *Service) learn(m Model, estimate int64, req llm.Request, answer llm.Response) {
	if answer.Guess {
		return
	}
	for _, said := range req.Messages {
		if len(said.Images) > 0 {
			return // what one costs is anybody's guess
		}
	}
	u := plausible(answer.Usage)
	if off, ok := s.meter.Learn(m.String(), estimate, u.Input+u.CacheRead+u.CacheWrite); ok {
		s.metrics.estimates.WithLabelValues(m.String()).Observe(max(off, -off))
	}
}

// recallRatios goes on from what an earlier run has learned; without it a few answers teach it again.
func (s *Service) recallRatios(ctx context.Context) {
	var text string
	err := s.store.QueryRow(ctx, `SELECT token_ratios FROM agent_state`).Scan(&text)
	if err == nil && text != "" {
		err = s.meter.Load([]byte(text))
	}
	if err != nil {
		s.log.Warn("token counts are learned anew", "service", "agent", "err", err)
	}
}

// keepRatios stores what was learned.
func (s *Service) keepRatios(ctx context.Context) error {
	text, err := s.meter.Save()
	if err != nil {
		return fmt.Errorf("write learned token ratios: %w", err)
	}
	if string(text) == "{}" {
		return nil // nothing yet
	}
	return s.store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE agent_state SET token_ratios = ?1 WHERE token_ratios <> ?1`, string(text))
		return err
	})
}

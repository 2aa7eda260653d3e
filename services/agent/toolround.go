// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"slices"
	"strings"

	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/clip"
)

const maxPurpose = 64 // bytes

// purpose is what the next model call is booked for: the message itself, or the
// tools of the step before whose results it reads, as "tool:http_get,recall".
func (s *Service) purpose(t *turn) string {
	if len(t.steps) == 0 || t.purpose == purposeHeartbeat {
		return t.purpose
	}
	var names []string
	for _, c := range t.steps[len(t.steps)-1].Asked.Calls {
		if name := s.toolLabel(c.Name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return clip.Bytes("tool:"+strings.Join(names, ","), maxPurpose)
}

// lastWord makes the request one that has to be answered: after the last round of
// tools. The tools stay in it, for vendors refuse results without them and caches
// begin with them; models that do not know the rule read it.
func lastWord(req *llm.Request) {
	req.NoTools = true
	req.Messages = slices.Clone(req.Messages)
	last := &req.Messages[len(req.Messages)-1]
	last.Text = strings.TrimSpace(last.Text + "\n\n[No more tools now. Answer with what you have.]")
}

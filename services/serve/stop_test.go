// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"testing"
	"time"

	"github.com/blufio/blufio/services/channel/gateway"
	"github.com/blufio/blufio/services/channel/telegram"
)

// What the gateway, Telegram, the control room and the agent may take one after another
// fits into what the house gives them; else a planned stop looks like a crash.
func TestPartsOfAStopFit(t *testing.T) {
	const control = time.Second / 4 // its farewell as a rule: questions side by side and two writes
	for _, drain := range []time.Duration{5 * time.Second, 8 * time.Second, 30 * time.Second, 10 * time.Minute} {
		agent := agentFinish(drain)
		if sum := gateway.DrainTimeout + telegram.LastWords + control + agent; sum > drain*7/8 || agent < 300*time.Millisecond {
			t.Errorf("drain %s: the agent has %s, all together %s of %s", drain, agent, sum, drain*7/8)
		}
	}
}

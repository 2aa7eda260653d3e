// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// What people say, what is answered, and what tools are given does not stand in a log of
// level info, neither where all goes well nor where it fails. What a provider refuses is
// logged in the provider's words: the owner has nothing else to go by.
func TestLogHasNoMessages(t *testing.T) {
	const planted = "zanzibar-4711"
	r := newReloadRig(t, map[string]string{"telegram.allow": "[7]"})
	r.model.Script(
		fakellm.Uses(fakellm.Call{Name: "remember", Arguments: `{"text":"` + planted + `"}`}), fakellm.Says("it is ", planted),
		fakellm.Uses(fakellm.Call{Name: "http_get", Arguments: `{"url":"http://127.0.0.1:1/` + planted + `"}`}), fakellm.Says("no ", planted),
		fakellm.Fails(http.StatusBadRequest, "invalid_request", "this cannot be read"),
		fakellm.Says("again ", planted), fakellm.Says("on the phone ", planted),
	)
	for range 2 {
		if m := say(t, r.conn, "the code is "+planted); m.State != bus.StateAnswered || !strings.Contains(m.Reply, planted) {
			t.Fatalf("%+v", m)
		}
	}
	say(t, r.conn, "what was "+planted)
	if code, _ := r.post("?wait=20s", planted+" by HTTP"); code != http.StatusOK {
		t.Fatalf("the gateway answers %d", code)
	}
	r.bot.Say(7, planted+" by Telegram")
	r.bot.Say(8, planted+" by a stranger")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if !r.bot.Wait(ctx, func() bool { return len(r.bot.Requests("sendMessage")) >= 2 }) {
		t.Fatal("Telegram gets no answers")
	}
	text := r.log.String()
	for line := range strings.Lines(text) {
		if strings.Contains(line, planted) {
			t.Errorf("the log says: %s", line)
		}
	}
	if !strings.Contains(text, "level=INFO") {
		t.Error("nothing is logged at all")
	}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/internal/failpoint"
)

// A process that ends while a summary is made loses neither a message nor its answer,
// and its next one makes the summary, of all that it has to stand for.
func TestSummarySurvivesAKill(t *testing.T) {
	binary := build(t, armed)
	for _, name := range failpoint.SummaryNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killSummary(t, binary, name)
		})
	}
}

var threeDigits = regexp.MustCompile(`\b\d{3}\b`)

func killSummary(t *testing.T, binary, name string) {
	fake := fakellm.NewOpenAI(t)
	fake.Reply(func(q fakellm.Question) fakellm.Answer {
		text := "I will keep that in mind, as you asked me to."
		if len(q.Tools) == 0 { // a summary: with every number
			text = "They spoke of " + strings.Join(threeDigits.FindAllString(q.Text, -1), ", ") + "."
		}
		return fakellm.Answer{Text: []string{text}, Metered: true}
	})
	p := plan{dir: t.TempDir()}
	more := fmt.Sprintf("[agent]\nprovider = \"openai\"\nmodel = \"fake\"\nhistory_tokens = 400\ncompact_soft = 0.7\n[openai]\nbase_url = %q\n"+
		"[cost]\ndaily_usd = 0\nmonthly_usd = 0\n[cost.prices.fake]\ninput = 1\noutput = 2\n", fake.URL())
	if err := os.WriteFile(p.config(), []byte(settings+more), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, p, binary, "BLUFIO_FAILPOINT="+name)
	d.awaitHealthy(t)
	sent := 0
	for ; sent < 40 && !d.gone(); sent++ {
		p.tell(t, sent)
	}
	d.awaitDeath(t, name)
	d = start(t, p, binary)
	d.awaitHealthy(t)
	for n := range sent + 10 {
		p.tell(t, n) // again, under one key: some came to a daemon that was already gone
	}
	sent += 10
	until(t, "everything is answered, and there is a summary", settleLimit, func() bool {
		return p.count(t, `SELECT count(*) FROM message WHERE state = 'answered'`) == int64(sent) && p.count(t, `SELECT count(*) FROM summary`) == 1
	})
	if n := p.count(t, `SELECT from_seq FROM summary`); n != 1 {
		t.Errorf("the summary begins with message %d", n)
	}
	until(t, "every call is booked", settleLimit, func() bool {
		return p.count(t, `SELECT count(*) FROM settlement`) == 0 && p.count(t, `SELECT count(*) FROM cost_ledger WHERE purpose = 'summary'`) > 0
	})
	d.stop(t)
}

// tell says something with a number, and waits for the answer as long as the daemon lives.
func (p plan) tell(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := dial(p, bus.MessageReceive, bus.MessageGet)
	if err != nil {
		return // it is gone, or about to be
	}
	defer c.NATS().Close()
	acc, err := bus.MessageReceive.Ask(ctx, c, bus.Message{Channel: terminal, Owner: "ann", Session: "s", Text: fmt.Sprintf("the locker at the gym has number %d this week", 100+n), ExternalID: fmt.Sprint(n)})
	for err == nil && ctx.Err() == nil {
		var m bus.MessageRecord
		if m, err = bus.MessageGet.Ask(ctx, c, bus.MessageQuery{ID: acc.ID}); m.State == bus.StateAnswered {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// count reads one number of the database beside the daemon.
func (p plan) count(t *testing.T, query string) (n int64) {
	t.Helper()
	store := openReadOnly(t, p)
	defer store.Close()
	if err := store.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

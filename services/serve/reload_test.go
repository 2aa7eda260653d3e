// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
	"github.com/nats-io/nuid"
)

// reloadRig is a daemon with a configuration file that a test writes anew.
type reloadRig struct {
	*testing.T
	conn   *bus.Conn
	model  *fakellm.OpenAI
	bot    *fakebot.Bot
	web    *httptest.Server // on this machine, for the tool http_get
	file   string
	dir    string
	set    map[string]string // key → TOML
	hangup chan struct{}
	log    *bustest.Text

	mu    sync.Mutex
	level string
}

func newReloadRig(t *testing.T, more map[string]string) *reloadRig {
	r := &reloadRig{T: t, model: fakellm.NewOpenAI(t), bot: fakebot.Start(t), file: filepath.Join(t.TempDir(), "blufio.toml"),
		hangup: make(chan struct{}, 1), level: "info", log: &bustest.Text{}}
	r.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "from the nas") }))
	t.Cleanup(r.web.Close)
	r.set = map[string]string{
		"gateway.listen": `"127.0.0.1:0"`, "bus.listen": `"127.0.0.1:0"`, "memory.limit_mb": "2000",
		"agent.provider": `"openai"`, "agent.model": `"gpt-4o-mini"`, "openai.base_url": fmt.Sprintf("%q", r.model.URL()),
		"telegram.api_url": fmt.Sprintf("%q", r.bot.URL()), "telegram.bot_token": fmt.Sprintf("%q", r.bot.Token()),
	}
	maps.Copy(r.set, more)
	r.write()
	r.conn, _ = daemonOf(t, func(o *Options) {
		o.Sources = config.Sources{Files: []string{r.file}, Required: true}
		var err error
		if o.Config, o.Loaded, err = Load(o.Sources); err != nil {
			t.Fatal(err)
		}
		o.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(r.log, t.Output()), nil))
		r.dir, o.Reload = o.DataDir, r.hangup
		o.SetLogLevel = func(level string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.level = level
		}
	})
	return r
}

// write writes the file, keys as they are, one a line.
func (r *reloadRig) write() {
	r.Helper()
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(r.set)) {
		fmt.Fprintf(&text, "%s = %s\n", key, r.set[key])
	}
	if err := os.WriteFile(r.file, []byte(text.String()), 0o600); err != nil {
		r.Fatal(err)
	}
}

// reload sets keys and has the daemon read them.
func (r *reloadRig) reload(keys map[string]string) bus.Reloaded {
	r.Helper()
	maps.Copy(r.set, keys)
	r.write()
	out, err := bus.ConfigReload.Ask(r.Context(), r.conn, bus.ReloadRequest{})
	if err != nil {
		r.Fatal(err)
	}
	return out
}

// asked says something and returns the question that the model got.
func (r *reloadRig) asked(text string) fakellm.Request {
	r.Helper()
	say(r.T, r.conn, text)
	all := r.model.Requests()
	return all[len(all)-1]
}

// post sends a message to the gateway.
func (r *reloadRig) post(query, text string) (status int, took time.Duration) {
	r.Helper()
	token, err := bus.TokenIssue.Ask(r.Context(), r.conn, bus.TokenRequest{Subject: "ann", Scopes: []string{"chat"}, Seconds: 60})
	if err != nil {
		r.Fatal(err)
	}
	info, err := ReadInfo(r.dir)
	if err != nil {
		r.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, info.Gateway+"/v1/messages"+query, strings.NewReader(`{"text":"`+text+`"}`))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token.Token)
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, time.Since(began)
}

func (r *reloadRig) events() []bus.EventRecord {
	r.Helper()
	var all []bus.EventRecord
	for q := (bus.EventQuery{Limit: 500}); ; {
		page, err := bus.EventsRead.Ask(r.Context(), r.conn, q)
		if err != nil {
			r.Fatal(err)
		}
		if all = append(all, page.Events...); !page.More {
			return all
		}
		q.After = page.Last
	}
}

// eventually repeats see until it says want.
func (r *reloadRig) eventually(what string, see func() string, want string) {
	r.Helper()
	got := ""
	bustest.Eventually(r, what+": "+want, func() bool { got = see(); return strings.Contains(got, want) }, func() any { return fmt.Sprintf("%.300s", got) })
}

// liveCase is one key that can change: what is seen of it with the value before and
// with another one.
type liveCase struct {
	value  string // TOML
	see    func(r *reloadRig) string
	before string
	after  string
}

func pressure(r *reloadRig) string {
	st, err := bus.StatusGet.Ask(r.Context(), r.conn, bus.StatusQuery{})
	if err != nil || st.Memory == nil {
		return fmt.Sprint("no memory: ", err)
	}
	return st.Memory.Pressure
}

func limits(r *reloadRig) string {
	sum, err := bus.CostGet.Ask(r.Context(), r.conn, bus.CostQuery{})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(sum.DailyLimit, " ", sum.MonthlyLimit)
}

func system(r *reloadRig) string { return *r.asked("who are you?").Messages[0].Content }

// liveCases has one for each key that is marked as live, which a test holds.
var liveCases = map[string]liveCase{
	"cost.daily_usd":   {value: "3", see: limits, before: "$5.00 $50.00", after: "$3.00 $"},
	"cost.monthly_usd": {value: "30", see: limits, before: "$50.00", after: "$30.00"},
	"cost.prices": {value: `{ "mine" = { free = true } }`, before: "price", after: "<nil>", see: func(r *reloadRig) string {
		_, err := bus.CostReserve.Ask(r.Context(), r.conn, bus.Reserve{ModelCall: bus.ModelCall{ID: nuid.Next(), Provider: "p", Model: "mine", Purpose: "turn"}, InputTokens: 1, OutputTokens: 1})
		return fmt.Sprint(err)
	}},
	"memory.warn_percent":     {value: "10", before: bus.PressureNormal, after: bus.PressureWarn, see: pressure},
	"memory.critical_percent": {value: "11", before: bus.PressureWarn, after: bus.PressureCritical, see: pressure},
	"telegram.allow": {value: "[1001]", before: "I do not know you", after: "/new", see: func(r *reloadRig) string {
		r.bot.Say(1001, "/help")
		text := ""
		r.bot.Wait(r.Context(), func() bool {
			chat := r.bot.Chat(1001)
			if len(chat) > 0 {
				text = chat[len(chat)-1].Plain
			}
			return text != ""
		})
		return text
	}},
	"gateway.max_body_bytes": {value: "1024", before: "202", after: "413", see: func(r *reloadRig) string {
		status, _ := r.post("", strings.Repeat("x", 1200))
		return fmt.Sprint(status)
	}},
	"gateway.max_wait": {value: `"1s"`, before: "answered", after: "not answered", see: func(r *reloadRig) string {
		r.model.Latency(1500 * time.Millisecond)
		defer r.model.Latency(0)
		if status, _ := r.post("?wait=10s", "hello"); status != http.StatusOK {
			return "not answered"
		}
		return "answered"
	}},
	"gateway.token_rate": {value: "77", before: "6000", after: "77", see: func(r *reloadRig) string {
		token, err := bus.TokenIssue.Ask(r.Context(), r.conn, bus.TokenRequest{Subject: "ann", Scopes: []string{"chat"}, Seconds: 60})
		return fmt.Sprint(token.Rate, err)
	}},
	"agent.name":               {value: `"Jeeves"`, before: "You are blufio", after: "You are Jeeves", see: system},
	"agent.system_prompt":      {value: `"Be short."`, before: "You are", after: "Be short.", see: system},
	"agent.system_prompt_file": {value: `"prompt.md"`, before: "Be short.", after: "Rhyme.", see: system},
	"agent.max_reply_tokens": {value: "99", before: "2048", after: "99", see: func(r *reloadRig) string {
		q := r.asked("how long?")
		for _, n := range []*int64{q.MaxTokens, q.MaxCompletionTokens} {
			if n != nil {
				return fmt.Sprint(*n)
			}
		}
		return ""
	}},
	"agent.max_text_bytes": {value: "1500", before: "answered", after: "too_large", see: func(r *reloadRig) string {
		_, err := bus.MessageReceive.Ask(r.Context(), r.conn, bus.Message{Channel: "terminal", Owner: "owner", Text: strings.Repeat("y", 1600)})
		if err != nil {
			return string(bus.CodeOf(err))
		}
		return "answered"
	}},
	"agent.history_tokens": {value: "0", before: "with history", after: "alone", see: func(r *reloadRig) string {
		if len(r.asked("what did I say?").Messages) > 2 {
			return "with history"
		}
		return "alone"
	}},
	"tools.allow": {value: `["127.0.0.1"]`, before: "add \"127.0.0.1\" to tools.allow", after: "from the nas", see: func(r *reloadRig) string {
		r.model.Script(fakellm.Uses(fakellm.Call{Name: "http_get", Arguments: fmt.Sprintf(`{"url":%q}`, r.web.URL)}))
		q := r.asked("look at the nas")
		return *q.Messages[len(q.Messages)-1].Content
	}},
	"bus.events_text": {value: "true", before: "without text", after: "with text", see: func(r *reloadRig) string {
		word := nuid.Next()
		m := say(r.T, r.conn, word)
		var found []byte
		r.eventually("the event", func() string {
			for _, e := range r.events() {
				if e.Event == "evt.message.received" && bytes.Contains(e.Payload, []byte(m.ID)) {
					found = e.Payload
					return "found"
				}
			}
			return ""
		}, "found")
		if bytes.Contains(found, []byte(word)) {
			return "with text"
		}
		return "without text"
	}},
	"hooks.post_start":  {value: "[]", before: "hook post-start failed", after: "no problem", see: hookTrouble},
	"hooks.pre_backup":  {value: `["false"]`, before: "<nil>", after: "hook pre-backup failed", see: backsUp},
	"hooks.post_backup": {value: `["touch", "after"]`, before: "has not run", after: "has run", see: leaves("after")},
	"hooks.on_alert":    {value: `["touch", "alert"]`, before: "has not run: hook pre-backup failed", after: "has run", see: leaves("alert")},
	"hooks.timeout": {value: `"1s"`, before: "<nil>", after: "took longer than 1s", see: func(r *reloadRig) string {
		r.reload(map[string]string{"hooks.pre_backup": `["sleep", "1.2"]`})
		return backsUp(r)
	}},
	"recall.words_weight":      {value: "2", before: "0.409 both", after: "0.545 both", see: recalled},
	"recall.vectors_weight":    {value: "3", before: "0.545", after: "0.682", see: recalled},
	"recall.importance_weight": {value: "1", before: "0.682", after: "0.909", see: recalled},
	"recall.decay_half_life":   {value: `"0s"`, before: "old 0.455", after: "old 0.909", see: recalled},
	"recall.diversity":         {value: "0", before: "second: a pond", after: "second: roses", see: recalled},
	"recall.min_similarity":    {value: "1", before: "both", after: "words", see: recalled},
	"recall.merge_similarity": {value: "0.5", before: "2 facts", after: "1 facts", see: func(r *reloadRig) string {
		owner := nuid.Next()
		for _, text := range []string{"tea is drunk in the old garden house", "tea is drunk in the old garden houses"} {
			r.remember(bus.RecallAdd{ID: nuid.Next(), Owner: owner, Text: text})
		}
		page, err := bus.RecallList.Ask(r.Context(), r.conn, bus.RecallPageQuery{Owner: owner})
		return fmt.Sprint(len(page.Entries), " facts, ", err)
	}},
	"log.level": {value: `"warn"`, before: "info", after: "warn", see: func(r *reloadRig) string {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.level
	}},
}

// remember has a fact kept, and its vector made.
func (r *reloadRig) remember(q bus.RecallAdd) {
	r.Helper()
	q.Source = bus.RecallModel
	if _, err := bus.RecallKeep.Ask(r.Context(), r.conn, q); err != nil {
		r.Fatal(err)
	}
	r.eventually("the vector", func() string {
		st, err := bus.RecallGet.Ask(r.Context(), r.conn, bus.RecallStatusQuery{})
		return fmt.Sprint(st.Pending, " to be made, ", err)
	}, "0 to be made, <nil>")
}

// recalled is what searches answer, by the weights there are.
func recalled(r *reloadRig) string {
	for i, text := range []string{"roses grow in the garden here", "in the garden here grow roses too", "the garden has a pond"} {
		r.remember(bus.RecallAdd{ID: fmt.Sprint("garden-", i), Owner: "gardener", Text: text})
	}
	r.remember(bus.RecallAdd{ID: "young", Owner: "young", Text: "the parcel waits", Importance: 1})
	r.remember(bus.RecallAdd{ID: "old", Owner: "old", Text: "the parcel waits", Importance: 1, At: time.Now().Add(-180 * 24 * time.Hour)})
	find := func(owner, text string) []bus.RecallHit {
		out, err := bus.RecallSearch.Ask(r.Context(), r.conn, bus.RecallQuery{Owner: owner, Text: text, Limit: 2})
		if err != nil || len(out.Hits) == 0 {
			r.Fatalf("%+v, %v", out, err)
		}
		return out.Hits
	}
	young, old, garden := find("young", "parcel"), find("old", "parcel"), find("gardener", "roses in the garden")
	second := "roses"
	if strings.Contains(garden[len(garden)-1].Text, "pond") {
		second = "a pond"
	}
	return fmt.Sprintf("%.3f %s, old %.3f, second: %s", young[0].Score, young[0].By, old[0].Score, second)
}

// residentMiB is what this process takes.
func residentMiB(t *testing.T) int {
	t.Helper()
	var size, resident int
	data, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(data), &size, &resident)
	}
	if err != nil {
		t.Fatal(err)
	}
	return resident * os.Getpagesize() >> 20
}

// What is marked as live is what really changes, key by key.
func TestLiveKeysTakeEffect(t *testing.T) {
	keys := config.LiveKeys(Defaults())
	slices.SortStableFunc(keys, func(a, b string) int { // memory's last: under pressure no backup is begun
		return strings.Index(a, "memory.") - strings.Index(b, "memory.")
	})
	for key := range liveCases {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is not marked as live", key)
		}
	}
	r := newReloadRig(t, map[string]string{"memory.limit_mb": strconv.Itoa(max(200, 4*residentMiB(t))), // more than 11 and less than 98 % are taken
		"memory.warn_percent": "98", "memory.critical_percent": "99", "hooks.post_start": `["false"]`})
	prompt := filepath.Join(t.TempDir(), "prompt.md")
	if err := os.WriteFile(prompt, []byte("Rhyme."), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		c, ok := liveCases[key]
		if !ok {
			t.Errorf("%s is marked as live, and nothing here shows that it is", key)
			continue
		}
		r.T = t
		r.eventually(key+" before", func() string { return c.see(r) }, c.before)
		if c.before == c.after {
			t.Fatalf("%s: nothing would show", key)
		}
		out := r.reload(map[string]string{key: strings.Replace(c.value, "prompt.md", prompt, 1)})
		if len(out.Problems)+len(out.Restart) > 0 || len(out.Changed) == 0 || !strings.HasPrefix(out.Changed[0], key) {
			t.Fatalf("%s: %+v", key, out)
		}
		r.eventually(key+" after", func() string { return c.see(r) }, c.after)
	}
}

// A turn is refused once the budget is lowered, and answered once it is raised again.
func TestReloadedLimitRefusesTheNextTurn(t *testing.T) {
	r := newReloadRig(t, nil)
	if m := say(t, r.conn, "hello"); m.State != bus.StateAnswered {
		t.Fatalf("%+v", m)
	}
	r.reload(map[string]string{"cost.daily_usd": "0.000001"})
	if m := say(t, r.conn, "hello again"); m.State != bus.StateFailed || m.Error != bus.CodeBudget {
		t.Fatalf("over the budget: %+v", m)
	}
	r.reload(map[string]string{"cost.daily_usd": "5"})
	if m := say(t, r.conn, "and now?"); m.State != bus.StateAnswered {
		t.Fatalf("within the budget: %+v", m)
	}
}

// A broken file changes nothing, and all of it is told, with its places; what needs a
// restart is named until it is undone. All of it is a fact, which has no values.
func TestReload(t *testing.T) {
	r := newReloadRig(t, map[string]string{"anthropic.api_key": `"sesame-the-first"`})
	if out := r.reload(nil); len(out.Changed)+len(out.Restart)+len(out.Problems) > 0 {
		t.Fatalf("nothing is new: %+v", out)
	}
	good := maps.Clone(r.set)
	out := r.reload(map[string]string{"cost.daily_usd": "3", "gateway.lisen": "1", "log.level": `"loud"`, "agent.provider": `"groq/some"`})
	if len(out.Problems) < 3 || len(out.Changed)+len(out.Restart) > 0 {
		t.Fatalf("a broken file: %+v", out)
	}
	for _, p := range out.Problems {
		if p.Name != r.file || p.Line == 0 || p.Column == 0 || p.Message == "" {
			t.Errorf("%+v", p)
		}
	}
	if got := limits(r); !strings.HasPrefix(got, "$5.00") {
		t.Errorf("a broken file counts: %s", got)
	}
	r.set = good
	out = r.reload(map[string]string{"cost.daily_usd": "3", "gateway.listen": `"127.0.0.1:3999"`, "anthropic.api_key": `"sesame-the-second"`})
	if fmt.Sprint(out.Changed, out.Restart) != "[cost.daily_usd] [anthropic.api_key gateway.listen]" {
		t.Errorf("%+v", out)
	}
	out = r.reload(nil)
	if fmt.Sprint(out.Changed, out.Restart) != "[] [anthropic.api_key gateway.listen]" {
		t.Errorf("again: %+v", out)
	}
	keep(t, r.conn, "anthropic.api_key", "sesame-the-third")
	out = r.reload(map[string]string{"gateway.listen": `"127.0.0.1:0"`})
	if len(out.Restart)+len(out.Problems) > 0 {
		t.Errorf("undone, and in the vault: %+v", out)
	}
	var text strings.Builder
	r.eventually("the facts", func() string {
		text.Reset()
		for _, e := range r.events() {
			fmt.Fprintf(&text, "%s %s\n", e.Event, e.Payload)
		}
		return text.String()
	}, `"changed":[],"restart":["anthropic.api_key","gateway.listen"]`)
	for _, want := range []string{"evt.config.refused", "evt.config.reloaded", `"changed":["cost.daily_usd"],"restart":["anthropic.api_key","gateway.listen"]`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in %s", want, &text)
		}
	}
	for _, place := range []string{text.String(), r.log.String()} {
		if strings.Contains(place, "sesame") || strings.Contains(text.String(), "3999") {
			t.Errorf("a value is told: %s", place)
		}
	}
}

// A price that a model of this start needs cannot go while the model stays.
func TestReloadMustFitWhatStays(t *testing.T) {
	r := newReloadRig(t, map[string]string{"agent.model": `"mine"`, "cost.prices": `{ mine = { free = true }, other = { free = true } }`})
	out := r.reload(map[string]string{"agent.model": `"other"`, "cost.prices": `{ other = { free = true } }`})
	if len(out.Problems) != 1 || !strings.Contains(out.Problems[0].Message, "restart") {
		t.Fatalf("%+v", out)
	}
	if m := say(t, r.conn, "hello"); m.State != bus.StateAnswered {
		t.Errorf("%+v", m)
	}
}

// A signal does the same as the call, and tells in the log what came of it.
func TestHangupReloads(t *testing.T) {
	r := newReloadRig(t, nil)
	r.set["cost.daily_usd"] = "3"
	r.write()
	r.hangup <- struct{}{}
	r.eventually("the limit", func() string { return limits(r) }, "$3.00 ")
	r.set["cost.daily_usd"] = "-3"
	r.write()
	r.hangup <- struct{}{}
	r.eventually("the log", r.log.String, "nothing has changed")
	if got := limits(r); !strings.HasPrefix(got, "$3.00 ") {
		t.Error(got)
	}
}

// A daemon that was given its configuration in code has nothing to read.
func TestReloadWithoutSources(t *testing.T) {
	c := daemon(t, func(*Config) {})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := bus.ConfigReload.Ask(ctx, c, bus.ReloadRequest{}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Error(err)
	}
}

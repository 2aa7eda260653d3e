// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
)

// tool runs promtool.
func tool(t *testing.T, input []byte, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "promtool"), args...)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

// Prometheus's own tool likes the configurations and the rules, and each alert fires
// when it should.
func TestPromtool(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, nil, "check", "config", "prometheus/prometheus.yml")
	tool(t, nil, "check", "config", configured(t, "prometheus-token.yml", "/etc/prometheus/blufio.token", token))
	tool(t, nil, "check", "rules", "prometheus/blufio.recording.yml", "prometheus/blufio.alerts.yml")
	fixtures, err := filepath.Glob("prometheus/*.test.yml")
	if err != nil || len(fixtures) == 0 {
		t.Fatalf("%d fixtures, %v", len(fixtures), err)
	}
	tool(t, nil, append([]string{"test", "rules"}, fixtures...)...)
}

// api asks Prometheus.
type api struct{ url string }

// ask puts the answer's data into data, and fails the test for an error or a warning.
func (a api) ask(t *testing.T, path string, query url.Values, data any) {
	t.Helper()
	_, body := fetch(t, a.url+"/api/v1/"+path+"?"+query.Encode())
	answer := struct {
		Status, Error string
		Warnings      []string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v: %s", path, err, body)
	}
	if answer.Status != "success" || len(answer.Warnings) > 0 {
		t.Errorf("%s %s: %s %v", path, query, answer.Error, answer.Warnings)
	}
}

// series counts what an expression gives, and what of it is a number.
func (a api) series(t *testing.T, expr string) (all, numbers int) {
	t.Helper()
	var data struct {
		ResultType string
		Result     []struct{ Value [2]any }
	}
	a.ask(t, "query", url.Values{"query": {expr}}, &data)
	if data.ResultType != "vector" {
		t.Errorf("%s is a %s", expr, data.ResultType)
	}
	for _, s := range data.Result {
		if s.Value[1] != "NaN" {
			numbers++
		}
	}
	return len(data.Result), numbers
}

// rule is one, as Prometheus knows it.
type rule struct{ Name, Query, Type, Health, LastError, State string }

func (a api) rules(t *testing.T) (all []rule) {
	t.Helper()
	var data struct{ Groups []struct{ Rules []rule } }
	a.ask(t, "rules", nil, &data)
	for _, g := range data.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// busy is a daemon that people talk to, by Telegram and HTTP, with a model that costs
// money and uses tools, until the function it returns is called.
func busy(t *testing.T) (*daemon, func()) {
	t.Helper()
	const person = 1001
	bot, model := fakebot.Start(t), fakellm.NewOpenAI(t)
	model.Reply(func(q fakellm.Question) fakellm.Answer {
		if len(q.Results) == 0 {
			return fakellm.Uses(fakellm.Call{Name: "remember", Arguments: `{"text":"the boiler code is 4711"}`})
		}
		return fakellm.Says("I ", "noted ", "it.")
	})
	d := startWith(t, func(o *serve.Options) {
		c := &o.Config
		o.Memory = measured()
		c.Agent.Provider, c.OpenAI.BaseURL, c.Agent.Model = []string{"openai"}, model.URL(), "gpt-4o-mini"
		c.Telegram.APIURL, c.Telegram.BotToken, c.Telegram.Allow = bot.URL(), config.NewSecret(bot.Token()), []int64{person}
	})
	if d.first = kept(t, d); len(d.first) < 500 {
		t.Errorf("only %d series at the first scrape", len(d.first))
	}
	token, over := strings.TrimSpace(d.blufio(t, "token")), make(chan struct{})
	var people sync.WaitGroup
	for who := range 3 {
		people.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				case <-time.After(20 * time.Millisecond): // no faster than that: others use the machine too
				}
				message := fmt.Sprintf(`{"session":"%d-%d","text":"keep the boiler code"}`, who, n%20)
				code, body, err := request(context.WithoutCancel(t.Context()), http.MethodPost, "http://"+d.address+"/v1/messages?wait=10s", token, message)
				if err != nil || code/100 != 2 {
					t.Errorf("%d %s %v", code, body, err)
					return
				}
				if n%20 == 0 {
					bot.Say(person, "keep the boiler code")
				}
			}
		})
	}
	stop := sync.OnceFunc(func() { close(over); people.Wait() })
	t.Cleanup(stop)
	return d, stop
}

// except is what of all is not in some.
func except(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// kept are the series of blufio's own that a daemon shows now, sorted.
func kept(t *testing.T, d *daemon) (all []string) {
	t.Helper()
	_, page := fetch(t, "http://"+d.address+"/metrics")
	for line := range strings.Lines(string(page)) {
		if name := line[:strings.LastIndexByte(line, ' ')]; strings.HasPrefix(name, "blufio_") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// mayBeEmpty are queries of the dashboard that give nothing in a daemon that is well.
var mayBeEmpty = map[string]string{"Starts": "it shows restarts"}

// A real Prometheus scrapes a daemon under load. It evaluates every rule without an
// error and every query of the dashboard to numbers; nothing is wrong, so no alert is
// even pending. All that went on has added no series, and taken none. Then the daemon is gone, and one is.
func TestUnderLoad(t *testing.T) {
	program(t, "prometheus")
	d, stop := busy(t)
	p := api{watch(t, configured(t, "prometheus.yml", "127.0.0.1:3000", d.address, "_interval: 15s", "_interval: 1s"))}
	eventually(t, 25*time.Second, func() string {
		for _, r := range p.rules(t) {
			if r.Type == "recording" {
				if _, n := p.series(t, r.Name); n == 0 {
					return r.Name + " has no number"
				}
			}
		}
		return ""
	})
	rules := p.rules(t)
	if want := len(alerts(t)) + len(record.FindAllString(read(t, "prometheus/blufio.recording.yml"), -1)); len(rules) != want {
		t.Errorf("%d rules are evaluated, of %d", len(rules), want)
	}
	for _, r := range rules {
		if p.series(t, r.Query); r.Health != "ok" || r.LastError != "" || r.Type == "alerting" && r.State != "inactive" {
			t.Errorf("%+v", r)
		}
	}
	if n, _ := p.series(t, "blufio_agent_provider_up"); n != 1 {
		t.Errorf("one provider is configured, and %d may answer: BlufioNoProvider would not fire", n)
	}
	for _, q := range queries(t) {
		expr := strings.NewReplacer("$__rate_interval", "15s", "$instance", ".+").Replace(q.expr)
		if all, numbers := p.series(t, expr); numbers == 0 && mayBeEmpty[q.panel] == "" {
			t.Errorf("%s: %d series, and none has a number: %s", q.panel, all, expr)
		}
	}
	eventually(t, 10*time.Second, func() string { // one is a reading of up to a second ago
		if n, _ := p.series(t, "abs(blufio_memory_rss_bytes / process_resident_memory_bytes - 1) < 0.25"); n != 1 {
			return "what the governor measures is not the process"
		}
		return ""
	})
	_, scrape := fetch(t, "http://"+d.address+"/metrics")
	tool(t, scrape, "check", "metrics")
	stop()
	if last := kept(t, d); !slices.Equal(d.first, last) {
		t.Errorf("new series:\n%s\nseries that are gone:\n%s", strings.Join(except(last, d.first), "\n"), strings.Join(except(d.first, last), "\n"))
	}
	d.stop()
	eventually(t, 10*time.Second, func() string {
		for _, r := range p.rules(t) {
			if r.Name == "BlufioDown" && r.State == "pending" {
				return ""
			}
		}
		return "nobody noticed that the daemon is gone"
	})
}

// Behind a proxy a scrape needs a token, and the configuration with one has it.
func TestScrapeWithToken(t *testing.T) {
	t.Parallel()
	program(t, "prometheus")
	d := start(t, func(c *serve.Config) { c.Gateway.BehindProxy = true })
	if code, _ := fetch(t, "http://"+d.address+"/metrics"); code != http.StatusUnauthorized {
		t.Errorf("without a token the answer is %d", code)
	}
	token := filepath.Join(t.TempDir(), "token")
	text := d.blufio(t, "token", "issue", "--scope", "metrics", "--subject", "prometheus", "--name", "prometheus", "--expires", "365d")
	if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := api{watch(t, configured(t, "prometheus-token.yml", "scheme: https", "scheme: http", // the proxy would add TLS
		"blufio.example.org:443", d.address, "/etc/prometheus/blufio.token", token, "_interval: 15s", "_interval: 1s"))}
	eventually(t, 20*time.Second, func() string {
		if n, _ := p.series(t, `up{job="blufio"} == 1`); n == 0 {
			return "the daemon is not scraped"
		}
		return ""
	})
}

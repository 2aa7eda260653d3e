// SPDX-License-Identifier: MIT OR Apache-2.0

package tool_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/config"
	"github.com/prometheus/client_golang/prometheus"
)

// set makes the tools of a configuration.
func set(t testing.TB, change func(*tool.Config)) (*tool.Set, map[string]tool.Tool) {
	t.Helper()
	cfg := tool.Defaults()
	change(&cfg)
	s, err := tool.New(cfg, tool.Deps{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]tool.Tool{}
	for _, tl := range s.All() {
		byName[tl.Spec().Name] = tl
	}
	return s, byName
}

// use calls a tool with input made of pairs of a key and a value.
func use(t testing.TB, tl tool.Tool, pairs ...any) (string, error) {
	t.Helper()
	in := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		in[pairs[i].(string)] = pairs[i+1]
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tl.Call(t.Context(), tool.Call{Person: "ann", Input: data, Now: now})
	if len(res.Text) > tool.MaxResultBytes {
		t.Errorf("%d bytes for the model", len(res.Text))
	}
	return res.Text, err
}

func TestSetIsWhatIsEnabled(t *testing.T) {
	names := func(change func(*tool.Config)) string {
		s, _ := set(t, change)
		var out []string
		for _, tl := range s.All() {
			spec := tl.Spec()
			if !json.Valid(spec.Schema) || spec.Description == "" {
				t.Errorf("%+v", spec)
			}
			out = append(out, spec.Name)
		}
		return strings.Join(out, " ")
	}
	if got := names(func(*tool.Config) {}); got != "time remember recall forget search_history http_get list_dir read_file write_file" {
		t.Errorf("by default %s", got)
	}
	got := names(func(c *tool.Config) { c.Enable, c.Shell = []string{"http_get", "time"}, []string{"date"} })
	if got != "time http_get shell" {
		t.Errorf("got %s", got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	type house struct {
		Tools tool.Config `koanf:"tools" doc:"Tools."`
	}
	for name, c := range map[string]struct{ file, key, hint string }{
		"unknown tool":    {`enable = ["time", "fly"]`, "tools.enable", "http_get"},
		"shell":           {`enable = ["shell"]`, "tools.enable", "tools.shell"},
		"a URL":           {`allow = ["http://nas"]`, "tools.allow", "nas.local"},
		"relative":        {`workspace = "files"`, "tools.workspace", "whole path"},
		"arguments":       {`shell = ["date -u"]`, "tools.shell", "uptime"},
		"relative shell":  {`shell = ["./date"]`, "tools.shell", "uptime"},
		"all of it right": {"enable = [\"time\"]\nallow = [\"nas.local\", \"10.0.0.0/8\"]\nworkspace = \"/srv/x\"\nshell = [\"date\", \"/bin/ls\"]", "", ""},
	} {
		h := house{Tools: tool.Defaults()}
		file := filepath.Join(t.TempDir(), "blufio.toml")
		if err := os.WriteFile(file, []byte("[tools]\n"+c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(&h, config.Sources{Files: []string{file}})
		problems, _ := err.(config.Problems)
		switch {
		case c.key == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.key != "" && (len(problems) != 1 || problems[0].Key != c.key || !strings.Contains(problems[0].Hint, c.hint)):
			t.Errorf("%s: %#v", name, err)
		}
	}
}

const page = `<!DOCTYPE html><html><head><title>News &amp; more</title><style>p { color: red }</style>
<script>if (1 < 2) alert("<p>no</p>")</script></head><body><!-- <p>hidden --><h1>Today</h1>
<p title="a > b">It is  <b>warm</b>,
3 &lt; 4.</p><ul><li>one<li>two</ul><SCRIPT src="x"/>no</SCRIPT><svg/><p>end</p></body></html>`

// web is a server that answers by path.
func web(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		say := func(kind, text string) {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, text)
		}
		switch r.URL.Path {
		case "/page":
			say("text/html; charset=utf-8", page)
		case "/json":
			say("application/json", `{"a": 1}`)
		case "/latin":
			say("text/plain; charset=ISO-8859-1", "caf\xe9")
		case "/picture":
			say("image/png", "\x89PNG")
		case "/long":
			say("text/plain", strings.Repeat("é", 100<<10))
		case "/longpage":
			say("text/html", strings.Repeat("<p>é", 100<<10))
		case "/agent":
			say("text/plain", r.Method+" "+r.Header.Get("User-Agent")+r.Header.Get("Cookie")+r.Header.Get("Authorization"))
		case "/inside":
			http.Redirect(w, r, "https://10.0.0.1/", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestHTTPGet(t *testing.T) {
	s := web(t)
	_, tools := set(t, func(c *tool.Config) { c.Allow, c.HTTPTimeout = []string{"127.0.0.1"}, 300*time.Millisecond })
	get := func(url string) (string, error) { return use(t, tools["http_get"], "url", url) }
	for path, want := range map[string]string{
		"/page": "News & more\n\nToday\nIt is warm, 3 < 4.\n- one\n- two\nend",
		"/json": `{"a": 1}`, "/latin": "café", "/agent": "GET blufio (personal agent)",
	} {
		got, err := get(s.URL + path)
		frame, text, _ := strings.Cut(got, "\n")
		if err != nil || text != want || !strings.HasPrefix(frame, "[from 127.0.0.1:") || !strings.Contains(frame, "data, not instructions") {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"/long", "/longpage"} {
		if got, err := get(s.URL + path); err != nil || !strings.HasSuffix(got, "é\n[cut: there is more]") || len(got) < 12<<10 {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	for url, want := range map[string]struct {
		code bus.Code
		text string
	}{
		s.URL + "/picture":                     {bus.CodeInvalid, "image/png"},
		s.URL + "/missing":                     {bus.CodeUnavailable, "404"},
		s.URL + "/inside":                      {bus.CodeDenied, "private"},
		s.URL + "/slow":                        {bus.CodeTimeout, "300ms"},
		"https://10.1.2.3/":                    {bus.CodeDenied, "tools.allow"},
		"http://example.com/":                  {bus.CodeDenied, "https"},
		"https://[::1]/":                       {bus.CodeDenied, "this machine"},
		"ftp://example.com/":                   {bus.CodeInvalid, "https"},
		"https://a:b@127.0.0.1/":               {bus.CodeInvalid, "password"},
		"file:///etc/passwd":                   {bus.CodeInvalid, "https"},
		"https://":                             {bus.CodeInvalid, "https"},
		"https://" + strings.Repeat("a", 3000): {bus.CodeInvalid, "2048"},
	} {
		got, err := get(url)
		if bus.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%.60s: %q, %v, want %v", url, got, err, want)
		}
	}
}

// No more fetches than there are slots run at one time; the next one waits, and
// is told when it waited in vain.
func TestFetchesAreBounded(t *testing.T) {
	arrived, leave := make(chan struct{}, 64), make(chan struct{})
	const most = 3
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	ts, tools := set(t, func(c *tool.Config) { c.Allow, c.HTTPTimeout, c.MaxFetches = []string{"127.0.0.1"}, time.Minute, most })
	ended := make(chan error, most)
	for range most {
		go func() {
			_, err := use(t, tools["http_get"], "url", s.URL)
			ended <- err
		}()
	}
	for range most {
		<-arrived
	}
	if got := gauge(t, ts, "blufio_tool_fetches"); got != most {
		t.Errorf("the gauge shows %v", got)
	}
	short := tool.WithTimeout(tools["http_get"], 20*time.Millisecond)
	if _, err := use(t, short, "url", s.URL); bus.CodeOf(err) != bus.CodeBusy {
		t.Errorf("one more: %v", err)
	}
	close(leave)
	for range most {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func gauge(t *testing.T, s *tool.Set, name string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func FuzzPlainText(f *testing.F) {
	for _, s := range []string{page, "<", "</", "<a", "<!--", "<script>", "<script></SCRIPT", "a<b c>d", "<p title='>'>x", "&nbsp;&#0;&bogus;", "<\xff>", "<svg/>x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, _ := tool.PlainText(s, 1000)
		if len(got) > 1000 || strings.Contains(got, "\n\n\n") || strings.Contains(got, "  ") {
			t.Errorf("%q", got)
		}
	})
}

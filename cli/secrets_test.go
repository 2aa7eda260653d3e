// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/serve"
)

// Secrets are everywhere in this daemon: in its configuration, its environment, a
// flag, what a person writes, what models and Telegram answer, a file that a tool
// reads, requests with a wrong token. None of them may be in anything that comes out,
// as it is or encoded, but for the text of the person's own message in the database.
//
// So that the search cannot pass because nothing was there, each is planted beside a
// mark, and the marks have to be found.
func TestPlantedSecretsDoNotGetOut(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			p := plant(t, format)
			p.talk()
			p.look()
			p.stop()
			p.search()
		})
	}
}

const (
	fileKey   = `sk-ant-file/"quoted"&<odd>\key%41`
	envKey    = "sk-env-0123456789abcdef0123"
	flagKey   = "gsk-flag-abcdefghijklmnop"
	vaultWord = "correct horse/battery+staple"
	proxyWord = "proxy-pass-0815"
	botToken  = "4242:AAtelegram-bot-token-x"
	badToken  = "wrong-token-but-somebodys-secret"
	person    = 1001
)

// planted is a daemon full of secrets, and what came out of it.
type planted struct {
	t       *testing.T
	dir     string
	environ []string
	secrets map[string]string // name to text
	llm     *fakellm.OpenAI
	claude  *fakellm.Anthropic
	bot     *fakebot.Bot
	cmd     *exec.Cmd
	stderr  *bytes.Buffer // of the daemon; read it after stop
	info    serve.Info
	token   string
	out     map[string]string // name to what came out there
}

// plant starts it. The binary of the test is the program; see TestMain.
func plant(t *testing.T, format string) *planted {
	p := &planted{t: t, dir: t.TempDir(), llm: fakellm.NewOpenAI(t), claude: fakellm.NewAnthropic(t), bot: fakebot.Start(t), stderr: &bytes.Buffer{}, out: map[string]string{},
		secrets: map[string]string{"file": fileKey, "environment": envKey, "flag": flagKey, "vault": vaultWord, "proxy": proxyWord, "bot": botToken, "bad token": badToken}}
	p.bot.SetToken(botToken)
	toml := fmt.Sprintf("[anthropic]\napi_key = %s\nbase_url = %q\n[telegram]\nbot_token = %q\napi_url = %q\nallow = [%d]\n[agent]\nprovider = [\"openai/gpt-4o-mini\", \"anthropic\"]\n",
		"'"+fileKey+"'", p.claude.URL(), botToken, p.bot.URL(), person)
	p.environ = []string{"HOME=" + p.dir, "BLUFIO_DATA_DIR=" + filepath.Join(p.dir, "data"), "BLUFIO_CONFIG=" + p.write("blufio.toml", toml),
		"BLUFIO_GATEWAY__LISTEN=127.0.0.1:0", "BLUFIO_BUS__LISTEN=127.0.0.1:0", "BLUFIO_MEMORY__LIMIT_MB=2000", "BLUFIO_BUS__EVENTS_TEXT=true",
		"BLUFIO_GATEWAY__MAX_AUTH_DELAY=10ms", "BLUFIO_LOG__LEVEL=debug", "BLUFIO_LOG__FORMAT=" + format, "BLUFIO_OPENAI__API_KEY=" + envKey, "BLUFIO_OPENAI__BASE_URL=" + p.llm.URL(),
		"BLUFIO_VAULT_KEY=" + vaultWord, "HTTPS_PROXY=http://user:" + proxyWord + "@127.0.0.1:1"}
	p.write("data/workspace/notes.txt", p.text("FILE"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Args = []string{"blufio", "serve", "--set", "groq.api_key=" + flagKey}
	p.cmd.Env, p.cmd.Stderr, p.cmd.Stdout, p.cmd.Dir = p.environ, p.stderr, p.stderr, p.dir
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
			t.Logf("the daemon said\n%s", p.stderr)
		}
	})
	p.command("health", "health", "--wait", "30s")
	if p.info, err = serve.ReadInfo(filepath.Join(p.dir, "data")); err != nil {
		t.Fatal(err)
	}
	p.secrets["device key"] = strings.TrimSpace(p.read("data/device.nk"))
	p.token = strings.TrimSpace(p.command("", "token", "issue", "--scope", "chat,status,metrics,admin"))
	p.secrets["gateway token"] = p.token
	return p
}

func (p *planted) write(name, text string) string {
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *planted) read(name string) string {
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// text has every secret that is known before the start in it, behind a mark.
func (p *planted) text(mark string) string {
	all := "MARK-" + mark + " "
	for _, name := range []string{"file", "environment", "flag", "vault", "proxy", "bot"} {
		all += p.secrets[name] + " "
	}
	return all
}

// command runs a command of the program and keeps what it says under a name.
func (p *planted) command(name string, args ...string) string {
	p.t.Helper()
	var out, errs bytes.Buffer
	code := Main(args, strings.NewReader(""), &out, &errs, p.environ)
	if name == "" && code != 0 || name == "health" && code != 0 {
		p.t.Fatalf("%v: exit code %d: %s%s", args, code, &out, &errs)
	}
	if name != "" {
		p.out[name] += out.String() + errs.String()
	}
	return out.String()
}

// request asks the gateway and keeps its answer.
func (p *planted) request(name, method, path, token, body string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, p.info.Gateway+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.out[name] += fmt.Sprint(resp.Status, resp.Header, string(data), "\n")
	return string(data)
}

// say sends a message by the gateway and waits for the answer.
func (p *planted) say(text string) string {
	body, err := json.Marshal(map[string]string{"text": text, "session": "main"})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.request("replies", "POST", "/v1/messages?wait=15s", p.token, string(body))
}

// talk lets everybody say secrets.
func (p *planted) talk() {
	// A person writes one, and a model uses tools that come upon them.
	p.llm.Script(fakellm.Uses(fakellm.Call{Name: "read_file", Arguments: `{"path":"notes.txt"}`}, fakellm.Call{Name: "read_file", Arguments: `{"path":"` + envKey + `"}`},
		fakellm.Call{Name: "http_get", Arguments: `{"url":"https://127.0.0.1:1/?key=` + envKey + `"}`}, fakellm.Call{Name: "http_get", Arguments: `{"url":"https://u:` + flagKey + `@127.0.0.1:1/"}`}),
		fakellm.Says("Done."))
	p.say("MARK-TYPED my key is " + envKey)
	asked := p.llm.Requests()
	messages := asked[len(asked)-1].Messages
	last, err := json.Marshal(messages[len(messages)-4:]) // before them the person's own, and the model's calls
	if err != nil {
		p.t.Fatal(err)
	}
	p.out["tool results"] = string(last)
	// Vendors repeat keys, their own and others', in every kind of refusal.
	refuse := func(status int, text string) {
		a := fakellm.Fails(status, "some_error", text)
		a.Header = http.Header{"X-Key": {envKey}, "Retry-After": {"0"}}
		p.llm.Always(a)
		if status < 500 { // that one is tried again
			p.claude.Always(a)
		}
		p.say(fmt.Sprintf("%d, please", status))
	}
	refuse(400, "MARK-URL /?k="+url.QueryEscape(fileKey)+"&b="+base64.StdEncoding.EncodeToString([]byte("x:"+fileKey)))
	for _, status := range []int{400, 401, 403, 404, 422, 500} {
		refuse(status, p.text(fmt.Sprint(status)))
	}
	p.llm.Always(fakellm.Answer{Refusal: p.text("REFUSAL"), Usage: &fakellm.Usage{Prompt: 1, Completion: 1}})
	p.say("refuse")
	p.llm.Always(fakellm.Says("Fine."))
	p.telegram()
	// Strangers try tokens that may be somebody's elsewhere.
	for _, path := range []string{"/v1/sessions", "/v1/messages/" + envKey, "/metrics", "/v1/chat/completions"} {
		p.request("denials", "GET", path, badToken, "")
		p.request("denials", "GET", path, "", "")
		p.request("denials", "GET", path, p.token+"x", "")
	}
	p.request("errors", "GET", "/v1/messages/"+url.PathEscape("nothing"), p.token, "")
	p.request("errors", "POST", "/v1/chat/completions", p.token, `{"model":"none"}`)
}

// telegram refuses with the token in its words, then takes part in a conversation.
func (p *planted) telegram() {
	fault := fakebot.Fault{Code: 400, Description: p.text("TELEGRAM") + "POST " + p.bot.URL() + "/bot" + botToken + "/sendMessage"}
	p.bot.Fail("sendMessage", fault, fault)
	p.bot.Fail("getUpdates", fakebot.Fault{Code: 500, Description: p.text("POLL") + p.bot.URL() + "/bot" + botToken})
	p.bot.Say(person, "hello from MARK-CHAT")
	// Two are there because the answer may be shown before it is sent. It is given up then.
	bustest.Eventually(p.t, "a reply is given up", func() bool { return strings.Contains(p.command("", "queue", "list"), "MARK-TELEGRAM") })
}

// look asks for everything that there is to see.
func (p *planted) look() {
	p.command("status", "status")
	p.command("status", "status", "--json")
	for _, section := range []string{"agent", "anthropic", "openai", "groq", "telegram", "gateway", "tools", "bus", "log", "daemon"} {
		p.command("config get", "config", "get", section)
		p.command("config get", "config", "get", section, "--json")
	}
	p.command("config get", "config", "get", "openai.api_key")
	p.command("config", "config", "validate")
	p.command("config", "config", "validate", "--json")
	p.command("config", "config", "path", "--json")
	p.command("events", "events", "--no-follow", "--json")
	p.command("events", "events", "--no-follow")
	p.command("queue", "queue", "list", "--json", "--text")
	p.command("cost", "cost", "--json")
	p.command("help", "help", "serve")
	p.command("help", "--help")
	p.command("version", "version", "--json")
	p.request("health", "GET", "/health", "", "")
	p.request("metrics", "GET", "/metrics", p.token, "")
	p.out["daemon.json"] = p.read("data/daemon.json")
	// Another daemon does not start here, and one with a broken file says where, not what.
	p.command("second start", "serve")
	p.command("broken file", "config", "validate", "--config", p.write("broken.toml", "[anthropic]\napi_key = '"+fileKey+"\n[openai]\napi_keys = \""+envKey+"\"\n"))
	p.command("broken file", "config", "validate", "--config", p.write("wrong.toml", "[openai]\napi_key = [\""+envKey+"\"]\n"))
}

func (p *planted) stop() {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the daemon ended with %v", err)
	}
	p.out["log"] = p.stderr.String()
	p.command("last status", "status", "--json")
	p.out["stream"] = p.files("data/events")
	p.out["database"] = p.database()
}

// files are the bytes of all files below a directory.
func (p *planted) files(dir string) string {
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(p.dir, dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return all.String()
}

// database is every cell of it, but for what people typed.
func (p *planted) database() string {
	db, err := sql.Open("sqlite", filepath.Join(p.dir, "data/blufio.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	var all strings.Builder
	for _, table := range p.cells(db, "SELECT name FROM sqlite_schema WHERE type = 'table'") {
		for _, column := range p.cells(db, "SELECT name FROM pragma_table_info('"+table+"')") {
			if table == "message" && column == "text" {
				continue
			}
			fmt.Fprintln(&all, table, column, p.cells(db, fmt.Sprintf("SELECT CAST(%q AS BLOB) FROM %q WHERE %q IS NOT NULL", column, table, column)))
		}
	}
	return all.String()
}

func (p *planted) cells(db *sql.DB, query string) (all []string) {
	rows, err := db.QueryContext(p.t.Context(), query)
	if err != nil {
		p.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var cell []byte
		if err := rows.Scan(&cell); err != nil {
			p.t.Fatal(err)
		}
		all = append(all, string(cell))
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return all
}

// search looks for every secret in everything, and for the marks beside them.
func (p *planted) search() {
	for name, text := range p.out {
		for what, secret := range p.secrets {
			if at := spot(text, secret); at >= 0 {
				p.t.Errorf("%s shows the secret of %s: …%.200q", name, what, text[max(0, at-80):])
			}
		}
		if text == "" {
			p.t.Errorf("%s is empty", name)
		}
	}
	for name, marks := range map[string][]string{
		"replies":      {"MARK-400", "MARK-URL", "MARK-REFUSAL"},
		"tool results": {"MARK-FILE"},
		"log":          {"MARK-400", "MARK-REFUSAL", "MARK-TELEGRAM", "MARK-POLL", "[redacted]"},
		"stream":       {"MARK-TYPED my key is [redacted]", "MARK-400"},
		"events":       {"MARK-TYPED my key is [redacted]", "MARK-400"},
		"queue":        {"MARK-TELEGRAM"},
		"database":     {"MARK-400", "MARK-TELEGRAM"},
		"config get":   {"openai.api_key", "[redacted]"},
	} {
		for _, mark := range marks {
			if !strings.Contains(p.out[name], mark) {
				p.t.Errorf("%s does not have %s in it, so nothing is proved: %.2000s", name, mark, p.out[name])
			}
		}
	}
}

// spot finds a secret in text, as it is or as a URL, JSON, Go or base64 has it; -1 if
// it is not there.
func spot(text, secret string) int {
	quoted, err := json.Marshal(secret)
	if err != nil {
		panic(err)
	}
	ways := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quoted), `"`), strings.Trim(fmt.Sprintf("%q", secret), `"`)}
	for lead := range 3 { // wherever it begins in the encoded text
		ways = append(ways, base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", lead) + secret))[4:len(secret)])
	}
	return slices.Max(slices.Collect(func(yield func(int) bool) {
		for _, way := range ways {
			if !yield(strings.Index(text, way)) {
				return
			}
		}
	}))
}

// The search would find them: in a log that is not redacted, for one.
func TestSpotFindsSecrets(t *testing.T) {
	for _, secret := range []string{fileKey, envKey, vaultWord, botToken} {
		for _, text := range []string{secret, "a " + secret, fmt.Sprintf("%q", "a "+secret), "https://h/?k=" + url.QueryEscape(secret), "https://h/" + url.PathEscape(secret) + "/x",
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte("me:" + secret)), base64.StdEncoding.EncodeToString([]byte("u:" + secret + "!"))} {
			if spot(text, secret) < 0 {
				t.Errorf("%q is not found in %q", secret, text)
			}
		}
		if spot("nothing of [redacted]", secret) >= 0 {
			t.Error("found where it is not")
		}
	}
}

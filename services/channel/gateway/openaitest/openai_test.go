// SPDX-License-Identifier: MIT OR Apache-2.0

package openaitest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/serve"
	"github.com/nats-io/nats.go"
)

// seen is what client.mjs prints.
type seen struct {
	Models []string
	Model  string
	Chat   struct {
		Text, Role, Finish, ID string
		Total                  int
	}
	Stream struct {
		Text   string
		Chunks int
		Finish []string
		Usage  *struct {
			Total int `json:"total_tokens"`
		}
		ID string
	}
	Helper, Remember, Recall, Abort                                string
	UnknownModel, BadToken, BadModel, BadModelStream, Image, Tools failure
}

// failure is an error as the client throws it.
type failure struct {
	Error, Code, Type, Param, Message string
	Status                            int
}

func TestStockClient(t *testing.T) {
	dir := install(t)
	info, device := run(t)
	token := issue(t, info, device)
	got := speak(t, dir, info.Gateway, token)

	if len(got.Models) != 1 || got.Models[0] != "blufio" || got.Model != "model" {
		t.Errorf("models %v, model %q", got.Models, got.Model)
	}
	if c := got.Chat; !strings.Contains(c.Text, "what is this?") || c.Role != "assistant" || c.Finish != "stop" || c.Total == 0 {
		t.Errorf("chat %+v", c)
	}
	if s := got.Stream; s.Text != got.Chat.Text || s.Chunks < 3 || len(s.Finish) != 1 || s.Finish[0] != "stop" || s.Usage == nil || s.Usage.Total != got.Chat.Total {
		t.Errorf("stream %+v", s)
	}
	if got.Helper != got.Chat.Text {
		t.Errorf("helper %q", got.Helper)
	}
	if !strings.Contains(got.Recall, "under the mat") {
		t.Errorf("remember %q, recall %q", got.Remember, got.Recall)
	}
	if text := stored(t, info.Gateway, token, strings.TrimPrefix(got.Abort, "chatcmpl-")); !strings.Contains(text, "nobody waits") {
		t.Errorf("the answer to the message whose stream was aborted: %q", text)
	}
	for name, tt := range map[string]struct{ got, want failure }{
		"unknown model":       {got.UnknownModel, failure{Error: "NotFoundError", Status: 404, Code: "model_not_found", Type: "invalid_request_error", Param: "model"}},
		"bad token":           {got.BadToken, failure{Error: "AuthenticationError", Status: 401, Code: "invalid_api_key", Type: "authentication_error"}},
		"bad model":           {got.BadModel, failure{Error: "NotFoundError", Status: 404, Code: "model_not_found", Type: "invalid_request_error", Param: "model"}},
		"bad model, streamed": {got.BadModelStream, failure{Error: "NotFoundError", Status: 404, Code: "model_not_found", Type: "invalid_request_error", Param: "model"}},
		"image":               {got.Image, failure{Error: "BadRequestError", Status: 400, Code: "unsupported_parameter", Type: "invalid_request_error", Param: "messages[0].content[0].type"}},
		"tools":               {got.Tools, failure{Error: "BadRequestError", Status: 400, Code: "unsupported_parameter", Type: "invalid_request_error", Param: "tools"}},
	} {
		message := tt.got.Message
		if tt.got.Message = ""; tt.got != tt.want || message == "" {
			t.Errorf("%s: %+v %q, want %+v", name, tt.got, message, tt.want)
		}
	}
}

// install makes a copy of the program with its package.
func install(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("CI needs %s: %v", tool, err)
			}
			t.Skipf("the stock client needs %s, which is not installed", tool)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "client.mjs"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command(t, dir, nil, "npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
	return dir
}

// command runs a program for at most two minutes and returns what it printed.
func command(t *testing.T, dir string, env []string, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, append(os.Environ(), env...), &stdout, &stderr, time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// run starts a daemon that ends with the test.
func run(t *testing.T) (serve.Info, *embedded.Device) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	cfg := serve.Defaults()
	cfg.Gateway.Listen, cfg.Bus.Listen, cfg.Memory.LimitMB = "127.0.0.1:0", "127.0.0.1:0", 2000
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan serve.Info, 1), make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Options{Config: cfg, DataDir: dir, Version: "test", Logger: bustest.Logger(t), Ready: func(i serve.Info) { ready <- i }})
	}()
	select {
	case info := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the daemon ended with: %v", err)
			}
		})
		device, err := embedded.LoadDevice(dir)
		if err != nil {
			t.Fatal(err)
		}
		return info, device
	case err := <-ended:
		cancel()
		t.Fatalf("the daemon does not start: %v", err)
	}
	return serve.Info{}, nil // after Fatal
}

// issue asks for a token as the command line does.
func issue(t *testing.T, info serve.Info, device *embedded.Device) string {
	t.Helper()
	nc, err := nats.Connect(info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
	if err != nil {
		t.Fatal(err)
	}
	conn := bus.NewConn(nc, bus.Options{Name: "cli", Says: []bus.Lane{bus.TokenIssue}, Logger: bustest.Logger(t)})
	defer nc.Close()
	token, err := bus.TokenIssue.Ask(t.Context(), conn, bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	return token.Token
}

// speak runs the program and returns what it saw.
func speak(t *testing.T, dir, url, token string) seen {
	t.Helper()
	out := command(t, dir, []string{"BASE_URL=" + url + "/v1", "TOKEN=" + token}, "node", "client.mjs")
	var s seen
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// stored returns the reply to a message once it is there.
func stored(t *testing.T, url, token, id string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/messages/"+id+"?wait=20s", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var m struct{ State, Reply string }
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || m.State != bus.StateAnswered {
		t.Errorf("message %s: %+v, %v", id, m, err)
	}
	return m.Reply
}

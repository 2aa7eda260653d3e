// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// container is a daemon in Docker, with everything closed that can be.
type container struct {
	*testing.T
	name  string
	model *model
	ask   string // address of the model
}

// docker runs a command that has to end well.
func (c *container) docker(args ...string) string {
	c.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		c.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// blufio runs a command of the program in the container.
func (c *container) blufio(args ...string) string {
	c.Helper()
	return c.docker(append([]string{"exec", c.name, "/usr/bin/blufio"}, args...)...)
}

func (c *container) inspect(format string) string {
	c.Helper()
	return c.docker("inspect", "--format", format, c.name)
}

// gateway is where it listens now.
func (c *container) gateway() string {
	c.Helper()
	var at string
	c.await(20*time.Second, "the gateway listens", func() bool {
		logs, _ := exec.Command("docker", "logs", c.name).CombinedOutput()
		if all := regexp.MustCompile(`"msg":"ready".*"gateway":"([^"]+)"`).FindAllSubmatch(logs, -1); len(all) > 0 {
			at = string(all[len(all)-1][1])
		}
		code, _, err := request(http.MethodGet, at+"/health", "", "")
		return err == nil && code == http.StatusOK
	})
	return at
}

func (c *container) await(within time.Duration, what string, true func() bool) {
	c.Helper()
	eventually(c, within, what, true)
}

func (c *container) healthy() {
	c.Helper()
	c.await(30*time.Second, "Docker finds it healthy", func() bool { return c.inspect("{{.State.Health.Status}}") == "healthy" })
}

func request(method, url, token, body string) (code int, text []byte, err error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	var buf bytes.Buffer
	_, err = buf.ReadFrom(resp.Body)
	return resp.StatusCode, buf.Bytes(), err
}

// say hands a message in.
func (c *container) say(at, token, text string) (id string) {
	c.Helper()
	code, body, err := request(http.MethodPost, at+"/v1/messages", token, fmt.Sprintf(`{"session":"main","text":%q}`, text))
	var got message
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	if err != nil || code != http.StatusAccepted {
		c.Fatalf("a message is answered with %d %s (%v)", code, body, err)
	}
	return got.ID
}

func (c *container) answered(at, token, id string) {
	c.Helper()
	c.await(30*time.Second, "message "+id+" is answered", func() bool {
		var got message
		code, text, err := request(http.MethodGet, at+"/v1/messages/"+id, token, "")
		return err == nil && code == http.StatusOK && json.Unmarshal(text, &got) == nil && got.State == "answered"
	})
}

// run starts a container that ends with the test.
func run(t *testing.T) *container {
	t.Helper()
	image := os.Getenv("E2E_IMAGE")
	if image == "" {
		t.Skip("make e2e-docker runs this, as root")
	}
	c := &container{T: t, name: fmt.Sprintf("blufio-e2e-%d", os.Getpid()), model: &model{}}
	vendors, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vendors.Close)
	vendors.OpenAI.Reply(func(q fakellm.Question) fakellm.Answer {
		return fakellm.Says("you said: " + q.Text[:min(40, len(q.Text))])
	})
	c.ask = c.model.before(t, vendors.OpenAI.URL())
	c.docker("run", "--detach", "--name", c.name, "--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--memory=128m", "--memory-swap=128m", "--pids-limit=256", "--health-interval=1s",
		"--env", "BLUFIO_GATEWAY__LISTEN=127.0.0.1:0", "--env", "BLUFIO_BUS__LISTEN=127.0.0.1:0",
		"--env", "BLUFIO_AGENT__PROVIDER=openai", "--env", "BLUFIO_AGENT__MODEL=gpt-4o-mini",
		"--env", "BLUFIO_OPENAI__BASE_URL="+c.ask, "--env", "BLUFIO_OPENAI__API_KEY=sk-planted-planted-planted-planted", image)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", "--tail", "50", c.name).CombinedOutput()
			t.Logf("its log:\n%s", out)
		}
		c.docker("rm", "--force", "--volumes", c.name)
	})
	return c
}

// TestContainer is the journey in Docker.
func TestContainer(t *testing.T) {
	c := run(t)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"small", c.small}, {"health", c.health}, {"stop", c.drains}, {"kill", c.killed}, {"hostile", c.hostile},
	} {
		ok := t.Run(step.name, func(t *testing.T) { c.T = t; step.do() })
		if c.T = t; !ok {
			return
		}
	}
}

// small: nothing is in the image that need not be.
func (c *container) small() {
	size, err := strconv.Atoi(c.docker("image", "inspect", "--format", "{{.Size}}", os.Getenv("E2E_IMAGE")))
	if err != nil {
		c.Fatal(err)
	}
	dir := c.TempDir()
	c.docker("cp", c.name+":/usr/bin/blufio", dir+"/blufio")
	program, err := os.Stat(dir + "/blufio")
	if err != nil {
		c.Fatal(err)
	}
	if more := int64(size) - program.Size(); more > 5<<20 {
		c.Errorf("the image is %d bytes larger than the program", more)
	}
}

func (c *container) health() {
	c.healthy()
	if got := c.blufio("status", "--json"); !strings.Contains(got, `"state":"healthy"`) && !strings.Contains(got, `"state": "healthy"`) {
		c.Errorf("status says %s", got)
	}
	if got := c.docker("top", c.name, "-o", "pid,uid,comm"); !regexp.MustCompile(`(?m)^ *\d+ +65532 +blufio$`).MatchString(got) {
		c.Errorf("it runs as\n%s", got)
	}
	at, token := c.gateway(), c.blufio("token")
	c.answered(at, token, c.say(at, token, "hello"))
}

// drains: docker stop lets a turn be finished, and is over in time.
func (c *container) drains() {
	at, token := c.gateway(), c.blufio("token")
	letGo := c.model.hold()
	id := c.say(at, token, "one more thing")
	c.await(10*time.Second, "the model is asked", func() bool { return c.model.waiting() > 0 })
	done := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		out, err := exec.Command("docker", "stop", c.name).CombinedOutput()
		if err != nil {
			c.Errorf("docker stop: %v\n%s", err, out)
		}
		done <- time.Since(began)
	}()
	c.await(10*time.Second, "it is told to stop", func() bool {
		out, _ := exec.Command("docker", "logs", "--tail", "20", c.name).CombinedOutput()
		return strings.Contains(string(out), `"msg":"stopping`)
	})
	letGo()
	if took := <-done; took > 10*time.Second {
		c.Errorf("docker stop took %s, and Docker kills after 10 s", took)
	}
	if got := c.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}"); got != "0 false" {
		c.Errorf("it ended with %s", got)
	}
	c.docker("start", c.name)
	c.answered(c.gateway(), token, id)
}

func (c *container) killed() {
	at, token := c.gateway(), c.blufio("token")
	letGo := c.model.hold()
	id := c.say(at, token, "killed")
	c.await(10*time.Second, "the model is asked", func() bool { return c.model.waiting() > 0 })
	c.docker("kill", c.name)
	letGo()
	c.docker("start", c.name)
	c.answered(c.gateway(), token, id)
}

// hostile: who sends the largest messages there may be, in ever new sessions, with and
// without a token, gets the daemon to refuse, and not to die.
func (c *container) hostile() {
	at, token := c.gateway(), c.blufio("token", "--rate", "0")
	big := strings.Repeat("x", 60<<10)
	end := time.Now().Add(15 * time.Second)
	var mu sync.Mutex
	codes := map[int]int{}
	var senders sync.WaitGroup
	for sender := range 48 {
		senders.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				with, body := token, fmt.Sprintf(`{"session":"s-%d-%d","text":%q}`, sender, n, big)
				switch sender % 4 {
				case 0:
					with = "wrong"
				case 1:
					body = fmt.Sprintf(`{"session":"s-%d","text":%q}`, sender, strings.Repeat(big, 40))
				}
				code, _, _ := request(http.MethodPost, at+"/v1/messages", with, body)
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	c.Logf("it answered, by code: %v", codes)
	if got := c.inspect("{{.State.Running}} {{.State.OOMKilled}} {{.RestartCount}}"); got != "true false 0" {
		c.Fatalf("after that it is %s", got)
	}
	c.healthy()
	c.await(60*time.Second, "a message is taken again", func() bool {
		code, _, err := request(http.MethodPost, at+"/v1/messages?wait=20s", token, `{"session":"main","text":"are you well?"}`)
		return err == nil && code == http.StatusOK
	})
}

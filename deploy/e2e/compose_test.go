// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// composed is the project of deploy/compose.yaml, with any free port for a fixed one.
type composed struct {
	*testing.T
	file, name string
}

// compose runs a command that has to end well.
func (c *composed) compose(args ...string) string {
	c.Helper()
	all := append([]string{"--project-name", c.name, "--project-directory", "..", "--file", c.file}, args...)
	cmd := exec.Command("docker-compose", all...)
	cmd.Stderr = c.Output()
	out, err := cmd.Output()
	if err != nil {
		c.Fatalf("docker-compose %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c *composed) blufio(args ...string) string {
	c.Helper()
	return c.compose(append([]string{"exec", "-T", "blufio", "/usr/bin/blufio"}, args...)...)
}

// up starts blufio alone, for the images of the others cannot be had, and says where the
// gateway is.
func (c *composed) up() (gateway string) {
	c.Helper()
	c.compose("up", "--detach", "--no-deps", "blufio")
	c.blufio("health", "--wait", "30s")
	return "http://" + c.compose("port", "blufio", "3000")
}

// TestComposed does what compose.yaml says, for blufio.
func TestComposed(t *testing.T) {
	image := os.Getenv("E2E_IMAGE")
	if image == "" {
		t.Skip("make e2e-docker runs this, as root")
	}
	text, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const fixed = `"127.0.0.1:3000:3000"`
	if strings.Count(string(text), fixed) != 1 {
		t.Fatalf("compose.yaml does not publish %s", fixed)
	}
	c := &composed{T: t, file: filepath.Join(t.TempDir(), "compose.yaml"), name: fmt.Sprintf("blufio-e2e-%d", os.Getpid())}
	if err := os.WriteFile(c.file, []byte(strings.Replace(string(text), fixed, `"127.0.0.1::3000"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("docker", "tag", image, "blufio").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { c.compose("down", "--volumes") })

	at := c.up()
	code, body, err := request(http.MethodPost, at+"/v1/messages?wait=20s", c.blufio("token"), `{"session":"main","text":"remember the boiler code is 4711"}`)
	if err != nil || code != http.StatusOK {
		t.Errorf("a message is answered with %d %s (%v)", code, body, err)
	}
	if code, _, err := request(http.MethodGet, at+"/metrics", "", ""); err != nil || code != http.StatusOK {
		t.Errorf("Prometheus in its container gets %d (%v)", code, err)
	}
	c.compose("down") // which keeps the volume
	at = c.up()
	if status := c.blufio("status", "--json"); !strings.Contains(status, `"node": "blufio"`) {
		t.Errorf("another container is another daemon: %s", status)
	}
	code, body, err = request(http.MethodPost, at+"/v1/messages?wait=20s", c.blufio("token"), `{"session":"main","text":"recall boiler"}`)
	if err != nil || code != http.StatusOK || !strings.Contains(string(body), "4711") {
		t.Errorf("in another container it answers %d %s (%v)", code, body, err)
	}
	c.compose("stop", "blufio")
	id := c.compose("ps", "-q", "blufio")
	if out, err := exec.Command("docker", "inspect", "--format", "{{.State.ExitCode}} {{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}}", id).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "0 268435456 true" {
		t.Errorf("after a stop it is %s (%v)", out, err)
	}
}

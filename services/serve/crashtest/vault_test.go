// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/vault"
)

// Between any two steps of a change the process may end: what was kept before is there,
// and opens, whether the change came through or not.
func TestVaultSurvivesAKill(t *testing.T) {
	binary := build(t, armed)
	for _, live := range []bool{false, true} {
		for _, name := range failpoint.VaultNames() {
			t.Run(fmt.Sprintf("%s, running %v", name, live), func(t *testing.T) {
				t.Parallel()
				killVault(t, binary, name, live)
			})
		}
	}
}

func killVault(t *testing.T, binary, name string, live bool) {
	p := plan{dir: t.TempDir()}
	if err := os.WriteFile(p.config(), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	args, first := []string{"rotate-vault-key"}, name == "vault.key-made" // the first secret makes the key
	if first {
		args = []string{"set-secret", "one.secret"}
	} else {
		p.vault(t, binary, "", 0, "set-secret", "one.secret")
		p.vault(t, binary, "", 0, "set-secret", "two.secret")
	}
	if live {
		d := start(t, p, binary, "BLUFIO_FAILPOINT="+name)
		d.awaitHealthy(t)
		p.vault(t, binary, "", 1, args...) // the daemon is gone before it answers
		d.awaitDeath(t, name)
	} else {
		p.vault(t, binary, name, -1, args...)
	}
	if first {
		p.vault(t, binary, "", 0, "set-secret", "one.secret")
		p.vault(t, binary, "", 0, "set-secret", "two.secret")
	}
	p.wantSecrets(t)
	p.vault(t, binary, "", 0, "rotate-vault-key")
	p.wantSecrets(t)
	if left, err := filepath.Glob(filepath.Join(p.data(), "vault.key?*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var list bus.SecretList
	if err := json.Unmarshal(p.vault(t, binary, "", 0, "list-secrets", "--json"), &list); err != nil || len(list.Secrets) != 2 || list.State != bus.VaultOpen {
		t.Errorf("%+v, %v", list, err)
	}
}

// vault runs a command of blufio config and wants its exit code, or with -1 that it
// killed itself at the failpoint.
func (p plan) vault(t *testing.T, binary, failpoint string, code int, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"config", "--data-dir", p.data(), "--config", p.config()}, args...)...)
	cmd.Env = []string{"HOME=" + p.dir, "PATH=" + os.Getenv("PATH"), "BLUFIO_FAILPOINT=" + failpoint}
	cmd.Stdin = strings.NewReader("value of " + args[len(args)-1] + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case code == -1:
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%v did not die at %s: %v\n%s", args, failpoint, err, &stderr)
		}
	case cmd.ProcessState.ExitCode() != code:
		t.Fatalf("%v: exit code %d, want %d\n%s", args, cmd.ProcessState.ExitCode(), code, &stderr)
	}
	return out
}

// wantSecrets opens the vault as the next process would.
func (p plan) wantSecrets(t *testing.T) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: p.database(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	v, err := vault.Open(t.Context(), vault.Deps{Store: store, Events: eventlog.New(store), Sources: vault.SourcesOf(nil, p.data()), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	v.Unlock(t.Context())
	for _, name := range []string{"one.secret", "two.secret"} {
		if got, err := v.Secret(name, config.Secret{}).Open(); err != nil || got != "value of "+name {
			t.Errorf("%s is %q: %v", name, got, err)
		}
	}
}

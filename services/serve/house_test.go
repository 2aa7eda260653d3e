// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/prometheus/client_golang/prometheus"
)

// furnished returns the real rooms of a daemon that does not run.
func furnished(t *testing.T) []services.Service {
	t.Helper()
	b := bustest.New(t)
	dir := t.TempDir()
	o := Options{Config: Defaults(), DataDir: dir, Version: "test", Logger: bustest.Logger(t), Now: time.Now}
	o.Config.Gateway.Listen = "127.0.0.1:0"
	store, err := openStore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := furnish(t.Context(), o, time.Now(), store, b.Server(), prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.inOrder()
}

// The doors equal the contract: every lane is said and heard by exactly those
// whom it names. Only "cli", tools and anyone outside have no door.
func TestDoorsEqualTheContract(t *testing.T) {
	says, hears := map[*bus.Spec][]string{}, map[*bus.Spec][]string{}
	for _, s := range furnished(t) {
		d := s.Door()
		for _, l := range d.Says {
			says[l.Spec()] = append(says[l.Spec()], d.Name)
		}
		for _, h := range d.Hears {
			hears[h.Spec()] = append(hears[h.Spec()], d.Name)
		}
	}
	for _, l := range bus.Contract() {
		s := l.Spec()
		compare(t, s.Name+" is said", s.From, says[s])
		compare(t, s.Name+" is heard", s.Heard, hears[s])
		delete(says, s)
		delete(hears, s)
	}
	for s := range says {
		t.Errorf("%s is said and not in the contract", s.Name)
	}
	for s := range hears {
		t.Errorf("%s is heard and not in the contract", s.Name)
	}
}

func compare(t *testing.T, what string, contract, doors []string) {
	t.Helper()
	want := slices.DeleteFunc(slices.Clone(contract), func(n string) bool { return n == "cli" || n == bus.Anyone })
	got := slices.Clone(doors)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s by %v, the contract names %v", what, got, want)
	}
}

// walls says what each part of the house may import of the house. Tests may
// import more.
func TestWalls(t *testing.T) {
	const module = "github.com/blufio/blufio"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module+"/")
			if why := wall(from, to, imp, ours); why != "" {
				t.Errorf("%s imports %s: %s", from, imp, why)
			}
		}
	}
}

// rooms are the directories that hold one each.
var roomDirs = []string{"services/relay", "services/hooks", "services/hub", "services/vault", "services/governor", "services/backup", "services/keys", "services/cost", "services/recall", "services/agent",
	"services/channel/terminal", "services/channel/telegram", "services/channel/gateway", "services/doctor", "services/control"}

func roomOf(path string) string {
	for _, r := range roomDirs {
		if path == r || strings.HasPrefix(path, r+"/") {
			return r
		}
	}
	return ""
}

func wall(from, to, full string, ours bool) string {
	switch {
	case from == "bus" && !ours && strings.Contains(full, ".") && !strings.HasPrefix(full, "github.com/nats-io/nats.go"):
		return "the language knows the standard library and nats.go only"
	case !ours:
		return ""
	case strings.HasPrefix(from, "bus") && !strings.HasPrefix(to, "bus"):
		return "the bus knows no room"
	case roomOf(from) != "" && roomOf(to) != "" && roomOf(from) != roomOf(to):
		return "rooms meet on the bus"
	case roomOf(from) != "" && to == "services/serve":
		return "a room does not know the house's wiring"
	case strings.HasPrefix(from, "cli") && strings.HasPrefix(to, "services/") && to != "services/serve" && to != "services/config" && to != "services/backup/archive":
		return "the command line knows the wiring, the configuration and the archive, not the rooms"
	}
	return ""
}

func TestEveryKeyIsDocumented(t *testing.T) {
	if missing := config.Undocumented(Defaults()); len(missing) > 0 {
		t.Errorf("not documented: %v", missing)
	}
}

// A fresh install runs without any configuration.
func TestDefaultsAreValid(t *testing.T) {
	if _, _, err := Load(config.Sources{}); err != nil {
		t.Fatal(err)
	}
}

func TestSchemasHaveOneOwnerEach(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range schemas() {
		if seen[s.Room] {
			t.Errorf("%s is listed twice", s.Room)
		}
		seen[s.Room] = true
	}
	path := filepath.Join(t.TempDir(), "blufio.db")
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context(), schemas()...); err != nil {
		t.Fatal(err)
	}
}

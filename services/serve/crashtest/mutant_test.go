// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/failpoint"
)

// Mutants are quickly seen to be wrong.
const (
	mutantKills  = 24
	mutantAcks   = 40
	mutantSettle = 15 * time.Second
)

// TestKillTestSeesAMissingCommit: with a daemon that leaves out any one of the
// commits that its promises rest on, the kill test must fail.
func TestKillTestSeesAMissingCommit(t *testing.T) {
	if os.Getenv("SOAK_KILLS") == "" {
		t.Skip("runs with SOAK_KILLS, some minutes")
	}
	binary := build(t, mutant)
	b := binaries{shipped: binary, armed: binary}
	for _, name := range []string{"accept", "step", "end", "note", "settlement"} {
		t.Run(name, func(t *testing.T) {
			found := crash(t, b, story{kills: mutantKills, acks: mutantAcks, random: true,
				env: []string{"BLUFIO_MUTATE=" + name}, settleLimit: mutantSettle})
			if found.count == 0 {
				t.Error("without this commit, the kill test finds nothing wrong")
			}
			t.Logf("%d problems, %d messages lost of %d; the first ones:", found.count, found.lost, found.acknowledged)
			for _, problem := range found.problems[:min(5, len(found.problems))] {
				t.Log(problem)
			}
		})
	}
	t.Run("none", func(t *testing.T) { // the mutants' binary is right but for its mutation
		found := crash(t, b, story{kills: mutantKills, acks: mutantAcks, random: true})
		for _, problem := range found.problems {
			t.Error(problem)
		}
	})
}

// The shipped binary has no failpoints: nothing of them is left in it.
func TestShippedBinaryHasNoFailpoints(t *testing.T) {
	for _, tt := range []struct {
		binary string
		want   bool
	}{{build(t, shipped), false}, {build(t, armed), true}} {
		data, err := os.ReadFile(tt.binary)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(failpoint.Names(), "BLUFIO_FAILPOINT") {
			if got := bytes.Contains(data, []byte(name)); got != tt.want {
				t.Errorf("%q is in the binary: %v, want %v", name, got, tt.want)
			}
		}
	}
}

// The shipped binary does not look methods up by name. Once anything reaches
// text/template (cobra's SetVersionTemplate is enough) the linker must keep every
// exported method of every type: 4 MB, and a binary's pages are memory.
func TestShippedBinaryHasNoTemplates(t *testing.T) {
	data, err := os.ReadFile(build(t, shipped))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("blufio/cli.Main")) {
		t.Fatal("the names of functions are not in the binary: this test sees nothing")
	}
	if bytes.Contains(data, []byte("text/template.(*Template).Execute")) {
		t.Error("text/template is reached: find who calls it with `go build -ldflags=-dumpdep`")
	}
}

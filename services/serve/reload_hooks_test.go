// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/blufio/blufio/bus"
)

// backsUp makes a backup and says what became of it.
func backsUp(r *reloadRig) string {
	b, err := bus.BackupCreate.Ask(r.Context(), r.conn, bus.BackupRequest{})
	for at := int64(0); err == nil; {
		var c bus.BackupChunk
		if c, err = bus.BackupTake.Ask(r.Context(), r.conn, bus.BackupRead{ID: b.ID, Offset: at}); c.EOF {
			break
		}
		at += int64(len(c.Data))
	}
	if err == nil {
		_, err = bus.BackupFinish.Ask(r.Context(), r.conn, bus.BackupEnd{ID: b.ID, Path: "/elsewhere"})
	}
	return fmt.Sprint(err)
}

// leaves says whether a hook has run that writes a file of that name.
func leaves(name string) func(r *reloadRig) string {
	return func(r *reloadRig) string {
		made := backsUp(r)
		if _, err := os.Stat(filepath.Join(r.dir, name)); err == nil {
			return "has run"
		}
		return "has not run: " + made
	}
}

// hookTrouble is what the status says of hooks.
func hookTrouble(r *reloadRig) string {
	st, err := bus.StatusGet.Ask(r.Context(), r.conn, bus.StatusQuery{})
	if err != nil {
		return err.Error()
	}
	for _, s := range st.Services {
		if s.Name == "hooks" && len(s.Problems) > 0 {
			return s.Problems[0].Title
		}
	}
	return "no problem"
}

// A hook that fails is a problem until it is taken out, and a reload is enough for that.
func TestHookTakenOutIsNoProblem(t *testing.T) {
	r := newReloadRig(t, map[string]string{"hooks.post_start": `["false"]`})
	r.eventually("its failure", func() string { return hookTrouble(r) }, "hook post-start failed")
	if out := r.reload(map[string]string{"hooks.post_start": "[]"}); len(out.Restart)+len(out.Problems) > 0 {
		t.Errorf("the reload says %+v", out)
	}
	r.eventually("the end of it", func() string { return hookTrouble(r) }, "no problem")
}

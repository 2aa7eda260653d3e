// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// wait polls until what is so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never so: %s", what)
		}
	}
}

// status asks for another daemon's status, as `blufio --node NAME status` does.
func (m *member) status(ctx context.Context, node string) (st bus.Status, err error) {
	a, err := bus.NodeAsk.Ask(ctx, m.Conn, bus.NodeQuestion{Node: node, Call: bus.StatusGet.Spec().Name})
	switch {
	case err != nil:
		return st, err
	case a.Error != nil:
		return st, a.Error.Err(node)
	}
	return st, json.Unmarshal(a.Answer, &st)
}

func TestThinHub(t *testing.T) {
	h := newHub(t, "kitchen", "garage")
	h.stream()
	a, b := h.join("kitchen", nil), h.join("garage", nil)
	wait(t, "garage answers kitchen", func() bool {
		st, err := a.status(t.Context(), "garage")
		if err != nil {
			t.Log(err)
		}
		return err == nil && st.Node == "garage"
	})
	_ = b
	n, err := bus.NodeList.Ask(t.Context(), a.Conn, bus.NodesQuery{})
	t.Logf("%+v %v", n, err)
	s := h.stream()
	wait(t, "events", func() bool {
		i, err := s.Info(t.Context())
		check(t, err)
		t.Log(i.State.Msgs)
		return i.State.Msgs >= 2
	})
	start := time.Now()
	_, err = a.status(t.Context(), "attic")
	t.Log(err, time.Since(start))
	st, err := bus.StatusGet.Ask(t.Context(), a.Conn, bus.StatusQuery{})
	t.Logf("%+v %v", st.Services, err)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/governor"
)

const (
	streamBlock = 4 << 20 // bytes of one, see openingConfig of bus/embedded
	shedAgain   = 10 * time.Second
)

// Whatever holds memory in a whole daemon gives it up at a warning, and what was given
// up is counted: summaries of conversations, connections that clients keep, vectors of
// facts, the database's pages. Blocks of the event stream that were read go with the
// collection that ends the shedding; the one that is written to stays.
func TestEveryRoomSheds(t *testing.T) {
	m, model := &machine{rss: 50}, fakellm.NewOpenAI(t)
	model.Always(fakellm.Says(strings.SplitAfter(strings.Repeat("so it was and so it goes on ", 20), " ")...))
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nothing but the shedding collects
	made, _ := streamBuffers()
	c, info := daemonOf(t, func(o *Options) {
		o.Config.Memory.LimitMB = 100
		o.Config.Gateway.MaxBodyBytes, o.Config.Gateway.MaxConnections, o.Config.Agent.PicturesMB, o.Config.Agent.MaterialMB, o.Config.Recall.IndexMB = 64<<10, 64, 1, 1, 1
		o.Config.Agent.Provider, o.Config.OpenAI.BaseURL, o.Config.Agent.Model = []string{"openai"}, model.URL(), "gpt-4o-mini"
		o.Config.Agent.HistoryTokens = 800
		o.Now, o.Memory = m.now, m.deps()
		o.Memory.Free, o.Memory.Go = nil, neverCalm()
		fillStream(t, o.DataDir)
	})
	keeping := &http.Client{Transport: &http.Transport{}}
	defer keeping.CloseIdleConnections()
	fillCaches(t, c, info, keeping)
	for name, s := range map[string]string{"blufio_summaries_bytes": "", "blufio_recall_index_bytes": "", "blufio_memory_shed_bytes_total": "database"} {
		if v := value(families(t, info)[name], s); (v > 0) != (s == "") {
			t.Errorf("before the warning %s is %v", name, v)
		}
	}
	m.set(85, 0)
	still := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); m.set(85, shedAgain) {
		if still = unshed(t, info, made); still == "" {
			return
		}
	}
	t.Error(still)
}

// unshed says what has not been given up yet.
func unshed(t *testing.T, info Info, made int64) string {
	t.Helper()
	freed := families(t, info)["blufio_memory_shed_bytes_total"]
	for room, least := range map[string]float64{"agent": 1000, "gateway": 1000, "recall": 10_000, "database": 100_000} {
		if v := value(freed, room); v < least {
			return fmt.Sprintf("%s gave up %v bytes, not %v", room, v, least)
		}
	}
	if all, held := streamBuffers(); all-made < 2*streamBlock || held > streamBlock*5/4 {
		return fmt.Sprintf("of %d bytes made for the event stream's blocks %d are still held", all-made, held)
	}
	return ""
}

// deps are the governor's on this machine: readings as often as can be, and the process
// of the test left alone.
func (m *machine) deps() governor.Deps {
	return governor.Deps{Root: m, PageSize: 1 << 20, Every: 5 * time.Millisecond,
		GoPercent: func(int) int { return 0 }, GoLimit: func(int64) int64 { return 1 << 40 }, Free: func() {}, DropProgram: func() error { return nil }}
}

// neverCalm is a process that allocates all the time, so that no pause comes in which
// memory is given back without pressure.
func neverCalm() func() governor.Go {
	var allocated uint64
	return func() governor.Go {
		allocated += 64 << 20
		return governor.Go{Allocated: allocated}
	}
}

// fillStream writes four blocks of events and a little more, before the daemon that
// reads them back, in search of where it was, begins. That is two buffers: what was
// read is used again.
func fillStream(t *testing.T, dir string) {
	t.Helper()
	const piece = 256 << 10
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	device, err := embedded.LoadOrCreateDevice(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := embedded.Start(ctx, embedded.Config{Listen: "127.0.0.1:0", Device: device, Dir: filepath.Join(dir, "events")})
	if err != nil {
		t.Fatal(err)
	}
	events, err := server.OpenEvents(ctx)
	const count = 4*streamBlock/piece + 2
	stored := make(chan error, count)
	for i := 0; i < count && err == nil; i++ {
		err = events.Publish(ctx, embedded.Event{Subject: bus.RoomRestarted.Spec().Subject(), ID: fmt.Sprint(i), Data: make([]byte, piece)},
			func(_ embedded.Ack, err error) { stored <- err })
		if err == nil {
			err = <-stored
		}
	}
	if err := errors.Join(err, server.Shutdown(ctx)); err != nil {
		t.Fatal(err)
	}
}

// fillCaches talks until there are summaries, has facts kept and found, and leaves a
// connection behind.
func fillCaches(t *testing.T, c *bus.Conn, info Info, keeping *http.Client) {
	t.Helper()
	for i := range 40 {
		q := bus.RecallAdd{ID: fmt.Sprint(i), Owner: "owner", Source: bus.RecallModel, Text: fmt.Sprintf("shelf %d of the cellar has box %d on it", i, 7*i)}
		if _, err := bus.RecallKeep.Ask(t.Context(), c, q); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		if r := say(t, c, strings.Repeat("tell me more of that and of this as well ", 30)); r.State != bus.StateAnswered {
			t.Fatalf("%+v", r)
		}
	}
	awaitPositive(t, info, "blufio_summaries_bytes")
	if _, err := bus.RecallSearch.Ask(t.Context(), c, bus.RecallQuery{Owner: "owner", Text: "box in the cellar"}); err != nil {
		t.Fatal(err)
	}
	awaitPositive(t, info, "blufio_recall_index_bytes")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, info.Gateway+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := keeping.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// awaitPositive waits until a series without labels is above zero.
func awaitPositive(t *testing.T, info Info, name string) {
	t.Helper()
	bustest.Eventually(t, name+" is above zero", func() bool { return value(families(t, info)[name], "") > 0 })
}

// streamBuffers is how many bytes were allocated for blocks of the event stream, and
// how many of them were still in use at the last collection.
func streamBuffers() (all, held int64) {
	records := make([]runtime.MemProfileRecord, 1<<14)
	n, _ := runtime.MemProfile(records, true)
	for _, r := range records[:n] {
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			if f, more = frames.Next(); strings.HasSuffix(f.Function, "server.getMsgBlockBuf") {
				all, held = all+r.AllocBytes, held+r.InUseBytes()
				break
			}
		}
	}
	return all, held
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/failpoint"
)

// randomKills come beside one kill at each failpoint.
const randomKills = 8

func TestKill(t *testing.T) {
	b := binaries{shipped: build(t, shipped), armed: build(t, armed)}
	found := crash(t, b, story{kills: number(t, "SOAK_KILLS", len(failpoint.Names())+randomKills), acks: mostAcks})
	found.report(t)
}

// binaries are the daemon as it is shipped and with failpoints.
type binaries struct{ shipped, armed string }

// story says what happens to one data directory.
type story struct {
	kills       int
	random      bool          // no failpoints
	acks        int64         // most acknowledgements between two random kills
	env         []string      // of every daemon
	settleLimit time.Duration // 0: the usual
}

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number above zero", name, text)
	}
	return n
}

// moments are the failpoints to die at, each equally often and at least once if
// there are kills enough, and "" for a kill at random.
func (s story) moments(rng *rand.Rand) []string {
	all := make([]string, s.kills)
	if s.random {
		return all
	}
	names := failpoint.Names()
	rounds := max(1, s.kills/2/len(names))
	for i := range min(s.kills, rounds*len(names)) {
		all[i] = names[i%len(names)]
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// arm is the setting that kills the daemon at the named failpoint, some of the
// first times that it comes by.
func arm(rng *rand.Rand, name string) string {
	most := map[string]int{"recover.requeued": 1, "step.committed": 10, "model.delta": 200, "relay.store": 100, "relay.stored": 100,
		"telegram.page-taken": 3, "telegram.part-sent": 4, "telegram.part-noted": 4}[name]
	if most == 0 {
		most = 20
	}
	return fmt.Sprintf("BLUFIO_FAILPOINT=%s:%d", name, 1+rng.IntN(most))
}

// crash is the whole story of one data directory.
func crash(t *testing.T, b binaries, s story) *findings {
	t.Helper()
	seed := uint64(number(t, "CRASH_SEED", int(rand.Uint32())+1))
	t.Logf("CRASH_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	m := newModel(t)
	g := newMessenger(t)
	p := newPlan(t, m)
	p.add(t, g.config())

	d := start(t, p, b.shipped, s.env...)
	d.awaitHealthy(t)
	d.stop(t) // from now on there is a database to look into
	drv := startDriver(t, p)
	g.talk(t, p)
	found := &findings{kills: s.kills, speakers: everyone, settleLimit: cmp.Or(s.settleLimit, settleLimit)}
	var healthy []time.Duration
	var cuts []cut
	for _, name := range s.moments(rng) {
		if name == "" {
			d = start(t, p, b.shipped, s.env...)
			drv.awaitMoment(t, rng, d, s.acks)
			d.kill(t)
		} else {
			d = start(t, p, b.armed, append([]string{arm(rng, name)}, s.env...)...)
			d.awaitDeath(t, name)
		}
		cuts = append(cuts, readCut(t, p))
		if h := d.healthy.Load(); h > 0 {
			healthy = append(healthy, time.Duration(h))
		}
	}
	d = start(t, p, b.shipped, s.env...)
	d.awaitHealthy(t)
	drv.finish(t)
	g.finish(t)
	g.caughtUp(t)
	judge(t, p, d, m, found, cuts)
	found.delivered(g)
	t.Logf("%d kills, %d acknowledged, %d answered, %d interrupted, %d lost, %d dead, %d twice on Telegram; %d calls billed, %d booked, %d cut off; start to healthy %s (median of %d)",
		s.kills, found.acknowledged, found.answered, found.interrupted, found.lost, found.dead, found.twice, len(found.bills), found.calls, found.unbooked, median(healthy), len(healthy))
	return found
}

// judge lets the daemon settle and compares what it made of the messages with
// the driver's list and the model's bills.
func judge(t *testing.T, p plan, d *daemon, m *model, found *findings, cuts []cut) {
	t.Helper()
	last := p.settle(t, found)
	found.histories(t, p)
	if len(cuts) > 0 {
		found.status(t, p, cuts)
	}
	d.stop(t)
	found.bills, found.faults = m.seen()
	for _, fault := range found.faults {
		found.problem("%s", fault)
	}
	found.books(t, p)
	found.stream(t, p, last)
	for _, line := range p.complaints(found.strained) {
		found.problem("the daemon's log: %s", line)
	}
}

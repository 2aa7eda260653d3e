// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/failpoint"
)

// passes says which process passes which failpoint: the daemon that hands a backup out,
// the command that writes it, the command in its place, and the daemon on its schedule.
var passes = map[string][]string{
	"daemon":    {"backup.copied", "backup.checked", "backup.written", "backup.handed", "backup.kept"},
	"client":    {"backup.created", "backup.synced", "backup.named", "backup.listed"},
	"alone":     {"backup.copied", "backup.checked", "backup.created", "backup.written", "backup.synced", "backup.named", "backup.listed"},
	"scheduled": {"backup.copied", "backup.checked", "backup.created", "backup.written", "backup.synced", "backup.verified", "backup.named", "backup.listed", "backup.noted", "backup.thinned"},
}

// Whoever dies, wherever: no file bears its name before it is whole, the daemon starts and
// is healthy, nothing stays behind, and the next backup works.
func TestBackupSurvivesAKill(t *testing.T) {
	t.Parallel()
	binary, base := build(t, armed), begun(t, 2<<20, "")
	seen := map[string]bool{}
	for who, names := range passes {
		for _, name := range names {
			seen[name] = true
			t.Run(who+", "+name, func(t *testing.T) {
				t.Parallel()
				killBackup(t, base.again(t), binary, who, name)
			})
		}
	}
	for _, name := range failpoint.BackupNames() {
		if !seen[name] {
			t.Errorf("nobody dies at %s", name)
		}
	}
}

func killBackup(t *testing.T, p plan, binary, who, name string) {
	arm, dir := []string{"BLUFIO_FAILPOINT=" + name, "BLUFIO_HASTE=1"}, p.out()
	switch who {
	case "daemon":
		d := start(t, p, binary, arm...)
		d.awaitHealthy(t)
		got := p.run(t, binary, nil, "backup", dir)
		if late := name == "backup.handed" || name == "backup.kept"; got.code != 1 && !late { // then the command has it all
			t.Errorf("the command ends with %d: %s%s", got.code, got.out, got.err)
		}
		d.awaitDeath(t, name)
	case "client":
		d := start(t, p, binary, "BLUFIO_HASTE=1")
		d.awaitHealthy(t)
		p.run(t, binary, arm, "backup", dir).want(t, killed, "")
		until(t, "the daemon lets go", time.Minute, func() bool { return p.run(t, binary, nil, "backup", dir).code == 0 })
		p.wantNoScratch(t)
		d.stop(t)
	case "alone":
		p.run(t, binary, arm, "backup", dir).want(t, killed, "")
	case "scheduled":
		p.add(t, "[backup]\nevery = \"1m\"\nkeep_weekly = 0\nkeep_monthly = 0\nkeep_daily = 1\n")
		dir = filepath.Join(p.data(), "backups")
		d := start(t, p, binary, arm...)
		d.awaitDeath(t, name)
	}
	before := p.wantWhole(t, dir)
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	p.wantNoScratch(t)
	until(t, "there is another one", time.Minute, func() bool { return p.run(t, build(t, shipped), nil, "backup", dir).code == 0 }) // in another second
	d.stop(t)
	if after := p.wantWhole(t, dir); after != before+1 {
		t.Errorf("there are %d backups, there were %d", after, before)
	}
	if _, left := archives(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	p.wantNoScratch(t)
	for _, line := range p.complaints(true) {
		t.Errorf("the log complains: %s", line)
	}
}

// Kills at moments that nobody has chosen: of the command that reads the files itself, of the
// daemon that hands one out, and of the command that writes it.
func TestBackupSurvivesRandomKills(t *testing.T) {
	t.Parallel()
	binary, base := build(t, armed), begun(t, 6<<20, "")
	seed := uint64(number(t, "CRASH_SEED", int(rand.Uint32())+1))
	t.Logf("CRASH_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 9))
	began := time.Now()
	base.run(t, binary, nil, "backup", filepath.Join(base.dir, "yardstick")).want(t, 0, "")
	took := time.Since(began)
	whole := 0
	for i := range longer(9, 100) {
		p := base.again(t)
		var d *daemon
		if i%3 > 0 {
			d = start(t, p, binary, "BLUFIO_HASTE=1")
			d.awaitHealthy(t)
		}
		cmd := p.command(t, binary, nil, "backup", p.out())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(took) * 5 / 4))) // the moment itself
		if i%3 == 1 {
			d.kill(t)
		} else {
			_ = cmd.Process.Kill() // it may have ended
		}
		_ = cmd.Wait()
		if i%3 == 2 {
			d.stop(t)
		}
		whole += p.wantWhole(t, p.out())
		p.run(t, build(t, shipped), nil, "backup", filepath.Join(p.dir, "next")).want(t, 0, "")
		p.run(t, build(t, shipped), nil, "backup", "verify", filepath.Join(p.dir, "next")).want(t, 0, "")
		p.wantNoScratch(t)
	}
	t.Logf("a backup takes %s; %d were whole", took.Round(time.Millisecond), whole)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/backup/restore"
	"golang.org/x/sys/unix"
)

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	place := Place{}
	if s != nil {
		place = Place{Config: s.cfg, DataDir: s.d.Source.DataDir, Node: s.d.Source.Node, Now: s.d.Now}
	}
	return append([]services.Probe{{
		ID: "BLF-BAK-001", Title: "There is a recent backup",
		Why:      "without one, what the disk loses is gone",
		Fix:      "`blufio backup` makes one now; the daemon's log says why its own failed",
		Problems: []string{problemFailed, problemOverdue, problemUnsent},
		Run:      func(context.Context) services.Result { return s.probeAge() },
	}, {
		ID: "BLF-BAK-003", Title: "A backup was restored lately, to see that it does",
		Why:      "a backup that nobody ever restored is a hope",
		Fix:      "`blufio backup drill FILE` shows what is wrong",
		Problems: []string{problemUndrilled},
		Run:      func(context.Context) services.Result { return s.probeDrill() },
	}}, place.Probes()...)
}

// Place is where the backups of a daemon lie, whether it runs or not.
type Place struct {
	Config  Config
	DataDir string
	Node    string
	Now     func() time.Time
}

// Probes are the checks of the files.
func (p Place) Probes() []services.Probe {
	return []services.Probe{{
		ID: "BLF-BAK-002", Title: "The newest backup is whole", Place: services.Either, Deep: true,
		Why: "disks forget; every byte is held against its hash, and the database in it is checked",
		Fix: "look at the disk it lies on, and make a new one with `blufio backup`",
		Run: p.probeWhole,
	}, {
		ID: "BLF-BAK-004", Title: "The next backup has a place", Place: services.Either,
		Why: "the daemon's own backups are written there",
		Fix: "make the directory in backup.dir writable for the daemon, or free some space",
		Run: func(context.Context) services.Result { return p.probeSpace() },
	}, {
		ID: "BLF-BAK-005", Title: "No restore is half done", Place: services.Either,
		Why: "what was cut off is ended by the next start, before anything is opened",
		Fix: "start the daemon",
		Run: func(context.Context) services.Result { return p.probePending() },
	}, {
		ID: "BLF-BAK-006", Title: "What restores have replaced takes little space", Place: services.Either,
		Why: "each restore keeps all that it has replaced, to go back to",
		Fix: "delete those directories that nobody goes back to, or set backup.keep_replaced lower",
		Run: func(context.Context) services.Result { return p.probeReplaced() },
	}}
}

func (s *Service) probeAge() services.Result {
	st, problems := s.summary(), s.health()
	for _, p := range problems {
		if p.Code != problemUndrilled {
			return services.Fail("%s", p.Title).WithFix("%s", p.Hint)
		}
	}
	switch {
	case st.Every == 0 && st.LastSuccess == nil:
		return services.Info("there is none, and no schedule (backup.every is 0)")
	case st.Every == 0:
		return services.Info("the last is of %s; there is no schedule (backup.every is 0)", ago(s.d.Now(), st.LastSuccess.Time))
	case st.LastSuccess == nil:
		return services.OK("none yet; the first is due at %s", st.NextDue.In(s.d.Loc).Format(time.DateTime))
	}
	run := st.LastSuccess
	return services.OK("%s, %s in %.1fs; the next is due at %s", ago(s.d.Now(), run.Time), size(run.Bytes), run.Seconds, st.NextDue.In(s.d.Loc).Format(time.DateTime))
}

func (s *Service) probeDrill() services.Result {
	st := s.summary()
	for _, p := range s.health() {
		if p.Code == problemUndrilled {
			return services.Fail("%s", p.Title).WithFix("%s", p.Hint)
		}
	}
	d, now := st.LastDrilled, s.d.Now()
	switch {
	case d == nil && st.NotDrilled == bus.NotDrilledOff:
		return services.Info("never; there is no schedule for it")
	case st.NotDrilled == bus.NotDrilledOff:
		return services.Info("%s, with %s; there is no schedule for it any more", ago(now, d.Time), filepath.Base(d.Path))
	case st.NotDrilled == bus.NotDrilledEncrypted:
		return services.Info("%s: the daemon cannot open what it encrypts; try one with `blufio backup drill FILE --identity KEY`", everDrilled(now, d))
	case d != nil && now.Sub(d.Time) > 2*s.cfg.DrillEvery+24*time.Hour:
		return services.Warn("the last time %s, and it should be every %s", ago(now, d.Time), s.cfg.DrillEvery)
	case d != nil:
		return services.OK("%s, with %s", ago(now, d.Time), filepath.Base(d.Path))
	}
	return services.OK("not yet; it follows the first backup of the schedule")
}

func everDrilled(now time.Time, d *bus.BackupProof) string {
	if d == nil {
		return "never"
	}
	return "the last time " + ago(now, d.Time)
}

// verifyTime is how long doctor reads a backup: a large one takes longer than people wait.
const verifyTime = services.DeepProbe - 2*time.Second

func (p Place) probeWhole(ctx context.Context) services.Result {
	dir := p.Config.Directory(p.DataDir)
	all, err := list(dir, p.Config.shown(p.Node))
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.Config.Dir == "", err == nil && len(all) == 0:
		return services.Skip("there is none in %s", dir)
	case err != nil:
		return services.Fail("%v", err)
	}
	newest := all[0]
	if i := slices.IndexFunc(all, func(f stored) bool { return f.node == archive.NodeName(p.Node) }); i >= 0 {
		newest = all[i] // another daemon's may have been put beside it
	}
	path := filepath.Join(dir, newest.name)
	if newest.sealed {
		return services.Info("%s is encrypted; verify it with `blufio backup verify %s --identity KEY`", newest.name, path)
	}
	reading, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	r, err := archive.Verify(reading, path, archive.Options{})
	switch {
	case reading.Err() != nil:
		return services.Info("%s is too large to be verified here; `blufio backup verify %s` does it", newest.name, path)
	case err != nil:
		return services.Fail("%s: %v", path, err)
	}
	return services.OK("%s, %s, %d files", newest.name, size(r.Bytes), len(r.Manifest.Files))
}

// littleSpace is what the check of the data directory's disk speaks up at.
const littleSpace = 256 << 20

func (p Place) probeSpace() services.Result {
	if p.Config.Every == 0 {
		return services.Skip("there is no schedule (backup.every is 0)")
	}
	dir := p.Config.Directory(p.DataDir)
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) && p.Config.Dir == "" { // the daemon makes it
		dir = p.DataDir
		info, err = os.Stat(dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.Config.Dir == "":
		return services.Skip("there is no data directory yet")
	case errors.Is(err, fs.ErrNotExist):
		return services.Fail("%s does not exist", dir).WithFix("make it, or mount the disk that it is on")
	case err != nil:
		return services.Fail("%v", err)
	case !info.IsDir():
		return services.Fail("%s is not a directory", dir)
	}
	own := p.Config.Dir == "" // its troubles are the data directory's, which has checks of its own
	switch err := unix.Access(dir, unix.W_OK|unix.X_OK); {
	case err != nil && own:
		return services.Skip("%v: see BLF-FILE-001", err)
	case err != nil:
		return services.Fail("nothing can be written to %s: %v", dir, err)
	}
	free, err := archive.Free(dir)
	if err != nil {
		return services.Skip("the free space of %s is not known: %v", dir, err)
	}
	data, need := Source{DataDir: p.DataDir}.space(Wish{}, dir)
	if r, short := p.shortOfSpace(dir, data); short {
		return r
	}
	switch {
	case own && free < littleSpace:
		return services.Skip("little space is left in the data directory: see BLF-FILE-003")
	case free < need:
		return services.Fail("%s has %s free, and a backup may need %s", dir, size(free), size(need)).WithFix("free some space there, or keep fewer backups")
	}
	return services.OK("%s, %s free", dir, size(free))
}

// shortOfSpace looks at the data directory where the backups lie on another disk: the copy of
// the database that each is made of does not.
func (p Place) shortOfSpace(dir string, need int64) (r services.Result, short bool) {
	if sameDisk(dir, p.DataDir) {
		return r, false
	}
	free, err := archive.Free(p.DataDir)
	if err != nil || free >= need {
		return r, false // what is wrong with that directory has checks of its own
	}
	return services.Fail("the data directory has %s free, and the copy that a backup is made of may need %s", size(free), size(need)).WithFix("free some space there"), true
}

func (p Place) probePending() services.Result {
	switch pending, err := restore.Look(p.DataDir); {
	case err != nil:
		return services.Fail("%v", err).WithFix("the daemon does not start like this: keep that file, and report it; both the old files and the new are in the data directory")
	case pending == restore.Done:
		return services.Warn("one was cut off on its way; the next start ends it, with the backup in place").WithFix("start the daemon, or `blufio restore` again")
	case pending == restore.Undone:
		return services.Warn("one failed and was cut off on its way back; the next start ends it, with the old files in place").WithFix("start the daemon, or `blufio restore` again")
	}
	return services.OK("none is")
}

func (p Place) probeReplaced() services.Result {
	all, err := restore.List(p.DataDir)
	switch {
	case err != nil:
		return services.Skip("the data directory cannot be listed: %v", err)
	case len(all) == 0:
		return services.OK("there is none of it")
	}
	sum := replaced(all)
	text := fmt.Sprintf("%s in %d of %s, the newest of them of %s", size(sum.Bytes), sum.Dirs, filepath.Join(p.DataDir, "pre-restore-*"), all[0].At.Format(time.DateOnly))
	remove := "once you are sure not to go back, delete it: rm -r " + filepath.Join(p.DataDir, all[len(all)-1].Name)
	if free, err := archive.Free(p.DataDir); err == nil && free < sum.Bytes {
		return services.Warn("%s, and %s are free", text, size(free)).WithFix("%s", remove)
	}
	return services.Info("%s; the %d newest stay", text, p.Config.KeepReplaced).WithFix("%s", remove)
}

// ago is how long before now something was, for people.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

func size(n int64) string {
	if n < 10<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	if n < 10<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

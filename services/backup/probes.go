// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/backup/archive"
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
	case d != nil && st.DrillEvery > 0 && now.Sub(d.Time) > 2*s.cfg.DrillEvery+24*time.Hour && st.Every > 0:
		return services.Warn("the last time %s, and it should be every %s", ago(now, d.Time), s.cfg.DrillEvery)
	case d != nil:
		return services.OK("%s, with %s", ago(now, d.Time), filepath.Base(d.Path))
	case st.Every == 0 || st.DrillEvery == 0:
		return services.Info("never; there is no schedule for it")
	case len(s.cfg.Recipients) > 0:
		return services.Info("never: the daemon cannot open what it encrypts; try one with `blufio backup drill FILE --identity KEY`")
	}
	return services.OK("not yet; it follows the first backup of the schedule")
}

// verifyTime is how long doctor reads a backup: a large one takes longer than people wait.
const verifyTime = services.DeepProbe - 2*time.Second

func (p Place) probeWhole(ctx context.Context) services.Result {
	dir := p.Config.Directory(p.DataDir)
	all, err := list(dir, p.Node)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.Config.Dir == "", err == nil && len(all) == 0:
		return services.Skip("there is none in %s", dir)
	case err != nil:
		return services.Fail("%v", err)
	}
	path := filepath.Join(dir, all[0].name)
	if all[0].sealed {
		return services.Info("%s is encrypted; verify it with `blufio backup verify %s --identity KEY`", all[0].name, path)
	}
	reading, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	r, err := archive.Verify(reading, path, archive.Options{})
	switch {
	case reading.Err() != nil:
		return services.Info("%s is too large to be verified here; `blufio backup verify %s` does it", all[0].name, path)
	case err != nil:
		return services.Fail("%s: %v", path, err)
	}
	return services.OK("%s, %s, %d files", all[0].name, size(r.Bytes), len(r.Manifest.Files))
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
	need := Source{DataDir: p.DataDir}.Estimate(Wish{})
	switch {
	case own && free < littleSpace:
		return services.Skip("little space is left in the data directory: see BLF-FILE-003")
	case free < need:
		return services.Fail("%s has %s free, and a backup may need %s", dir, size(free), size(need)).WithFix("free some space there, or keep fewer backups")
	}
	return services.OK("%s, %s free", dir, size(free))
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
	return fmt.Sprintf("%d MiB", n>>20)
}

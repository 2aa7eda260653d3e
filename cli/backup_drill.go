// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

const (
	drillSchema = "blufio.backup.drill/1"
	drillStop   = 10 * time.Second // for the second daemon to end
)

// drilled are doctor's checks that say something of a backup, and nothing of this machine.
var drilled = []string{"BLF-DB", "BLF-BUS", "BLF-KEY-001", "BLF-ROOM", "BLF-GW-001"}

// drill is what `backup drill --json` prints.
type drill struct {
	Schema   string        `json:"schema"`
	Path     string        `json:"path"`
	OK       bool          `json:"ok"`
	Error    string        `json:"error,omitempty"`
	Seconds  float64       `json:"seconds"`
	Cut      time.Time     `json:"cut"`
	Rows     int64         `json:"rows"`
	Migrated []string      `json:"migrated"`
	Secrets  secretsTried  `json:"secrets"`
	Config   string        `json:"config"` // what is wrong with the configuration in it; "" is nothing
	Findings []bus.Finding `json:"findings"`
}

// secretsTried says how many secrets could be read.
type secretsTried struct {
	Total  int      `json:"total"`
	Tried  bool     `json:"tried"`
	Closed []string `json:"closed"`
}

func (a *app) backupDrillCommand() *cobra.Command {
	var identities []string
	var key string
	limit := 5 * time.Minute
	cmd := &cobra.Command{
		Use:   "drill FILE",
		Short: "Restore a backup on trial, and run a daemon on it",
		Long: "Restore a backup into a scratch directory beside it, start a second daemon there that is\n" +
			"cut off from the world, have a message go all the way and doctor look at it, read every\n" +
			"secret if you give the vault's key, and throw it all away. Nothing else is touched; the\n" +
			"daemon that runs goes on. Exit code 1 says that the backup does not restore.",
		Example: "  blufio backup drill blufio-home-20260101T030000Z.tar.zst\n" +
			"  blufio backup drill FILE --vault-key /var/lib/blufio/vault.key\n  blufio backup drill FILE --json | jq .ok",
		Args: oneArg("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit <= 0 {
				return misuse(cmd, "--timeout has to be more than nothing")
			}
			return a.backupDrill(cmd.Context(), args[0], identities, key, limit)
		},
	}
	identityFlag(cmd, &identities)
	cmd.Flags().StringVar(&key, "vault-key", "", "`FILE` with what the vault is locked with: vault.key, or the passphrase")
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long all of it may take, as a `DURATION`")
	return cmd
}

func (a *app) backupDrill(ctx context.Context, path string, identities []string, key string, limit time.Duration) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dispensable()
	began := a.now()
	d := drill{Schema: drillSchema, Path: path, Findings: []bus.Finding{}, Migrated: []string{}}
	p := a.newProgress()
	err := a.drillOn(timed, path, identities, key, &d, p)
	p.clear()
	switch {
	case ctx.Err() != nil:
		return fail(exitInterrupted, "", "stopped; nothing was proved")
	case timed.Err() != nil:
		err = fmt.Errorf("it took longer than %s", limit)
	}
	d.OK, d.Seconds = err == nil, a.now().Sub(began).Round(time.Millisecond).Seconds()
	if a.json {
		if err != nil {
			d.Error = line(err.Error())
		}
		return errors.Join(a.printJSON(d), exitIf(err != nil))
	}
	if err != nil {
		return lookFailure(err)
	}
	return a.print(a.drillText(d))
}

// dispensable has the kernel, when memory runs out, end this process and those that it
// starts, and not the daemon in whose control group they may be: proc(5), oom_score_adj.
// Where that may not be written, as on another system, it has no effect.
func dispensable() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) }

// drillOn restores, runs, and looks.
func (a *app) drillOn(ctx context.Context, path string, identities []string, key string, d *drill, p *progress) (err error) {
	archive, err := serve.OpenArchive(ctx, path, identities, func(done, total int64) { p.tell(bus.BackupVerify, done, total) })
	if err != nil {
		return err
	}
	defer archive.Close()
	trial, err := serve.BeginDrill(ctx, archive, key, a.now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trial.End()) }()
	d.describe(trial, archive)
	if n := len(d.Secrets.Closed); n > 0 && d.Secrets.Tried {
		return fail(exitFailed, "give the key that the vault had when the backup was made: `blufio config rotate-vault-key` makes another",
			"its secrets cannot be read with %s, %d of %d", key, n, d.Secrets.Total)
	}
	p.tell(bus.BackupCheck, 0, 0)
	if err := a.runDrill(ctx, trial, d); err != nil {
		return err
	}
	return trial.Check(ctx)
}

func (d *drill) describe(t *serve.Drill, archive *serve.Archive) {
	m := archive.Manifest()
	d.Cut, d.Config = m.Created, t.Config
	for _, n := range m.Rows {
		d.Rows += n
	}
	for room := range t.Restored.Migrated {
		d.Migrated = append(d.Migrated, room)
	}
	d.Secrets = secretsTried{Total: t.Restored.Vault.Secrets, Tried: t.Tried}
	if t.Tried {
		d.Secrets.Closed = t.Restored.Vault.Closed
	}
}

// runDrill runs the second daemon for as long as doctor looks at it.
func (a *app) runDrill(ctx context.Context, t *serve.Drill, d *drill) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	second, err := startSecond(self, a.getenv("PATH"), t)
	if err != nil {
		return err
	}
	defer func() { err = second.end(err) }()
	b := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, now: a.now, dataDir: t.DataDir(), configFile: t.ConfigFile()}
	conn, err := b.awaitSecond(ctx, second)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	c := checkup{deep: true}
	for _, id := range drilled {
		for _, known := range serve.Checks() {
			if strings.HasPrefix(known.ID, id) {
				c.only = append(c.only, known.ID)
			}
		}
	}
	err = follow(ctx, c, askerOn(conn), func(f bus.Finding) { d.Findings = append(d.Findings, f) })
	if err != nil {
		return fmt.Errorf("the second daemon did not examine itself: %w", err)
	}
	return d.judge()
}

// judge wants every check to be made that is about a backup, and none to fail.
func (d *drill) judge() error {
	serve.Sort(d.Findings)
	turned := false
	for _, f := range d.Findings {
		if f.Level == bus.LevelFail {
			return fmt.Errorf("doctor finds in it: %s: %s (%s)", f.Title, f.Seen, f.ID)
		}
		turned = turned || f.ID == "BLF-ROOM-003" && f.Level == bus.LevelOK
	}
	if !turned {
		return errors.New("no message went all the way")
	}
	return nil
}

// second is the daemon that runs on a restored backup.
type second struct {
	cmd    *exec.Cmd
	log    string        // file with what it says
	exited chan struct{} // closed when it is gone; err is then set
	err    error
}

// startSecond starts it with nothing of our environment but where programs are. It ends
// with us, however that is.
func startSecond(self, path string, t *serve.Drill) (*second, error) {
	s := &second{log: filepath.Join(t.Home(), "log"), exited: make(chan struct{})}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(self, "serve", "--data-dir", t.DataDir(), "--config", t.ConfigFile())
	s.cmd.Env = []string{"HOME=" + t.Home(), "TMPDIR=" + t.Home(), "PATH=" + path}
	s.cmd.Dir = t.Home()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // whose end would be taken for ours
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		if started <- err; err == nil {
			s.err = s.cmd.Wait()
			close(s.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start a second daemon: %w", err)
	}
	return s, nil
}

// awaitSecond dials it as soon as it is there.
func (a *app) awaitSecond(ctx context.Context, s *second) (*bus.Conn, error) {
	for {
		if info, err := serve.ReadInfo(a.dataDir); err == nil && info.PID == s.cmd.Process.Pid {
			conn, err := a.dial(bus.DoctorRun, bus.JobGet)
			if err == nil {
				return conn, nil
			}
		}
		select {
		case <-s.exited:
			return nil, errors.New("the second daemon does not start")
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(healthEvery):
		}
	}
}

// end stops it. What it said last is part of the error where there is one already.
func (s *second) end(err error) error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-s.exited:
	case <-time.After(drillStop):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	switch last := s.lastWords(); {
	case err != nil && last != "":
		return fmt.Errorf("%w; it said: %s", err, last)
	case err == nil && s.err != nil:
		return fmt.Errorf("the second daemon ended with %w", s.err)
	}
	return err
}

func (s *second) lastWords() string {
	f, err := os.Open(s.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-4096), io.SeekStart)
	}
	text, _ := io.ReadAll(f)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

func (a *app) drillText(d drill) string {
	u := a.ui(a.out)
	text := fmt.Sprintf("%s %s restores: a second daemon ran on it\n     %s%s%s%s%.1f s\n", u.ok(), line(d.Path),
		plural(d.Rows, "row"), u.sep(), "a message went all the way, "+plural(int64(len(d.Findings)), "check")+" of doctor", u.sep(), d.Seconds)
	switch s := d.Secrets; {
	case s.Tried && s.Total > 0:
		text += u.ok() + fmt.Sprintf(" its secrets can be read, all %d\n", s.Total)
	case s.Total > 0:
		text += u.warn() + fmt.Sprintf(" its secrets (%d) were not tried: give the vault's key with --vault-key\n", s.Total)
	}
	if d.Config != "" {
		text += u.warn() + " the configuration in it is not valid: " + line(d.Config) + "\n"
	}
	for _, f := range d.Findings {
		if f.Level == bus.LevelWarn {
			text += u.warn() + " " + line(f.Title) + ": " + line(f.Seen) + "\n"
		}
	}
	return text
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"database/sql"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
)

// breakage is one thing that is broken, from outside, and the one finding that it
// makes.
type breakage struct {
	name string
	up   bool             // doctor is asked while the daemon runs
	set  []string         // environment, of the daemon and of doctor
	sick func(p *patient) // breaks it; a daemon runs by then, if up
	pre  func(p *patient) // the same before the daemon starts; without up it has run once then
	args []string

	id    string // of the finding
	level string // "" is fail
	seen  string // part of what was seen
	fix   string // part of the hint
	code  int    // 0 is what the level says
	also  string // the id of one that may be found too
}

// patient is an installation, with the real program around it.
type patient struct {
	*testing.T
	dir  string // data
	toml string // configuration file
	env  []string
	log  bustest.Text // of the daemons
	ulim string       // what a shell does before a daemon, or to start it
}

func newPatient(t *testing.T, env ...string) *patient {
	t.Helper()
	root := t.TempDir()
	p := &patient{T: t, dir: filepath.Join(root, "data"), toml: filepath.Join(root, "blufio.toml")}
	p.env = append([]string{"HOME=" + root, "PATH=" + os.Getenv("PATH"), "BLUFIO_DATA_DIR=" + p.dir, "BLUFIO_CONFIG=" + p.toml,
		"BLUFIO_GATEWAY__LISTEN=127.0.0.1:0", "BLUFIO_BUS__LISTEN=127.0.0.1:0",
		"GORACE=atexit_sleep_ms=0",              // a race-enabled binary sleeps for a second at its end
		"BLUFIO_MEMORY__LIMIT_MB=2000"}, env...) // a race-enabled binary is heavy
	p.write(p.toml, "")
	return p
}

func (p *patient) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *patient) write(path, text string) {
	p.Helper()
	p.check(os.WriteFile(path, []byte(text), 0o600))
}

func (p *patient) chmod(name string, mode os.FileMode) {
	p.Helper()
	p.check(os.Chmod(filepath.Join(p.dir, name), mode))
}

// file is the path of a file in the data directory.
func (p *patient) file(name string) string { return filepath.Join(p.dir, name) }

// reload has the daemon read its configuration again.
func (p *patient) reload() {
	p.Helper()
	if out, err := p.command("config", "reload").CombinedOutput(); err != nil {
		p.Fatalf("reload: %v, %s", err, out)
	}
}

func (p *patient) sql(statement string) {
	p.Helper()
	p.check(changeDatabase(p.file("blufio.db"), statement))
}

// query reads one row.
func (p *patient) query(statement string, args ...any) (scan func(into ...any)) {
	p.Helper()
	return func(into ...any) {
		p.Helper()
		db, err := sql.Open("sqlite", p.file("blufio.db"))
		p.check(err)
		p.check(errors.Join(db.QueryRow(statement, args...).Scan(into...), db.Close()))
	}
}

// overwrite puts bytes into a file at an offset.
func (p *patient) overwrite(name string, at int64, data []byte) {
	p.Helper()
	f, err := os.OpenFile(p.file(name), os.O_RDWR, 0)
	p.check(err)
	_, err = f.WriteAt(data, at)
	p.check(errors.Join(err, f.Close()))
}

// command is the real program.
func (p *patient) command(args ...string) *exec.Cmd {
	self, err := os.Executable()
	p.check(err)
	cmd := exec.Command(self)
	cmd.Args = append([]string{"blufio"}, args...)
	cmd.Env = p.env
	return cmd
}

// daemon begins to run one, and waits until it is healthy.
func (p *patient) daemon() *exec.Cmd {
	p.Helper()
	cmd := p.command("serve")
	if p.ulim != "" {
		link := filepath.Join(p.TempDir(), "blufio") // the test binary is the program by its name
		p.check(os.Symlink(cmd.Path, link))
		cmd = exec.Command("sh", "-c", p.ulim+`; exec "$0" serve`, link)
		cmd.Env = p.env
	}
	cmd.Stderr = &p.log
	p.check(cmd.Start())
	if out, err := p.command("health", "--wait", "30s").CombinedOutput(); err != nil {
		p.Errorf("the daemon is not healthy: %v, %s", err, out)
	}
	return cmd
}

// start runs a daemon until stop is called, or the test ends.
func (p *patient) start() (stop func()) {
	p.Helper()
	cmd := p.daemon()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case err := <-ended:
			if err != nil {
				p.Errorf("the daemon: %v\n%s", err, &p.log)
			}
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			p.Errorf("the daemon does not stop: %v\n%s", <-ended, &p.log)
		}
	})
	p.Cleanup(stop)
	return stop
}

// crash runs a daemon that is killed.
func (p *patient) crash() {
	p.Helper()
	cmd := p.daemon()
	p.check(cmd.Process.Kill())
	_ = cmd.Wait() // killed
}

// used is what a daemon left that has run, by path.
var used struct {
	sync.Mutex
	files map[string][]byte
}

// runOnce leaves what a daemon leaves that has run.
func (p *patient) runOnce() {
	p.Helper()
	used.Lock()
	defer used.Unlock()
	if used.files == nil {
		p.start()()
		used.files = p.leftBehind()
		return
	}
	for name, data := range used.files {
		p.check(os.MkdirAll(filepath.Dir(p.file(name)), 0o700))
		p.write(p.file(name), string(data))
	}
}

func (p *patient) leftBehind() map[string][]byte {
	p.Helper()
	files := map[string][]byte{}
	p.check(filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(p.dir, path)
		p.check(err)
		files[name], err = os.ReadFile(path)
		return err
	}))
	return files
}

// doctor asks, and returns the exit code and the report.
func (p *patient) doctor(args ...string) (int, bus.DoctorReport) {
	p.Helper()
	cmd := p.command(append([]string{"doctor", "--json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.Fatal(err)
	}
	if stderr.Len() > 0 {
		p.Errorf("doctor said on stderr: %s", &stderr)
	}
	return cmd.ProcessState.ExitCode(), decodeAs[bus.DoctorReport](p.T, out)
}

// examine breaks what is to be broken and looks for the one finding.
func (b breakage) examine(t *testing.T) {
	p := newPatient(t, b.set...)
	if !b.up {
		p.runOnce()
	}
	if b.pre != nil {
		b.pre(p)
	}
	if b.up {
		p.start()
	}
	if b.sick != nil {
		b.sick(p)
	}
	code, report := p.doctor(b.args...)
	b.judge(t, code, report)
}

// diskID is what is found when the disk of the machine that runs the tests is busy.
const diskID = "BLF-FILE-006"

func (b breakage) judge(t *testing.T, code int, report bus.DoctorReport) {
	t.Helper()
	level, want := bus.LevelFail, exitFailed
	if b.level != "" {
		level = b.level
	}
	if level != bus.LevelFail {
		want = exitWarnings
	}
	if (level == bus.LevelInfo || level == bus.LevelOK) && b.up {
		want = exitOK
	}
	if b.code != 0 {
		want = b.code
	}
	slow := slices.ContainsFunc(report.Findings, func(f bus.Finding) bool { return f.ID == diskID && f.Level == bus.LevelWarn })
	if slow && want == exitOK {
		want = exitWarnings
	}
	if code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
	if mode := map[bool]string{true: bus.DoctorLive, false: bus.DoctorOffline}[b.up]; report.Mode != mode && b.code == 0 {
		t.Errorf("mode %s, want %s", report.Mode, mode)
	}
	met := false
	for _, f := range report.Findings {
		switch {
		case f.ID == b.id:
			met = true
			if f.Level != level || !strings.Contains(f.Seen, b.seen) || !strings.Contains(f.Fix, b.fix) {
				t.Errorf("%s %s\nseen: %s\nfix:  %s\nwant %s, %q, %q", f.ID, f.Level, f.Seen, f.Fix, level, b.seen, b.fix)
			}
			if f.DurationMS > f.TimeoutMS+5000 { // the machine may be busy; a hang would take longer
				t.Errorf("%s took %d ms of %d", f.ID, f.DurationMS, f.TimeoutMS)
			}
		case f.ID == reachID && !b.up && f.Level == bus.LevelWarn:
		case f.ID == b.also:
		case f.ID == diskID && f.Level == bus.LevelWarn:
		case f.Level == bus.LevelFail, f.Level == bus.LevelWarn:
			t.Errorf("%s %s too: %s", f.ID, f.Level, f.Seen)
		}
	}
	if !met {
		t.Errorf("no finding %s in %+v", b.id, report.Findings)
	}
}

func (b breakage) run(t *testing.T) {
	t.Run(b.name, func(t *testing.T) {
		t.Parallel()
		b.examine(t)
	})
}

// A new installation that was started once is well.
func TestDoctorOfANewInstallation(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.start()
	for _, args := range [][]string{nil, {"--deep"}} {
		code, report := p.doctor(args...)
		if code != exitOK || report.Schema != bus.DoctorSchema || report.Result != bus.LevelOK || report.Mode != bus.DoctorLive {
			t.Errorf("code %d, report %+v", code, report)
		}
		for _, f := range report.Findings {
			if f.Level == bus.LevelWarn || f.Level == bus.LevelFail || f.Seen == "" || f.Title == "" || f.Why == "" || f.Fix == "" || f.Ref == "" || f.TimeoutMS == 0 {
				t.Errorf("%+v", f)
			}
		}
		checkOrder(t, report, args)
	}
}

// checkOrder wants every check of the table that was asked for, in its order.
func checkOrder(t *testing.T, report bus.DoctorReport, args []string) {
	t.Helper()
	code, out, _ := runMain(nil, "doctor", "--list", "--json")
	if code != 0 {
		t.Fatalf("--list exits %d", code)
	}
	var want, got []string
	for _, c := range decodeAs[[]struct {
		ID   string
		Deep bool
	}](t, []byte(out)) {
		if !c.Deep || len(args) > 0 {
			want = append(want, c.ID)
		}
	}
	for _, f := range report.Findings {
		got = append(got, f.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("findings %v\nwant %v", got, want)
	}
}

// Where nothing was ever started there is nothing to complain of but that.
func TestDoctorBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	code, report := p.doctor("--deep")
	breakage{id: reachID, level: bus.LevelWarn, seen: "not running", fix: "blufio serve"}.judge(t, code, report)
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("doctor left something behind: %v", err)
	}
}

// The findings of a text run are the same, and what is well takes one line.
func TestDoctorText(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.start()
	p.write(p.toml, "[gateway]\nlissten = \"x\"\n")
	cmd := p.command("doctor", "--skip", "GW")
	out, _ := cmd.Output()
	text := strings.Join(strings.Fields(string(out)), " ") // it is wrapped by the length of a path
	for _, want := range []string{"FAIL BLF-CFG-001 The configuration is valid seen " + p.toml + ":2:1: unknown key", " fix did you mean", " see DOCTOR.md#blf-cfg-001 ",
		" ok BLF-DB-002 The database takes writes (a row", " FAIL 1 failure, "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "\x1b") || strings.Contains(string(out), "BLF-GW") || cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("exit code %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
}

// What is named is made, and what cannot be named is refused.
func TestDoctorOnly(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	code, report := p.doctor("--only", "blf-file", "--skip", "FILE-003", "--only", "cfg-001")
	var got []string
	for _, f := range report.Findings {
		got = append(got, f.ID)
	}
	if want := []string{"BLF-CFG-001", "BLF-FILE-001", "BLF-FILE-002", "BLF-FILE-004", "BLF-FILE-005", "BLF-FILE-006"}; code != 0 || !slices.Equal(got, want) {
		t.Errorf("code %d, findings %v, want %v", code, got, want)
	}
	code, report = p.doctor("--only", "GW-001")
	if code != exitWarnings || len(report.Findings) != 2 || findingOf(report, reachID).Level != bus.LevelWarn {
		t.Errorf("code %d, %+v", code, report.Findings)
	}
	code, report = p.doctor("--only", "GW-001", "--skip", reachID)
	if code != exitOK || len(report.Findings) != 1 {
		t.Errorf("code %d, %+v", code, report.Findings)
	}
	for _, args := range [][]string{{"--only", "BLF-XX"}, {"--skip", "7"}, {"--timeout", "2m"}, {"--timeout", "1ns"}, {"--timeout", "-1s"}, {"--skip", "BLF"}, {"--only", "TG", "--skip", "TG"}} {
		cmd := p.command(append([]string{"doctor"}, args...)...)
		cmd.Stdout = io.Discard
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != exitUsage {
			t.Errorf("%v: exit code %d", args, cmd.ProcessState.ExitCode())
		}
	}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/klauspost/compress/zstd"
)

// Backups are made while people talk, and nobody is kept waiting or loses anything; each is
// whole, and read by the stock tools.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	p := newPlan(t, m)
	if err := os.Mkdir(p.out(), 0o700); err != nil {
		t.Fatal(err)
	}
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	tr := talk(t, p)
	tr.await(t, 40)
	const backups = 12
	for i := range backups {
		acked := tr.acked.Load()
		p.run(t, build(t, shipped), nil, "backup", filepath.Join(p.out(), fmt.Sprint(i))).want(t, 0, "")
		tr.await(t, max(1, 5-(tr.acked.Load()-acked)))
	}
	tr.finish(t)
	if n := p.wantWhole(t, p.out()); n != backups {
		t.Errorf("%d backups are whole, want %d", n, backups)
	}
	p.wantNoScratch(t)
	p.wantStockTools(t, filepath.Join(p.out(), "0"))
	found := &findings{speakers: speakers, settleLimit: settleLimit}
	judge(t, p, d, m, found, nil)
	found.report(t)
}

// wantStockTools reads an archive with tar and zstd, where they are.
func (p plan) wantStockTools(t *testing.T, path string) {
	t.Helper()
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Log("no zstd here")
		return
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `zstd -dc < "$1" | tar t`, "sh", path).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "manifest.json\nblufio.db\ndevice.pub\n") {
		t.Errorf("%v: %s", err, out)
	}
}

// slowReader is a command that hands its backup to somebody who does not read on.
type slowReader struct {
	cmd  *exec.Cmd
	pipe io.ReadCloser
	err  bytes.Buffer
}

func (p plan) slowReader(t *testing.T, binary string) *slowReader {
	t.Helper()
	s := &slowReader{cmd: p.command(t, binary, nil, "backup", "-")}
	s.cmd.Stderr = &s.err
	var err error
	if s.pipe, err = s.cmd.StdoutPipe(); err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // mostly gone
	if _, err := io.ReadFull(s.pipe, make([]byte, 1)); err != nil {
		t.Fatalf("%v\n%s", err, &s.err)
	}
	return s
}

// rest reads on.
func (s *slowReader) rest(t *testing.T) said {
	t.Helper()
	var out bytes.Buffer
	if _, err := io.Copy(&out, s.pipe); err != nil {
		t.Fatal(err)
	}
	return ended(t, s.cmd.Wait(), &out, &s.err)
}

// One backup at a time: while one is read slowly, others are told so; when it is done they
// are made. A daemon that is stopped in the middle ends it with one line.
func TestBackupInTheMiddle(t *testing.T) {
	t.Parallel()
	binary := build(t, shipped)
	p := begun(t, 6<<20, "")
	d := start(t, p, binary)
	d.awaitHealthy(t)
	slow := p.slowReader(t, binary)
	p.run(t, binary, nil, "backup", filepath.Join(p.out(), "second")).want(t, 1, "another backup is being made")
	if got := p.run(t, binary, nil, "backup", "list"); !strings.Contains(string(got.out), "one is being made: writing") {
		t.Errorf("the list says %s", got.out)
	}
	slow.rest(t).want(t, 0, "ok")
	p.run(t, binary, nil, "backup", filepath.Join(p.out(), "third")).want(t, 0, "")

	slow = p.slowReader(t, binary)
	d.stop(t)
	got := slow.rest(t)
	got.want(t, 1, "in the middle of the backup")
	if lines := strings.Count(got.err, "\n"); lines != 2 { // and a hint
		t.Errorf("it says\n%s", got.err)
	}
	p.wantNoScratch(t)
	if n := p.wantWhole(t, p.out()); n != 1 {
		t.Errorf("%d backups", n)
	}
	if _, left := archives(t, p.out()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An interrupt ends a backup and leaves nothing, and the daemon makes the next one at once.
func TestBackupInterrupted(t *testing.T) {
	t.Parallel()
	binary := build(t, shipped)
	p := begun(t, 6<<20, "")
	d := start(t, p, binary)
	d.awaitHealthy(t)
	slow := p.slowReader(t, binary)
	if err := slow.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	slow.rest(t).want(t, 130, "stopped")
	until(t, "the next one works", 10*time.Second, func() bool { return p.run(t, binary, nil, "backup", filepath.Join(p.out(), "next")).code == 0 })
	p.wantNoScratch(t)
	d.stop(t)
}

// mountTmpfs puts a file system of that size at dir, which needs root.
func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options)
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("a file system cannot be mounted: run as root (in CI this would fail)")
	}
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// Where it is to lie there is no space, no right, another file system, or nothing.
func TestBackupTargets(t *testing.T) {
	t.Parallel()
	binary := build(t, shipped)
	p := begun(t, 3<<20, "")
	small, sealed, other := filepath.Join(p.dir, "small"), filepath.Join(p.dir, "sealed"), filepath.Join(p.dir, "other")
	mountTmpfs(t, small, "size=1m,mode=0700")
	mountTmpfs(t, other, "size=30m,mode=0700")
	mountTmpfs(t, sealed, "size=30m,mode=0700,ro")
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			var d *daemon
			if running {
				d = start(t, p, binary)
				d.awaitHealthy(t)
				defer d.stop(t)
			}
			path := func(dir string) string { return filepath.Join(dir, fmt.Sprint(running)) }
			p.run(t, binary, nil, "backup", path(small)).want(t, 1, "free")
			p.run(t, binary, nil, "backup", path(sealed)).want(t, 1, "read-only")
			p.run(t, binary, nil, "backup", path(other)).want(t, 0, "")
			p.run(t, binary, nil, "backup", path(filepath.Join(p.dir, "nowhere"))).want(t, 1, "does not exist")
			p.run(t, binary, nil, "backup", path(other)).want(t, 1, "is there already")
			full := p.command(t, binary, nil, "backup", "-")
			var stderr bytes.Buffer
			dev, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			full.Stdout, full.Stderr = dev, &stderr
			ended(t, full.Run(), new(bytes.Buffer), &stderr).want(t, 1, "no space left on device")
		})
	}
	if n := p.wantWhole(t, other); n != 2 {
		t.Errorf("%d backups on the other file system", n)
	}
	for _, dir := range []string{small, sealed, other} {
		if whole, left := archives(t, dir); dir != other && len(whole) > 0 || len(left) > 0 {
			t.Errorf("left in %s: %v %v", dir, whole, left)
		}
	}
	p.wantNoScratch(t)
}

// Without space for the copy no backup is made, and that is said at once; the daemon goes on.
func TestBackupDiskFull(t *testing.T) {
	t.Parallel()
	binary := build(t, shipped)
	p := plan{dir: t.TempDir()}
	if err := os.WriteFile(p.config(), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, p)
	d := start(t, p, binary)
	d.awaitHealthy(t)
	d.stop(t)
	p.bulk(t, 6<<20)
	d = start(t, p, binary)
	d.awaitHealthy(t)
	fill(t, p)
	p.run(t, binary, nil, "backup", filepath.Join(p.dir, "one")).want(t, 1, "not enough free space")
	if err := os.Remove(filler(p)); err != nil {
		t.Fatal(err)
	}
	until(t, "it works again", backLimit, func() bool { return p.run(t, binary, nil, "backup", filepath.Join(p.dir, "two")).code == 0 })
	p.run(t, binary, nil, "backup", "verify", filepath.Join(p.dir, "two")).want(t, 0, "")
	p.wantNoScratch(t)
	d.stop(t)
}

// No secret that is kept or set is in an archive in clear, wherever it stood.
func TestBackupHasNoSecrets(t *testing.T) {
	t.Parallel()
	binary := build(t, shipped)
	env := []string{"BLUFIO_GROQ__API_KEY=planted-in-environment-1", "BLUFIO_VAULT_KEY=planted passphrase for the vault"}
	p := plan{dir: t.TempDir()}
	err := os.WriteFile(p.config(), []byte(settings+`
[agent]
system_prompt = "your key is planted-in-the-file-1, tell nobody"
[openai]
api_key = "planted-in-the-file-1"
# api_key = "planted-in-a-comment-1"
[telegram]
bot_token = '''12345:planted-in-the-file-2'''
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	set := p.command(t, binary, env, "config", "set-secret", "anthropic.api_key")
	set.Stdin = strings.NewReader("planted-in-the-vault-1\n")
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	check := func(path string) {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		all, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		seed, err := os.ReadFile(filepath.Join(p.data(), "device.nk"))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"planted", string(bytes.TrimSpace(seed))} {
			if i := bytes.Index(all, []byte(secret)); i >= 0 {
				t.Errorf("%s has a secret in clear: %.100q", path, all[max(0, i-30):])
			}
		}
		if !bytes.Contains(all, []byte("system_prompt")) {
			t.Error("the configuration is not in it")
		}
	}
	var made struct {
		bus.BackupArchive
		Needs string `json:"needs"`
	}
	for _, running := range []bool{false, true} {
		if running {
			d := start(t, p, binary, env...)
			d.awaitHealthy(t)
			defer d.stop(t)
		}
		path := filepath.Join(p.dir, fmt.Sprint(running))
		got := p.run(t, binary, env, "backup", path, "--json")
		got.want(t, 0, "")
		if err := json.Unmarshal(got.out, &made); err != nil || got.err != "" {
			t.Fatalf("%v: %s%s", err, got.out, got.err)
		}
		if fmt.Sprint(made.Stripped) != "[a comment openai.api_key telegram.bot_token]" || made.Secrets != 1 || made.VaultSource != bus.KeyPassphrase || !strings.Contains(made.Needs, "BLUFIO_VAULT_KEY") {
			t.Errorf("%+v", made)
		}
		check(path)
	}
}

// What root does without a daemon belongs to the owner of the data directory; the backup is
// root's.
func TestBackupAsRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("run as root")
	}
	binary := build(t, shipped)
	p := begun(t, 0, "")
	dir, err := os.MkdirTemp("", "owner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const nobody = 65534
	q := plan{dir: dir}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", p.data(), p.config(), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "chown", "-R", fmt.Sprint(nobody), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(p.out(), "mine") // where the owner could not write
	q.run(t, binary, nil, "backup", path).want(t, 0, "")
	q.run(t, binary, nil, "backup", "verify", path).want(t, 0, "")
	owner := func(path string) uint32 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	if owner(path) != 0 {
		t.Errorf("the backup belongs to %d", owner(path))
	}
	entries, err := os.ReadDir(q.data())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if uid := owner(filepath.Join(q.data(), e.Name())); uid != nobody {
			t.Errorf("%s belongs to %d", e.Name(), uid)
		}
	}
}

// The daemon makes backups by itself, proves them, starts a second daemon on one, and sends
// each away.
func TestBackupSchedule(t *testing.T) {
	t.Parallel()
	binary := build(t, armed)
	p := begun(t, 1<<20, "")
	away := filepath.Join(p.dir, "away")
	if err := os.Mkdir(away, 0o700); err != nil {
		t.Fatal(err)
	}
	p.add(t, "[backup]\nevery = \"1h\"\nafter = [\"cp\", \"-t\", \""+away+"\"]\n")
	d := start(t, p, binary, "BLUFIO_HASTE=1")
	d.awaitHealthy(t)
	var state struct {
		Files []bus.BackupFile  `json:"files"`
		State bus.BackupSummary `json:"state"`
	}
	until(t, "a backup is made, verified and restored on trial", 2*time.Minute, func() bool {
		got := p.run(t, binary, nil, "backup", "list", "--json")
		if err := json.Unmarshal(got.out, &state); err != nil {
			t.Fatalf("%v: %s%s", err, got.out, got.err)
		}
		if f := state.State.LastFailure; f != nil {
			t.Fatalf("it failed: %+v\n%s", f, p.logTail())
		}
		return state.State.LastVerified != nil && state.State.LastDrilled != nil
	})
	if len(state.Files) != 1 {
		t.Errorf("files %+v", state.Files)
	}
	until(t, "it is sent away", time.Minute, func() bool { whole, _ := archives(t, away); return len(whole) == 1 })
	p.run(t, binary, nil, "doctor", "--deep", "--only", "BLF-BAK-001,BLF-BAK-002,BLF-BAK-003,BLF-BAK-004").want(t, 0, "")
	d.stop(t)
	if n := p.wantWhole(t, away) + p.wantWhole(t, filepath.Join(p.data(), "backups")); n != 2 {
		t.Errorf("%d are whole", n)
	}
	p.wantNoScratch(t)
}

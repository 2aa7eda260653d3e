// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// installation is a daemon as a package sets it up: a user of its own, a closed data
// directory, and a directory in /run that its group may enter.
type installation struct {
	binary *os.File
	env    []string
	data   string
	run    string
}

const owner = 4711 // of the daemon, and its group

func newInstallation(t *testing.T) *installation {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be several users")
	}
	dir, err := os.MkdirTemp("/tmp", "blufio-member-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a leftover in /tmp
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.Open(self) // others cannot walk to it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { binary.Close() }) //nolint:errcheck // it was only read
	i := &installation{binary: binary, data: filepath.Join(dir, "data"), run: filepath.Join(dir, "run")}
	for path, mode := range map[string]os.FileMode{i.data: 0o700, i.run: 0o750} {
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	i.env = []string{"BLUFIO_DATA_DIR=" + i.data, "RUNTIME_DIRECTORY=" + i.run, "BLUFIO_GATEWAY__LISTEN=127.0.0.1:0",
		"BLUFIO_BUS__LISTEN=127.0.0.1:0", "BLUFIO_MEMORY__LIMIT_MB=2000", "USER=ada", "GORACE=atexit_sleep_ms=0"}
	return i
}

// command is one of the program, as a user with a group.
func (i *installation) command(uid, gid uint32, args ...string) (cmd *exec.Cmd, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	cmd = exec.Command("/proc/self/fd/3")
	cmd.Args, cmd.ExtraFiles, cmd.Env, cmd.Dir = append([]string{"blufio"}, args...), []*os.File{i.binary}, i.env, "/"
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return cmd, out, errs
}

func (i *installation) ends(t *testing.T, code int, uid, gid uint32, args ...string) (out, errs string) {
	t.Helper()
	cmd, o, e := i.command(uid, gid, args...)
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("%v as %d:%d: %v, want exit code %d\n%s%s", args, uid, gid, err, code, o, e)
	}
	return o.String(), e.String()
}

// start runs the daemon until the function that it returns is called.
func (i *installation) start(t *testing.T) (stop func()) {
	t.Helper()
	cmd, _, log := i.command(owner, owner, "serve")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the daemon: %v\n%s", err, log)
			}
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("the daemon did not end: %v", <-ended)
		}
	}
	t.Cleanup(stop)
	i.ends(t, exitOK, owner, owner, "health", "--wait", "20s")
	return stop
}

// Root, and members of the daemon's group, operate it. Others are told how to.
func TestMember(t *testing.T) {
	i := newInstallation(t)
	stop := i.start(t)
	for _, args := range [][]string{{"status"}, {"health"}, {"send", "hello"}, {"config", "set-secret", "telegram.bot_token", "--help"}, {"queue", "list"}} {
		i.ends(t, exitOK, 0, 0, args...)
		i.ends(t, exitOK, 5000, owner, args...)
	}
	if out, _ := i.ends(t, exitOK, 5000, owner, "doctor", "--only", "BLF-BUS-001"); strings.Contains(out, "process 0") {
		t.Errorf("a member's doctor does not know the daemon:\n%s", out)
	}
	_, errs := i.ends(t, exitDenied, 5001, 5001, "status")
	if want := "blufio: the daemon on " + i.data + " is operated by root and the members of the group 4711"; !strings.HasPrefix(errs, want) ||
		!strings.Contains(errs, "sudo usermod -aG 4711 ada") || strings.Count(errs, "\n") != 2 {
		t.Errorf("an outsider is told\n%s", errs)
	}
	for name, mode := range map[string]os.FileMode{"operator.creds": 0o640, "daemon.json": 0o640} {
		if info, err := os.Stat(filepath.Join(i.run, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want mode %o", name, info, err, mode)
		}
	}
	stop()
	if left, err := os.ReadDir(i.run); err != nil || len(left) != 0 {
		t.Errorf("a daemon that has stopped leaves %v (%v)", left, err)
	}
	_, errs = i.ends(t, exitNotRunning, 5000, owner, "status")
	if !strings.Contains(errs, "not running as a service") {
		t.Errorf("a member is told of a stopped daemon\n%s", errs)
	}
}

// The key of one run opens no other.
func TestMemberKeyEnds(t *testing.T) {
	i := newInstallation(t)
	stop := i.start(t)
	kept, err := os.ReadFile(filepath.Join(i.run, "operator.creds"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	i.start(t)
	if err := os.WriteFile(filepath.Join(i.run, "operator.creds"), kept, 0o640); err != nil {
		t.Fatal(err)
	}
	i.ends(t, exitDenied, 5000, owner, "send", "hello")
}

// What root does while no daemon runs, the daemon can open.
func TestRootOffline(t *testing.T) {
	i := newInstallation(t)
	cmd, out, errs := i.command(0, 0, "config", "set-secret", "telegram.bot_token")
	cmd.Stdin = strings.NewReader("12345:planted-planted-planted-planted-abc\n")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	i.ends(t, exitNotRunning, 0, 0, "status")
	err := filepath.Walk(i.data, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != owner {
			t.Errorf("%s belongs to %d", path, info.Sys().(*syscall.Stat_t).Uid)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

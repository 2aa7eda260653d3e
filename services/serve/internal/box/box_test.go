// SPDX-License-Identifier: MIT OR Apache-2.0

package box

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// fakeGroup has the files that the kernel would make.
func fakeGroup(t *testing.T, files map[string]string) *Group {
	t.Helper()
	g := &Group{dir: t.TempDir(), limit: 128 << 20, files: versions[1]}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestOOMKills(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          int
		fails         bool
	}{
		{"version 2", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n", 1, false},
		{"version 1", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3, false},
		{"a kernel that does not count", "oom_kill_disable 0\nunder_oom 0\n", 0, true},
		{"garbage", "oom_kill many\n", 0, true},
	} {
		got, err := fakeGroup(t, map[string]string{"memory.events": tc.content}).OOMKills()
		if got != tc.want || (err != nil) != tc.fails {
			t.Errorf("%s: %d, %v", tc.name, got, err)
		}
	}
	var none *Group
	if n, err := none.OOMKills(); n != 0 || err != nil || none.Remove() != nil {
		t.Errorf("without a group: %d, %v", n, err)
	}
}

// A directory without the controller's files is no group: none may be created there.
func TestGroupIsNotMadeUp(t *testing.T) {
	g := &Group{dir: filepath.Join(t.TempDir(), "group"), limit: 1, files: versions[1]}
	if err := g.make(); err == nil {
		t.Error("a plain directory has become a control group")
	}
	if _, err := os.Stat(g.dir); err == nil {
		t.Error("the directory is still there")
	}
}

// A group of the real kernel kills what wants more than there is, and counts it.
func TestGroupKills(t *testing.T) {
	g, err := NewGroup("test", 20<<20)
	if err != nil {
		t.Skipf("no memory control group can be made here: %v", err)
	}
	args := Wrap(g, false, "sh", "-c", "head -c 100000000 /dev/zero | tail") // tail keeps a line that does not end
	if out, err := exec.Command(args[0], args[1:]...).Output(); err == nil {
		t.Errorf("100 MB fit into 20: %d bytes came", len(out))
	}
	if n, err := g.OOMKills(); n == 0 || err != nil {
		t.Errorf("%d kills, %v", n, err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// A process is where it was put, and one that is not is found out.
func TestCheck(t *testing.T) {
	g, err := NewGroup("check", 64<<20)
	if err != nil {
		t.Skipf("no memory control group can be made here: %v", err)
	}
	args := Wrap(g, true, "sh", "-c", "echo there; exec sleep 60")
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if word, err := bufio.NewReader(out).ReadString('\n'); word != "there\n" { // the shell is on its way until then
		t.Errorf("it says %q, %v", word, err)
	}
	if err := Check(g, true, cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if err := Check(g, false, os.Getpid()); err == nil {
		t.Error("the test is not in the group")
	}
	if runtime.NumCPU() > 1 && Check(nil, true, os.Getpid()) == nil {
		t.Error("the test has more than one processor")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// packages of one release, and of a later one.
func packageOf(t *testing.T, version string) string {
	t.Helper()
	return filepath.Join(os.Getenv("E2E_PACKAGES"), "blufio_"+version+"-1_amd64.deb")
}

const configuration = `
[agent]
provider = "openai"
model = "gpt-4o-mini"
[openai]
base_url = "http://` + modelAddress + `/v1"
`

const planted = "zanzibar-4711"

// TestJourney is a year in the life of a packaged daemon.
func TestJourney(t *testing.T) {
	m := boot(t)
	m.step("install", m.install)
	m.step("secret", m.setSecret)
	m.step("start", m.start)
	m.step("people", m.people)
	m.step("talk", m.talk)
	m.step("log", m.logs)
	m.step("doctor", m.doctor)
	m.step("rest", m.rest)
	m.step("kill", m.kill)
	m.step("memory", m.memory)
	m.step("model", m.modelFile)
	m.step("stop", m.stop)
	m.step("configuration", m.misconfigure)
	m.step("reload", m.reload)
	m.step("watchdog", m.watchdog)
	m.step("credential", m.credential)
	m.step("reboot", m.reboot)
	m.step("upgrade", m.upgrade)
	m.step("several", m.several)
	m.step("remove", m.remove)
}

func (m *machine) install() {
	m.give(packageOf(m.T, "1.0.0"), "/root/blufio.deb")
	m.run("dpkg", "--install", "/root/blufio.deb")
	m.installed()
	if got := m.prop("blufio", "ActiveState"); got != "inactive" {
		m.Errorf("what is only installed is %s", got)
	}
	if got := m.run("blufio", "version"); !strings.HasPrefix(got, "blufio v1.0.0 ") || !strings.Contains(got, "commit ") {
		m.Errorf("the program is %s", got)
	}
}

// installed holds owners and modes of what a package has brought.
func (m *machine) installed() {
	m.Helper()
	for path, want := range map[string]string{
		"/usr/bin/blufio":         "755 root:root",
		"/etc/blufio":             "750 root:blufio",
		"/etc/blufio/blufio.toml": "640 root:blufio",
		"/var/lib/blufio":         "700 blufio:blufio",
	} {
		if got := strings.TrimSpace(m.run("stat", "-c", "%a %U:%G", path)); got != want {
			m.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// setSecret is what root does before the first start.
func (m *machine) setSecret() {
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration)
	m.sh("echo sk-planted-planted-planted-planted | blufio config set-secret openai.api_key")
	if out := m.sh("find /var/lib/blufio ! -user blufio"); out != "" {
		m.Errorf("the daemon cannot use\n%s", out)
	}
}

func (m *machine) start() {
	m.run("systemctl", "enable", "--now", "blufio")
	m.healthy("")
	m.eventually(30*time.Second, "systemctl status tells how it is", func() bool {
		return strings.HasPrefix(m.prop("blufio", "StatusText"), "healthy: sessions 0 active of 0, memory ")
	})
}

// healthy asks the daemon of a data directory, or the only one.
func (m *machine) healthy(data string) {
	m.Helper()
	args := []string{"blufio", "status", "--json"}
	if data != "" {
		args = append(args, "--data-dir", data)
	}
	var st struct {
		State    string
		Services []struct {
			Name, State string
			Problems    []any
		}
	}
	out, _ := m.ends(args...)
	if err := json.Unmarshal([]byte(out), &st); err != nil || st.State != "healthy" {
		m.Errorf("status: %v\n%s", err, out)
	}
}

// people: root, members of the group, and others.
func (m *machine) people() {
	m.run("useradd", "--create-home", "--groups", "blufio", "ada")
	m.run("useradd", "--create-home", "bob")
	for _, args := range [][]string{{"status"}, {"health"}, {"queue", "list"}, {"config", "list-secrets"}, {"cost"}} {
		if out, code := m.as("ada", append([]string{"blufio"}, args...)...); code != 0 {
			m.Errorf("a member of the group: %v: exit code %d\n%s", args, code, out)
		}
		out, code := m.as("bob", append([]string{"blufio"}, args...)...)
		if code != 5 || strings.Count(out, "\n") != 2 || !strings.Contains(out, "operated by root and the members of the group blufio") {
			m.Errorf("somebody else: %v: exit code %d\n%s", args, code, out)
		}
	}
}

func (m *machine) talk() {
	token := m.token()
	m.answered(token, m.say(token, "hello "+planted), "you said: hello "+planted)
}

// logs: the journal knows priorities, and no messages.
func (m *machine) logs() {
	log := m.run("journalctl", "-u", "blufio", "--no-pager", "-o", "cat")
	if strings.Contains(log, planted) || strings.Contains(log, "sk-planted") {
		m.Errorf("the log has what was said, or a secret:\n%s", log)
	}
	if strings.Contains(log, "<6>") || !strings.Contains(log, "msg=ready") {
		m.Errorf("the log is\n%s", log)
	}
	m.put("/etc/rsyslog.d/30-blufio.conf", "644", "root:root", m.sh("cat /usr/share/doc/blufio/examples/rsyslog.conf"))
	m.run("systemctl", "restart", "rsyslog")
	m.run("systemctl", "restart", "blufio")
	m.eventually(10*time.Second, "rsyslog writes the log", func() bool {
		return strings.Contains(m.try("cat", "/var/log/blufio.log"), "msg=ready")
	})
	m.run("logrotate", "--force", "/etc/logrotate.d/blufio")
	m.run("systemctl", "restart", "blufio")
	m.eventually(10*time.Second, "rsyslog goes on in a new file", func() bool {
		return strings.Contains(m.try("cat", "/var/log/blufio.log"), "msg=ready")
	})
	if out := m.run("journalctl", "-u", "blufio", "-p", "warning", "--no-pager", "-o", "cat"); strings.Contains(out, "level=INFO") {
		m.Errorf("warnings alone are\n%s", out)
	}
}

// doctor finds nothing that fails in what the package has set up.
func (m *machine) doctor() {
	out, code := m.ends("blufio", "doctor", "--deep", "--json")
	var report struct {
		Findings []struct{ ID, Level, Seen string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code == 1 || code > 2 {
		m.Errorf("doctor: exit code %d, %v\n%s", code, err, out)
	}
	for _, f := range report.Findings {
		if f.Level == "warn" {
			m.Logf("doctor warns: %s %s", f.ID, f.Seen)
		}
	}
}

// rest gives memory back, with all that the unit forbids and hides.
func (m *machine) rest() {
	maps := "/proc/" + m.prop("blufio", "MainPID") + "/maps"
	m.eventually(60*time.Second, "the program is mapped in pieces", func() bool {
		return strings.Count(m.run("cat", maps), " /usr/bin/blufio\n") > 1000
	})
	m.atRest()
	log := m.run("journalctl", "-u", "blufio", "-p", "warning", "--no-pager", "-o", "cat")
	if strings.Contains(log, "service=governor") {
		m.Errorf("what the governor could not do:\n%s", log)
	}
}

// inFlight hands a message in whose answer the model holds back.
func (m *machine) inFlight(token, text string) (id string, letGo func()) {
	m.Helper()
	letGo = m.model.hold()
	id = m.say(token, text)
	m.eventually(10*time.Second, "the model is asked", func() bool { return m.model.waiting() > 0 })
	return id, letGo
}

func (m *machine) kill() {
	m.run("systemctl", "reset-failed", "blufio")
	n := m.restarts("blufio")
	token := m.token()
	id, letGo := m.inFlight(token, "killed")
	m.run("systemctl", "kill", "--signal=KILL", "blufio")
	letGo()
	m.restarted("blufio", n+1, 20*time.Second)
	m.answered(token, id, "you said: killed")
	m.healthy("")
}

func (m *machine) restarts(unit string) int {
	m.Helper()
	n, err := strconv.Atoi(m.prop(unit, "NRestarts"))
	if err != nil {
		m.Fatal(err)
	}
	return n
}

// memory runs out: something else in the unit's group takes what there is, until the kernel
// kills, and what it likes to kill best is the daemon.
func (m *machine) memory() {
	n, pid := m.restarts("blufio"), m.prop("blufio", "MainPID")
	token := m.token()
	id, letGo := m.inFlight(token, "no memory")
	hog := m.command("sh", "-ec", `
		echo 1000 >"/proc/$2/oom_score_adj"
		for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
			if [ -e "$root$1/cgroup.procs" ]; then
				echo $$ >"$root$1/cgroup.procs"
				break
			fi
		done
		exec tail /dev/zero`, "sh", m.prop("blufio", "ControlGroup"), pid)
	if err := hog.Start(); err != nil {
		m.Fatal(err)
	}
	defer hog.Wait()         //nolint:errcheck // it was killed
	defer hog.Process.Kill() //nolint:errcheck // or else systemd has
	m.eventually(30*time.Second, "the kernel kills the daemon", func() bool { return m.prop("blufio", "MainPID") != pid })
	letGo()
	m.restarted("blufio", n+1, 30*time.Second)
	m.answered(token, id, "you said: no memory")
	if got := m.prop("blufio", "MemoryMax"); got != "268435456" {
		m.Errorf("MemoryMax is %s", got)
	}
}

// stop is clean and in time also while a model says nothing, and what was not answered then
// is answered later.
func (m *machine) stop() {
	token := m.token()
	id, letGo := m.inFlight(token, "stopped")
	began := time.Now()
	m.run("systemctl", "stop", "blufio")
	if took := time.Since(began); took > 20*time.Second {
		m.Errorf("a stop takes %s", took)
	}
	letGo()
	if got := m.prop("blufio", "Result") + " " + m.prop("blufio", "ExecMainStatus"); got != "success 0" {
		m.Errorf("a stop ends with %s", got)
	}
	time.Sleep(3 * time.Second) // longer than RestartSec
	if got := m.prop("blufio", "ActiveState"); got != "inactive" {
		m.Errorf("3 s after a stop it is %s", got)
	}
	if out, code := m.ends("blufio", "status"); code != 3 {
		m.Errorf("status of a stopped one: exit code %d\n%s", code, out)
	}
	if out, code := m.as("ada", "blufio", "status"); code != 3 {
		m.Errorf("a member's status of a stopped one: exit code %d\n%s", code, out)
	}
	if out := m.try("ls", "/run/blufio"); !strings.Contains(out, "No such file") {
		m.Errorf("/run/blufio still has %s", out)
	}
	m.run("systemctl", "start", "blufio")
	m.answered(token, id, "you said: stopped")
}

// misconfigure: what a person has to mend is told at once, and is not tried again.
func (m *machine) misconfigure() {
	m.run("systemctl", "stop", "blufio")
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration+"\nnonsense = 1\n")
	began := time.Now()
	if out, code := m.ends("systemctl", "start", "blufio"); code == 0 {
		m.Errorf("it starts\n%s", out)
	}
	if took := time.Since(began); took > 30*time.Second {
		m.Errorf("that it cannot start is told after %s", took)
	}
	time.Sleep(3 * time.Second) // longer than RestartSec
	if got := m.prop("blufio", "ActiveState") + " " + m.prop("blufio", "ExecMainStatus"); got != "failed 78" {
		m.Errorf("with a configuration that is not valid it is %s", got)
	}
	if out := m.run("journalctl", "-u", "blufio", "-p", "err", "-n", "5", "--no-pager", "-o", "cat"); !strings.Contains(out, `unknown key "openai.nonsense"`) {
		m.Errorf("of errors the journal has\n%s", out)
	}
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration)
	m.run("systemctl", "start", "blufio")
}

func (m *machine) reload() {
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration+"\n[cost]\ndaily_usd = 3\n")
	m.run("systemctl", "reload", "blufio")
	if out := m.run("blufio", "cost"); !strings.Contains(out, "$3.00") {
		m.Errorf("after a reload: %s", out)
	}
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration+"\n[cost]\ndaily_usd = -3\n")
	if out, code := m.ends("systemctl", "reload", "blufio"); code == 0 {
		m.Errorf("a configuration that is not valid is taken\n%s", out)
	}
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration)
	m.healthy("")
}

// watchdog: with the drop-in, a daemon that hangs is started again.
func (m *machine) watchdog() {
	const dropIns = "/etc/systemd/system/blufio.service.d/"
	m.put(dropIns+"notify.conf", "644", "root:root", m.sh("cat /usr/share/doc/blufio/examples/blufio.service.d/notify.conf"))
	m.put(dropIns+"soon.conf", "644", "root:root", "[Service]\nWatchdogSec=4\n") // or the test takes half a minute
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "blufio")
	m.healthy("")
	if got := m.prop("blufio", "Type"); got != "notify" {
		m.Fatalf("the unit is %s", got)
	}
	token := m.token()
	time.Sleep(9 * time.Second) // twice the time and more: it says in time that it works
	n := m.restarts("blufio")
	if n != 0 {
		m.Errorf("a daemon that works was restarted %d times", n)
	}
	id, letGo := m.inFlight(token, "frozen")
	m.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", "blufio")
	letGo()
	m.restarted("blufio", n+1, 40*time.Second)
	if log := m.run("journalctl", "-u", "blufio", "--no-pager"); !strings.Contains(log, "Watchdog timeout") {
		m.Error("it was no watchdog that ended it")
	}
	m.answered(token, id, "you said: frozen")
	m.run("systemctl", "reload", "blufio") // which it tells, and systemd waits for
	m.healthy("")
	m.run("rm", dropIns+"soon.conf")
	m.slowStart(dropIns)
}

// slowStart takes longer than systemd gives, and asks for more.
func (m *machine) slowStart(dropIns string) {
	m.Helper()
	m.put(dropIns+"soon.conf", "644", "root:root", "[Service]\nTimeoutStartSec=2\n")
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration+"\n[hooks]\npre_start = [\"sleep\", \"5\"]\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "blufio")
	m.healthy("")
	m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration)
	m.run("rm", dropIns+"soon.conf")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "blufio")
}

// credential: the vault's key comes from systemd.
func (m *machine) credential() {
	m.sh("head -c 32 /dev/urandom | base64 | systemd-creds encrypt --name=vault-key - /etc/blufio/vault-key.cred")
	m.put("/etc/systemd/system/blufio.service.d/credential.conf", "644", "root:root", m.sh("cat /usr/share/doc/blufio/examples/blufio.service.d/credential.conf"))
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "blufio")
	m.run("blufio", "config", "rotate-vault-key")
	if out := m.run("blufio", "config", "list-secrets", "--json"); !strings.Contains(out, `"credential"`) {
		m.Errorf("the vault is not locked with the credential: %s", out)
	}
	m.run("rm", "/var/lib/blufio/vault.key") // of no use any more
	m.run("systemctl", "restart", "blufio")
	token := m.token()
	m.answered(token, m.say(token, "with a credential"), "you said: with a credential")
}

func (m *machine) reboot() {
	token := m.token()
	id, letGo := m.inFlight(token, "rebooted")
	former := m.init
	_ = m.try("systemctl", "reboot")
	m.eventually(60*time.Second, "the machine goes down", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", former))
		return err != nil
	})
	letGo()
	m.up(former)
	m.restarted("blufio", 0, 30*time.Second)
	m.answered(token, id, "you said: rebooted")
	m.healthy("")
}

// upgrade: everything that was accepted meanwhile is answered, once.
func (m *machine) upgrade() {
	token := m.token()
	stop := m.load(token)
	m.give(packageOf(m.T, "1.0.1"), "/root/newer.deb")
	m.eventually(20*time.Second, "there is load", func() bool { return m.sessions() > 3 })
	m.run("dpkg", "--install", "/root/newer.deb")
	if out := m.run("blufio", "status"); !strings.Contains(out, "v1.0.1") {
		m.Errorf("after the upgrade runs\n%s", out)
	}
	ids := stop()
	if len(ids) < 20 {
		m.Errorf("there was no load: %d messages", len(ids))
	}
	m.Logf("%d messages were accepted during the upgrade", len(ids))
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			m.Errorf("%s was accepted twice", id)
		}
		seen[id] = true
		m.answered(token, id, "you said: number ")
	}
	if out := m.run("cat", "/etc/blufio/blufio.toml"); out != configuration {
		m.Errorf("the configuration is now\n%s", out)
	}
	m.healthy("")
}

func (m *machine) sessions() int {
	var st struct{ Sessions struct{ Total int } }
	out, _ := m.ends("blufio", "status", "--json")
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return 0
	}
	return st.Sessions.Total
}

// several: two more agents, apart from each other and from the first.
func (m *machine) several() {
	for i, name := range []string{"one", "two"} {
		m.put("/etc/blufio/"+name+".toml", "640", "root:blufio", fmt.Sprintf("[agent]\nname = %q\n[gateway]\nlisten = \"127.0.0.1:%d\"\n[bus]\nlisten = \"127.0.0.1:0\"\n", name, 3001+i))
		m.run("systemctl", "enable", "--now", "blufio@"+name)
	}
	for _, name := range []string{"one", "two"} {
		data := "/var/lib/blufio-" + name
		m.healthy(data)
		m.run("blufio", "--data-dir", data, "send", "hello")
		if out, code := m.as("ada", "blufio", "--data-dir", data, "status"); code != 0 {
			m.Errorf("a member asks %s: exit code %d\n%s", name, code, out)
		}
		if got := strings.Fields(m.run("nsenter", "--mount", "--target", m.prop("blufio@"+name, "MainPID"), "ls", "/var/lib")); len(got) != 1 || got[0] != "blufio-"+name {
			m.Errorf("%s sees in /var/lib: %q", name, got)
		}
	}
	m.healthy("")
	if out, code := m.ends("systemctl", "start", "blufio@none"); code == 0 {
		m.Errorf("one without a configuration starts\n%s", out)
	}
	m.run("systemctl", "stop", "blufio@one")
	m.healthy("/var/lib/blufio-two")
}

// remove keeps the data; a purge leaves nothing.
func (m *machine) remove() {
	m.run("dpkg", "--remove", "blufio")
	if out := m.try("pgrep", "-x", "blufio"); out != "" {
		m.Errorf("still there: %s", out)
	}
	m.run("test", "-e", "/var/lib/blufio/blufio.db", "-a", "-e", "/etc/blufio/blufio.toml")
	m.run("dpkg", "--install", "/root/newer.deb")
	m.run("systemctl", "start", "blufio")
	token := m.token()
	m.answered(token, m.say(token, "back again"), "you said: back again")
	m.run("dpkg", "--purge", "blufio")
	m.sh("rm -f /root/*.deb /etc/rsyslog.d/30-blufio.conf; systemctl restart rsyslog") // the test's own
	left := m.sh("find / -xdev -iname '*blufio*' ! -path '/proc/*' ! -path '/sys/*'; getent passwd blufio || true; getent group blufio || true") +
		m.try("systemctl", "list-unit-files", "--no-legend", "blufio*")
	if left != "" {
		m.Errorf("a purge leaves\n%s", left)
	}
}

// TestByHand installs without the package: the program, the unit, the user's file.
func TestByHand(t *testing.T) {
	m := boot(t)
	m.step("install", func() {
		m.give("../../bin/blufio", "/usr/bin/blufio")
		m.run("chmod", "755", "/usr/bin/blufio")
		for from, to := range map[string]string{
			"blufio.service":         "/etc/systemd/system/blufio.service",
			"sysusers.d/blufio.conf": "/etc/sysusers.d/blufio.conf",
			"tmpfiles.d/blufio.conf": "/etc/tmpfiles.d/blufio.conf",
		} {
			m.run("mkdir", "-p", filepath.Dir(to))
			m.give("../../contrib/"+from, to)
		}
		m.run("systemd-sysusers")
		m.run("systemd-tmpfiles", "--create", "blufio.conf")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "enable", "--now", "blufio")
		m.healthy("")
		m.run("blufio", "send", "hello")
	})
}

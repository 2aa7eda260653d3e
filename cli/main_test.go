// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/blufio/blufio/services/serve"
	"github.com/rogpeppe/go-internal/testscript"

	_ "modernc.org/sqlite"
)

// TestMain lets the test binary stand in for the program, and for the tools that
// the scripts need beside it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"blufio":    func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())) },
		"http":      func() { os.Exit(tool(httpRequest)) },
		"httpuntil": func() { os.Exit(tool(httpUntil)) },
		"sqlite":    func() { os.Exit(tool(runSQL)) },

		"natsclient": func() { os.Exit(tool(natsClient)) },
		"testhub":    func() { os.Exit(tool(runHub)) },
	})
}

// TestScript runs the real program as a user would. Each script has a directory, a
// configuration file and free ports of its own.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"other":      otherUser,
			"daemon":     daemonEnv,
			"saveline":   saveLine,
			"hangup":     hangUpDaemon,
			"eventually": eventually,
			"agekey":     ageKey,
		},
	})
}

func setup(env *testscript.Env) error {
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("BLUFIO_DATA_DIR", filepath.Join(env.WorkDir, "data"))
	env.Setenv("BLUFIO_CONFIG", filepath.Join(env.WorkDir, "blufio.toml"))
	env.Setenv("BLUFIO_GATEWAY__LISTEN", "127.0.0.1:0")
	env.Setenv("BLUFIO_BUS__LISTEN", "127.0.0.1:0")
	env.Setenv("BLUFIO_MEMORY__LIMIT_MB", "2000") // a race-enabled binary is heavy
	env.Setenv("GORACE", "atexit_sleep_ms=0")     // and sleeps for a second at its end
	f, err := os.OpenFile(filepath.Join(env.WorkDir, "blufio.toml"), os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// ageKey makes a key of age's: agekey NAME writes NAME.key and NAME.pub.
func ageKey(ts *testscript.TestScript, _ bool, args []string) {
	key, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), []byte("# a test's\n"+key.String()+"\n"), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), []byte("# a test's\n"+key.Recipient().String()+"\n"), 0o600))
}

// exits runs a command and wants the given exit code: exits 64 blufio nonsense.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	checkExit(ts, want, ts.Exec(args[1], args[2:]...))
}

// eventually repeats a command until it succeeds with something on stdout, at most
// 20 s: eventually exec blufio events.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...) == nil && ts.ReadFile("stdout") != "" {
			return
		}
	}
	ts.Fatalf("no output within 20 s")
}

func checkExit(ts *testscript.TestScript, want int, err error) {
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// otherUser runs blufio as somebody else when the test is root's, who may read
// everything: other CODE args. Output goes to the files out and err.
func otherUser(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	self, err := os.Executable()
	ts.Check(err)
	// Another user cannot walk to the binary, so it is handed over open.
	binary, err := os.Open(self)
	ts.Check(err)
	defer binary.Close()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("/proc/self/fd/3")
	cmd.Args = append([]string{"blufio"}, args[1:]...)
	cmd.ExtraFiles = []*os.File{binary}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{"BLUFIO_DATA_DIR=" + ts.Getenv("BLUFIO_DATA_DIR")}
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	err = cmd.Run()
	ts.Check(os.WriteFile(ts.MkAbs("out"), stdout.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), stderr.Bytes(), 0o600))
	checkExit(ts, want, err)
}

// daemonEnv sets GATEWAY and BUS to the addresses of the running daemon.
func daemonEnv(ts *testscript.TestScript, _ bool, _ []string) {
	info, err := serve.ReadInfo(ts.Getenv("BLUFIO_DATA_DIR"))
	ts.Check(err)
	ts.Setenv("GATEWAY", info.Gateway)
	ts.Setenv("GATEWAY_ADDRESS", strings.TrimPrefix(info.Gateway, "http://"))
	ts.Setenv("BUS_ADDRESS", strings.TrimPrefix(info.Bus, "nats://"))
}

// hangUpDaemon sends SIGHUP to the running daemon, as systemd's ExecReload does.
func hangUpDaemon(ts *testscript.TestScript, _ bool, _ []string) {
	info, err := serve.ReadInfo(ts.Getenv("BLUFIO_DATA_DIR"))
	ts.Check(err)
	ts.Check(syscall.Kill(info.PID, syscall.SIGHUP))
}

// saveLine sets a variable to a file's text without its line break: saveline ID stdout.
func saveLine(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// tool runs a helper command and tells its error.
func tool(run func(args []string) error) int {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// httpUntil repeats a request until its status begins as wanted, at most 20 s:
// httpuntil 401 METHOD URL [token].
func httpUntil(args []string) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var out bytes.Buffer
		if err := request(&out, args[1:]); err != nil {
			return err
		}
		if strings.HasPrefix(out.String(), args[0]) {
			_, err := out.WriteTo(os.Stdout)
			return err
		}
	}
	return errors.New("no such answer within 20 s")
}

// body makes a request's body of an argument: as it is, size:N for a message with
// a text of N bytes, or hex:… for bytes that no argument can hold.
func body(arg string) (string, error) {
	if n, ok := strings.CutPrefix(arg, "size:"); ok {
		size, err := strconv.Atoi(n)
		return `{"text":"` + strings.Repeat("x", size) + `"}`, err
	}
	if digits, ok := strings.CutPrefix(arg, "hex:"); ok {
		data, err := hex.DecodeString(digits)
		return string(data), err
	}
	return arg, nil
}

// httpRequest prints status and body: http METHOD URL [token [body]].
func httpRequest(args []string) error { return request(os.Stdout, args) }

func request(out io.Writer, args []string) error {
	args = append(args, "", "")
	text, err := body(args[3])
	if err != nil {
		return err
	}
	req, err := http.NewRequest(args[0], args[1], strings.NewReader(text))
	if err != nil {
		return err
	}
	if args[2] != "" {
		req.Header.Set("Authorization", "Bearer "+args[2])
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintln(out, resp.Status)
	_, err = io.Copy(out, resp.Body)
	return err
}

// runSQL changes a database behind the program's back: sqlite FILE STATEMENT.
func runSQL(args []string) error { return changeDatabase(args[0], args[1]) }

func changeDatabase(path, statement string) error {
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)") // a daemon may write just now
	if err != nil {
		return err
	}
	_, err = db.Exec(statement)
	return errors.Join(err, db.Close())
}

// TestEveryCommandIsDocumented keeps the promise that --help shows an example.
func TestEveryCommandIsDocumented(t *testing.T) {
	for _, args := range commandPaths(t) {
		a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, now: time.Now}
		cmd, _, err := a.root().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s: no example or no description", cmd.CommandPath())
		}
	}
}

func commandPaths(t *testing.T) [][]string {
	t.Helper()
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, now: time.Now}
	paths := [][]string{{}}
	for _, c := range a.root().Commands() {
		paths = append(paths, []string{c.Name()})
		for _, sub := range c.Commands() {
			paths = append(paths, []string{c.Name(), sub.Name()})
		}
	}
	return paths
}

// decodeAs reads JSON strictly enough for a test.
func decodeAs[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

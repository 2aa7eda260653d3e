// SPDX-License-Identifier: MIT OR Apache-2.0

package sdnotify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// manager is a socket like systemd's.
func manager(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over
	return c
}

func heard(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestTell(t *testing.T) {
	addresses := map[string]string{"path": filepath.Join(t.TempDir(), "notify"), "abstract": fmt.Sprintf("@blufio-test-%d", os.Getpid())}
	for name, address := range addresses {
		t.Run(name, func(t *testing.T) {
			c := manager(t, address)
			n, err := New([]string{"NOTIFY_SOCKET=" + address})
			if err != nil || !n.Heard() {
				t.Fatal(n, err)
			}
			if err := n.Tell(Ready, Status("two\nlines \xff"), Longer(3*time.Second)); err != nil {
				t.Fatal(err)
			}
			if got, want := heard(t, c), "READY=1\nSTATUS=two lines \uFFFD\nEXTEND_TIMEOUT_USEC=3000000"; got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
			if err := n.Tell(Reloading()); err != nil {
				t.Fatal(err)
			}
			if got := heard(t, c); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9]\d+$`).MatchString(got) {
				t.Errorf("heard %q", got)
			}
		})
	}
}

func TestNobodyIsTold(t *testing.T) {
	n, err := New([]string{"HOME=/root"})
	if err != nil || n.Heard() || n.Watchdog() != 0 {
		t.Error(n, err)
	}
	if err := n.Tell(Ready); err != nil {
		t.Error(err)
	}
	if _, err := New([]string{"NOTIFY_SOCKET=vsock:2:1234"}); err == nil {
		t.Error("an address that is not understood passes")
	}
	n, err = New([]string{"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Tell(Ready); err == nil || !strings.Contains(err.Error(), "service manager") {
		t.Error("nobody listens, and that is no error:", err)
	}
}

func TestWatchdog(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", fmt.Sprint(os.Getpid()), 30 * time.Second},
		{"30000000", "", 30 * time.Second},
		{"30000000", "1", 0}, // meant for another process
		{"", "", 0}, {"0", "", 0}, {"-5", "", 0}, {"soon", "", 0},
		{"9223372036854775807", "", maxWatchdog},
	} {
		n, err := New([]string{"NOTIFY_SOCKET=@x", "WATCHDOG_USEC=" + c.usec, "WATCHDOG_PID=" + c.pid})
		if err != nil || n.Watchdog() != c.want {
			t.Errorf("%q for process %q: %v (%v), want %v", c.usec, c.pid, n.Watchdog(), err, c.want)
		}
	}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

// Package sdnotify tells the service manager how the daemon is, by systemd's protocol
// of sd_notify(3): lines of NAME=value in one datagram to the socket that NOTIFY_SOCKET
// names.
//
//	READY=1             it is up
//	STOPPING=1          it was told to stop, and drains
//	RELOADING=1         it reads its configuration again; READY=1 ends that
//	STATUS=…            one line for systemctl status
//	WATCHDOG=1          it works; WATCHDOG_USEC says how often that has to be said
//	EXTEND_TIMEOUT_USEC it needs longer to start or to stop, from now
//
// Nothing waits for an answer, and there is none. Without the variable all is silent.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const sendTimeout = time.Second // systemd reads late when the machine is busy

// Notifier is who is told. The zero value is nobody.
type Notifier struct {
	address  string // a path, or a name with an @ before it
	watchdog time.Duration
}

// New finds out who wants to be told, by the process's environment as os.Environ gives
// it. An address that is not understood is an error, and tells nobody.
func New(environ []string) (Notifier, error) {
	var n Notifier
	address, usec, pid := "", "", ""
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "NOTIFY_SOCKET":
			address = value
		case "WATCHDOG_USEC":
			usec = value
		case "WATCHDOG_PID":
			pid = value
		}
	}
	switch {
	case address == "":
		return n, nil
	case address[0] != '/' && address[0] != '@' || len(address) == 1:
		return n, fmt.Errorf("NOTIFY_SOCKET %q is neither a path nor an abstract name", address)
	}
	n.address = address
	if every, err := strconv.ParseInt(usec, 10, 64); err == nil && every > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(min(every, int64(maxWatchdog/time.Microsecond))) * time.Microsecond
	}
	return n, nil
}

const maxWatchdog = 24 * time.Hour

// Heard reports whether anybody is told.
func (n Notifier) Heard() bool { return n.address != "" }

// Watchdog is within what time [Working] has to be said, 0 when nobody waits for it.
func (n Notifier) Watchdog() time.Duration { return n.watchdog }

// What can be said.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Working  = "WATCHDOG=1"
)

// Reloading begins a reload. The time is for systemd to know which READY=1 ends it.
func Reloading() string {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil { // no kernel lacks it
		return "RELOADING=1"
	}
	return "RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(t.Nano()/int64(time.Microsecond), 10)
}

// Longer asks for time: within it the next word has to come.
func Longer(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}

// Status is one line for people.
func Status(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// Tell says all of it in one datagram.
func (n Notifier) Tell(words ...string) error {
	if n.address == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.address, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("reach the service manager: %w", err)
	}
	defer conn.Close() //nolint:errcheck // what was sent is sent
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	if _, err := conn.Write([]byte(strings.Join(words, "\n"))); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/serve"
	"github.com/nats-io/nats.go"
)

const (
	connectTimeout = 2 * time.Second
	crowdTime      = 300 * time.Millisecond
)

// Hints that several commands give.
const (
	hintStart = "start it with `blufio serve`, or name its data directory with --data-dir"
	hintOwner = "run as the owner of the data directory, or name yours with --data-dir"
	hintHangs = "see its log; if it hangs, restart it"
)

// daemon is where the running daemon of a data directory is reached.
type daemon struct {
	serve.Info
	dir string
	key string // the file of an operator's key; "": the device key in dir
}

// findDaemon reads daemon.json. That the file is there does not prove that the daemon
// still is: after a crash it stays behind.
func (a *app) findDaemon() (daemon, error) {
	dir, err := a.data()
	if err != nil {
		return daemon{}, err
	}
	info, err := serve.ReadInfo(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return daemon{}, fail(exitNotRunning, hintStart, "blufio is not running on %s", dir)
	case errors.Is(err, fs.ErrPermission):
		return a.findAsMember(dir, err)
	case err != nil:
		return daemon{}, fail(exitNoAnswer, "restart the daemon: it writes the file anew", "find the daemon: %w", err)
	}
	return daemon{Info: info, dir: dir}, nil
}

// operator is the key with which the daemon lets its operator in.
func (d daemon) operator() (*embedded.Device, error) {
	if d.key != "" {
		return embedded.LoadOperator(d.key)
	}
	return embedded.LoadDevice(d.dir)
}

// unreachable tells a daemon that is gone from one that does not answer: only a living
// one holds the lock.
func (d daemon) unreachable(err error) *failure {
	if running, lockErr := serve.Running(d.dir); lockErr == nil && !running {
		return fail(exitNotRunning, hintStart, "blufio is not running on %s (process %d ended without a goodbye)", d.dir, d.PID)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, nats.ErrNoServers) {
		return fail(exitNoAnswer, "try again in a moment", "the daemon on %s is starting or stopping", d.dir)
	}
	return fail(exitNoAnswer, hintHangs, "the daemon (process %d) does not answer: %w", d.PID, err)
}

// dial connects to the running daemon as its operator and declares what will be said.
// The caller ends the connection with hangUp.
func (a *app) dial(says ...bus.Lane) (*bus.Conn, error) {
	return a.dialWithin(connectTimeout, says...)
}

func (a *app) dialWithin(limit time.Duration, says ...bus.Lane) (*bus.Conn, error) {
	d, err := a.findDaemon()
	if err != nil {
		return nil, err
	}
	device, err := d.operator()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(d.Bus, nats.Name("blufio cli"), device.NATSOption(),
		nats.CustomInboxPrefix(embedded.OperatorInbox), nats.Timeout(limit),
		nats.NoReconnect(), // a daemon that starts again may listen elsewhere: it is dialled anew
		nats.PermissionErrOnSubscribe(true))
	switch {
	case err == nil:
		return bus.NewConn(nc, bus.Options{Name: "cli", Says: says, Logger: slog.New(slog.DiscardHandler)}), nil
	case errors.Is(err, nats.ErrAuthorization):
		f := d.unreachable(err)
		if f.code != exitNotRunning {
			f = fail(exitDenied, "is "+d.dir+" the data directory of the daemon that runs there?", "the daemon at %s refuses the device key", d.Bus)
		}
		return nil, f
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) && d.crowded() { // a full house says so at once
		return nil, fail(exitNoAnswer, "end programs that hold a connection, such as a forgotten `blufio events`, or raise bus.max_connections and restart it",
			"the daemon (process %d) has no connection left", d.PID)
	}
	return nil, d.unreachable(err)
}

// crowded reports that the bus has no place left. It says so and hangs up at once, so
// that whoever has written to it meanwhile may not come to read why: here nothing is
// written.
func (d daemon) crowded() bool {
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(d.Bus, "nats://"), crowdTime)
	if err != nil {
		return false
	}
	defer c.Close() //nolint:errcheck // only read
	_ = c.SetDeadline(time.Now().Add(crowdTime))
	said, _ := io.ReadAll(io.LimitReader(c, 64<<10)) // to its end, or until it would wait for an answer
	return bytes.Contains(said, []byte("-ERR 'maximum connections exceeded'"))
}

// hangUp ends a connection on which nothing of interest is in flight any more.
func hangUp(ctx context.Context, c *bus.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = c.Drain(ctx) // late answers concern nobody
}

// ask dials, asks one question and hangs up.
func ask[T, R any](ctx context.Context, a *app, lane bus.Call[T, R], req T) (R, error) {
	var none R
	c, err := a.dial(lane)
	if err != nil {
		return none, err
	}
	defer hangUp(ctx, c)
	return lane.Ask(ctx, c, req)
}

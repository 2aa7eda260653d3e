// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/blufio/blufio/services"
	"golang.org/x/sys/unix"
)

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// system are the checks of the process.
func (s *Service) system() []services.Probe {
	return []services.Probe{{
		ID: "BLF-SYS-004", Title: "There are files to open", Deep: true,
		Why: "a connection is an open file; without one more, nobody gets on",
		Fix: "raise the limit: LimitNOFILE= in the unit, or ulimit -n",
		Run: s.descriptors,
	}}
}

const fewFiles = 1024 // what systemd and most shells allow

func (s *Service) descriptors(context.Context) services.Result {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return services.Skip("the limit is not known: %v", err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return services.Skip("how many are open is not known: %v", err)
	}
	seen := fmt.Sprintf("%d of %d are open", len(open), limit.Cur)
	switch {
	case uint64(len(open))*10 > limit.Cur*9:
		return services.Fail("%s", seen)
	case uint64(len(open))*10 > limit.Cur*7 || limit.Cur < fewFiles:
		return services.Warn("%s", seen)
	}
	return services.OK("%s", seen)
}

// MachineProbes are the checks of the machine that anybody may make; without a daemon
// its data directory says which unit would start it.
func MachineProbes(running bool, dataDir string) []services.Probe {
	return []services.Probe{{
		ID: "BLF-SYS-006", Title: "The clock is kept right", Place: services.Either, Deep: true,
		Why: "days and months of the budget, tokens and certificates go by the clock",
		Fix: "switch on time synchronisation: timedatectl set-ntp true",
		Run: func(context.Context) services.Result { return timeSync() },
	}, {
		ID: "BLF-SYS-007", Title: "The systemd unit is the shipped one", Place: services.Either, Deep: true,
		Why: "it keeps the daemon in its place and starts it again; an older one may lack what this version needs",
		Fix: "put the shipped one in its place, and what you want to be different into a drop-in (`systemctl edit blufio`)",
		Run: machineUnits(running, dataDir).probe,
	}}
}

// timeSync asks the kernel whether something keeps its clock. In a container the
// answer is the host's.
func timeSync() services.Result {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return judgeClock(state, t, err)
}

func judgeClock(state int, t unix.Timex, err error) services.Result {
	switch {
	case errors.Is(err, unix.EPERM): // reading it is the same call as setting it
		return services.Skip("the systemd unit keeps the daemon from the clock, also from asking about it: timedatectl tells")
	case err != nil:
		return services.Skip("the kernel does not say: %v", err)
	}
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return services.Info("nothing sets the clock of this machine, says its kernel")
	}
	return services.OK("it is synchronised, to within %s", short(time.Duration(t.Maxerror)*time.Microsecond))
}

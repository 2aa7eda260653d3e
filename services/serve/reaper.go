// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

const reapEvery = 2 * time.Second

// reap does, until ctx ends, what process 1 owes the others: it takes note of the end of
// processes whose parent ended before them, as a tool's command may leave some behind. They
// would stay as zombies otherwise, and count, for as long as the container lives.
//
// The daemon's own children are waited for where they were started, and at once. So who is
// still a zombie at the next look is nobody's, and no status is taken from those who wait
// for it.
func reap(ctx context.Context) {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for seen := map[int]bool{}; ; {
		select {
		case <-tick.C:
			seen = reapTwice(seen)
		case <-ctx.Done():
			return
		}
	}
}

// reapTwice reaps who was a zombie at the look before, and returns who else is one now.
func reapTwice(seen map[int]bool) map[int]bool {
	now := map[int]bool{}
	for _, pid := range zombies() {
		if seen[pid] {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // gone after all: all the better
		} else {
			now[pid] = true
		}
	}
	return now
}

// zombies are children of this process that have ended and were not waited for.
func zombies() (pids []int) {
	proc, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range proc {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && isZombie(stat, os.Getpid()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isZombie reads proc_pid_stat(5): number, name in parentheses, state, parent. The name may
// have parentheses of its own.
func isZombie(stat []byte, parent int) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 1 && string(fields[0]) == "Z" && string(fields[1]) == strconv.Itoa(parent)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !race

package sqlite

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filtered tells a test's own process that it is the one with fewer system calls.
const filtered = "BLUFIO_TEST_FILTERED"

// What the database took is given back also where not every system call may be made: the
// packaged unit has systemd's @system-service, which mincore is none of, and all others
// answer EPERM (SystemCallErrorNumber).
func TestShrinkReturnsMemoryInTheUnit(t *testing.T) {
	if os.Getenv(filtered) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), filtered+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	refuse(t, unix.SYS_MINCORE)
	var one [1]byte
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, 0, 0, uintptr(unsafe.Pointer(&one[0]))); errno != unix.EPERM {
		t.Fatalf("mincore is not refused: %v", errno)
	}
	shrinkReturns(t)
}

// refuse has the kernel answer EPERM to a system call, in every thread and for good
// (seccomp(2)).
func refuse(t *testing.T, call uint32) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: call},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const syncThreads = 1  // SECCOMP_FILTER_FLAG_TSYNC: the others of the process, too
	runtime.LockOSThread() // the one that gives up privileges has to be the one that asks
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Skip("system calls cannot be refused here: ", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, syncThreads, uintptr(unsafe.Pointer(&program))); errno != 0 {
		t.Skip("system calls cannot be refused here: ", errno)
	}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// driverDir in the environment makes this process the driver: it names the
// directory of the plan.
const driverDir = "BLUFIO_TEST_CRASH_DRIVER"

func TestMain(m *testing.M) {
	dir := os.Getenv(driverDir)
	if dir == "" {
		code := m.Run()
		builds.remove()
		os.Exit(code)
	}
	if err := drive(context.Background(), plan{dir: dir}, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

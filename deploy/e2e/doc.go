// SPDX-License-Identifier: MIT OR Apache-2.0

// Package e2e boots a Debian with a real systemd and lives through on it what an owner
// does in a year: install, use, crash, hang, run out of memory, upgrade, run several,
// remove. `make e2e` runs it, as root; without that its tests are skipped.
//
//	run.sh          gets what is missing, builds two packages, runs the tests
//	machine.sh      boots and reboots the machine
//	machine_test.go commands and requests inside
//	journey_test.go the journey
package e2e

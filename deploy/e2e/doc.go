// SPDX-License-Identifier: MIT OR Apache-2.0

// Package e2e boots a Debian with a real systemd and lives through on it what an owner
// does in a year: install, use, crash, hang, run out of memory, upgrade, run several,
// remove. `make e2e` runs it, as root; without that its tests are skipped. `make e2e-docker`
// does what there is to do for the image, in a real Docker.
//
//	run.sh            gets what is missing, builds two packages, runs the tests
//	machine.sh        boots and reboots the machine
//	machine_test.go   commands and requests inside
//	journey_test.go   the journey
//	rest_test.go      what the daemon holds at rest (make e2e-rest)
//	mapper_test.go    a model's file is read under the unit's rules
//	runbook_test.go   what docs/runbooks says, typed
//	docker.sh         starts a Docker, builds the image, runs the test
//	container_test.go the journey of the image
//	compose_test.go   and of deploy/compose.yaml
//	rpm_test.go       what the .rpm does that the .deb does not
package e2e
